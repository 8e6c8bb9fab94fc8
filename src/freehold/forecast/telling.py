"""A forecast in tables and sentences, for a terminal and for a page alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from freehold.forecast.capacity import Span
from freehold.forecast.deciding import Decision, Matter
from freehold.forecast.outlook import Meeting, Outlook
from freehold.forecast.plans import Cost

_WHAT = {
    "calls": "how many calls",
    "input": "how long prompts are",
    "output": "how long answers are",
    "escalation": "how often it escalates",
    "power": "electricity",
    "people": "people",
    "speed": "what {} serves",
    "price": "what {} costs by the hour",
}


class Table(NamedTuple):
    """A table. right: the columns of numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: tuple[str, ...] = ()


def tables(outlook: Outlook) -> Iterator[Table]:
    """Everything that is a table, the most important first; those with nothing in them are left out."""
    made = (_costs, _cheapest, _today, _meetings, _departments, _growth, _what_ifs)
    yield from (table for make in made if (table := make(outlook)).rows)


def sentences(outlook: Outlook) -> Iterator[str]:
    """What has to be said in words: what would decide, who never meets, what cannot be, what to mind."""
    open_: dict[tuple[str, ...], list[str]] = {}
    for one in outlook.decisions:
        if not one.is_decided:
            key = (_whom(outlook, one.workloads), *sorted((one.best, one.rival)), one.measure)
            open_.setdefault(key, []).append(f"{one.volume:g}")
    for (whom, first, second, measure), volumes in open_.items():
        yield f"Undecided at {' and '.join(volumes)} times today{whom}: {first} or {second}. To decide it, {measure}."
    for meeting in outlook.meetings:
        if not meeting.crossings:
            paid = _paid(meeting)
            back = f" Bought machines have paid for themselves in {paid}." if paid not in ("never", "–") else ""
            yield f"{meeting.below} costs less than {meeting.above} at every volume from a hundredth of today's to ten thousand times{_whom(outlook, meeting.workloads)}, as stated.{back}"
    for name, each in outlook.costs.items():
        for why in each[0].barred.values():
            yield f"Not in {name}: {why}."
    for name, why in outlook.impossible.items():
        yield f"{name} cannot be: {why}"
    for flag in outlook.flags:
        yield f"Mind: {flag}."


def sources(outlook: Outlook) -> Iterator[str]:
    for name, source in outlook.sources.items():
        yield f"{name}: {source or 'measured, see freehold forecast capacity'}"


def matter(one: Matter) -> str:
    """What is not known, in words."""
    return _WHAT[one.what].format(one.kind)


def _volumes(outlook: Outlook) -> tuple[str, ...]:
    return tuple(f"× {volume:g}" for volume in outlook.volumes)


def _costs(outlook: Outlook) -> Table:
    rows = [(name, _serves(outlook, name), *(dollars(one.usd) for one in each)) for name, each in outlook.costs.items()]
    volumes, title = _volumes(outlook), f"{outlook.title}: {outlook.calls:,.0f} calls a month, and times as many"
    return Table(title, ("USD a month", "serves", *volumes), rows, volumes)


def _cheapest(outlook: Outlook) -> Table:
    rows: dict[tuple[str, ...], list[str]] = {}
    for decision in outlook.decisions:
        rows.setdefault(decision.workloads, []).append(_word(decision))
    listed = [(_named(outlook, workloads), *each) for workloads, each in rows.items()]
    return Table("Which costs least, and how sure that is", ("for", *_volumes(outlook)), listed)


def _word(decision: Decision) -> str:
    sure = f"{min(decision.chance, 0.99):.0%}"
    if decision.is_decided:
        return f"{decision.best} ({sure})"
    return f"undecided: {decision.best} ({sure}) or {decision.rival}"


def _today(outlook: Outlook) -> Table:
    right = ("USD for a million calls", "replicas", "used", "first token (p95)", "each after")
    rows = [_served(name, cost) for name, cost in outlook.today.items()]
    return Table("Today", ("plan", *right, "where it goes"), rows, right)


def _served(name: str, cost: Cost) -> tuple[str, ...]:
    used = f"{cost.utilisation:.0%}" if cost.utilisation is not None else "–"
    whole = cost.usd.value or 1.0
    goes = ", ".join(f"{what} {amount / whole:.0%}" for what, amount in cost.parts.items())
    count, slow = sum(cost.replicas.values()), max(cost.latency.values(), default=None)
    waits = [f"{seconds * 1000:,.0f} ms" for seconds in slow] if slow is not None else ["–", "–"]
    return name, dollars(cost.per_million), str(count) if count else "–", used, *waits, goes


def _meetings(outlook: Outlook) -> Table:
    right = ("times today", "calls a month", "USD a month", "machines used")
    columns = ("costs less below", "and above", "for", *right, "machines paid back")
    rows = [row for meeting in outlook.meetings for row in _meeting(meeting, outlook)]
    return Table("Where plans cost the same", columns, rows, right)


def _meeting(meeting: Meeting, outlook: Outlook) -> Iterator[tuple[str, ...]]:
    """A row for every crossing."""
    low, high = meeting.below, meeting.above
    for at, crossing in enumerate(meeting.crossings):
        used = f"{crossing.utilisation:.0%}" if crossing.utilisation is not None else "–"
        counts = (f"{crossing.volume:,.3g}", f"{crossing.calls:,.0f}", number(crossing.usd), used)
        yield low, high, _named(outlook, meeting.workloads), *counts, "" if at else _paid(meeting)
        low, high = high, low


def _paid(meeting: Meeting) -> str:
    """When bought machines have paid for themselves, at each volume at which they do."""
    back = [f"{months:.0f} months at × {volume:g}" for volume, months in meeting.payback_months.items() if months]
    return (", ".join(back) or "never") if meeting.payback_months else "–"


def _departments(outlook: Outlook) -> Table:
    right = ("idle time shared", "saved without it")
    rows = [
        (name, department, number(share.fair), number(share.marginal))
        for name, each in outlook.departments.items()
        if len(each) > 1
        for department, share in each.items()
    ]
    return Table("USD a month today, by department", ("plan", "department", *right), rows, right)


def _growth(outlook: Outlook) -> Table:
    right = tuple(f"month {month}" for month in outlook.months)
    is_flat = all(each[0] == each[-1] for each in outlook.growth.values())
    rows = [] if is_flat else [(name, *map(number, each)) for name, each in outlook.growth.items()]
    return Table("USD a month as it grows", ("plan", *right), rows, right)


def _what_ifs(outlook: Outlook) -> Table:
    names = tuple(outlook.costs)
    rows = [
        (
            one.what,
            *(number(one.usd[name]) if name in one.usd else "–" for name in names),
            f"still {one.best}" if one.best == one.was else one.best or "none can",
        )
        for one in outlook.what_ifs
    ]
    return Table("What if (USD a month at today's volume)", ("", *names, "cheapest"), rows, names)


def _named(outlook: Outlook, workloads: tuple[str, ...]) -> str:
    every = {w for each in outlook.costs.values() for w in (*each[0].shares, *each[0].barred)}
    return "all" if len(workloads) == len(every) else ", ".join(workloads)


def _whom(outlook: Outlook, workloads: tuple[str, ...]) -> str:
    name = _named(outlook, workloads)
    return "" if name == "all" else f", for {name}"


def _serves(outlook: Outlook, name: str) -> str:
    """Of which workloads a plan's cost is: sums of different ones are not to be compared."""
    cost = outlook.costs[name][0]
    return "all" if not cost.barred else f"{', '.join(cost.shares)} alone"


def dollars(span: Span) -> str:
    """A sum with its interval, if it has one."""
    if span.high - span.low < 0.005 * abs(span.value):
        return number(span.value)
    return f"{number(span.value)} ({number(span.low)} to {number(span.high)})"


def number(value: float) -> str:
    """To three digits, or whole."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
