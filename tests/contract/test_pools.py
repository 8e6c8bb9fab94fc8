"""One suite for every implementation of `Pools`: what all workers have leased never exceeds the limit, and nobody's word counts twice."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.kernel.limits import Rate
from freehold.ledger.pools import Board, MemoryPools, Pools, Share, Use
from freehold.ledger.sqlite_pools import SqlitePools

SECOND = 1_000_000_000
Make = Callable[[str, int], Pools]
D = Decimal


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Pools of a fresh board for a worker of so many."""
    board, opened = Board(), list[Pools]()

    def made(worker: str, workers: int) -> Pools:
        if request.param == "memory":
            opened.append(MemoryPools(board, worker=worker, workers=workers))
        else:
            opened.append(SqlitePools(tmp_path / "pools.db", worker=worker, workers=workers))
        return opened[-1]

    yield made
    for one in opened:
        one.close()


def test_the_only_worker_leases_exactly_what_it_needs(make: Make) -> None:
    pools = make("a", 1)
    assert pools.lease("p", 0, D("0.3"), D(1)) == D("0.3")
    assert pools.lease("p", 0, D("0.7"), D(1)) == D("0.7")
    assert pools.lease("p", 0, D("0.000001"), D(1)) == 0
    assert pools.use("p", 0) == Use(D(1), D(0))
    assert pools.lease("p", 1, D(1), D(1)) == 1, "another period is another pool"
    assert pools.lease("q", 0, D(1), D(1)) == 1


def test_one_of_several_leases_ahead_while_there_is_plenty(make: Make) -> None:
    one, other = make("a", 2), make("b", 2)
    assert D(1) < one.lease("p", 0, D(1), D(1000)) <= D(1000) / 8
    assert other.lease("p", 0, D(800), D(1000)) == 800
    left = D(1000) - one.use("p", 0).leased
    assert one.lease("p", 0, left, D(1000)) == left
    assert other.lease("p", 0, D("0.01"), D(1000)) == 0


def test_without_a_limit_everything_is_counted(make: Make) -> None:
    pools = make("a", 2)
    assert pools.lease("p", 0, D(5), None) == 5
    assert pools.lease("p", 0, D(5), D(1)) == 0
    assert pools.use("p", 0).leased == 5


def test_what_a_worker_reports_is_absolute(make: Make) -> None:
    """Said twice it counts once, and another's is another's."""
    one, other = make("a", 2), make("b", 2)
    one.lease("p", 0, D(4), D(10))
    for _ in range(2):
        one.report("p", 0, leased=D("1.5"), spent=D(1))
    other.report("p", 0, leased=D(2), spent=D(2))
    assert one.use("p", 0) == other.use("p", 0) == Use(D("3.5"), D(3))


def test_a_mark_is_set_once_over_all_workers(make: Make) -> None:
    one, other = make("a", 2), make("b", 2)
    assert [one.is_first("p", 0, "0.8"), other.is_first("p", 0, "0.8"), other.is_first("p", 0, "1")] == [
        True,
        False,
        True,
    ]
    assert other.is_first("p", 1, "0.8"), "a new period begins anew"


def test_amounts_are_exact(make: Make) -> None:
    pools = make("a", 1)
    for _ in range(10):
        assert pools.lease("p", 0, D("0.1"), D(1)) == D("0.1")
    assert pools.use("p", 0).leased == 1
    tiny = D("0.000000000001")
    assert pools.lease("q", 0, tiny, D(10) ** 14) == tiny


# --- rates -------------------------------------------------------------------------------------------------------


def test_a_rate_lets_its_burst_pass_and_then_one_by_one(make: Make) -> None:
    pools, rate = make("a", 1), Rate(3, 6)
    passed = [pools.pace("r", rate, 1, 0) for _ in range(4)]
    assert [one.granted for one in passed] == [1, 1, 1, 0]
    assert [one.left for one in passed] == [2, 1, 0, 0]
    assert passed[3].wait_s == 2
    assert passed[3].full_s == 6
    assert pools.pace("r", rate, 1, 2 * SECOND - 1).granted == 0
    assert pools.pace("r", rate, 1, 2 * SECOND).granted == 1
    assert pools.pace("r", rate, 1, 2 * SECOND).granted == 0
    assert pools.pace("r", rate, 1, 1000 * SECOND).left == 2, "it never holds more than its burst"


def test_what_was_not_used_comes_back(make: Make) -> None:
    pools, rate = make("a", 1), Rate(100, 60)
    assert pools.pace("r", rate, 100, 0).granted == 100
    pools.repay("r", rate, 70, 0)
    assert pools.pace("r", rate, 70, 0).granted == 70
    pools.repay("r", rate, -30, 0)
    assert pools.pace("r", rate, 1, 6 * SECOND).granted == 1
    assert pools.pace("r", rate, 40, 0).granted == 0


def test_more_than_the_burst_waits_until_all_of_it_is_there(make: Make) -> None:
    pools, rate = make("a", 1), Rate(100, 60)
    assert pools.pace("r", rate, 5000, 0).granted == 5000
    later = pools.pace("r", rate, 5000, 30 * SECOND)
    assert (later.granted, later.wait_s) == (0, 30)


def test_a_clock_that_begins_anew_does_not_stop_everybody(make: Make) -> None:
    """After a restart of the machine its monotonic clock is small again: at most a whole burst is waited for."""
    pools, rate = make("a", 1), Rate(2, 10)
    pools.pace("r", rate, 2, 10**18)
    assert pools.pace("r", rate, 1, 0).wait_s <= 5


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 50),
    period=st.sampled_from([1, 60, 3600]),
    steps=st.lists(st.tuples(st.integers(0, 5 * SECOND), st.integers(1, 4)), max_size=40),
)
def test_no_window_sees_more_than_its_rate(count: int, period: int, steps: list[tuple[int, int]]) -> None:
    """Over any time: at most the burst, and what came back meanwhile."""
    pools, rate, now = MemoryPools(), Rate(count, period), 0
    taken: list[tuple[int, int]] = []
    for pause, amount in steps:
        now += pause
        if amount <= count and pools.pace("r", rate, amount, now).granted:
            taken.append((now, amount))
    for at, (begin, _) in enumerate(taken):
        total = 0
        for end, amount in taken[at:]:
            total += amount
            assert total <= count + (end - begin) * count / (period * SECOND) + 1e-6


# --- shares ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.decimals("0.5", "20", places=2),
    moves=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["hold", "settle", "tell", "die"]),
            st.decimals("0.01", "2", places=2),
            st.decimals("0", "1", places=2),
        ),
        max_size=80,
    ),
)
def test_no_order_of_workers_spends_more_than_the_limit(
    limit: Decimal, moves: list[tuple[int, str, Decimal, Decimal]]
) -> None:
    """Four workers hold, settle below what they held, say so, and die holding something, in any order."""
    board, names = Board(), (f"w{number}" for number in itertools.count())
    workers = [Share(MemoryPools(board, worker=next(names), workers=4), "p") for _ in range(4)]
    holds: list[list[tuple[Decimal, Decimal]]] = [[] for _ in workers]
    gone = D(0)  # what dead workers had spent and held: their true use is at most that
    for who, move, amount, part in moves:
        share = workers[who]
        if move == "hold" and share.hold(amount, limit):
            holds[who].append((amount, (amount * part).quantize(D("0.0001"))))
        elif move == "settle" and holds[who]:
            share.settle(*holds[who].pop())
        elif move == "tell":
            share.tell()
        elif move == "die":
            gone += share.spent + share.held
            share._pools.report("p", 0, leased=share.spent + share.held, spent=share.spent + share.held)
            workers[who], holds[who] = Share(MemoryPools(board, worker=next(names), workers=4), "p"), []
        assert gone + sum((one.spent + one.held for one in workers), D(0)) <= limit
        assert all(one.spent + one.held <= one.leased for one in workers)


def test_what_is_idle_comes_back_to_the_others(make: Make) -> None:
    one, other = Share(make("a", 2), "p"), Share(make("b", 2), "p")
    assert one.hold(D(1), D(100))
    one.settle(D(1), D("0.5"))
    assert not other.hold(D("99.5"), D(100)), "the first worker leased ahead"
    one.tell()
    one.tell()
    assert other.hold(D("99.5"), D(100))
    assert not other.hold(D("0.01"), D(100))


def test_a_thousand_at_once_on_a_limit_of_a_hundred(tmp_path: Path) -> None:
    """Threads with connections of their own, as processes would: exactly a hundred pass, and the sum is right."""
    passed: list[int] = []

    def work(number: int) -> None:
        pools = SqlitePools(tmp_path / "pools.db", worker=str(number), workers=8)
        share = Share(pools, "p")
        done = 0
        for _ in range(125):
            if share.hold(D(1), D(100)):
                share.settle(D(1), D(1))
                done += 1
            share.tell()
        passed.append(done)
        pools.close()

    SqlitePools(tmp_path / "pools.db", worker="-", workers=8).close()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 100
    assert SqlitePools(tmp_path / "pools.db", worker="-", workers=8).use("p", 0) == Use(D(100), D(100))
