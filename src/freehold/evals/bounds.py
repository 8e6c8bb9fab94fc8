"""How far a difference may be from where it was seen: one-sided bounds and p-values, by the method that the data allow.

Rules: a method gives bounds and p-values that agree (the bound at a level is where the p-value is that level); turning the two arms round turns
everything round exactly; the order of cases changes nothing; where nothing varied, a bound is still not the value itself. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
LEVEL = 0.05  # of every claim, one-sided
_STEPS = 60  # of a bisection over [-1, 1]: to the last bit
_MOST_RESAMPLED = 5_000  # beyond it the skewness that the bootstrap corrects is below a hundredth of a standard error
_RESAMPLES, _AT_ONCE, _TAIL = 1_999, 2_000_000, 0.05
_TINY, _ENDLESS, _FARTHEST = 1e-300, 1e6, 10.0


class Bounds(Protocol):
    """What a method says of a difference."""

    name: str

    def lower(self, level: float) -> float:
        """What the difference is above, but for a chance of `level`."""

    def upper(self, level: float) -> float:
        """What the difference is below, but for a chance of `level`."""

    def p_above(self, at: float) -> float:
        """The p-value of: the difference is `at` or less."""

    def p_below(self, at: float) -> float:
        """The p-value of: the difference is `at` or more."""


def quantile(level: float, freedom: float) -> float:
    """The upper quantile of Student's t, of the normal for endless degrees of freedom."""
    return float(special.ndtri(1 - level) if np.isinf(freedom) else special.stdtrit(freedom, 1 - level))


def beyond(score: float | Floats, freedom: float) -> Floats:
    """The chance of as much as a score or more."""
    found = special.ndtr(-np.asarray(score)) if np.isinf(freedom) else special.stdtr(freedom, -np.asarray(score))
    return np.asarray(found, dtype=np.float64)


# --- right or wrong -------------------------------------------------------------------------------------------------


def score(better: float | Floats, worse: float | Floats, n: float | Floats, at: float | Floats) -> Floats:
    """Tango's score for a difference of paired proportions: how many standard errors the seen one is above `at`.

    better, worse: pairs in which only the first, only the second was right (fractions are allowed); n: all pairs.
    Source: Tango 1998, Statistics in Medicine 17:891-908, equations 6 and 7.
    """
    first = 2.0 * n
    second = -better - worse + (2.0 * n - better + worse) * at
    third = -worse * at * (1.0 - at)
    hidden = (np.sqrt(np.maximum(second * second - 4.0 * first * third, 0.0)) - second) / (2.0 * first)
    spread = np.sqrt(np.maximum(n * (2.0 * hidden + at * (1.0 - at)), _TINY))
    return np.asarray((better - worse - n * at) / spread, dtype=np.float64)


class Score:
    """Of pairs that are right or wrong: Tango's score, with one more pair counted against what is to be shown.

    Without that pair the chance of a wrong claim is up to 6 % where 5 % are meant; with it 5.1 % at the most, on a grid of n from 10 to 400, margins
    from 0.01 to 0.15 and shares of pairs that differ (counted out: `make calibrate`). n: pairs, or as many as they are worth.
    """

    name = "score"

    def __init__(self, better: float, worse: float, n: float, freedom: float = np.inf) -> None:
        self._better, self._worse, self._n, self._freedom = better, worse, n, freedom

    def lower(self, level: float) -> float:
        return _below(self._better, self._worse, self._n, quantile(level, self._freedom))

    def upper(self, level: float) -> float:
        return -_below(self._worse, self._better, self._n, quantile(level, self._freedom))

    def p_above(self, at: float) -> float:
        return self._p(self._better, self._worse, at)

    def p_below(self, at: float) -> float:
        return self._p(self._worse, self._better, -at)

    def _p(self, better: float, worse: float, at: float) -> float:
        if not -1.0 < at < 1.0:
            return 0.0 if at <= -1.0 else 1.0
        return float(beyond(score(better, worse + 1.0, self._n + 1.0, at), self._freedom))


def _below(better: float, worse: float, n: float, target: float) -> float:
    """Where the score, with one pair more against it, is `target`."""
    low, high = -1.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if score(better, worse + 1.0, n + 1.0, middle) > target else (low, middle)
    return (low + high) / 2.0


def mcnemar(better: int, worse: int) -> float:
    """McNemar's exact two-sided p-value of: as many pairs are better as worse."""
    return float(min(1.0, 2.0 * special.bdtr(min(better, worse), better + worse, 0.5))) if better + worse else 1.0


# --- numbers --------------------------------------------------------------------------------------------------------


class Unknown:
    """Of what tells nothing: everything is possible. span: how far a difference can be from nought."""

    name = "none"

    def __init__(self, span: float) -> None:
        self._span = span

    def lower(self, level: float) -> float:
        return -self._span

    def upper(self, level: float) -> float:
        return self._span

    def p_above(self, at: float) -> float:
        return 1.0

    def p_below(self, at: float) -> float:
        return 1.0


class Wider:
    """Of two methods the one that claims less, bound by bound."""

    def __init__(self, one: Bounds, other: Bounds) -> None:
        self.name, self._both = one.name, (one, other)

    def lower(self, level: float) -> float:
        return min(each.lower(level) for each in self._both)

    def upper(self, level: float) -> float:
        return max(each.upper(level) for each in self._both)

    def p_above(self, at: float) -> float:
        return max(each.p_above(at) for each in self._both)

    def p_below(self, at: float) -> float:
        return max(each.p_below(at) for each in self._both)


class Moved:
    """Bounds in another unit, and from another nought."""

    def __init__(self, inner: Bounds, unit: float, nought: float = 0.0) -> None:
        self.name, self._inner, self._unit, self._nought = inner.name, inner, unit, nought

    def lower(self, level: float) -> float:
        return self._inner.lower(level) * self._unit + self._nought

    def upper(self, level: float) -> float:
        return self._inner.upper(level) * self._unit + self._nought

    def p_above(self, at: float) -> float:
        return self._inner.p_above((at - self._nought) / self._unit)

    def p_below(self, at: float) -> float:
        return self._inner.p_below((at - self._nought) / self._unit)


class Student:
    """Of an estimate with a standard error: Student's t.

    stretch: by how much the distance below and above the estimate is longer than Student's, from a bootstrap.
    """

    def __init__(self, value: float, error: float, freedom: float, stretch: tuple[float, float] = (1.0, 1.0)) -> None:
        self._value, self._freedom = value, freedom
        self._below, self._above = error * stretch[0], error * stretch[1]
        self.name = "t" if stretch == (1.0, 1.0) else "bootstrap-t"

    def lower(self, level: float) -> float:
        return self._value - quantile(level, self._freedom) * self._below

    def upper(self, level: float) -> float:
        return self._value + quantile(level, self._freedom) * self._above

    def p_above(self, at: float) -> float:
        return self._p(self._value - at, self._below)

    def p_below(self, at: float) -> float:
        return self._p(at - self._value, self._above)

    def _p(self, distance: float, error: float) -> float:
        if error <= 0.0:
            return float(distance <= 0.0)
        return float(beyond(distance / error, self._freedom))


def stretch(sums: Floats, sizes: Floats, freedom: float) -> tuple[float, float]:
    """By how much Student's quantile at 95 % is too short for skewed numbers, below and above: the bootstrap-t over units (cases, or clusters of them).

    sums, sizes: of each unit, its differences added up and how many there are. It is at least 1, and exactly 1 beyond 5,000 units. The resamples depend on
    how many units there are and on nothing else. Source: Efron & Tibshirani 1993, chapter 12.5; for clusters Cameron, Gelbach & Miller 2008.
    """
    if not 2 < len(sums) <= _MOST_RESAMPLED:
        return 1.0, 1.0
    turned = _turned(sums, sizes)
    scores = turned * _scores(turned * sums, sizes)
    usual = quantile(_TAIL, freedom)
    below, above = float(np.quantile(scores, 1.0 - _TAIL)) / usual, -float(np.quantile(scores, _TAIL)) / usual
    return min(max(1.0, below), _FARTHEST), min(max(1.0, above), _FARTHEST)


def layered_stretch(parts: Sequence[tuple[float, Floats]], freedom: float) -> tuple[float, float]:
    """The same over strata of known shares, each resampled in itself. parts: of each stratum, its share and its differences (two at least)."""
    many = sum(len(values) for _, values in parts)
    if not 2 < many <= _MOST_RESAMPLED:
        return 1.0, 1.0
    sign = _turned(np.concatenate([share * values for share, values in parts]), np.ones(many))
    draw, ordered = np.random.Generator(np.random.PCG64(many)), []
    for share, values in parts:
        turned = np.sort(sign * values)
        ordered.append((len(turned), share, turned))
    ordered.sort(key=lambda one: (one[0], one[1], one[2].tolist()))
    off, spread = np.zeros(_RESAMPLES), np.zeros(_RESAMPLES)
    for n, share, values in ordered:
        seen = values.mean()
        for start in range(0, _RESAMPLES, step := max(1, _AT_ONCE // n)):
            drawn = values[draw.integers(0, n, (min(step, _RESAMPLES - start), n))]
            off[start : start + step] += share * (drawn.mean(axis=1) - seen)
            spread[start : start + step] += share**2 * drawn.var(axis=1, ddof=1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = sign * np.nan_to_num(off / np.sqrt(spread), nan=0.0, posinf=_ENDLESS, neginf=-_ENDLESS)
    usual = quantile(_TAIL, freedom)
    below, above = float(np.quantile(scores, 1.0 - _TAIL)) / usual, -float(np.quantile(scores, _TAIL)) / usual
    return min(max(1.0, below), _FARTHEST), min(max(1.0, above), _FARTHEST)


def _turned(sums: Floats, sizes: Floats) -> float:
    """+1 or -1, so that the same units with their signs turned round are resampled as the same numbers."""
    means = np.round(sums / sizes, 12)
    one, other = (sorted(zip(each.tolist(), sizes.tolist(), strict=True)) for each in (means + 0.0, 0.0 - means))
    return 1.0 if one >= other else -1.0


def _scores(sums: Floats, sizes: Floats) -> Floats:
    """How many of its own standard errors each resample is from what was seen."""
    order = np.lexsort((sizes, np.round(sums / max(float(np.abs(sums).max()), _TINY), 10)))
    sums, sizes = sums[order], sizes[order]
    units, value = len(sums), sums.sum() / sizes.sum()
    draw, found = np.random.Generator(np.random.PCG64(units)), []
    for start in range(0, _RESAMPLES, step := max(1, _AT_ONCE // units)):
        picked = draw.integers(0, units, (min(step, _RESAMPLES - start), units))
        drawn, counts = sums[picked], sizes[picked]
        whole = counts.sum(axis=1)
        means = drawn.sum(axis=1) / whole
        off = drawn - means[:, None] * counts
        errors = np.sqrt((off * off).sum(axis=1) * units / max(units - 1, 1)) / whole
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append((means - value) / errors)
    # A resample without any spread of its own, away from what was seen, is endlessly far off; one at it is nothing.
    return np.asarray(np.nan_to_num(np.concatenate(found), nan=0.0, posinf=_ENDLESS, neginf=-_ENDLESS))
