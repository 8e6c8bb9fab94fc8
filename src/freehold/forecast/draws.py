"""Ways the world may be: what is not known exactly, drawn with a seed, the same for every plan so that plans can be told apart.

Rules: what is drawn for a plan alone is how fast its machines are (as the fit's own errors spread) and what its GPUs cost (between the ends given); all the
rest is shared.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Iterator

import msgspec

from freehold.forecast.scenario import Priced, Uncertain

Z10 = 1.2815515655446004  # standard deviations within which eight of ten lie
SHARED = ("calls", "input", "output", "escalation", "power", "people")


class Draw(msgspec.Struct, frozen=True):
    """One way the world may be. Factors, 1 as stated; speed: of a plan's machines, in standard deviations; price: of a plan's GPUs, as a quantile."""

    calls: float = 1.0
    input: float = 1.0
    output: float = 1.0
    escalation: float = 1.0
    power: float = 1.0
    people: float = 1.0
    speed: dict[str, float] = {}
    price: dict[str, float] = {}


AS_STATED = Draw()


def draws(uncertain: Uncertain, machines: Iterable[str], *, count: int, seed: int) -> Iterator[Draw]:
    """So many of them. machines: the plans that have some."""
    names, normal = list(machines), statistics.NormalDist()
    for number in range(count):
        shared = {name: _factor(uncertain, name, normal.inv_cdf(_chance(seed, number, name))) for name in SHARED}
        speed = {name: normal.inv_cdf(_chance(seed, number, f"speed {name}")) for name in names}
        price = {name: _chance(seed, number, f"price {name}") for name in names}
        yield msgspec.structs.replace(AS_STATED, **shared, speed=speed, price=price)


def _chance(seed: int, number: int, what: str) -> float:
    """A number between 0 and 1, for each thing by itself: one plan more changes no draw of another."""
    raw = hashlib.sha256(f"{seed} {number} {what}".encode()).digest()
    return (int.from_bytes(raw[:6], "big") + 0.5) / 2**48


def ends(uncertain: Uncertain, machines: Iterable[str]) -> Iterator[tuple[str, str, Draw, Draw]]:
    """Each thing that is not known, the plan it is of (if it is of one), and the world with it alone at its tenth and its ninetieth percentile."""
    for name in SHARED:
        low, high = (msgspec.structs.replace(AS_STATED, **{name: _factor(uncertain, name, z)}) for z in (-Z10, Z10))
        yield name, "", low, high
    for plan in machines:
        yield "speed", plan, Draw(speed={plan: -Z10}), Draw(speed={plan: Z10})
        yield "price", plan, Draw(price={plan: 0.1}), Draw(price={plan: 0.9})


def _factor(uncertain: Uncertain, name: str, z: float) -> float:
    spread: float = getattr(uncertain, name)
    return math.exp(math.log1p(spread) * z / Z10)


def priced(price: Priced, quantile: float | None) -> float:
    """A price at a quantile of the triangle between its ends; the typical one if none is asked for."""
    low, typical, high = price.low, price.typical, price.high
    if quantile is None or low == high:
        return typical
    peak = (typical - low) / (high - low)
    if quantile < peak:
        return low + math.sqrt(quantile * (high - low) * (typical - low))
    return high - math.sqrt((1 - quantile) * (high - low) * (high - typical))
