"""The whole of a forecast: which plan is the cheapest and how sure that is, what may come, what must not be overlooked."""

from __future__ import annotations

import dataclasses
import datetime
import math
import statistics
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from freehold.forecast import facts, offers
from freehold.forecast.deciding import decide, tornado
from freehold.forecast.draws import between, draws, ends
from freehold.forecast.hosts import cheapest_host, hosts_of
from freehold.forecast.outlook import Known, Outlook, comparer_of, look
from freehold.forecast.page import files
from freehold.forecast.plans import Comparer
from freehold.forecast.scenario import EXAMPLE, Uncertain, read
from freehold.forecast.telling import sentences, tables
from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import Surroundings
from freehold.kernel.config import read as read_config
from freehold.kernel.errors import CallerError
from freehold.kernel.snapshot import Price
from freehold.pricing.book import Book, Row, load, tariff
from freehold.pricing.book import Rates as Row_
from freehold.upstream.rows import ROWS

BOOK, FACTS, TODAY = load(), facts.load(), datetime.date(2026, 11, 27)
ZONES: Mapping[Class, frozenset[Zone]] = read_config("", Surroundings({}, ROWS)).zones


def known(book: Book = BOOK, today: datetime.date = TODAY) -> Known:
    def rates(target: str) -> Any:
        provider, _, model = target.partition("/")
        return tariff(book, provider, model, None, is_inside=False)

    return Known(FACTS, book, rates, ZONES, offers.load(), today)


def look_at(text: str, **more: Any) -> tuple[Outlook, Comparer]:
    return look(read(text), known(**more), lambda _what: None)


@pytest.fixture(scope="module")
def example() -> tuple[Outlook, Comparer]:
    return look_at(EXAMPLE)


def test_the_example_says_everything(example: tuple[Outlook, Comparer]) -> None:
    outlook, comparer = example
    assert set(outlook.costs) == {"closed", "hosted", "rented", "owned", "hybrid", "cheapest host of llama-3.3-70b"}
    assert outlook.impossible == {}
    for name, each in outlook.costs.items():
        for cost, volume in zip(each, outlook.volumes, strict=True):
            assert cost.usd.low <= cost.usd.value <= cost.usd.high
            assert sum(cost.shares.values()) == pytest.approx(cost.usd.value)
            inside = sum(cost.usd.low <= one <= cost.usd.high for one in comparer.amounts(name, comparer.served(name, volume)[0]))  # fmt: skip
            assert inside >= 0.79 * len(comparer.draws), "eight of ten"
    assert sum(share.fair for share in outlook.departments["rented"].values()) == pytest.approx(outlook.costs["rented"][0].usd.value)  # fmt: skip
    assert any("contracts is restricted" in sentence for sentence in sentences(outlook))
    assert [table.title for table in tables(outlook)][1] == "Which costs least, and how sure that is"


def test_the_same_seed_says_the_same(example: tuple[Outlook, Comparer]) -> None:
    again, _ = look_at(EXAMPLE)
    assert msgspec.json.encode(again) == msgspec.json.encode(example[0])


def test_draws_spread_as_they_are_asked_to() -> None:
    found = list(draws(Uncertain(calls=0.2, output=0.0), ["p"], ["q"], count=4_000, seed=1))
    price = sorted(between(1.0, 2.0, 5.0, one.price["q"]) for one in found)
    assert [price[len(price) * tenths // 10] for tenths in (1, 5, 9)] == pytest.approx([1.0, 2.0, 5.0], rel=0.05)
    inside = sum(1 / 1.2 <= one.calls <= 1.2 for one in found) / len(found)
    assert inside == pytest.approx(0.8, abs=0.02)
    assert {one.output for one in found} == {1.0}
    more = list(draws(Uncertain(calls=0.2, output=0.0), ["another", "p"], [], count=4_000, seed=1))
    assert [one.speed["p"] for one in more] == [one.speed["p"] for one in found], "one plan more changes nothing"
    assert [one.calls for one in draws(Uncertain(), [], [], count=9, seed=2)] != [one.calls for one in draws(Uncertain(), [], [], count=9, seed=1)]  # fmt: skip
    calls = next(one for one in ends(Uncertain(calls=0.2), [], []) if one[0] == "calls")
    assert (calls[2].calls, calls[3].calls) == pytest.approx((1 / 1.2, 1.2))


PLAIN = """\
volumes = [1.0]
[demand.w]
calls_per_day = 10_000
input = 1000
output = 300
data_class = "public"
[plans.rented]
kind = "gpus"
model = "llama-3.3-70b"
gpu = "h100"
count = 2
usd_per_gpu_hour = {price}
[plans.closed]
kind = "api"
target = "openai/gpt-5.4"
{more}
"""


def plain(price: str = "2.0", more: str = "") -> str:
    return PLAIN.format(price=price, more=more)


def test_what_is_close_is_undecided_and_says_what_to_measure() -> None:
    """At the price of GPUs at which both cost the same, nobody can tell; far from it, everybody can."""
    alone = ("llama-3.3-70b", "mistral-large-123b")  # which nobody hosts
    _, comparer = look_at(plain().replace(*alone))
    volumes = {"w": 1.0}
    same = 2.0 * comparer.month("closed", volumes).usd / comparer.month("rented", volumes).usd
    price = f'{{ low = {same * 0.5}, typical = {same}, high = {same * 1.5}, source = "q", date = "2026-11-01" }}'
    outlook, comparer = look_at(plain(price).replace(*alone))
    decision = decide(comparer, ["rented", "closed"], 1.0, ["w"])
    assert not decision.is_decided
    assert "quotes for h100" in decision.measure
    assert decision.saves.low < 0 < decision.saves.high
    assert any("Undecided at 1 times today" in one and "quotes for h100" in one for one in sentences(outlook))
    first = tornado(comparer, "rented", volumes, beside="closed")[0]
    assert (first.what, first.kind) == ("price", "h100")
    for factor, best in ((0.1, "rented"), (10.0, "closed")):
        _, comparer = look_at(plain(str(same * factor)))
        decision = decide(comparer, ["rented", "closed"], 1.0, ["w"])
        assert (decision.best, decision.is_decided, decision.measure) == (best, True, "")


def test_the_best_is_what_wins_most_draws_of_all() -> None:
    """Not the one that beats the second as stated: a third may be the cheapest more often than either."""
    more = "".join(
        f'[plans.{name}]\nkind = "gpus"\nmodel = "llama-3.3-70b"\ngpu = "{gpu}"\ncount = 2\nusd_per_gpu_hour = {price}\n'
        for name, gpu, price in (("b", "h100", "4.02"), ("c", "h200", "{ low = 1.0, typical = 4.05, high = 4.5 }"))
    )
    _, comparer = look_at(plain("4.0", more))
    decision = decide(comparer, ["rented", "b", "c"], 1.0, ["w"])
    drawn = {name: comparer.amounts(name, {"w": 1.0}) for name in ("rented", "b", "c")}
    won = sum(min(drawn, key=lambda name: drawn[name][at]) == "c" for at in range(len(comparer.draws)))
    assert decision.chance == pytest.approx(max(won, len(comparer.draws) - won) / len(comparer.draws))
    assert {decision.best, decision.rival} == {"c", "rented"}
    assert decision.saves.low <= decision.saves.value <= decision.saves.high


def test_plans_on_the_same_machines_see_the_same() -> None:
    """What is not known of an H100 is not known twice: a plan that uses it worse costs more in every draw."""
    worse = '[plans.worse]\nkind = "gpus"\nmodel = "llama-3.3-70b"\ngpu = "h100"\ncount = 2\nheadroom = 0.6\n'
    text = plain(more=worse).replace("usd_per_gpu_hour = 2.0\n", "").replace("10_000", "2_000_000")
    _, comparer = look_at(text)
    pairs = zip(comparer.amounts("rented", {"w": 1.0}), comparer.amounts("worse", {"w": 1.0}), strict=True)
    assert all(one <= other for one, other in pairs)
    assert decide(comparer, ["rented", "worse"], 1.0, ["w"]).chance == 1.0


def test_what_shared_does_not_blur_a_difference() -> None:
    """How many calls come moves both alike, so it does not make a clear difference unclear."""
    text = plain(more='[plans.cheaper]\nkind = "api"\ntarget = "openai/gpt-5.4"\ndiscount = 0.05\n[uncertain]\ncalls = 1.0\n')  # fmt: skip
    _, comparer = look_at(text)
    wide = comparer.cost("closed").usd
    assert wide.high > 1.5 * wide.low
    assert decide(comparer, ["closed", "cheaper"], 1.0, ["w"]).chance == 1.0


def test_scaling_every_price_scales_every_cost_and_nothing_else() -> None:
    """In cents instead of dollars, what has no unit is the same."""
    book = known()

    def scaled(factor: float) -> Outlook:
        def rates(target: str) -> Any:
            row = BOOK.find(*target.split("/", 1))
            assert row is not None
            more = tuple(Row_(**{f: getattr(one, f) * Decimal(factor) if getattr(one, f) is not None else None for f in ("input", "output", "cache_read")}, above=one.above) for one in row.rates)  # fmt: skip
            return tariff(Book("d", "x", {"openai": {row.model: Row(model=row.model, source="s", date="2026-11-01", rates=more)}}), "openai", row.model, None, is_inside=False)  # fmt: skip

        scenario = read(plain(str(2.0 * factor)))
        return look(scenario, dataclasses.replace(book, rates=rates, book=Book("d", "x", {})), lambda _what: None)[0]

    one, hundred = scaled(1.0), scaled(128.0)
    for name, (cost,) in one.costs.items():
        (other,) = hundred.costs[name]
        assert other.usd.value == pytest.approx(128 * cost.usd.value)
        assert other.usd.low == pytest.approx(128 * cost.usd.low)
        assert (other.utilisation, other.replicas, other.latency) == (cost.utilisation, cost.replicas, cost.latency)
    assert [d.chance for d in one.decisions] == [d.chance for d in hundred.decisions]
    assert [c.volume for m in one.meetings for c in m.crossings] == pytest.approx([c.volume for m in hundred.meetings for c in m.crossings])  # fmt: skip


def test_what_may_come() -> None:
    more = 'tokens_per_minute = 40_000\n[what_if."a merger"]\ncalls = 3.0\n'
    outlook, _ = look_at(plain(more=more))
    closed = outlook.costs["closed"][0].usd.value
    found = {one.what.partition(";")[0]: one for one in outlook.what_ifs}
    assert found["openai doubles its prices"].usd["closed"] == pytest.approx(2 * closed)
    assert found["openai doubles its prices"].usd["rented"] == pytest.approx(outlook.costs["rented"][0].usd.value)
    assert found["a merger"].usd["closed"] == pytest.approx(3 * closed)
    assert found["GPUs by the hour cost 30 % less each year, in two years"].usd["rented"] == pytest.approx(0.49 * outlook.costs["rented"][0].usd.value)  # fmt: skip
    assert closed < found["answers are twice as long"].usd["closed"] < 2 * closed
    limited = next(one.what for one in outlook.what_ifs if "halves its rate limits" in one.what)
    assert "may have 20,000 tokens a minute" in limited


def test_a_what_if_that_nobody_can_serve_is_no_crash() -> None:
    """Twice as long answers fit nowhere: none can, and no plan that may not serve it is named instead."""
    text = plain().replace('data_class = "public"', 'data_class = "restricted"').replace("count = 2", "count = 1\nprecision = 'fp8'")  # fmt: skip
    text = text.replace("input = 1000", "input = 13_000").replace("output = 300", "output = 4_000")
    text = text.replace("llama-3.3-70b", "mistral-small-24b").replace('gpu = "h100"', 'gpu = "rtx-4090"').replace("'fp8'", "'int4'")  # fmt: skip
    outlook, _ = look_at(text.replace("4_000", "40_000"))
    long = next(one for one in outlook.what_ifs if one.what == "answers are twice as long")
    assert (long.best, long.was) == ("", "rented")
    two = plain(more='[demand.p]\ncalls_per_day = 10\ninput = 10\noutput = 10\ndata_class = "public"\n')
    two = two.replace('data_class = "public"\n[plans', 'data_class = "restricted"\n[plans', 1)
    outlook, _ = look_at(two)
    assert {one.best for one in outlook.what_ifs} <= {"rented", ""}
    assert {one.was for one in outlook.what_ifs} == {"rented"}


def test_an_own_machine_is_not_for_nothing() -> None:
    """A target that is paid by the hour has no price for tokens, and none is not zero."""

    def rates(_target: str) -> Any:
        return tariff(Book("d", "x", {}), "local", "m", Price(hourly=Decimal(4)), is_inside=True)

    outlook, _ = look(read(plain()), dataclasses.replace(known(), rates=rates), lambda _what: None)
    assert "closed" not in outlook.costs
    assert "paid by the hour" in outlook.impossible["closed"]


def test_today_is_today_whatever_volumes_are_asked_for() -> None:
    outlook, comparer = look_at(plain().replace("volumes = [1.0]", "volumes = [100.0, 10.0, 10.0]"))
    assert outlook.volumes == (10.0, 100.0)
    assert outlook.today["closed"].usd.value == pytest.approx(comparer.month("closed", {"w": 1.0}).usd)
    assert outlook.costs["closed"][0].usd.value == pytest.approx(10 * outlook.today["closed"].usd.value)


def test_long_prompts_have_the_price_of_long_prompts() -> None:
    """Against the integral of the log-normal distribution: a tier above 272,000 tokens, at a mean of 60,000 and a spread of 1.5."""
    text = plain().replace("input = 1000", "input = 60_000\ninput_spread = 1.5").replace('data_class = "public"', 'data_class = "public"\ngood = ["closed"]')  # fmt: skip
    _, comparer = look_at(text)
    row = BOOK.find("openai", "gpt-5.4")
    assert row is not None
    usual, long = row.rates[0], next(one for one in row.rates if one.above)
    sigma = math.sqrt(math.log1p(1.5**2))
    mu = math.log(60_000) - sigma**2 / 2
    cut = (math.log(long.above) - mu) / sigma
    normal = statistics.NormalDist()
    tokens_above, calls_above = normal.cdf(sigma - cut), normal.cdf(-cut)
    each = 60_000 * (float(usual.input or 0) * (1 - tokens_above) + float(long.input or 0) * tokens_above)
    each += 300 * (float(usual.output or 0) * (1 - calls_above) + float(long.output or 0) * calls_above)
    month = each / 1e6 * 10_000 * 730.5 / 24
    assert comparer.month("closed", {"w": 1.0}).usd == pytest.approx(month, rel=0.03)


def test_fractions_of_tokens_are_paid_as_such() -> None:
    _, comparer = look_at(plain().replace("output = 300", "output = 1.5").replace("input = 1000", "input = 0.3"))
    usd = 10_000 * 730.5 / 24 * (0.3 * 2.5 + 1.5 * 15.0) / 1e6
    assert comparer.month("closed", {"w": 1.0}).usd == pytest.approx(usd)


def test_a_batch_without_a_price_for_what_repeats_reads_it_anew() -> None:
    text = plain().replace("openai/gpt-5.4", "openai/gpt-4.1").replace("output = 300", "output = 300\nprefix = 0.5\nbatchable = 1.0")  # fmt: skip
    _, comparer = look_at(text)
    assert comparer.month("closed", {"w": 1.0}).usd == pytest.approx(10_000 * 730.5 / 24 * (1000 * 1.0 + 300 * 4.0) / 1e6)  # fmt: skip


def test_what_a_model_cannot_read_is_told() -> None:
    outlook, _ = look_at(plain().replace("input = 1000", "input = 180_000").replace("count = 2", "count = 8"))
    assert any("llama-3.3-70b takes 131,072" in flag for flag in outlook.flags)


def test_limits_bind_where_they_do() -> None:
    text = plain(more="tokens_per_minute = 30_000\n").replace("volumes = [1.0]", "volumes = [1.0, 100.0]")
    outlook, _ = look_at(text)
    first, last = outlook.costs["closed"]
    assert first.flags == ()
    (flag,) = last.flags
    assert "the busiest hour needs" in flag
    assert any(flag in one for one in outlook.flags)


def test_old_prices_and_models_that_retire_are_told() -> None:
    price = '{ low = 1.0, typical = 2.0, high = 3.0, source = "quotes", date = "2025-01-02" }'
    outlook, _ = look_at(plain(price).replace("openai/gpt-5.4", "openai/gpt-5.1"))
    assert any("from 2025-01-02" in flag for flag in outlook.flags)
    assert any("openai/gpt-5.1 retires on 2027-04-01" in flag for flag in outlook.flags)
    later, _ = look_at(plain(), today=datetime.date(2027, 11, 1))
    assert any("the price of openai/gpt-5.4 is from" in flag for flag in later.flags)
    fresh, _ = look_at(plain())
    assert not [flag for flag in fresh.flags if "is from" in flag]


def test_the_cheapest_host_is_beside_it() -> None:
    outlook, comparer = look_at(plain())
    (name,) = [one for one in outlook.costs if one.startswith("cheapest host of")]
    plan: Any = comparer.plans[name]
    model = FACTS.model("llama-3.3-70b")
    each = {
        target: 3 * float(row.rates[0].input) + float(row.rates[0].output)
        for target, row in hosts_of(BOOK, model, "2026-11-27")
        if row.rates[0].input is not None and row.rates[0].output
    }
    assert len({target.partition("/")[0] for target in each}) > 3
    assert each[plan.target] == min(each.values())
    assert cheapest_host(BOOK, FACTS.model("mistral-large-123b"), "2026-11-27") is None


def test_a_host_that_has_retired_is_none() -> None:
    def row(model: str, usd: int, retires: str | None) -> Row:
        return Row(
            model=model, source="s", date="2026-11-01", rates=(Row_(Decimal(usd), Decimal(usd)),), retires=retires
        )

    rows = {"a": {"m": row("Llama-3.3-70B-Instruct", 1, "2026-12-01")}, "b": {"m": row("llama-v3p3-70b", 2, None)}}
    model, book = FACTS.model("llama-3.3-70b"), Book("d", "x", rows)
    assert [(found or ("",))[0] for found in (cheapest_host(book, model, day) for day in ("2026-11-27", "2026-12-01"))] == ["a/Llama-3.3-70B-Instruct", "b/llama-v3p3-70b"]  # fmt: skip


def test_what_is_not_good_enough_is_not_priced() -> None:
    outlook, comparer = look_at(plain().replace('data_class = "public"', 'data_class = "public"\ngood = ["closed"]'))
    assert list(outlook.costs) == ["closed"]
    assert "rented is not good enough for w" in outlook.impossible["rented"]
    assert comparer.why_barred("closed", "w") == ""


def test_growth_and_payback() -> None:
    own = '[plans.owned]\nkind = "own"\nmodel = "llama-3.3-70b"\ngpu = "h100"\ncount = 2\npurchase_usd = {usd}\npeople_usd_month = 0\nsupport = 0\nspace_usd_month = 0\nusd_per_kwh = 0\n'
    grown = plain(more=own.format(usd=50_000)).replace("output = 300", "output = 300\ngrowth = 1.0")
    outlook, comparer = look_at(grown)
    assert outlook.growth["closed"][2] == pytest.approx(2 * outlook.growth["closed"][0]), "twice as much in a year"
    flat, comparer = look_at(plain(more=own.format(usd=50_000)))
    closed = flat.costs["closed"][0].usd.value
    assert comparer.payback("owned", "closed", 1.0) == math.ceil(50_000 / closed)
    assert comparer_of(read(grown), known()).payback("owned", "closed", 1.0) < math.ceil(50_000 / closed)  # type: ignore[operator]
    dear, comparer = look_at(plain(more=own.format(usd=5_000_000)))
    assert comparer.payback("owned", "closed", 1.0) is None, "not in its life"
    meeting = next(one for one in dear.meetings if {one.below, one.above} == {"owned", "closed"})
    assert meeting.payback_months == {1.0: None}


def test_no_plan_is_an_error() -> None:
    with pytest.raises(CallerError) as caught:
        look_at(plain().replace('data_class = "public"', 'data_class = "public"\ngood = []'))
    assert caught.value.code == "forecast.nothing"


def test_the_page_stands_alone(example: tuple[Outlook, Comparer]) -> None:
    outlook, comparer = example
    hostile = msgspec.structs.replace(outlook, title='<script>alert("x")</script> & more')
    found = files(hostile, comparer, known())
    assert set(found) == {"index.html", "cost.svg", "composition.svg", "break-even.svg", "tornado.svg", "growth.svg"}
    for name, text in found.items():
        assert "<script" not in text
        assert not [part for part in ("src=", "href=", "url(", "@import") if part in text], name
        if name.endswith(".svg"):
            ElementTree.fromstring(text)
            assert text in found["index.html"]
    assert found["index.html"].count("Sources: ") == 5
    assert "litellm" in found["index.html"], "where prices are from"
