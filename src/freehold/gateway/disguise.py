"""How each target is asked: as the caller said it, or, where a call may only go so, with what was found in it taken out.

Rules: the call is transformed once, when the first such target is looked at; what is fitted to a target is read once more, as it will be sent,
and a remaining finding makes that target unfit.
"""

from __future__ import annotations

from typing import Any

import msgspec

from freehold.gateway.fitting import Fitted, Fitting, Unfit
from freehold.gateway.run import Run
from freehold.kernel.classes import Class
from freehold.kernel.snapshot import Target
from freehold.perimeter.detection import weigh
from freehold.perimeter.detectors.scanner import Unread
from freehold.perimeter.transforms import Kind, Reading, Transformed, conversation_key, transform
from freehold.routing.plan import Forbidden
from freehold.wire.call import Call
from freehold.wire.strings import strings_of

_ROUNDS = 4


class Held(Unfit):
    """A target must not get this call."""


class Fits:
    """Fits one call to any target of its plan."""

    def __init__(self, run: Run, call: Call, reading: Reading | None) -> None:
        self._run, self._call, self._reading = run, call, reading
        self._plain = self._fitting(call)
        self._disguised: Fitting | None = None
        self._made: Transformed | None = None
        self._checked: set[Target] = set()
        self._key = run.world.keyring.key(run.caller.key.id, run.world.clock.now_ms()) if self.is_needed else b""

    @property
    def is_needed(self) -> bool:
        """Whether some target may only get the call transformed."""
        return self._run.ruling is not None and bool(self._run.ruling.through)

    def to(self, target: Target) -> Fitted:
        """Raises Unfit when the target cannot serve the call, or may not get it as it would have to be sent."""
        run = self._run
        assert run.ruling is not None
        provider, zone = run.snapshot.providers[target.provider], run.policy.zone_of(target)
        if zone in run.ruling.zones or zone not in run.ruling.through:
            return self._plain.to(target, provider)
        fitted = self._transformed().to(target, provider)
        if target not in self._checked:
            self._check(fitted, run.ruling.floor)
            self._checked.add(target)
        return msgspec.structs.replace(fitted, transformed=self._made)

    def why_not(self, target: Target) -> str | None:
        """The reason why a target is unfit, None if it is fit."""
        try:
            self.to(target)
        except Held as held:
            return Forbidden(held)
        except Unfit as unfit:
            return str(unfit)
        return None

    def _fitting(self, call: Call) -> Fitting:
        run = self._run
        is_lossless = run.workload is not None and run.workload.is_lossless
        return Fitting(call, run.policy.fleet.abilities.get, run.policy.zone_of, is_lossless=is_lossless)

    def _transformed(self) -> Fitting:
        if self._disguised is None:
            run, reading = self._run, self._reading
            assert run.ruling is not None
            assert run.workload is not None
            assert run.workload.transform is not None
            assert reading is not None
            key, floor = conversation_key(self._key, self._call.body), run.ruling.floor
            self._made = self._clean(run.workload.transform, reading, key, floor)
            if self._made is None:
                raise Held("may only get what was found taken out, and it is spread over two messages")
            self._disguised = self._fitting(msgspec.structs.replace(self._call, body=self._made.body))
        return self._disguised

    def _clean(self, kind: Kind, reading: Reading, key: bytes, floor: Class) -> Transformed | None:
        """Transform until nothing is found any more: what is left around a stand-in may look like something else."""
        raises, body, made = self._run.policy.raises, self._call.body, None
        for _ in range(_ROUNDS):
            more = transform(kind, body, reading, key=key, raises=raises, floor=floor)
            if more is None:
                return None
            made = more if made is None else made.then(more)
            body = made.body
            reading = self._read(body)
            left = weigh(reading.findings, raises)
            if left.class_ is None or left.class_ <= floor:
                break
        return made

    def _check(self, fitted: Fitted, floor: Class) -> None:
        """Read what would leave, as it would leave."""
        found = self._read(fitted.body).findings
        left = weigh(found, self._run.policy.raises)
        if left.class_ is not None and left.class_ > floor:
            types = ", ".join(sorted({one.type for one in found}))
            raise Held(f"would still be sent something that may not leave ({types})")

    def _read(self, body: Any) -> Reading:
        strings = strings_of(body)
        try:
            return Reading(strings, tuple(self._run.policy.scanner.scan(strings.texts, strings.seams)))
        except Unread:
            raise Held("has more encoded in it than can be read") from None
