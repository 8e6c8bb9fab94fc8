"""All that a forecast says, put together: what is shown, written as data and drawn is this and nothing else."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from freehold.forecast.deciding import Decision, Matter, decide, groups, tornado
from freehold.forecast.facts import Facts
from freehold.forecast.hosts import cheapest_host
from freehold.forecast.offers import Offers, filled
from freehold.forecast.plans import Comparer, Cost, Crossing, Rates, Share
from freehold.forecast.scenario import Api, Gpus, Own, Plan, Priced, Scenario, WhatIf
from freehold.kernel.classes import Class, Zone
from freehold.kernel.errors import CallerError
from freehold.pricing.book import Book

Tell = Callable[[str], None]
_HALF_YEAR, _TEN = 6, 10.0


@dataclass(frozen=True, slots=True)
class Known:
    """What a scenario is seen with. today: prices are old or not by it."""

    facts: Facts
    book: Book
    rates: Rates
    zones: Mapping[Class, frozenset[Zone]]
    offers: Offers
    today: datetime.date


class Meeting(msgspec.Struct, frozen=True):
    """Where two plans cost the same. below, above: which costs less below the first crossing, and which above it; payback_months: by volume, until bought machines have saved their price."""

    below: str
    above: str
    workloads: tuple[str, ...]
    crossings: tuple[Crossing, ...]
    payback_months: dict[float, float | None]


class Instead(msgspec.Struct, frozen=True):
    """What if. usd: a month at today's volume, by plan; best: the cheapest of those that serve what the cheapest today serves, "" if none can any more."""

    what: str
    usd: dict[str, float]
    best: str
    was: str


class Outlook(msgspec.Struct, frozen=True):
    """A forecast. calls: of a month, today; today: by plan; costs: by plan, at each volume; impossible: plans that cannot be, and why; growth: dollars a month by plan, at each month; departments: by
    plan and department; matters: what moves the cost of the first decision's best plan; flags: what should not be overlooked; sources: what each plan
    rests on.
    """

    title: str
    volumes: tuple[float, ...]
    calls: float
    today: dict[str, Cost]
    costs: dict[str, list[Cost]]
    impossible: dict[str, str]
    decisions: tuple[Decision, ...]
    meetings: tuple[Meeting, ...]
    departments: dict[str, dict[str, Share]]
    months: tuple[int, ...]
    growth: dict[str, list[float]]
    matters: tuple[Matter, ...]
    matters_at: float
    what_ifs: tuple[Instead, ...]
    flags: tuple[str, ...]
    sources: dict[str, str]


def look(scenario: Scenario, known: Known, tell: Tell) -> tuple[Outlook, Comparer]:
    """Price every plan of a scenario, each way that is asked for. tell: what is being done. Raises CallerError where no plan can be."""
    scenario = filled(with_rivals(scenario, known), known.facts, known.offers)
    comparer = comparer_of(scenario, known)
    costs, impossible = _costs(comparer, tell)
    if not costs:
        raise CallerError("No plan can be: " + " ".join(impossible.values()), code="forecast.nothing")
    names = list(costs)
    tell("which plan is the cheapest, and how sure that is")
    decisions = tuple(
        decide(comparer, able, volume, workloads)
        for workloads, able in groups(comparer, names)
        for volume in scenario.volumes
    )
    tell("where plans cost the same")
    meetings = tuple(_meetings(comparer, names))
    best, times = (decisions[0].best if decisions else names[0]), min(scenario.volumes, key=lambda one: abs(one - _TEN))
    months = tuple(range(0, scenario.months + 1, _HALF_YEAR))
    tell("what if")
    outlook = Outlook(
        title=scenario.title or "Forecast",
        volumes=scenario.volumes,
        calls=comparer.calls(dict.fromkeys(scenario.demand, 1.0)),
        today={name: comparer.cost(name) for name in names},
        costs=costs,
        impossible=impossible,
        decisions=decisions,
        meetings=meetings,
        departments={name: comparer.departments(name) for name in names},
        months=months,
        growth={name: [_at_month(comparer, name, month) for month in months] for name in names},
        matters=tuple(tornado(comparer, best, comparer.served(best, times)[0])),
        matters_at=times,
        what_ifs=tuple(_what_ifs(comparer, known, names, months)),
        flags=tuple(dict.fromkeys(_flags(comparer, known, costs))),
        sources={name: each[0].note for name, each in costs.items()},
    )
    return outlook, comparer


def with_rivals(scenario: Scenario, known: Known) -> Scenario:
    """The same with the cheapest host of every open model that a plan serves itself, unless a plan buys there already."""
    facts, bought = known.facts.with_rows(scenario.models, scenario.gpus), {plan.target for plan in scenario.plans.values() if isinstance(plan, Api)}  # fmt: skip
    plans: dict[str, Plan] = dict(scenario.plans)
    for plan in scenario.plans.values():
        if isinstance(plan, Gpus | Own):
            model = facts.model(plan.model)
            found = cheapest_host(known.book, model, known.today.isoformat())
            if found is not None and found[0] not in bought:
                bought.add(found[0])
                plans[f"cheapest host of {model.name}"] = Api(target=found[0])
    return msgspec.structs.replace(scenario, plans=plans)


def comparer_of(scenario: Scenario, known: Known) -> Comparer:
    """Whoever prices a scenario, with what is known."""
    return Comparer(scenario, known.facts, known.rates, known.zones)


def _costs(comparer: Comparer, tell: Tell) -> tuple[dict[str, list[Cost]], dict[str, str]]:
    costs, impossible = {}, {}
    for name in comparer.plans:
        tell(f"what {name} costs")
        try:
            costs[name] = [comparer.cost(name, volume) for volume in comparer.scenario.volumes]
        except CallerError as error:
            impossible[name] = error.text
    return costs, impossible


def _meetings(comparer: Comparer, names: Sequence[str]) -> list[Meeting]:
    """Pairs of which one has machines and the other has other ones, or none."""
    found = []
    for one, other in itertools.combinations(names, 2):
        first, second = comparer.plans[one], comparer.plans[other]
        has = [isinstance(plan, Gpus | Own) for plan in (first, second)]
        both = comparer.common(one, other)
        crossings = tuple(comparer.crossings(one, other)) if any(has) and both else ()
        if not any(has) or not both or (comparer.is_part(one, other) and not crossings):
            continue
        least = dict.fromkeys(both, 0.01)
        below, above = sorted((one, other), key=lambda name: comparer.month(name, least).usd)
        own, beside = (one, other) if isinstance(first, Own) else (other, one)
        back = {}
        if isinstance(comparer.plans[own], Own):
            back = {volume: comparer.payback(own, beside, volume) for volume in comparer.scenario.volumes}
        found.append(Meeting(below, above, both, crossings, back))
    return found


def _at_month(comparer: Comparer, name: str, month: int) -> float:
    volumes, _ = comparer.served(name, 1.0)
    return comparer.month(name, comparer.grown(volumes, month)).usd


def _what_ifs(comparer: Comparer, known: Known, names: Sequence[str], months: Sequence[int]) -> list[Instead]:
    """What may come, and which plan is then the cheapest."""
    scenario = comparer.scenario
    vendors = dict.fromkeys(
        plan.target.partition("/")[0] for plan in scenario.plans.values() if isinstance(plan, Api) and plan.zone == "outside"
    )  # fmt: skip
    asked = {f"{vendor} doubles its prices": WhatIf(vendor=vendor, token_prices=2.0) for vendor in vendors}
    asked |= {f"{vendor} halves its rate limits": WhatIf(vendor=vendor, limits=0.5) for vendor in vendors if _limited(scenario, vendor)}  # fmt: skip
    asked |= {
        "GPUs by the hour cost 30 % less each year, in a year": WhatIf(gpu_prices=0.7),
        "GPUs by the hour cost 30 % less each year, in two years": WhatIf(gpu_prices=0.49),
        "answers are twice as long": WhatIf(output=2.0),
    }
    (workloads, able), *_ = groups(comparer, names, least=1)
    volumes = dict.fromkeys(workloads, 1.0)
    now = min(able, key=lambda name: comparer.month(name, volumes).usd)
    found = []
    for what, one in {**asked, **scenario.what_if}.items():
        then = comparer_of(scenario.under(one), known)
        usd, left, flags = {}, {}, list[str]()
        for name in names:
            try:
                month = then.month(name, then.served(name, 1.0)[0])
                if name in able:
                    left[name] = then.month(name, volumes).usd
            except CallerError:  # longer answers may fit no machine any more
                continue
            usd[name] = month.usd
            flags += month.flags
        found.append(Instead("; ".join((what, *flags)), usd, min(left, key=left.__getitem__, default=""), now))
    return found


def _limited(scenario: Scenario, vendor: str) -> bool:
    return any(isinstance(plan, Api) and plan.tokens_per_minute is not None and plan.target.startswith(f"{vendor}/") for plan in scenario.plans.values())  # fmt: skip


def _flags(comparer: Comparer, known: Known, costs: Mapping[str, list[Cost]]) -> list[str]:
    """Old prices, models that retire, limits that bind."""
    scenario, found = comparer.scenario, list[str]()
    end = known.today + datetime.timedelta(days=round(scenario.months * 30.44))
    for name in costs:
        plan = comparer.plans[name]
        price = plan.usd_per_gpu_hour if isinstance(plan, Gpus) else None
        if isinstance(price, Priced) and price.date:
            found += _old(f"the price of {plan.gpu} by the hour in {name}", price.date, known.today, scenario.stale_days) if isinstance(plan, Gpus) else []  # fmt: skip
        found += _too_long(comparer, known, name)
        row = known.book.find(*plan.target.split("/", 1)) if isinstance(plan, Api) else None
        if row is not None and isinstance(plan, Api):
            found += _old(f"the price of {plan.target}", row.date, known.today, scenario.stale_days)
            if row.retires and row.retires <= end.isoformat():
                found.append(f"{plan.target} retires on {row.retires} ({row.source})")
        for cost, volume in zip(costs[name], scenario.volumes, strict=True):
            found += [f"at {volume:g} times today, {flag}" for flag in cost.flags]
    return found


def _too_long(comparer: Comparer, known: Known, name: str) -> list[str]:
    """Prompts that a plan's model cannot read."""
    plan = comparer.plans[name]
    if isinstance(plan, Gpus | Own):
        model, most = (
            plan.model,
            known.facts.with_rows(comparer.scenario.models, comparer.scenario.gpus).model(plan.model).context,
        )
    elif isinstance(plan, Api):
        row = known.book.find(*plan.target.split("/", 1))
        model, most = plan.target, (row.context if row is not None else None) or 0
    else:
        return []
    long = {w: demand.long_input() + demand.output for w, demand in comparer.scenario.demand.items()}
    return [
        f"one in twenty calls of {workload} is {tokens:,.0f} tokens or longer, and {model} takes {most:,}"
        for workload, tokens in long.items()
        if most and tokens > most and not comparer.why_barred(name, workload)
    ]


def _old(what: str, date: str, today: datetime.date, most_days: int) -> list[str]:
    try:
        days = (today - datetime.date.fromisoformat(f"{date}-01" if len(date) == 7 else date)).days
    except ValueError:
        return [f"{what} is of {date!r}, which is no date"]
    return [f"{what} is from {date}, {days} days ago"] if days > most_days else []
