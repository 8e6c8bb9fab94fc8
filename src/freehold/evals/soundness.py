"""What is the harness's fault and not the model's: found before anything is claimed. Pure.

Rules: what holds for one side holds for the other, so that turning the sides round changes no finding; one exception, the closed side's collapse in one stratum,
because the closed model is the one that is known to work there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from freehold.evals.bounds import mcnemar
from freehold.evals.judged import Labelled, is_turned
from freehold.evals.outcomes import STATUSES, Outcomes

_MOST_BAD = 0.05  # of answers that were cut off, could not be read or were refused, on one side
_APART, _SURE = 0.02, 0.01  # how far apart error rates of the sides may be, and how sure that is
_RARE = 0.001
_ERROR = STATUSES.index("error")
_MOST_LOST = 0.1  # of cases without an outcome on one side
_LOW, _USUAL, _FALLEN, _LEAST = 0.1, 0.5, 0.6, 20  # right in a stratum, elsewhere, beside elsewhere; cases of it
_SHOWN = 5


class Soundness(NamedTuple):
    """faults: why nothing may be claimed; cautions: what should be known; broken: strata in which the harness failed."""

    faults: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    broken: frozenset[str] = frozenset()


def look(outcomes: Outcomes, seen: Soundness, margin: float, span: float) -> Soundness:
    """Look for everything that would make a verdict lie. seen: what only the answers themselves could show."""
    broken = dict(_collapsed(outcomes))
    faults = [
        *seen.faults,
        *_twice(outcomes),
        *_statuses(outcomes),
        *_lost(outcomes, margin, span),
        *_turned(outcomes),
        *_never(outcomes),
        *broken.values(),
    ]
    return Soundness(tuple(faults), (*seen.cautions, *_weak(outcomes)), frozenset(broken) | seen.broken)


def _twice(outcomes: Outcomes) -> Iterator[str]:
    if outcomes.twice:
        shown = ", ".join(repr(name) for name in outcomes.twice[:_SHOWN])
        more = f" and {len(outcomes.twice) - _SHOWN:,} more" if len(outcomes.twice) > _SHOWN else ""
        yield f"duplicated id: {shown}{more}. Two rows of one case are not two cases; mark cases that belong together with cluster."


def _statuses(outcomes: Outcomes) -> Iterator[str]:
    """Bad endings: too many on one side, in all or in one stratum."""
    for side, status in outcomes.statuses.items():
        if (status < 0).all():
            continue
        for code in range(1, len(STATUSES) - 1):
            share = float((status == code).mean())
            if share > _MOST_BAD:
                yield f"{share:.0%} of the {side} side's answers are {STATUSES[code]} (more than {_MOST_BAD:.0%}): {_MEND[STATUSES[code]]}."
        yield from _format_collapse(outcomes, side, status)


_MEND = {
    "truncated": "raise the limit of an answer (max_tokens)",
    "unparseable": "mend the prompt's format or the reader of answers",
    "refused": "a prompt that is refused measures the refusal, not the work",
}


def _format_collapse(outcomes: Outcomes, side: str, status: NDArray[np.int8]) -> Iterator[str]:
    """A stratum in which most answers could not be read, cut off or unparseable, and elsewhere few."""
    is_bad = (status == 1) | (status == 2)
    counts = np.bincount(outcomes.strata)
    if len(counts) < 2:
        return
    bad = np.bincount(outcomes.strata, is_bad)
    for code in np.flatnonzero((counts >= _LEAST) & (bad > counts / 2)):
        yield f"format collapse: {bad[code] / counts[code]:.0%} of the {side} side's answers in {outcomes.stratum_names[code]!r} could not be read."


def _lost(outcomes: Outcomes, margin: float, span: float) -> Iterator[str]:
    """Cases without an outcome: too many on a side, or more on one side than on the other, or more than the margin."""
    names = ("judge_open", "judge_closed") if outcomes.is_judged else ("open", "closed")
    gone = []
    for side, name in zip(("open", "closed"), names, strict=True):
        status = outcomes.statuses[side]
        gone.append((np.isnan(outcomes.numbers[name]) & ((status < 1) | (status == _ERROR))) | (status == _ERROR))
        share = float(gone[-1].mean())
        if share > _MOST_LOST:
            yield f"{share:.0%} of the cases have no outcome on the {side} side: what is left is not a sample of what was asked."
    rates = [float(one.mean()) for one in gone]
    alone = int((gone[0] & ~gone[1]).sum()), int((gone[1] & ~gone[0]).sum())
    share = margin / span
    if abs(rates[0] - rates[1]) > min(_APART, share / 2.0) and mcnemar(*alone) < _SURE:
        yield f"errors on the way, or outcomes that are missing, differ between the sides: {rates[0]:.1%} open, {rates[1]:.1%} closed. What failed is not a sample of what was asked."
    elif (either := float((gone[0] | gone[1]).mean())) > share:
        yield f"{either:.1%} of the cases have no outcome on a side, and that is more than the margin: what is missing could turn the verdict."


def _never(outcomes: Outcomes) -> Iterator[str]:
    sides = [outcomes.numbers.get(name) for name in ("open", "closed")]
    if outcomes.is_judged or not outcomes.is_binary or sides[0] is None or sides[1] is None or outcomes.count < _LEAST:
        return
    if not np.nansum(sides[0]) and not np.nansum(sides[1]):
        yield "neither side is ever right: that measures the cases, or whoever reads the answers."


def _turned(outcomes: Outcomes) -> Iterator[str]:
    numbers = outcomes.numbers
    if not outcomes.is_judged or "human_open" not in numbers or "human_closed" not in numbers:
        return
    judge, human = numbers["judge_open"] - numbers["judge_closed"], numbers["human_open"] - numbers["human_closed"]
    has = ~np.isnan(judge)
    if is_turned(Labelled(judge[has], human[has], None, 1.0)):
        yield "swapped labels: where people prefer one side, the judge prefers the other. One of the two has its columns the wrong way round."


def _collapsed(outcomes: Outcomes) -> Iterator[tuple[str, str]]:
    """Strata in which a side that is usually right is nearly always wrong, and it looks like its harness: the other side has fallen there too, but is far
    better; or it is the closed side, which is known to work. Source of the pattern: shared with the paired outcomes of MMLU, where a reader of answers
    failed on one subject.
    """
    if not outcomes.is_binary or outcomes.is_judged or len(outcomes.stratum_names) < 2:
        return
    sides = {side: outcomes.numbers[side] for side in ("open", "closed")}
    both = ~np.isnan(sides["open"] + sides["closed"])
    strata, size = outcomes.strata[both], len(outcomes.stratum_names)
    counts = np.bincount(strata, minlength=size)
    right = {side: np.bincount(strata, values[both], minlength=size) for side, values in sides.items()}
    whole = {side: float(each.sum()) for side, each in right.items()}
    for code in np.flatnonzero(counts >= _LEAST):
        for side, other in (("open", "closed"), ("closed", "open")):
            n, rest = int(counts[code]), float(counts.sum() - counts[code])
            if rest <= 0:
                continue
            here, there = right[side][code], right[other][code]
            usual, others = (whole[side] - here) / rest, (whole[other] - there) / rest
            is_low = (
                special.bdtr(here, n, _LOW) < 0.05
                and usual >= _USUAL
                and special.bdtrc(there - 1, n, max(here, 1.0) / n) < _RARE
            )
            has_fallen = there / n < _FALLEN * others and special.bdtr(there, n, others) < _RARE
            if is_low and (has_fallen or side == "closed"):
                name = outcomes.stratum_names[code]
                why = f"format collapse: in {name!r} the {side} side is right in {here:.0f} of {n} cases ({here / n:.0%}) where it usually is in {usual:.0%}, and the other side is in {there / n:.0%}. That looks like answers that were not read; mend it, or leave the stratum out."
                yield name, why


def _weak(outcomes: Outcomes) -> Iterator[str]:
    """Bad endings below what makes a verdict void."""
    for side, status in outcomes.statuses.items():
        found = {
            name: float((status == code).mean())
            for code, name in enumerate(STATUSES)
            if code and (status == code).any()
        }
        if found:
            yield f"{side} side: " + ", ".join(f"{share:.1%} {name}" for name, share in found.items())
