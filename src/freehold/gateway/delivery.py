"""Step 7, first half: bring an answer to the caller.

Rules: between equal dialects a stream's events are passed on as they were framed, else they are written anew from their canonical form; a stream
that breaks off ends in exactly one error event in the caller's dialect, never in a success.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, cast

from freehold.content.answers import Again
from freehold.gateway.attempts import Answering, check_utf8, in_trouble, named
from freehold.gateway.caching import Slot, keep, kind_of
from freehold.gateway.lifecycle import State
from freehold.gateway.limits import limit_headers
from freehold.gateway.run import Run
from freehold.kernel.errors import FreeholdError, UpstreamError
from freehold.kernel.units import show_usd
from freehold.upstream import door
from freehold.wire import canonical, failures, sse
from freehold.wire.call import Call
from freehold.wire.dialects import SPOKEN
from freehold.wire.progress import Progress
from freehold.wire.restoring import Restorer

Headers = list[tuple[bytes, bytes]]


class Digest(Protocol):
    """A running hash."""

    def update(self, data: bytes, /) -> None: ...


class Reply(Protocol):
    """How an answer leaves: one whole body, or a head and then parts."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> None: ...
    async def begin(self, headers: Headers) -> None: ...
    async def part(self, data: bytes) -> None: ...
    async def end(self) -> None: ...


async def deliver_again(run: Run, call: Call, again: Again, reply: Reply) -> None:
    """Give an answer again that was given before: settled at nothing, and sent as it was then."""
    run.cached, run.lost = str(again.facts["call"]), set(map(str, cast("list[str]", again.facts["lost"])))
    said = hashlib.sha256(again.body).digest() if call.is_stream else again.body  # as the first one was committed to
    run.answer = run.world.ledger.commit(said, run.caller.key.id)
    run.settle("ok", status=200)
    age_s = max(0, run.world.clock.now_ms() - cast("int", again.facts["at_ms"])) // 1000
    headers = [(b"content-type", kind_of(again)), (b"age", str(age_s).encode()), *call_headers(run, cost="0")]
    if not call.is_stream:
        await reply.whole(200, headers, again.body)
        return
    await reply.begin(headers)
    await reply.part(again.body)
    await reply.end()


async def deliver_whole(run: Run, answering: Answering, reply: Reply, slot: Slot | None) -> None:
    """Send a unary answer: settled first, so that its headers can say what it cost. slot: where it is kept."""
    assert answering.body is not None
    run.answer = run.world.ledger.commit(answering.body, run.caller.key.id)
    run.used(answering.used)
    if run.tokens is None and run.call is not None and run.call.is_conversation:
        run.seen_tokens = -(-len(answering.body) // 4)  # not told: what was said is estimated by its size
    run.made(answering.id)
    run.first_byte_ms = run.elapsed_ms()
    run.tried("ok")
    bill = run.settle("ok", status=answering.response.status)
    headers = answer_headers(run, answering, cost=show_usd(bill.amount) if bill.amount is not None else "unknown")
    if (
        slot is not None and answering.response.status == 200
    ):  # first, so that the caller's next call finds it at any worker
        keep(run, slot, headers[0][1].decode("latin-1"), answering.body)
    await reply.whole(answering.response.status, headers, answering.body)


async def deliver_stream(run: Run, call: Call, answering: Answering, reply: Reply, slot: Slot | None) -> None:
    """Pass a stream on until it ends, then settle. slot: where it is kept."""
    progress = Progress(call.choices, needs_done=answering.fitted.dialect.needs_done)
    digest = hashlib.sha256()
    pour = _pour(run, call, answering)
    run.life.to(State.STREAMING)
    run.first_byte_ms = run.elapsed_ms()
    headers, sink = (
        answer_headers(run, answering, cost=None),
        Sink(reply, digest, slot.settings.answer_bytes if slot else 0),
    )
    await reply.begin(headers)
    try:
        await _relay(run, progress, answering, pour, sink)
        answering.response.finish()
    except UpstreamError as error:
        await _break_off(run, progress, pour, reply, error)
        return
    finally:
        answering.response.close()
    if last := pour.end(progress):
        await sink.put(last)
    run.answer = run.world.ledger.commit(digest.digest(), run.caller.key.id)
    run.tried("ok")
    run.settle("ok", status=200)
    await reply.end()
    if slot is not None and sink.kept is not None:
        keep(run, slot, headers[0][1].decode("latin-1"), b"".join(sink.kept))


def _pour(run: Run, call: Call, answering: Answering) -> Pour:
    if answering.restorer is not None:
        return Restoring(Translating(run, call), answering.restorer)
    return Passing(call) if answering.fitted.is_same else Translating(run, call)


class Pour(Protocol):
    """How a stream's events become the caller's bytes."""

    def take(self, event: sse.Event, events: Sequence[canonical.Event]) -> bytes: ...
    def end(self, progress: Progress) -> bytes: ...
    def fail(self, error: FreeholdError) -> bytes: ...


class Passing:
    """The same dialect on both sides: events pass on as they were framed. The usage that only Freehold asked for is held back."""

    __slots__ = ("_call", "_count", "_has_failed", "_hides_usage", "_is_array", "_spoken")

    def __init__(self, call: Call) -> None:
        self._call, self._spoken = call, SPOKEN[call.dialect]
        self._hides_usage = self._spoken.usage_is_optional and not call.wants_usage
        self._is_array = call.framing == "json"
        self._count = 0
        self._has_failed = False

    def take(self, event: sse.Event, events: Sequence[canonical.Event]) -> bytes:
        if len(events) == 1:
            kind = type(events[0])
            if kind is canonical.Used and self._hides_usage:
                return b""
        if events and type(events[-1]) is canonical.Fail:
            self._has_failed = True  # the provider's own words end the stream, in the dialect that both sides speak
        check_utf8(event.data)
        if not self._is_array:
            return event.raw
        if not event.data:
            return b""
        self._count += 1
        return (b"[" if self._count == 1 else b",\r\n") + event.data

    def end(self, progress: Progress) -> bytes:
        if self._is_array:
            return b"]" if self._count else b"[]"
        return b"" if progress.is_done else self._spoken.done

    def fail(self, error: FreeholdError) -> bytes:
        if self._has_failed:
            return b"]" if self._is_array else b""
        if self._count:
            return b",\r\n" + self._spoken.write_error(error) + b"]"
        return self._spoken.stream_writer(self._call, set()).fail(error)


class Translating:
    """Another dialect: events are written anew. What they could not carry is added to what the receipt calls lost."""

    __slots__ = ("_has_begun", "_run", "_writer")

    def __init__(self, run: Run, call: Call) -> None:
        self._run = run
        self._has_begun = False
        self._writer = run.spoken.stream_writer(call, run.lost)

    def take(self, event: sse.Event, events: Sequence[canonical.Event]) -> bytes:
        """A stream begins once, with an id and a model, whether its provider says so never or twice."""
        if not events:
            return b""
        first = events[0]
        if isinstance(first, canonical.Begin):
            events = events[1:]
        if not self._has_begun:
            self._has_begun = True
            begun = first if isinstance(first, canonical.Begin) else canonical.Begin("", "")
            events = [named(begun, self._run), *events]
        return self._writer.take(events)

    def end(self, progress: Progress) -> bytes:
        return self._writer.end()

    def fail(self, error: FreeholdError) -> bytes:
        return self._writer.fail(error)


class Restoring:
    """What was replaced is put back, so the words are written anew whatever the dialect."""

    __slots__ = ("_inner", "_restorer")

    def __init__(self, inner: Translating, restorer: Restorer) -> None:
        self._inner, self._restorer = inner, restorer

    def take(self, event: sse.Event, events: Sequence[canonical.Event]) -> bytes:
        return self._inner.take(event, self._restorer.take(events))

    def end(self, progress: Progress) -> bytes:
        return self._inner.end(progress)

    def fail(self, error: FreeholdError) -> bytes:
        return self._inner.fail(error)


class Sink:
    """Where the bytes of a stream go: to the caller, into the digest that the receipt commits to, and beside if there are no more than so many."""

    __slots__ = ("_digest", "_reply", "_room", "kept")

    def __init__(self, reply: Reply, digest: Digest, most: int) -> None:
        self._reply, self._digest, self._room = reply, digest, most
        self.kept: list[bytes] | None = [] if most else None

    async def put(self, data: bytes) -> None:
        self._digest.update(data)
        if self.kept is not None:
            self._room -= len(data)
            self.kept.append(data)
            if self._room < 0:
                self.kept = None
        await self._reply.part(data)


async def _relay(run: Run, progress: Progress, answering: Answering, pour: Pour, sink: Sink) -> None:
    """Pass events on as they come. Raises UpstreamError if the stream is not an answer or ends before it is complete."""
    chunks, frames, reader = answering.chunks, answering.frames, answering.reader
    assert chunks is not None
    assert frames is not None
    assert reader is not None
    assert run.grant is not None
    name, secret = run.grant.provider.name, run.grant.provider.key
    events: Sequence[sse.Event] = answering.first
    read = list(answering.events)
    try:
        while True:
            kept = []
            for event, found in zip(events, read, strict=True):
                progress.take(found)
                kept.append(pour.take(event, found))
                if progress.is_done or progress.trouble is not None:
                    break
            run.seen_tokens = progress.spoken
            if run.seen_tokens >= run.counts_at:
                run.count_so_far()
            run.used(progress.used)
            if answering.fitted.is_same and answering.fitted.dialect.stored_of is not None:
                run.made(progress.id)
            if data := b"".join(kept):
                await sink.put(door.scrub(data, secret))
            if progress.is_done:
                return
            if progress.trouble is not None:
                raise in_trouble(name, progress.trouble)
            chunk = await anext(chunks, None)
            events = frames.feed(chunk) if chunk is not None else frames.close()
            if chunk is None and not events:
                break
            read = [reader.take(event) for event in events]
    except (canonical.InvalidAnswer, sse.EventTooLong):
        raise UpstreamError(f"{name!r} sent something that is not an answer.", code="upstream.invalid_answer") from None
    if not progress.is_complete:
        raise UpstreamError(f"{name!r} ended the stream before the answer was complete.", code="upstream.cut")


async def _break_off(run: Run, progress: Progress, pour: Pour, reply: Reply, error: FreeholdError) -> None:
    run.tried(error.code)
    run.settle("cut", status=200, error=error)
    await reply.part(pour.fail(error))
    await reply.end()


def answer_headers(run: Run, answering: Answering, *, cost: str | None) -> Headers:
    """The head of an answer: content type, a short list of the provider's headers, and what Freehold says of the call."""
    theirs, is_same = answering.response.headers, answering.fitted.is_same
    kind = theirs.get("content-type", "application/json") if is_same else "application/json"
    if answering.body is None and (not is_same or run.asked.address.framing == "json"):
        kind = "application/json" if run.asked.address.framing == "json" else "text/event-stream; charset=utf-8"
    headers: Headers = [(b"content-type", kind.encode("latin-1"))]
    for name, value in failures.headers_down(theirs, run.asked.dialect, is_same=is_same):
        headers.append((name.encode("latin-1", "replace"), value.encode("latin-1", "replace")))
    return headers + call_headers(run, cost=cost)


def call_headers(run: Run, *, cost: str | None = None) -> Headers:
    """What Freehold says of a call, if the configuration lets callers see it."""
    headers: Headers = [(b"x-freehold-call-id", run.call_id.encode())]
    if not run.snapshot.server.headers:
        return headers
    if run.ruling is not None:
        headers.append((b"x-freehold-class", run.ruling.class_.label.encode()))
    if run.grant is not None:
        headers.append((b"x-freehold-target", run.grant.target.name.encode("utf-8", "replace")))
        headers.append((b"x-freehold-zone", run.grant.zone.encode()))
        headers.append((b"x-freehold-attempts", str(len(run.attempts) + run.is_trying).encode()))
        headers.append((b"x-freehold-receipt", run.leaf.encode()))
        headers.append((b"x-freehold-promise", run.world.ledger.promise(run.leaf).encode()))
    if run.transformed is not None:
        headers.append((b"x-freehold-transform", run.transformed.words().encode()))
    if run.ticket is not None:
        headers += limit_headers(run.ticket, run.asked.dialect, run.world.clock.now_s())
    if run.cached is not None:
        headers.append((b"x-freehold-cache", b"hit"))
    if run.degraded is not None:
        headers.append((b"x-freehold-degraded", run.degraded.encode()))
    if run.lost:
        headers.append((b"x-freehold-lost", ", ".join(sorted(run.lost)).encode()))
    if cost is not None:
        headers.append((b"x-freehold-cost-usd", cost.encode()))
    return headers
