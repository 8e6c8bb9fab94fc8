"""A budget needs prices: which targets lack one, and where that contradicts a budget."""

from __future__ import annotations

import pytest

from conftest import NO_ENGINE, snapshot_of
from freehold.kernel.errors import OperatorError
from freehold.pricing.book import load
from freehold.pricing.coverage import contradicting, unpriced, without_price

BOOK = load()
TEXT = (
    NO_ENGINE
    + '[providers.openai]\nkey = "env:KEY"\n[providers.rack]\nbase_url = "http://127.0.0.1:9/v1"\nzone = "inside"\nprices = { m = { input = 0.0, output = 0.0 } }\n'
    + '[workloads.w]\nclass = "public"\ntargets = ["openai/gpt-5", "openai/nobody", "rack/m", "rack/n"]\n'
)


@pytest.mark.parametrize(
    ("more", "budget"),
    [
        ("", None),
        ('budget = "5 tokens/day"\n', None),
        ('budget = "5 USD/day"\n', "workload w (5 USD/day)"),
        ('department = "d"\n[departments.d]\nbudget = "6 USD/day"\n', "department d (6 USD/day)"),
        ('[organisation]\nbudget = "7 USD/day"\n', "organisation (7 USD/day)"),
    ],
    ids=["no budget", "tokens", "its own", "its department's", "the organisation's"],
)
def test_every_target_without_a_price_is_named(more: str, budget: str | None) -> None:
    found = unpriced(snapshot_of(TEXT + more, KEY="k"), BOOK)
    assert [(one.target.name, one.budget) for one in found] == [("openai/nobody", budget), ("rack/n", budget)]
    assert len(contradicting(found)) == (2 if budget else 0)
    said = without_price(found)
    assert isinstance(said, OperatorError)
    if budget:
        assert f"the price of rack/n is unknown, and its calls count in the budget of {budget}" in said.message
        assert 'add prices = { "n" = { input = …, output = … } } to [providers.rack]' in said.message
