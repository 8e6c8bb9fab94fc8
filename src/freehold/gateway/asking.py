"""Ask the spine from within: the callable that batches (and whoever else works through calls of their own) are handed.

Rules: such a call is a call like any other, with a key, a ruling, a budget and a receipt; it is nobody's hurry.
"""

from __future__ import annotations

import msgspec

from freehold.gateway.admission import Caller
from freehold.gateway.delivery import Headers
from freehold.gateway.logs import log_bug
from freehold.gateway.pipeline import serve
from freehold.gateway.posting import way_of
from freehold.gateway.run import Asked, Run
from freehold.gateway.world import World
from freehold.jobs.questions import Answer, Question
from freehold.kernel.errors import Bug, CallerError, FreeholdError, OperatorError
from freehold.wire.call import Endpoint
from freehold.wire.dialects import SPOKEN

ASKED = {
    f"/v1/{endpoint.value}": Asked(dialect, endpoint, is_batch=True)
    for dialect, endpoint in (
        ("openai-chat", Endpoint.CHAT),
        ("openai-chat", Endpoint.COMPLETIONS),
        ("openai-chat", Endpoint.EMBEDDINGS),
        ("openai-chat", Endpoint.RERANK),
        ("openai-chat", Endpoint.MODERATIONS),
        ("openai-responses", Endpoint.RESPONSES),
        ("anthropic-messages", Endpoint.MESSAGES),
    )
}


class _Kept:
    """An answer that is kept instead of sent."""

    def __init__(self) -> None:
        self.status, self.body = 0, b""

    async def whole(self, status: int, _headers: Headers, body: bytes) -> None:
        self.status, self.body = status, body

    async def begin(self, _headers: Headers) -> None:
        raise Bug("a call from within was answered with a stream", code="bug")

    async def part(self, data: bytes) -> None:
        """Never: nothing has begun."""

    async def end(self) -> None:
        """Never: nothing has begun."""


async def ask(world: World, question: Question) -> Answer:
    """Make one call. Never raises but when it is cancelled: whatever is wrong is an answer."""
    asked, kept = ASKED[question.path], _Kept()
    if question.may_be_posted:
        asked = msgspec.structs.replace(asked, may_be_posted=True)
    try:
        if world.is_draining:
            raise OperatorError("Freehold is shutting down.", code="server.draining", retry_after_s=1)
        world.keys.refresh(world.clock.monotonic_s())
        key = world.keys.get(question.owner)
        if key is None:
            raise CallerError("The key of this batch was revoked.", code="auth.unknown_key", status=401)
        values = {name.encode(): value for name, value in question.declared.items()}
        run: Run = await serve(world, Caller(key, values), asked, question.body, kept)
        if not run.life.is_over and run.call is not None and run.posted_to is not None:
            return Answer(0, b"", run.call_id, aside=run, way=way_of(run, run.call, run.posted_to))
        world.ledger.flush()  # whoever writes the answer down after this finds its receipt, whenever the process is killed
    except FreeholdError as refusal:
        return _refused(refusal, asked)
    except Exception as bug:  # the border: a bug is one line's error, and named in the log by its type and place alone
        log_bug(bug)
        if kept.status:  # whatever went wrong behind it, the call has its answer and its receipt
            return Answer(kept.status, kept.body, "")
        return _refused(Bug("Freehold itself failed.", code="bug"), asked)
    error = run.error
    return Answer(
        kept.status,
        kept.body,
        run.call_id,
        error.code if error is not None else "",
        run.tokens,
        error.retry_after_s if error is not None else None,
    )


def _refused(error: FreeholdError, asked: Asked) -> Answer:
    body = SPOKEN[asked.dialect].write_error(error)
    return Answer(error.status, body, "", error.code, retry_after_s=error.retry_after_s)
