"""Claims about several at once: what is left of each when all are made (Holm), and of a sum whose parts were chosen by how they looked. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from freehold.evals.bounds import Floats
from freehold.evals.effects import Ints

_STEPS, _FAR = 80, 40.0


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: those at or below a level may all be claimed at it. Source: Holm 1979."""
    order = np.argsort(np.asarray(ps), kind="stable")
    adjusted, worst = [0.0] * len(ps), 0.0
    for place, at in enumerate(order):
        worst = max(worst, min(1.0, (len(ps) - place) * ps[at]))
        adjusted[at] = worst
    return adjusted


def covariance(pulls: Floats, strata: Ints, groups: Ints | None, count: int) -> NDArray[np.float64]:
    """Of the means of strata, over clusters, which may lie in several. pulls: how far each case moves its stratum's mean; count: of strata."""
    rows = groups if groups is not None else np.arange(len(pulls))
    sums = sparse.coo_matrix((pulls, (rows, strata)), shape=(int(rows.max()) + 1, count)).tocsr()
    units = len(np.unique(rows))
    return np.asarray((sums.T @ sums).todense()) * (units / max(units - 1, 1))


def lower_of_kept(shares: Floats, means: Floats, spread: NDArray[np.float64], cuts: Floats, level: float) -> float:
    """What the mean over strata is above, but for a chance of `level`, where only strata above their cuts were kept.

    shares: of the kept strata, they sum to 1; spread: the covariance of their means. What is kept looks better than it is, the more so the closer a
    stratum was to being left out. Given everything else about the strata, the mean of what is kept is normal, cut off where one of them would
    have been left out: that distribution is inverted. Source: Lee, Sun, Sun & Taylor 2016, Annals of Statistics 44:907-927, theorem 5.2.
    """
    value, variance = float(shares @ means), float(shares @ spread @ shares)
    if variance <= 0.0:
        return value
    along = spread @ shares / variance  # how each stratum's mean moves with the sum
    moves = along > 1e-12
    reach = float(np.min((means[moves] - np.minimum(cuts, means)[moves]) / along[moves], initial=np.inf))
    error = float(np.sqrt(variance))
    low, high = value - _FAR * error, value
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        seen = special.log_ndtr(-(value - middle) / error)
        kept = special.log_ndtr(-(value - reach - middle) / error)
        low, high = (middle, high) if seen - kept <= np.log(level) else (low, middle)
    return low
