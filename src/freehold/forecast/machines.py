"""Whole replicas for each hour of a week, and what they cost a month.

Rules: replicas are whole, each used as far as its headroom allows; what may wait is served on the day it comes, and fills what is there anyway before
it needs more. Where nothing need be there, a replica is there in the hours in which a call comes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from freehold.forecast.draws import Draw, between
from freehold.forecast.scenario import HOURS, MONTH_H, Gpus, Own, Priced
from freehold.kernel.errors import CallerError

DAY = 24


class Load(NamedTuple):
    """What machines have to do in a week. peaks: by hour, how many replicas would be busy without a pause with what cannot wait; later: by day,
    replica-hours of what can; calls: by hour; busy: replicas that would be busy, on average.
    """

    peaks: Sequence[float]
    later: Sequence[float]
    calls: Sequence[float]
    busy: float


def replicas_of(plan: Gpus | Own, load: Load) -> list[float]:
    """Replicas by hour; less than one where it is there in so many hours of that kind."""
    is_scaled = isinstance(plan, Gpus) and plan.autoscale
    least = max(plan.minimum, plan.committed) if isinstance(plan, Gpus) else 0
    days = [(load.peaks[at : at + DAY], load.later[at // DAY]) for at in range(0, HOURS, DAY)]
    if not is_scaled:
        level = max(_level(peaks, later) for peaks, later in days)
        return [float(max(least, _whole(level / plan.headroom)) + plan.spare)] * HOURS
    there: list[float] = []
    for peaks, later in days:
        day = [max(least, _whole(one / plan.headroom)) for one in peaks]
        if later:
            free = sum(max(0.0, count * plan.headroom - one) for count, one in zip(day, peaks, strict=True))
            day = _filled(day, _whole((later - free) / plan.headroom))
        there += day
    if not least and not plan.spare and not sum(load.later):
        there = [-math.expm1(-calls) if count == 1 else count for count, calls in zip(there, load.calls, strict=True)]
    return [count + plan.spare for count in there]


def _whole(replicas: float) -> int:
    return math.ceil(replicas - 1e-9)


def _filled(there: list[int], more: int) -> list[int]:
    """With so many replica-hours more, where there are fewest."""
    if more <= 0:
        return there
    low, high = min(there), max(there) + more
    while low < high:  # the lowest level up to which that many can be added
        level = (low + high) // 2
        low, high = (level + 1, high) if sum(max(0, level - one) for one in there) < more else (low, level)
    filled = [max(low, one) for one in there]
    over = sum(filled) - sum(there) - more
    for hour, (count, before) in enumerate(zip(filled, there, strict=True)):
        if over and count > before:
            filled[hour], over = count - 1, over - 1
    return filled


def _level(peaks: Sequence[float], later: float) -> float:
    """The lowest constant number that holds every peak of a day, and what can wait in the valleys between."""
    return max(*peaks, (sum(peaks) + later) / len(peaks))


def parts_of(plan: Gpus | Own, replicas: Sequence[float], busy: float, draw: Draw, kind: str) -> dict[str, float]:
    """Dollars of a month, by what they go to. busy: replicas that would be busy without a pause; kind: of GPU by the hour."""
    if isinstance(plan, Gpus):
        return _by_the_hour(plan, replicas, draw, kind)
    count = max(replicas)
    kw = (count * plan.idle_w + min(busy, count) * max(plan.peak_w - plan.idle_w, 0.0)) / 1000 * plan.pue
    return {
        "purchase": count * plan.annuity_usd,
        "electricity": kw * MONTH_H * plan.usd_per_kwh * draw.power,
        "space": count * plan.space_usd_month,
        "support": count * plan.purchase_usd * plan.support / 12,
        "people": plan.people_usd_month * draw.people if count else 0.0,
    }


def _by_the_hour(plan: Gpus, replicas: Sequence[float], draw: Draw, kind: str) -> dict[str, float]:
    price = plan.usd_per_gpu_hour
    if price is None:
        raise CallerError(f"No price is given for {plan.gpu} by the hour.", code="forecast.no_offer", hint="Give usd_per_gpu_hour.")  # fmt: skip
    z = draw.price.get(kind, 0.0)
    usd = between(price.low, price.typical, price.high, z) if isinstance(price, Priced) else price
    weeks, committed = MONTH_H / HOURS, plan.committed
    parts = {"GPUs by the hour": (sum(replicas) - committed * HOURS) * weeks * plan.count * usd}
    if committed:
        parts["committed GPUs"] = committed * MONTH_H * plan.count * usd * (1 - plan.committed_discount)
    starts = _starts(replicas)
    if starts and plan.cold_start_s:
        parts["cold starts"] = starts * plan.cold_start_s / 3600 * weeks * plan.count * usd
    return parts


def _starts(replicas: Sequence[float]) -> float:
    """How many replicas begin in a week: whole ones as their number rises, and the first by chance where it is there by chance."""
    found, before = 0.0, replicas[-1]
    if min(replicas) >= 1:
        return sum(now - last for last, now in zip((before, *replicas), replicas, strict=False) if now > last)
    for now in replicas:
        found += max(0.0, max(now, 1.0) - max(before, 1.0)) + min(now, 1.0) * (1 - min(before, 1.0))
        before = now
    return found
