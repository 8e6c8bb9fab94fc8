"""The price book: compiled by `make prices` into `book.json`, read once, never fetched.

Rules: a price is found by provider and exact model name, never by the best match; zero is a price only where the
configuration says so; a tier's rates apply to the whole request whose prompt is longer than `above`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import resources

import msgspec

from freehold.kernel.errors import CallerError
from freehold.kernel.schema import Price
from freehold.kernel.units import MTOK, ZERO, Tokens, Usd


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


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider: rates (base row first, tiers after), limits and claims about abilities."""

    model: str
    source: str
    date: str
    rates: tuple[Rates, ...]
    also: Opinion | None = None
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


@dataclass(frozen=True, slots=True)
class Tariff:
    """The rates of one target, ready to multiply; `hourly` is an own machine's cost, allocated later.

    `per_token` keeps, for each tier, the dollars for one token of each class in the order of `Tokens`' fields;
    `worst` the highest dollars for one prompt token and one completion token, for holding money back.
    """

    source: str
    tiers: tuple[Rates, ...]
    hourly: Decimal | None = None
    opinions: tuple[Rates, ...] = ()
    per_token: tuple[tuple[int, tuple[Decimal, ...]], ...] = field(default=(), init=False)
    worst: tuple[Decimal, Decimal] = field(default=(Decimal(0), Decimal(0)), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "worst", self._worst())
        object.__setattr__(
            self, "per_token", tuple((tier.above, _per_token(tier, self.tiers[0])) for tier in reversed(self.tiers))
        )

    def cost(self, tokens: Tokens) -> Usd:
        """Price one request by its own size. Exact: no rounding."""
        prompt = tokens.prompt
        for above, each in self.per_token:
            if prompt > above or above == 0:
                t = tokens
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
                return Usd(
                    sum((count * price for count, price in zip(counts, each, strict=True) if count), start=Decimal(0))
                )
        raise AssertionError("a tariff begins with its base tier")

    def _worst(self) -> tuple[Decimal, Decimal]:
        """The highest dollars for one prompt token and one completion token over all tiers and opinions, for holding money back."""
        every = [_per_token(rates, self.tiers[0]) for rates in (*self.tiers, *self.opinions)]
        prompt = max(max(each[0], each[1], each[2], each[5], each[7]) for each in every)
        return prompt, max(max(each[3], each[4], each[6]) for each in every)


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
        rates = Rates(
            override.input, override.output, override.cache_read, override.cache_write, override.cache_write_1h
        )
        if rates.input is not None or rates.output is not None or (is_inside and override.hourly is not None):
            return Tariff("configuration", (rates,), override.hourly)
    row = book.find(provider, model)
    if row is None or is_inside:
        return None
    return Tariff(f"{row.source} {row.date}", row.rates, opinions=row.also.rates if row.also else ())


def charge(rates: Tariff | None, tokens: Tokens, *, is_estimate: bool = False) -> Charge:
    """Price what was used."""
    if rates is None:
        return Charge(None, "unknown price", is_estimate)
    return Charge(rates.cost(tokens), rates.source, is_estimate)


def quote(rates: Tariff | None, prompt_bound: int, output_bound: int) -> Usd | None:
    """The most that a call can cost: prompt_bound and output_bound are upper bounds in tokens; None for an unknown price."""
    if rates is None:
        return None
    prompt, completion = rates.worst
    return Usd(prompt_bound * prompt + output_bound * completion)


def _per_token(tier: Rates, base: Rates) -> tuple[Decimal, ...]:
    def rate(name: str, *parents: str) -> Decimal:
        for source in (tier, base):
            if (value := getattr(source, name)) is not None:
                return Decimal(value) / MTOK
        return rate(*parents) if parents else Decimal(ZERO)

    read, write = rate("cache_read", "input"), rate("cache_write", "input")
    return (
        rate("input"),
        read,
        write,
        rate("output"),
        rate("reasoning", "output"),
        rate("audio_in", "input"),
        rate("audio_out", "output"),
        rate("cache_write_1h", "cache_write", "input"),
    )
