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
from freehold.perimeter.detection import BLIND, Found, weigh
from freehold.perimeter.ruling import Declared, Ruling, rule
from freehold.wire.call import Call
from freehold.wire.strings import Strings, strings_of

LONG = 256 * 1024  # bytes of a body from which it is read in a thread
DEADLINE_S = 20.0
_INSIDE = frozenset({Zone.INSIDE})


async def rule_on(run: Run, call: Call, declared: Declared) -> Ruling:
    """Rule on a decoded call: by what was declared, then by what is in it."""
    ruling = rule(declared, run.snapshot)
    if ruling.zones == _INSIDE:
        return ruling
    strings = strings_of(call.body)
    declared = msgspec.structs.replace(declared, found=await _detect(run, call, strings), is_opaque=strings.is_opaque)
    ruling = rule(declared, run.snapshot)
    if ruling.class_ >= Class.CONFIDENTIAL and ruling.zones != _INSIDE and not run.spoken.knows(call):
        ruling = rule(msgspec.structs.replace(declared, has_unknown=True), run.snapshot)
    return ruling


async def _detect(run: Run, call: Call, strings: Strings) -> Found:
    scanner, raises = run.world.scanner, run.world.raises
    try:
        if call.size < LONG:
            findings = scanner.scan(strings.texts, strings.seams)
        else:
            async with asyncio.timeout(DEADLINE_S):
                findings = await asyncio.to_thread(scanner.scan, strings.texts, strings.seams)
        return weigh(findings, raises)
    except Exception as error:  # the border: whatever went wrong, the call is held inside
        log_bug(error)
        return BLIND
