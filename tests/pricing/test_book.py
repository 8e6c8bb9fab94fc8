"""Charges are exact, disjoint, per request; the book says what its sources say."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from freehold.kernel.schema import Price, PriceTier
from freehold.kernel.units import Terms, Tokens
from freehold.pricing.book import Rates, Tariff, charge, load, quote, tariff
from freehold.upstream.rows import ROWS

BOOK = load()
D = Decimal


def test_every_class_is_billed_once() -> None:
    """A class without its own rate is billed as its parent: cache and audio as input, reasoning and spoken audio as output."""
    rates = Tariff("t", (Rates(input=D(1), output=D(10), cache_read=D("0.1")),))
    tokens = Tokens(
        input=1_000_000,
        cache_read=2_000_000,
        cache_write=3_000_000,
        output=4_000_000,
        reasoning=5_000_000,
        audio_in=6_000_000,
        audio_out=7_000_000,
    )
    assert charge(rates, tokens).amount == D(1) + D("0.2") + D(3) + D(40) + D(50) + D(6) + D(70)


def test_a_cache_that_lasts_an_hour_has_its_own_rate() -> None:
    """Anthropic bills it at twice the input's rate, and a hold covers that."""
    rates = tariff(BOOK, "anthropic", "claude-opus-4-5", None, is_inside=False)
    assert rates is not None
    assert rates.cost(Tokens(cache_write=1_000_000)) == D("6.25")
    assert rates.cost(Tokens(cache_write_1h=1_000_000)) == D(10)
    assert rates.worst()[0] == D(10) / 1_000_000
    plain = tariff(BOOK, "x", "m", Price(input=D(2), cache_write=D(3)), is_inside=True)
    assert plain is not None
    assert plain.cost(Tokens(cache_write_1h=1_000_000)) == 3, "without one of its own it is that of any other write"


def test_a_tier_applies_to_the_whole_request() -> None:
    rates = Tariff("t", (Rates(input=D(1), output=D(10)), Rates(input=D(2), output=D(15), above=200_000)))
    assert rates.cost(Tokens(input=200_000)) == D("0.2")
    assert rates.cost(Tokens(input=200_001, output=1_000_000)) == D("0.400002") + D(15)
    assert rates.cost(Tokens(input=1, cache_read=200_000)) == D("0.400002"), (
        "cached tokens count towards the size of the prompt"
    )


def test_an_unknown_price_is_not_zero() -> None:
    assert charge(None, Tokens(input=10)).amount is None
    assert quote(None, 10, 10) is None
    assert tariff(BOOK, "openai", "no-such-model", None, is_inside=False) is None


@given(st.builds(Tokens, *[st.integers(0, 300_000)] * 7))
def test_a_quote_is_never_below_the_charge(tokens: Tokens) -> None:
    """Money is held at the highest rate of all tiers and opinions."""
    for provider, model in (
        ("openai", "gpt-5"),
        ("deepseek", "deepseek-chat"),
        ("xai", "grok-3"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ):
        rates = tariff(BOOK, provider, model, None, is_inside=False)
        assert rates is not None
        held, spent = quote(rates, tokens.prompt, tokens.completion), charge(rates, tokens).amount
        assert held is not None
        assert spent is not None
        assert held >= spent


def test_the_configuration_overrides_the_book() -> None:
    own = tariff(BOOK, "openai", "gpt-5", Price(input=D(7), output=D(8)), is_inside=False)
    assert own is not None
    assert (own.source, own.cost(Tokens(input=1_000_000))) == ("configuration", D(7))


def test_inside_targets_need_an_explicit_price() -> None:
    """The book's prices are a provider's; an own machine has what the configuration says, or an hourly cost to be allocated."""
    assert tariff(BOOK, "deepseek", "deepseek-chat", None, is_inside=True) is None
    hourly = tariff(BOOK, "rack", "m", Price(hourly=D("2.5")), is_inside=True)
    assert hourly is not None
    assert (hourly.cost(Tokens(input=5)), hourly.hourly) == (D(0), D("2.5"))


@pytest.mark.parametrize(
    ("ours", "theirs", "model"),
    [
        ("openai", "openai", "gpt-5"),
        ("openai", "openai", "gpt-4o-mini"),
        ("anthropic", "anthropic", "claude-sonnet-4-5"),
        ("anthropic", "anthropic", "claude-opus-4-5-20251101"),
        ("gemini", "google", "gemini-2.5-pro"),
        ("gemini", "google", "gemini-2.5-flash"),
        ("vertex", "google", "gemini-2.5-pro"),
        ("azure", "azure", "o3"),
        ("bedrock", "aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("mistral", "mistral", "mistral-large-latest"),
        ("groq", "groq", "llama-3.3-70b-versatile"),
        ("xai", "x-ai", "grok-3"),
    ],
)
def test_the_book_agrees_with_its_first_source(ours: str, theirs: str, model: str) -> None:
    row = BOOK.find(ours, model)
    assert row is not None
    assert row.source == "genai-prices"
    rates = tariff(BOOK, ours, model, None, is_inside=False)
    assert rates is not None
    moment = datetime.datetime.fromisoformat(row.date).replace(hour=12, tzinfo=datetime.UTC)
    oracle = calc_price(
        Usage(input_tokens=1000, output_tokens=500), model, provider_id=theirs, genai_request_timestamp=moment
    )
    assert rates.cost(Tokens(input=1000, output=500)) == oracle.total_price


def test_the_book_keeps_disagreements_with_both_sources() -> None:
    conflicts = [row for rows in BOOK.rows.values() for row in rows.values() if row.also is not None]
    assert conflicts
    assert all(row.also is not None and row.also.source != row.source and row.also.date for row in conflicts)


def test_every_known_provider_that_bills_by_the_token_has_prices() -> None:
    assert set(BOOK.rows) == {name for name, row in ROWS.items() if row.port is None}


def test_no_row_is_free() -> None:
    """Sources write zero for previews and subscriptions: such a row would be a charge of nothing."""
    for rows in BOOK.rows.values():
        for row in rows.values():
            assert (row.rates[0].input or 0) > 0 or (row.rates[0].output or 0) > 0, row.model


def at(text: str) -> int:
    """Milliseconds since 1970 of a moment in UTC."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp() * 1000)


def test_a_service_tier_has_its_own_rates_or_no_price() -> None:
    """Flex is half, priority twice; a tier that nobody has a price for is not charged at the usual one."""
    rates = tariff(BOOK, "openai", "gpt-5.4", None, is_inside=False)
    assert rates is not None
    tokens = Tokens(input=1_000_000, output=1_000_000)
    short = Tokens(input=200_000, output=1_000_000)
    assert rates.cost(short) == D("15.5")
    assert rates.cost(short, Terms("flex")) == D("7.75")
    assert rates.cost(short, Terms("batch")) == D("7.75")
    assert rates.cost(short, Terms("priority")) == D(31)
    assert rates.cost(tokens, Terms("flex")) == D("13.75"), "its own tier for long prompts"
    bill = charge(rates, tokens, Terms("scale"))
    assert (bill.amount, bill.source) == (None, "unknown price of the service tier 'scale'")


def test_a_place_adds_its_share_to_every_class() -> None:
    anthropic = tariff(BOOK, "anthropic", "claude-opus-5", None, is_inside=False)
    assert anthropic is not None
    tokens = Tokens(input=1000, cache_read=1000, cache_write=1000, output=1000)
    assert anthropic.cost(tokens, Terms(geo="us")) == anthropic.cost(tokens) * D("1.1")  # type: ignore[operator]
    assert anthropic.cost(tokens, Terms(geo="mars")) is None, "where places have prices, one that nobody knows has none"
    assert anthropic.cost(tokens, Terms("batch", "us")) == D("0.00275") + D("0.000275") + D("0.0034375") + D("0.01375")


@pytest.mark.parametrize(
    ("moment", "is_quiet"),
    [
        pytest.param("2026-11-25T00:59:59", True, id="a Wednesday, before the first peak"),
        pytest.param("2026-11-25T01:00:00", False, id="its first minute"),
        pytest.param("2026-11-25T03:59:59", False, id="its last"),
        pytest.param("2026-11-25T04:00:00", True, id="between the peaks"),
        pytest.param("2026-11-25T06:00:00", False, id="the second peak"),
        pytest.param("2026-11-25T23:59:59", True, id="the last second of the day"),
        pytest.param("2026-11-28T02:00:00", True, id="a Saturday"),
        pytest.param("1970-01-01T00:00:00", False, id="no moment is known: the dearest"),
    ],
)
def test_quiet_hours_cost_less(moment: str, is_quiet: bool) -> None:
    """The moment is that at which the call was sent; the price is the peak's, and what is held covers it."""
    rates = tariff(BOOK, "deepseek", "deepseek-v4-flash", None, is_inside=False)
    assert rates is not None
    tokens = Tokens(input=1_000_000, cache_read=1_000_000, output=1_000_000)
    assert rates.cost(tokens, Terms(at_ms=at(moment))) == (D("0.753") if is_quiet else D("1.506"))
    assert quote(rates, 2_000_000, 1_000_000) == D("1.8")


def test_prices_of_the_configuration_may_have_tiers() -> None:
    own = Price(input=D(4), output=D(8), tiers={"batch": PriceTier(input=D(1), output=D(2))})
    rates = tariff(BOOK, "openai", "gpt-5.4", own, is_inside=False)
    assert rates is not None
    tokens = Tokens(input=1_000_000, output=1_000_000)
    assert (rates.cost(tokens), rates.cost(tokens, Terms("batch")), rates.cost(tokens, Terms("flex"))) == (12, 3, None)


def test_what_a_service_does_not_say_has_no_price() -> None:
    """A batch that names no rate for what was read from a cache, where the usual price has one: nobody knows it, and a guess is no charge."""
    rates = Tariff(
        "t",
        (Rates(D(10), D(20), cache_read=D(1)), Rates(D(20), D(40), above=1000)),
        services={"batch": (Rates(D(5), D(10)),)},
    )
    assert rates.cost(Tokens(cache_read=10), Terms("batch")) is None
    assert rates.cost(Tokens(cache_write=1000), Terms("batch")) == D("0.005"), (
        "no cache has a price of its own here: it is input"
    )
    assert rates.cost(Tokens(reasoning=1000), Terms("batch")) == D("0.01")
    assert rates.cost(Tokens(input=1001), Terms("batch")) is None, (
        "long prompts have another price, and a batch names none"
    )
    assert rates.cost(Tokens(input=1001)) == D("0.02002")


@given(
    tokens=st.builds(Tokens, *[st.integers(0, 300_000)] * 8),
    tier=st.sampled_from(["", "flex", "priority", "fast", "batch"]),
    geo=st.sampled_from(["", "us", "regional"]),
    hour=st.integers(0, 24 * 7),
)
def test_what_is_held_covers_every_tier_place_and_hour(tokens: Tokens, tier: str, geo: str, hour: int) -> None:
    """Whatever was asked for, and whatever the provider made of it: less, or what its customer has set there."""
    for provider, model in (
        ("openai", "gpt-5.4"),
        ("anthropic", "claude-opus-5"),
        ("gemini", "gemini-2.5-flash"),
        ("vertex", "claude-opus-4-6"),
        ("deepseek", "deepseek-v4-pro"),
    ):
        rates = tariff(BOOK, provider, model, None, is_inside=False)
        assert rates is not None
        spent = rates.cost(tokens, Terms(tier, geo, at("2026-11-23T00:00:00") + hour * 3_600_000))
        if spent is None:
            continue
        for asked in {tier, "auto"} if tier in ("", "flex", "priority") else {tier}:
            held = quote(rates, tokens.prompt, tokens.completion, asked)
            assert held is not None
            assert held >= spent


@pytest.mark.parametrize(
    ("batch", "saves"),
    [
        pytest.param((1, 2), True, id="half"),
        pytest.param((2, 2), True, id="one-of-them"),
        pytest.param((2, 4), False, id="the-same"),
        pytest.param((1, 5), False, id="one-dearer"),
        pytest.param(None, False, id="no-price"),
    ],
)
def test_a_tier_saves_if_nothing_of_it_costs_more(batch: tuple[int, int] | None, saves: bool) -> None:
    services = {"batch": (Rates(Decimal(batch[0]), Decimal(batch[1])),)} if batch else {}
    rates = Tariff("test", (Rates(Decimal(2), Decimal(4)),), services=services)
    assert rates.saves("batch") is saves
    most = rates.most(1_000_000, 500_000, "batch")
    assert most == (Decimal(batch[0]) + Decimal(batch[1]) / 2 if batch else None), "in a tier that is certain"
