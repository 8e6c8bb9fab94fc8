"""What is decided by which rule: the words, and all that is known beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from freehold.evals.bounds import LEVEL
from freehold.evals.costs import Costs
from freehold.evals.judged import Judge, Reading

Word = Literal["INVALID", "ROUTE", "OPEN_BETTER", "OPEN", "CLOSED", "INCONCLUSIVE"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What was fixed before looking. margin: how much worse is still good enough, in units of the metric; span: how far apart two scores can be,
    None for as far as the seen ones are; shares: of the traffic, by stratum, None for as the cases are; is_watched: bounds hold however often one
    looks; level: of each claim, smaller where several verdicts are given together.
    """

    margin: float
    span: float | None = None
    shares: Mapping[str, float] | None = None
    is_watched: bool = False
    level: float = LEVEL


class Finding(msgspec.Struct, frozen=True):
    """What is known of all cases, or of one stratum. open, closed: their means; difference: open - closed; interval: two-sided 95 %;
    lower_bound, upper_bound: one-sided 95 %; p_mcnemar: exact, for right or wrong, of cases that stand alone; method: of the bounds; share: of
    the traffic; needed_n, needed_labels: about so many cases,
    or labels by people, more would decide; None where something cannot be said.
    """

    verdict: Word
    n: int
    clusters: int | None
    share: float
    open: float | None
    closed: float | None
    difference: float | None
    standard_error: float | None
    standard_error_unclustered: float | None
    interval: tuple[float, float] | None
    lower_bound: float | None
    upper_bound: float | None
    p_mcnemar: float | None
    margin: float
    method: str
    needed_n: int | None
    needed_labels: int | None
    p_better: float | None
    p_not_worse: float | None
    p_worse: float | None


class Stratum(msgspec.Struct, frozen=True):
    """One stratum and what is known of it; its word holds together with those of all others (Holm)."""

    stratum: str
    finding: Finding


class Way(msgspec.Struct, frozen=True):
    """One way of serving: how good it is, and what a call costs; each with its two-sided 95 % interval."""

    quality: tuple[float, float, float]
    cost_usd: tuple[float, float, float] | None


class Route(msgspec.Struct, frozen=True):
    """Which strata go where. share_open: of the traffic; difference, lower_bound: of the open strata taken together, the bound corrected for their choice."""

    open: tuple[str, ...]
    closed: tuple[str, ...]
    share_open: float
    difference: float
    lower_bound: float


class Verdict(msgspec.Struct, frozen=True):
    """The answer. cautions: what does not change the word and should be known; readings: of a judge that passes or fails, by side."""

    whole: Finding
    strata: tuple[Stratum, ...]
    route: Route | None
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]
    left_out: int
    judge: Judge | None
    readings: dict[str, Reading]
    ways: dict[str, Way]
    costs: Costs | None
    metric: str
    is_binary: bool
    is_watched: bool
