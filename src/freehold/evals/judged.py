"""What a judge says, corrected by what people say of a part of the same cases. Pure.

Rules: people's labels are the truth, and were given to cases drawn at random; a judge without labels is a judge whose bias nobody knows.
Sources: Angelopoulos, Duchi & Zrnic 2023, PPI++ (arXiv 2311.01453), equation 5 and the mean's power tuning; Rogan & Gladen 1978.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from freehold.evals.bounds import LEVEL, Bounds, Floats, Score, Student, Unknown, beyond, quantile
from freehold.evals.effects import Effect, Ints, Layers, worth
from freehold.kernel.errors import CallerError

FEWEST = 10  # labels, without which nothing can be corrected
_HELPS = 1.1  # times as many labels as there are, for a judge to be of use
_FEW, _STEPS_SEEN = (
    10,
    15,
)  # labels with which the judge does not go; values that differences of a few kinds of labels take


class Labelled(NamedTuple):
    """Cases with a judge's difference, and a person's where there is one (else NaN). span: the farthest apart two scores can be."""

    judge: Floats
    human: Floats
    groups: Ints | None
    span: float

    @property
    def has_label(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return ~np.isnan(self.human)

    @property
    def labels(self) -> int:
        return int(self.has_label.sum())


class Judge(msgspec.Struct, frozen=True):
    """How good a judge is. labels: by people; bias: by how much it favours the open model, with its one-sided bounds; correlation: with people's
    differences; weight: how far it is relied on, 0 to 1; worth_labels: as many labels alone would be as sure; is_of_use: whether that is more than there
    are; labels_alone: the standard error without the judge.
    """

    labels: int
    bias: float | None
    bias_interval: tuple[float, float] | None
    correlation: float | None
    weight: float
    worth_labels: float
    is_of_use: bool
    labels_alone: float | None


def corrected_by_stratum(data: Labelled, layers: Layers) -> tuple[Effect, float]:
    """The same over strata of known shares, each corrected by its own labels. Raises CallerError where one has too few."""
    value, weight, pull = 0.0, 0.0, np.zeros(len(data.judge))
    for code, share in enumerate(layers.shares):
        part = layers.strata == code
        own = Labelled(data.judge[part], data.human[part], None, data.span)
        if own.labels < FEWEST:
            raise CallerError(f"With shares, every stratum needs {FEWEST} labels.", code="verdict.shares", hint="Label more cases, or leave the shares out.")  # fmt: skip
        effect, own_weight = corrected(own)
        value, weight = value + share * effect.value, weight + share * own_weight
        pull[part] = share * effect.pull
    return Effect(value, pull, data.groups), weight


def corrected(data: Labelled) -> tuple[Effect, float]:
    """The difference that people would find, and how far the judge is relied on. Needs two labels, and two cases without one."""
    has = data.has_label
    human, judged, rest = data.human[has], data.judge[has], data.judge[~has]
    n, more = len(human), len(rest)
    weight = weight_of(data)
    value = human.mean() + weight * ((rest.mean() if more else judged.mean()) - judged.mean())
    pull = np.zeros(len(has))
    # The weight is drawn from the same labels: one more degree of freedom is spent.
    pull[has] = (human - human.mean() - weight * (judged - judged.mean())) / n * np.sqrt(n / max(n - 2, 1))
    if more > 1:
        pull[~has] = weight * (rest - rest.mean()) / more * np.sqrt(more / (more - 1))
    return Effect(float(value), pull, data.groups), weight


def weight_of(data: Labelled) -> float:
    """How far to rely on the judge so that the estimate varies least: 0 to 1."""
    has = data.has_label
    n, more, spread = int(has.sum()), int((~has).sum()), float(np.var(data.judge))
    if n < FEWEST or not more or spread <= 0.0:
        return 0.0
    shared = float(np.cov(data.human[has], data.judge[has])[0, 1])
    return float(np.clip(shared / (spread * (1.0 + n / more)), 0.0, 1.0))


class Corrected(NamedTuple):
    """A corrected difference as evidence."""

    data: Labelled
    effect: Effect
    weight: float

    def bounds(self) -> Bounds:
        """Student's t over the labels. Where judge and people hardly ever differ, what the next labels may show is taken from the score of proportions."""
        data, has = self.data, self.data.has_label
        if data.groups is not None and self.effect.clusters < 2:
            return Unknown(data.span)
        error = max(self.effect.error, self.effect.plain_error)
        human, judge = data.human[has], data.judge[has]
        unsure = [_next(human - judge, data.span), _next(human - self.weight * judge, data.span)]
        # As far as the judge is not relied on, it is the labels alone that say how often people see a difference.
        unsure.append((1.0 - self.weight) * _next(human, data.span))
        return Student(self.effect.value, float(np.hypot(error, max(unsure))), self.freedom)

    @property
    def freedom(self) -> float:
        """One less than the labels, or the clusters of them, are worth."""
        groups, has = self.data.groups, self.data.has_label
        of_labels = groups[has] if groups is not None else None
        return max(1.0, worth(of_labels, np.ones(self.data.labels)) - 1.0)


def _next(apart: Floats, span: float) -> float:
    """The standard error of what hardly ever varies: as the bound of a proportion has it; 0 where it varies enough to be seen."""
    rest = apart - float(np.median(apart))
    # Of labels that are better, worse or the same, only whole steps are sightings: a judge that is relied on a little moves every one of them a little.
    least = span / 2.0 if len(np.unique(np.round(apart, 9))) <= _STEPS_SEEN else 1e-12
    if np.count_nonzero(np.abs(rest) >= least) >= _FEW:
        return 0.0
    unit, n = max(span, float(np.abs(rest).max())), float(len(rest))
    better, worse = (float(np.maximum(turned, 0.0).sum()) / unit for turned in (rest, -rest))
    bounds, mean = Score(better, worse, n), float(rest.mean())
    reach = max(mean - bounds.lower(LEVEL) * unit, bounds.upper(LEVEL) * unit - mean)
    return reach / quantile(LEVEL, np.inf)


def judge_of(data: Labelled) -> Judge:
    """Say how good the judge is."""
    has, n = data.has_label, data.labels
    if n < 2:
        return Judge(n, None, None, None, 0.0, float(n), False, None)
    human, judged = data.human[has], data.judge[has]
    effect, weight = corrected(data)
    alone = float(human.std(ddof=1) / np.sqrt(n))
    off = judged - human
    reach = quantile(0.05, n - 1.0) * float(off.std(ddof=1) / np.sqrt(n))
    varies = human.std() > 0 and judged.std() > 0
    correlation = float(np.corrcoef(human, judged)[0, 1]) if varies else None
    gain = (alone / effect.plain_error) ** 2 if effect.plain_error > 0 else 1.0
    bias = float(off.mean())
    return Judge(n, bias, (bias - reach, bias + reach), correlation, weight, n * max(gain, 1.0), gain >= _HELPS, alone)


def is_drawn(data: Labelled) -> bool:
    """Whether the labelled look like the others to the judge: else they were picked, and say nothing of the rest (one in a thousand by chance)."""
    has = data.has_label
    one, other = data.judge[has], data.judge[~has]
    if min(len(one), len(other)) < FEWEST:
        return True
    error = float(np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)))
    apart = abs(float(one.mean() - other.mean()))
    return apart <= 1e-12 if error <= 0.0 else bool(2.0 * beyond(apart / error, len(one) - 1.0) > 0.001)


def is_turned(data: Labelled) -> bool:
    """Whether the judge says the opposite of what people say more often than chance would: labels of the two arms were swapped somewhere."""
    judge, n = judge_of(data), data.labels
    if judge.correlation is None or judge.correlation >= 0.0 or n < FEWEST:
        return False
    score = -judge.correlation * np.sqrt((n - 2) / max(1e-12, 1 - judge.correlation**2))
    return bool(beyond(score, n - 2.0) < 0.001)


# --- pass or fail ---------------------------------------------------------------------------------------------------


class Reading(msgspec.Struct, frozen=True):
    """How a judge reads one arm's answers. sensitivity: of what people pass, as much it passes; specificity: of what they fail, it fails."""

    sensitivity: float
    specificity: float
    passes: float
    corrected: float
    error: float


def plugged_in(judge: Floats, human: Floats) -> tuple[Reading, Floats] | None:
    """The share that people would pass, from the share that the judge passes, and what each case pulls; None where the judge tells nothing apart.

    For labels that were not drawn at random but by what people say (more of the failed, for example): sensitivity and specificity bear that.
    """
    has = ~np.isnan(human)
    good, bad = has & (human == 1.0), has & (human == 0.0)
    if good.sum() < 2 or bad.sum() < 2:
        return None
    sensitivity, specificity, passes = float(judge[good].mean()), float(1.0 - judge[bad].mean()), float(judge.mean())
    tells = sensitivity + specificity - 1.0
    if tells <= 0.05:
        return None
    value = (passes + specificity - 1.0) / tells
    pull = (judge - passes) / len(judge) / tells
    pull = pull - np.where(good, (judge - sensitivity) * value / good.sum() / tells, 0.0)
    pull = pull + np.where(bad, (1.0 - judge - specificity) * (1.0 - value) / bad.sum() / tells, 0.0)
    error = float(np.sqrt(np.dot(pull, pull)))
    return Reading(sensitivity, specificity, passes, value, error), pull
