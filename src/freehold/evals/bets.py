"""Bounds that hold however often one looks: a capital that is bet against each difference, and grows only if that is wrong. Pure.

For each value that the difference might have, so many careful and daring bettors begin with a share of one coin and bet on every case, always the same
part of what they have, that the truth lies higher. If the value is the truth, no bet is worth anything on average, and the chance that all together
ever own 1/level is at most `level` (Ville's inequality). So a value at which they do is out, on whatever day one looks. Nothing is estimated on the
way, so the order of cases does not matter to who looks once.
Source: Waudby-Smith & Ramdas 2024, J. R. Stat. Soc. B 86:1-27 (arXiv 2010.09686), sections 4.2 and 5 (a fixed mixture instead of predictable bets).
"""

from __future__ import annotations

import numpy as np
from scipy import special

from freehold.evals.bounds import Floats

_BETTORS = 24
_DARE = 0.95  # of what may be bet without ever losing all
_STEPS = 40


class Bets:
    """Bounds of a mean of differences from -span to span, valid at every look. sizes: of units that are clusters, how many cases each has; `sums` are then
    their differences added up. The largest cluster should have been there from the first look on.
    """

    name = "bets"

    def __init__(self, sums: Floats, span: float, sizes: Floats | None = None) -> None:
        units = np.column_stack([sums, np.ones(len(sums)) if sizes is None else sizes])
        found, counts = np.unique(units, axis=0, return_counts=True) if len(units) else (units, np.ones(0))
        self._span, self._sums, self._sizes = span, found[:, 0], found[:, 1]
        self._counts = counts.astype(np.float64)
        self._value = float(np.dot(self._sums, self._counts) / np.dot(self._sizes, self._counts))

    def lower(self, level: float) -> float:
        return self._lowest(self._sums, self._value, level)

    def upper(self, level: float) -> float:
        return -self._lowest(-self._sums, -self._value, level)

    def p_above(self, at: float) -> float:
        return float(np.exp(-max(0.0, self._capital(self._sums, at))))

    def p_below(self, at: float) -> float:
        return float(np.exp(-max(0.0, self._capital(-self._sums, -at))))

    def _capital(self, sums: Floats, at: float) -> float:
        """The logarithm of what the bettors own together, if the mean were `at`: they bet on more."""
        if at <= -self._span:
            return np.inf
        worst = float(self._sizes.max()) * (self._span + at)
        bets = _DARE / worst * 2.0 ** -(np.arange(_BETTORS) / 2.0)
        each = np.log1p(bets[:, None] * (sums - at * self._sizes)[None, :]) @ self._counts
        return float(special.logsumexp(each) - np.log(_BETTORS))

    def _lowest(self, sums: Floats, value: float, level: float) -> float:
        """The least mean that the bettors have not ruled out."""
        low, high, enough = -self._span, value, -np.log(level)
        for _ in range(_STEPS):
            middle = (low + high) / 2.0
            low, high = (middle, high) if self._capital(sums, middle) >= enough else (low, middle)
        return low
