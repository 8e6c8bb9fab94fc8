"""Budgets: hold the worst case before a call is sent, settle the true cost after. The counter that enforces is the one that reports.

Rules: a hold is taken only if everything spent, everything held and this fits every hard budget; holds are released exactly once; an unknown price
cannot be held, so a call with a budget in USD is refused for it. A clock that steps back does not begin a period again.
What it does not know: prices, calls, the log, and who else draws on the same pools.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from freehold.kernel.errors import PolicyRefusal
from freehold.kernel.limits import Budget, is_same_period_until_ms, period_start_ms
from freehold.kernel.units import Usd
from freehold.ledger.pools import Lack, Pools, Share

_ZERO = Decimal(0)


class Exhausted(PolicyRefusal):
    """A call that no longer fits a hard budget; `budget` says which, lacks: how much more it would take."""

    def __init__(self, budget: Budget, message: str, lacks: Lack) -> None:
        hint = "Lower max_tokens, wait for the next period, or raise the budget."
        super().__init__(message, code="budget.exhausted", status=429, hint=hint)
        self.budget, self.lacks = budget, lacks


class Crossing(msgspec.Struct, frozen=True):
    """A budget of which more is spent than one of its alerts says. at: that share of the limit."""

    budget: Budget
    at: Decimal
    spent: Decimal
    start_ms: int


@dataclass(slots=True, eq=False)
class Hold:
    """What is set aside for one call in every budget that it counts in: how much still is, and how much counts as spent already, in the period
    that began then.
    """

    parts: tuple[tuple[_Account, Decimal, Decimal, int], ...]
    usd: Usd


class _Account:
    """One budget's share, in its running period."""

    __slots__ = ("budget", "share", "until_ms")

    def __init__(self, budget: Budget, share: Share) -> None:
        self.budget, self.share = budget, share
        self.until_ms = 0  # until when the period is known to be the running one


class Budgets:
    """Every budget's counter, by its pool. zone: where a day begins."""

    def __init__(self, pools: Pools, *, zone: datetime.tzinfo = datetime.UTC) -> None:
        self._pools, self.zone = pools, zone
        self._accounts: dict[str, _Account] = {}
        self._touched: set[_Account] = set()  # since the others were last told

    def move(self, pools: Pools) -> None:
        """Go on with the same counters elsewhere."""
        self._pools = pools
        for account in self._accounts.values():
            account.share.move(pools)

    def reserve(self, budgets: Sequence[Budget], usd: Usd | None, tokens: int = 0, *, now_ms: int) -> Hold:
        """Set the worst case aside: so many dollars (None: unknown) and tokens. Raises Exhausted (429) or PolicyRefusal `budget.unknown_price` (403)."""
        held: list[tuple[_Account, Decimal, Decimal, int]] = []
        for budget in budgets:
            if budget.unit == "USD" and usd is None:
                self._release(held)
                raise PolicyRefusal(
                    "The target's price is unknown, so a call with a budget cannot be sent to it.",
                    code="budget.unknown_price",
                    hint="Add prices to the provider in freehold.toml.",
                )
            account = self._account(budget, now_ms)
            amount = Decimal(tokens) if budget.unit == "tokens" else usd or _ZERO
            if not account.share.hold(amount, budget.limit if budget.is_hard else None):
                self._release(held)
                raise self._exhausted(account, amount, now_ms)
            held.append((account, amount, _ZERO, 0))
        return Hold(tuple(held), usd or Usd(_ZERO))

    def count(self, hold: Hold, usd: Usd | None, tokens: int) -> None:
        """Count what a call under way has come to so far (dollars, if they are known, and tokens), at most what is held."""
        parts = []
        for account, left, counted, _ in hold.parts:
            so_far = Decimal(tokens) if account.budget.unit == "tokens" else usd or _ZERO
            more = min(left, max(_ZERO, so_far - counted))
            account.share.settle(more, more)
            self._touched.add(account)
            parts.append((account, left - more, counted + more, account.share.start_ms))
        hold.parts = tuple(parts)

    def settle(self, hold: Hold, usd: Usd | None, tokens: int | None = None) -> None:
        """Release a hold and count what it came to; what is not known counts as it was held."""
        for account, left, counted, start_ms in hold.parts:
            true = tokens if account.budget.unit == "tokens" else usd
            rest = left if true is None else Decimal(true)
            if counted and true is not None:
                rest -= counted
                if rest < 0 and account.share.start_ms != start_ms:
                    rest = _ZERO  # too much was counted in a period that has ended, and it stays as it was
            account.share.settle(left, rest)
            self._touched.add(account)
        hold.parts = ()

    def correct(self, budgets: Sequence[Budget], usd: Usd, tokens: int = 0, *, then_ms: int, now_ms: int) -> None:
        """Count a difference to what was charged at `then_ms`; a period that has ended stays as it was."""
        for budget in budgets:
            account = self._account(budget, now_ms)
            if then_ms >= account.share.start_ms:
                account.share.spend(Decimal(tokens) if budget.unit == "tokens" else usd)

    def left(self, budget: Budget, now_ms: int) -> Decimal:
        """How much may still be spent or held."""
        account = self._account(budget, now_ms)
        use = self._pools.use(budget.pool, account.share.start_ms)
        slack = account.share.leased - account.share.spent - account.share.held
        return max(_ZERO, budget.limit - use.leased + slack)

    def tell(self, now_ms: int) -> list[Crossing]:
        """Share with the other workers what is spent; returns which alerts were crossed since, each once over all workers."""
        found: list[Crossing] = []
        touched, self._touched = self._touched, set()
        for account in touched:
            share, budget = account.share, account.budget
            share.tell()
            if share.leased > share.spent + share.held:
                self._touched.add(account)  # what is still ahead goes back the next time, if it is not needed
            if not budget.alerts or budget.limit <= 0 or self._pools.is_part:
                continue  # of what several nodes spend, this one knows its own part alone
            spent = self._pools.use(budget.pool, share.start_ms).spent
            found += (
                Crossing(budget, at, spent, share.start_ms)
                for at in budget.alerts
                if spent >= at * budget.limit and self._pools.is_first(budget.pool, share.start_ms, str(at))
            )
        return found

    def _account(self, budget: Budget, now_ms: int) -> _Account:
        account = self._accounts.get(budget.pool)
        if account is not None and now_ms < account.until_ms and account.budget is budget:
            self._touched.add(account)
            return account
        start = period_start_ms(budget.period, now_ms, self.zone)
        if account is None:
            account = self._accounts[budget.pool] = _Account(budget, Share(self._pools, budget.pool, start))
        elif start > account.share.start_ms:
            held = account.share.held
            account.share.tell()
            account.share = Share(self._pools, budget.pool, start)
            account.share.hold(held, None)  # what is under way is settled in the new period
        account.budget, account.until_ms = budget, is_same_period_until_ms(now_ms)
        self._touched.add(account)
        return account

    def _release(self, held: list[tuple[_Account, Decimal, Decimal, int]]) -> None:
        for account, amount, _, _ in held:
            account.share.settle(amount, _ZERO)

    def _exhausted(self, account: _Account, amount: Decimal, now_ms: int) -> Exhausted:
        budget = account.budget
        kind, _, name = budget.scope.partition(":")
        whose = f"the {kind} {name!r}" if name else f"the {kind}"
        left = self.left(budget, now_ms)
        if self._pools.is_part:
            rest = f"has too little left, over all nodes, for this call, which may use {amount.normalize():f} {budget.unit}"
        elif budget.unit == "USD":
            rest = f"has {left.normalize():f} USD left and this call may cost {amount.normalize():f} USD"
        else:
            rest = f"has {left:f} tokens left and this call may use {amount:f}"
        return Exhausted(
            budget,
            f"The budget of {whose} ({budget.words}) {rest}.",
            Lack(account.share, account.share.short_of(amount), budget.limit),
        )


def seed(pools: Pools, spent: Iterable[tuple[Budget, int, Decimal]]) -> None:
    """Count what was spent before, each in the period that began then; its alerts are not told again."""
    for budget, start_ms, amount in spent:
        pools.report(budget.pool, start_ms, leased=amount, spent=amount)
        for at in budget.alerts:
            if amount >= at * budget.limit:
                pools.is_first(budget.pool, start_ms, str(at))
