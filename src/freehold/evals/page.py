"""A verdict as a page: the sentence, the intervals, cost against quality, where the two differ, and everything needed to repeat it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from freehold.evals.telling import fragment, quotable, sentences, tables
from freehold.evals.verdicts import Finding, Verdict
from freehold.report import charts, pages
from freehold.report.charts import Reach, Spot


class Example(NamedTuple):
    """A case on which the two sides differ, whose words may be shown."""

    about: str
    asked: str
    open: str
    closed: str
    expected: str


def files(
    verdict: Verdict, told: dict[str, Any], *, title: str, repeat: str, examples: Sequence[Example] = ()
) -> dict[str, str]:
    """The page, and its plots, by file name. told: all of it as data; repeat: how it is done again."""
    drawn = {"intervals": _intervals(verdict)}
    if verdict.costs is not None and verdict.costs.per_call:
        drawn["cost-quality"] = _cost(verdict)
    parts = [
        pages.words(f"{verdict.whole.verdict}: {quotable(verdict)}", is_big=True),
        pages.points(sentences(verdict)),
        drawn["intervals"],
    ]
    for table in tables(verdict):
        parts += [pages.heading(table.title), pages.table(table.columns, table.rows, right=table.right)]
    if "cost-quality" in drawn:
        parts += [pages.heading("Cost against quality"), drawn["cost-quality"]]
    if verdict.route is not None:
        parts += [pages.heading("The split as configuration"), pages.quoted("freehold.toml", fragment(verdict, told))]
    if examples:
        parts.append(pages.heading("Where the two differ"))
        for one in examples:
            parts += [
                pages.quoted(f"{one.about}: asked", one.asked),
                pages.quoted("open", one.open),
                pages.quoted("closed", one.closed),
            ]
            parts += [pages.quoted("expected", one.expected)] if one.expected else []
    parts += [pages.heading("To do it again"), pages.quoted("", repeat)]
    if told["seal"] is not None:
        parts.append(pages.quoted("The seal, written before anything was asked", json.dumps(told["seal"], indent=2)))
    parts.append(pages.words(_METHODS, is_source=True))
    return {"index.html": pages.page(title, parts), **{f"{name}.svg": plot for name, plot in drawn.items()}}


_METHODS = (
    "Bounds are one-sided 95 %, intervals two-sided 95 %, always of paired differences (open - closed). Right or wrong: Tango's score with one case counted against the claim; numbers: bootstrap-t; "
    "clusters: CR1 with degrees of freedom by how many equal ones they are worth; strata: Holm; a split: given that its strata were chosen (Lee et al. 2016); a judge: PPI++ by labels of people; "
    "watched runs: bets (Waudby-Smith & Ramdas 2024)."
)


def _intervals(verdict: Verdict) -> str:
    unit = 100.0 if verdict.is_binary else 1.0
    named = [("all", verdict.whole), *((one.stratum or "(none)", one.finding) for one in verdict.strata)]
    rows = [row for name, finding in named if (row := _reach(name, finding, unit)) is not None]
    label = f"open - closed, {'points' if verdict.is_binary else verdict.metric}; lines: two-sided 95 %"
    return charts.intervals(
        rows,
        title="How far apart the two are",
        label=label,
        lines_at={"margin": -verdict.whole.margin * unit, "equal": 0.0},
    )


def _reach(name: str, finding: Finding, unit: float) -> Reach | None:
    if finding.difference is None or finding.interval is None:
        return None
    low, high = finding.interval
    return Reach(name, finding.difference * unit, low * unit, high * unit, finding.verdict)


def _cost(verdict: Verdict) -> str:
    """Both sides (and a split) by what a call costs and how good it is."""
    names = {"closed": "all closed", "split": "split", "open": "all open"}
    spots = [
        Spot(names[name], _times(way.cost_usd, 1000.0), way.quality)
        for name, way in verdict.ways.items()
        if way.cost_usd is not None
    ]
    return charts.spots(spots, title="Cost against quality", labels=("USD for 1,000 calls", verdict.metric))


def _times(figure: tuple[float, float, float], times: float) -> tuple[float, float, float]:
    value, low, high = figure
    return value * times, low * times, high * times
