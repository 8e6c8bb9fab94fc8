"""A scenario: what is asked of models, and the ways of answering it that are compared. Read strictly: an unknown field is an error that names it."""

from __future__ import annotations

import itertools
import math
import re
import statistics
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from freehold.forecast.capacity import Engine
from freehold.forecast.facts import Gpu, Model, check
from freehold.kernel.errors import CallerError

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
DataClass = Literal["public", "internal", "confidential", "restricted"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
HOURS = 168
MONTH_H = 730.5  # hours of a month, on average
_Z95 = 1.6448536269514722  # standard deviations that nineteen of twenty do not exceed
_POINTS = 40  # lengths that stand for a distribution
_LONGEST_NAME = 80
_AGREE = 0.02  # how far stated means may be from those of stated lengths
_BUSINESS = tuple(
    (1.0 if 8 <= hour < 18 else 0.25 if 6 <= hour < 22 else 0.05) * (1.0 if day < 5 else 0.1)
    for day in range(7)
    for hour in range(24)
)


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file may hold and nothing else."""


class Priced(Strict, frozen=True):
    """A price as it varies (one in ten is below low, half below typical, one in ten above high), and where it is from. All in USD."""

    low: Amount
    typical: Amount
    high: Amount
    source: str = ""
    date: str = ""


Lengths = tuple[tuple[Positive, Positive, Positive], ...]


class Demand(Strict, frozen=True):
    """One workload. input, output: tokens of a call, on average; input_spread, output_spread: how they vary (standard deviation over mean); lengths: both
    together instead, as (input, output, how many calls); prefix: the share of prompt tokens that repeats; batchable: the share of calls that may wait for
    a day; shape: how calls spread over the 168 hours of a week from Monday (`flat`, `business`, or 168 weights); burst: the busiest minutes of an hour
    over its mean; growth: a year (0.5 is half as much again); ttft_ms, tpot_ms: what nineteen of twenty callers wait for
    at the most, by the lengths of their prompts; good: the plans whose models are good
    enough (all, if not said).
    """

    calls_per_day: Annotated[float, msgspec.Meta(ge=1e-6, le=1e12)]
    input: Positive
    output: Positive
    department: str = ""
    data_class: DataClass = "internal"
    shape: Literal["flat", "business"] | tuple[Amount, ...] = "business"
    burst: Annotated[float, msgspec.Meta(ge=1, le=100)] = 1.0
    growth: Annotated[float, msgspec.Meta(gt=-1, le=10)] = 0.0
    input_spread: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.0
    output_spread: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.0
    lengths: Lengths = ()
    prefix: Share = 0.0
    batchable: Share = 0.0
    ttft_ms: Positive | None = None
    tpot_ms: Positive | None = None
    good: tuple[str, ...] | None = None

    def weights(self) -> tuple[float, ...]:
        """For each hour of a week, how many times the mean hour it has."""
        found = (1.0,) * HOURS if self.shape == "flat" else _BUSINESS if self.shape == "business" else self.shape
        whole = sum(found)
        return tuple(weight * HOURS / whole for weight in found)

    def sizes(self) -> Lengths:
        """Input, output and share of calls of each length that is priced."""
        if self.lengths:
            whole = sum(calls for _, _, calls in self.lengths)
            return tuple((prompt, output, calls / whole) for prompt, output, calls in self.lengths)
        prompts = _spread(
            self.input, self.input_spread
        )  # a price goes by the prompt's length, and is so much a token of the answer
        return tuple((prompt, self.output, 1 / len(prompts)) for prompt in prompts)

    def long_input(self) -> float:
        """Tokens of a prompt that nineteen of twenty do not exceed."""
        if not self.lengths:
            sigma = math.sqrt(math.log1p(self.input_spread**2))
            return self.input * math.exp(_Z95 * sigma - sigma**2 / 2)
        each = sorted(self.lengths)
        most = 0.95 * sum(calls for _, _, calls in each)
        seen = itertools.accumulate(calls for _, _, calls in each)
        return next(prompt for (prompt, _, _), so_far in zip(each, seen, strict=True) if so_far >= most)


def _spread(mean: float, spread: float) -> tuple[float, ...]:
    """Equally likely lengths with a mean, as a log-normal distribution spreads them."""
    if not spread:
        return (mean,)
    sigma = math.sqrt(math.log1p(spread**2))
    normal = statistics.NormalDist(0, sigma)
    each = [math.exp(normal.inv_cdf((at + 0.5) / _POINTS)) for at in range(_POINTS)]
    factor = mean * _POINTS / sum(each)
    return tuple(one * factor for one in each)


class Api(Strict, frozen=True, tag="api", tag_field="kind"):
    """Tokens bought of a provider. target: `provider/model`, priced by the price book; discount: negotiated; batch: whether what may wait is handed in
    for less, where that costs less; tokens_per_minute: the limit of the account.
    """

    target: str
    zone: Literal["inside", "attested", "outside"] = "outside"
    discount: Annotated[float, msgspec.Meta(ge=-10, le=1)] = 0.0
    batch: bool = True
    tokens_per_minute: Positive | None = None


Market = Literal["on_demand", "spot", "reserved_1y", "reserved_3y"]


class Gpus(Strict, frozen=True, tag="gpus", tag_field="kind"):
    """GPUs by the hour. usd_per_gpu_hour: if not said, as the table of prices has it (`cloud`: of that one; `market`); count: of one replica; headroom: of
    what a replica can do, how much may be used; minimum: replicas that are always there (0: none in an hour without a call); spare: more than needed; autoscale: whether
    the number follows the hours of the week; cold_start_s: paid before a new replica serves; committed: replicas paid for all the time, at a discount.
    """

    model: str
    gpu: str
    usd_per_gpu_hour: Amount | Priced | None = None
    cloud: str = ""
    market: Market = "on_demand"
    count: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    engine: Engine = "vllm"
    precision: Literal["bf16", "fp8", "fp4", "int4"] = "fp8"
    zone: Literal["inside", "attested", "outside"] = "inside"
    headroom: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.7
    minimum: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 1
    spare: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    autoscale: bool = True
    cold_start_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 300.0
    committed: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    committed_discount: Share = 0.0


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
    life_years: Annotated[float, msgspec.Meta(ge=0.25, le=50)] = 4.0
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

    @property
    def annuity_usd(self) -> float:
        """What one costs a month over its life: its price less the present value of what is left of it, at the cost of capital."""
        months, rate = self.life_years * 12, self.capital / 12
        if rate < 1e-9:
            return self.purchase_usd * (1 - self.residual) / months
        shrink: float = (1 + rate) ** -months
        return self.purchase_usd * (1 - self.residual * shrink) * rate / (1 - shrink)


class Hybrid(Strict, frozen=True, tag="hybrid", tag_field="kind"):
    """Two plans together. share: of the calls that are tried on the open one; escalation: of those, how many are then asked of the closed one as well."""

    open: str
    closed: str
    share: Share = 1.0
    escalation: Share = 0.0


Plan = Api | Gpus | Own | Hybrid


class WhatIf(Strict, frozen=True):
    """What may come. Each is a factor. vendor: whose token prices and limits those are; all vendors', if not said."""

    vendor: str = ""
    token_prices: Positive = 1.0
    gpu_prices: Positive = 1.0
    limits: Positive = 1.0
    calls: Positive = 1.0
    input: Positive = 1.0
    output: Positive = 1.0
    escalation: Positive = 1.0


Spread = Annotated[float, msgspec.Meta(ge=0, le=10)]


class Uncertain(Strict, frozen=True):
    """Within what factor eight of ten lie: 0.15 is between 1/1.15 and 1.15 times. What a GPU costs and what it can do have intervals of their own."""

    calls: Spread = 0.15
    input: Spread = 0.05
    output: Spread = 0.15
    escalation: Spread = 0.5
    power: Spread = 0.2
    people: Spread = 0.25


class Scenario(Strict, frozen=True):
    """All of it. volumes: times today's calls that are looked at; months: how far growth is followed; stale_days: after which a price is called old;
    models, gpus: rows of one's own.
    """

    demand: dict[str, Demand]
    plans: dict[str, Plan]
    title: str = ""
    volumes: Annotated[
        tuple[Annotated[float, msgspec.Meta(ge=1e-3, le=1e6)], ...], msgspec.Meta(min_length=1, max_length=12)
    ] = (1.0, 3.0, 10.0, 100.0)
    months: Annotated[int, msgspec.Meta(ge=1, le=120)] = 36
    stale_days: Annotated[int, msgspec.Meta(ge=1)] = 180
    uncertain: Uncertain = Uncertain()
    what_if: dict[str, WhatIf] = {}
    models: tuple[Model, ...] = ()
    gpus: tuple[Gpu, ...] = ()

    def under(self, what: WhatIf) -> Scenario:
        """The scenario when something has come."""
        demand = {
            name: msgspec.structs.replace(
                one,
                calls_per_day=one.calls_per_day * what.calls,
                input=one.input * what.input,
                output=one.output * what.output,
                lengths=tuple((prompt * what.input, output * what.output, n) for prompt, output, n in one.lengths),
            )
            for name, one in self.demand.items()
        }
        return msgspec.structs.replace(self, demand=demand, plans={n: _under(p, what) for n, p in self.plans.items()})


def _under(plan: Plan, what: WhatIf) -> Plan:
    match plan:
        case Api() if what.vendor in ("", plan.target.partition("/")[0]):
            limit = plan.tokens_per_minute
            return msgspec.structs.replace(
                plan,
                discount=1 - (1 - plan.discount) * what.token_prices,
                tokens_per_minute=limit * what.limits if limit is not None else None,
            )
        case Gpus(usd_per_gpu_hour=Priced() as price):
            ends = {end: getattr(price, end) * what.gpu_prices for end in ("low", "typical", "high")}
            return msgspec.structs.replace(plan, usd_per_gpu_hour=msgspec.structs.replace(price, **ends))
        case Gpus(usd_per_gpu_hour=float() as usd):
            return msgspec.structs.replace(plan, usd_per_gpu_hour=usd * what.gpu_prices)
        case Hybrid():
            return msgspec.structs.replace(plan, escalation=min(1.0, plan.escalation * what.escalation))
        case _:
            return plan


def read(text: str) -> Scenario:
    """Read a scenario in TOML. Raises CallerError `forecast.scenario` that says where and what is wrong."""
    try:
        found = msgspec.convert(tomllib.loads(text), Scenario, strict=True)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(f"is no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise _wrong("is wrong: " + re.sub(r"\$\.?", "", str(error))) from None
    _check(found)
    return msgspec.structs.replace(found, volumes=tuple(sorted(set(found.volumes))))


def _check(found: Scenario) -> None:
    demand, plans = found.demand, found.plans
    if not demand or not plans:
        raise _wrong("needs at least one [demand.NAME] and one [plans.NAME]")
    for name in (*demand, *plans, *found.what_if, *(one.department for one in demand.values())):
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise _wrong(f"has a name that cannot be shown: {name[:40]!r}")
    for name, one in demand.items():
        _check_demand(name, one, plans)
    for name, plan in plans.items():
        _check_plan(name, plan, plans)
    vendors = {plan.target.partition("/")[0] for plan in plans.values() if isinstance(plan, Api)}
    for name, what in found.what_if.items():
        if what.vendor and what.vendor not in vendors:
            raise _wrong(f"what_if.{name}.vendor: no plan buys of {what.vendor!r}")
    for model in found.models:
        check(model)
    for gpu in found.gpus:
        check(gpu)


def _check_demand(name: str, one: Demand, plans: Mapping[str, Plan]) -> None:
    weights: Any = one.shape
    if isinstance(weights, tuple) and (len(weights) != HOURS or not sum(weights) > 0):
        raise _wrong(f"demand.{name}.shape: {HOURS} weights are needed, and not all of them 0")
    if one.lengths:
        means = [sum(row[at] * row[2] for row in one.lengths) / sum(row[2] for row in one.lengths) for at in (0, 1)]
        if any(abs(mean / stated - 1) > _AGREE for mean, stated in zip(means, (one.input, one.output), strict=True)):
            raise _wrong(
                f"demand.{name}.lengths: their means are {means[0]:.6g} and {means[1]:.6g} tokens, not as stated"
            )
    for known in one.good or ():
        if known not in plans:
            raise _wrong(f"demand.{name}.good: {known!r} is no plan of this scenario")


def _check_plan(name: str, plan: Plan, plans: Mapping[str, Plan]) -> None:
    if isinstance(plan, Hybrid):
        for part in (plan.open, plan.closed):
            if isinstance(plans.get(part), Hybrid) or part not in plans:
                raise _wrong(f"plans.{name}: {part!r} is no plan of its own kind in this scenario")
        if plan.open == plan.closed:
            raise _wrong(f"plans.{name}: open and closed are the same plan")
    if isinstance(plan, Api) and "/" not in plan.target:
        raise _wrong(f"plans.{name}.target: write provider/model")
    if isinstance(plan, Gpus) and isinstance(price := plan.usd_per_gpu_hour, Priced) and not 0 < price.low <= price.typical <= price.high:  # fmt: skip
        raise _wrong(f"plans.{name}.usd_per_gpu_hour: low, typical and high must not cross, and be above 0")


def _wrong(why: str) -> CallerError:
    return CallerError(f"The scenario {why}.", code="forecast.scenario", hint="'freehold forecast init' writes one to begin with.")  # fmt: skip


CLOSED = "openai/gpt-5.4"  # of the example
EXAMPLE = """\
# Three departments of a company, and the ways of answering them that are compared. Change what is yours; delete what is not.
title = "Example: three departments"

[demand.support]                    # one table for each workload
department    = "service"
calls_per_day = 40_000
growth        = 0.3                 # a year
input         = 900                 # tokens of a call, on average
output        = 220
output_spread = 0.8                 # standard deviation over mean; or lengths = [[input, output, calls], …] for both together
prefix        = 0.4                 # of the prompt's tokens, how many repeat from call to call
data_class    = "confidential"
shape         = "business"          # or "flat", or 168 weights from Monday, 00:00
burst         = 1.3                 # the busiest minutes of an hour over its mean
ttft_ms       = 2_500               # what 19 of 20 callers wait for: to the first token, and for each after it
tpot_ms       = 60

[demand.contracts]
department    = "legal"
calls_per_day = 1_200
input         = 9_000
input_spread  = 0.6
output        = 900
data_class    = "restricted"
tpot_ms       = 80

[demand.marketing]
department    = "marketing"
calls_per_day = 3_000
input         = 700
output        = 600
batchable     = 0.5                 # of the calls, how many may wait for a day
data_class    = "public"

[plans.closed]                      # tokens of a closed model, priced by the price book
kind   = "api"
target = "openai/gpt-5.4"

[plans.hosted]                      # an open model on a platform: the true rival of owning
kind   = "api"
target = "deepinfra/meta-llama/Llama-3.3-70B-Instruct"
zone   = "attested"

[plans.rented]                      # the same weights on GPUs by the hour, at what many clouds ask for them
kind   = "gpus"
model  = "llama-3.3-70b"
gpu    = "h100"
count  = 2                          # of one replica
# usd_per_gpu_hour = { low = 1.9, typical = 2.5, high = 4.0, source = "our quotes", date = "2026-11-27" }

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
