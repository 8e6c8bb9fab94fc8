"""Which plan costs least, how sure that is, and what would have to be measured to be surer.

Rules: two plans are compared in the same draws, so what they share does not blur the difference; below nine of ten it is undecided, and the one
measurement is named whose outcome moves the difference most.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from freehold.forecast.capacity import Span
from freehold.forecast.draws import ends
from freehold.forecast.plans import Comparer
from freehold.kernel.errors import CallerError

SURE = 0.9


class Matter(msgspec.Struct, frozen=True):
    """How much something that is not known matters. plan: of which it is, "" for all; low, high: dollars a month with it at its tenth and ninetieth percentile."""

    what: str
    plan: str
    low: float
    high: float

    @property
    def swing(self) -> float:
        return abs(self.high - self.low)


class Decision(msgspec.Struct, frozen=True):
    """Which of some plans costs least for some workloads. saves: dollars a month beside the next best, with eight of ten draws; chance: in how many of the
    draws it does cost less; measure: what would decide it, "" where it is decided.
    """

    volume: float
    workloads: tuple[str, ...]
    best: str
    rival: str
    saves: Span
    chance: float
    measure: str = ""

    @property
    def is_decided(self) -> bool:
        return self.chance >= SURE


def tornado(comparer: Comparer, name: str, volumes: Mapping[str, float], *, beside: str = "") -> list[Matter]:
    """What moves a plan's cost (beside: less another's), the most first."""
    machines = _machines(comparer, name) | (_machines(comparer, beside) if beside else set())
    found = []
    for what, plan, low, high in ends(comparer.scenario.uncertain, sorted(machines)):
        two = [comparer.month(name, volumes, draw).usd for draw in (low, high)]
        if beside:
            two = [one - comparer.month(beside, volumes, draw).usd for one, draw in zip(two, (low, high), strict=True)]
        found.append(Matter(what, plan, *two))
    return sorted((one for one in found if one.swing > 0), key=lambda one: -one.swing)


def decide(comparer: Comparer, names: Sequence[str], volume: float, workloads: Collection[str]) -> Decision:
    """Which costs least of at least two plans that may all serve these workloads."""
    volumes = dict.fromkeys(workloads, volume)
    each = {name: comparer.month(name, volumes).usd for name in names}
    best, *others = sorted(names, key=each.__getitem__)
    rival = next((name for name in others if not comparer.is_part(best, name)), others[0])
    two = zip(comparer.amounts(best, volumes), comparer.amounts(rival, volumes), strict=True)
    less = sorted(other - one for one, other in two)
    chance = sum(one > 0 for one in less) / len(less)
    value, tenth = each[rival] - each[best], len(less) // 10
    saves = Span(value, min(value, less[tenth]), max(value, less[-1 - tenth]))
    measure = ""
    if chance < SURE:
        matters = tornado(comparer, best, volumes, beside=rival)
        measure = to_measure(comparer, matters[0]) if matters else "nothing: they are the same"
    return Decision(volume, tuple(workloads), best, rival, saves, chance, measure)


def to_measure(comparer: Comparer, matter: Matter) -> str:
    """What to do to know something better."""
    plan = comparer.plans.get(matter.plan)
    return {
        "speed": f"measure what one replica of {matter.plan} serves, with your own lengths (freehold forecast capacity --points)",
        "price": f"ask for quotes for {getattr(plan, 'gpu', 'the GPU')} by the hour, for {matter.plan}",
        "calls": "count the calls of some more weeks (freehold forecast init --from-ledger)",
        "input": "measure how long prompts are (freehold forecast init --from-ledger)",
        "output": "measure how long answers are (freehold forecast init --from-ledger)",
        "escalation": "measure how often an answer of the open model has to be asked for again",
        "power": "ask what a kilowatt-hour costs, and measure what a machine draws",
        "people": "find out how many hours a month the machines take somebody",
    }[matter.what]


def _machines(comparer: Comparer, name: str) -> set[str]:
    """The plans with machines that a plan is made of."""
    return set(comparer.parts_of(name)) & set(comparer.machines)


def groups(comparer: Comparer, names: Sequence[str]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Which plans can be compared, and for which workloads: all that may serve everything; and those that may serve the same smaller part, all together."""
    parts: dict[tuple[str, ...], None] = {}
    for name in names:
        try:
            parts[tuple(comparer.served(name, 1.0)[0])] = None
        except CallerError:
            continue
    found = []
    for workloads in sorted(parts, key=len, reverse=True):
        able = tuple(name for name in names if all(not comparer.why_barred(name, one) for one in workloads))
        if len(able) > 1:
            found.append((workloads, able))
    return found
