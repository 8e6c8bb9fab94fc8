"""Steps 5 and 6: try the plan's targets until one begins to answer.

Rules (DESIGN §3, laws 4 and 6): every attempt is ruled on again, reserved, written as an intent (on disk first if it leaves `inside`), then
sent; nothing is tried again once a byte could have reached the caller. Inside-only calls that find nobody end in 503, never outside.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from freehold.gateway.fitting import Fitted, Unfit
from freehold.gateway.lifecycle import State
from freehold.gateway.limits import TurnedAway
from freehold.gateway.run import Run
from freehold.gateway.traffic import Need
from freehold.kernel.classes import Zone
from freehold.kernel.errors import CallerError, FreeholdError, OperatorError, PolicyRefusal, UpstreamError
from freehold.kernel.snapshot import Target
from freehold.ledger.budgets import Exhausted
from freehold.perimeter.ruling import Grant, Moment, Ruling, grant
from freehold.routing.plan import Plan
from freehold.upstream import door
from freehold.upstream.transport import Request, Response
from freehold.wire import canonical, sse, strict
from freehold.wire.call import STORED, Call, Endpoint
from freehold.wire.dialect import MISSHAPEN, Frames, StreamReader
from freehold.wire.restoring import Restorer

T = TypeVar("T")
_MOST_ASKED = 24  # each budget and limit of a call, and a few again where other calls were quicker


class Answering(msgspec.Struct, frozen=True):
    """A target that has begun to answer: a whole body, or a stream whose first events are here.

    id: under which its provider keeps the answer; events: the canonical form of `first`; restorer: puts back what was replaced.
    """

    response: Response
    fitted: Fitted
    body: bytes | None = None
    used: canonical.Used | None = None
    id: str = ""
    first: tuple[sse.Event, ...] = ()
    events: tuple[Sequence[canonical.Event], ...] = ()
    chunks: AsyncIterator[bytes] | None = None
    frames: Frames | None = None
    restorer: Restorer | None = None
    reader: StreamReader | None = None


async def attempt(run: Run, call: Call, plan: Plan) -> Answering:
    """Try the targets in order. Raises the error that the caller should see when none answers."""
    targets = plan.attempts if run.caller.allows_fallback else plan.attempts[:1]
    failures: list[UpstreamError] = []
    at = 0
    while at < len(targets):
        try:
            return await _tried(run, call, targets[at], failures, is_last=at + 1 == len(targets))
        except UpstreamError:
            at += 1
        except Exhausted as spent:
            run.leave()
            targets, at = _degraded(run, spent, targets[at:]), 0
    raise _nobody_answered(run, failures)


def _degraded(run: Run, spent: Exhausted, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """What of the plan costs nothing, where a spent budget lets a call go on there. Raises Exhausted where it does not, or there is nothing."""
    if spent.budget.when_spent != "degrade":
        raise spent
    free = tuple(one for one in targets if run.policy.zone_of(one) is Zone.INSIDE and run.quote(one)[0] == 0)
    if not free or free == targets:
        raise spent
    run.degraded = spent.budget.pool
    return free


async def _tried(run: Run, call: Call, target: Target, failures: list[UpstreamError], *, is_last: bool) -> Answering:
    """Try one target as often as its provider allows; each failure is noted. Raises the last."""
    for tries in itertools.count():
        try:
            return await _once(run, call, target, is_last=is_last)
        except UpstreamError as error:
            run.tried(error.code)
            run.leave(retry_after_s=error.retry_after_s)
            failures.append(error)
            wait = (
                door.wait_before_retry(error, tries)
                if tries < run.snapshot.providers[target.provider].retries
                else None
            )
            if wait is None:
                raise
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")


async def _once(run: Run, call: Call, target: Target, *, is_last: bool) -> Answering:
    """One attempt: ruled, reserved, intended, sent."""
    world, provider = run.world, run.snapshot.providers[target.provider]
    run.passage = await world.traffic.enter(provider, target, _need(run, call, target), is_last=is_last)
    fitted, permit, body = await leased(run, partial(intend, run, call, target))
    if permit.zone is not Zone.INSIDE:
        await world.ledger.durable()
    run.life.to(State.SENT)
    response = await _sent(run, fitted, permit, body)
    try:
        answering = await (
            _begin_stream(run, call, fitted, response) if call.is_stream else _whole(run, fitted, response)
        )
    except BaseException:
        response.close()
        raise
    world.health.speaks(target)
    run.lost |= fitted.lost
    return _restored(answering)


async def leased(run: Run, step: Callable[[], T]) -> T:
    """Take a step that takes of budgets or limits; where this node's part of one is too small, once there is more. Raises what the step does, and
    OperatorError `nodes.unavailable`.
    """
    more = run.world.more
    for _ in range(_MOST_ASKED if more is not None else 0):
        try:
            return step()
        except (Exhausted, TurnedAway) as refusal:
            if more is None or refusal.lacks is None or not await more(refusal.lacks):
                break
    return step()


def intend(run: Run, call: Call, target: Target) -> tuple[Fitted, Grant, bytes | None]:
    """Rule on an attempt as it is now, hold its money and write its intent. Raises PolicyRefusal, Exhausted, OperatorError."""
    world, provider = run.world, run.snapshot.providers[target.provider]
    assert run.ruling is not None
    fitted = _fitted(run, target)
    ruling = run.ruling if fitted.transformed is not None else msgspec.structs.replace(run.ruling, through=frozenset())
    body = strict.encode(fitted.body) if fitted.body is not None else None
    number = (run.call_id, len(run.attempts) + 1)
    permit = grant(
        ruling,
        provider,
        target,
        call=number,
        body=body,
        at=Moment(world.clock.now_s(), world.clock.monotonic_s()),
    )
    run.reserve(target)
    fields = {
        "call": run.call_id,
        "attempt": permit.attempt,
        "key": run.caller.key.id,
        "workload": run.workload.name if run.workload else None,
        "department": run.workload.department if run.workload else None,
        "class": permit.class_.label,
        "model": run.model,
        "endpoint": call.endpoint.value,
        "is_stream": call.is_stream,
        "target": target.name,
        "zone": permit.zone.value,
        "decision": "allow",
        "zones": sorted(ruling.zones | ruling.through),
        "attestation": _attestation(permit),
        "transform": _transform(run, fitted),
        "request": world.ledger.commit(body or b"", run.caller.key.id),
        "bytes": len(body or b""),
        "held_usd": run.held,
        "held_tokens": run.held_tokens,
        "held_output": run.held_output,
    }
    if run.policy is not world.policy:
        fields["policy"] = run.snapshot.digest  # it began before another was put in force
    _introduce(run)
    run.leaf = world.ledger.intend(fields)
    run.sending(permit, fitted.transformed, tells_cost=fitted.route.traits.tells_cost)
    run.life.to(State.INTENDED)
    return fitted, permit, body


async def _sent(run: Run, fitted: Fitted, permit: Grant, body: bytes | None) -> Response:
    """Send one attempt, and take note of how long its answer took to begin and of what its provider says of its limits."""
    world, began_s = run.world, run.world.clock.monotonic_s()
    headers = dict(fitted.route.headers)
    if fitted.is_same:
        headers |= {name.decode(): run.caller.values[name] for name in door.FORWARDED_UP if name in run.caller.values}
    if run.trace is not None and permit.zone is Zone.INSIDE:
        headers["traceparent"] = run.trace.header(run.attempt_id)
    request = Request(fitted.method, fitted.path, body, headers, fitted.route.auth)
    try:
        response = await door.send(world.transport, permit, request)
    except door.Rejected as refusal:
        if refusal.words is not None:
            refusal.dialect = fitted.dialect.name
        raise
    now_s = world.clock.monotonic_s()
    world.health.heard(permit.target, response.headers, now_s - began_s, now_s=now_s, wall_s=world.clock.now_s())
    return response


def _need(run: Run, call: Call, target: Target) -> Need:
    return Need(run.bounds(target).tokens, max(1, call.size // 4), run.priority)


def _fitted(run: Run, target: Target) -> Fitted:
    assert run.fits is not None
    try:
        return run.fits.to(target)
    except Unfit as unfit:  # it was fit when the call was planned; its zone is another now
        raise PolicyRefusal(f"{target.name} {unfit}.", code="perimeter.zone_forbidden") from None


def _introduce(run: Run) -> None:
    """What the key declares is in the log before its first attempt."""
    key = run.caller.key
    run.world.ledger.introduce(key.id, key.class_.label if key.class_ is not None else None, key.workload)


def _attestation(permit: Grant) -> dict[str, Any] | None:
    """The agreement under which an attempt leaves for an attested target."""
    held = permit.provider.attested
    if permit.zone is not Zone.ATTESTED or held is None:
        return None
    return {"evidence": held.evidence, "controls": list(held.controls), "until_ms": int(held.until_s * 1000)}


def _transform(run: Run, fitted: Fitted) -> dict[str, Any] | None:
    """What was taken out before an attempt, and from which class that brought the call down."""
    if fitted.transformed is None or run.ruling is None:
        return None
    return {"kind": fitted.transformed.kind, "counts": fitted.transformed.counts, "from": run.ruling.class_.label}


async def _whole(run: Run, fitted: Fitted, response: Response) -> Answering:
    body = await response.whole()
    response.finish()
    assert run.grant is not None
    clean = door.scrub(body, run.grant.provider.key)
    try:
        if fitted.is_same:
            check_utf8(clean)
            return _passed(run, response, fitted, body, clean)
        answer = fitted.dialect.read_answer(clean, fitted.route.traits.family)
        answer.id, answer.created = answer.id or run.call_id, answer.created or int(run.world.clock.now_s())
        answer.model = answer.model or run.grant.target.model
        lost = set(fitted.lost)
        assert run.call is not None
        written = run.spoken.write_answer(answer, run.call, lost)
    except canonical.FailedAnswer as failed:
        raise in_trouble(_name(run), failed.trouble) from None
    except MISSHAPEN:
        raise _invalid(run) from None
    run.lost = lost
    return Answering(response, fitted, body=written, used=answer.used)


def _restored(answering: Answering) -> Answering:
    """The answer with what was replaced put back, or ready to be put back as it comes."""
    made = answering.fitted.transformed
    if made is None or not made.originals:
        return answering
    restorer = Restorer(made.originals)
    if answering.body is None:
        return msgspec.structs.replace(answering, restorer=restorer)
    return msgspec.structs.replace(answering, body=restorer.whole(answering.body))


def _passed(run: Run, response: Response, fitted: Fitted, body: bytes, clean: bytes) -> Answering:
    """A whole answer in the caller's dialect; what is told of a stored one beside itself is an object, and no more is known of it."""
    dialect = fitted.dialect
    if run.endpoint in (Endpoint.DELETE, Endpoint.INPUT_ITEMS):
        _object(body)
        return Answering(response, fitted, body=clean)
    if dialect.stored_of is None:
        return Answering(response, fitted, body=clean, used=dialect.used_of(body))
    stored = dialect.stored_of(body)
    used = stored.used if run.endpoint in STORED else dialect.used_of(body)
    return Answering(response, fitted, body=clean, used=used, id=stored.id)


_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


async def _begin_stream(run: Run, call: Call, fitted: Fitted, response: Response) -> Answering:
    """Wait for the first event that is no comment: until then another target may still take over."""
    if "event" not in response.headers.get("content-type", ""):
        raise _invalid(run)
    chunks, frames = response.chunks(), fitted.dialect.frames()
    reader = fitted.dialect.stream_reader(fitted.route.traits.family)
    first: list[sse.Event] = []
    async for chunk in chunks:
        try:
            first += frames.feed(chunk)
        except sse.EventTooLong:
            raise _invalid(run) from None
        if any(event.data for event in first):
            events = _read_first(run, reader, first)
            return Answering(
                response, fitted, first=tuple(first), events=events, chunks=chunks, frames=frames, reader=reader
            )
    raise UpstreamError(f"{_name(run)!r} ended the stream before it began.", code="upstream.cut")


def check_utf8(data: bytes) -> None:
    """Raise InvalidAnswer for bytes that are no UTF-8: what is passed on must be readable, also where nobody here reads it."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            raise canonical.InvalidAnswer("not UTF-8") from None


def named(begun: canonical.Begin, run: Run) -> canonical.Begin:
    """A stream's beginning with what its provider left out: an id, a model, a time."""
    assert run.grant is not None
    about, model = begun.id or run.call_id, begun.model or run.grant.target.model
    return canonical.Begin(about, model, int(run.world.clock.now_s()))


def _read_first(run: Run, reader: StreamReader, first: list[sse.Event]) -> tuple[Sequence[canonical.Event], ...]:
    try:
        for event in first:
            check_utf8(event.data)
        read = tuple(reader.take(event) for event in first)
    except canonical.InvalidAnswer:
        raise _invalid(run) from None
    begun = next((events for events in read if events), ())
    if begun and isinstance(begun[0], canonical.Fail):
        raise in_trouble(_name(run), begun[0].trouble)
    if begun and isinstance(begun[0], canonical.Done):
        raise UpstreamError(f"{_name(run)!r} ended its stream before it began.", code="upstream.failed")
    return read


_TROUBLES = {
    canonical.Trouble.RATE_LIMIT: ("is limiting the rate.", "upstream.rate_limited", 429),
    canonical.Trouble.OVERLOADED: ("is overloaded.", "upstream.overloaded", 503),
    canonical.Trouble.OTHER: ("broke its answer off with an error.", "upstream.failed", 502),
}


def in_trouble(provider: str, trouble: canonical.Trouble) -> UpstreamError:
    """What a provider says of itself under a good status."""
    words, code, status = _TROUBLES[trouble]
    return UpstreamError(f"{provider!r} {words}", code=code, status=status)


def _invalid(run: Run) -> UpstreamError:
    return UpstreamError(f"{_name(run)!r} sent something that is not an answer.", code="upstream.invalid_answer")


def _name(run: Run) -> str:
    return run.grant.provider.name if run.grant is not None else "the provider"


def nothing_left(call: Call, plan: Plan, ruling: Ruling) -> FreeholdError:
    """The error for a plan without attempts: what stood in the way of each target."""
    reasons = "; ".join(f"{skip.target.name}: {skip.reason}" for skip in plan.skipped)
    if any(skip.is_forbidden for skip in plan.skipped):
        return PolicyRefusal(
            f"No target may serve this call ({reasons}). It is {ruling.class_.label}: {'; '.join(ruling.reasons)}.",
            code="perimeter.zone_forbidden",
            hint="Use a target in an allowed zone, or a key or workload of a lower class.",
        )
    if call.needs_state:
        return CallerError(
            f"{call.needs_state!r} refers to state that only a provider of {call.dialect} holds ({reasons}).",
            code="request.stateful",
            hint="Send the whole conversation, or use a target that holds this state.",
        )
    return CallerError(f"No target can serve this call ({reasons}).", code="routing.unable")


def _nobody_answered(run: Run, failures: list[UpstreamError]) -> FreeholdError:
    last = failures[-1]
    if all(failure.code in ("upstream.busy", "upstream.resting") for failure in failures):
        return last  # nothing was sent: the same call may well be served in a moment
    assert run.ruling is not None
    if run.ruling.zones == {Zone.INSIDE}:
        return OperatorError(
            f"No inside target answered ({last.message.rstrip('.')}), and a {run.ruling.class_.label} call may not leave.",
            code="perimeter.inside_unavailable",
            hint="Try again when an inside target is back.",
            retry_after_s=last.retry_after_s,
        )
    if all(failure.status == 429 for failure in failures) or len(failures) == 1:
        return last
    return OperatorError(
        f"No target answered; the last failure: {last.message}",
        code="upstream.unavailable",
        retry_after_s=last.retry_after_s,
    )
