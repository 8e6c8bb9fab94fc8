"""What a run found, as outcomes: of each side one number a case, and what is the harness's fault and shows only in the answers themselves."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from freehold.evals.bounds import quantile
from freehold.evals.datasets import Case
from freehold.evals.outcomes import Row
from freehold.evals.running import Scored, Side
from freehold.evals.scorers import normal
from freehold.evals.tasks import AnyMetric, Exact, Human, Judged, Normalised, Own, Task, name_of, wrong

_WORST = ("error", "refused", "truncated", "unparseable")
_LEAST, _FEW_LABELS, _BETTER = 20, 20, 0.3


Said = bool | Annotated[float, msgspec.Meta(ge=0, le=1)] | None


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says of a case: of each side right or wrong, or how far it is the better one, from 0 to 1. open: which open model's answer was shown, ""
    where there is one alone.
    """

    id: str | int
    human_open: Said = None
    human_closed: Said = None
    open: str = ""


class Of(NamedTuple):
    """Which outcomes: of which task and metric, and which open side."""

    task: Task
    metric: AnyMetric
    open: str


def check(task: Task, cases: Sequence[Case]) -> None:
    """Raises CallerError for a margin or shares that could never be judged by: before anything is asked."""
    span = task.span if task.span is not None else None if isinstance(task.metrics[0], Own) else 1.0
    if span is not None and task.margin >= span:
        raise wrong(
            f"has a margin of {task.margin:g} where two scores cannot be farther apart than {span:g}: three points are 0.03"
        )
    shares = task.strata.shares
    if shares is None:
        return
    counts = Counter(case.stratum for case in cases)
    if odd := sorted(set(shares) ^ set(counts)):
        raise wrong(f"has shares of other strata than its cases: {', '.join(map(repr, odd[:5]))}")
    if few := sorted(name for name, count in counts.items() if count < 2):
        raise wrong(f"has shares, and less than two cases of {', '.join(map(repr, few[:5]))}")
    if not all(share > 0 for share in shares.values()) or abs(sum(shares.values()) - 1.0) > 1e-3:
        raise wrong("has shares that are not above zero, or do not sum to 1")


def rows_of(of: Of, scored: Sequence[Scored], labels: Mapping[str, Label]) -> list[Row]:
    """Outcomes of one open side against the closed one, of cases that were allowed to go to both."""
    inputs = Counter(one.inputs for one in scored)
    told = [one for one in scored if not one.is_forbidden]
    if isinstance(of.metric, Human):  # what nobody was shown is not missing
        told = [one for one in told if (label := labels.get(one.id)) is not None and label.open in ("", of.open)]
    return [_row(of, one, labels.get(one.id), inputs) for one in told]


def _row(of: Of, one: Scored, label: Label | None, inputs: Counter[str]) -> Row:
    first, second = one.sides[of.open], one.sides[of.task.targets.closed]
    metric, open_, name = of.metric, of.open, name_of(of.metric)
    judge: tuple[float | None, float | None] = (None, None)
    human: tuple[Said, Said] = (None, None)
    if label is not None and isinstance(metric, Judged | Human) and label.open in ("", open_):
        human = label.human_open, label.human_closed
    if isinstance(metric, Judged):
        preference, (of_open, of_closed) = one.judged.get(name, {}).get(open_, (None, (None, None)))
        if metric.mode == "grade":
            judge = of_open, of_closed
        elif preference is not None:
            judge = preference, 1.0 - preference
    # Two cases that ask the same are one question asked twice, whoever said so or not.
    cluster = (
        one.cluster if one.cluster is not None else f"input {one.inputs[:16]}" if len(inputs) < inputs.total() else None
    )
    return Row(
        id=one.id,
        open=human[0] if isinstance(metric, Human) else mean_score(first, name),
        closed=human[1] if isinstance(metric, Human) else mean_score(second, name),
        stratum=one.stratum or None,
        cluster=cluster,
        open_cost_usd=first.cost_usd,
        closed_cost_usd=second.cost_usd,
        open_latency_s=first.seconds,
        closed_latency_s=second.seconds,
        open_status=None if isinstance(metric, Human) else _status(first),
        closed_status=None if isinstance(metric, Human) else _status(second),
        judge_open=judge[0],
        judge_closed=judge[1],
        human_open=human[0] if isinstance(metric, Judged) else None,
        human_closed=human[1] if isinstance(metric, Judged) else None,
    )


def mean_score(side: Side, metric: str) -> float | None:
    """Over the samples that came back; a bad one counts as nought beside others."""
    scores = side.scores.get(metric) or [None] * len(side.statuses)
    told = [score for score, status in zip(scores, side.statuses, strict=True) if status not in ("error", "forbidden")]
    if not told or all(score is None for score in told):
        return None
    return sum(score or 0.0 for score in told) / len(told)


def _status(side: Side) -> str:
    """The worst that half of the samples, or more, had."""
    for word in _WORST:
        if side.statuses.count(word) * 2 >= len(side.statuses):
            return word
    return "ok"


def half_of(about: str) -> int:
    """0 to choose on, 1 to prove on."""
    return hashlib.sha256(f"half {about}".encode()).digest()[0] % 2


def choose(task: Task, scored: Sequence[Scored], labels: Mapping[str, Label]) -> tuple[Of, list[Scored], str | None]:
    """The best open side, the cases that prove it, and what has to be said of the choice: of several, it is chosen on one half and proven on the other."""
    metric = task.metrics[0]
    if len(task.opens) == 1:
        return Of(task, metric, task.opens[0]), list(scored), None
    first, second = ([one for one in scored if half_of(one.id) == half] for half in (0, 1))
    means = {}
    for name in task.opens:
        known = [value for row in rows_of(Of(task, metric, name), first, labels) if (value := _score(row)) is not None]
        means[name] = sum(known) / len(known) if known else -math.inf
    best = max(means, key=lambda name: (means[name], name))
    shown = ", ".join(f"{name} {mean:.3g}" for name, mean in sorted(means.items(), key=lambda one: -one[1]))
    return (
        Of(task, metric, best),
        second,
        f"{best} was chosen of {len(means)} on one half of the cases ({shown}); what stands here is of the other half",
    )


def _score(row: Row) -> float | None:
    value = row.judge_open if row.judge_open is not None else row.open
    return float(value) if value is not None and not isinstance(value, dict) else None


# --- what shows only in the answers -----------------------------------------------------------------------------


def faults(task: Task, scored: Sequence[Scored], cases: Mapping[str, Case]) -> Iterator[str]:
    """Why nothing may be claimed."""
    expected = [str(cases[one.id].expected) for one in scored]
    for target in task.sides:
        digests = {one.sides[target].digest for one in scored if "ok" in one.sides[target].statuses}
        asked = {one.inputs for one in scored}
        if len(digests) == 1 and len(asked) >= _LEAST and (len(set(expected)) > 1 or expected[0] == "None"):
            yield f"identical outputs: {target} gave the same answer to {len(asked):,} different inputs"
        answered = Counter(name for one in scored for name in one.sides[target].targets if name)
        if answered and all(name != target for name in answered) and "/" in target:
            yield f"swapped targets: {target} was asked, and {answered.most_common(1)[0][0]} answered"
    if isinstance(task.metrics[0], Exact | Normalised) and (swapped := _swapped(task, scored, expected)):
        yield swapped


def _swapped(task: Task, scored: Sequence[Scored], expected: list[str]) -> str | None:
    """Labels that stand for each other on every side."""
    labels = sorted(set(expected))
    if not 2 <= len(labels) <= _FEW_LABELS or len(scored) < _LEAST:
        return None
    maps, known = [], {normal(label): at for at, label in enumerate(labels)}
    for target in task.sides:
        counts = np.zeros((len(labels), len(labels)))
        for one, meant in zip(scored, expected, strict=True):
            at = known.get(one.sides[target].said or "")
            if at is not None:
                counts[labels.index(meant), at] += 1
        rows, columns = linear_sum_assignment(-counts)
        if counts.sum() < _LEAST or counts[rows, columns].sum() - np.trace(counts) < _BETTER * counts.sum():
            return None
        maps.append(tuple(columns))
    if len(set(maps)) != 1:
        return None
    moved = sum(at != to for at, to in enumerate(maps[0]))
    return f"swapped labels: on every side answers fit far better if {moved} of the {len(labels)} labels that are expected stand for one another"


def cautions(task: Task, scored: Sequence[Scored], best: str) -> Iterator[str]:
    """What should be known beside the verdict."""
    forbidden = sum(one.is_forbidden for one in scored)
    if forbidden:
        yield f"{forbidden:,} of {len(scored):,} cases may not go to every side under their class, and are in no number here"
    inputs = Counter(one.inputs for one in scored)
    if len(inputs) < inputs.total() and all(one.cluster is None for one in scored):
        yield f"{inputs.total() - len(inputs):,} cases ask what another one asks; they count as one cluster each, though the task did not say so"
    for target in task.sides:
        answered = Counter(name for one in scored for name in one.sides[target].targets if name)
        if len(answered) > 1:
            shares = ", ".join(f"{name} {count / answered.total():.0%}" for name, count in answered.most_common(4))
            yield f"{target} was answered by several targets: {shares}"
    for target in task.sides:
        codes = Counter(code for one in scored for code in one.sides[target].codes)
        if codes:
            yield f"calls to {target} failed: " + ", ".join(
                f"{count:,} × {code}" for code, count in codes.most_common(4)
            )
    if task.ask.samples > 1:
        yield _variances(task, scored, best)
        if task.ask.temperature == 0:
            yield "samples of one case were drawn at temperature 0, where they hardly differ"
    yield from _judge_cautions(task, scored, best)


def _variances(task: Task, scored: Sequence[Scored], best: str) -> str:
    """How much of what varies is between cases, and how much between samples of one."""
    name, shares = name_of(task.metrics[0]), []
    for target in (best, task.targets.closed):
        each = [
            [score or 0.0 for score in one.sides[target].scores.get(name, [])] for one in scored if not one.is_forbidden
        ]
        each = [scores for scores in each if len(scores) == task.ask.samples]
        if len(each) < 2:
            continue
        within = float(np.mean([np.var(scores, ddof=1) for scores in each]))
        between = max(0.0, float(np.var([np.mean(scores) for scores in each], ddof=1)) - within / task.ask.samples)
        shares.append(f"{target} {between:.4g} between cases and {within:.4g} between samples of one")
    return "variance: " + "; ".join(shares)


def _judge_cautions(task: Task, scored: Sequence[Scored], best: str) -> Iterator[str]:
    """Whether a judge looks at the order or the length of answers."""
    for metric in task.metrics:
        if not isinstance(metric, Judged) or metric.mode != "pair":
            continue
        name = name_of(metric)
        both = []
        for one in scored:
            heard = one.judged.get(name, {}).get(best, (None, (None, None)))[1]
            if heard[0] is not None and heard[1] is not None:
                both.append((heard[0], heard[1], one))
        if len(both) < _LEAST:
            continue
        changed = sum(straight != turned for straight, turned, _ in both)
        firsts = float(np.mean([straight + 1.0 - turned for straight, turned, _ in both])) / 2.0
        yield f"the judge {metric.target} changes its mind with the order in {changed / len(both):.0%} of the cases, and prefers the first answer in {firsts:.0%}; both orders were asked"
        closed = task.targets.closed
        longer = np.log([(one.sides[best].length + 1) / (one.sides[closed].length + 1) for *_, one in both])
        preferred = np.array([straight + turned - 1.0 for straight, turned, _ in both])
        if longer.std() > 0:
            yield from _length(metric.target, longer, preferred)


def _length(judge: str, longer: Any, preferred: Any) -> Iterator[str]:
    """The difference as it would be between answers of one length, by a line through preference against the logarithm of the lengths' ratio."""
    design = np.column_stack([np.ones(len(longer)), longer])
    fit, *_ = np.linalg.lstsq(design, preferred, rcond=None)
    off = preferred - design @ fit
    inverse = np.linalg.inv(design.T @ design)
    errors = np.sqrt(np.diag(inverse @ (design.T * off**2) @ design @ inverse))
    if abs(fit[1]) > quantile(0.025, len(longer) - 2.0) * errors[1]:
        yield f"the judge {judge} prefers {'longer' if fit[1] > 0 else 'shorter'} answers: between answers of one length the difference would be {fit[0]:+.3f} (standard error {errors[0]:.3f}) instead of {preferred.mean():+.3f}"
