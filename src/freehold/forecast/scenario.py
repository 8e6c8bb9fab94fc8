"""A scenario: what is asked of models, and the ways of answering it that are compared. Read strictly: an unknown field is an error that names it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from freehold.forecast.capacity import Engine
from freehold.forecast.facts import Gpu, Model
from freehold.kernel.errors import CallerError

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
DataClass = Literal["public", "internal", "confidential", "restricted"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
HOURS = 168
MONTH_H = 730.5  # hours of a month, on average
_BUSINESS = tuple(
    (1.0 if 8 <= hour < 18 else 0.25 if 6 <= hour < 22 else 0.05) * (1.0 if day < 5 else 0.1)
    for day in range(7)
    for hour in range(24)
)


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file may hold and nothing else."""


class Priced(Strict, frozen=True):
    """A price as it varies, and where it is from. All in USD."""

    low: Amount
    typical: Amount
    high: Amount
    source: str = ""
    date: str = ""


class Demand(Strict, frozen=True):
    """One workload. input, output: tokens of a call, on average; shape: how calls spread over the 168 hours of a week from Monday (`flat`, `business`, or
    168 weights); ttft_ms, tpot_ms: what a caller waits for, on average; variation: of the time that calls take (standard deviation over mean).
    """

    calls_per_day: Positive
    input: Positive
    output: Positive
    department: str = ""
    data_class: DataClass = "internal"
    shape: Literal["flat", "business"] | tuple[Amount, ...] = "business"
    ttft_ms: Positive | None = None
    tpot_ms: Positive | None = None
    variation: Amount = 1.0

    def weights(self) -> tuple[float, ...]:
        """For each hour of a week, how many times the mean hour it has."""
        found = (1.0,) * HOURS if self.shape == "flat" else _BUSINESS if self.shape == "business" else self.shape
        whole = sum(found)
        return tuple(weight * HOURS / whole for weight in found)


class Api(Strict, frozen=True, tag="api", tag_field="kind"):
    """Tokens bought of a provider. target: `provider/model`, priced by the price book; discount: negotiated; batch: the share that may wait for a day."""

    target: str
    zone: Literal["inside", "attested", "outside"] = "outside"
    discount: Share = 0.0
    batch: Share = 0.0


class Gpus(Strict, frozen=True, tag="gpus", tag_field="kind"):
    """GPUs by the hour. count: of one replica; headroom: of what a replica can do, how much may be used; minimum: replicas that are always there;
    autoscale: whether the number follows the hours of the week.
    """

    model: str
    gpu: str
    usd_per_gpu_hour: Amount | Priced
    count: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    engine: Engine = "vllm"
    precision: Literal["bf16", "fp8", "fp4", "int4"] = "fp8"
    zone: Literal["inside", "attested", "outside"] = "inside"
    headroom: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.7
    minimum: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 1
    autoscale: bool = True


class Own(Strict, frozen=True, tag="own", tag_field="kind"):
    """Machines of one's own, one replica each. purchase_usd: of one; residual: what is left of that after `life_years`; capital: interest a year; idle_w, peak_w:
    of the whole machine; pue: power that the house uses beside; people_usd_month: for all of them together; space_usd_month, support: of one (support as
    a share of the purchase a year); spare: more of them than needed.
    """

    model: str
    gpu: str
    purchase_usd: Positive
    count: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    engine: Engine = "vllm"
    precision: Literal["bf16", "fp8", "fp4", "int4"] = "fp8"
    headroom: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.7
    life_years: Positive = 4.0
    residual: Share = 0.1
    capital: Share = 0.08
    idle_w: Amount = 1_500.0
    peak_w: Amount = 6_000.0
    pue: Annotated[float, msgspec.Meta(ge=1, le=4)] = 1.4
    usd_per_kwh: Amount = 0.18
    space_usd_month: Amount = 400.0
    support: Share = 0.05
    people_usd_month: Amount = 4_000.0
    spare: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0


class Hybrid(Strict, frozen=True, tag="hybrid", tag_field="kind"):
    """Two plans together. share: of the calls that are tried on the open one; escalation: of those, how many are then asked of the closed one as well."""

    open: str
    closed: str
    share: Share = 1.0
    escalation: Share = 0.0


Plan = Api | Gpus | Own | Hybrid


class Scenario(Strict, frozen=True):
    """All of it. volumes: times today's calls that are looked at; facts: rows of one's own."""

    demand: dict[str, Demand]
    plans: dict[str, Plan]
    title: str = ""
    volumes: tuple[Positive, ...] = (1.0, 3.0, 10.0, 100.0)
    models: tuple[Model, ...] = ()
    gpus: tuple[Gpu, ...] = ()


def read(text: str) -> Scenario:
    """Read a scenario in TOML. Raises CallerError `forecast.scenario` that says where and what is wrong."""
    try:
        found = msgspec.convert(tomllib.loads(text), Scenario, strict=True)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(f"is no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise _wrong(re.sub(r"\$\.?", "", str(error))) from None
    _check(found.demand, found.plans)
    return found


def _check(demand: Mapping[str, Demand], plans: Mapping[str, Plan]) -> None:
    if not demand or not plans:
        raise _wrong("needs at least one [demand.NAME] and one [plans.NAME]")
    for name, one in demand.items():
        weights: Any = one.shape
        if isinstance(weights, tuple) and (len(weights) != HOURS or not sum(weights) > 0):
            raise _wrong(f"demand.{name}.shape: {HOURS} weights are needed, and not all of them 0")
    for name, plan in plans.items():
        if isinstance(plan, Hybrid):
            for part in (plan.open, plan.closed):
                if isinstance(plans.get(part), Hybrid) or part not in plans:
                    raise _wrong(f"plans.{name}: {part!r} is no plan of its own kind in this scenario")
        if isinstance(plan, Api) and "/" not in plan.target:
            raise _wrong(f"plans.{name}.target: write provider/model")
        if isinstance(plan, Gpus) and isinstance(price := plan.usd_per_gpu_hour, Priced) and not price.low <= price.typical <= price.high:  # fmt: skip
            raise _wrong(f"plans.{name}.usd_per_gpu_hour: low, typical and high must not cross")


def _wrong(why: str) -> CallerError:
    return CallerError(f"The scenario {why}.", code="forecast.scenario", hint="'freehold forecast init' writes one to begin with.")  # fmt: skip


EXAMPLE = """\
# Three departments of a company, and the ways of answering them that are compared. Change what is yours; delete what is not.
title = "Example: three departments"

[demand.support]                    # one table for each workload
department    = "service"
calls_per_day = 40_000
input         = 900                 # tokens of a call, on average
output        = 220
data_class    = "confidential"
shape         = "business"          # or "flat", or 168 weights from Monday, 00:00
ttft_ms       = 1_500
tpot_ms       = 60

[demand.contracts]
department    = "legal"
calls_per_day = 1_200
input         = 9_000
output        = 900
data_class    = "restricted"
tpot_ms       = 80

[demand.marketing]
department    = "marketing"
calls_per_day = 3_000
input         = 700
output        = 600
data_class    = "public"

[plans.closed]                      # tokens of a closed model, priced by the price book
kind   = "api"
target = "openai/gpt-5"

[plans.hosted]                      # an open model on a platform: the true rival of owning
kind   = "api"
target = "deepinfra/meta-llama/Llama-3.3-70B-Instruct"
zone   = "attested"

[plans.rented]                      # the same weights on GPUs by the hour
kind   = "gpus"
model  = "llama-3.3-70b"
gpu    = "h100"
count  = 2
usd_per_gpu_hour = { low = 1.9, typical = 2.5, high = 4.0, source = "your quotes", date = "2026-11-27" }

[plans.owned]                       # and on machines of your own
kind         = "own"
model        = "llama-3.3-70b"
gpu          = "h100"
count        = 2
purchase_usd = 75_000

[plans.hybrid]                      # the bulk on the open model, the rest closed; both are paid where it escalates
kind       = "hybrid"
open       = "rented"
closed     = "closed"
escalation = 0.05
"""
