"""Open or closed: the verdict on paired outcomes, by a margin that was set before. Pure.

The six words, in the order in which they are tried:
INVALID       the harness is at fault, not the model
ROUTE         some strata are proven worse by more than the margin; the others, taken together and corrected for having been chosen by the same
              data, are proven good enough, and carry a fifth of the traffic or more
OPEN_BETTER   the difference is proven above zero
OPEN          the difference is proven above -margin
CLOSED        the difference is proven below -margin
INCONCLUSIVE  none of it is proven yet
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from freehold.evals.bets import Bets
from freehold.evals.bounds import Bounds, Floats, Student, mcnemar, quantile
from freehold.evals.costs import Costs, costs_of
from freehold.evals.effects import Effect, Ints, Pairs, layered, mean_of
from freehold.evals.judged import FEWEST, Corrected, Judge, Labelled, Reading, corrected, judge_of, plugged_in
from freehold.evals.outcomes import Outcomes
from freehold.evals.selection import covariance, holm, lower_of_kept
from freehold.evals.soundness import Soundness, look
from freehold.kernel.errors import CallerError

Word = Literal["INVALID", "ROUTE", "OPEN_BETTER", "OPEN", "CLOSED", "INCONCLUSIVE"]
LEVEL = 0.05  # of every claim, one-sided
_FIFTH = 0.2
_POWER = 0.8
_MOST_STRATA = 1_000
_MOST_CASES = 10**9
_FEW_CLUSTERS, _GROUPED = 10, 1.25
_SHOWN = 5


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
    the traffic; needed_n: about so many cases more would decide; None where something cannot be said.
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


class Evidence(Protocol):
    """A difference with what there is to say about it."""

    @property
    def effect(self) -> Effect: ...

    @property
    def freedom(self) -> float: ...

    def bounds(self) -> Bounds: ...


class _Cases(NamedTuple):
    """The rows that count, as columns. rows: which they are; human: where a judge is corrected; groups: of clusters, None where every case stands alone."""

    rows: Ints
    first: Floats
    second: Floats
    human: Floats | None
    strata: Ints
    groups: Ints | None
    span: float
    is_binary: bool

    def of(self, rows: NDArray[np.bool_]) -> _Cases:
        """Some of them; a single cluster tells nothing of how clusters differ, so its cases stand alone."""
        groups = np.unique(self.groups[rows], return_inverse=True)[1] if self.groups is not None else None
        human = self.human[rows] if self.human is not None else None
        return self._replace(
            rows=self.rows[rows],
            first=self.first[rows],
            second=self.second[rows],
            human=human,
            strata=self.strata[rows],
            groups=groups if groups is not None and groups.max() > 0 else None,
        )

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

    def evidence(self, shares: Floats | None, *, is_watched: bool) -> Evidence:
        """shares: of the traffic, by stratum, where they are known beforehand."""
        if self.is_corrected:
            effect, weight = corrected(self.labelled)
            return Corrected(self.labelled, effect, weight)
        differences = self.first - self.second
        if is_watched:
            return _watched(differences, self.groups, self.span)
        if shares is None:
            effect, weights = mean_of(differences, None, self.groups), None
        else:
            effect = layered(differences, self.strata, shares, self.groups)
            weights = (shares / np.maximum(np.bincount(self.strata, minlength=len(shares)), 1))[self.strata]
        return Pairs(self.first, self.second, self.groups, self.is_binary, self.span, effect, weights)


class _Watched(NamedTuple):
    """Evidence that may be looked at any number of times."""

    differences: Floats
    span: float
    effect: Effect

    @property
    def freedom(self) -> float:
        return math.inf

    def bounds(self) -> Bounds:
        return Bets(self.differences, self.span)


def _watched(differences: Floats, groups: Ints | None, span: float) -> Evidence:
    """Of clusters, each counts as one case: the mean of its differences."""
    if groups is not None:
        counts = np.bincount(groups)
        differences = (np.bincount(groups, differences) / np.maximum(counts, 1))[counts > 0]
    return _Watched(differences, span, mean_of(differences))


# --- the verdict ----------------------------------------------------------------------------------------------------


def together(each: Sequence[tuple[Outcomes, Rule, Soundness]]) -> list[Verdict]:
    """Verdicts on several workloads that may all be acted on: Holm over those that decide something."""
    found: dict[int, Verdict] = {}
    while open_ := [at for at in range(len(each)) if at not in found]:
        level = LEVEL / len(open_)
        tried = {at: decide(each[at][0], replace(each[at][1], level=level), each[at][2]) for at in open_}
        decided = {at: one for at, one in tried.items() if one.whole.verdict != "INCONCLUSIVE"}
        found |= decided or tried
    return [found[at] for at in range(len(each))]


def decide(outcomes: Outcomes, rule: Rule, seen: Soundness = Soundness()) -> Verdict:  # noqa: B008 - it is frozen
    """Give the verdict. seen: what the answers themselves showed. Raises CallerError where there is nothing to compare."""
    if not math.isfinite(rule.margin) or rule.margin <= 0.0:
        raise CallerError(f"The margin must be above zero, not {rule.margin!r}.", code="verdict.margin", hint="It is how much worse the open model may be and still replace the closed one, such as 0.03.")  # fmt: skip
    sound = look(outcomes, seen)
    cases = _cases(outcomes, rule)
    shares = _shares(outcomes, cases, rule)
    evidence = cases.evidence(shares if rule.shares is not None else None, is_watched=rule.is_watched)
    whole = _finding(evidence, cases, 1.0, rule)
    strata = _strata(outcomes, cases, shares, rule, sound)
    route = (
        _route(outcomes, cases, strata, shares, rule)
        if any(one.finding.verdict == "CLOSED" for one in strata)
        else None
    )
    judge = judge_of(cases.labelled) if outcomes.is_judged else None
    word, reasons = _word(whole, strata, route, sound, judge)
    return Verdict(
        whole=msgspec.structs.replace(whole, verdict=word, needed_n=whole.needed_n if word == "INCONCLUSIVE" else None),
        strata=tuple(strata),
        route=route if word == "ROUTE" else None,
        reasons=tuple(reasons),
        cautions=tuple(dict.fromkeys((*sound.cautions, *_cautions(outcomes, cases, whole, strata, rule)))),
        left_out=outcomes.count - len(cases.first),
        judge=judge,
        readings=_readings(outcomes),
        ways=_ways(outcomes, cases, shares, route if word == "ROUTE" else None),
        costs=costs_of(outcomes),
        metric=outcomes.metric or ("right" if outcomes.is_binary else "score"),
        is_binary=outcomes.is_binary,
        is_watched=rule.is_watched,
    )


def _cases(outcomes: Outcomes, rule: Rule) -> _Cases:
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
    span = 1.0 if outcomes.is_binary else rule.span if rule.span is not None else (most - low) or 1.0
    if most - low > span * (1 + 1e-9):
        raise CallerError(f"Scores are from {low:g} to {most:g}, farther apart than the {span:g} that was said.", code="verdict.span")  # fmt: skip
    whole = _Cases(
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


_REFUSED = 3  # the last status in which a model answered badly; then comes what failed on the way


def _shares(outcomes: Outcomes, cases: _Cases, rule: Rule) -> Floats:
    """Of the traffic, by stratum: as it was said, else as the cases are. Raises CallerError `verdict.shares`."""
    names = outcomes.stratum_names
    counts = np.bincount(cases.strata, minlength=len(names)).astype(np.float64)
    if rule.shares is None:
        return np.asarray(counts / counts.sum())
    if unknown := sorted(set(rule.shares) ^ set(names)):
        raise CallerError(f"Shares and cases do not have the same strata: {', '.join(map(repr, unknown[:5]))}.", code="verdict.shares")  # fmt: skip
    shares = np.array([rule.shares[name] for name in names])
    if (shares <= 0).any() or abs(float(shares.sum()) - 1.0) > 1e-3 or (counts == 0).any():
        raise CallerError("Shares are above zero and sum to 1, and every stratum has cases.", code="verdict.shares")
    return np.asarray(shares / shares.sum())


def _finding(evidence: Evidence, cases: _Cases, share: float, rule: Rule) -> Finding:
    """All that is known of some cases; the word is of these alone."""
    bounds, effect, n = evidence.bounds(), evidence.effect, len(cases.first)
    worst, best = -cases.span, cases.span
    low, high = (min(best, max(worst, bound)) for bound in (bounds.lower(LEVEL / 2), bounds.upper(LEVEL / 2)))
    lower, upper = (min(best, max(worst, bound)) for bound in (bounds.lower(LEVEL), bounds.upper(LEVEL)))
    differences = cases.first - cases.second
    counts = int((differences > 0).sum()), int((differences < 0).sum())
    better, not_worse, worse = bounds.p_above(0.0), bounds.p_above(-rule.margin), bounds.p_below(-rule.margin)
    word = _proven(better, not_worse, worse, rule.level)
    is_plain = cases.is_binary and not cases.is_corrected
    return Finding(
        verdict=word,
        n=n,
        clusters=len(np.unique(cases.groups)) if cases.groups is not None else None,
        share=share,
        open=_number(float(cases.first.mean())),
        closed=_number(float(cases.second.mean())),
        difference=_number(effect.value),
        standard_error=_number(effect.error),
        standard_error_unclustered=_number(effect.plain_error),
        interval=(low, high) if math.isfinite(low + high) else None,
        lower_bound=_number(lower),
        upper_bound=_number(upper),
        p_mcnemar=mcnemar(*counts) if is_plain else None,
        margin=rule.margin,
        method=bounds.name,
        needed_n=_needed(effect, n, cases.span, rule) if word == "INCONCLUSIVE" else None,
        p_better=_number(better),
        p_not_worse=_number(not_worse),
        p_worse=_number(worse),
    )


def _proven(better: float, not_worse: float, worse: float, level: float) -> Word:
    if better <= level:
        return "OPEN_BETTER"
    return "OPEN" if not_worse <= level else "CLOSED" if worse <= level else "INCONCLUSIVE"


def _alone(found: Finding, rule: Rule) -> Word:
    return _proven(_sure(found.p_better), _sure(found.p_not_worse), _sure(found.p_worse), rule.level)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _needed(effect: Effect, n: int, span: float, rule: Rule) -> int | None:
    """So many cases more, of this kind and with this difference, and the chance to decide is four in five; None for more than anybody has."""
    error = effect.error
    if not math.isfinite(error):
        return None
    spread = max(error, span / n) * math.sqrt(n)  # where nothing differed, as if the next case would
    distance = abs(effect.value + rule.margin)
    reach = quantile(rule.level, math.inf) + quantile(1 - _POWER, math.inf)
    if distance <= 0.0 or (reach * spread / distance) ** 2 > _MOST_CASES:
        return None
    return max(1, math.ceil((reach * spread / distance) ** 2) - n)


def _readings(outcomes: Outcomes) -> dict[str, Reading]:
    """How a judge that passes or fails reads each side, where people labelled enough of it."""
    if not outcomes.is_judged or not outcomes.is_binary:
        return {}
    found = {}
    for side in ("open", "closed"):
        judge, human = outcomes.numbers[f"judge_{side}"], outcomes.numbers.get(f"human_{side}")
        has = ~np.isnan(judge)
        if human is not None and (read := plugged_in(judge[has], human[has])) is not None:
            found[side] = read[0]
    return found


# --- strata ---------------------------------------------------------------------------------------------------------


def _strata(outcomes: Outcomes, cases: _Cases, shares: Floats, rule: Rule, sound: Soundness) -> list[Stratum]:
    """Each stratum, with words that hold together; none where there is one alone, or more than can be looked at one by one."""
    names = outcomes.stratum_names
    if not 1 < len(names) <= _MOST_STRATA:
        return []
    found: list[Stratum] = []
    for name, code in sorted((name, code) for code, name in enumerate(names)):
        part = cases.strata == code
        if part.any():
            own = cases.of(part)
            finding = _finding(own.evidence(None, is_watched=rule.is_watched), own, float(shares[code]), rule)
            found.append(Stratum(name, finding))
    ps = [holm([_sure(getattr(one.finding, name)) for one in found]) for name in ("p_better", "p_not_worse", "p_worse")]
    words = [_proven(better, good, worse, rule.level) for better, good, worse in zip(*ps, strict=True)]
    return [
        Stratum(
            one.stratum,
            msgspec.structs.replace(one.finding, verdict="INVALID" if one.stratum in sound.broken else word),
        )
        for one, word in zip(found, words, strict=True)
    ]


def _sure(p: float | None) -> float:
    return 1.0 if p is None else p


def _route(outcomes: Outcomes, cases: _Cases, strata: Sequence[Stratum], shares: Floats, rule: Rule) -> Route | None:
    """Serve what is proven worse by the closed model, if the rest is proven good enough and is worth it."""
    names = {one.stratum for one in strata if one.finding.verdict == "CLOSED"}
    codes = {name: code for code, name in enumerate(outcomes.stratum_names)}
    kept = [one for one in strata if one.stratum not in names]
    share = sum(one.finding.share for one in kept)
    if rule.is_watched or not names or share < _FIFTH:
        return None
    part = np.isin(cases.strata, [codes[one.stratum] for one in kept])
    own = cases.of(part)
    of_kept = shares[[codes[one.stratum] for one in kept]] / share
    order = np.full(len(codes), -1)
    order[[codes[one.stratum] for one in kept]] = np.arange(len(kept))
    own = own._replace(strata=order[own.strata])
    evidence = own.evidence(of_kept if rule.shares is not None else None, is_watched=False)
    lower = min(evidence.bounds().lower(rule.level), _lower_of_kept(own, kept, of_kept, rule, len(names)))
    if lower <= -rule.margin:
        return None
    return Route(
        open=tuple(one.stratum for one in kept),
        closed=tuple(sorted(names)),
        share_open=share,
        difference=evidence.effect.value,
        lower_bound=lower,
    )


def _lower_of_kept(own: _Cases, kept: Sequence[Stratum], shares: Floats, rule: Rule, left_out: int) -> float:
    """The bound of the kept strata's mean, given that each of them could have been left out and was not."""
    pulls, freedoms = np.zeros(len(own.first)), []
    for code in range(len(kept)):
        part = own.strata == code
        one = own.of(part)
        evidence = one.evidence(None, is_watched=False)
        pulls[part] = evidence.effect.pull * math.sqrt(one.many / max(one.many - 1, 1))
        freedoms.append(evidence.freedom)
    means = np.array([one.finding.difference for one in kept], dtype=np.float64)
    errors = np.array([one.finding.standard_error or 0.0 for one in kept])
    reach = np.array([quantile(rule.level / len(kept), freedom) for freedom in freedoms])  # where Holm stopped
    spread = covariance(pulls, own.strata, own.groups, len(kept))
    return lower_of_kept(shares, means, spread, -rule.margin - reach * errors, rule.level)


def _ways(outcomes: Outcomes, cases: _Cases, shares: Floats, route: Route | None) -> dict[str, Way]:
    """Everything to the closed model, to the open one, or split: how good that is, and what a call costs."""
    counts = np.bincount(cases.strata, minlength=len(shares))
    weights = (shares / np.maximum(counts, 1))[cases.strata]
    costs = [outcomes.numbers.get(f"{side}_cost_usd") for side in ("open", "closed")]
    to_open = {"closed": np.zeros(cases.many, dtype=bool), "open": np.ones(cases.many, dtype=bool)}
    if route is not None:
        names = [code for code, name in enumerate(outcomes.stratum_names) if name in route.open]
        to_open["split"] = np.isin(cases.strata, names)
    found = {}
    for name, is_open in to_open.items():
        quality, cost = _around(np.where(is_open, cases.first, cases.second), weights, cases.groups), None
        if costs[0] is not None and costs[1] is not None:
            cost = _around(np.where(is_open, costs[0][cases.rows], costs[1][cases.rows]), weights, cases.groups)
        if quality is not None:
            found[name] = Way(quality, cost)
    return found


def _around(values: Floats, weights: Floats, groups: Ints | None) -> tuple[float, float, float] | None:
    """A mean and its two-sided 95 % interval, of the cases that have a value."""
    has = ~np.isnan(values)
    if has.sum() < 2:
        return None
    effect = mean_of(values[has], weights[has] / weights[has].sum(), groups[has] if groups is not None else None)
    bounds = Student(effect.value, max(effect.error, effect.plain_error), float(has.sum() - 1))
    return effect.value, bounds.lower(LEVEL / 2), bounds.upper(LEVEL / 2)


# --- the word -------------------------------------------------------------------------------------------------------


def _word(
    whole: Finding, strata: Sequence[Stratum], route: Route | None, sound: Soundness, judge: Judge | None
) -> tuple[Word, list[str]]:
    """The first of the six words that holds, and why."""
    if sound.faults:
        return "INVALID", list(sound.faults)
    reasons, word = [], whole.verdict
    worse = [one.stratum for one in strata if one.finding.verdict == "CLOSED"]
    if route is not None:
        word = "ROUTE"
        reasons.append(f"proven worse by more than the margin: {_listed(route.closed)}; the rest, {route.share_open:.0%} of the traffic, is proven good enough (above {route.lower_bound:+.4f}, corrected for the choice)")  # fmt: skip
    elif worse and word != "CLOSED":
        reasons.append(
            f"proven worse by more than the margin: {_listed(worse)}; but the rest, taken together, is not proven good enough"
        )
    if judge is not None and judge.labels < FEWEST:
        reasons.append(f"uncorrected judge: {judge.labels} labels by people where {FEWEST} are the least, so nobody knows how far its bias goes")  # fmt: skip
        if word in ("OPEN", "OPEN_BETTER", "ROUTE"):
            return "INCONCLUSIVE", reasons
    return word, [*reasons, _why(word, whole)] if word != "ROUTE" else reasons


def _why(word: Word, whole: Finding) -> str:
    lower, upper, margin = whole.lower_bound, whole.upper_bound, whole.margin
    if lower is None or upper is None:
        return "the cases do not vary enough, or are too few, to say how sure the difference is"
    if word == "OPEN_BETTER":
        return f"the difference is above {lower:+.4f}, so above zero"
    if word == "OPEN":
        return f"the difference is above {lower:+.4f}, so above the margin of {-margin:+g}"
    if word == "CLOSED":
        return f"the difference is below {upper:+.4f}, so below the margin of {-margin:+g}"
    more = f"about {whole.needed_n:,} cases more would decide" if whole.needed_n else "no number of cases that anybody has would decide"  # fmt: skip
    return f"the difference is between {lower:+.4f} and {upper:+.4f}, and the margin of {-margin:+g} lies in it; {more}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _cautions(
    outcomes: Outcomes, cases: _Cases, whole: Finding, strata: Sequence[Stratum], rule: Rule
) -> Iterator[str]:
    """What does not change the word, and should be known."""
    if outcomes.strange:
        yield f"fields that mean nothing here were passed over: {', '.join(outcomes.strange[:_SHOWN])}"
    if len(outcomes.stratum_names) > _MOST_STRATA:
        yield f"{len(outcomes.stratum_names):,} strata are too many to look at one by one"
    if outcomes.clusters is not None and cases.groups is None:
        yield "all cases are of one cluster, so nothing is known of how clusters differ: the errors are those of cases that stand alone"  # fmt: skip
    elif cases.groups is not None and (count := int(cases.groups.max()) + 1) < _FEW_CLUSTERS:
        yield f"there are only {count} clusters: the errors over them are themselves unsure"
    if outcomes.families is not None and not cases.is_corrected:
        over = mean_of(cases.first - cases.second, None, outcomes.families[cases.rows]).error
        if over > _GROUPED * (whole.standard_error_unclustered or math.inf):
            yield f"ids look as if cases belong together (what stands before their last number): with that as their cluster the standard error would be {over:.4f}, not {whole.standard_error_unclustered:.4f}"  # fmt: skip
    differ = int(np.count_nonzero(cases.first - cases.second))
    if not differ and not cases.is_corrected:
        yield "the two sides never differ: these cases may be too easy, or too hard, to tell them apart"
    alone = [
        one.stratum
        for one in strata
        if one.finding.verdict == "INCONCLUSIVE" and _alone(one.finding, rule) != "INCONCLUSIVE"
    ]
    if alone:
        yield f"{_listed(alone)} would be decided alone, and {'are' if len(alone) > 1 else 'is'} not among {len(strata)} strata that are looked at together (Holm)"
    if rule.is_watched and len(outcomes.stratum_names) > 1:
        yield "a split by stratum (ROUTE) is not given while a run is being watched"
