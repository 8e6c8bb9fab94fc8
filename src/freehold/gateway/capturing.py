"""Keep some calls as cases for a verdict: what was asked, sealed, with a lifetime, and only where a workload opted in.

Rules: which calls are kept depends on their random ids alone, so that they are a sample of the traffic; a call is kept with the class that it was ruled to have, and
asked again it is raised to it; whoever erases a key erases its cases. A call never fails for it.
"""

from __future__ import annotations

import hashlib
import sqlite3

from freehold.content.answers import Again, Room
from freehold.gateway.lifecycle import State
from freehold.gateway.logs import log
from freehold.gateway.run import Run
from freehold.kernel.errors import CallerError
from freehold.kernel.routes import Traits
from freehold.wire import strict
from freehold.wire.call import Call
from freehold.wire.canonical import Unable
from freehold.wire.dialect import MISSHAPEN, guarded
from freehold.wire.dialects import DIALECTS, SPOKEN

_FIELDS = ("messages", "tools", "response_format")


def room_of(workload: str) -> str:
    """The name under which a workload's cases are kept."""
    return f"captured {workload}"


def capture(run: Run, call: Call) -> None:
    """Keep a call that was answered, if it is drawn."""
    workload, ruling = run.workload, run.ruling
    settings = workload.capture if workload is not None else None
    if workload is None or settings is None or ruling is None or run.life.state is not State.SETTLED:
        return
    if (
        not run.caller.allows_capture
        or not call.is_conversation
        or call.refers
        or call.needs_state
        or call.unrecorded
        or not _is_drawn(run.call_id, settings.share)
    ):
        return
    asked = _asked(call)
    if asked is None:
        return
    now_ms = run.world.clock.now_ms()
    case = {
        "id": run.call_id,
        **asked,
        "class": ruling.class_.label,
        "labels": list(ruling.labels),
        "caller": run.caller.key.id,
    }
    room = Room(room_of(workload.name), settings.entries, settings.bytes)
    key, until_ms = hashlib.sha256(run.call_id.encode()).digest(), now_ms + int(settings.ttl * 1000)
    try:
        run.world.cache.keep(
            key,
            run.caller.key.id,
            Again({"at_ms": now_ms}, strict.encode(case)),
            room,
            now_ms=now_ms,
            until_ms=until_ms,
        )
    except (sqlite3.Error, OSError) as error:
        log("capture", reason=type(error).__name__)


def _is_drawn(call_id: str, share: float) -> bool:
    return int.from_bytes(hashlib.sha256(f"capture {call_id}".encode()).digest()[:8], "big") < share * 2**64


def _asked(call: Call) -> dict[str, object] | None:
    """What a call asks, in OpenAI's chat form; None for what that cannot say."""
    body = call.body
    if call.dialect != "openai-chat":
        try:
            body = DIALECTS["openai-chat"].write_request(guarded(SPOKEN[call.dialect], call), "", Traits(), set())
        except (Unable, CallerError, *MISSHAPEN):
            return None
    return {name: body[name] for name in _FIELDS if body.get(name)}
