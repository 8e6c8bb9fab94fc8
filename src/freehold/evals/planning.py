"""How many cases, and how many labels by people, before anything is asked. Pure.

For right and wrong the chance to decide is counted out exactly, with the very bounds that the verdict will use; for numbers, and for more cases than can
be counted out, it is the normal's. Both are for cases that stand alone; cases of a cluster count for less, by the design effect.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from scipy import special

from freehold.evals.bounds import quantile, score
from freehold.evals.deciding import LEVEL
from freehold.kernel.errors import CallerError

_EXACT = 4_000  # cases up to which the chance is counted out
_TAILS = 6.0  # standard deviations that are counted out
_MOST = 10**8


class Aim(msgspec.Struct, frozen=True):
    """What is planned for. margin: how much worse is good enough; power: the chance to prove it; difference: what the truth is thought to be (open - closed);
    discordance: the share of cases that only one side gets right, None for numbers; spread: the standard deviation of differences, for numbers;
    cluster_size, likeness: cases of a cluster, and how alike they are (the intra-cluster correlation).
    """

    margin: float
    power: float = 0.8
    difference: float = 0.0
    discordance: float | None = None
    spread: float | None = None
    cluster_size: float = 1.0
    likeness: float = 0.0


class Planned(msgspec.Struct, frozen=True):
    """cases: so many are needed; power: the chance to decide with them; effect: the design effect of clusters that is in it; labels: by people, where a judge
    scores the cases and agrees with people so well, None for no judge.
    """

    cases: int
    power: float
    effect: float
    labels: int | None = None


def plan(aim: Aim) -> Planned:
    """How many cases. Raises CallerError `verdict.plan` where no number would do."""
    distance = aim.difference + aim.margin
    if aim.margin <= 0 or not 0 < aim.power < 1 or distance <= 0:
        raise CallerError(f"With a difference of {aim.difference:g} and a margin of {aim.margin:g} no number of cases shows that the open model is good enough.", code="verdict.plan", hint="The margin is above zero, and the difference above minus the margin.")  # fmt: skip
    variance = _variance(aim)
    reach = quantile(LEVEL, math.inf) + quantile(1.0 - aim.power, math.inf)
    n = max(2, math.ceil(reach**2 * variance / distance**2))
    if n > _MOST:
        raise CallerError(f"That would take {n:,} cases.", code="verdict.plan", hint="Choose a wider margin.")
    if aim.discordance is not None:
        n = _counted_out(aim, n)
    effect = 1.0 + (aim.cluster_size - 1.0) * aim.likeness
    return Planned(math.ceil(n * effect), power_of(aim, n), effect)


def _variance(aim: Aim) -> float:
    """Of one difference."""
    if aim.discordance is None:
        if aim.spread is None or aim.spread <= 0:
            raise CallerError("Say how often the sides differ (--discordance), or how much (--spread, for numbers).", code="verdict.plan")  # fmt: skip
        return aim.spread**2
    if not abs(aim.difference) <= aim.discordance <= 1.0 or aim.discordance == 0.0:
        raise CallerError(f"A discordance of {aim.discordance:g} does not fit a difference of {aim.difference:g}.", code="verdict.plan", hint="It is the share of cases that only one side gets right: above the difference, at most 1.")  # fmt: skip
    return aim.discordance - aim.difference**2


def _counted_out(aim: Aim, guess: int) -> int:
    """The least number from which on the power holds, by halving around the normal's answer."""
    low, high = 1, guess
    while power_of(aim, high) < aim.power:
        low, high = high, high + max(8, high // 8)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(aim, middle) >= aim.power else (middle, high)
    return high


def power_of(aim: Aim, n: int) -> float:
    """The chance that n cases that stand alone prove the open model good enough."""
    if aim.discordance is None:
        return float(
            special.ndtr(
                (aim.difference + aim.margin) * math.sqrt(n) / math.sqrt(_variance(aim)) - quantile(LEVEL, math.inf)
            )
        )
    return _exact(aim, n) if n <= _EXACT else _normal(aim, n)


def _exact(aim: Aim, n: int) -> float:
    """Over every number of cases that only the open side, and only the closed side, gets right."""
    assert aim.discordance is not None
    better, worse = (aim.discordance + aim.difference) / 2.0, (aim.discordance - aim.difference) / 2.0
    first, second = (_likely(n, share) for share in (better, worse))
    b, c = first[:, None], second[None, :]
    rest = n - b - c
    log = (
        special.gammaln(n + 1)
        - special.gammaln(b + 1)
        - special.gammaln(c + 1)
        - special.gammaln(np.maximum(rest, 0) + 1)
    )
    log = (
        log
        + special.xlogy(b, better)
        + special.xlogy(c, worse)
        + special.xlogy(np.maximum(rest, 0), 1.0 - aim.discordance)
    )
    is_shown = score(b, c + 1.0, np.float64(n + 1.0), -aim.margin) >= quantile(LEVEL, math.inf)
    return float(np.exp(log)[is_shown & (rest >= 0)].sum())


def _likely(n: int, share: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The numbers that come up with more than a hair's chance."""
    reach = _TAILS * math.sqrt(n * share * (1.0 - share)) + 4.0
    return np.arange(max(0, math.floor(n * share - reach)), min(n, math.ceil(n * share + reach)) + 1, dtype=np.float64)


def _normal(aim: Aim, n: int) -> float:
    distance = aim.difference + aim.margin - 1.0 / n  # one case more is counted against it
    return float(special.ndtr(distance * math.sqrt(n / _variance(aim)) - quantile(LEVEL, math.inf)))


def labels_for(aim: Aim, cases: int, correlation: float) -> int:
    """How many of the cases people must label, where a judge scores all of them and correlates so with people: as sure as labels on as many as
    `plan` says. Raises CallerError where there are too few cases even if all are labelled.
    """
    needed = plan(msgspec.structs.replace(aim, cluster_size=1.0, likeness=0.0)).cases
    if not 0.0 <= correlation < 1.0:
        raise CallerError("A correlation with people is from 0 to 1.", code="verdict.plan")
    if cases < needed:
        raise CallerError(f"{cases:,} cases are too few even if people label all of them: {needed:,} are needed.", code="verdict.plan")  # fmt: skip
    shared = correlation**2
    # PPI++: the variance is that of labels alone, less what the judge explains on the cases without one.
    for n in range(10, needed):
        if (1.0 - shared * (1.0 - n / cases)) / n <= 1.0 / needed:
            return n
    return needed
