"""A budget is held at the worst case before sending: no order of calls spends more than its limit."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.kernel.errors import PolicyRefusal
from freehold.kernel.snapshot import Budget
from freehold.kernel.units import Usd
from freehold.ledger.budgets import Budgets, Hold, period_start_ms

NOW = 1_795_500_000_000  # 2026-11-24
HOUR = 3_600_000


def usd(text: str) -> Usd:
    return Usd(Decimal(text))


def test_what_is_held_counts() -> None:
    budgets, limits = Budgets(), {"workload:w": Budget(Decimal(1), "month")}
    first = budgets.reserve(limits, usd("0.6"), now_ms=NOW)
    with pytest.raises(PolicyRefusal) as caught:
        budgets.reserve(limits, usd("0.5"), now_ms=NOW)
    assert (caught.value.code, caught.value.status) == ("budget.exhausted", 429)
    budgets.settle(first, usd("0.1"))
    budgets.reserve(limits, usd("0.9"), now_ms=NOW)


def test_every_scope_must_have_room() -> None:
    """And a refusal by one leaves nothing held in another."""
    budgets = Budgets()
    both = {"workload:w": Budget(Decimal(10), "day"), "key:k": Budget(Decimal(1), "day")}
    with pytest.raises(PolicyRefusal, match="key 'k'"):
        budgets.reserve(both, usd("5"), now_ms=NOW)
    budgets.reserve({"workload:w": both["workload:w"]}, usd("10"), now_ms=NOW)


def test_an_unknown_price_is_refused_only_where_there_is_a_budget() -> None:
    assert Budgets().reserve({}, None, now_ms=NOW).scopes == ()
    with pytest.raises(PolicyRefusal) as caught:
        Budgets().reserve({"key:k": Budget(Decimal(1), "day")}, None, now_ms=NOW)
    assert caught.value.code == "budget.unknown_price"


def test_an_unknown_cost_counts_as_what_was_held() -> None:
    budgets, limits = Budgets(), {"key:k": Budget(Decimal(1), "total")}
    budgets.settle(budgets.reserve(limits, usd("0.7"), now_ms=NOW), None)
    with pytest.raises(PolicyRefusal):
        budgets.reserve(limits, usd("0.4"), now_ms=NOW)


def test_a_new_period_begins_empty_and_keeps_what_is_held() -> None:
    budgets, limits = (
        Budgets({"key:k": (period_start_ms("day", NOW), Decimal("0.5"))}),
        {"key:k": Budget(Decimal(1), "day")},
    )
    budgets.reserve(limits, usd("0.5"), now_ms=NOW)
    budgets.reserve(limits, usd("0.5"), now_ms=NOW + 24 * HOUR)
    with pytest.raises(PolicyRefusal):
        budgets.reserve(limits, usd("0.1"), now_ms=NOW + 24 * HOUR)


@pytest.mark.parametrize(
    ("period", "start"),
    [("day", "2026-11-24"), ("week", "2026-11-23"), ("month", "2026-11-01"), ("total", "1970-01-01")],
)
def test_periods_are_utc(period: str, start: str) -> None:
    expected = datetime.datetime.fromisoformat(start).replace(tzinfo=datetime.UTC).timestamp() * 1000
    assert period_start_ms(period, NOW) == expected  # type: ignore[arg-type]  # parametrised text


@given(st.lists(st.tuples(st.decimals("0", "2", places=3), st.decimals("0", "1", places=3)), max_size=30), st.data())
def test_spent_never_exceeds_the_limit(calls: list[tuple[Decimal, Decimal]], data: st.DataObject) -> None:
    """Whatever is held, charged (never above what was held) and in which order it settles."""
    budgets, limits = Budgets(), {"key:k": Budget(Decimal(3), "total")}
    held: list[tuple[Hold, Decimal]] = []
    spent = Decimal(0)
    for worst, share in calls:
        try:
            held.append((budgets.reserve(limits, Usd(worst), now_ms=NOW), worst * share))
        except PolicyRefusal:
            pass
        if held and data.draw(st.booleans()):
            hold, cost = held.pop(data.draw(st.integers(0, len(held) - 1)))
            budgets.settle(hold, Usd(cost))
            spent += cost
        assert spent + sum(hold.amount for hold, _ in held) <= 3
