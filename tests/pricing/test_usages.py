"""Golden usage of every provider: an answer as it writes one, the tokens in it by class, and what they cost, worked out by hand."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freehold.kernel.schema import Price
from freehold.kernel.units import Terms, Tokens
from freehold.pricing.book import charge, load, quote, tariff, told
from freehold.upstream.rows import ROWS
from freehold.wire.dialects import DIALECTS
from freehold.wire.tiers import tier_of

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("usages.json").read_text())
BOOK = load()


@pytest.mark.parametrize("case", CASES, ids=[f"{one['provider']} {at}" for at, one in enumerate(CASES)])
def test_an_answer_is_charged_as_its_provider_does(case: dict[str, Any]) -> None:
    """When `make prices` brings new prices, these sums are worked out anew, by hand."""
    used = DIALECTS[case["dialect"]].used_of(json.dumps(case["answer"]).encode())
    assert used is not None
    assert used.tokens == Tokens(**case["tokens"])
    geo = used.geo or ROWS[case["provider"]].geo_at(case["host"])
    assert (tier_of(used.service_tier), geo) == (case["tier"], case["geo"])
    moment = datetime.datetime.fromisoformat(case["at"]).timestamp() if case["at"] else 0
    own = msgspec.convert(case["prices"], Price, strict=False) if "prices" in case else None
    rates = tariff(BOOK, case["provider"], case["model"], own, is_inside=own is not None)
    terms = Terms(case["tier"], geo, int(moment * 1000))
    said = used.cost if any(route.traits.tells_cost for route in ROWS[case["provider"]].routes) else None
    assert said == (Decimal(case["told_usd"]) if "told_usd" in case else None)
    bill = told(said, case["provider"]) if said is not None else charge(rates, used.tokens, terms)
    assert bill.amount == Decimal(case["cost_usd"]), bill.source
    assert rates is not None
    held = quote(rates, used.tokens.prompt, used.tokens.completion, case["tier"] or "auto")
    assert held is not None
    assert said is not None or held >= bill.amount
    parts = rates.parts(used.tokens, terms)
    assert parts is not None
    by_class = sum((amount for _, amount in parts.values()), Decimal(0))
    assert said is not None or by_class + rates.per_call == bill.amount
    assert {name: count for name, (count, _) in parts.items()} == case["tokens"]


def test_every_provider_has_one() -> None:
    assert {case["provider"] for case in CASES} == set(ROWS)
