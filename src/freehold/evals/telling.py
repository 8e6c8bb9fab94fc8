"""A verdict in tables, sentences and data, for a terminal, a page and a program alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from freehold.evals.verdicts import Finding, Verdict, Way

WORDS = {
    "OPEN": "The open model is good enough",
    "OPEN_BETTER": "The open model is better",
    "CLOSED": "Stay with the closed model",
    "ROUTE": "Split the work",
    "INCONCLUSIVE": "Not known yet",
    "INVALID": "This measured something else",
}


_CODES = {"INVALID": 2, "INCONCLUSIVE": 1}


def code_of(verdict: Verdict) -> int:
    """The exit code: 0 for decided, 1 for not, 2 for an evaluation that is itself at fault."""
    return _CODES.get(verdict.whole.verdict, 0)


class Table(NamedTuple):
    """A table. right: the columns of numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: tuple[str, ...] = ()


def data(verdict: Verdict, seal: dict[str, Any] | None) -> dict[str, Any]:
    """Everything, as what JSON is made of."""
    whole = msgspec.to_builtins(verdict.whole)
    strata = [{"stratum": one.stratum, **msgspec.to_builtins(one.finding)} for one in verdict.strata]
    rest = {name: msgspec.to_builtins(getattr(verdict, name)) for name in ("route", "reasons", "cautions", "left_out", "judge", "readings", "ways", "costs", "metric", "is_watched")}  # fmt: skip
    return {**whole, "strata": strata, **rest, "seal": seal}


def quotable(verdict: Verdict) -> str:
    """The sentence that somebody who decides may quote."""
    whole = verdict.whole
    if whole.verdict == "INVALID":
        return f"{WORDS['INVALID']}: the numbers below say nothing about the models until it is mended."
    if whole.difference is None or whole.interval is None:
        return f"{WORDS[whole.verdict]}: {whole.n:,} cases say nothing about the difference."
    low, high = whole.interval
    side = "better" if whole.difference > 0 else "worse"
    how = "exactly as good as" if not whole.difference else f"{_points(abs(whole.difference), verdict)} {side} than"
    seen = f"On the same {whole.n:,} cases the open model was {how} the closed one"
    sure = f"95 % sure: between {_signed(low, verdict)} and {_signed(high, verdict)}"
    return (
        f"{WORDS[whole.verdict]}. {seen} ({sure}); up to {_points(whole.margin, verdict)} worse was to be good enough."
    )


def tables(verdict: Verdict) -> Iterator[Table]:
    """Everything that is a table, the most important first."""
    right = ("cases", "open", "closed", "difference", "95 % interval", "lower bound", "upper bound", "share")
    rows = [
        _row("all", verdict.whole, verdict),
        *(_row(one.stratum or "(none)", one.finding, verdict) for one in verdict.strata),
    ]
    yield Table("Open against closed", ("", "verdict", *right), rows, right)
    if verdict.route is not None:
        names = {"closed": "all to the closed model", "split": "split", "open": "all to the open model"}
        routed = [(names[name], *_way(verdict.ways[name], verdict)) for name in names if name in verdict.ways]
        columns = ("quality", "USD per 1,000 calls")
        yield Table("What a split would be", ("", *columns), routed, columns)
    if verdict.costs is not None:
        yield from _costs(verdict)
    if verdict.judge is not None and verdict.judge.labels:
        yield _judge(verdict)


def _row(name: str, found: Finding, verdict: Verdict) -> tuple[str, ...]:
    interval = "–" if found.interval is None else " to ".join(_signed(end, verdict) for end in found.interval)
    means = [_share(mean, verdict) for mean in (found.open, found.closed)]
    bounds = [_signed(bound, verdict) for bound in (found.difference, found.lower_bound, found.upper_bound)]
    return name, found.verdict, f"{found.n:,}", *means, bounds[0], interval, *bounds[1:], f"{found.share:.0%}"


def _way(way: Way, verdict: Verdict) -> tuple[str, str]:
    value, low, high = way.quality
    cost = "–" if way.cost_usd is None else _money(way.cost_usd, 1_000)
    return f"{_share(value, verdict)} ({_share(low, verdict)} to {_share(high, verdict)})", cost


def _costs(verdict: Verdict) -> Iterator[Table]:
    costs = verdict.costs
    assert costs is not None
    rows = []
    if costs.per_call:
        rows.append(
            ("1,000 calls, USD", *(_money(costs.per_call[side], 1_000) for side in ("open", "closed", "difference")))
        )
    if costs.per_success is not None:
        rows.append(
            (
                "1,000 right answers, USD",
                *(_money(costs.per_success[side], 1_000) for side in ("open", "closed", "difference")),
            )
        )
    if costs.ratio is not None:
        value, low, high = costs.ratio
        rows.append(("open costs, times closed", f"{value:.3g} ({low:.3g} to {high:.3g})", "", ""))
    if costs.latency_s is not None:
        each = [f"{costs.latency_s[side][0]:.3g} s ({costs.latency_s[side][1]:.3g} s)" for side in ("open", "closed")]
        value, low, high = costs.latency_s["difference"]
        rows.append(("time, median (p95); mean difference", *each, f"{value:+.3g} s ({low:+.3g} to {high:+.3g})"))
    columns = ("open", "closed", "difference")
    yield Table("Cost and time", ("", *columns), rows, columns)


def _judge(verdict: Verdict) -> Table:
    judge = verdict.judge
    assert judge is not None
    rows = [("labels by people", f"{judge.labels:,}")]
    if judge.bias is not None and judge.bias_interval is not None:
        low, high = judge.bias_interval
        rows.append(("it favours the open model by", f"{judge.bias:+.4f} ({low:+.4f} to {high:+.4f})"))
    if judge.correlation is not None:
        rows.append(("correlation with people", f"{judge.correlation:.2f}"))
    helps = (
        f"as many as {judge.worth_labels:,.0f} labels"
        if judge.is_of_use
        else "no more than the labels alone: it agrees with people too little"
    )
    rows.append(("together they are worth", helps))
    for side, read in verdict.readings.items():
        rows.append(
            (
                f"{side}: passes what people pass, fails what they fail",
                f"{read.sensitivity:.0%}, {read.specificity:.0%}",
            )
        )
        rows.append(
            (
                f"{side}: would pass, its errors taken out (plug-in)",
                f"{read.corrected:.1%} ± {read.error:.1%}, not {read.passes:.1%}",
            )
        )
    return Table("The judge, held against people", ("", "value"), rows, ("value",))


def sentences(verdict: Verdict) -> Iterator[str]:
    """Why, and what should be known."""
    for reason in verdict.reasons:
        yield f"{reason[0].upper()}{reason[1:]}" + ("" if reason.endswith(".") else ".")
    if verdict.left_out:
        yield f"{verdict.left_out:,} cases had no outcome on both sides, and are in nothing above."
    for caution in verdict.cautions:
        yield f"Mind: {caution}."


def _share(value: float | None, verdict: Verdict) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if verdict.is_binary else f"{value:.4g}"


def _points(value: float, verdict: Verdict) -> str:
    return f"{value * 100:.3g} points" if verdict.is_binary else f"{value:.3g}"


def _signed(value: float | None, verdict: Verdict) -> str:
    if value is None:
        return "–"
    return f"{value * 100:+.1f}" if verdict.is_binary else f"{value:+.4g}"


def _money(figure: tuple[float, float, float], times: int) -> str:
    value, low, high = (each * times for each in figure)
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def fragment(verdict: Verdict, told: dict[str, Any]) -> str:
    """A split as workloads: one for the strata that stay open, one for those that do not."""
    assert verdict.route is not None
    targets = (told["seal"] or {}).get("targets") or ["OPEN/MODEL", "CLOSED/MODEL"]
    best, closed = told.get("open_target") or targets[0], told.get("closed_target") or targets[-1]
    parts = []
    for name, target, strata, why in (
        (
            "open-enough",
            best,
            verdict.route.open,
            f"proven good enough together, {verdict.route.share_open:.0%} of the traffic",
        ),
        ("needs-closed", closed, verdict.route.closed, "proven worse by more than the margin"),
    ):
        parts.append(
            f"# {', '.join(map(json.dumps, strata))}: {why}\n[workloads.{name}]\ntargets = [{json.dumps(target)}]\n"
            "# class = \"…\"   # as the work's is; without it, restricted: 'freehold check' proves whether these targets may serve it\n"
        )
    return "\n".join(parts)
