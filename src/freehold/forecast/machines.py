"""Whole replicas for each hour of a week, and what they cost a month.

Rules: replicas are whole, each used as far as its headroom allows; what may wait for a day fills what is there anyway before it needs more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from freehold.forecast.draws import Draw, priced
from freehold.forecast.scenario import HOURS, MONTH_H, Gpus, Own, Priced
from freehold.kernel.errors import CallerError


def replicas_of(plan: Gpus | Own, peaks: Sequence[float], later: float) -> list[int]:
    """Replicas by hour. peaks: how many would be busy without a pause with what cannot wait; later: replica-hours of what can, a week."""
    if isinstance(plan, Gpus) and plan.autoscale:
        there = [max(plan.minimum, math.ceil(one / plan.headroom - 1e-9)) for one in peaks]
        free = sum(max(0.0, count * plan.headroom - one) for count, one in zip(there, peaks, strict=True))
        _fill(there, math.ceil((later - free) / plan.headroom - 1e-9))
    else:
        least = plan.minimum if isinstance(plan, Gpus) else 0
        there = [max(least, math.ceil(_level(peaks, later) / plan.headroom - 1e-9))] * HOURS
    return [count + plan.spare for count in there]


def _fill(there: list[int], more: int) -> None:
    """Add replica-hours where there are fewest."""
    if more <= 0:
        return
    every, rest = divmod(more, HOURS)
    order = sorted(range(HOURS), key=there.__getitem__)
    for place, hour in enumerate(order):
        there[hour] += every + (place < rest)


def _level(peaks: Sequence[float], later: float) -> float:
    """The lowest constant number that holds every peak, and what can wait in the valleys between."""
    return max(*peaks, (sum(peaks) + later) / HOURS)


def parts_of(plan: Gpus | Own, replicas: Sequence[int], busy: float, draw: Draw, name: str) -> dict[str, float]:
    """Dollars of a month, by what they go to. busy: replicas that would be busy without a pause."""
    if isinstance(plan, Gpus):
        return _by_the_hour(plan, replicas, draw, name)
    count = max(replicas)
    kw = (count * plan.idle_w + min(busy, count) * max(plan.peak_w - plan.idle_w, 0.0)) / 1000 * plan.pue
    return {
        "purchase": count * plan.annuity_usd,
        "electricity": kw * MONTH_H * plan.usd_per_kwh * draw.power,
        "space": count * plan.space_usd_month,
        "support": count * plan.purchase_usd * plan.support / 12,
        "people": plan.people_usd_month * draw.people if count else 0.0,
    }


def _by_the_hour(plan: Gpus, replicas: Sequence[int], draw: Draw, name: str) -> dict[str, float]:
    price = plan.usd_per_gpu_hour
    if price is None:
        raise CallerError(f"No price is given for {plan.gpu} by the hour.", code="forecast.no_offer", hint="Give usd_per_gpu_hour.")  # fmt: skip
    usd = priced(price, draw.price.get(name)) if isinstance(price, Priced) else price
    weeks, committed = MONTH_H / HOURS, plan.committed
    hours = sum(max(0, count - committed) for count in replicas) * weeks
    parts = {"GPUs by the hour": hours * plan.count * usd}
    if committed:
        parts["committed GPUs"] = committed * MONTH_H * plan.count * usd * (1 - plan.committed_discount)
    starts = sum(max(0, now - before) for before, now in zip((replicas[-1], *replicas), replicas, strict=False))
    if starts and plan.cold_start_s:
        parts["cold starts"] = starts * plan.cold_start_s / 3600 * weeks * plan.count * usd
    return parts
