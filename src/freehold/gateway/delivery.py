"""Step 7, first half: bring an answer to the caller.

Rules: a stream's events are passed on as they were framed; the usage that only Freehold asked for is held back; a stream that breaks off ends in exactly one
error event in the caller's dialect, never in a success.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from freehold.gateway.attempts import Answering
from freehold.gateway.lifecycle import State
from freehold.gateway.run import Run
from freehold.kernel.errors import FreeholdError, UpstreamError
from freehold.kernel.units import show_usd
from freehold.upstream import door
from freehold.wire import openai_chat as wire
from freehold.wire import sse
from freehold.wire.call import Call

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


async def deliver_whole(run: Run, answering: Answering, reply: Reply) -> None:
    """Send a unary answer: settled first, so that its headers can say what it cost."""
    assert answering.body is not None
    run.answer = run.world.ledger.commit(answering.body)
    if answering.usage is not None:
        run.tokens = answering.usage.tokens()
    run.first_byte_ms = run.elapsed_ms()
    run.tried("ok")
    bill = run.settle("ok", status=answering.response.status)
    headers = answer_headers(run, answering, cost=show_usd(bill.amount) if bill.amount is not None else "unknown")
    await reply.whole(answering.response.status, headers, answering.body)


async def deliver_stream(run: Run, call: Call, answering: Answering, reply: Reply) -> None:
    """Pass a stream on until it ends, then settle."""
    progress, digest = wire.Progress(call), hashlib.sha256()
    run.life.to(State.STREAMING)
    run.first_byte_ms = run.elapsed_ms()
    await reply.begin(answer_headers(run, answering, cost=None))
    try:
        await _relay(run, progress, answering, reply, digest)
        answering.response.finish()
    except UpstreamError as error:
        await _break_off(run, progress, reply, error)
        return
    finally:
        answering.response.close()
    if not progress.is_done:
        await reply.part(sse.write(wire.DONE))
    _take_usage(run, progress)
    run.answer = run.world.ledger.commit(digest.digest())
    run.tried("ok")
    run.settle("ok", status=200)
    await reply.end()


async def _relay(run: Run, progress: wire.Progress, answering: Answering, reply: Reply, digest: Digest) -> None:
    """Pass events on as they come. Raises UpstreamError if the stream is not an answer or ends before it is complete."""
    assert answering.chunks is not None
    assert answering.reader is not None
    assert run.grant is not None
    name, secret = run.grant.provider.name, run.grant.provider.key
    events: list[sse.Event] = list(answering.first)
    try:
        while True:
            kept = [event.raw for event in events if progress.take(event.data)]
            run.seen_tokens = progress.events
            if kept:
                data = door.scrub(b"".join(kept), secret)
                digest.update(data)
                await reply.part(data)
            if progress.error is not None:
                break
            if progress.is_done:
                return
            chunk = await anext(answering.chunks, None)
            events = answering.reader.feed(chunk) if chunk is not None else answering.reader.close()
            if chunk is None and not events:
                break
    except (wire.InvalidAnswer, sse.EventTooLong):
        raise UpstreamError(f"{name!r} sent something that is not an answer.", code="upstream.invalid_answer") from None
    if progress.error is not None or not progress.is_complete:
        raise UpstreamError(f"{name!r} ended the stream before the answer was complete.", code="upstream.cut")


async def _break_off(run: Run, progress: wire.Progress, reply: Reply, error: FreeholdError) -> None:
    assert run.grant is not None
    run.world.health.note(run.grant.provider.name, is_ok=False, now_s=run.world.clock.now_s())
    _take_usage(run, progress)
    run.tried(error.code)
    run.settle("cut", status=200, error=error)
    await reply.part(sse.write(wire.write_error(error)))
    await reply.end()


def _take_usage(run: Run, progress: wire.Progress) -> None:
    if progress.usage is not None:
        run.tokens = progress.usage.tokens()


def answer_headers(run: Run, answering: Answering, *, cost: str | None) -> Headers:
    """The head of an answer: content type, a short list of the provider's headers, and what Freehold says of the call."""
    theirs = answering.response.headers
    headers: Headers = [(b"content-type", theirs.get("content-type", "application/json").encode("latin-1"))]
    for name in door.FORWARDED_DOWN:
        if (value := theirs.get(name)) is not None:
            headers.append((name.encode(), value.encode("latin-1", "replace")))
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
        headers.append((b"x-freehold-attempts", str(len(run.attempts) or 1).encode()))
        headers.append((b"x-freehold-receipt", run.leaf.encode()))
    if cost is not None:
        headers.append((b"x-freehold-cost-usd", cost.encode()))
    return headers
