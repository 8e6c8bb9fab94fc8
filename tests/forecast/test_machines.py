"""Whole replicas by the hour: what may wait fills what is there, and what is paid beside the hours."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.forecast import facts
from freehold.forecast.capacity import Predictor, Setup, Work
from freehold.forecast.draws import AS_STATED, Z10, Draw
from freehold.forecast.machines import Load, parts_of, replicas_of
from freehold.forecast.scenario import HOURS, MONTH_H, Demand, Gpus, Own, Priced


def gpus(**more: Any) -> Gpus:
    return Gpus(**{"model": "m", "gpu": "g", "usd_per_gpu_hour": 2.0, "headroom": 1.0, "minimum": 0, **more})  # type: ignore[arg-type]


DAY = [1.6 if 8 <= hour % 24 < 18 else 0.2 for hour in range(HOURS)]
MANY = [1e9] * HOURS


def load(peaks: list[float], later: float = 0.0, calls: list[float] = MANY) -> Load:
    """later: of each day."""
    return Load(peaks, [later] * 7, calls, sum(peaks) / HOURS + later / 24)


def test_replicas_follow_the_hours() -> None:
    assert replicas_of(gpus(), load(DAY)) == pytest.approx([math.ceil(one) for one in DAY])
    assert set(replicas_of(gpus(autoscale=False), load(DAY))) == {2}
    assert set(replicas_of(gpus(autoscale=False, spare=1, minimum=4), load(DAY))) == {5}
    assert replicas_of(gpus(headroom=0.5), load(DAY))[9] == 4
    assert set(replicas_of(gpus(), load([0.0] * HOURS))) == {0}, "scaled to nothing"


def test_none_is_there_in_an_hour_without_a_call() -> None:
    """At one call in ten hours, by chance, a replica is there in as many hours as have one; each of them begins anew, but for those in a row."""
    there = replicas_of(gpus(), load([1e-6] * HOURS, calls=[0.1] * HOURS))
    assert there == pytest.approx([1 - math.exp(-0.1)] * HOURS)
    parts = parts_of(gpus(cold_start_s=3_600.0), there, 0.0, AS_STATED, "g")
    chance = 1 - math.exp(-0.1)
    assert parts["cold starts"] == pytest.approx(HOURS * chance * (1 - chance) * 2.0 * MONTH_H / HOURS)
    assert set(replicas_of(gpus(minimum=1), load([1e-6] * HOURS, calls=[0.1] * HOURS))) == {1}


def test_what_may_wait_fills_what_is_there() -> None:
    free = sum(math.ceil(one) - one for one in DAY[:24])
    assert replicas_of(gpus(), load(DAY, free - 0.01)) == pytest.approx(replicas_of(gpus(), load(DAY)))
    more = replicas_of(gpus(), load(DAY, free + 10.5))
    assert sum(more) == sum(map(math.ceil, DAY)) + 7 * 11
    assert max(more) == 2, "where there are fewest"
    own = Own(model="m", gpu="g", purchase_usd=1.0, headroom=1.0)
    assert set(replicas_of(own, load(DAY, 12.0))) == {2}, "the valleys hold it"
    assert set(replicas_of(own, load(DAY, 48.0))) == {3}


def test_what_waits_is_served_on_its_day() -> None:
    """By hand: five days' work of 4.99 replicas each does not wait for the weekend, so five machines, not four."""
    own = Own(model="m", gpu="g", purchase_usd=1.0, headroom=1.0)
    week = Load([0.0] * HOURS, [4.99 * 24] * 5 + [0.0] * 2, MANY, 4.99 * 5 / 7)
    assert set(replicas_of(own, week)) == {5}


def test_committed_machines_are_there_and_used_first() -> None:
    peaks = ([10.0] * 6 + [1.0] * 18) * 7
    found = replicas_of(gpus(committed=10), load(peaks, 80.0))
    assert set(found) == {10}, "what waits goes where the committed ones stand idle"
    assert "cold starts" not in parts_of(gpus(committed=40), replicas_of(gpus(committed=40), load(DAY)), 1.0, AS_STATED, "g")  # fmt: skip


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 50), min_size=HOURS, max_size=HOURS),
    st.floats(0, 500),
    st.floats(0, 500),
    st.sampled_from(
        [gpus(), gpus(headroom=0.7, minimum=2), gpus(autoscale=False), Own(model="m", gpu="g", purchase_usd=1.0)]
    ),
)
def test_all_of_it_fits_and_more_never_needs_less(peaks: list[float], later: float, more: float, plan: Gpus | Own) -> None:  # fmt: skip
    found = replicas_of(plan, load(peaks, later))
    assert all(count * plan.headroom >= peak - 1e-6 for count, peak in zip(found, peaks, strict=True))
    for at in range(0, HOURS, 24):
        day = found[at : at + 24]
        assert sum(day) * plan.headroom >= sum(peaks[at : at + 24]) + later - 1e-4
        assert sum(replicas_of(plan, load(peaks, later + more))[at : at + 24]) >= sum(day)


def test_what_is_paid_beside_the_hours() -> None:
    two = [2.0] * 84 + [0.0] * 84
    cold = parts_of(gpus(cold_start_s=1_800.0), two, 1.0, AS_STATED, "g")
    assert cold["GPUs by the hour"] == pytest.approx(MONTH_H * 2.0)
    assert cold["cold starts"] == pytest.approx(2 * 0.5 * 2.0 * MONTH_H / HOURS), "two starts a week"
    held = parts_of(gpus(cold_start_s=0.0, committed=1, committed_discount=0.4), [2.0] * 84 + [1.0] * 84, 1.0, AS_STATED, "g")  # fmt: skip
    assert held == pytest.approx({"GPUs by the hour": MONTH_H, "committed GPUs": MONTH_H * 2.0 * 0.6})


def test_prices_go_through_their_percentiles() -> None:
    plan = gpus(usd_per_gpu_hour=Priced(low=1.0, typical=2.0, high=5.0), cold_start_s=0.0)
    each = [parts_of(plan, [1.0] * HOURS, 1.0, Draw(price={"g": z}), "g")["GPUs by the hour"] / MONTH_H for z in (-Z10, 0.0, Z10)]  # fmt: skip
    assert each == pytest.approx([1.0, 2.0, 5.0])
    assert parts_of(plan, [1.0] * HOURS, 1.0, AS_STATED, "g")["GPUs by the hour"] == pytest.approx(2.0 * MONTH_H)


def test_an_annuity() -> None:
    """A loan of 100,000 at 12 % a year over 12 months is 8,884.88 a month, as any loan calculator has it."""
    own = Own(model="m", gpu="g", purchase_usd=100_000, life_years=1.0, residual=0.0, capital=0.12)
    assert own.annuity_usd == pytest.approx(8_884.88, abs=0.01)
    tiny = Own(model="m", gpu="g", purchase_usd=48_000, life_years=4.0, residual=0.25, capital=1e-17)
    assert tiny.annuity_usd == pytest.approx(750.0)
    free = Own(model="m", gpu="g", purchase_usd=48_000, life_years=4.0, residual=0.25, capital=0.0)
    assert free.annuity_usd == pytest.approx(750.0)


def test_long_prompts_have_to_be_in_time_too() -> None:
    """The target of the first token is for the prompt that nineteen of twenty do not exceed, so more spread leaves less room."""
    known = facts.load()
    setup = Setup(known.model("llama-3.3-70b"), known.gpu("h100"), 2, "vllm", "fp8")
    predictor, target = Predictor(), 1.5
    demand = Demand(calls_per_day=1.0, input=2_000, output=200)
    spread = msgspec.structs.replace(demand, input_spread=0.8)
    assert demand.long_input() == 2_000
    assert spread.long_input() == pytest.approx(2_000 * math.exp(1.6449 * math.sqrt(math.log(1.64)) - math.log(1.64) / 2), rel=1e-3)  # fmt: skip
    rows = ((100.0, 9.0, 95.0), (4_000.0, 9.0, 4.0), (9_000.0, 9.0, 1.0))
    assert msgspec.structs.replace(demand, lengths=rows).long_input() == 100.0
    even, long = (
        predictor.most(setup, Work(2_000, 200, long_input=one.long_input()), ttft_s=target) for one in (demand, spread)
    )
    assert long.requests_s < even.requests_s
    assert even.ttft_s.value <= target
    assert long.ttft_s.value == pytest.approx(target, rel=1e-3)
