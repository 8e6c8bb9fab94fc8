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
from freehold.ledger.pools import Pace, Pools, Share

_ONE, _ZERO = Decimal(1), Decimal(0)
Scoped = tuple[str, Limits]  # whose, and which


class Ticket(msgspec.Struct):
    """What a call took, to be given back: places among the calls at once, and tokens of each rate."""

    places: list[Share]
    tokens: list[tuple[str, Rate]]
    amount: int = 0
    calls_pace: tuple[Rate, Pace] | None = None
    tokens_pace: tuple[Rate, Pace] | None = None


class Throttle:
    """Lets calls pass, at the pace that their limits allow. `pools` are shared with other workers, if there are any."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._places: dict[str, Share] = {}

    def admit(self, limits: Sequence[Scoped], tokens: int, *, now_ns: int) -> Ticket:
        """Take what a call needs. tokens: the most that it may use. Raises PolicyRefusal `limits.*` (429), and has taken nothing then."""
        ticket = Ticket([], [], tokens)
        taken: list[tuple[str, Rate]] = []
        try:
            for scope, limit in limits:
                if limit.concurrent is not None:
                    self._enter(scope, limit.concurrent, ticket)
                if limit.calls is not None:
                    ticket.calls_pace = self._pace(scope, "calls", limit.calls, 1, (ticket.calls_pace, now_ns))
                    taken.append((f"{scope} calls", limit.calls))
                if limit.tokens is not None:
                    ticket.tokens_pace = self._pace(scope, "tokens", limit.tokens, tokens, (ticket.tokens_pace, now_ns))
                    ticket.tokens.append((f"{scope} tokens", limit.tokens))
        except PolicyRefusal:
            for name, rate in taken:
                self._pools.repay(name, rate, 1, now_ns)
            self.leave(ticket, 0, now_ns=now_ns)
            raise
        return ticket

    def leave(self, ticket: Ticket, tokens: int | None, *, now_ns: int) -> None:
        """Give back what was not used. tokens: how many were, None if that is not known."""
        for share in ticket.places:
            share.settle(_ONE, _ZERO)
            share.tell()
        ticket.places = []
        if tokens is not None:
            for name, rate in ticket.tokens:
                self._pools.repay(name, rate, min(ticket.amount, rate.count) - tokens, now_ns)
        ticket.tokens = []

    def _enter(self, scope: str, most: int, ticket: Ticket) -> None:
        share = self._places.get(scope)
        if share is None:
            share = self._places[scope] = Share(self._pools, f"{scope} at once")
        if not share.hold(_ONE, Decimal(most)):
            raise PolicyRefusal(
                f"{_whose(scope)} may have {most} calls at once, and has.",
                code="limits.concurrent",
                status=429,
                hint="Wait until one has ended.",
                retry_after_s=1.0,
            )
        ticket.places.append(share)

    def _pace(
        self, scope: str, what: str, rate: Rate, amount: int, before: tuple[tuple[Rate, Pace] | None, int]
    ) -> tuple[Rate, Pace]:
        """Take of one rate; returns the nearer to its end of this and the one before."""
        nearest, now_ns = before
        pace = self._pools.pace(f"{scope} {what}", rate, amount, now_ns)
        if not pace.granted and amount:
            raise PolicyRefusal(
                f"{_whose(scope)} may use {rate.words.replace('/', f' {what} per ')}, and has {pace.left} left now; this call needs {min(amount, rate.count)}.",
                code=f"limits.{what}",
                status=429,
                hint="Wait as Retry-After says, or lower max_tokens."
                if what == "tokens"
                else "Wait as Retry-After says.",
                retry_after_s=pace.wait_s,
            )
        if nearest is None or pace.left * nearest[0].count < nearest[1].left * rate.count:
            return rate, pace
        return nearest


def _whose(scope: str) -> str:
    kind, _, name = scope.partition(":")
    return f"The {kind} {name!r}" if name else f"The {kind}"


def limit_headers(ticket: Ticket, dialect: str, now_s: float) -> list[tuple[bytes, bytes]]:
    """What is left, in the dialect's own headers; Gemini has none, and gets OpenAI's."""
    found = []
    for of, told in (("requests", ticket.calls_pace), ("tokens", ticket.tokens_pace)):
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
