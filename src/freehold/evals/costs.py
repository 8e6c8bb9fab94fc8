"""Cost and time beside quality: of a call, and of a call that succeeded. Expectations, so floats; what was charged is in the receipts. Pure."""

from __future__ import annotations

import msgspec
import numpy as np

from freehold.evals.bounds import Floats, Student
from freehold.evals.effects import Effect, Ints, worth
from freehold.evals.outcomes import Outcomes

_LEAST = 1e-9  # USD, below which nothing is said to be times it
Figure = tuple[float, float, float]  # value, and its two-sided 95 % interval


class Costs(msgspec.Struct, frozen=True):
    """USD. per_call: by side, and their difference (open - closed); ratio: open / closed; per_success: what a right answer costs, with everything that was
    spent on wrong ones; latency_s: median and 95th percentile by side, and the mean difference. None where it was not given.
    """

    per_call: dict[str, Figure]
    ratio: Figure | None
    per_success: dict[str, Figure] | None
    latency_s: dict[str, tuple[float, ...]] | None


def costs_of(outcomes: Outcomes) -> Costs | None:
    """What both sides cost, over the cases for which both costs are known; None where none are."""
    numbers = outcomes.numbers
    latency = _latency(numbers.get("open_latency_s"), numbers.get("closed_latency_s"), outcomes.clusters)
    if "open_cost_usd" not in numbers or "closed_cost_usd" not in numbers:
        return Costs({}, None, None, latency) if latency else None
    has = ~np.isnan(numbers["open_cost_usd"] + numbers["closed_cost_usd"])
    if has.sum() < 2:
        return None
    first, second = numbers["open_cost_usd"][has], numbers["closed_cost_usd"][has]
    groups = np.unique(outcomes.clusters[has], return_inverse=True)[1] if outcomes.clusters is not None else None
    if groups is not None and groups.max() == 0:
        groups = None
    ones = np.ones(len(first))
    per_call = _sides(first, second, ones, ones, groups)
    ratio = _figure(_ratio(first, second, groups)) if second.sum() > _LEAST else None
    names = ("judge_open", "judge_closed") if outcomes.is_judged else ("open", "closed")
    good = [np.nan_to_num(numbers[name][has]) for name in names]
    succeeds = outcomes.is_binary and all(each.sum() > 0 for each in good)
    return Costs(per_call, ratio, _sides(first, second, good[0], good[1], groups) if succeeds else None, latency)


def _sides(first: Floats, second: Floats, by: Floats, of: Floats, groups: Ints | None) -> dict[str, Figure]:
    open_, closed = _ratio(first, by, groups), _ratio(second, of, groups)
    difference = Effect(open_.value - closed.value, open_.pull - closed.pull, groups)
    return {"open": _figure(open_), "closed": _figure(closed), "difference": _figure(difference)}


def _ratio(above: Floats, below: Floats, groups: Ints | None) -> Effect:
    """A ratio of means, and how far each case moves it (to first order)."""
    value = float(above.sum() / below.sum())
    return Effect(value, (above - value * below) / below.sum(), groups)


def _figure(effect: Effect) -> Figure:
    n = len(effect.pull)
    freedom = float(n - 1) if effect.groups is None else max(1.0, worth(effect.groups, np.full(n, 1.0 / n)) - 1.0)
    bounds = Student(effect.value, max(effect.error, effect.plain_error), freedom)
    return effect.value, bounds.lower(0.025), bounds.upper(0.025)


def _latency(first: Floats | None, second: Floats | None, clusters: Ints | None) -> dict[str, tuple[float, ...]] | None:
    if first is None or second is None:
        return None
    has = ~np.isnan(first + second)
    if has.sum() < 2:
        return None
    groups = np.unique(clusters[has], return_inverse=True)[1] if clusters is not None else None
    first, second = first[has], second[has]
    found: dict[str, tuple[float, ...]] = {
        side: (float(np.median(each)), float(np.quantile(each, 0.95)))
        for side, each in (("open", first), ("closed", second))
    }
    differences = first - second
    effect = Effect(
        float(differences.mean()),
        (differences - differences.mean()) / len(differences),
        groups if groups is not None and groups.max() > 0 else None,
    )
    return {**found, "difference": _figure(effect)}
