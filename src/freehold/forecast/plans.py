"""What each plan costs at a volume, where two plans cost the same, and what binds.

Rules: a workload whose class forbids a plan's zone, or for which its model is not good enough, is not priced on it; dollars are expected ones (floats),
never charges. An interval is what eight of ten draws of what is not known lie in; all plans see the same draws.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import msgspec

from freehold.forecast import machines
from freehold.forecast.capacity import Predictor, Serving, Setup, Span, Work
from freehold.forecast.draws import AS_STATED, Draw, between, draws
from freehold.forecast.facts import Facts
from freehold.forecast.machines import DAY, Load
from freehold.forecast.scenario import HOURS, MONTH_H, Api, Demand, Gpus, Hybrid, Own, Priced, Scenario
from freehold.kernel.classes import Class, Zone
from freehold.kernel.errors import CallerError
from freehold.kernel.units import Terms, Tokens
from freehold.pricing.book import Tariff
from freehold.wire.tiers import BATCH

Rates = Callable[[str], Tariff | None]  # target → its rates
Volumes = Mapping[str, float]  # workload → times today's calls
Pattern = tuple[tuple[str, float], ...]
DRAWS, SEED = 200, 20_261_127
_VOLUMES = tuple(
    0.01 * 10 ** (at * 6 / 400) for at in range(401)
)  # at which two plans are compared: to 10,000 times today's
_HALVINGS, _MOST_SPANS = (
    5,
    1_000,
)  # how finely is looked where they may cost the same (to 0.1 %), and in how many places
_STEP = 1.1  # by which lengths are varied to see what a replica does then


class Cost(msgspec.Struct, frozen=True):
    """What a plan costs a month. per_million: for a million calls; utilisation: of what the machines could do, None where there are none; replicas: at the
    busiest hour, by plan; parts: where the money goes; shares: of each workload, machines by what they are busy with; latency: seconds to the first token
    (of nineteen in twenty) and for each after it, of each workload on machines; barred: workloads that the plan may not serve, and why; flags: what is not as it should be; note:
    what it rests on.
    """

    usd: Span
    per_million: Span
    utilisation: float | None
    replicas: dict[str, int]
    parts: dict[str, float]
    shares: dict[str, float]
    latency: dict[str, tuple[float, float]]
    barred: dict[str, str]
    flags: tuple[str, ...] = ()
    note: str = ""


class Share(msgspec.Struct, frozen=True):
    """What a department pays. fair: by what it uses, its part of what stands idle with it; marginal: what would be saved without it."""

    fair: float
    marginal: float


class Crossing(msgspec.Struct, frozen=True):
    """Where two plans cost the same. volume: times today's calls; calls: a month; utilisation: of the machines there, the first plan's if both have some."""

    volume: float
    calls: float
    usd: float
    utilisation: float | None


class Can(NamedTuple):
    """What one replica does of a workload. rate: requests a second; by_input, by_output: per cent less for one per cent longer."""

    rate: Span
    note: str
    ttft_s: float = 0.0
    tpot_s: float = 0.0
    by_input: float = 0.0
    by_output: float = 0.0


class _Each(NamedTuple):
    """Dollars for one call: for its prompt, for its answer, and for being a call."""

    prompt: float
    answer: float
    call: float


class _Bill(NamedTuple):
    """Dollars of a month for tokens, at a volume of 1. a_minute: tokens, by hour."""

    whole: _Each
    shares: dict[str, float]
    a_minute: list[float]


class _Work(NamedTuple):
    """What machines have to do, at a volume of 1. shares: of each workload; widths: how much slower and faster one in ten replicas is; by_input, by_output:
    how it grows with longer calls.
    """

    load: Load
    shares: dict[str, float]
    widths: tuple[float, float]
    by_input: float
    by_output: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """Dollars of a month. busy, there: replicas that would be busy without a pause, and that are there, over the week."""

    parts: dict[str, float]
    shares: dict[str, float]
    replicas: dict[str, int]
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    busy: float = 0.0
    there: float = 0.0

    @property
    def usd(self) -> float:
        return sum(self.parts.values())

    def and_(self, other: Month) -> Month:
        return Month(
            _added(self.parts, other.parts),
            _added(self.shares, other.shares),
            {**self.replicas, **other.replicas},
            self.notes + other.notes,
            self.flags + other.flags,
            self.busy + other.busy,
            self.there + other.there,
        )


class Comparer:
    """Prices the plans of a scenario, in which every GPU has its price (`offers.filled`). rates: of a target; zones: which a class may enter."""

    def __init__(self, scenario: Scenario, facts: Facts, rates: Rates, zones: Mapping[Class, frozenset[Zone]]) -> None:
        self.scenario, self._rates, self._zones = scenario, cache(rates), zones
        self._facts = facts.with_rows(scenario.models, scenario.gpus)
        self._predictor = Predictor()
        self.plans = scenario.plans
        self.machines = tuple(name for name, plan in self.plans.items() if isinstance(plan, Gpus | Own))
        self.speeds = {name: _speed_kind(plan) for name, plan in self.plans.items() if isinstance(plan, Gpus | Own)}
        self.prices = {name: _price_kind(plan) for name, plan in self.plans.items() if isinstance(plan, Gpus)}
        self._cans: dict[tuple[str, str], Can] = {}
        self._works: dict[tuple[str, Pattern], _Work] = {}
        self._bills: dict[tuple[str, Pattern], _Bill] = {}
        self._each: dict[tuple[str, str], _Each] = {}
        self._amounts: dict[tuple[str, tuple[tuple[str, float], ...]], list[float]] = {}
        self._curves: dict[tuple[str, tuple[str, ...]], list[float]] = {}
        self._weights = {name: one.weights() for name, one in scenario.demand.items()}
        kinds = sorted(set(self.speeds.values())), sorted(set(self.prices.values()))
        self.draws = tuple(draws(scenario.uncertain, *kinds, count=DRAWS, seed=SEED))

    def cost(self, name: str, volume: float = 1.0, *, only: Collection[str] | None = None) -> Cost:
        """A plan at so many times today's calls. only: of these workloads alone.

        Raises CallerError for what cannot be, `forecast.barred` where it may serve none of the workloads.
        """
        volumes, barred = self.served(name, volume, only)
        month, each = self.month(name, volumes), sorted(self.amounts(name, volumes))
        calls, usd = self.calls(volumes), month.usd
        low, high = min(usd, each[len(each) // 10]), max(usd, each[-1 - len(each) // 10])
        cans = {
            w: can
            for w in volumes
            for part in self.parts_of(name)
            if (can := self._cans.get((self.speeds.get(part, ""), w)))
        }
        return Cost(
            Span(usd, low, high),
            Span(*(end / calls * 1e6 for end in (usd, low, high))),
            month.busy / month.there if month.there else None,
            month.replicas,
            month.parts,
            month.shares,
            {workload: (can.ttft_s, can.tpot_s) for workload, can in cans.items()},
            barred,
            tuple(dict.fromkeys(month.flags)),
            "; ".join(dict.fromkeys(note for note in month.notes if note)),
        )

    def parts_of(self, name: str) -> tuple[str, ...]:
        """The plans that a plan is made of: itself, or a hybrid's two."""
        plan = self.plans[name]
        return (plan.open, plan.closed) if isinstance(plan, Hybrid) else (name,)

    def is_part(self, one: str, other: str) -> bool:
        """Whether one of two plans is made of the other: that one costs more then says nothing."""
        return one in self.parts_of(other) or other in self.parts_of(one)

    def served(
        self, name: str, volume: float, only: Collection[str] | None = None
    ) -> tuple[dict[str, float], dict[str, str]]:
        """The workloads that a plan may serve, at a volume; and the others, with the reason. Raises CallerError `forecast.barred` if it may serve none."""
        reasons = {w: self.why_barred(name, w) for w in (self.scenario.demand if only is None else only)}
        barred = {workload: why for workload, why in reasons.items() if why}
        volumes = {workload: volume for workload, why in reasons.items() if not why}
        if not volumes:
            raise CallerError(f"{'; '.join(barred.values())}.", code="forecast.barred")
        return volumes, barred

    def calls(self, volumes: Volumes) -> float:
        """Of a month."""
        return sum(self.scenario.demand[w].calls_per_day * times for w, times in volumes.items()) * MONTH_H / 24

    def amounts(self, name: str, volumes: Volumes) -> list[float]:
        """Dollars of a month in each draw."""
        key = name, tuple(volumes.items())
        found = self._amounts.get(key)
        if found is None:
            found = self._amounts[key] = [self.month(name, volumes, draw).usd for draw in self.draws]
        return found

    def departments(self, name: str, volume: float = 1.0) -> dict[str, Share]:
        """What each department pays for a plan. The fair shares are all of it; the marginal ones are not, because what stands idle is nobody's."""
        volumes, _ = self.served(name, volume)
        whole = self.month(name, volumes)
        of = {workload: self.scenario.demand[workload].department or workload for workload in volumes}
        found = {}
        for department in dict.fromkeys(of.values()):
            rest = {workload: times for workload, times in volumes.items() if of[workload] != department}
            fair = sum(usd for workload, usd in whole.shares.items() if of[workload] == department)
            found[department] = Share(fair, whole.usd - (self.month(name, rest).usd if rest else 0.0))
        return found

    def common(self, one: str, other: str) -> tuple[str, ...]:
        """The workloads that two plans may both serve."""
        return tuple(w for w in self.scenario.demand if not self.why_barred(one, w) and not self.why_barred(other, w))

    def crossings(self, one: str, other: str) -> list[Crossing]:
        """Everywhere that one plan begins or ceases to cost less than another, for what both may serve."""
        both = self.common(one, other)

        def gap(volume: float) -> float:
            volumes = dict.fromkeys(both, volume)
            return self.month(one, volumes).usd - self.month(other, volumes).usd

        def costs(volume: float) -> tuple[float, float]:
            volumes = dict.fromkeys(both, volume)
            return self.month(one, volumes).usd, self.month(other, volumes).usd

        edges = zip(_VOLUMES, self._curve(one, both), self._curve(other, both), strict=True)
        spans = [(start, end) for start, end in itertools.pairwise(edges) if _may_meet(start, end)]
        for _ in range(
            _HALVINGS
        ):  # a staircase may cross and cross back between two volumes: cost never falls with volume, so where it cannot is known
            if len(spans) > _MOST_SPANS:
                break
            middles = [(start, (math.sqrt(start[0] * end[0])), end) for start, end in spans]
            halves = [(start, (middle, *costs(middle)), end) for start, middle, end in middles]
            spans = [
                span for start, middle, end in halves for span in ((start, middle), (middle, end)) if _may_meet(*span)
            ]
        found = [
            _halved(gap, start[0], end[0]) for start, end in spans if (start[1] < start[2]) is not (end[1] < end[2])
        ]
        return [self._crossing(one, other, dict.fromkeys(both, volume), volume) for volume in found]

    def _curve(self, name: str, workloads: tuple[str, ...]) -> list[float]:
        """Dollars of a month at each of the volumes at which plans are compared."""
        found = self._curves.get((name, workloads))
        if found is None:
            found = [self.month(name, dict.fromkeys(workloads, volume)).usd for volume in _VOLUMES]
            self._curves[name, workloads] = found
        return found

    def _crossing(self, one: str, other: str, volumes: Volumes, volume: float) -> Crossing:
        first, second = self.month(one, volumes), self.month(other, volumes)
        busy = first if first.there else second
        return Crossing(volume, self.calls(volumes), first.usd, busy.busy / busy.there if busy.there else None)

    def payback(self, own: str, other: str, volume: float) -> float | None:
        """Months until machines that were bought have saved their price beside another plan, growth counted; None if they never do in their life."""
        plan, both = self.plans[own], self.common(own, other)
        assert isinstance(plan, Own)
        left = last = 0.0
        for month in range(round(plan.life_years * 12)):
            volumes = self.grown(dict.fromkeys(both, volume), month)
            mine = self.month(own, volumes)
            count = mine.replicas[own]
            left += max(0.0, count - last) * plan.purchase_usd
            last = max(last, count)
            left -= self.month(other, volumes).usd - (mine.usd - mine.parts["purchase"])
            if left <= 0:
                return month + 1.0
        return None

    def grown(self, volumes: Volumes, months: float) -> dict[str, float]:
        """Volumes after so many months of growth."""
        return {w: times * (1 + self.scenario.demand[w].growth) ** (months / 12) for w, times in volumes.items()}

    def why_barred(self, name: str, workload: str) -> str:
        """Why a plan may not serve a workload, in words; "" if it may."""
        plan, demand = self.plans[name], self.scenario.demand[workload]
        if demand.good is not None and name not in demand.good:
            return f"{name} is not good enough for {workload}"
        if isinstance(plan, Hybrid):  # what may not go to the closed plan is served by the open one alone
            return self._zone_bars(plan.open if plan.share else plan.closed, workload)
        return self._zone_bars(name, workload)

    def _zone_bars(self, name: str, workload: str) -> str:
        plan, demand = self.plans[name], self.scenario.demand[workload]
        zone = Zone(plan.zone) if isinstance(plan, Api | Gpus) else Zone.INSIDE
        if zone in self._zones[Class.parse(demand.data_class)]:
            return ""
        return f"{workload} is {demand.data_class}, and {name} runs {zone}"

    # --- one plan ---------------------------------------------------------------------------------------------

    def month(self, name: str, volumes: Volumes, draw: Draw = AS_STATED) -> Month:
        """A plan for workloads, each at so many times today's calls."""
        plan = self.plans[name]
        if isinstance(plan, Hybrid):
            return self._both(plan, volumes, draw)
        if isinstance(plan, Api):
            return self._bought(name, plan, volumes, draw)
        return self._served(name, plan, volumes, draw)

    def _both(self, plan: Hybrid, volumes: Volumes, draw: Draw) -> Month:
        """What escalates is paid twice; what may not go to the closed plan stays on the open one."""
        kept = {workload for workload in volumes if plan.share and self._zone_bars(plan.closed, workload)}
        later = 1 - plan.share + plan.share * min(1.0, plan.escalation * draw.escalation)
        opened = {w: volume * (1.0 if w in kept else plan.share) for w, volume in volumes.items()}
        closed = {w: volume * later for w, volume in volumes.items() if w not in kept}
        parts = ((plan.open, opened), (plan.closed, closed))
        months = [self.month(name, part, draw) for name, part in parts if any(part.values())]
        return months[0] if len(months) == 1 else months[0].and_(months[1])

    def _bought(self, name: str, plan: Api, volumes: Volumes, draw: Draw) -> Month:
        rates = self._rates(plan.target)
        if rates is None or rates.hourly is not None:
            hint = (
                "'freehold prices show' lists what it has."
                if rates is None
                else "It is paid by the hour: compare it as a plan of kind gpus or own."
            )
            raise CallerError(f"The price book has no price for tokens of {plan.target!r}.", code="forecast.unpriced", hint=hint)  # fmt: skip
        pattern, scale = _pattern(volumes)
        bill = self._bills.get((name, pattern))
        if bill is None:
            bill = self._bills[name, pattern] = self._bill(name, plan, rates, dict(pattern))
        times, each = scale * draw.calls * (1 - plan.discount), bill.whole
        usd = times * (each.prompt * draw.input + each.answer * draw.output + each.call)
        if draw is not AS_STATED:
            return Month({"tokens": usd}, {}, {})
        shares = {workload: times * share for workload, share in bill.shares.items()}
        flags = _over(name, plan.tokens_per_minute, [one * scale for one in bill.a_minute])
        return Month({"tokens": usd}, shares, {}, (f"{plan.target}: {rates.source}",), flags)

    def _bill(self, name: str, plan: Api, rates: Tariff, volumes: Volumes) -> _Bill:
        shares, a_minute, sums = {}, [0.0] * HOURS, [0.0, 0.0, 0.0]
        for workload, volume in volumes.items():
            demand, each = self.scenario.demand[workload], self._priced(name, plan, rates, workload)
            calls = demand.calls_per_day * MONTH_H / 24 * volume
            sums = [before + calls * usd for before, usd in zip(sums, each, strict=True)]
            shares[workload] = calls * sum(each)
            tokens = demand.calls_per_day / 1440 * volume * demand.burst * (demand.input + demand.output)
            a_minute = [
                before + tokens * weight for before, weight in zip(a_minute, self._weights[workload], strict=True)
            ]
        return _Bill(_Each(*sums), shares, a_minute)

    def _priced(self, name: str, plan: Api, rates: Tariff, workload: str) -> _Each:
        """Dollars for one call, over its lengths and the hours of a week."""
        found = self._each.get((name, workload))
        if found is None:
            demand = self.scenario.demand[workload]
            prompt = answer = 0.0
            for tokens_in, tokens_out, share in demand.sizes():
                each = _sized(plan, rates, demand, self._weights[workload], (tokens_in, tokens_out))
                prompt, answer = prompt + share * each[0], answer + share * each[1]
            found = self._each[name, workload] = _Each(prompt, answer, float(rates.per_call))
        return found

    def _served(self, name: str, plan: Gpus | Own, volumes: Volumes, draw: Draw) -> Month:
        """Machines that serve all workloads together, each call taking the part of a replica that its workload needs."""
        pattern, scale = _pattern(volumes)
        work = self._works.get((name, pattern))
        if work is None:
            work = self._works[name, pattern] = self._work(name, plan, dict(pattern))
        z, load = draw.speed.get(self.speeds[name], 0.0), work.load
        times = scale * draw.calls * draw.input**work.by_input * draw.output**work.by_output
        times /= between(work.widths[0], 1.0, work.widths[1], z)
        load = Load(
            [one * times for one in load.peaks],
            [one * times for one in load.later],
            [one * scale * draw.calls for one in load.calls],
            load.busy * times,
        )
        replicas = machines.replicas_of(plan, load)
        parts = machines.parts_of(plan, replicas, load.busy, draw, self.prices.get(name, ""))
        if draw is not AS_STATED:
            return Month(parts, {}, {})
        whole, count = sum(parts.values()), {name: math.ceil(max(replicas))}
        shares = {workload: whole * share for workload, share in work.shares.items()}
        return Month(parts, shares, count, work.notes, (), load.busy, sum(replicas) / HOURS)

    def _work(self, name: str, plan: Gpus | Own, volumes: Volumes) -> _Work:
        peaks, later, calls, busy = [0.0] * HOURS, [0.0] * (HOURS // DAY), [0.0] * HOURS, {}
        by_input = by_output = 0.0
        for workload, volume in volumes.items():
            demand, can, weights = (
                self.scenario.demand[workload],
                self._can(name, plan, workload),
                self._weights[workload],
            )
            own = busy[workload] = demand.calls_per_day / 86_400 * volume / can.rate.value
            now, waits = own * (1 - demand.batchable) * demand.burst, own * demand.batchable
            peaks = [before + now * weight for before, weight in zip(peaks, weights, strict=True)]
            later = [before + waits * sum(weights[day * DAY : day * DAY + DAY]) for day, before in enumerate(later)]
            hourly = demand.calls_per_day / 24 * volume
            calls = [before + hourly * weight for before, weight in zip(calls, weights, strict=True)]
            by_input, by_output = by_input + own * can.by_input, by_output + own * can.by_output
        every, rate = sum(busy.values()), self._can(name, plan, next(iter(volumes))).rate
        return _Work(
            Load(peaks, later, calls, every),
            {workload: part / every for workload, part in busy.items()},
            (rate.low / rate.value, rate.high / rate.value),
            by_input / every,
            by_output / every,
            tuple(dict.fromkeys(self._can(name, plan, workload).note for workload in volumes)) + _source(plan),
        )

    def _can(self, name: str, plan: Gpus | Own, workload: str) -> Can:
        """What one replica does of a workload within what its callers wait for: the same for all plans with such machines."""
        key = self.speeds[name], workload
        found = self._cans.get(key)
        if found is None:
            found = self._cans[key] = self._measured(plan, self.scenario.demand[workload])
        return found

    def _measured(self, plan: Gpus | Own, demand: Demand) -> Can:
        setup = Setup(self._facts.model(plan.model), self._facts.gpu(plan.gpu), plan.count, plan.engine, plan.precision)
        mean = sum(output * calls for _, output, calls in demand.lengths) / sum(calls for *_, calls in demand.lengths) if demand.lengths else demand.output  # fmt: skip
        spread = demand.output_spread
        if demand.lengths:
            whole = sum(calls for *_, calls in demand.lengths)
            spread = math.sqrt(sum((output - mean) ** 2 * calls for _, output, calls in demand.lengths) / whole) / mean
        work = Work(demand.input, demand.output, spread, demand.prefix, demand.long_input())

        def most(work: Work) -> Serving:
            ttft_s, tpot_s = ((ms / 1000 if ms else math.inf) for ms in (demand.ttft_ms, demand.tpot_ms))
            return self._predictor.most(setup, work, ttft_s=ttft_s, tpot_s=tpot_s)

        def falls(longer: Work, by: float) -> float:
            try:
                return math.log(found.requests_s / most(longer).requests_s) / math.log(by)
            except CallerError:
                return 1.0  # longer ones cannot be served so at all: as if each token took its time

        found = most(work)
        wide = found.tokens_s.low / found.tokens_s.value, found.tokens_s.high / found.tokens_s.value
        rate = Span(found.requests_s, found.requests_s * wide[0], found.requests_s * wide[1])
        longer = replace(work, input_tokens=work.input_tokens * _STEP, long_input=work.long_input * _STEP)
        by_input = falls(longer, _STEP)
        by_output = falls(replace(work, output_tokens=work.output_tokens * _STEP), _STEP)
        return Can(rate, found.note, found.ttft_s.value, found.tpot_s.value, by_input, by_output)


def _sized(
    plan: Api, rates: Tariff, demand: Demand, weights: Sequence[float], size: tuple[float, float]
) -> tuple[float, float]:
    """Dollars for the prompt and the answer of a call of one length: at the usual price, as a part of a batch, in quiet hours (as if the week were UTC's)."""
    repeats = size[0] * demand.prefix
    later = demand.batchable if plan.batch and rates.saves(BATCH) else 0.0
    quiet = [hour for hour in range(HOURS) if rates.off_peak is not None and rates.off_peak.holds(_hour_ms(hour))]
    is_quiet = sum(weights[hour] for hour in quiet) / HOURS
    ways = [((1 - later) * (1 - is_quiet), Terms()), (later, Terms(BATCH))]
    if quiet:
        ways.append(((1 - later) * is_quiet, Terms(at_ms=_hour_ms(quiet[0]))))
    sums = [0.0, 0.0]
    for share, terms in ways:
        if not share:
            continue
        fresh, read, said = _a_token(plan, rates, size, terms, is_repeated=repeats > 0)
        sums[0] += share * (fresh * (size[0] - repeats) + read * repeats)
        sums[1] += share * said * size[1]
    return sums[0], sums[1]


def _a_token(
    plan: Api, rates: Tariff, size: tuple[float, float], terms: Terms, *, is_repeated: bool
) -> tuple[float, float, float]:
    """Dollars for one token of a prompt, of a prompt that repeats, and of an answer, in a call of one length. Where a tier has no price for what repeats, it is new."""
    prompt, output = max(2, round(size[0])), max(1, round(size[1]))
    parts = None
    if is_repeated:
        parts = rates.parts(Tokens(input=prompt - prompt // 2, cache_read=prompt // 2, output=output), terms)
    parts = parts or rates.parts(Tokens(input=prompt, output=output), terms)
    if parts is None:
        raise CallerError(f"{plan.target!r} has no price for a call of {size[0]:.0f} and {size[1]:.0f} tokens.", code="forecast.unpriced", hint="Set batch = false on the plan.")  # fmt: skip
    each = {kind: float(usd) / count for kind, (count, usd) in parts.items()}
    return each["input"], each.get("cache_read", each["input"]), each["output"]


def _hour_ms(hour: int) -> int:
    """A moment in that hour of a week: the first whole one of 1970 began on its fifth day."""
    return (4 * 24 + hour) * 3_600_000


def _over(name: str, most: float | None, a_minute: Sequence[float]) -> tuple[str, ...]:
    """What a limit of tokens a minute keeps back."""
    if most is None or max(a_minute) <= most:
        return ()
    kept = sum(max(0.0, one - most) for one in a_minute) / sum(a_minute)
    return (f"{name} may have {most:,.0f} tokens a minute and the busiest hour needs {max(a_minute):,.0f}: {kept:.0%} of the calls would be turned away",)  # fmt: skip


def _pattern(volumes: Volumes) -> tuple[Pattern, float]:
    """Volumes beside the largest, and that: what is worked out once serves for every volume."""
    scale = max(volumes.values())
    return tuple((workload, volume / scale) for workload, volume in volumes.items()), scale


def _speed_kind(plan: Gpus | Own) -> str:
    return f"{plan.model} on {plan.count} × {plan.gpu} ({plan.engine}, {plan.precision})"


def _price_kind(plan: Gpus) -> str:
    market = "" if plan.market == "on_demand" else f" ({plan.market.replace('_', ' ')})"
    return f"{plan.gpu}{f' at {plan.cloud}' if plan.cloud else ''}{market}"


def _source(plan: Gpus | Own) -> tuple[str, ...]:
    price = plan.usd_per_gpu_hour if isinstance(plan, Gpus) else None
    return (f"{plan.gpu} by the hour: {price.source}, {price.date}",) if isinstance(price, Priced) and price.source else ()  # fmt: skip


def _added(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


Point = tuple[float, float, float]  # volume, and what two plans cost there


def _may_meet(start: Point, end: Point) -> bool:
    """Whether two plans may cost the same between two volumes, if neither ever costs less for more."""
    return end[1] >= start[2] and end[2] >= start[1]


def _halved(gap: Callable[[float], float], start: float, end: float) -> float:
    """Where the sign of a gap changes."""
    is_below = gap(start) < 0
    for _ in range(40):
        middle = math.sqrt(start * end)
        start, end = (middle, end) if (gap(middle) < 0) is is_below else (start, middle)
    return end
