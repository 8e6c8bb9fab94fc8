"""What each plan costs at a volume, where two plans cost the same, and what binds.

Rules: replicas are whole, so cost rises in steps, and each is used as far as its headroom allows; an hour of the week needs what comes in it; a workload whose
class forbids a plan's zone is not priced on it; dollars are expected ones (floats), never charges. An interval is from its parts' ends taken
together, cheapest with cheapest, so it is wider than chance would make it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import msgspec

from freehold.forecast.capacity import Predictor, Setup, Span, Work
from freehold.forecast.facts import Facts
from freehold.forecast.scenario import HOURS, MONTH_H, Api, Gpus, Hybrid, Own, Priced, Scenario
from freehold.kernel.classes import Class, Zone
from freehold.kernel.errors import CallerError
from freehold.kernel.units import Terms, Tokens
from freehold.pricing.book import Tariff
from freehold.wire.tiers import BATCH

Rates = Callable[[str], Tariff | None]  # target → its rates
_SPREAD = 400  # points at which two plans are compared


class Cost(msgspec.Struct, frozen=True):
    """What a plan costs a month. per_million: for a million calls; utilisation: of what the machines could do, None where there are none; replicas: at the
    busiest hour, by plan; parts: where the money goes; shares: of each workload, machines by what they are busy with; barred: workloads that the plan may
    not serve, and why; note: what it rests on.
    """

    usd: Span
    per_million: Span
    utilisation: float | None
    replicas: dict[str, int]
    parts: dict[str, float]
    shares: dict[str, float]
    barred: dict[str, str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Month:
    """Dollars of a month. busy, there: replicas that would be busy without a pause, and that are there, over the week."""

    usd: Span
    parts: dict[str, float]
    shares: dict[str, float]
    replicas: dict[str, int]
    notes: tuple[str, ...]
    busy: float = 0.0
    there: float = 0.0

    def and_(self, other: _Month) -> _Month:
        spans = (getattr(self.usd, end) + getattr(other.usd, end) for end in ("value", "low", "high"))
        return _Month(
            Span(*spans),
            _added(self.parts, other.parts),
            _added(self.shares, other.shares),
            {**self.replicas, **other.replicas},
            self.notes + other.notes,
            self.busy + other.busy,
            self.there + other.there,
        )


class Comparer:
    """Prices the plans of a scenario. rates: of a target; zones: which a class may enter."""

    def __init__(self, scenario: Scenario, facts: Facts, rates: Rates, zones: Mapping[Class, frozenset[Zone]]) -> None:
        self._scenario, self._rates, self._zones = scenario, rates, zones
        self._facts = facts.with_rows(scenario.models, scenario.gpus)
        self._predictor = Predictor()
        self._most: dict[tuple[str, str], tuple[Span, str]] = {}

    def cost(self, name: str, volume: float = 1.0, *, only: Collection[str] | None = None) -> Cost:
        """A plan at so many times today's calls. only: of these workloads alone.

        Raises CallerError for what cannot be, `forecast.barred` where classes forbid it for every workload.
        """
        barred = {}
        volumes = {}
        for workload in self._scenario.demand if only is None else only:
            why = self._why_barred(name, workload)
            if why:
                barred[workload] = why
            else:
                volumes[workload] = volume
        if not volumes:
            raise CallerError(f"{'; '.join(barred.values())}.", code="forecast.barred")
        month = self._month(name, volumes)
        calls = sum(self._scenario.demand[workload].calls_per_day for workload in volumes) * MONTH_H / 24 * volume
        usd = month.usd
        return Cost(
            usd,
            Span(*(end / calls * 1e6 for end in (usd.value, usd.low, usd.high))),
            month.busy / month.there if month.there else None,
            month.replicas,
            month.parts,
            month.shares,
            barred,
            "; ".join(dict.fromkeys(note for note in month.notes if note)),
        )

    def common(self, one: str, other: str) -> tuple[str, ...]:
        """The workloads that two plans may both serve."""
        return tuple(
            workload
            for workload in self._scenario.demand
            if not self._why_barred(one, workload) and not self._why_barred(other, workload)
        )

    def crossings(self, one: str, other: str, *, low: float = 0.01, high: float = 10_000.0) -> list[float]:
        """Every volume (times today's) at which one plan begins or ceases to cost less than another, for what both may serve."""
        both = self.common(one, other)

        def gap(volume: float) -> float:
            return self.cost(one, volume, only=both).usd.value - self.cost(other, volume, only=both).usd.value

        grid = [low * (high / low) ** (at / _SPREAD) for at in range(_SPREAD + 1)]
        found, before = [], gap(grid[0])
        for start, end in itertools.pairwise(grid):
            after = gap(end)
            if (before < 0) is not (after < 0):
                found.append(_halved(gap, start, end))
            before = after
        return found

    def _why_barred(self, name: str, workload: str) -> str:
        """Why a plan may not serve a workload, in words; "" if it may."""
        plan, demand = self._scenario.plans[name], self._scenario.demand[workload]
        if isinstance(plan, Hybrid):  # what may not go to the closed plan is served by the open one alone
            return self._why_barred(plan.open if plan.share else plan.closed, workload)
        zone = Zone(plan.zone) if isinstance(plan, Api | Gpus) else Zone.INSIDE
        if zone in self._zones[Class.parse(demand.data_class)]:
            return ""
        return f"{workload} is {demand.data_class}, and {name} runs {zone}"

    # --- one plan ---------------------------------------------------------------------------------------------

    def _month(self, name: str, volumes: Mapping[str, float]) -> _Month:
        """A plan for workloads, each at so many times today's calls."""
        plan = self._scenario.plans[name]
        if isinstance(plan, Hybrid):
            return self._both(plan, volumes)
        if isinstance(plan, Api):
            return self._bought(plan, volumes)
        return self._served(name, plan, volumes)

    def _both(self, plan: Hybrid, volumes: Mapping[str, float]) -> _Month:
        """What escalates is paid twice; what may not go to the closed plan stays on the open one."""
        kept = {workload for workload in volumes if plan.share and self._why_barred(plan.closed, workload)}
        later = 1 - plan.share + plan.share * plan.escalation
        opened = {w: volume * (1.0 if w in kept else plan.share) for w, volume in volumes.items()}
        closed = {w: volume * later for w, volume in volumes.items() if w not in kept}
        parts = ((plan.open, opened), (plan.closed, closed))
        months = [self._month(name, part) for name, part in parts if any(part.values())]
        return months[0] if len(months) == 1 else months[0].and_(months[1])

    def _bought(self, plan: Api, volumes: Mapping[str, float]) -> _Month:
        rates = self._rates(plan.target)
        if rates is None:
            raise CallerError(f"The price book has no price for {plan.target!r}.", code="forecast.unpriced", hint="'freehold prices show' lists what it has.")  # fmt: skip
        shares = {}
        for workload, volume in volumes.items():
            demand = self._scenario.demand[workload]
            calls = demand.calls_per_day * MONTH_H / 24 * volume * (1 - plan.discount)
            shares[workload] = calls * _each(
                plan, rates, Tokens(input=round(demand.input), output=round(demand.output))
            )
        amount = sum(shares.values())
        return _Month(
            Span(amount, amount, amount),
            {"tokens": amount},
            shares,
            {},
            (f"{plan.target}: {rates.source}",),
        )

    def _served(self, name: str, plan: Gpus | Own, volumes: Mapping[str, float]) -> _Month:
        """Machines that serve all workloads together, each call taking the part of a replica that its workload needs."""
        can = {workload: self._can(name, plan, workload) for workload in volumes}
        weights = {workload: self._scenario.demand[workload].weights() for workload in volumes}
        mean = {w: self._scenario.demand[w].calls_per_day / 86_400 * volume for w, volume in volumes.items()}
        costs, there = [], 0.0
        for end in ("value", "high", "low"):  # of what a replica can do
            busy = {workload: mean[workload] / getattr(most, end) for workload, (most, _) in can.items()}
            hourly = [sum(busy[w] * weights[w][hour] for w in volumes) for hour in range(HOURS)]
            replicas = self._replicas(plan, hourly)
            costs.append(self._machines(plan, replicas, sum(busy.values())))
            if end == "value":
                there, most_replicas, whole = sum(replicas) / HOURS, max(replicas), busy
        value = sum(costs[0][1].values())
        every = sum(whole.values())
        return _Month(
            Span(value, min(value, sum(costs[1][0].values())), max(value, sum(costs[2][2].values()))),
            costs[0][1],
            {workload: value * part / every for workload, part in whole.items()},
            {name: most_replicas},
            tuple(note for _, note in can.values()),
            every,
            there,
        )

    def _can(self, name: str, plan: Gpus | Own, workload: str) -> tuple[Span, str]:
        """Requests of a workload that one replica serves a second, within what its callers wait for; and what that rests on."""
        found = self._most.get((name, workload))
        if found is None:
            model, gpu, demand = (
                self._facts.model(plan.model),
                self._facts.gpu(plan.gpu),
                self._scenario.demand[workload],
            )
            setup = Setup(model, gpu, plan.count, plan.engine, plan.precision)
            found = self._most[name, workload] = self._predictor.most(
                setup,
                Work(demand.input, demand.output, demand.variation),
                ttft_s=demand.ttft_ms / 1000 if demand.ttft_ms else math.inf,
                tpot_s=demand.tpot_ms / 1000 if demand.tpot_ms else math.inf,
            )
        return found

    def _replicas(self, plan: Gpus | Own, busy: list[float]) -> list[int]:
        """Whole replicas for each hour of the week, from how many would be busy without a pause."""
        needed = [math.ceil(one / plan.headroom - 1e-9) for one in busy]
        if isinstance(plan, Own):
            return [max(needed) + plan.spare] * HOURS
        if not plan.autoscale:
            return [max(plan.minimum, *needed)] * HOURS
        return [max(plan.minimum, one) for one in needed]

    def _machines(
        self, plan: Gpus | Own, replicas: list[int], busy: float
    ) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """Dollars of a month at the low, typical and high price. busy: replicas that would be busy without a pause."""
        hours = sum(replicas) / HOURS * MONTH_H
        if isinstance(plan, Gpus):
            price = plan.usd_per_gpu_hour
            three = (price.low, price.typical, price.high) if isinstance(price, Priced) else (price,) * 3
            low, typical, high = ({"GPUs by the hour": hours * plan.count * one} for one in three)
            return low, typical, high
        count = max(replicas)
        kw = (count * plan.idle_w + min(busy, count) * max(plan.peak_w - plan.idle_w, 0.0)) / 1000 * plan.pue
        parts = {
            "purchase": count * _monthly(plan),
            "electricity": kw * MONTH_H * plan.usd_per_kwh,
            "space": count * plan.space_usd_month,
            "support": count * plan.purchase_usd * plan.support / 12,
            "people": plan.people_usd_month if count else 0.0,
        }
        return parts, parts, parts


def _each(plan: Api, rates: Tariff, tokens: Tokens) -> float:
    """Dollars for one call."""
    usual = rates.cost(tokens)
    later = rates.cost(tokens, Terms(BATCH)) if plan.batch else usual
    if usual is None or later is None:
        raise CallerError(f"{plan.target!r} has no price for {'batches' if usual is not None else 'this'}.", code="forecast.unpriced", hint="Leave out batch.")  # fmt: skip
    return float(usual) * (1 - plan.batch) + float(later) * plan.batch + float(rates.per_call)


def _added(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def _monthly(plan: Own) -> float:
    """What a machine costs a month over its life: an annuity of its price less the present value of what is left of it."""
    months, rate = plan.life_years * 12, plan.capital / 12
    if rate == 0:
        return plan.purchase_usd * (1 - plan.residual) / months
    shrink: float = (1 + rate) ** -months
    return plan.purchase_usd * (1 - plan.residual * shrink) * rate / (1 - shrink)


def _halved(gap: Callable[[float], float], start: float, end: float) -> float:
    """Where the sign of a gap changes."""
    is_below = gap(start) < 0
    for _ in range(40):
        middle = math.sqrt(start * end)
        start, end = (middle, end) if (gap(middle) < 0) is is_below else (start, middle)
    return end
