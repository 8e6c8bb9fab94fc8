"""A forecast as a page with plots."""

from __future__ import annotations

import math
from collections.abc import Mapping

from freehold.forecast.deciding import groups
from freehold.forecast.outlook import Known, Outlook, comparer_of
from freehold.forecast.plans import Comparer
from freehold.forecast.scenario import WhatIf
from freehold.forecast.telling import matter, sentences, sources, tables
from freehold.kernel.errors import CallerError
from freehold.report import charts, pages
from freehold.report.charts import Line, Swing

_POINTS, _DRAWS = 61, 40  # of a curve, and for its band
_COLUMNS, _FACTORS = 32, (0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.2)


def files(outlook: Outlook, comparer: Comparer, known: Known) -> dict[str, str]:
    """The page (with the plots in it) and the plots, by file name."""
    drawn = {
        "cost": _cost(outlook, comparer),
        "composition": charts.stacked({name: cost.parts for name, cost in outlook.today.items()}, title="Where a month's money goes today, USD"),
        "break-even": _map(outlook, comparer, known),
        "tornado": _tornado(outlook),
    }  # fmt: skip
    if len(outlook.months) > 1 and any(each[0] != each[-1] for each in outlook.growth.values()):
        drawn["growth"] = _growth(outlook)
    parts = [pages.words(f"{outlook.calls:,.0f} calls a month today, looked at on {known.today}. Intervals hold eight of ten draws of what is not known; all plans see the same draws.")]  # fmt: skip
    for table in tables(outlook):
        parts += [pages.heading(table.title), pages.table(table.columns, table.rows, right=table.right)]
    parts.append(pages.points(sentences(outlook)))
    for plot in drawn.values():
        parts += [plot, *(pages.words(source, is_source=True) for source in ("Sources: " + "; ".join(sources(outlook)),))]  # fmt: skip
    return {
        "index.html": pages.page(outlook.title, parts),
        **{f"{name}.svg": plot for name, plot in drawn.items()},
    }


def _cost(outlook: Outlook, comparer: Comparer) -> str:
    low, high = min(outlook.volumes) / 10, max(outlook.volumes) * 3
    xs = [low * (high / low) ** (at / (_POINTS - 1)) for at in range(_POINTS)]
    series = []
    for name in outlook.costs:
        served, ys, band = comparer.served(name, 1.0)[0], [], []
        for x in xs:
            volumes = dict.fromkeys(served, x)
            each = sorted(comparer.month(name, volumes, draw).usd for draw in comparer.draws[:_DRAWS])
            ys.append(comparer.month(name, volumes).usd)
            band.append((each[len(each) // 10], each[-1 - len(each) // 10]))
        alone = "" if not outlook.costs[name][0].barred else f" ({', '.join(served)} alone)"
        series.append(Line(f"{name}{alone}", ys, band))
    return charts.lines(xs, series, title="What a month costs, against volume", labels=("times today's calls", "USD a month"))  # fmt: skip


def _growth(outlook: Outlook) -> str:
    series = [Line(name, each) for name, each in outlook.growth.items()]
    title, labels = "What a month costs as it grows", ("month", "USD a month")
    return charts.lines(outlook.months, series, title=title, labels=labels, is_linear=True)


def _tornado(outlook: Outlook) -> str:
    best = outlook.decisions[0].best if outlook.decisions else next(iter(outlook.costs))
    rows = [Swing(matter(one), one.low, one.high) for one in outlook.matters]
    return charts.swings(
        rows,
        title=f"What moves the cost of {best} at {outlook.matters_at:g} times today",
        label="USD a month, eight of ten",
    )


def _map(outlook: Outlook, comparer: Comparer, known: Known) -> str:
    """Which plan is the cheapest, by volume and by what GPUs cost: for the most calls that tokens bought and machines may both serve."""

    def weight(one: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[bool, float]:
        workloads, able = one
        has = {bool(set(comparer.parts_of(name)) & set(comparer.machines)) for name in able}
        return len(has) > 1, comparer.calls(dict.fromkeys(workloads, 1.0))

    found = max(groups(comparer, list(outlook.costs)), key=weight, default=None)
    if found is None:
        return charts.cells([1.0], [1.0], [["nothing to compare"]], title="The cheapest plan", labels=("", ""))
    workloads, able = found
    low, high = min(outlook.volumes) / 10, max(outlook.volumes) * 3
    xs = [low * (high / low) ** (at / (_COLUMNS - 1)) for at in range(_COLUMNS)]
    rows = []
    for factor in _FACTORS:
        under = comparer_of(comparer.scenario.under(WhatIf(gpu_prices=factor)), known)
        rows.append([_least(under, able, dict.fromkeys(workloads, x)) for x in xs])
    title = f"The cheapest plan for {', '.join(workloads)}"
    return charts.cells(
        xs, _FACTORS, rows, title=title, labels=("times today's calls", "times what GPUs cost by the hour")
    )


def _least(comparer: Comparer, names: tuple[str, ...], volumes: Mapping[str, float]) -> str:
    costs = {}
    for name in names:
        try:
            costs[name] = comparer.month(name, volumes).usd
        except CallerError:
            costs[name] = math.inf
    return min(costs, key=costs.__getitem__)
