"""Demand from the ledger: nothing is lost, and no shape is believed that was not seen."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.forecast.learned import Hour, learn, written
from freehold.forecast.scenario import EXAMPLE, HOURS, read
from freehold.kernel.classes import Class

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
    found = learn([hour(24 * day + 9, 5 if day % 7 < 5 else 1) for day in range(14)])  # fmt: skip
    shape = found.demand["w"].shape
    assert found.has_shape
    assert isinstance(shape, tuple)
    assert (shape[9], shape[24 * 6 + 9], shape[10]) == (10, 2, 0), "Monday at nine, Sunday at nine, Monday at ten"


@given(
    st.lists(
        st.tuples(st.integers(0, HOURS * 4), st.integers(0, 50), st.sampled_from(["a", "b b", 'c"', "ü"])), max_size=40
    )
)
def test_what_is_written_can_be_read(seen: list[tuple[int, int, str]]) -> None:
    """Every call is in somebody's demand, and the scenario reads back as it was."""
    found = learn([hour(at, calls, name) for at, calls, name in seen])
    whole = sum(calls for _, calls, _ in seen)
    assert sum(one.calls_per_day for one in found.demand.values()) * found.days == pytest.approx(whole)
    if found.demand:
        again = read(written(found) + EXAMPLE[EXAMPLE.index("[plans.closed]") :])
        assert set(again.demand) == set(found.demand)
        for name, one in again.demand.items():
            assert one.input == pytest.approx(found.demand[name].input, abs=0.06)
            assert one.shape == found.demand[name].shape
