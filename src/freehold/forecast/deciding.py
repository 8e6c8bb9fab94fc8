"""Which plan costs least, how sure that is, and what would have to be measured to be surer.

Rules: plans are compared in the same draws, so what they share does not blur the difference; the one that costs least in most draws is the best; below
nine of ten it is undecided, and the one measurement is named whose outcome moves the difference to its rival most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec

from freehold.forecast.capacity import Span
from freehold.forecast.draws import ends
from freehold.forecast.plans import Comparer
from freehold.kernel.errors import CallerError

SURE = 0.9


class Matter(msgspec.Struct, frozen=True):
    """How much something that is not known matters. kind: of machine or GPU, "" for all; low, high: dollars a month with it at its tenth and ninetieth percentile."""

    what: str
    kind: str
    low: float
    high: float

    @property
    def swing(self) -> float:
        return abs(self.high - self.low)


class Decision(msgspec.Struct, frozen=True):
    """Which of some plans costs least for some workloads. rival: which does in most of the other draws; saves: dollars a month beside it, half of the draws below
    the value and eight of ten within; chance: in how many of the draws it costs least of all; measure: what would decide it, "" where it is decided.
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
    parts = {*comparer.parts_of(name), *(comparer.parts_of(beside) if beside else ())}
    speeds, prices = ({kinds[part] for part in parts if part in kinds} for kinds in (comparer.speeds, comparer.prices))
    found = []
    for what, kind, low, high in ends(comparer.scenario.uncertain, sorted(speeds), sorted(prices)):
        two = [comparer.month(name, volumes, draw).usd for draw in (low, high)]
        if beside:
            two = [one - comparer.month(beside, volumes, draw).usd for one, draw in zip(two, (low, high), strict=True)]
        found.append(Matter(what, kind, *two))
    return sorted((one for one in found if one.swing > 0), key=lambda one: -one.swing)


def decide(comparer: Comparer, names: Sequence[str], volume: float, workloads: Collection[str]) -> Decision:
    """Which costs least of at least two plans that may all serve these workloads."""
    volumes = dict.fromkeys(workloads, volume)
    stated = {name: comparer.month(name, volumes).usd for name in names}
    order = sorted(
        names, key=stated.__getitem__
    )  # among equals, and among those that never win, what is stated decides
    drawn = {name: comparer.amounts(name, volumes) for name in order}
    wins = Counter(min(order, key=lambda name: drawn[name][at]) for at in range(len(comparer.draws)))
    best, rival, *_ = sorted(order, key=lambda name: -wins[name])
    less = sorted(other - one for one, other in zip(drawn[best], drawn[rival], strict=True))
    chance, tenth = wins[best] / len(less), len(less) // 10
    saves = Span(less[len(less) // 2], less[tenth], less[-1 - tenth])
    measure = ""
    if chance < SURE:
        matters = tornado(comparer, best, volumes, beside=rival)
        measure = to_measure(matters[0]) if matters else "nothing helps: they cost the same"
    return Decision(volume, tuple(workloads), best, rival, saves, chance, measure)


def to_measure(matter: Matter) -> str:
    """What to do to know something better."""
    return {
        "speed": f"measure what one replica of {matter.kind} serves, with your own lengths (freehold forecast capacity --points)",
        "price": f"ask for quotes for {matter.kind} by the hour",
        "calls": "count the calls of some more weeks (freehold forecast init --from-ledger)",
        "input": "measure how long prompts are (freehold forecast init --from-ledger)",
        "output": "measure how long answers are (freehold forecast init --from-ledger)",
        "escalation": "measure how often an answer of the open model has to be asked for again",
        "power": "ask what a kilowatt-hour costs, and measure what a machine draws",
        "people": "find out how many hours a month the machines take somebody",
    }[matter.what]


def groups(
    comparer: Comparer, names: Sequence[str], *, least: int = 2
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The workloads that some plan may serve, the most first, with the plans that may serve all of them; of at least so many plans."""
    parts: dict[tuple[str, ...], None] = {}
    for name in names:
        try:
            parts[tuple(comparer.served(name, 1.0)[0])] = None
        except CallerError:
            continue
    found = []
    for workloads in sorted(parts, key=len, reverse=True):
        able = tuple(name for name in names if all(not comparer.why_barred(name, one) for one in workloads))
        if len(able) >= least:
            found.append((workloads, able))
    return found
