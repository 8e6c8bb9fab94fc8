"""What GPUs cost by the hour: offers of many clouds, each with its source and date, in `offers.json`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from freehold.forecast.facts import Facts
from freehold.forecast.scenario import Gpus, Market, Priced, Scenario
from freehold.kernel.errors import CallerError

FEW = 4  # offers, below which their ends are taken as they are


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One price. usd_per_gpu_hour: for one GPU; date: when it was published or seen, as YYYY-MM-DD."""

    cloud: str
    gpu: str
    kind: Market
    usd_per_gpu_hour: float
    source: str
    date: str
    note: str = ""


class _File(msgspec.Struct):
    rows: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class Offers:
    """All of them."""

    rows: Sequence[Offer]

    def priced(self, gpu: str, market: Market = "on_demand", cloud: str = "") -> Priced:
        """What one GPU costs by the hour: the tenth, the median and the ninetieth of the clouds. Raises CallerError `forecast.no_offer`."""
        found = [row for row in self.rows if row.gpu == gpu and row.kind == market and cloud in ("", row.cloud)]
        if not found:
            named = f" at {cloud}" if cloud else ""
            raise CallerError(
                f"No price is known for {gpu} by the hour{named} ({market}).",
                code="forecast.no_offer",
                hint='Give usd_per_gpu_hour = { low = …, typical = …, high = …, source = "…", date = "…" }.',
            )
        each = sorted(row.usd_per_gpu_hour for row in found)
        low, high = each[0], each[-1]
        if len(each) >= FEW:
            cuts = statistics.quantiles(each, n=10, method="inclusive")
            low, high = cuts[0], cuts[-1]
        clouds = sorted({row.cloud for row in found})
        dates = sorted(row.date for row in found)
        said = f"{len(clouds)} clouds ({', '.join(clouds)})" if len(found) > 1 else found[0].source
        return Priced(low=low, typical=statistics.median(each), high=high, source=said, date=dates[len(dates) // 2])


def filled(scenario: Scenario, facts: Facts, offers: Offers) -> Scenario:
    """A scenario in which every GPU has a price: the offers' own where a plan says none. Raises CallerError `forecast.no_offer`."""
    known = facts.with_rows(scenario.models, scenario.gpus)
    plans = dict(scenario.plans)
    for name, plan in scenario.plans.items():
        if isinstance(plan, Gpus) and plan.usd_per_gpu_hour is None:
            price = offers.priced(known.gpu(plan.gpu).name, plan.market, plan.cloud)
            plans[name] = msgspec.structs.replace(plan, usd_per_gpu_hour=price)
    return msgspec.structs.replace(scenario, plans=plans)


@cache
def load() -> Offers:
    """The table that comes with Freehold."""
    raw = resources.files("freehold.forecast").joinpath("offers.json").read_bytes()
    return Offers(msgspec.json.decode(raw, type=_File).rows)
