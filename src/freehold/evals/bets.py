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
    """Bounds of a mean of differences from -span to span, valid at every look."""

    name = "bets"

    def __init__(self, differences: Floats, span: float) -> None:
        self._span = span
        scaled = np.clip((differences / span + 1.0) / 2.0, 0.0, 1.0)
        self._values, counts = np.unique(scaled, return_counts=True)
        self._counts = counts.astype(np.float64)
        self._turned = 1.0 - self._values[::-1], self._counts[::-1]

    def lower(self, level: float) -> float:
        return (_lowest(self._values, self._counts, level) * 2.0 - 1.0) * self._span

    def upper(self, level: float) -> float:
        return (1.0 - _lowest(*self._turned, level) * 2.0) * self._span

    def p_above(self, at: float) -> float:
        return _p(self._values, self._counts, (at / self._span + 1.0) / 2.0)

    def p_below(self, at: float) -> float:
        return _p(*self._turned, (1.0 - at / self._span) / 2.0)


def _capital(values: Floats, counts: Floats, mean: float) -> float:
    """The logarithm of what the bettors own together, if the mean were this: they bet on more."""
    if mean <= 0.0:
        return np.inf
    bets = _DARE / mean * 2.0 ** -(np.arange(_BETTORS) / 2.0)
    each = np.log1p(bets[:, None] * (values[None, :] - mean)) @ counts
    return float(special.logsumexp(each) - np.log(_BETTORS))


def _p(values: Floats, counts: Floats, mean: float) -> float:
    """The p-value, at every look, of: the mean is this or less."""
    return float(np.exp(-max(0.0, _capital(values, counts, mean))))


def _lowest(values: Floats, counts: Floats, level: float) -> float:
    """The least mean that the bettors have not ruled out."""
    low, high, enough = 0.0, float(np.dot(values, counts) / counts.sum()), -np.log(level)
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _capital(values, counts, middle) >= enough else (low, middle)
    return low
