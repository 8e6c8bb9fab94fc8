"""Strata: what is known of each when all are looked at together, and the split that follows from it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from freehold.evals.bounds import LEVEL, Floats, Student, quantile
from freehold.evals.effects import Ints, Layers, mean_of
from freehold.evals.evidence import Cases
from freehold.evals.findings import finding_of, proven, sure
from freehold.evals.outcomes import Outcomes
from freehold.evals.selection import covariance, holm, lower_of_kept
from freehold.evals.soundness import Soundness
from freehold.evals.verdicts import Route, Rule, Stratum, Way

_FIFTH = 0.2
MOST_STRATA = 1_000


def strata_of(outcomes: Outcomes, cases: Cases, shares: Floats, rule: Rule, sound: Soundness) -> list[Stratum]:
    """Each stratum, with words that hold together; none where there is one alone, or more than can be looked at one by one."""
    names = outcomes.stratum_names
    if not 1 < len(names) <= MOST_STRATA:
        return []
    found, rows = [], cases.by_stratum()
    is_same = _are_strata_clusters(outcomes)
    for name, code in sorted((name, code) for code, name in enumerate(names)):
        if code in rows:
            own = cases.of(rows[code])
            own = own._replace(groups=None) if is_same else own
            finding = finding_of(own.evidence(None, is_watched=rule.is_watched), own, None, rule, float(shares[code]))
            found.append(Stratum(name, finding))
    if outcomes.is_judged:  # what no people have checked decides nothing
        found = [one if cases.of(rows[names.index(one.stratum)]).is_corrected else _open_ended(one) for one in found]
    ps = [holm([sure(getattr(one.finding, name)) for one in found]) for name in ("p_better", "p_not_worse", "p_worse")]
    words = [proven(better, good, worse, rule.level) for better, good, worse in zip(*ps, strict=True)]
    return [
        Stratum(
            one.stratum,
            msgspec.structs.replace(one.finding, verdict="INVALID" if one.stratum in sound.broken else word),
        )
        for one, word in zip(found, words, strict=True)
    ]


def _are_strata_clusters(outcomes: Outcomes) -> bool:
    """Whether both are one and the same, name by name: then a stratum is not a draw of several, and its cases stand alone in it."""
    if outcomes.clusters is None or outcomes.cluster_names != outcomes.stratum_names:
        return False
    return bool(np.array_equal(outcomes.clusters, outcomes.strata))  # in every row, not only as lists of names


def _open_ended(one: Stratum) -> Stratum:
    finding = msgspec.structs.replace(
        one.finding, verdict="INCONCLUSIVE", p_better=None, p_not_worse=None, p_worse=None
    )
    return Stratum(one.stratum, finding)


def route_of(outcomes: Outcomes, cases: Cases, strata: Sequence[Stratum], shares: Floats, rule: Rule) -> Route | None:
    """Serve what is proven worse by the closed model, if the rest is proven good enough and is worth it."""
    names = {one.stratum for one in strata if one.finding.verdict == "CLOSED"}
    codes = {name: code for code, name in enumerate(outcomes.stratum_names)}
    kept = [one for one in strata if one.stratum not in names]
    share = sum(one.finding.share for one in kept)
    if rule.is_watched or not names or share < _FIFTH:
        return None
    part = np.isin(cases.strata, [codes[one.stratum] for one in kept])
    own, of_kept = cases.of(part), shares[[codes[one.stratum] for one in kept]] / share
    order = np.full(len(codes), -1)
    order[[codes[one.stratum] for one in kept]] = np.arange(len(kept))
    own = own._replace(strata=order[own.strata])
    layers = Layers(own.strata, of_kept, cases.span) if rule.shares is not None else None
    evidence = own.evidence(layers, is_watched=False)
    is_same = _are_strata_clusters(outcomes)
    lower = min(evidence.bounds().lower(rule.level), _lower_of_kept(own, kept, of_kept, rule, is_same=is_same))
    if lower <= -rule.margin:
        return None
    return Route(
        open=tuple(one.stratum for one in kept),
        closed=tuple(sorted(names)),
        share_open=share,
        difference=evidence.effect.value,
        lower_bound=lower,
    )


def _lower_of_kept(own: Cases, kept: Sequence[Stratum], shares: Floats, rule: Rule, *, is_same: bool) -> float:
    """The bound of the kept strata's mean, given that each of them could have been left out and was not."""
    pulls, freedoms, unseen = np.zeros(own.many), [], []
    for _, rows in sorted(own.by_stratum().items()):
        one = own.of(rows)
        evidence = (one._replace(groups=None) if is_same else one).evidence(None, is_watched=False)
        pulls[rows] = evidence.effect.pull * math.sqrt(one.many / max(one.many - 1, 1))
        freedoms.append(evidence.freedom)
        least = own.span**2 / (one.many + 1.0) / one.many  # as if one more case did vary
        unseen.append(max(0.0, least - float(np.dot(pulls[rows], pulls[rows]))))
    means = np.array([one.finding.difference for one in kept], dtype=np.float64)
    errors = np.array([one.finding.standard_error or 0.0 for one in kept])
    reach = np.array([quantile(rule.level / len(kept), freedom) for freedom in freedoms])  # where Holm stopped
    spread = covariance(pulls, own.strata, own.groups, len(kept)) + np.diag(unseen)
    return lower_of_kept(shares, means, spread, -rule.margin - reach * errors, rule.level)


def ways_of(outcomes: Outcomes, cases: Cases, shares: Floats, route: Route | None) -> dict[str, Way]:
    """Everything to the closed model, to the open one, or split: how good that is, and what a call costs."""
    counts = np.bincount(cases.strata, minlength=len(shares))
    weights = (shares / np.maximum(counts, 1))[cases.strata]
    costs = [outcomes.numbers.get(f"{side}_cost_usd") for side in ("open", "closed")]
    to_open = {"closed": np.zeros(cases.many, dtype=bool), "open": np.ones(cases.many, dtype=bool)}
    if route is not None:
        names = [code for code, name in enumerate(outcomes.stratum_names) if name in route.open]
        to_open["split"] = np.isin(cases.strata, names)
    found = {}
    for name, is_open in to_open.items():
        quality, cost = _around(np.where(is_open, cases.first, cases.second), weights, cases.groups), None
        if costs[0] is not None and costs[1] is not None:
            cost = _around(np.where(is_open, costs[0][cases.rows], costs[1][cases.rows]), weights, cases.groups)
        if quality is not None:
            found[name] = Way(quality, cost)
    return found


def _around(values: Floats, weights: Floats, groups: Ints | None) -> tuple[float, float, float] | None:
    """A mean and its two-sided 95 % interval, of the cases that have a value."""
    has = ~np.isnan(values)
    if has.sum() < 2:
        return None
    effect = mean_of(values[has], weights[has] / weights[has].sum(), groups[has] if groups is not None else None)
    bounds = Student(effect.value, max(effect.error, effect.plain_error), float(has.sum() - 1))
    found = effect.value, bounds.lower(LEVEL / 2), bounds.upper(LEVEL / 2)
    return found if all(map(math.isfinite, found)) else None
