"""Plans: sums that others have published, properties that must hold, and what may not be priced."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.forecast import facts, offers
from freehold.forecast.capacity import Span
from freehold.forecast.plans import Can, Comparer
from freehold.forecast.scenario import EXAMPLE, HOURS, MONTH_H, Demand, Gpus, Hybrid, Own, Scenario, read
from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import Surroundings
from freehold.kernel.config import read as read_config
from freehold.kernel.errors import CallerError
from freehold.pricing.book import Rates, Tariff, load, tariff
from freehold.upstream.rows import ROWS

BOOK, FACTS = load(), facts.load()
ZONES: Mapping[Class, frozenset[Zone]] = read_config("", Surroundings({}, ROWS)).zones
PER_DAY = 1_000_000 * 24 / MONTH_H  # a million calls a month


def book(target: str) -> Tariff | None:
    provider, _, model = target.partition("/")
    return tariff(BOOK, provider, model, None, is_inside=False)


def flat(usd: str) -> Tariff:
    """A call of a million tokens in and one out costs this."""
    return Tariff("test", (Rates(Decimal(usd), Decimal(0)),))


def comparer(text: str, rates: Any = book) -> Comparer:
    return Comparer(offers.filled(read(text), FACTS, offers.load()), FACTS, rates, ZONES)


class Fixed(Comparer):
    """One replica can do so many requests a second; no model of an engine in between."""

    can: float = 1.0

    def _can(self, name: str, plan: Gpus | Own, workload: str) -> Can:
        return Can(Span(self.can, self.can, self.can), "fixed")


def fixed(can: float, demand: Demand, usd: str = "0.004", **plans: Any) -> Fixed:
    one = Fixed(Scenario(demand={"w": demand}, plans=plans), FACTS, lambda _target: flat(usd), ZONES)
    one.can = can
    return one


def machine(usd_per_gpu_hour: float, **more: Any) -> Gpus:
    return Gpus(
        model="llama-3.1-8b",
        gpu="h100",
        usd_per_gpu_hour=usd_per_gpu_hour,
        headroom=1.0,
        minimum=0,
        cold_start_s=0.0,
        **more,
    )


@pytest.mark.parametrize(
    ("target", "usd"),
    [
        pytest.param("openai/gpt-5", 1500 * 1.25 + 300 * 10.0, id="gpt-5"),
        pytest.param("openai/gpt-5-mini", 1500 * 0.25 + 300 * 2.0, id="gpt-5-mini"),
        pytest.param("openai/gpt-4o", 1500 * 2.5 + 300 * 10.0, id="gpt-4o"),
        pytest.param("openai/gpt-4o-mini", 1500 * 0.15 + 300 * 0.6, id="gpt-4o-mini"),
        pytest.param("anthropic/claude-sonnet-4-5", 1500 * 3.0 + 300 * 15.0, id="claude-sonnet-4.5"),
        pytest.param("anthropic/claude-haiku-4-5", 1500 * 1.0 + 300 * 5.0, id="claude-haiku-4.5"),
        pytest.param("gemini/gemini-2.5-flash", 1500 * 0.3 + 300 * 2.5, id="gemini-2.5-flash"),
    ],
)
def test_a_month_at_1500_and_300(target: str, usd: float) -> None:
    """A million requests of 1,500 tokens in and 300 out, at the vendors' list prices a million tokens (their price pages; checked 2026-11-27)."""
    text = f'[demand.w]\ncalls_per_day = {PER_DAY}\ninput = 1500\noutput = 300\ndata_class = "public"\n[plans.p]\nkind = "api"\ntarget = "{target}"\n'
    cost = comparer(text).cost("p")
    assert cost.usd.value == pytest.approx(usd)
    assert cost.per_million.value == pytest.approx(usd)


def test_a_hybrid_with_escalation() -> None:
    """2.50 $/h at 2,950 requests/h, 4.2 % of them asked again at 0.004 $: 0.001015 $ a request, 74.6 % less than asking there alone.

    Source: the worked example of the issue that asked for this room.
    """
    demand = Demand(calls_per_day=2950 * 24, input=1_000_000, output=1, shape="flat", data_class="public")
    found = fixed(2950 / 3600, demand, open=machine(2.5), closed=read(_API).plans["p"], both=Hybrid(open="open", closed="closed", escalation=0.042))  # fmt: skip
    each = found.cost("both").per_million.value / 1e6
    assert each == pytest.approx(0.001015, abs=5e-7)
    assert 1 - each / 0.004 == pytest.approx(0.746, abs=5e-4)


_API = '[demand.w]\ncalls_per_day = 1\ninput = 1\noutput = 1\n[plans.p]\nkind = "api"\ntarget = "x/y"\n'


def test_a_full_node() -> None:
    """16.06 $/h that serve 22,300 output tokens a second: 0.20 $ a million tokens. Source: as above."""
    demand = Demand(calls_per_day=22_300 * 86_400, input=1, output=1, shape="flat", data_class="public")
    found = fixed(22_300, demand, node=machine(16.06))
    assert found.cost("node").per_million.value == pytest.approx(0.20, abs=0.0005)


def test_cost_falls_with_load_until_it_is_full() -> None:
    """Below one replica, a token costs 1/λ; beyond, whole replicas come."""
    demand = Demand(calls_per_day=86_400, input=1, output=1, shape="flat", data_class="public")
    found = fixed(10.0, demand, node=machine(2.0))
    each = {volume: found.cost("node", volume).per_million.value for volume in (1, 2, 5, 10, 10.1, 20)}
    assert each[2] == pytest.approx(each[1] / 2)
    assert each[10] == pytest.approx(each[1] / 10)
    assert each[10.1] > 1.9 * each[10]
    assert each[20] == pytest.approx(each[10])
    assert found.cost("node", 10).utilisation == pytest.approx(1.0)


demands = st.builds(
    Demand,
    calls_per_day=st.floats(100, 1e6),
    input=st.floats(10, 8_000),
    output=st.floats(10, 2_000),
    shape=st.sampled_from(["flat", "business"]),
    data_class=st.just("public"),
)


@settings(max_examples=40)
@given(demands, st.floats(0.1, 100), st.floats(1, 3), st.booleans())
def test_machines_cost_more_for_more_and_never_less_than_when_full(
    demand: Demand, volume: float, more: float, autoscale: bool
) -> None:
    """Cost never falls with volume; no plan beats its own bound, every replica busy without a pause."""
    found = fixed(3.0, demand, node=machine(2.0, autoscale=autoscale))
    few, many = found.cost("node", volume), found.cost("node", volume * more)
    assert few.usd.value <= many.usd.value * (1 + 1e-9)
    bound = demand.calls_per_day / 86_400 * volume / 3.0 * 2.0 * MONTH_H
    assert few.usd.value >= bound * (1 - 1e-9)
    assert few.utilisation is not None
    assert few.utilisation <= 1 + 1e-9


@settings(max_examples=30)
@given(demands, st.floats(0.1, 50))
def test_a_hybrid_of_nothing_or_all_is_the_pure_plan(demand: Demand, volume: float) -> None:
    plans = {"open": machine(2.0), "closed": read(_API).plans["p"]}
    found = fixed(3.0, demand, none=Hybrid(open="open", closed="closed", share=0.0), all=Hybrid(open="open", closed="closed"), **plans)  # fmt: skip
    assert found.cost("none", volume).usd == found.cost("closed", volume).usd
    assert found.cost("all", volume).usd == found.cost("open", volume).usd


def test_shares_add_up_and_the_interval_holds_the_value() -> None:
    found = comparer(EXAMPLE)
    for name in ("closed", "hosted", "rented", "owned", "hybrid"):
        for volume in (1.0, 10.0):
            cost = found.cost(name, volume)
            assert sum(cost.shares.values()) == pytest.approx(cost.usd.value)
            assert sum(cost.parts.values()) == pytest.approx(cost.usd.value)
            assert cost.usd.low <= cost.usd.value <= cost.usd.high


def test_what_a_class_forbids_is_not_priced() -> None:
    """A restricted workload has no price on an outside plan; in a hybrid it stays on the open one and never escalates."""
    found = comparer(EXAMPLE)
    assert set(found.cost("closed").barred) == {"support", "contracts"}
    assert set(found.cost("hosted").barred) == {"contracts"}
    assert found.cost("rented").barred == {}
    assert found.cost("hybrid").barred == {}
    alone = found.cost("hybrid", only=["contracts"])
    assert alone.usd == found.cost("rented", only=["contracts"]).usd
    with pytest.raises(CallerError) as caught:
        found.cost("closed", only=["contracts"])
    assert caught.value.code == "forecast.barred"


def test_crossings_are_where_costs_meet() -> None:
    """A staircase may cross a line more than once: every crossing is found, for what both plans may serve."""
    demand = Demand(calls_per_day=86_400, input=1_000_000, output=1, shape="flat", data_class="public")
    found = fixed(1.0, demand, usd="0.001", node=machine(2.16), api=read(_API).plans["p"])
    crossings = found.crossings("node", "api")
    for volume in (one.volume for one in crossings):
        below, above = (found.cost("node", volume * by).usd.value - found.cost("api", volume * by).usd.value for by in (0.9999, 1.0001))  # fmt: skip
        assert (below < 0) is not (above < 0)
    assert crossings[0].volume == pytest.approx(2.16 / 3.6, rel=1e-3), "one replica costs what so many calls would"
    assert len(crossings) == 3, "cheaper, dearer where the second replica comes, and cheaper for good"


def test_every_crossing_of_a_fine_staircase_is_found() -> None:
    """Against 15,000 volumes one by one: steps far finer than the volumes at which plans are first compared; and none is made up."""
    demand = Demand(calls_per_day=86_400, input=1_000_000, output=1, shape="flat", data_class="public")
    found = fixed(1.0, demand, usd="0.000617", node=machine(2.16), api=read(_API).plans["p"])

    def is_below(volume: float) -> bool:
        return found.month("node", {"w": volume}).usd < found.month("api", {"w": volume}).usd

    volumes = [0.5 * 10 ** (at / 7_000) for at in range(15_001)]
    below = list(map(is_below, volumes))
    changes = [v for v, one, other in zip(volumes, below, below[1:], strict=False) if one is not other]
    crossings = [one.volume for one in found.crossings("node", "api")]
    assert len(changes) > 50
    wide = [v for v in changes if all(abs(other / v - 1) > 1.2e-3 for other in changes if other != v)]
    assert len(wide) > 50, "what is narrower than a tenth of a per cent may be missed"
    for change in wide:
        assert min(abs(volume / change - 1) for volume in crossings) < 1e-3
    for volume in crossings:
        assert is_below(volume * (1 - 1e-9)) is not is_below(volume * (1 + 1e-9))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("calls_per_day = 40_000", "calls_per_day = -1", "demand[...].calls_per_day"),
        ("input         = 900 ", "input = 0", "demand[...].input"),
        ("calls_per_day = 40_000", "calls_a_day = 4", "calls_a_day"),
        ('kind   = "gpus"', 'kind   = "cpus"', "cpus"),
        ('target = "openai/gpt-5.4"', 'target = "gpt-5.4"', "provider/model"),
        ('closed     = "closed"', 'closed     = "shut"', "'shut' is no plan"),
        ("# usd_per_gpu_hour = { low = 1.9", "usd_per_gpu_hour = { low = 9.0", "must not cross"),
        ('shape         = "business"', "shape = [1, 2, 3]", f"{HOURS} weights"),
        ("[demand.support]", "[demand.support", "is no TOML"),
        ("escalation = 0.05", "escalation = 1.5", "escalation"),
        ("[demand.support]", '[demand."a\\u0001b"]', "cannot be shown"),
        ('closed     = "closed"', 'closed     = "rented"', "the same plan"),
        ("purchase_usd = 75_000", "purchase_usd = 75_000\nlife_years = 100_000", "life_years"),
        ("calls_per_day = 40_000", "calls_per_day = 1e-320", "calls_per_day"),
        ('target = "openai/gpt-5.4"', 'target = "openai/gpt-5.4"\ndiscount = -inf', "discount"),
        ('title = "Example', 'volumes = []\ntitle = "Example', "volumes"),
        ('title = "Example', 'what_if.a.vendor = "opnai"\ntitle = "Example', "no plan buys of"),
    ],
)
def test_a_wrong_scenario_says_where(before: str, after: str, words: str) -> None:
    assert before in EXAMPLE
    with pytest.raises(CallerError) as caught:
        read(EXAMPLE.replace(before, after, 1))
    assert caught.value.code == "forecast.scenario"
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ('model  = "llama-3.3-70b"', 'model  = "llama-9"', "forecast.unknown_model"),
        ('gpu    = "h100"', 'gpu    = "h1000"', "forecast.unknown_gpu"),
        ("count  = 2", "count  = 1\nprecision = 'bf16'", "forecast.does_not_fit"),
        ("tpot_ms       = 60", "tpot_ms = 1", "forecast.latency"),
    ],
)
def test_what_cannot_be_is_an_error(before: str, after: str, code: str) -> None:
    with pytest.raises(CallerError) as caught:
        comparer(EXAMPLE.replace(before, after, 1)).cost("rented")
    assert caught.value.code == code
    with pytest.raises(CallerError) as caught:
        comparer(EXAMPLE.replace("openai/gpt-5.4", "openai/gpt-99")).cost("closed")
    assert caught.value.code == "forecast.unpriced"
