"""Step 3, second half: read a call for what its caller did not declare, and rule again.

Rules (DESIGN §3, laws 2 and 3): what is found may only raise; a detector that fails or takes too long makes the call restricted; a call that
may only stay inside is not read, because nothing could be raised. Long texts are read off the loop.
"""

from __future__ import annotations

import asyncio

import msgspec

from freehold.gateway.logs import log_bug
from freehold.gateway.run import Run
from freehold.kernel.classes import Class, Zone
from freehold.kernel.errors import CallerError
from freehold.perimeter.detection import BLIND, NOTHING, UNREAD, weigh
from freehold.perimeter.detectors.scanner import Finding, Unread
from freehold.perimeter.ruling import Declared, Ruling, rule
from freehold.perimeter.transforms import Reading
from freehold.routing.plan import Choice
from freehold.wire.call import Call
from freehold.wire.strings import Strings, strings_of

LONG = 16 * 1024  # bytes of a body from which it is read in a thread: what is made to be slow takes 10 µs a byte
DEADLINE_S = 20.0
_LONGEST_NAME = 512  # characters of a model that nobody listed: it is read on the loop, and written down
_INSIDE = frozenset({Zone.INSIDE})


async def rule_on(run: Run, call: Call, declared: Declared) -> tuple[Ruling, Reading | None]:
    """Rule on a decoded call: by what was declared, then by what is in it."""
    base = run.policy.base_ruling(declared)
    run.has_more = bool(call.refers or call.unrecorded)
    if base.zones == _INSIDE:
        run.has_more = run.has_more or (bool(run.budgets) and strings_of(call.body).is_opaque)
        return base, None
    in_path = () if "model" in call.body else (call.model,)
    strings = strings_of(call.body, *in_path, *run.caller.passed)
    run.has_more = run.has_more or strings.is_opaque
    try:
        findings = await _scan(run, call, strings)
        reading, found = Reading(strings, tuple(findings)), weigh(findings, run.policy.raises)
    except (Unread, TimeoutError):
        reading, found = None, UNREAD
    except Exception as error:  # the border: whatever went wrong, the call is held inside
        log_bug(error)
        reading, found = None, BLIND
    if found is NOTHING and not strings.is_opaque and base.class_ < Class.CONFIDENTIAL:
        return base, reading
    declared = msgspec.structs.replace(declared, found=found, is_opaque=strings.is_opaque)
    ruling = _known(run, call, declared)
    return (ruling if reading is None else _through(run, call, declared, base.class_, ruling)), reading


def check_name(run: Run, choice: Choice) -> None:
    """A model that nobody listed is named by its caller, and names are written down. Raises CallerError 404 for one that tells something."""
    target = choice.groups[0][0]
    if choice.name != target.name or target in run.policy.fleet.abilities:
        return
    if len(target.model) > _LONGEST_NAME or not target.model.isprintable() or run.policy.scanner.scan([target.model]):
        raise CallerError("This model is not known here.", code="routing.unknown_model", status=404)


async def _scan(run: Run, call: Call, strings: Strings) -> list[Finding]:
    scanner = run.policy.scanner
    if call.size < LONG:
        return scanner.scan(strings.texts, strings.seams)
    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.to_thread(scanner.scan, strings.texts, strings.seams)


def _known(run: Run, call: Call, declared: Declared) -> Ruling:
    """Rule; from confidential up also by whether every field is known, which costs a walk."""
    ruling = rule(declared, run.snapshot)
    if ruling.class_ >= Class.CONFIDENTIAL and ruling.zones != _INSIDE and not run.spoken.knows(call):
        return rule(msgspec.structs.replace(declared, has_unknown=True), run.snapshot)
    return ruling


def _through(run: Run, call: Call, declared: Declared, floor: Class, ruling: Ruling) -> Ruling:
    """Where a workload that transforms lets the call go as what was declared; pictures and the like cannot be transformed."""
    workload = run.workload
    is_restored = call.is_conversation or not call.is_stream  # streams of other endpoints pass as they come
    if (
        workload is None
        or workload.transform is None
        or ruling.class_ <= floor
        or declared.is_opaque
        or not is_restored
    ):
        return ruling
    as_declared = _known(run, call, msgspec.structs.replace(declared, found=NOTHING))
    return msgspec.structs.replace(ruling, floor=floor, through=as_declared.zones - ruling.zones)
