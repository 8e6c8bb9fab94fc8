"""What GPUs cost by the hour: a table in which every row says where it is from and when."""

from __future__ import annotations

import datetime

import pytest

from freehold.forecast import facts
from freehold.forecast.offers import Offer, Offers, load
from freehold.kernel.errors import CallerError

TABLE, FACTS = load(), facts.load()


def test_every_row_has_its_source_and_date() -> None:
    names = {gpu.name for gpu in FACTS.gpus}
    for row in TABLE.rows:
        assert row.gpu in names or row.gpu in {"gb200", "gh200", "l4", "mi325x"}, row.gpu
        assert row.source
        assert 0.05 < row.usd_per_gpu_hour < 25
        day = row.date if len(row.date) == 10 else f"{row.date}-01"
        assert datetime.date(2025, 6, 1) <= datetime.date.fromisoformat(day) <= datetime.date(2026, 11, 27)
    assert len({(row.cloud, row.gpu, row.kind) for row in TABLE.rows}) == len(TABLE.rows)


def test_many_clouds_on_demand_and_spot() -> None:
    assert len({row.cloud for row in TABLE.rows}) >= 8
    for gpu in ("a100", "h100", "h200", "b200", "b300", "l40s", "mi300x", "rtx-4090", "rtx-5090"):
        price = TABLE.priced(gpu)
        assert 0 < price.low <= price.typical <= price.high
        assert price.date
    spot = TABLE.priced("h100", "spot")
    assert spot.typical < TABLE.priced("h100").typical
    assert TABLE.priced("h100", cloud="aws").source != TABLE.priced("h100").source


def test_the_middle_and_the_ends() -> None:
    rows = [Offer(f"c{at}", "h100", "on_demand", float(at), "s", f"2026-01-{at:02}") for at in range(1, 12)]
    price = Offers(rows).priced("h100")
    assert (price.low, price.typical, price.high) == (2.0, 6.0, 10.0)
    assert price.date == "2026-01-06"
    few = Offers(rows[:2]).priced("h100")
    assert (few.low, few.typical, few.high) == (1.0, 1.5, 2.0)


def test_what_nobody_offers_is_an_error_with_a_way_out() -> None:
    with pytest.raises(CallerError) as caught:
        TABLE.priced("h100", cloud="nobody")
    assert caught.value.code == "forecast.no_offer"
    assert "usd_per_gpu_hour" in caught.value.hint
