"""Outcomes as evidence: which rows count, and by which estimate and method they speak. Pure."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from freehold.evals.bets import Bets
from freehold.evals.bounds import Bounds, Floats, Unknown
from freehold.evals.effects import Effect, Ints, Layers, Pairs, mean_of
from freehold.evals.judged import FEWEST, Corrected, Labelled, corrected, corrected_by_stratum
from freehold.evals.outcomes import Outcomes
from freehold.evals.verdicts import Rule
from freehold.kernel.errors import CallerError

_REFUSED = 3  # the last status in which a model answered badly; then comes what failed on the way


class Evidence(Protocol):
    """A difference with what there is to say about it."""

    @property
    def effect(self) -> Effect: ...

    @property
    def freedom(self) -> float: ...

    def bounds(self) -> Bounds: ...


class Cases(NamedTuple):
    """The rows that count, as columns. rows: which they are; human: where a judge is corrected; groups: of clusters, None where every case stands alone."""

    rows: Ints
    first: Floats
    second: Floats
    human: Floats | None
    strata: Ints
    groups: Ints | None
    span: float
    is_binary: bool

    def of(self, rows: NDArray[Any]) -> Cases:
        """Some of them: which, or a claim about each."""
        return self._replace(
            rows=self.rows[rows],
            first=self.first[rows],
            second=self.second[rows],
            human=self.human[rows] if self.human is not None else None,
            strata=self.strata[rows],
            groups=np.unique(self.groups[rows], return_inverse=True)[1] if self.groups is not None else None,
        )

    def by_stratum(self) -> dict[int, NDArray[np.int64]]:
        """Which cases each stratum has."""
        order = np.argsort(self.strata, kind="stable")
        codes, starts = np.unique(self.strata[order], return_index=True)
        return dict(zip(codes.tolist(), np.split(order, starts[1:]), strict=True))

    @property
    def many(self) -> int:
        return len(self.first)

    @property
    def labelled(self) -> Labelled:
        human = self.human if self.human is not None else np.full(len(self.first), np.nan)
        return Labelled(self.first - self.second, human, self.groups, self.span)

    @property
    def is_corrected(self) -> bool:
        return self.human is not None and int((~np.isnan(self.human)).sum()) >= FEWEST

    def evidence(self, layers: Layers | None, *, is_watched: bool) -> Evidence:
        """layers: the strata, where their shares of the traffic are known beforehand."""
        if self.is_corrected:
            data = self.labelled
            effect, weight = corrected(data) if layers is None else corrected_by_stratum(data, layers)
            return Corrected(data, effect, weight)
        if is_watched:
            return _Watched(self.first - self.second, self.groups, self.span)
        return Pairs(self.first, self.second, self.groups, self.is_binary, self.span, layers)


class _Watched(NamedTuple):
    """Evidence that may be looked at any number of times."""

    differences: Floats
    groups: Ints | None
    span: float

    @property
    def effect(self) -> Effect:
        return mean_of(self.differences, None, self.groups)

    @property
    def freedom(self) -> float:
        return math.inf

    def bounds(self) -> Bounds:
        if self.groups is None:
            return Bets(self.differences, self.span)
        if self.effect.clusters < 2:
            return Unknown(self.span)
        sizes = np.bincount(self.groups).astype(np.float64)
        return Bets(np.bincount(self.groups, self.differences).astype(np.float64), self.span, sizes)


def check(outcomes: Outcomes, cases: Cases, rule: Rule) -> None:
    """Raises CallerError for a rule that these outcomes cannot be judged by."""
    if not 0.0 < rule.margin < cases.span:
        raise CallerError(f"The margin must be above zero and below {cases.span:g}, not {rule.margin!r}.", code="verdict.margin", hint="It is how much worse the open model may be and still replace the closed one: 0.03 is three points. How far apart numbers can be is said with --span.")  # fmt: skip
    if not rule.is_watched:
        return
    if not outcomes.is_binary and rule.span is None:
        raise CallerError("Numbers that are watched need to be told how far apart they can be: what was not seen yet may be worse.", code="verdict.span", hint="Give --span, or span in the task.")  # fmt: skip
    if outcomes.is_judged and "human_open" in outcomes.numbers:
        raise CallerError("A judge that people correct cannot be watched: its bounds hold for one look.", code="verdict.watched", hint="Look once, when all labels are there.")  # fmt: skip
    if rule.shares is not None:
        raise CallerError("Shares of the traffic cannot be watched.", code="verdict.watched", hint="Leave one of the two out.")  # fmt: skip


def cases_of(outcomes: Outcomes, rule: Rule) -> Cases:
    """The rows that have both scores. What was cut off, refused or could not be read counts as the worst there is; what failed on the way is left out."""
    numbers, names = outcomes.numbers, ("judge_open", "judge_closed") if outcomes.is_judged else ("open", "closed")
    sides = [numbers[name] for name in names]
    least = min(float(np.nanmin(side)) for side in sides)
    filled = []
    for side, status in zip(sides, outcomes.statuses.values(), strict=True):
        is_poor = np.isnan(side) & (status >= 1) & (status <= _REFUSED)
        filled.append(np.where(is_poor, 0.0 if outcomes.is_binary else least, side))
    human = None
    if "human_open" in numbers and "human_closed" in numbers:
        human = numbers["human_open"] - numbers["human_closed"]
    has_both = ~np.isnan(filled[0] - filled[1])
    if not has_both.any():
        raise CallerError("No case has an outcome on both sides.", code="verdict.outcomes")
    seen = [values[~np.isnan(values)] for values in (*filled, *(numbers[name] for name in ("human_open", "human_closed") if name in numbers))]  # fmt: skip
    most, low = max(float(values.max()) for values in seen if len(values)), min(float(values.min()) for values in seen if len(values))  # fmt: skip
    if rule.span is not None and not 0.0 < rule.span < math.inf:
        raise CallerError(f"The span must be above zero, not {rule.span!r}.", code="verdict.span")
    # Scores from 0 to 1 may be anywhere between, whatever was seen of them; others may be as far apart as some were.
    seen_span = 1.0 if low >= 0.0 and most <= 1.0 else most - low
    span = 1.0 if outcomes.is_binary else rule.span if rule.span is not None else seen_span or 1.0
    if most - low > span * (1 + 1e-9):
        raise CallerError(f"Scores are from {low:g} to {most:g}, farther apart than the {span:g} that was said.", code="verdict.span")  # fmt: skip
    whole = Cases(
        np.arange(outcomes.count),
        filled[0],
        filled[1],
        human,
        outcomes.strata,
        outcomes.clusters,
        span,
        outcomes.is_binary,
    )
    return whole.of(has_both)


def shares_of(outcomes: Outcomes, cases: Cases, rule: Rule) -> Floats:
    """Of the traffic, by stratum: as it was said, else as the cases are. Raises CallerError `verdict.shares`."""
    names = outcomes.stratum_names
    counts = np.bincount(cases.strata, minlength=len(names)).astype(np.float64)
    if rule.shares is None:
        return np.asarray(counts / counts.sum())
    if unknown := sorted(set(rule.shares) ^ set(names)):
        raise CallerError(f"Shares and cases do not have the same strata: {', '.join(map(repr, unknown[:5]))}.", code="verdict.shares")  # fmt: skip
    shares = np.array([rule.shares[name] for name in names])
    if not (shares > 0).all() or abs(float(shares.sum()) - 1.0) > 1e-3 or (counts < 2).any():
        raise CallerError("Shares are above zero and sum to 1, and every stratum has two cases or more.", code="verdict.shares")  # fmt: skip
    return np.asarray(shares / shares.sum())
