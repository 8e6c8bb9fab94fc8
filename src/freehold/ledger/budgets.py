"""Budgets: hold the worst case before a call is sent, settle the true cost after. The counter that enforces is the one that reports.

Rules: a hold is taken only if everything spent, everything held and this fits; holds are released exactly once; an unknown price cannot be
held, so a budgeted call with one is refused. Periods are UTC. One process in this form; workers come with leases.
What it does not know: prices, calls, the log.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from freehold.kernel.errors import PolicyRefusal
from freehold.kernel.snapshot import Budget, Period
from freehold.kernel.units import Usd, show_usd


@dataclass(slots=True, eq=False)
class Hold:
    """Money set aside for one call in every scope that has a budget."""

    scopes: tuple[str, ...]
    amount: Usd


@dataclass(slots=True)
class _Account:
    period_start_ms: int
    spent: Decimal
    held: Decimal
    period_end_ms: int = 0  # until when period_start_ms is known to hold


class Budgets:
    """Counters by scope: `workload:NAME` or `key:ID`. spent: what each scope had already spent in its running period."""

    def __init__(self, spent: Mapping[str, tuple[int, Decimal]] | None = None) -> None:
        self._accounts = {
            scope: _Account(start, amount, Decimal(0)) for scope, (start, amount) in (spent or {}).items()
        }

    def reserve(self, budgets: Mapping[str, Budget], worst: Usd | None, *, now_ms: int) -> Hold:
        """Set the worst case aside. Raises PolicyRefusal `budget.exhausted` (429) or `budget.unknown_price` (403)."""
        if budgets and worst is None:
            raise PolicyRefusal(
                "The target's price is unknown, so a call with a budget cannot be sent to it.",
                code="budget.unknown_price",
                hint="Add prices to the provider in freehold.toml.",
            )
        amount = worst or Usd(Decimal(0))
        accounts = [(scope, budget, self._account(scope, budget.period, now_ms)) for scope, budget in budgets.items()]
        for scope, budget, account in accounts:
            if account.spent + account.held + amount > budget.limit:
                kind, _, name = scope.partition(":")
                left = max(Decimal(0), budget.limit - account.spent - account.held)
                raise PolicyRefusal(
                    f"The budget of {kind} {name!r} ({show_usd(Usd(budget.limit))} USD/{budget.period}) has {show_usd(Usd(left))} USD left and this call may cost {show_usd(amount)} USD.",
                    code="budget.exhausted",
                    status=429,
                    hint="Lower max_tokens, wait for the next period, or raise the budget.",
                )
        for _, _, account in accounts:
            account.held += amount
        return Hold(tuple(budgets), amount)

    def settle(self, hold: Hold, cost: Usd | None) -> None:
        """Release a hold and count the true cost; an unknown cost counts as the amount held."""
        for scope in hold.scopes:
            account = self._accounts[scope]
            account.held -= hold.amount
            account.spent += hold.amount if cost is None else cost
        hold.scopes = ()

    def correct(self, budgets: Mapping[str, Budget], amount: Usd, *, then_ms: int, now_ms: int) -> None:
        """Count a difference to what was charged at `then_ms`; a period that has ended stays as it was."""
        for scope, budget in budgets.items():
            account = self._account(scope, budget.period, now_ms)
            if then_ms >= account.period_start_ms:
                account.spent += amount

    def _account(self, scope: str, period: Period, now_ms: int) -> _Account:
        account = self._accounts.get(scope)
        if account is not None and account.period_start_ms <= now_ms < account.period_end_ms:
            return account
        start = period_start_ms(period, now_ms)
        if account is None:
            account = self._accounts[scope] = _Account(start, Decimal(0), Decimal(0))
        elif account.period_start_ms != start:
            account.period_start_ms, account.spent = start, Decimal(0)
        account.period_end_ms = now_ms - now_ms % 3_600_000 + 3_600_000  # a period never ends within an hour (UTC)
        return account


def period_start_ms(period: Period, now_ms: int) -> int:
    """When the running period began (UTC), in milliseconds since 1970; 0 for `total`. Weeks begin on Monday."""
    if period == "total":
        return 0
    now = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "week":
        start -= datetime.timedelta(days=start.weekday())
    elif period == "month":
        start = start.replace(day=1)
    return round(start.timestamp() * 1000)
