"""The exact cache: the same question of the same caller gets the same answer, at no cost, without leaving.

Rules: a workload must ask for it; what makes a question is everything that could change its answer (the whole body, what the path and the passed
headers say, the dialect, the name that was asked for, the class that was found, the policy, the caller), by a keyed hash of all of it, so that
nothing can be forgotten one by one; an answer that was drawn by chance, offered tools, came from a target that was not the first choice, broke off
or is kept by its provider is not kept. A hit is ruled on, limited and recorded like any call.
"""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Collection

import msgspec

from freehold.content.answers import Again, Room
from freehold.gateway.logs import log
from freehold.gateway.run import Run
from freehold.kernel.schema import Cache
from freehold.kernel.snapshot import Target
from freehold.wire.call import COUNTS, STORED, Call, Endpoint
from freehold.wire.quiet import uses_hosted
from freehold.wire.sampling import is_sampled

_canonical = msgspec.json.Encoder(order="sorted").encode


class Slot(msgspec.Struct, frozen=True):
    """Where the answer to a call is kept: its key and owner; firsts: the targets whose answers may be kept."""

    key: bytes
    subject: str
    settings: Cache
    firsts: Collection[Target]


def slot_of(run: Run, call: Call, firsts: Collection[Target]) -> Slot | None:
    """Where this call's answer would be, None for one that is not kept."""
    workload, ruling = run.workload, run.ruling
    settings = workload.cache if workload is not None else None
    if (
        workload is None
        or settings is None
        or ruling is None
        or not _may_be_kept(call, settings)
        or "no-store" in run.caller.cache_control
    ):
        return None
    subject = run.caller.key.id if settings.scope == "key" else f"workload:{workload.name}"
    asked = run.asked.address
    question = _canonical(
        [
            "freehold cache 1",
            run.snapshot.digest,
            run.policy.scanner.digest,
            workload.name,
            ruling.class_.label,
            call.dialect,
            call.endpoint.value,
            [asked.model, asked.is_stream, asked.framing, asked.query],
            run.caller.passed_on,
            run.caller.allows_fallback,
            call.body,
        ]
    )
    return Slot(hmac.digest(run.world.subject_key(subject), question, "sha256"), subject, settings, firsts)


def _may_be_kept(call: Call, settings: Cache) -> bool:
    if call.endpoint in COUNTS or call.endpoint in STORED or call.is_background:
        return False
    if call.refers or call.needs_state or call.unrecorded:
        return False
    if call.endpoint is Endpoint.RESPONSES and call.body.get("store") is not False:
        return False  # its provider keeps it under an id, which is one call's and no other's
    if not settings.tools and ("tools" in call.needs or uses_hosted(call.dialect, call.body)):
        return False
    return settings.sampling or not is_sampled(call)


def look(run: Run, slot: Slot) -> Again | None:
    """The answer that is kept for a call, if it may be given."""
    if {"no-cache", "max-age=0"} & {one.strip() for one in run.caller.cache_control.split(",")}:
        return None
    try:
        return run.world.cache.find(slot.key, run.world.clock.now_ms())
    except (sqlite3.Error, OSError) as error:  # a call never needs the cache
        log("cache", reason=type(error).__name__)
        return None


def keep(run: Run, slot: Slot, kind: str, body: bytes) -> None:
    """Keep an answer that was given whole."""
    if run.grant is None or run.grant.target not in slot.firsts or run.degraded is not None:
        return
    if run.answer_id is not None or len(body) > slot.settings.answer_bytes or run.workload is None:
        return
    now_ms = run.world.clock.now_ms()
    facts: dict[str, str | int | list[str]] = {
        "call": run.call_id,
        "kind": kind,
        "at_ms": now_ms,
        "lost": sorted(run.lost),
    }
    room = Room(run.workload.name, slot.settings.entries, slot.settings.bytes)
    until_ms = now_ms + int(slot.settings.ttl * 1000)
    try:
        run.world.cache.keep(slot.key, slot.subject, Again(facts, body), room, now_ms=now_ms, until_ms=until_ms)
    except (sqlite3.Error, OSError) as error:
        log("cache", reason=type(error).__name__)


def kind_of(again: Again) -> bytes:
    """The content type of an answer that is given again."""
    return str(again.facts["kind"]).encode("latin-1", "replace")
