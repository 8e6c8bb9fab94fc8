"""Ids sort by time; money shows exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest

from freehold.kernel.ids import make_id, make_key
from freehold.kernel.units import Secret, Usd, show_usd


def test_ids_sort_by_time_and_do_not_repeat() -> None:
    ids = [make_id("call", 1_700_000_000_000 + at) for at in range(1000)]
    assert ids == sorted(ids)
    assert len({make_id("call", 5) for _ in range(1000)}) == 1000


def test_keys_begin_with_fh() -> None:
    key = make_key()
    assert key.startswith("fh-")
    assert len(key) == 35


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0"), ("0.00", "0"), ("1E-7", "0.0000001"), ("100", "100"), ("1.50", "1.5"), ("1E+2", "100")],
)
def test_money_has_no_exponent_and_no_needless_zeros(amount: str, text: str) -> None:
    assert show_usd(Usd(Decimal(amount))) == text


def test_a_secret_never_prints() -> None:
    assert repr(Secret("sk-1", "env:K")) == "Secret(env:K)"
    assert "sk-1" not in f"{Secret('sk-1', 'env:K')}"
