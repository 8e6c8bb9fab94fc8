"""Steps 5 and 6: try the plan's targets until one begins to answer.

Rules (DESIGN §3, laws 4 and 6): every attempt is ruled on again, reserved, written as an intent (on disk first if it leaves `inside`), then
sent; nothing is tried again once a byte could have reached the caller. Inside-only calls that find nobody end in 503, never outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from freehold.gateway.lifecycle import State
from freehold.gateway.run import Run
from freehold.kernel.classes import Zone
from freehold.kernel.errors import CallerError, FreeholdError, OperatorError, PolicyRefusal, UpstreamError
from freehold.kernel.snapshot import Target
from freehold.perimeter.ruling import grant
from freehold.routing.plan import Plan
from freehold.upstream import door
from freehold.upstream.transport import Request, Response
from freehold.wire import openai_chat as wire
from freehold.wire import sse
from freehold.wire.call import Call


class Answering(msgspec.Struct, frozen=True):
    """A target that has begun to answer: a whole body, or a stream whose first events are here."""

    response: Response
    body: bytes | None = None
    first: tuple[sse.Event, ...] = ()
    chunks: AsyncIterator[bytes] | None = None
    reader: sse.Reader | None = None
    usage: wire.Usage | None = None


async def attempt(run: Run, call: Call, plan: Plan) -> Answering:
    """Try the targets in order. Raises the error that the caller should see when none answers."""
    if not plan.attempts:
        raise _nothing_left(run, plan)
    targets = plan.attempts if run.caller.allows_fallback else plan.attempts[:1]
    failures: list[UpstreamError] = []
    for target in targets:
        tries = 0
        while True:
            try:
                return await _once(run, call, target)
            except UpstreamError as error:
                run.tried(error.code)
                run.world.health.note(target.provider, is_ok=False, now_s=run.world.clock.now_s())
                failures.append(error)
                wait = (
                    door.wait_before_retry(error, tries)
                    if tries < run.snapshot.providers[target.provider].retries
                    else None
                )
            if wait is None:
                break
            tries += 1
            await asyncio.sleep(wait)
    raise _nobody_answered(run, failures)


async def _once(run: Run, call: Call, target: Target) -> Answering:
    """One attempt: ruled, reserved, intended, sent."""
    world, provider = run.world, run.snapshot.providers[target.provider]
    assert run.ruling is not None
    permit = grant(run.ruling, provider, target, call=(run.call_id, len(run.attempts) + 1), now_s=world.clock.now_s())
    body = wire.write(call, target.model, asks_usage=provider.reports_usage_in_streams)
    run.reserve(target)
    fields = {
        "call": run.call_id,
        "attempt": permit.attempt,
        "key": run.caller.key.id,
        "workload": run.workload.name if run.workload else None,
        "class": permit.class_.label,
        "model": run.model,
        "endpoint": call.endpoint.value,
        "is_stream": call.is_stream,
        "target": target.name,
        "zone": permit.zone.value,
        "request": world.ledger.commit(body),
        "bytes": len(body),
        "held_usd": run.held,
    }
    run.leaf = world.ledger.intend(fields)
    run.grant, run.is_trying = permit, True
    run.life.to(State.INTENDED)
    if permit.zone is not Zone.INSIDE:
        await world.ledger.durable()
    run.life.to(State.SENT)
    headers = {"OpenAI-Beta": beta} if (beta := run.caller.values.get(b"openai-beta")) else {}
    response = await door.send(world.transport, permit, Request("POST", call.endpoint.value, body, headers))
    try:
        answering = await (_begin_stream(run, call, response) if call.is_stream else _whole(run, response))
    except BaseException:
        response.close()
        raise
    world.health.note(target.provider, is_ok=True, now_s=world.clock.now_s())
    return answering


async def _whole(run: Run, response: Response) -> Answering:
    body = await response.whole()
    response.finish()
    assert run.grant is not None
    try:
        answer = wire.read_answer(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _invalid(run) from None
    if answer.error is not None or (answer.choices is None and answer.data is None):
        raise _invalid(run)
    return Answering(response, body=door.scrub(body, run.grant.provider.key), usage=answer.usage)


async def _begin_stream(run: Run, call: Call, response: Response) -> Answering:
    """Wait for the first event that is no comment: until then another target may still take over."""
    if "event-stream" not in response.headers.get("content-type", ""):
        raise _invalid(run)
    chunks, reader, first = response.chunks(), sse.Reader(), []
    async for chunk in chunks:
        try:
            first += reader.feed(chunk)
        except sse.EventTooLong:
            raise _invalid(run) from None
        begun = next((event for event in first if event.data), None)
        if begun is not None:
            _check_first(run, call, begun)
            return Answering(response, first=tuple(first), chunks=chunks, reader=reader)
    raise UpstreamError(f"{_name(run)!r} ended the stream before it began.", code="upstream.cut")


def _check_first(run: Run, call: Call, event: sse.Event) -> None:
    probe = wire.Progress(call)
    try:
        probe.take(event.data)
    except wire.InvalidAnswer:
        raise _invalid(run) from None
    if probe.error is not None or probe.is_done:
        raise UpstreamError(f"{_name(run)!r} began its stream with an error.", code="upstream.failed")


def _invalid(run: Run) -> UpstreamError:
    return UpstreamError(f"{_name(run)!r} sent something that is not an answer.", code="upstream.invalid_answer")


def _name(run: Run) -> str:
    return run.grant.provider.name if run.grant is not None else "the provider"


def _nothing_left(run: Run, plan: Plan) -> FreeholdError:
    reasons = "; ".join(f"{skip.target.name}: {skip.reason}" for skip in plan.skipped)
    if any(skip.is_forbidden for skip in plan.skipped):
        return PolicyRefusal(
            f"No target may serve this call ({reasons}).",
            code="perimeter.zone_forbidden",
            hint="Use a target in an allowed zone, or a key or workload of a lower class.",
        )
    return CallerError(f"No target can serve this call ({reasons}).", code="routing.unable")


def _nobody_answered(run: Run, failures: list[UpstreamError]) -> FreeholdError:
    last = failures[-1]
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
