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
from freehold.forecast.draws import AS_STATED, Draw
from freehold.forecast.machines import parts_of, replicas_of
from freehold.forecast.scenario import HOURS, MONTH_H, Demand, Gpus, Own, Priced


def gpus(**more: Any) -> Gpus:
    return Gpus(**{"model": "m", "gpu": "g", "usd_per_gpu_hour": 2.0, "headroom": 1.0, "minimum": 0, **more})  # type: ignore[arg-type]


DAY = [1.6 if 8 <= hour % 24 < 18 else 0.2 for hour in range(HOURS)]


def test_replicas_follow_the_hours() -> None:
    assert replicas_of(gpus(), DAY, 0.0) == [math.ceil(one) for one in DAY]
    assert set(replicas_of(gpus(autoscale=False), DAY, 0.0)) == {2}
    assert set(replicas_of(gpus(autoscale=False, spare=1, minimum=4), DAY, 0.0)) == {5}
    assert replicas_of(gpus(headroom=0.5), DAY, 0.0)[9] == 4
    assert set(replicas_of(gpus(), [0.0] * HOURS, 0.0)) == {0}, "scaled to nothing"


def test_what_may_wait_fills_what_is_there() -> None:
    free = sum(math.ceil(one) - one for one in DAY)
    assert replicas_of(gpus(), DAY, free - 0.01) == replicas_of(gpus(), DAY, 0.0)
    more = replicas_of(gpus(), DAY, free + 10.5)
    assert sum(more) == sum(map(math.ceil, DAY)) + 11
    assert max(more) == 2, "where there are fewest"
    own = Own(model="m", gpu="g", purchase_usd=1.0, headroom=1.0)
    assert set(replicas_of(own, DAY, HOURS * 0.5)) == {2}, "the valleys hold it"
    assert set(replicas_of(own, DAY, HOURS * 2.0)) == {3}


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 50), min_size=HOURS, max_size=HOURS),
    st.floats(0, 2_000),
    st.floats(0, 2_000),
    st.sampled_from(
        [gpus(), gpus(headroom=0.7, minimum=2), gpus(autoscale=False), Own(model="m", gpu="g", purchase_usd=1.0)]
    ),
)
def test_all_of_it_fits_and_more_never_needs_less(peaks: list[float], later: float, more: float, plan: Gpus | Own) -> None:  # fmt: skip
    found = replicas_of(plan, peaks, later)
    assert all(count * plan.headroom >= peak - 1e-6 for count, peak in zip(found, peaks, strict=True))
    assert sum(found) * plan.headroom >= sum(peaks) + later - 1e-4
    assert sum(replicas_of(plan, peaks, later + more)) >= sum(found)


def test_what_is_paid_beside_the_hours() -> None:
    two = [2] * 84 + [0] * 84
    cold = parts_of(gpus(cold_start_s=1_800.0), two, 1.0, AS_STATED, "p")
    assert cold["GPUs by the hour"] == pytest.approx(MONTH_H * 2.0)
    assert cold["cold starts"] == pytest.approx(2 * 0.5 * 2.0 * MONTH_H / HOURS), "two starts a week"
    held = parts_of(gpus(cold_start_s=0.0, committed=1, committed_discount=0.4), two, 1.0, AS_STATED, "p")
    assert held == pytest.approx({"GPUs by the hour": MONTH_H, "committed GPUs": MONTH_H * 2.0 * 0.6})


def test_a_triangle_of_prices() -> None:
    plan = gpus(usd_per_gpu_hour=Priced(low=1.0, typical=2.0, high=5.0), cold_start_s=0.0)
    each = {
        quantile: parts_of(plan, [1] * HOURS, 1.0, Draw(price={"p": quantile}), "p")["GPUs by the hour"] / MONTH_H
        for quantile in (0.0, 0.25, 1.0)
    }
    assert each == pytest.approx({0.0: 1.0, 0.25: 2.0, 1.0: 5.0}), "the peak is at a quarter of the way"
    assert parts_of(plan, [1] * HOURS, 1.0, AS_STATED, "p")["GPUs by the hour"] == pytest.approx(2.0 * MONTH_H)


def test_an_annuity() -> None:
    """A loan of 100,000 at 12 % a year over 12 months is 8,884.88 a month, as any loan calculator has it."""
    own = Own(model="m", gpu="g", purchase_usd=100_000, life_years=1.0, residual=0.0, capital=0.12)
    assert own.annuity_usd == pytest.approx(8_884.88, abs=0.01)
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
