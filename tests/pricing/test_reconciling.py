"""A statement against receipts: what agrees agrees, and every difference is taken apart into reasons that add up to it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.kernel.units import Terms, Tokens
from freehold.pricing.book import Rates, Tariff
from freehold.pricing.reconciling import Made, Match, reconcile
from freehold.pricing.statements.entry import Entry

D = Decimal
RATES = Tariff(
    "t", (Rates(D(2), D(8), cache_read=D("0.5")),), services={"batch": (Rates(D(1), D(4), cache_read=D("0.5")),)}
)


def made(tokens: Tokens, model: str = "m", tier: str = "", cost: Decimal | None = None, **more: int | bool) -> Made:
    parts = RATES.parts(tokens, Terms(tier))
    return Made(0, model, tier, parts, cost if cost is not None else RATES.cost(tokens, Terms(tier)), **more)  # type: ignore[arg-type]


def entry(
    class_: str,
    tokens: int | None = None,
    amount: str | None = None,
    model: str = "m",
    tier: str = "",
    rounding: str = "0",
) -> Entry:
    return Entry(
        0,
        1,
        model,
        class_,
        tier,
        tokens=tokens,
        amount=D(amount) if amount is not None else None,
        rounding=D(rounding),
        shown=model,
    )


def kinds(match: Match) -> list[tuple[str, Decimal]]:
    return [(reason.kind, reason.usd) for reason in match.reasons if reason.usd]


CALLS = [made(Tokens(input=1000, output=100)), made(Tokens(input=500, cache_read=2000, output=40, reasoning=60))]
# 1500 input = 0.003, 2000 read = 0.001, 200 answered = 0.0016: 0.0056


def test_what_agrees_is_matched() -> None:
    """By tokens, by money, by both; what was thought counts with the answer, where the provider does not tell it apart."""
    for entries in (
        [entry("input", 1500), entry("cache_read", 2000), entry("completion", 200)],
        [entry("input", amount="0.003"), entry("cache_read", amount="0.001"), entry("completion", amount="0.0016")],
        [entry("input", 1500, "0.003"), entry("cache_read", 2000, "0.001"), entry("completion", 200, "0.0016")],
        [entry("prompt", 3500), entry("completion", 200), entry("", amount="0.0056")],
        [entry("", amount="0.0056")],
    ):
        (match,) = reconcile(entries, CALLS)
        assert (match.is_matched, match.difference, match.here) == (True, 0, D("0.0056")), entries


def test_only_the_provider_knows() -> None:
    (mine, theirs) = reconcile([entry("input", 1500), entry("cache_read", 2000), entry("completion", 200), entry("input", 10, "0.5", model="x")], CALLS)[::-1]  # fmt: skip
    assert kinds(theirs) == [("unknown_here", D("0.5"))]
    assert "10 tokens" in theirs.reasons[0].words
    assert mine.is_matched


def test_only_the_receipts_know() -> None:
    matches = reconcile([entry("input", 1, "0.000002", model="x")], [*CALLS, made(Tokens(input=1), model="x")])
    assert [(one.model, kinds(one)) for one in matches] == [("m", [("unknown_there", D("-0.0056"))]), ("x", [])]


def test_tokens_that_differ_count_at_the_price_here() -> None:
    (match,) = reconcile([entry("input", 1600), entry("cache_read", 1900), entry("completion", 200)], CALLS)
    assert kinds(match) == [("counted", D("-0.00005")), ("counted", D("0.0002"))]
    assert match.difference == D("0.00015")


def test_a_price_that_differs_is_named() -> None:
    """The same tokens at twice the rate; if that is a price that is known under another name, which."""

    def name_of(model: str, tier: str, class_: str, rate: Decimal) -> str | None:
        return "the price of priority" if rate == D("0.000016") else None

    (match,) = reconcile([entry("input", 1500, "0.003"), entry("cache_read", 2000, "0.001"), entry("completion", 200, "0.0032")], CALLS, name_of)  # fmt: skip
    assert kinds(match) == [("priced", D("0.0016"))]
    assert match.reasons[0].words == "completion: 8 here, 16 there USD per million tokens (the price of priority)"


def test_both_at_once_add_up() -> None:
    (match,) = reconcile(
        [entry("input", 1400, "0.0042"), entry("cache_read", 2000, "0.001"), entry("completion", 200, "0.0016")], CALLS
    )
    assert kinds(match) == [("counted", D("-0.0002")), ("priced", D("0.0014"))]
    assert match.difference == D("0.0012")


def test_tiers_are_compared_where_the_statement_tells_them() -> None:
    calls = [made(Tokens(input=1000)), made(Tokens(input=1000), tier="batch")]
    both = reconcile([entry("input", 1000), entry("input", 1000, tier="batch")], calls)
    assert [(one.tier, one.is_matched) for one in both] == [("", True), ("batch", True)]
    (together,) = reconcile([entry("input", 2000)], calls)
    assert together.is_matched


def test_what_is_no_token_stands_by_itself() -> None:
    found = reconcile([entry("input", 1500), entry("cache_read", 2000), entry("completion", 200), Entry(0, 1, "", "other", amount=D("0.07"), shown="web search")], CALLS)  # fmt: skip
    assert [(one.model, kinds(one)) for one in found] == [("web search", [("not_tokens", D("0.07"))]), ("m", [])]


def test_what_a_statement_rounds_is_no_finding() -> None:
    """Dollars of two digits in each row: up to half a cent a row."""
    rows = [
        entry("input", amount="0.00", rounding="0.005"),
        entry("cache_read", amount="0.00", rounding="0.005"),
        entry("completion", amount="0.00", rounding="0.005"),
    ]
    (match,) = reconcile(rows, CALLS)
    assert match.is_matched
    assert kinds(match) == [("rounding", D("-0.0056"))]
    many = [made(Tokens(input=10_000)) for _ in range(10)]
    (off,) = reconcile([entry("input", amount="0.10", rounding="0.005")], many)
    assert kinds(off) == [("priced", D("-0.1"))]


def test_tokens_that_differ_are_a_finding_even_if_they_cost_nothing() -> None:
    """Of a class that has no price here, or in a sum that is rounded away."""
    (free,) = reconcile([entry("input", 9_000_000)], [Made(0, "m", "", {"input": (1000, D(0))}, None)])
    assert not free.is_matched
    (rounded,) = reconcile([entry("input", 1001, "0.00", rounding="0.005")], [made(Tokens(input=1000))])
    assert not rounded.is_matched


def test_one_amount_beside_usage_by_model_is_held_against_all_of_it() -> None:
    usage = [entry("input", 1500), entry("cache_read", 2000), entry("completion", 200)]
    whole = Entry(0, 1, "", "", amount=D(900), shown="everything")
    found = reconcile([*usage, whole], CALLS)
    assert [(one.model, one.is_matched) for one in found] == [("the whole amount", False), ("m", True)]
    assert sum(one.there for one in found) == 900
    assert all(one.is_matched for one in reconcile([*usage, Entry(0, 1, "", "", amount=D("0.0056"))], CALLS))


def test_what_may_be_behind_it_is_said() -> None:
    calls = [made(Tokens(input=10), is_estimate=True), made(Tokens(input=10), failed=2)]
    (match,) = reconcile([entry("input", 30)], calls)
    assert "1 of these calls were estimated" in match.reasons[-1].words
    assert "2 attempts failed here" in match.reasons[-1].words


def test_a_charge_at_an_older_price_is_told_apart() -> None:
    (match,) = reconcile([entry("input", 1000, "0.002")], [made(Tokens(input=1000), cost=D("0.003"))])
    assert kinds(match) == [("price_changed", D("-0.001"))]
    assert match.difference == D("-0.001")


def test_a_call_without_a_price_is_said() -> None:
    call = Made(0, "m", "", {"input": (100, D(0))}, None)
    (match,) = reconcile([entry("input", 100, "0.5")], [call])
    assert [reason.kind for reason in match.reasons] == ["no_price", "priced"]
    assert match.difference == D("0.5")


CLASSES = ["input", "cache_read", "completion"]
AMOUNTS = st.integers(0, 10**9).map(lambda number: D(number) / 10**6)


@given(
    calls=st.lists(st.builds(made, st.builds(Tokens, input=st.integers(0, 10**6), cache_read=st.integers(0, 10**6), output=st.integers(0, 10**6)), st.sampled_from(["m", "n"]), st.sampled_from(["", "batch"])), max_size=6),
    entries=st.lists(st.builds(lambda model, class_, tier, tokens, amount: Entry(0, 1, model, class_, tier, tokens=tokens, amount=amount, shown=model), st.sampled_from(["m", "n", "o"]), st.sampled_from(CLASSES), st.sampled_from(["", "batch"]), st.integers(0, 10**6) | st.none(), AMOUNTS), max_size=8),
)  # fmt: skip
def test_reasons_always_add_up_to_the_difference(calls: list[Made], entries: list[Entry]) -> None:
    """And what the statement says is what is shown of it, to the last digit, whatever the two sides hold."""
    found = reconcile(entries, calls)
    for match in found:
        reasons = sum((reason.usd for reason in match.reasons), D(0))
        assert reasons == pytest.approx(match.difference, abs=D("1e-15"))
    there, here = sum((one.there for one in found), D(0)), sum((one.here for one in found), D(0))
    assert here == sum((call.cost or D(0) for call in calls), D(0))
    assert there == pytest.approx(sum((entry.amount or D(0) for entry in entries), D(0)), abs=D("1e-15"))
