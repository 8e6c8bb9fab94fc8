"""A difference, and what each case adds to it: from that follow its standard error, plain or over clusters, and its bounds. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.evals.bounds import Bounds, Floats, Score, Student, stretch

Ints = NDArray[np.int64]
_FEW = 10  # differences that are not zero: too few for a standard error to mean anything


class Effect(NamedTuple):
    """An estimate. pull: how far each case moves it (they sum to 0); groups: the cluster of each case, None if each stands alone."""

    value: float
    pull: Floats
    groups: Ints | None

    @property
    def plain_error(self) -> float:
        """The standard error if every case stands alone."""
        n = len(self.pull)
        return float(np.sqrt(np.dot(self.pull, self.pull) * n / (n - 1))) if n > 1 else float("nan")

    @property
    def error(self) -> float:
        """The standard error, over clusters if there are any (CR1: Liang & Zeger 1986, times clusters / (clusters - 1))."""
        if self.groups is None:
            return self.plain_error
        sums = np.bincount(self.groups, self.pull)
        count = self.clusters
        return float(np.sqrt(np.dot(sums, sums) * count / (count - 1))) if count > 1 else float("nan")

    @property
    def clusters(self) -> int:
        return len(np.unique(self.groups)) if self.groups is not None else len(self.pull)


def mean_of(values: Floats, weights: Floats | None = None, groups: Ints | None = None) -> Effect:
    """The mean, of cases that weigh as much as `weights` says (they sum to 1)."""
    if weights is None:
        value = float(np.mean(values))
        return Effect(value, (values - value) / len(values), groups)
    value = float(np.dot(weights, values))
    return Effect(value, weights * (values - value), groups)


def layered(values: Floats, strata: Ints, shares: Floats, groups: Ints | None) -> Effect:
    """The mean where the strata are the population, each with its known share: only what varies inside them makes it unsure.

    strata: of each case, from 0; shares: of each stratum, they sum to 1.
    """
    counts = np.bincount(strata, minlength=len(shares))
    means = np.bincount(strata, values, minlength=len(shares)) / np.maximum(counts, 1)
    factors = np.where(counts > 1, np.sqrt(counts / np.maximum(counts - 1, 1)), 1.0) / np.maximum(counts, 1)
    pull = (shares * factors)[strata] * (values - means[strata])
    return Effect(float(np.dot(shares, means)), pull, groups)


def worth(groups: Ints | None, weights: Floats) -> float:
    """As many equal units as cases of these weights, or clusters of them, are worth if all of a cluster say the same.

    Source: Kish 1965, (Σw)² / Σw²; for clusters, the sums of their weights (Carter, Schnepel & Steigerwald 2017).
    """
    sums = weights if groups is None else np.bincount(groups, weights)
    return float(sums.sum() ** 2 / np.dot(sums, sums))


class Pairs(NamedTuple):
    """Cases scored twice. span: the farthest apart two scores can be; weights: of the cases, None if all are equal."""

    first: Floats
    second: Floats
    groups: Ints | None
    is_binary: bool
    span: float
    effect: Effect
    weights: Floats | None = None

    @property
    def differences(self) -> Floats:
        return self.first - self.second

    @property
    def freedom(self) -> float:
        """Degrees of freedom: of clusters, one less than they are worth; endless for cases that are right or wrong."""
        if self.groups is None:
            return np.inf if self.is_binary else float(len(self.first) - 1)
        return max(1.0, worth(self.groups, self._weights) - 1.0)

    @property
    def unit(self) -> float:
        """The largest difference that there can be."""
        return 1.0 if self.is_binary else self.span

    @property
    def _weights(self) -> Floats:
        n = len(self.first)
        return self.weights if self.weights is not None else np.full(n, 1.0 / n)

    def bounds(self) -> Bounds:
        """By the score of proportions where cases are right or wrong, or hardly ever differ; else by the bootstrap-t."""
        differences = self.differences
        if self.is_binary or np.count_nonzero(differences) < _FEW:
            return self._score(differences / self.unit)
        error, freedom = max(self.effect.error, self.effect.plain_error), self.freedom
        if self.weights is not None:
            return Student(self.effect.value, error, freedom)
        if self.groups is None:
            return Student(self.effect.value, error, freedom, stretch(differences, np.ones(len(differences)), freedom))
        sums = np.bincount(self.groups, differences).astype(np.float64)
        sizes = np.bincount(self.groups).astype(np.float64)
        held = sizes > 0
        return Student(self.effect.value, error, freedom, stretch(sums[held], sizes[held], freedom))

    def _score(self, differences: Floats) -> Bounds:
        """Differences of 1 or less are worth as much as so many of exactly 1, which vary more: the bounds hold for all of them."""
        weights, many = self._weights, len(differences)
        better, worse = (float(np.dot(weights, np.maximum(turned, 0.0))) for turned in (differences, -differences))
        error, plain, spread = self.effect.error, self.effect.plain_error, better + worse - (better - worse) ** 2
        if not plain > 0.0:
            n = worth(self.groups, weights)
        elif self.is_binary:  # as many as would have this error, standing alone
            n = spread / max(error, plain) ** 2 * many / (many - 1)
        else:
            n = worth(None, weights) / max(1.0, (error / plain) ** 2)
        found = Score(better * n, worse * n, n, self.freedom)
        return found if self.unit == 1.0 else Scaled(found, self.unit)


class Scaled:
    """Bounds in another unit."""

    def __init__(self, inner: Bounds, unit: float) -> None:
        self.name, self._inner, self._unit = inner.name, inner, unit

    def lower(self, level: float) -> float:
        return self._inner.lower(level) * self._unit

    def upper(self, level: float) -> float:
        return self._inner.upper(level) * self._unit

    def p_above(self, at: float) -> float:
        return self._inner.p_above(at / self._unit)

    def p_below(self, at: float) -> float:
        return self._inner.p_below(at / self._unit)
