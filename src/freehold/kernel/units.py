"""Units. Why it exists: money is never a float, a shown number carries its interval, source and date, a secret never prints."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import NewType

import msgspec

Usd = NewType("Usd", Decimal)  # United States dollars, exact
ZERO = Usd(Decimal(0))
MTOK = Decimal(1_000_000)  # prices are written per million tokens


class Tokens(msgspec.Struct, frozen=True):
    """Tokens of one call in disjoint classes: their sum is what the provider counted.

    input: prompt tokens read fresh; cache_read, cache_write: prompt tokens read from or written to the provider's cache; cache_write_1h: written to be
    kept for an hour;
    output: tokens of the answer; reasoning: tokens thought but not shown; audio_in, audio_out: audio tokens.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    cache_write_1h: int = 0

    @property
    def prompt(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.audio_in

    @property
    def completion(self) -> int:
        return self.output + self.reasoning + self.audio_out


class Terms(msgspec.Struct, frozen=True):
    """What a price depends on beside the tokens.

    tier: of service, "" for the usual; geo: where it was processed, "" where that costs nothing more; at_ms: when (milliseconds since 1970),
    0 for the dearest hour.
    """

    tier: str = ""
    geo: str = ""
    at_ms: int = 0


USUAL = Terms()


@dataclass(frozen=True, slots=True)
class Figure:
    """A number shown to a person: value, interval, where it is from, and the day it was true."""

    value: Decimal
    low: Decimal
    high: Decimal
    source: str
    date: str


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A credential. It prints as its reference, never as its value."""

    value: str
    reference: str

    def __repr__(self) -> str:
        return f"Secret({self.reference})"


def show_usd(amount: Usd) -> str:
    """Write an amount exactly, without an exponent and without needless zeros: `0.00042`, `0`."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
