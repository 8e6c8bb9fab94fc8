"""Shared counters, so that a limit holds over all workers: each leases a part, and what all have leased never exceeds the limit.

`Pools` is the seam: memory here for one process, SQLite in `sqlite_pools` for several; one contract suite holds both.
Rules: what a worker says of itself is absolute, so it may be said twice; what has been leased and not given back counts as used, so a worker
that dies takes nothing with it until its true use is known; a rate is one number, the theoretical arrival time of GCRA (ATM Forum TM 4.0, I.371).
What it does not know: what is counted, and why there is a limit.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple, Protocol

import msgspec

from freehold.kernel.limits import Rate

_ZERO = Decimal(0)
_GRAIN = Decimal("0.000001")
AT_ONCE = " at once"  # how the names of pools end that count places
_AHEAD = 32  # times what it needs now that a worker leases, where there is plenty and others to share with


class Use(msgspec.Struct, frozen=True):
    """What all workers together have leased of a pool, and how much of it is spent for good."""

    leased: Decimal
    spent: Decimal


class Pace(msgspec.Struct, frozen=True):
    """What a rate allows now. granted: 0 or what was asked for; wait_s: until that much would be; left: how many could still come; full_s: until all are back."""

    granted: int
    wait_s: float
    left: int
    full_s: float


_FULL = Pace(1, 0.0, 0, 0.0)


class Pools(Protocol):
    """Counters as one worker of so many sees them. A pool is named, and begins anew with each period (start_ms)."""

    @property
    def workers(self) -> int: ...
    @property
    def is_part(self) -> bool:
        """Whether other nodes draw on the same budgets."""

    def lease(self, pool: str, start_ms: int, least: Decimal, limit: Decimal | None) -> Decimal:
        """Lease at least so much if it fits below the limit (None: always), more if there is plenty; returns how much, or 0."""

    def absorb(self, pool: str, start_ms: int) -> Decimal:
        """Take in what was leased for this worker aside; returns how much that is."""

    def report(self, pool: str, start_ms: int, *, leased: Decimal, spent: Decimal) -> None:
        """Say what this worker has of a pool, absolutely: what it no longer has, others may lease."""

    def use(self, pool: str, start_ms: int) -> Use: ...
    def is_first(self, pool: str, start_ms: int, mark: str) -> bool:
        """Set a mark on a pool; False if anybody has set it before."""

    def pace(self, name: str, rate: Rate, amount: int, now_ns: int) -> Pace:
        """Take an amount of a rate, or nothing. now_ns: a clock that never steps."""

    def repay(self, name: str, rate: Rate, amount: int, now_ns: int) -> None:
        """Give back what was taken of a rate and not used; less than nothing: what was used beyond it."""

    def close(self) -> None: ...


class Share:
    """What one worker has of one pool in one period: leased ≥ spent + held. While there is plenty it keeps a little ahead of its need; where there
    is not, what a call did not need goes back with its end.
    """

    __slots__ = ("_is_scarce", "_pools", "_told", "held", "leased", "pool", "spent", "start_ms")

    def __init__(self, pools: Pools, pool: str, start_ms: int = 0) -> None:
        self._pools, self.pool, self.start_ms = pools, pool, start_ms
        self.leased = self.spent = self.held = self._told = _ZERO
        self._is_scarce = False

    def short_of(self, amount: Decimal) -> Decimal:
        """How much would have to be leased for an amount to be set aside."""
        return self.spent + self.held + amount - self.leased

    def hold(self, amount: Decimal, limit: Decimal | None) -> bool:
        """Set an amount aside, if it fits."""
        short = self.short_of(amount)
        if short > 0:
            is_alone = self._pools.workers == 1 and limit is not None
            ahead = short * _AHEAD if is_alone else short  # nobody else can want it, and the next calls need not ask
            granted = self._pools.lease(self.pool, self.start_ms, ahead, limit)
            granted = granted or self._pools.lease(self.pool, self.start_ms, short, limit)
            if granted < short:
                return False
            self.leased += granted
            self._is_scarce = granted == short and self._pools.workers > 1
        self.held += amount
        return True

    def absorb(self) -> None:
        """Take in what was leased for it aside."""
        self.leased += self._pools.absorb(self.pool, self.start_ms)

    def settle(self, held: Decimal, cost: Decimal) -> None:
        """Release what was held and count what it came to, even if that is more."""
        self.held -= held
        self.spend(cost)
        if self._is_scarce:
            self._keep(self.spent + self.held)

    def spend(self, cost: Decimal) -> None:
        self.spent += cost
        over = self.spent + self.held - self.leased
        if over > 0:
            self.leased += self._pools.lease(self.pool, self.start_ms, over, None)

    def move(self, pools: Pools) -> None:
        """Go on with the same counters elsewhere."""
        self._pools = pools

    def tell(self) -> None:
        """Say what is spent, and give back what was not needed since the last time."""
        self._keep(self.spent + self.held + max((self.spent - self._told) * 2, _ZERO))

    def _keep(self, most: Decimal) -> None:
        kept = min(self.leased, most)
        if kept != self.leased or self.spent != self._told:
            self.leased, self._told = kept, self.spent
            self._pools.report(self.pool, self.start_ms, leased=kept, spent=self.spent)


class Credit:
    """What one worker has of one rate. Where others share it a little is taken ahead (of all workers together at most a sixteenth of the rate), so
    that a call seldom asks; every second what is left of that goes back.
    """

    __slots__ = ("_have", "_is_alone", "_pace", "_pools", "name", "rate")

    def __init__(self, pools: Pools, name: str, rate: Rate) -> None:
        self._pools, self.name, self.rate = pools, name, rate
        self._have = 0
        self._is_alone = pools.workers == 1  # nobody else takes of it, so nothing is taken ahead
        self._pace = _FULL

    def take(self, amount: int, now_ns: int) -> Pace:
        """Take an amount (more than the whole rate counts as the whole), or nothing: `granted` says which."""
        if self._is_alone:
            return self._pools.pace(self.name, self.rate, amount, now_ns)
        need = amount - self._have
        if need > 0:
            ahead = self._ahead(amount)
            pace = self._pools.pace(self.name, self.rate, need + ahead, now_ns)
            if not pace.granted and ahead:
                ahead, pace = 0, self._pools.pace(self.name, self.rate, need, now_ns)
            if not pace.granted:
                return pace
            self._have += need + ahead
            self._pace = pace
        self._have -= amount
        return self._pace

    def repay(self, amount: int, now_ns: int) -> None:
        """Give back what was not used; less than nothing: what was used beyond it."""
        if self._is_alone:
            self._pools.repay(self.name, self.rate, amount, now_ns)
        else:
            self._have += amount

    def move(self, pools: Pools) -> None:
        """Go on with the same rate elsewhere."""
        self._pools, self._is_alone = pools, pools.workers == 1

    def tell(self, now_ns: int) -> None:
        """Give back what was taken ahead, and take what was used beyond."""
        if self._have:
            self._pools.repay(self.name, self.rate, self._have, now_ns)
            self._have = 0

    def _ahead(self, amount: int) -> int:
        return min(amount * 16, self.rate.count // (16 * self._pools.workers))


class Lack(NamedTuple):
    """What a call would have needed of a pool beyond what this node has: so much more, below the limit of all nodes."""

    share: Share
    short: Decimal
    limit: Decimal


class Lull(NamedTuple):
    """What a call would have needed of a rate."""

    name: str
    rate: Rate
    amount: int


class Board:
    """The counters themselves, where all workers live in one process."""

    def __init__(self) -> None:
        self.uses: dict[tuple[str, int], dict[str, Use]] = {}
        self.marks: set[tuple[str, int, str]] = set()
        self.arrivals: dict[str, int] = {}


class MemoryPools:
    """Counters in memory. workers: how many share the board; the only one leases exactly what it needs."""

    def __init__(self, board: Board | None = None, *, worker: str = "", workers: int = 1) -> None:
        self.board = board or Board()
        self._worker, self.workers, self.is_part = worker, workers, False

    def lease(self, pool: str, start_ms: int, least: Decimal, limit: Decimal | None) -> Decimal:
        uses = self.board.uses.setdefault((pool, start_ms), {})
        granted = least
        if limit is not None:
            granted = granted_of(limit - sum(use.leased for use in uses.values()), least, self.workers)
        if granted:
            own = uses.get(self._worker, NOTHING)
            uses[self._worker] = Use(own.leased + granted, own.spent)
        return granted

    def absorb(self, pool: str, start_ms: int) -> Decimal:
        return _ZERO

    def report(self, pool: str, start_ms: int, *, leased: Decimal, spent: Decimal) -> None:
        self.board.uses.setdefault((pool, start_ms), {})[self._worker] = Use(leased, spent)

    def use(self, pool: str, start_ms: int) -> Use:
        uses = self.board.uses.get((pool, start_ms), {}).values()
        return Use(sum((use.leased for use in uses), _ZERO), sum((use.spent for use in uses), _ZERO))

    def is_first(self, pool: str, start_ms: int, mark: str) -> bool:
        marked = (pool, start_ms, mark)
        is_first = marked not in self.board.marks
        self.board.marks.add(marked)
        return is_first

    def pace(self, name: str, rate: Rate, amount: int, now_ns: int) -> Pace:
        arrival, pace = paced(self.board.arrivals.get(name, 0), rate, amount, now_ns)
        self.board.arrivals[name] = arrival
        return pace

    def repay(self, name: str, rate: Rate, amount: int, now_ns: int) -> None:
        self.board.arrivals[name] = repaid(self.board.arrivals.get(name, 0), rate, amount, now_ns)

    def close(self) -> None:
        """Nothing is open."""


NOTHING = Use(_ZERO, _ZERO)


class Part(NamedTuple):
    """How much of a pool one of several nodes may lease to its workers. version: a later word about it has a higher one; spent: what it had last said was."""

    amount: Decimal
    version: int
    spent: Decimal = _ZERO


NO_PART = Part(_ZERO, 0)


def granted_of(free: Decimal, least: Decimal, workers: int) -> Decimal:
    """How much of what is free one of several workers gets: ahead of its need while there is plenty, so that it seldom asks; near the end only what it needs."""
    if free < least:
        return _ZERO
    if workers == 1:
        return least
    share = (free / (4 * workers)).quantize(_GRAIN, ROUND_DOWN)
    return max(least, min(least * _AHEAD, share))


def paced(arrival: int, rate: Rate, amount: int, now_ns: int) -> tuple[int, Pace]:
    """GCRA: (new theoretical arrival time, what it allows). More than the whole burst counts as the whole burst. Rounded so that never more comes than is allowed."""
    burst, count = rate.burst_ns, rate.count
    ahead = arrival - now_ns  # within 0 and the burst; spelled out, because this is on the path of every call
    if ahead < 0:
        ahead = 0
    elif ahead > burst:
        ahead = burst
    after = ahead + (min(count, amount) * burst + count - 1) // count
    if after > burst:
        return now_ns + ahead, Pace(0, (after - burst) / 1e9, (burst - ahead) * count // burst, ahead / 1e9)
    return now_ns + after, Pace(amount, 0.0, (burst - after) * count // burst, after / 1e9)


def repaid(arrival: int, rate: Rate, amount: int, now_ns: int) -> int:
    """The theoretical arrival time when an amount is given back (or, below zero, taken after all)."""
    if amount >= 0:
        return arrival - min(amount, rate.count) * rate.burst_ns // rate.count
    return min(max(arrival, now_ns) - amount * rate.burst_ns // rate.count + 1, now_ns + rate.burst_ns)
