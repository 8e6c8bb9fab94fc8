"""How every target is doing: who is quick, who fails, who said that it has had enough.

Rules: a target that fails three times in a row, or half of its calls, is given a rest, and at its end one call goes there first (the probe);
what it says decides. A rest doubles each time, up to a minute. Where there is no other target, one call at a time may go all the while. A failure to connect is its provider's, with all its targets. What a provider tells
of its own limits is mirrored, so that a call that would only be refused is not sent. A caller that leaves says nothing about a target. Times are
those of a clock that never steps.
What it does not know: in which order targets are tried, and what becomes of a call that finds none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from freehold.kernel.snapshot import Target
from freehold.routing.plan import Vital
from freehold.wire.allowances import Told, told

IN_A_ROW, SHARE, LEAST = 3, 0.5, 20  # failures in a row, or that share of at least so many calls within the window
WINDOW_S = 30.0
REST_S, LONGEST_REST_S = 2.0, 60.0
LONGEST_PAUSE_S = 3_600.0  # whatever a provider asks for
_FADES_S = 10.0  # how quickly an old latency is forgotten
_MOST = 4_096  # callers may name models: they must not choose our memory
_PROVIDERS_OWN = frozenset({"upstream.unreachable", "upstream.tls", "upstream.address_forbidden"})


class _Allowance:
    """The mirror of one limit: a bucket that fills evenly until it is full again; where its size is not told, all comes back at the reset."""

    __slots__ = ("at_s", "full_s", "left", "limit", "per_s")

    def __init__(self, said: Told, now_s: float) -> None:
        reset_s = max(said.reset_s, 0.001) if said.reset_s is not None else 0.0
        self.limit = float(said.limit) if said.limit else math.inf
        self.left, self.at_s, self.full_s = float(said.remaining), now_s, now_s + reset_s
        self.per_s = max(self.limit - said.remaining, 1.0) / reset_s if reset_s and said.limit else 0.0

    def wait_s(self, need: float, now_s: float) -> float:
        """How long until so much may be taken. Half of the whole is enough for any call: what it will need is only guessed."""
        if now_s >= self.full_s:
            self.left = max(self.left, self.limit) if not self.per_s else self.left
        self.left = min(self.limit, self.left + max(now_s - self.at_s, 0.0) * self.per_s)
        self.at_s = max(now_s, self.at_s)
        short = min(need, self.limit / 2) - self.left
        if short <= 0:
            return 0.0
        return short / self.per_s if self.per_s else max(self.full_s - now_s, 0.0)


class _Patient:
    """What is known of one target, or of a provider as a whole."""

    __slots__ = ("allowances", "bad", "good", "in_a_row", "in_flight", "is_probed", "latency_s", "noted_s", "paused_s", "pauses", "rests", "until_s", "window_s")  # fmt: skip

    def __init__(self) -> None:
        self.in_flight = 0
        self.latency_s: float | None = None
        self.noted_s = self.until_s = self.paused_s = self.window_s = 0.0
        self.good = self.bad = self.in_a_row = self.rests = self.pauses = 0
        self.is_probed = False  # the rest is over, and the call that finds out is under way
        self.allowances: dict[str, _Allowance] = {}

    def is_resting(self, now_s: float) -> bool:
        return self.rests > 0 and (now_s < self.until_s or self.is_probed)

    def count(self, *, is_ok: bool, now_s: float) -> None:
        if now_s - self.window_s > WINDOW_S:
            self.window_s = now_s
            self.good, self.bad = self.good // 2, self.bad // 2
        self.good, self.bad = self.good + is_ok, self.bad + (not is_ok)

    @property
    def failing(self) -> float:
        seen = self.good + self.bad
        return self.bad / seen if seen >= LEAST // 2 else 0.0


class Health:
    """The vital signs of one process' targets. changed: told when a target is given a rest (True), and when it is well again."""

    def __init__(self, changed: Callable[[str, bool], None] = lambda _name, _rests: None) -> None:
        self._targets: dict[Target, _Patient] = {}
        self._providers: dict[str, _Patient] = {}  # only those that could not be reached
        self._changed = changed

    def vital(self, target: Target, now_s: float) -> Vital:
        """What routing looks at."""
        own, whole = self._targets.get(target), self._providers.get(target.provider)
        is_resting = whole is not None and whole.is_resting(now_s)
        if own is None:
            return Vital(is_resting=is_resting)
        is_resting = is_resting or own.is_resting(now_s) or own.paused_s > now_s
        return Vital(own.in_flight, own.latency_s, own.failing, is_resting)

    def wait_s(self, target: Target, tokens: int, now_s: float) -> float:
        """How long until its provider would take a call of so many tokens, as far as it has said."""
        own = self._targets.get(target)
        if own is None:
            return 0.0
        wait = own.paused_s - now_s
        for of, allowance in own.allowances.items():
            wait = max(wait, allowance.wait_s(1 if of == "requests" else tokens, now_s))
        return wait if wait > 0 else 0.0

    def rest_s(self, target: Target, now_s: float, *, is_last: bool = False) -> float:
        """How long a target is not to be tried; 0 if it may be now. is_last: there is no other, so one call at a time may find out at any moment."""
        own = self._targets.get(target)
        if is_last and (own is None or not own.in_flight):
            return 0.0
        found = 0.0
        for one in (own, self._providers.get(target.provider)):
            if one is not None and one.is_resting(now_s):
                found = max(found, one.until_s - now_s, 0.1)
        return found

    def take(self, target: Target, tokens: int) -> None:
        """A call of so many tokens is about to go there (below nothing: is not, after all), by what its provider said of its limits."""
        own = self._targets.get(target)
        if own is not None:
            for of, allowance in own.allowances.items():
                allowance.left -= tokens if of == "tokens" else 1 if tokens >= 0 else -1

    def begin(self, target: Target) -> None:
        """A call goes there now. After a rest it is the one that finds out."""
        own = self._known(target)
        own.in_flight += 1
        for one in (own, self._providers.get(target.provider)):
            if one is not None and one.rests:
                one.is_probed = True

    def heard(
        self, target: Target, headers: Mapping[str, str], latency_s: float, *, now_s: float, wall_s: float
    ) -> None:
        """An answer has begun: how long that took, and what it tells of limits. wall_s: seconds since 1970, by which some providers tell times."""
        own = self._known(target)
        if own.latency_s is None:
            own.latency_s = latency_s
        else:  # a slower answer counts at once, a quicker one by and by
            keep = math.exp(-max(now_s - own.noted_s, 0.0) / _FADES_S) if latency_s < own.latency_s else 0.5
            own.latency_s = own.latency_s * keep + latency_s * (1 - keep)
        own.noted_s = now_s
        for said in told(headers, wall_s):
            own.allowances[said.of] = _Allowance(said, now_s)

    def end(self, target: Target, code: str, now_s: float, retry_after_s: float | None = None) -> None:
        """A call is over. code: `ok`, the error's, or anything else for one that says nothing of the target."""
        own, whole = self._known(target), self._providers.get(target.provider)
        own.in_flight = max(0, own.in_flight - 1)
        if code in ("ok", "upstream.rate_limited"):  # who refuses politely is alive
            self._pause(own, code, now_s, retry_after_s)
            self._well(target.name, own, now_s)
            if whole is not None:
                self._well(target.provider, whole, now_s)
            return
        is_failure = code.startswith("upstream.") and code not in ("upstream.busy", "upstream.resting")
        if is_failure:
            self._failed(target.name, own, now_s)
        else:
            own.is_probed = False
        if code in _PROVIDERS_OWN:
            self._failed(target.provider, self._providers.setdefault(target.provider, _Patient()), now_s)
        elif whole is not None and is_failure:  # whoever answers badly can be reached
            self._well(target.provider, whole, now_s)
        elif whole is not None:
            whole.is_probed = False

    def speaks(self, target: Target) -> None:
        """A stream has begun as it should: nobody need wait for its end to know that its target is well again."""
        for name, one in (
            (target.name, self._targets.get(target)),
            (target.provider, self._providers.get(target.provider)),
        ):
            if one is not None and one.rests:
                self._recovered(name, one)

    def _pause(self, own: _Patient, code: str, now_s: float, retry_after_s: float | None) -> None:
        if code == "ok":
            own.pauses = 0
            return
        own.pauses += 1
        wait = retry_after_s if retry_after_s is not None else min(2.0 ** (own.pauses - 1), LONGEST_REST_S)
        own.paused_s = max(own.paused_s, now_s + min(wait, LONGEST_PAUSE_S))

    def _well(self, name: str, one: _Patient, now_s: float) -> None:
        one.count(is_ok=True, now_s=now_s)
        one.in_a_row = 0
        if one.rests and one.is_probed:
            self._recovered(name, one)

    def _recovered(self, name: str, one: _Patient) -> None:
        one.rests, one.is_probed, one.bad, one.in_a_row = 0, False, 0, 0
        self._changed(name, False)

    def _failed(self, name: str, one: _Patient, now_s: float) -> None:
        one.count(is_ok=False, now_s=now_s)
        one.in_a_row += 1
        seen = one.good + one.bad
        is_enough = one.in_a_row >= IN_A_ROW or (seen >= LEAST and one.bad / seen >= SHARE)
        if one.is_probed or (is_enough and not one.is_resting(now_s)):
            one.until_s = now_s + min(REST_S * 2**one.rests, LONGEST_REST_S)
            one.rests = min(one.rests + 1, 16)
            one.is_probed, one.in_a_row = False, 0
            self._changed(name, True)

    def _known(self, target: Target) -> _Patient:
        found = self._targets.get(target)
        if found is None:
            if len(self._targets) >= _MOST:
                idle = next((name for name, one in self._targets.items() if not one.in_flight), None)
                if idle is not None:
                    del self._targets[idle]
            found = self._targets[target] = _Patient()
        return found
