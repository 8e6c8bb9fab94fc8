"""How many cases, and how many labels by people, before anything is asked. Pure.

For right and wrong the chance to decide is counted out exactly, with the very bounds that the verdict will use; for numbers, and for more cases than can
be counted out, it is the normal's. Both are for cases that stand alone; cases of a cluster count for less, by the design effect.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from scipy import special

from freehold.evals.bounds import LEVEL, quantile, score
from freehold.kernel.errors import CallerError

_EXACT = 4_000  # cases up to which the chance is counted out
_TAILS = 6.0  # standard deviations that are counted out
_MOST = 10**8
_DIFFER, _FEWEST = 20, 10  # differences that are not nought, labels


class Aim(msgspec.Struct, frozen=True):
    """What is planned for. margin: how much worse is good enough; power: the chance to prove it; difference: what the truth is thought to be (open - closed);
    discordance: the share of cases that only one side gets right, None for numbers; spread: the standard deviation of differences, for numbers; differ: the
    share of cases whose numbers differ at all; cluster_size, likeness: cases of a cluster, and how alike they are (the intra-cluster correlation);
    level: of the claim.
    """

    margin: float
    power: float = 0.8
    difference: float = 0.0
    discordance: float | None = None
    spread: float | None = None
    differ: float = 1.0
    cluster_size: float = 1.0
    likeness: float = 0.0
    level: float = LEVEL

    @property
    def effect(self) -> float:
        """The design effect: how many cases of clusters are worth one that stands alone."""
        return 1.0 + (self.cluster_size - 1.0) * self.likeness


class Planned(msgspec.Struct, frozen=True):
    """needed_n: so many cases; power: the chance to decide with them; effect: the design effect of clusters that is in it; needed_labels: by people, where a judge
    scores the cases and agrees with people so well, None for no judge.
    """

    needed_n: int
    power: float
    effect: float
    needed_labels: int | None = None


def plan(aim: Aim) -> Planned:
    """How many cases: the least from which on the power holds. Raises CallerError `verdict.plan` where no number would do."""
    _check(aim)
    distance, reach = aim.difference + aim.margin, quantile(aim.level, math.inf) + quantile(1.0 - aim.power, math.inf)
    rough = reach**2 * _variance(aim) / distance**2 * aim.effect
    if rough > _MOST:
        raise CallerError(f"That would take {rough:,.0f} cases.", code="verdict.plan", hint="Choose a wider margin.")
    low, high = _least(aim) - 1, max(_least(aim), math.ceil(rough))
    while power_of(aim, high) < aim.power:
        low, high = high, high + max(8, high // 8)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(aim, middle) >= aim.power else (middle, high)
    return Planned(high, power_of(aim, high), aim.effect)


def _check(aim: Aim) -> None:
    numbers = [aim.margin, aim.power, aim.difference, aim.cluster_size, aim.likeness, aim.differ]
    numbers += [one for one in (aim.discordance, aim.spread) if one is not None]
    if not all(map(math.isfinite, numbers)) or max(map(abs, numbers)) > _MOST:
        raise CallerError("A plan is made of numbers, and of none beyond a hundred million.", code="verdict.plan")
    if aim.margin <= 0 or not 0.01 <= aim.power <= 0.9999 or aim.difference + aim.margin <= 0 or (aim.discordance is not None and aim.margin >= 1):  # fmt: skip
        raise CallerError(f"With a difference of {aim.difference:g}, a margin of {aim.margin:g} and a power of {aim.power:g} no number of cases shows that the open model is good enough.", code="verdict.plan", hint="The margin is above zero (three points are 0.03), the difference above minus the margin, the power from 0.01 to 0.9999.")  # fmt: skip
    if aim.discordance is not None and (not abs(aim.difference) <= aim.discordance <= 1.0 or aim.discordance == 0.0):
        raise CallerError(f"A discordance of {aim.discordance:g} does not fit a difference of {aim.difference:g}.", code="verdict.plan", hint="It is the share of cases that only one side gets right: above the difference, at most 1.")  # fmt: skip
    if aim.discordance is None and (aim.spread is None or aim.spread <= 0):
        raise CallerError("Say how often the sides differ (--discordance), or how much (--spread, for numbers).", code="verdict.plan")  # fmt: skip
    if aim.cluster_size < 1 or not 0 <= aim.likeness <= 1 or not 0 < aim.differ <= 1:
        raise CallerError("Clusters have one case or more, and a likeness from 0 to 1.", code="verdict.plan")


def _least(aim: Aim) -> int:
    """Below it the verdict does not trust a standard error: two clusters, and of numbers a good ten that differ."""
    return max(2, math.ceil(2 * aim.cluster_size) if aim.cluster_size > 1 else 0, math.ceil(_DIFFER / aim.differ) if aim.discordance is None else 0)  # fmt: skip


def _variance(aim: Aim) -> float:
    """Of one difference."""
    if aim.discordance is None:
        assert aim.spread is not None
        return aim.spread**2
    return aim.discordance - aim.difference**2


def power_of(aim: Aim, n: int) -> float:
    """The chance that n cases prove the open model good enough."""
    alone = n / aim.effect
    freedom = max(1.0, n / aim.cluster_size - 1.0) if aim.cluster_size > 1 else math.inf if aim.discordance is not None else n - 1.0  # fmt: skip
    if aim.discordance is not None and math.isinf(freedom) and n <= _EXACT:
        return _exact(aim, n)
    distance = (
        aim.difference + aim.margin - (1.0 / alone if aim.discordance is not None else 0.0)
    )  # one case more is counted against it
    shown = distance * math.sqrt(alone / _variance(aim))
    reach = quantile(aim.level, freedom)
    return float(special.ndtr(shown - reach) if math.isinf(freedom) else 1.0 - special.nctdtr(freedom, shown, reach))


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
    is_shown = score(b, c + 1.0, n + 1.0, -aim.margin) >= quantile(aim.level, math.inf)
    return float(np.exp(log)[is_shown & (rest >= 0)].sum())


def _likely(n: int, share: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The numbers that come up with more than a hair's chance."""
    reach = _TAILS * math.sqrt(n * share * (1.0 - share)) + 4.0
    return np.arange(max(0, math.floor(n * share - reach)), min(n, math.ceil(n * share + reach)) + 1, dtype=np.float64)


def labels_for(aim: Aim, cases: int, correlation: float) -> int:
    """How many of the cases people must label, where a judge scores all of them and correlates so with people. Raises CallerError where there are too few
    cases even if all are labelled.
    """
    _check(aim)
    if not 0.0 <= correlation <= 1.0:
        raise CallerError("A correlation with people is from 0 to 1.", code="verdict.plan")
    distance, shared = aim.difference + aim.margin, correlation**2
    # PPI++: the variance is that of labels alone, less what the judge explains on the cases without one.
    for n in range(_FEWEST, cases + 1):
        error = math.sqrt(_variance(aim) * aim.effect * (1.0 - shared * (1.0 - n / cases)) / n)
        reach = quantile(aim.level, n - 2.0)
        if 1.0 - float(special.nctdtr(n - 2.0, distance / error, reach)) >= aim.power:
            return n
    raise CallerError(f"{cases:,} cases are too few even if people label all of them.", code="verdict.plan")
