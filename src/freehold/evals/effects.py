"""A difference, and what each case adds to it: from that follow its standard error, plain or over clusters, and its bounds. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.evals.bounds import Bounds, Floats, Moved, Score, Student, Unknown, Wider, layered_stretch, stretch

Ints = NDArray[np.int64]
_FEW = 10  # differences that are not the usual one, or clusters with any: too few for a standard error to mean anything
_HAIR = 1e-12


class Effect(NamedTuple):
    """An estimate. pull: how far each case moves it (they sum to 0); groups: the cluster of each case, None if each stands alone; unseen: variance that no
    case shows, of strata in which nothing varies.
    """

    value: float
    pull: Floats
    groups: Ints | None
    unseen: float = 0.0

    @property
    def plain_error(self) -> float:
        """The standard error if every case stands alone."""
        n = len(self.pull)
        return float(np.sqrt(np.dot(self.pull, self.pull) * n / (n - 1) + self.unseen)) if n > 1 else float("nan")

    @property
    def error(self) -> float:
        """The standard error, over clusters if there are any (CR1: Liang & Zeger 1986, times clusters / (clusters - 1))."""
        if self.groups is None:
            return self.plain_error
        sums = np.bincount(self.groups, self.pull)
        count = self.clusters
        return float(np.sqrt(np.dot(sums, sums) * count / (count - 1) + self.unseen)) if count > 1 else float("nan")

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


class Layers(NamedTuple):
    """Strata that are the population. shares: of each, they sum to 1; unit: the largest difference that there can be."""

    strata: Ints
    shares: Floats
    unit: float

    @property
    def counts(self) -> Floats:
        return np.bincount(self.strata, minlength=len(self.shares)).astype(np.float64)

    @property
    def weights(self) -> Floats:
        """Of the cases; they sum to 1."""
        return np.asarray((self.shares / self.counts)[self.strata])


def layered(values: Floats, layers: Layers, groups: Ints | None) -> tuple[Effect, float]:
    """The mean over strata of known shares, where only what varies inside them makes it unsure; and its degrees of freedom.

    A stratum in which nothing varies is thought to vary as if one more case did: a few cases that are all alike are no proof. Every stratum needs two cases.
    Source: Satterthwaite 1946 for the degrees of freedom.
    """
    shares, counts, strata = layers.shares, layers.counts, layers.strata
    means = np.bincount(strata, values, minlength=len(shares)) / counts
    off = values - means[strata]
    spread = np.bincount(strata, off * off, minlength=len(shares)) / (counts - 1.0)
    least = layers.unit**2 / (counts + 1.0)
    of_each = shares**2 * np.maximum(spread, least) / counts
    unseen = float((shares**2 * np.maximum(least - spread, 0.0) / counts).sum())
    pull = (shares / counts * np.sqrt(counts / (counts - 1.0)))[strata] * off
    freedom = float(of_each.sum() ** 2 / (of_each**2 / (counts - 1.0)).sum())
    return Effect(float(np.dot(shares, means)), pull, groups, unseen), freedom


def worth(groups: Ints | None, weights: Floats) -> float:
    """As many equal units as cases of these weights, or clusters of them, are worth if all of a cluster say the same.

    Source: Kish 1965, (Σw)² / Σw²; for clusters, the sums of their weights (Carter, Schnepel & Steigerwald 2017).
    """
    sums = weights if groups is None else np.bincount(groups, weights)
    return float(sums.sum() ** 2 / np.dot(sums, sums))


class Pairs(NamedTuple):
    """Cases scored twice. span: the farthest apart two scores can be; layers: the strata, where their shares are known."""

    first: Floats
    second: Floats
    groups: Ints | None
    is_binary: bool
    span: float
    layers: Layers | None = None

    @property
    def differences(self) -> Floats:
        return self.first - self.second

    @property
    def unit(self) -> float:
        """The largest difference that there can be."""
        return 1.0 if self.is_binary else self.span

    @property
    def weights(self) -> Floats:
        return self.layers.weights if self.layers is not None else np.full(len(self.first), 1.0 / len(self.first))

    @property
    def effect(self) -> Effect:
        if self.layers is None:
            return mean_of(self.differences, None, self.groups)
        return layered(self.differences, self.layers, self.groups)[0]

    @property
    def freedom(self) -> float:
        """Degrees of freedom: of clusters, one less than they are worth; endless for cases that are right or wrong."""
        freedom = np.inf if self.is_binary else float(len(self.first) - 1)
        if self.layers is not None:
            freedom = min(freedom, layered(self.differences, self.layers, None)[1])
        if self.groups is not None:
            freedom = min(freedom, worth(self.groups, self.weights) - 1.0)
        return max(1.0, freedom)

    def bounds(self) -> Bounds:
        """By the score of proportions where cases are right or wrong, or hardly vary; else by the bootstrap-t."""
        effect = self.effect
        error = max(effect.error, effect.plain_error) if self.groups is not None else effect.error
        if self.groups is not None and effect.clusters < 2:
            return Unknown(self.unit)  # of one cluster nobody knows how clusters differ
        if self.is_binary:
            found = self._score(self.differences, effect)
            return found if self.groups is None else Wider(found, Student(effect.value, error, self.freedom))
        usual = _usual(self.differences)
        if np.count_nonzero(np.abs(self.differences - usual) > _HAIR * self.span) < _FEW:
            return Moved(self._score((self.differences - usual) / self.span, effect), self.span, usual)
        return Student(effect.value, error, self.freedom, self._stretch())

    def _stretch(self) -> tuple[float, float]:
        if self.layers is not None:
            held = [
                (float(share), self.differences[self.layers.strata == code])
                for code, share in enumerate(self.layers.shares)
            ]
            return layered_stretch(held, self.freedom)
        if self.groups is None:
            return stretch(self.differences, np.ones(len(self.first)), self.freedom)
        sums = np.bincount(self.groups, self.differences).astype(np.float64)
        sizes = np.bincount(self.groups).astype(np.float64)
        return stretch(sums[sizes > 0], sizes[sizes > 0], self.freedom)

    def _score(self, differences: Floats, effect: Effect) -> Bounds:
        """Differences of 1 or less are worth as much as so many of exactly 1, which vary more: the bounds hold for all of them."""
        weights, many = self.weights, len(differences)
        better, worse = (float(np.dot(weights, np.maximum(turned, 0.0))) for turned in (differences, -differences))
        error, plain = effect.error, effect.plain_error
        spread = better + worse - (better - worse) ** 2
        if not plain > 0.0:
            n = worth(self.groups, weights)
        elif self.is_binary and spread > 0.0:  # as many as would have this error, standing alone
            n = spread / max(error, plain) ** 2 * many / (many - 1)
        else:
            n = worth(None, weights) / max(1.0, (error / plain) ** 2)
        if self.groups is not None:
            moved = np.count_nonzero(np.bincount(self.groups, np.abs(differences)))
            if moved < min(_FEW, effect.clusters):  # hardly any cluster shows how clusters differ
                n = min(n, worth(self.groups, weights))
        return Score(better * n, worse * n, n, self.freedom)


def _usual(values: Floats) -> float:
    """The value that comes up most often; of several, the one in the middle."""
    found, counts = np.unique(values, return_counts=True)
    most = found[counts == counts.max()]
    return 0.0 if 0.0 in most else float(np.median(most))
