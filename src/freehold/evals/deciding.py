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
from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from freehold.evals.bounds import LEVEL
from freehold.evals.costs import costs_of
from freehold.evals.effects import Layers, mean_of
from freehold.evals.evidence import Cases, cases_of, check, shares_of
from freehold.evals.findings import alone, finding_of
from freehold.evals.judged import FEWEST, Reading, is_drawn, judge_of, plugged_in
from freehold.evals.outcomes import Outcomes
from freehold.evals.soundness import Soundness, look
from freehold.evals.splitting import MOST_STRATA, route_of, strata_of, ways_of
from freehold.evals.verdicts import Finding, Route, Rule, Stratum, Verdict, Word

_FEW_CLUSTERS, _GROUPED, _MUCH = 10, 1.25, 0.1
_SHOWN = 5


def together(each: Sequence[tuple[Outcomes, Rule, Soundness]]) -> list[Verdict]:
    """Verdicts on several workloads that may all be acted on: Holm over those that decide something."""
    found: dict[int, Verdict] = {}
    while open_ := [at for at in range(len(each)) if at not in found]:
        tried = {at: decide(each[at][0], replace(each[at][1], level=LEVEL / len(open_)), each[at][2]) for at in open_}
        decided = {at: one for at, one in tried.items() if one.whole.verdict != "INCONCLUSIVE"}
        found |= decided or tried
    return [found[at] for at in range(len(each))]


def decide(outcomes: Outcomes, rule: Rule, seen: Soundness = Soundness()) -> Verdict:  # noqa: B008 - it is frozen
    """Give the verdict. seen: what the answers themselves showed. Raises CallerError where there is nothing to compare."""
    cases = cases_of(outcomes, rule)
    check(outcomes, cases, rule)
    sound = look(outcomes, seen, rule.margin, cases.span)
    shares = shares_of(outcomes, cases, rule)
    layers = Layers(cases.strata, shares, cases.span) if rule.shares is not None else None
    whole = finding_of(cases.evidence(layers, is_watched=rule.is_watched), cases, layers, rule)
    strata = strata_of(outcomes, cases, shares, rule, sound)
    route = route_of(outcomes, cases, strata, shares, rule)
    judge = judge_of(cases.labelled) if outcomes.is_judged else None
    word, reasons = _word(whole, strata, route, sound, cases, is_judged=outcomes.is_judged)
    return Verdict(
        whole=msgspec.structs.replace(whole, verdict=word, needed_n=whole.needed_n if word == whole.verdict else None),
        strata=tuple(strata),
        route=route if word == "ROUTE" else None,
        reasons=tuple(reasons),
        cautions=tuple(dict.fromkeys((*sound.cautions, *_cautions(outcomes, cases, whole, strata, rule)))),
        left_out=outcomes.count - len(cases.first),
        judge=judge,
        readings=_readings(outcomes),
        ways=ways_of(outcomes, cases, shares, route if word == "ROUTE" else None),
        costs=costs_of(outcomes),
        metric=outcomes.metric or ("right" if outcomes.is_binary else "score"),
        is_binary=outcomes.is_binary,
        is_watched=rule.is_watched,
    )


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


def _word(
    whole: Finding, strata: Sequence[Stratum], route: Route | None, sound: Soundness, cases: Cases, *, is_judged: bool
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
    doubt = _doubt(cases) if is_judged else ""
    if doubt and word in ("OPEN", "OPEN_BETTER", "ROUTE"):
        return "INCONCLUSIVE", [doubt]
    if doubt and word == "INCONCLUSIVE":
        return word, [doubt]
    return word, [*([doubt] if doubt else []), *reasons, *([] if word == "ROUTE" else [_why(word, whole)])]


def _doubt(cases: Cases) -> str:
    """Why a judge's word is not to be trusted; "" if people checked it as they should."""
    labels, has = cases.labelled, cases.labelled.has_label
    if labels.labels < FEWEST:
        return f"uncorrected judge: {labels.labels} labels by people where {FEWEST} are the least, so nobody knows how far its bias goes"
    counts, labelled = np.bincount(cases.strata), np.bincount(cases.strata[has], minlength=int(cases.strata.max()) + 1)
    if not is_drawn(labels) or (labelled[counts > _MUCH * len(has)] == 0).any():
        return "labels are not of cases drawn by chance: the labelled ones are quite different from the others, so what people say of them is not true of all"
    return ""


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
    more = "no number of cases that anybody has would decide"
    if needed := whole.needed_n or whole.needed_labels:
        more = f"about {needed:,} {'cases' if whole.needed_n else 'labels by people'} more would decide"
    return f"the difference is between {lower:+.4f} and {upper:+.4f}, and the margin of {-margin:+g} lies in it; {more}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _cautions(outcomes: Outcomes, cases: Cases, whole: Finding, strata: Sequence[Stratum], rule: Rule) -> Iterator[str]:
    """What does not change the word, and should be known."""
    if outcomes.strange:
        yield f"fields that mean nothing here were passed over: {', '.join(outcomes.strange[:_SHOWN])}"
    if outcomes.is_judged and ("open" in outcomes.numbers or "closed" in outcomes.numbers):
        yield "the judge's scores are what is compared (judge_open, judge_closed); open and closed are not used"
    if not outcomes.is_judged and ("human_open" in outcomes.numbers or "human_closed" in outcomes.numbers):
        yield "what people say corrects a judge (judge_open, judge_closed), and there is none: human_open and human_closed are not used"
    if len(outcomes.stratum_names) > MOST_STRATA:
        yield f"{len(outcomes.stratum_names):,} strata are too many to look at one by one"
    if cases.groups is not None and (count := int(cases.groups.max()) + 1) < _FEW_CLUSTERS:
        few = "all cases are of one cluster, so nobody knows how clusters differ, and nothing can be claimed"
        yield few if count == 1 else f"there are only {count} clusters: the errors over them are themselves unsure"
    elif cases.groups is not None and (unseen := 1.0 - LEVEL ** (1.0 / count)) > rule.margin / cases.span:
        yield f"of {count} clusters, up to {unseen:.0%} of all that there are could be failing wholly without one of them being here"
    if not outcomes.is_binary and rule.span is None:
        yield f"nobody said how far apart two scores can be; {cases.span:g} is assumed (--span). Losses that are rare and large, and not among these cases, cannot be seen"
    if rule.level < LEVEL:
        yield f"decided together with other tasks, at a level of {rule.level:.3g}: the bounds shown are those of one alone"
    if outcomes.families is not None and not cases.is_corrected:
        over = mean_of(cases.first - cases.second, None, outcomes.families[cases.rows]).error
        if over > _GROUPED * (whole.standard_error_unclustered or math.inf):
            yield f"ids look as if cases belong together (what stands before their last number): with that as their cluster the standard error would be {over:.4f}, not {whole.standard_error_unclustered:.4f}"  # fmt: skip
    differ = int(np.count_nonzero(cases.first - cases.second))
    if not differ and not cases.is_corrected:
        yield "the two sides never differ: these cases may be too easy, or too hard, to tell them apart"
    held = [
        one.stratum
        for one in strata
        if one.finding.verdict == "INCONCLUSIVE" and alone(one.finding, rule) != "INCONCLUSIVE"
    ]
    if held:
        yield f"{_listed(held)} would be decided alone, and {'are' if len(held) > 1 else 'is'} not among {len(strata)} strata that are looked at together (Holm)"
    if rule.is_watched and len(outcomes.stratum_names) > 1:
        yield "a split by stratum (ROUTE) is not given while a run is being watched"
