"""Who hosts an open model, and for how much: the true rival of serving the same weights oneself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from freehold.forecast.facts import Model
from freehold.pricing.book import Book, Row

# Words that hosts add to a model's name and that change neither its weights' shape nor what it is asked.
_ADDED = frozenset(
    [
        "instruct",
        "turbo",
        "fp8",
        "it",
        "chat",
        "hf",
        "versatile",
        "maas",
        "meta",
        "fast",
        "tput",
        "lite",
        "instant",
        "online",
        "reference",
    ]
)
_TYPICAL = (Decimal(3), Decimal(1))  # prompt to answer, in tokens


def cheapest_host(book: Book, model: Model, day: str) -> tuple[str, Row] | None:
    """The target at which a model's tokens cost least (three of prompt to one of answer) on a day, and its row; None if nobody is known to host it."""
    found = [(cost, target, row) for target, row in hosts_of(book, model, day) if (cost := _typical(row)) is not None]
    if not found:
        return None
    _, target, row = min(found, key=lambda one: (one[0], one[1]))
    return target, row


def hosts_of(book: Book, model: Model, day: str) -> Iterator[tuple[str, Row]]:
    """Every target that serves a model, by its name, and has not been retired."""
    names = {_plain(name) for name in (model.name, *model.also)}
    for provider, rows in book.rows.items():
        for row in rows.values():
            if _plain(row.model) in names and not (row.retires and row.retires <= day):
                yield f"{provider}/{row.model}", row


def _plain(name: str) -> str:
    last = re.sub(r"(?<=\d)p(?=\d)", ".", name.casefold().rpartition("/")[2]).replace("llama-v", "llama-")
    return "".join(word for word in re.split(r"[-_@\s]+", last) if word not in _ADDED).replace(".", "")


def _typical(row: Row) -> Decimal | None:
    """Dollars for a million tokens; None for what has no price, or is given away and can be had no more than that."""
    rates = row.rates[0]
    if rates.input is None or rates.output is None or not rates.output:
        return None
    return (rates.input * _TYPICAL[0] + rates.output * _TYPICAL[1]) / sum(_TYPICAL)
