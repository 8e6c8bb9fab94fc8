"""What is known of some cases, and how many more would decide. Pure."""

from __future__ import annotations

import math

import numpy as np

from freehold.evals.bounds import LEVEL, Floats, mcnemar, quantile
from freehold.evals.effects import Effect, Layers
from freehold.evals.evidence import Cases, Evidence
from freehold.evals.planning import Aim, plan
from freehold.evals.verdicts import Finding, Rule, Word
from freehold.kernel.errors import CallerError

_MOST_CASES = 10**9
_POWER, _NEAR = 0.8, 0.01  # a difference so near to the margin, in margins, is beyond deciding
_WATCHED = 2.3  # times as many cases until four of five watched runs are over (tools/calibrate.py --lengths)


def finding_of(evidence: Evidence, cases: Cases, layers: Layers | None, rule: Rule, share: float = 1.0) -> Finding:
    """All that is known of some cases; the word is of these alone."""
    bounds, effect, n = evidence.bounds(), evidence.effect, len(cases.first)
    worst, best = -cases.span, cases.span
    low, high = (min(best, max(worst, bound)) for bound in (bounds.lower(LEVEL / 2), bounds.upper(LEVEL / 2)))
    lower, upper = (min(best, max(worst, bound)) for bound in (bounds.lower(LEVEL), bounds.upper(LEVEL)))
    differences = cases.first - cases.second
    counts = int((differences > 0).sum()), int((differences < 0).sum())
    better, not_worse, worse = bounds.p_above(0.0), bounds.p_above(-rule.margin), bounds.p_below(-rule.margin)
    word = proven(better, not_worse, worse, rule.level)
    is_plain = cases.is_binary and not cases.is_corrected
    return Finding(
        verdict=word,
        n=n,
        clusters=len(np.unique(cases.groups)) if cases.groups is not None else None,
        share=share,
        open=_mean(cases.first, layers),
        closed=_mean(cases.second, layers),
        difference=_number(effect.value),
        standard_error=_number(effect.error),
        standard_error_unclustered=_number(effect.plain_error),
        interval=(low, high) if math.isfinite(low + high) else None,
        lower_bound=_number(lower),
        upper_bound=_number(upper),
        p_mcnemar=mcnemar(*counts) if is_plain else None,
        margin=rule.margin,
        method=bounds.name,
        needed_n=_needed(cases, effect, layers, rule, is_counted=bounds.name == "score")
        if word == "INCONCLUSIVE" and not cases.is_corrected
        else None,
        needed_labels=_needed_labels(cases, effect, rule) if word == "INCONCLUSIVE" and cases.is_corrected else None,
        p_better=_number(better),
        p_not_worse=_number(not_worse),
        p_worse=_number(worse),
    )


def proven(better: float, not_worse: float, worse: float, level: float) -> Word:
    if better <= level:
        return "OPEN_BETTER"
    return "OPEN" if not_worse <= level else "CLOSED" if worse <= level else "INCONCLUSIVE"


def alone(found: Finding, rule: Rule) -> Word:
    """The word of a stratum if nobody had looked at any other."""
    return proven(sure(found.p_better), sure(found.p_not_worse), sure(found.p_worse), rule.level)


def sure(p: float | None) -> float:
    """A p-value that can be compared: of what cannot be said, 1."""
    return 1.0 if p is None else p


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _mean(values: Floats, layers: Layers | None) -> float | None:
    return _number(float(values.mean() if layers is None else np.dot(layers.weights, values)))


def _needed(cases: Cases, effect: Effect, layers: Layers | None, rule: Rule, *, is_counted: bool) -> int | None:
    """So many cases more, of this kind and with this difference, and the chance to decide is four in five; None for more than anybody has."""
    n, distance = cases.many, effect.value + rule.margin
    if not math.isfinite(effect.error) or abs(distance) < _NEAR * rule.margin:
        return None
    if is_counted and cases.groups is None and layers is None and distance > 0:
        unit = 1.0 if cases.is_binary else cases.span  # of which whole ones are counted
        differ = (float(np.abs(cases.first - cases.second).sum()) / unit + 1.0) / (n + 1.0)
        try:
            total = plan(Aim(rule.margin / unit, _POWER, effect.value / unit, differ, level=rule.level)).needed_n
        except CallerError:
            return None
    else:
        spread = max(effect.error, cases.span / n) * math.sqrt(n)  # where nothing differed, as if the next case would
        total = math.ceil((_reach(rule) * spread / distance) ** 2)
    total = math.ceil(total * _WATCHED) if rule.is_watched else total
    return max(total - n, math.ceil(n / 10)) if total < _MOST_CASES else None


def _needed_labels(cases: Cases, effect: Effect, rule: Rule) -> int | None:
    """The same in labels: what varies among the labelled shrinks with them, what varies among the others stays."""
    has = cases.labelled.has_label
    n, distance = int(has.sum()), abs(effect.value + rule.margin)
    mine, others = (
        float(np.dot(effect.pull[has], effect.pull[has])),
        float(np.dot(effect.pull[~has], effect.pull[~has])),
    )
    room = (distance / _reach(rule)) ** 2 - others
    if room <= 0.0 or distance < _NEAR * rule.margin:
        return None
    return max(math.ceil(n * mine / room) - n, math.ceil(n / 10))


def _reach(rule: Rule) -> float:
    return quantile(rule.level, math.inf) + quantile(1.0 - _POWER, math.inf)
