"""Ways the world may be: what is not known exactly, drawn with a seed, the same for every plan so that plans can be told apart.

Rules: what is drawn for a kind of machine is how fast it is (as the fit's own errors spread), for a kind of GPU what it costs by the hour; plans of the
same kind see the same, and all plans see the rest.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Iterator

import msgspec

from freehold.forecast.scenario import Uncertain

Z10 = 1.2815515655446004  # standard deviations within which eight of ten lie
SHARED = ("calls", "input", "output", "escalation", "power", "people")


class Draw(msgspec.Struct, frozen=True):
    """One way the world may be. Factors, 1 as stated; speed: of machines of a kind, price: of GPUs of a kind by the hour, both in standard deviations."""

    calls: float = 1.0
    input: float = 1.0
    output: float = 1.0
    escalation: float = 1.0
    power: float = 1.0
    people: float = 1.0
    speed: dict[str, float] = {}
    price: dict[str, float] = {}


AS_STATED = Draw()


def draws(
    uncertain: Uncertain, speeds: Iterable[str], prices: Iterable[str], *, count: int, seed: int
) -> Iterator[Draw]:
    """So many of them. speeds, prices: the kinds of machines, and of GPUs by the hour, that there are."""
    speeds, prices = list(speeds), list(prices)
    for number in range(count):
        shared = {name: _factor(uncertain, name, _z(seed, number, name)) for name in SHARED}
        speed = {kind: _z(seed, number, f"speed {kind}") for kind in speeds}
        price = {kind: _z(seed, number, f"price {kind}") for kind in prices}
        yield msgspec.structs.replace(AS_STATED, **shared, speed=speed, price=price)


def _z(seed: int, number: int, what: str) -> float:
    """A normal number, for each thing by itself: one plan more changes no draw of another."""
    raw = hashlib.sha256(f"{seed} {number} {what}".encode()).digest()
    return _normal.inv_cdf((int.from_bytes(raw[:6], "big") + 0.5) / 2**48)


_normal = statistics.NormalDist()


def ends(uncertain: Uncertain, speeds: Iterable[str], prices: Iterable[str]) -> Iterator[tuple[str, str, Draw, Draw]]:
    """Each thing that is not known, the kind that it is of (if it is of one), and the world with it alone at its tenth and its ninetieth percentile."""
    for name in SHARED:
        low, high = (msgspec.structs.replace(AS_STATED, **{name: _factor(uncertain, name, z)}) for z in (-Z10, Z10))
        yield name, "", low, high
    for kind in speeds:
        yield "speed", kind, Draw(speed={kind: -Z10}), Draw(speed={kind: Z10})
    for kind in prices:
        yield "price", kind, Draw(price={kind: -Z10}), Draw(price={kind: Z10})


def _factor(uncertain: Uncertain, name: str, z: float) -> float:
    spread: float = getattr(uncertain, name)
    return math.exp(math.log1p(spread) * z / Z10)


def between(low: float, typical: float, high: float, z: float) -> float:
    """What lies so many standard deviations from the typical, where one in ten is below low and one in ten above high: log-normal on either side."""
    edge = high if z > 0 else low
    found: float = typical * (edge / typical) ** (abs(z) / Z10)
    return found
