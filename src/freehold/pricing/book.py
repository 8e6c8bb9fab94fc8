"""The price book: compiled by `make prices` into `book.json`, read once, never fetched.

Rules: a price is found by provider and exact model name, never by the best match; zero is a price only where the
configuration says so; a tier's rates apply to the whole request whose prompt is longer than `above`. A service tier has rates of its own or
no price, and so has each class of its tokens that has one elsewhere; what a place adds is a factor over all of them; quiet hours are told by the moment at which the call was made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import resources

import msgspec

from freehold.kernel.errors import CallerError
from freehold.kernel.schema import Price, PriceTier
from freehold.kernel.units import MTOK, USUAL, ZERO, Terms, Tokens, Usd


class Rates(msgspec.Struct, frozen=True):
    """USD per million tokens for each class; a class without its own rate is billed as its parent (input or output)."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    audio_in: Decimal | None = None
    audio_out: Decimal | None = None
    above: int = 0


class Opinion(msgspec.Struct, frozen=True):
    """What a second source says where it differs."""

    source: str
    date: str
    rates: tuple[Rates, ...]


class Window(msgspec.Struct, frozen=True):
    """Hours of a week, in UTC. days: from Monday = 1; start, end: minutes of the day, the end exclusive."""

    days: tuple[int, ...]
    start: int
    end: int

    def holds(self, at_ms: int) -> bool:
        day, minute = divmod(at_ms // 60_000, 1440)
        return self.start <= minute < self.end and (day + 3) % 7 + 1 in self.days  # 1970 began on a Thursday


class OffPeak(msgspec.Struct, frozen=True):
    """Rates of quiet hours, and when those are."""

    rates: Rates
    windows: tuple[Window, ...]

    def holds(self, at_ms: int) -> bool:
        return at_ms > 0 and any(window.holds(at_ms) for window in self.windows)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider: rates (base row first, tiers after; of the dearest hour), limits and claims about abilities.

    services: rates of the service tiers that have their own; uplifts: what it costs to be processed in a place, as a factor; per_call: a fee for
    each call in dollars, where it varies the highest.
    """

    model: str
    source: str
    date: str
    rates: tuple[Rates, ...]
    also: Opinion | None = None
    services: dict[str, tuple[Rates, ...]] = {}
    uplifts: dict[str, Decimal] = {}
    off_peak: OffPeak | None = None
    per_call: Decimal = Decimal(0)
    context: int | None = None
    max_output: int | None = None
    retires: str | None = None
    tools: bool | None = None
    images: bool | None = None
    mode: str | None = None


class _File(msgspec.Struct):
    date: str
    sources: dict[str, str]
    providers: dict[str, list[Row]]


@dataclass(frozen=True, slots=True)
class Book:
    """All rows, by provider and model. `digest` names the book in every charge."""

    date: str
    digest: str
    rows: Mapping[str, Mapping[str, Row]]

    def find(self, provider: str, model: str) -> Row | None:
        return self.rows.get(provider, {}).get(model)


class Charge(msgspec.Struct, frozen=True):
    """What a call cost. amount is None when no price is known: never zero by default.

    source: where the price is from; is_estimate: the tokens were not reported and had to be guessed.
    """

    amount: Usd | None
    source: str
    is_estimate: bool = False


_CLASSES = (
    "input",
    "cache_read",
    "cache_write",
    "output",
    "reasoning",
    "audio_in",
    "audio_out",
    "cache_write_1h",
)  # the order of rates
Each = tuple[Decimal | None, ...]
Tier = tuple[
    int, Each
]  # above how many tokens of prompt, and dollars for one token of each class in the order of `Tokens`' fields


@dataclass(frozen=True, slots=True)
class Tariff:
    """The rates of one target, ready to multiply; `hourly` is an own machine's cost, allocated later.

    tiers: what every call costs; opinions: a second source's; services, uplifts, off_peak: as in `Row`.
    """

    source: str
    tiers: tuple[Rates, ...]
    hourly: Decimal | None = None
    opinions: tuple[Rates, ...] = ()
    services: Mapping[str, tuple[Rates, ...]] = field(default_factory=dict)
    uplifts: Mapping[str, Decimal] = field(default_factory=dict)
    off_peak: OffPeak | None = None
    per_call: Decimal = Decimal(0)
    _each: Mapping[str, tuple[Tier, ...]] = field(default_factory=dict, init=False)
    _quiet: tuple[Tier, ...] = field(default=(), init=False)
    _worst: Mapping[str, tuple[Decimal, Decimal]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        usual = self.tiers[0]
        each = {name: _ready(rates, usual) for name, rates in (("", self.tiers), *self.services.items())}
        longest = self.tiers[1].above if len(self.tiers) > 1 else 0
        for name, tiers in each.items():  # a service that says nothing of long prompts does not take them at this price
            if longest and len(tiers) == 1:
                each[name] = ((longest, _NO_PRICE), *tiers)
        object.__setattr__(self, "_each", each)
        if self.off_peak is not None:
            object.__setattr__(self, "_quiet", _ready((self.off_peak.rates,), usual))
        opinions = _ready(self.opinions, self.opinions[0]) if self.opinions else ()
        factor = max((Decimal(1), *self.uplifts.values()))
        base = _highest((*each[""], *opinions), factor)
        worst = {name: tuple(map(max, base, _highest(tiers, factor))) for name, tiers in each.items()}
        worst["auto"] = worst.get("priority", base)  # the provider's customer may have set that as the usual
        object.__setattr__(self, "_worst", worst)

    def cost(self, tokens: Tokens, terms: Terms = USUAL) -> Usd | None:
        """Price one request by its own size and terms. Exact: no rounding. None where a service tier has no price for it."""
        each, t = self._each_for(tokens, terms), tokens
        if each is None:
            return None
        counts = (
            t.input,
            t.cache_read,
            t.cache_write,
            t.output,
            t.reasoning,
            t.audio_in,
            t.audio_out,
            t.cache_write_1h,
        )
        total = Decimal(0)
        for count, price in zip(counts, each, strict=True):
            if count:
                if price is None:
                    return None
                total += count * price
        return Usd(total * self.uplifts[terms.geo]) if terms.geo and self.uplifts else Usd(total)

    def parts(self, tokens: Tokens, terms: Terms = USUAL) -> dict[str, tuple[int, Usd]] | None:
        """The same taken apart: tokens and dollars of each class that was used."""
        each, factor = self._each_for(tokens, terms), self.uplifts.get(terms.geo, Decimal(1))
        if each is None or self.cost(tokens, terms) is None:
            return None
        counts = ((name, getattr(tokens, name)) for name in _CLASSES)
        return {
            name: (count, Usd(count * (price or ZERO) * factor))
            for (name, count), price in zip(counts, each, strict=True)
            if count
        }

    def _each_for(self, tokens: Tokens, terms: Terms) -> Each | None:
        """The dollars for one token of each class, for a request of this size on these terms."""
        tiers = self._each.get(terms.tier)
        if tiers is None or (terms.geo and self.uplifts and terms.geo not in self.uplifts):
            return None  # where places have prices of their own, one that nobody knows has none
        if self.off_peak is not None and not terms.tier and self.off_peak.holds(terms.at_ms):
            tiers = self._quiet
        prompt = tokens.prompt
        return next(each for above, each in tiers if prompt > above or above == 0)

    def worst(self, tier: str = "") -> tuple[Decimal, Decimal]:
        """The highest dollars for one prompt token and one completion token where this service tier is asked for, for holding money back."""
        return self._worst.get(tier) or self._worst[""]

    def most(self, prompt: int, output: int, tier: str) -> Usd | None:
        """The most that so many tokens can cost in a tier that is certain to be given; None where it has no price."""
        tiers = self._each.get(tier)
        if tiers is None:
            return None
        for_prompt, for_output = _highest(tiers, max((Decimal(1), *self.uplifts.values())))
        return Usd(prompt * for_prompt + output * for_output + self.per_call)

    def saves(self, tier: str) -> bool:
        """Whether a tier costs less than the usual price, and no token of it more."""
        tiers = self._each.get(tier)
        if tiers is None:
            return False
        pairs = zip(tiers[-1][1], self._each[""][-1][1], strict=True)
        known = [(own, usual) for own, usual in pairs if own is not None and usual is not None]
        return all(own <= usual for own, usual in known) and any(own < usual for own, usual in known)


def load() -> Book:
    """Read the compiled book (about 5 ms)."""
    return read(resources.files("freehold.pricing").joinpath("book.json").read_bytes())


def read(raw: bytes) -> Book:
    """Read a compiled book. Raises CallerError for anything else."""
    try:
        file = msgspec.json.decode(raw, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CallerError(
            "This is no compiled price book.", code="prices.book", hint="'make prices' compiles one."
        ) from None
    rows = {provider: {row.model: row for row in listed} for provider, listed in file.providers.items()}
    return Book(date=file.date, digest=f"sha256:{hashlib.sha256(raw).hexdigest()}", rows=rows)


def tariff(book: Book, provider: str, model: str, override: Price | None, *, is_inside: bool) -> Tariff | None:
    """Find the rates of a target: the configuration's, else the book's; None if neither knows it.

    An inside target with only an hourly cost is free at the margin.
    """
    if override is not None:
        rates = _given(override)
        if rates.input is not None or rates.output is not None or (is_inside and override.hourly is not None):
            services: dict[str, tuple[Rates, ...]] = {name: (_given(own),) for name, own in override.tiers.items()}
            return Tariff("configuration", (rates,), override.hourly, services=services)
    row = book.find(provider, model)
    if row is None or is_inside:
        return None
    return Tariff(
        f"{row.source} {row.date}",
        row.rates,
        opinions=row.also.rates if row.also else (),
        services=row.services,
        uplifts=row.uplifts,
        off_peak=row.off_peak,
        per_call=row.per_call,
    )


def _given(price: PriceTier) -> Rates:
    return Rates(price.input, price.output, price.cache_read, price.cache_write, price.cache_write_1h)


def charge(rates: Tariff | None, tokens: Tokens, terms: Terms = USUAL, *, is_estimate: bool = False) -> Charge:
    """Price what was used."""
    if rates is None:
        return Charge(None, "unknown price", is_estimate)
    amount = rates.cost(tokens, terms)
    if amount is None:
        where = f", processed in {terms.geo!r}" if terms.geo else ""
        return Charge(
            None, f"unknown price of the service tier {terms.tier!r}{where}", is_estimate
        )  # or of a class of tokens in it
    if rates.per_call and tokens.prompt:
        return Charge(Usd(amount + rates.per_call), f"{rates.source}, with the highest fee of a call", is_estimate)
    return Charge(amount, rates.source, is_estimate)


def told(amount: Decimal, provider: str) -> Charge:
    """What a provider itself says that a call cost, where that is what it bills."""
    return Charge(Usd(amount), f"told by {provider}")


def quote(rates: Tariff | None, prompt_bound: int, output_bound: int, tier: str = "") -> Usd | None:
    """The most that a call can cost: prompt_bound and output_bound are upper bounds in tokens, tier is the one that it asks for; None for an unknown price."""
    if rates is None:
        return None
    prompt, completion = rates.worst(tier)
    return Usd(prompt_bound * prompt + output_bound * completion + rates.per_call)


def _ready(tiers: tuple[Rates, ...], usual: Rates) -> tuple[Tier, ...]:
    """Tiers with the longest prompts first."""
    return tuple((tier.above, _per_token(tier, tiers[0], usual)) for tier in reversed(tiers))


def _highest(tiers: Iterable[Tier], factor: Decimal) -> tuple[Decimal, Decimal]:
    """The highest dollars for one token of a prompt and of an answer, of what is known."""
    every = [each for _, each in tiers]
    prompt = max((each[at] or Decimal(0) for each in every for at in (0, 1, 2, 5, 7)), default=Decimal(0))
    answer = max((each[at] or Decimal(0) for each in every for at in (3, 4, 6)), default=Decimal(0))
    return prompt * factor, answer * factor


_NO_PRICE: Each = (None,) * 8


def _per_token(tier: Rates, base: Rates, usual: Rates) -> Each:
    """Dollars for one token of each class. A class without a rate in its tier has that of the base, or of its parent; but where the usual price tells
    such classes apart and a service does not, nobody knows what it is there.
    """

    def rate(name: str, *parents: str) -> Decimal | None:
        for source in (tier, base):
            if (value := getattr(source, name)) is not None:
                return Decimal(value) / MTOK
        if parents and getattr(usual, name) is not None:
            return None
        return rate(*parents) if parents else Decimal(ZERO)

    def thought() -> Decimal | None:
        """Thinking costs what the answer costs, unless the same service says otherwise."""
        return rate("reasoning") if tier.reasoning is not None or base.reasoning is not None else rate("output")

    return (
        rate("input"),
        rate("cache_read", "input"),
        rate("cache_write", "input"),
        rate("output"),
        thought(),
        rate("audio_in", "input"),
        rate("audio_out", "output"),
        rate("cache_write_1h", "cache_write", "input"),
    )
