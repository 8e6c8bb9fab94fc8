"""Demand from the ledger: nothing is lost, and no shape is believed that was not seen."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.forecast.learned import Hour, learn, written
from freehold.forecast.scenario import EXAMPLE, HOURS, read
from freehold.kernel.classes import Class
from freehold.kernel.lengths import Length

MONDAY = datetime.datetime(2026, 11, 2)  # noqa: DTZ001 - the organisation's own time


def hour(at: int, calls: int = 10, workload: str = "w", class_: Class = Class.INTERNAL) -> Hour:
    return Hour(workload, "d", class_, MONDAY + datetime.timedelta(hours=at), calls, calls * 900, calls * 200)


def test_calls_tokens_and_class() -> None:
    found = learn([hour(0), hour(47, 30), hour(5, 10, "other", Class.RESTRICTED), hour(6, 10, "other")])
    assert found.days == 2
    one = found.demand["w"]
    assert (one.calls_per_day, one.input, one.output, one.data_class) == (20, 900, 200, "internal")
    assert found.demand["other"].data_class == "restricted", "the highest that was seen"
    assert one.shape == "business", "two days are no week"


def test_a_shape_is_learned_from_two_weeks() -> None:
    hours = [hour(24 * day + 9, 5 if day % 7 < 5 else 1) for day in range(14)]
    assert not learn(hours).has_shape, "nine to nine is no two weeks"
    found = learn([hour(0, 1), *hours, hour(14 * 24 - 1, 1)])
    shape = found.demand["w"].shape
    assert found.has_shape
    assert isinstance(shape, tuple)
    assert (shape[9], shape[24 * 6 + 9], shape[10]) == (5, 1, 0), "Monday at nine, Sunday at nine, Monday at ten"


def test_flat_traffic_is_flat_however_long_it_was_seen() -> None:
    """Over fifteen days Monday is seen three times and the others twice: that makes no Mondays of them."""
    for days in (15, 20, 27):
        found = learn([hour(at) for at in range(24 * days)]).demand["w"]
        assert isinstance(found.shape, tuple)
        assert set(found.shape) == {10.0}
        assert found.calls_per_day == pytest.approx(240)
    part = learn([hour(at, 10) for at in range(17, 33 + 24)])
    assert part.demand["w"].calls_per_day == pytest.approx(240), "hours count, not calendar days"


def test_the_department_is_that_of_most_calls() -> None:
    mixed = [Hour("w", name, Class.PUBLIC, MONDAY, calls, calls, calls) for name, calls in (("a", 24_000), ("z", 24))]
    assert learn(mixed).demand["w"].department == "a"


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=30),
)
def test_its_own_lengths_are_believed(rows: list[tuple[int, int, int]]) -> None:
    """What is written of lengths agrees with itself, for answers of a token too."""
    lengths = [Length("w", calls, calls * a, calls * b, 0) for calls, a, b in rows]
    found = learn([hour(0)], lengths)
    again = read(written(found) + EXAMPLE[EXAMPLE.index("[plans.closed]") :])
    assert len(again.demand["w"].lengths) == len(rows)


@given(
    st.lists(
        st.tuples(st.integers(0, HOURS * 4), st.integers(0, 50), st.sampled_from(["a", "b b", 'c"', "ü"])), max_size=40
    )
)
def test_what_is_written_can_be_read(seen: list[tuple[int, int, str]]) -> None:
    """Every call is in somebody's demand, and the scenario reads back as it was."""
    found = learn([hour(at, calls, name) for at, calls, name in seen])
    whole = sum(calls for _, calls, _ in seen)
    if found.demand:
        hours = [at for at, calls, _ in seen if calls]
        days = max(1.0, (max(hours) - min(hours) + 1) / 24)
        assert sum(one.calls_per_day for one in found.demand.values()) * days == pytest.approx(whole)
    if found.demand:
        again = read(written(found) + EXAMPLE[EXAMPLE.index("[plans.closed]") :])
        assert set(again.demand) == set(found.demand)
        for name, one in again.demand.items():
            assert one.input == pytest.approx(found.demand[name].input, rel=1e-4)
            assert one.shape == found.demand[name].shape
