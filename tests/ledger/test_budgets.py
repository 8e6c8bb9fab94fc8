"""A budget is held at the worst case before sending: no order of calls spends more than its limit."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.kernel.errors import PolicyRefusal
from freehold.kernel.limits import parse_budget, period_start_ms
from freehold.kernel.units import Usd
from freehold.ledger.budgets import Budgets, Exhausted, Hold, seed
from freehold.ledger.pools import Board, MemoryPools

NOW = 1_795_500_000_000  # 2026-11-24, 06:00 UTC
HOUR = 3_600_000


def usd(text: str) -> Usd:
    return Usd(Decimal(text))


KEY = parse_budget("1 USD/day", "key:k")
WORK = parse_budget("10 USD/day", "workload:w")
TOKENS = parse_budget("1000 tokens/day", "workload:w")


def seeded(now_ms: int, spent: str) -> Budgets:
    """As after a restart: what the receipts say was spent of the key's day."""
    board = Board()
    seed(MemoryPools(board, worker="before"), [(KEY, period_start_ms("day", now_ms), Decimal(spent))])
    return Budgets(MemoryPools(board))


def test_what_is_held_counts() -> None:
    budgets = Budgets(MemoryPools())
    first = budgets.reserve([KEY], usd("0.6"), now_ms=NOW)
    with pytest.raises(Exhausted) as caught:
        budgets.reserve([KEY], usd("0.5"), now_ms=NOW)
    assert (caught.value.code, caught.value.status, caught.value.budget) == ("budget.exhausted", 429, KEY)
    assert "has 0.4 USD left and this call may cost 0.5 USD" in caught.value.message
    budgets.settle(first, usd("0.1"))
    budgets.reserve([KEY], usd("0.9"), now_ms=NOW)
    assert budgets.left(KEY, NOW) == 0


def test_every_scope_must_have_room() -> None:
    """And a refusal by one leaves nothing held in another."""
    budgets = Budgets(MemoryPools())
    with pytest.raises(PolicyRefusal, match="key 'k'"):
        budgets.reserve([WORK, TOKENS, KEY], usd("5"), 100, now_ms=NOW)
    assert budgets.left(WORK, NOW) == 10
    assert budgets.left(TOKENS, NOW) == 1000
    budgets.reserve([WORK], usd("10"), now_ms=NOW)


def test_tokens_are_counted_beside_money() -> None:
    budgets = Budgets(MemoryPools())
    hold = budgets.reserve([TOKENS], None, 800, now_ms=NOW)
    with pytest.raises(Exhausted, match="has 200 tokens left and this call may use 300"):
        budgets.reserve([TOKENS], None, 300, now_ms=NOW)
    budgets.settle(hold, usd("5"), 50)
    assert budgets.left(TOKENS, NOW) == 950


def test_an_unknown_price_is_refused_only_where_there_is_a_budget_in_money() -> None:
    assert Budgets(MemoryPools()).reserve([], None, now_ms=NOW).parts == ()
    Budgets(MemoryPools()).reserve([TOKENS], None, 5, now_ms=NOW)
    budgets = Budgets(MemoryPools())
    with pytest.raises(PolicyRefusal) as caught:
        budgets.reserve([TOKENS, KEY], None, 5, now_ms=NOW)
    assert caught.value.code == "budget.unknown_price"
    assert budgets.left(TOKENS, NOW) == 1000


def test_what_is_not_known_counts_as_it_was_held() -> None:
    budgets = Budgets(MemoryPools())
    budgets.settle(budgets.reserve([KEY, TOKENS], usd("0.7"), 600, now_ms=NOW), None, None)
    assert (budgets.left(KEY, NOW), budgets.left(TOKENS, NOW)) == (Decimal("0.3"), 400)


def test_a_soft_budget_counts_and_refuses_nothing() -> None:
    soft = parse_budget("1 USD/day", "key:k")
    soft = type(soft)(soft.scope, soft.limit, soft.unit, soft.period, is_hard=False)
    budgets = Budgets(MemoryPools())
    for _ in range(3):
        budgets.settle(budgets.reserve([soft], usd("0.7"), now_ms=NOW), usd("0.7"))
    assert budgets.left(soft, NOW) == 0
    assert [crossing.spent for crossing in budgets.tell(NOW)] == [Decimal("2.1")] * 2


def test_a_new_period_begins_empty_and_keeps_what_is_held() -> None:
    budgets = seeded(NOW, "0.5")
    hold = budgets.reserve([KEY], usd("0.5"), now_ms=NOW)
    budgets.reserve([KEY], usd("0.5"), now_ms=NOW + 24 * HOUR)
    with pytest.raises(PolicyRefusal):
        budgets.reserve([KEY], usd("0.1"), now_ms=NOW + 24 * HOUR)
    budgets.settle(hold, usd("0.2"))
    assert budgets.left(KEY, NOW + 24 * HOUR) == Decimal("0.3")


def test_what_was_spent_in_an_older_period_is_over() -> None:
    budgets = seeded(NOW - 24 * HOUR, "1")
    assert budgets.left(KEY, NOW) == 1


def test_a_clock_that_steps_back_does_not_begin_a_period_again() -> None:
    """What was spent stays spent, in the day before and in the one after."""
    budgets = Budgets(MemoryPools())
    budgets.settle(budgets.reserve([KEY], usd("0.9"), now_ms=NOW), usd("0.9"))
    for step in (-48 * HOUR, -HOUR, 0, HOUR):
        with pytest.raises(Exhausted):
            budgets.reserve([KEY], usd("0.2"), now_ms=NOW + step)


def test_a_stream_counts_as_it_goes() -> None:
    """What it has come to is spent, the rest is held; at its end it is what it truly came to, whatever was counted before."""
    board = Board()
    budgets = Budgets(MemoryPools(board))
    hold = budgets.reserve([KEY, TOKENS], usd("0.6"), 500, now_ms=NOW)
    for so_far, tokens in (("0.1", 100), ("0.05", 50), ("0.3", 300), ("0.9", 900)):
        budgets.count(hold, usd(so_far), tokens)
        assert budgets.left(KEY, NOW) == Decimal("0.4"), "spent and held together stay what they were"
        assert budgets.left(TOKENS, NOW) == 500
    budgets.tell(NOW)
    start = period_start_ms("day", NOW)
    assert MemoryPools(board).use(KEY.pool, start).spent == Decimal("0.6"), "never more than was held"
    budgets.settle(hold, usd("0.2"), 150)
    assert (budgets.left(KEY, NOW), budgets.left(TOKENS, NOW)) == (Decimal("0.8"), 850)
    unknown = budgets.reserve([KEY], usd("0.4"), now_ms=NOW)
    budgets.count(unknown, usd("0.1"), 7)
    budgets.settle(unknown, None)
    assert budgets.left(KEY, NOW) == Decimal("0.4"), "what is not known counts as it was held"


def test_a_stream_over_midnight_counts_in_both_days() -> None:
    budgets = Budgets(MemoryPools())
    for total, expected in (("0.5", "0.8"), ("0.1", "1")):
        hold = budgets.reserve([KEY], usd("0.6"), now_ms=NOW)
        budgets.count(hold, usd("0.3"), 0)
        budgets.reserve([KEY], usd("0"), now_ms=NOW + 24 * HOUR)
        budgets.settle(hold, usd(total))
        assert budgets.left(KEY, NOW + 24 * HOUR) == Decimal(expected)
        budgets = Budgets(MemoryPools())


def test_an_alert_is_told_once() -> None:
    budgets = Budgets(MemoryPools())
    told = []
    for amount in ("0.7", "0.1", "0.1", "0.1"):
        budgets.settle(budgets.reserve([KEY], usd(amount), now_ms=NOW), usd(amount))
        told += [(str(one.at), str(one.spent)) for one in budgets.tell(NOW)]
    assert told == [("0.8", "0.8"), ("1", "1.0")]
    again = seeded(NOW, "0.9")
    again.settle(again.reserve([KEY], usd("0.05"), now_ms=NOW), usd("0.05"))
    assert again.tell(NOW) == [], "what was told before a restart is not told again"


def test_what_a_worker_had_leased_ahead_comes_back_within_two_rounds() -> None:
    """Also when nothing touches its budget any more; and a round over budgets that nobody touched asks nobody."""
    board = Board()
    one, other = (Budgets(MemoryPools(board, worker=name, workers=2)) for name in "ab")
    one.settle(one.reserve([WORK], usd("0.01"), now_ms=NOW), usd("0.01"))
    assert board.uses[WORK.pool, period_start_ms("day", NOW)]["a"].leased > Decimal("0.1")
    for _ in range(2):
        assert one.tell(NOW) == []
    assert board.uses[WORK.pool, period_start_ms("day", NOW)]["a"].leased == Decimal("0.01")
    board.uses.clear()
    one.tell(NOW)
    assert board.uses == {}
    assert other.left(WORK, NOW) == 10


def test_what_comes_out_later_counts_in_its_own_period() -> None:
    budgets = Budgets(MemoryPools())
    budgets.correct([KEY, TOKENS], usd("0.4"), 100, then_ms=NOW - HOUR, now_ms=NOW)
    budgets.correct([KEY, TOKENS], usd("0.4"), 100, then_ms=NOW - 24 * HOUR, now_ms=NOW)
    budgets.correct([KEY], usd("-0.1"), then_ms=NOW - HOUR, now_ms=NOW)
    assert (budgets.left(KEY, NOW), budgets.left(TOKENS, NOW)) == (Decimal("0.7"), 900)


@given(st.lists(st.tuples(st.decimals("0", "2", places=3), st.decimals("0", "1", places=3)), max_size=30), st.data())
def test_spent_never_exceeds_the_limit(calls: list[tuple[Decimal, Decimal]], data: st.DataObject) -> None:
    """Whatever is held, charged (never above what was held) and in which order it settles."""
    budgets, limit = Budgets(MemoryPools()), parse_budget("3 USD/total", "key:k")
    held: list[tuple[Hold, Decimal]] = []
    spent = Decimal(0)
    for worst, share in calls:
        try:
            held.append((budgets.reserve([limit], Usd(worst), now_ms=NOW), worst * share))
        except PolicyRefusal:
            pass
        if held and data.draw(st.booleans()):
            hold, cost = held.pop(data.draw(st.integers(0, len(held) - 1)))
            budgets.settle(hold, Usd(cost))
            spent += cost
        assert spent + sum(hold.usd for hold, _ in held) <= 3
