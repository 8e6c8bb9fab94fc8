"""Other prices for the same tokens."""

from __future__ import annotations

from decimal import Decimal

from freehold.kernel.units import Tokens
from freehold.pricing.book import Rates, Tariff
from freehold.pricing.changes import Used, reprice

D = Decimal
DEAR = Tariff("t", (Rates(D(2), D(8), cache_read=D("0.5")),))


def test_the_same_tokens_are_priced_anew() -> None:
    used = [
        Used("a/m", Tokens(input=1000, cache_read=1000, output=500), D("0.001")),
        Used("a/m", Tokens(output=1), D("0.000002")),
        Used("b/m", Tokens(input=7), D("0.5")),
        Used("c/m", Tokens(input=7), None),
    ]
    rows = reprice(used, {"a/m": DEAR, "c/m": DEAR}.get)
    assert [(one.target, one.calls, one.unpriced) for one in rows] == [("a/m", 2, 0), ("b/m", 1, 1), ("c/m", 1, 1)]
    assert (rows[0].before, rows[0].after) == (D("0.001002"), D("0.006508"))
    assert rows[0].difference == D("0.005506")
    assert rows[1].before == rows[2].after == 0, "what cannot be compared is in neither sum"


def test_prices_that_are_the_same_change_nothing() -> None:
    tokens = Tokens(input=123, output=45, cache_read=6, cache_write=7, reasoning=8)
    (row,) = reprice([Used("a/m", tokens, DEAR.cost(tokens))] * 5, {"a/m": DEAR}.get)
    assert row.difference == 0
    assert reprice([], {}.get) == []
