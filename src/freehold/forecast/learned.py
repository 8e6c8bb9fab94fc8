"""Demand as the ledger shows it: calls a day, tokens of a call, the shape of the week and the highest class, of each workload."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Iterable

import msgspec

from freehold.forecast.scenario import HOURS, DataClass, Demand
from freehold.kernel.classes import Class
from freehold.kernel.lengths import Length

WEEKS = 2  # that must have been seen before a shape is believed


class Hour(msgspec.Struct, frozen=True):
    """What a workload used in one hour, in the organisation's time; input, output: tokens of all its calls."""

    workload: str
    department: str
    class_: Class
    at: datetime.datetime
    calls: int
    input: int
    output: int


class Learned(msgspec.Struct, frozen=True):
    """Demand of each workload, over how many days it was seen, and whether that is long enough for the shape of a week."""

    demand: dict[str, Demand]
    days: int
    has_shape: bool = False


def learn(hours: Iterable[Hour], lengths: Iterable[Length] = ()) -> Learned:
    """Put hours together. A workload without a call is none; all are seen over the same days, from the first hour of any to the last. lengths: of all calls
    whose tokens were reported, whenever they were.
    """
    sized: dict[str, list[Length]] = {}
    for length in lengths:
        sized.setdefault(length.workload, []).append(length)
    seen = [hour for hour in hours if hour.calls > 0]
    if not seen:
        return Learned({}, 0)
    first, last = min(hour.at for hour in seen), max(hour.at for hour in seen)
    span = int((last - first).total_seconds() // 3600) + 1
    days = max(1.0, span / 24)
    times = [0] * HOURS  # how often each hour of the week was seen
    for number in range(span):
        times[(first.weekday() * 24 + first.hour + number) % HOURS] += 1
    demand = {}
    for name in sorted({hour.workload for hour in seen}):
        own = [hour for hour in seen if hour.workload == name]
        calls, whole = sum(hour.calls for hour in own), [0.0] * HOURS
        departments = Counter[str]()
        for hour in own:
            at = hour.at.weekday() * 24 + hour.at.hour
            whole[at] += hour.calls / times[at]
            departments[hour.department] += hour.calls
        rows, prefix = _sizes(sized.get(name, []))
        prompt, output = (sum(getattr(hour, what) for hour in own) / calls for what in ("input", "output"))
        if rows:
            prompt, output = (sum(row[at] * row[2] for row in rows) / sum(row[2] for row in rows) for at in (0, 1))
        demand[name] = Demand(
            calls_per_day=calls / days,
            input=max(1.0, prompt),
            output=max(1.0, output),
            lengths=rows,
            prefix=prefix,
            department=departments.most_common(1)[0][0],
            data_class=_LABELS[max(hour.class_ for hour in own)],
            shape=tuple(float(f"{one:.4g}") for one in whole) if span >= WEEKS * HOURS else "business",
        )
    return Learned(demand, math.ceil(days), has_shape=span >= WEEKS * HOURS)


def _sizes(found: list[Length]) -> tuple[tuple[tuple[float, float, float], ...], float]:
    """The joint distribution of lengths, and the share of prompts that was read from a cache."""
    rows = tuple((_short(one.input / one.calls), _short(one.output / one.calls), float(one.calls)) for one in found)
    return rows, sum(one.cached for one in found) / max(1, sum(one.input for one in found))


def _short(tokens: float) -> float:
    return float(f"{tokens:.4g}")


_LABELS: dict[Class, DataClass] = {
    Class.PUBLIC: "public",
    Class.INTERNAL: "internal",
    Class.CONFIDENTIAL: "confidential",
    Class.RESTRICTED: "restricted",
}


def written(learned: Learned) -> str:
    """The tables of a scenario."""
    lines = []
    for name, one in learned.demand.items():
        key = name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else _quoted(name)
        lines += [
            f"[demand.{key}]",
            f"department    = {_quoted(one.department)}",
            f"calls_per_day = {one.calls_per_day:.6g}",
            f"input         = {one.input:.6g}",
            f"output        = {one.output:.6g}",
            f"data_class    = {_quoted(one.data_class)}",
            *([f"prefix        = {one.prefix:.3f}"] if one.prefix else []),
            *([f"lengths       = {[[a, b, round(n)] for a, b, n in one.lengths]}"] if one.lengths else []),
            f"shape         = {_quoted(one.shape) if isinstance(one.shape, str) else list(one.shape)}",
            "",
        ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A TOML string: JSON's are."""
    return msgspec.json.encode(text).decode()
