"""Rate limits: how many calls, how many tokens, how many at once, for a key, a workload, a department and the organisation.

Rules: a call passes all of its limits or none; tokens are taken at the worst case and what was not used comes back; an answer says
what is left in the words of the caller's dialect, by the limit that is nearest to its end.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from freehold.kernel.errors import PolicyRefusal
from freehold.kernel.limits import Limits, Rate
from freehold.ledger.pools import AT_ONCE, Credit, Lack, Lull, Pace, Pools, Share

_ONE, _ZERO = Decimal(1), Decimal(0)
Scoped = tuple[str, Limits]  # whose, and which


class Ticket(msgspec.Struct):
    """What a call took, to be given back: through which gates it went, and with how many tokens; and what was left then."""

    gates: list[_Gate]
    tokens: int = 0
    calls_left: tuple[Rate, Pace] | None = None
    tokens_left: tuple[Rate, Pace] | None = None


class TurnedAway(PolicyRefusal):
    """A limit is reached; ticket: what its limits have left, and no gate; lacks: what it would have taken."""

    ticket: Ticket | None = None
    lacks: Lack | Lull | None = None


class _Gate:
    """The limits of one scope, ready to be asked."""

    __slots__ = ("calls", "limits", "most_tokens", "places", "room", "scope", "tokens")

    def __init__(self, pools: Pools, scope: str, limits: Limits) -> None:
        self.scope, self.limits = scope, limits
        self.room = Decimal(limits.concurrent or 0)
        self.most_tokens = limits.tokens.count if limits.tokens is not None else 0
        self.places = Share(pools, f"{scope}{AT_ONCE}") if limits.concurrent is not None else None
        self.calls = Credit(pools, f"{scope} calls", limits.calls) if limits.calls is not None else None
        self.tokens = Credit(pools, f"{scope} tokens", limits.tokens) if limits.tokens is not None else None


class Throttle:
    """Lets calls pass, at the pace that their limits allow. `pools` are shared with other workers, if there are any."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._gates: dict[str, _Gate] = {}
        self._touched: set[_Gate] = set()  # since the others were last told

    def move(self, pools: Pools) -> None:
        """Go on with the same counters elsewhere."""
        self._pools = pools
        for gate in self._gates.values():
            for part in (gate.places, gate.calls, gate.tokens):
                if part is not None:
                    part.move(pools)

    def admit(self, limits: Sequence[Scoped], tokens: int, *, now_ns: int) -> Ticket:
        """Take what a call needs. tokens: the most that it may use. Raises TurnedAway `limits.*` (429), and has taken nothing then."""
        ticket = Ticket([], tokens)
        for scope, limit in limits:
            gate = self._gates.get(scope)
            if gate is None or (gate.limits is not limit and gate.limits != limit):
                gate = self._gates[scope] = _Gate(self._pools, scope, limit)
            self._touched.add(gate)
            refusal = self._pass(gate, ticket, now_ns)
            if refusal is not None:
                self.leave(ticket, 0, now_ns=now_ns, is_made=False)
                refusal.ticket = ticket
                raise refusal
            ticket.gates.append(gate)
        return ticket

    def _pass(self, gate: _Gate, ticket: Ticket, now_ns: int) -> TurnedAway | None:
        """Go through a gate, or through no part of it; returns why not."""
        places, calls, tokens = gate.places, gate.calls, gate.tokens
        if places is not None and not places.hold(_ONE, gate.room):
            return _lacking(_full(gate), Lack(places, places.short_of(_ONE), gate.room))
        if calls is not None:
            pace = calls.take(1, now_ns)
            ticket.calls_left = _nearer(ticket.calls_left, calls.rate, pace)
            if not pace.granted:
                _give_up_place(gate)
                return _lacking(_too_fast(gate.scope, "calls", calls.rate, pace, 1), Lull(calls.name, calls.rate, 1))
        if tokens is not None:
            amount = min(gate.most_tokens, ticket.tokens)
            pace = tokens.take(amount, now_ns)
            ticket.tokens_left = _nearer(ticket.tokens_left, tokens.rate, pace)
            if amount and not pace.granted:
                _give_up_place(gate)
                if calls is not None:
                    calls.repay(1, now_ns)
                refusal = _too_fast(gate.scope, "tokens", tokens.rate, pace, amount)
                return _lacking(refusal, Lull(tokens.name, tokens.rate, amount))
        return None

    def leave(self, ticket: Ticket, tokens: int | None, *, now_ns: int, is_made: bool = True) -> None:
        """Give back what was not used, once. tokens: how many were, None if that is not known; is_made: whether the call was made at all."""
        self._touched.update(ticket.gates)
        for gate in ticket.gates:
            _give_up_place(gate)
            if gate.calls is not None and not is_made:
                gate.calls.repay(1, now_ns)
            if gate.tokens is not None and tokens is not None:
                taken = min(gate.most_tokens, ticket.tokens)
                gate.tokens.repay(taken - tokens, now_ns)
        ticket.gates = []

    def tell(self, now_ns: int) -> None:
        """Give back what was taken ahead, so that other workers may have it."""
        touched, self._touched = self._touched, set()
        for gate in touched:
            if gate.places is not None:
                gate.places.tell()
                if gate.places.leased > gate.places.held:
                    self._touched.add(gate)
            for credit in (gate.calls, gate.tokens):
                if credit is not None:
                    credit.tell(now_ns)


def _lacking(refusal: TurnedAway, lacks: Lack | Lull) -> TurnedAway:
    refusal.lacks = lacks
    return refusal


def _give_up_place(gate: _Gate) -> None:
    if gate.places is not None:
        gate.places.settle(_ONE, _ZERO)


def _full(gate: _Gate) -> TurnedAway:
    return TurnedAway(
        f"{_whose(gate.scope)} may have {gate.limits.concurrent} calls at once, and has.",
        code="limits.concurrent",
        status=429,
        hint="Wait until one has ended.",
        retry_after_s=1.0,
    )


def _too_fast(scope: str, what: str, rate: Rate, pace: Pace, need: int) -> TurnedAway:
    return TurnedAway(
        f"{_whose(scope)} may use {rate.words.replace('/', f' {what} per ')}, and has {pace.left} left now; this call needs {need}.",
        code=f"limits.{what}",
        status=429,
        hint="Wait as Retry-After says, or lower max_tokens." if what == "tokens" else "Wait as Retry-After says.",
        retry_after_s=pace.wait_s,
    )


def _nearer(before: tuple[Rate, Pace] | None, rate: Rate, pace: Pace) -> tuple[Rate, Pace]:
    """Which of two limits is nearer to its end."""
    if before is None or pace.left * before[0].count < before[1].left * rate.count:
        return rate, pace
    return before


def _whose(scope: str) -> str:
    kind, _, name = scope.partition(":")
    return f"The {kind} {name!r}" if name else f"The {kind}"


def limit_headers(ticket: Ticket, dialect: str, now_s: float) -> list[tuple[bytes, bytes]]:
    """What is left, in the dialect's own headers; Gemini has none, and gets OpenAI's."""
    found = []
    for of, told in (("requests", ticket.calls_left), ("tokens", ticket.tokens_left)):
        if told is None:
            continue
        rate, pace = told
        if dialect == "anthropic-messages":
            reset = datetime.datetime.fromtimestamp(int(now_s + pace.full_s + 0.999), datetime.UTC)
            values = {"limit": str(rate.count), "remaining": str(pace.left), "reset": f"{reset:%Y-%m-%dT%H:%M:%SZ}"}
            found += [(f"anthropic-ratelimit-{of}-{name}", value) for name, value in values.items()]
        else:
            values = {"limit": str(rate.count), "remaining": str(pace.left), "reset": _span(pace.full_s)}
            found += [(f"x-ratelimit-{name}-{of}", value) for name, value in values.items()]
    return [(name.encode(), value.encode()) for name, value in found]


def _span(seconds: float) -> str:
    """A time to wait as OpenAI writes it: `6m0s`, `1.5s`, `120ms`."""
    if seconds < 1:
        return f"{-(-int(seconds * 1e6) // 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{f'{hours}h' if hours else ''}{f'{minutes}m' if minutes or hours else ''}{rest:g}s"
