"""What became of each case on both sides: the columns that a verdict is made of, read from JSON lines.

Rules: a million rows are a few seconds and some hundred megabytes; what cannot be read is named by its line; an id that comes twice is found, because two
rows of one case are no two cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from freehold.evals.bounds import Floats
from freehold.evals.effects import Ints
from freehold.kernel.errors import CallerError

Metric = bool | float | None
STATUSES = ("ok", "truncated", "unparseable", "refused", "error")
_MANY = 50_000  # rows taken apart at a time
_MOST = 1e12  # of any number


class Row(msgspec.Struct, frozen=True, gc=False):
    """One case, as written. open, closed: how good each side's answer was, as a number or as right or wrong, null where there is none (or a table of them,
    by metric); stratum: of what kind it is; cluster: what it belongs to, so that the cases of one resemble each other; status: `ok`, `truncated`,
    `unparseable`, `refused`, `error`.
    """

    id: str | int
    open: Metric | dict[str, Metric] = None
    closed: Metric | dict[str, Metric] = None
    stratum: str | int | None = None
    cluster: str | int | None = None
    open_cost_usd: float | None = None
    closed_cost_usd: float | None = None
    open_latency_s: float | None = None
    closed_latency_s: float | None = None
    open_status: str | None = None
    closed_status: str | None = None
    judge_open: Metric = None
    judge_closed: Metric = None
    human_open: Metric = None
    human_closed: Metric = None


_NUMBERS = ("open", "closed", "open_cost_usd", "closed_cost_usd", "open_latency_s", "closed_latency_s",
            "judge_open", "judge_closed", "human_open", "human_closed")  # fmt: skip


@dataclass(frozen=True)
class Outcomes:
    """Columns, one element for each case. numbers: NaN where there is none; strata, clusters: codes from 0 and what they are called; statuses: codes of
    `STATUSES`, -1 where none was given; twice: ids that came more than once; strange: fields that mean nothing here.
    """

    metric: str
    count: int
    is_binary: bool
    numbers: dict[str, Floats]
    strata: Ints
    stratum_names: tuple[str, ...]
    clusters: Ints | None
    cluster_names: tuple[str, ...]
    statuses: dict[str, NDArray[np.int8]]
    twice: tuple[str, ...]
    strange: tuple[str, ...]
    families: Ints | None = None  # what the ids have before their last number, where that groups them

    @property
    def is_judged(self) -> bool:
        return "judge_open" in self.numbers


@dataclass
class _Codes:
    """Names, numbered as they come."""

    known: dict[str, int] = field(default_factory=dict)

    def of(self, names: Iterable[str]) -> list[int]:
        known = self.known
        return [known.setdefault(name, len(known)) for name in names]


@dataclass
class _Columns:
    metric: str
    ids: list[str] = field(default_factory=list)
    numbers: dict[str, list[Floats]] = field(default_factory=lambda: {name: [] for name in _NUMBERS})
    strata: list[Ints] = field(default_factory=list)
    clusters: list[Ints] = field(default_factory=list)
    statuses: dict[str, list[NDArray[np.int8]]] = field(default_factory=lambda: {"open": [], "closed": []})
    stratum_codes: _Codes = field(default_factory=_Codes)
    cluster_codes: _Codes = field(default_factory=_Codes)
    has_cluster: bool = False

    def take(self, rows: Sequence[Row]) -> None:
        self.ids += [str(row.id) for row in rows]
        for name in _NUMBERS:
            values = [getattr(row, name) for row in rows]
            if name in ("open", "closed"):
                values = [self._picked(value) for value in values]
            self.numbers[name].append(np.array([np.nan if value is None else value for value in values], dtype=np.float64))  # fmt: skip
        self.strata.append(np.array(self.stratum_codes.of("" if row.stratum is None else str(row.stratum) for row in rows)))  # fmt: skip
        self.has_cluster = self.has_cluster or any(row.cluster is not None for row in rows)
        alone = len(self.ids) - len(rows)
        names = (f"\0{alone + at}" if row.cluster is None else str(row.cluster) for at, row in enumerate(rows))
        self.clusters.append(np.array(self.cluster_codes.of(names)))
        for side, kept in self.statuses.items():
            kept.append(np.array([_status(getattr(row, f"{side}_status")) for row in rows], dtype=np.int8))

    def _picked(self, value: Metric | dict[str, Metric]) -> Metric:
        """The metric that is asked for, of a table of them."""
        if not isinstance(value, dict):
            return value
        if self.metric in value:
            return value[self.metric]
        if len(value) == 1 and not self.metric:
            self.metric = next(iter(value))  # and of all rows the same
            return value[self.metric]
        raise CallerError(f"The outcomes are tables of {', '.join(map(repr, sorted(value)))}, and {self.metric or 'none'!r} of them is asked for.", code="verdict.outcomes", hint="Choose one with --metric.")  # fmt: skip


def _status(name: str | None) -> int:
    if name is None:
        return -1
    if name not in STATUSES:
        raise CallerError(f"The status {name!r} is none of {', '.join(STATUSES)}.", code="verdict.outcomes")
    return STATUSES.index(name)


def read(lines: Iterable[bytes], metric: str = "") -> Outcomes:
    """Read rows as they come. Raises CallerError `verdict.outcomes` that names the line."""
    columns, strange = _Columns(metric), set[str]()
    numbered, first = enumerate(lines, 1), True
    while block := list(islice(numbered, _MANY)):
        rows = list(_rows(block))
        if first:
            strange, first = _strange(block[:1_000]), False
        columns.take(rows)
    return made(columns, tuple(sorted(strange)))


_decoder = msgspec.json.Decoder(Row)


def _rows(block: list[tuple[int, bytes]]) -> Iterator[Row]:
    for number, line in block:
        if line.isspace() or not line:
            continue
        try:
            yield _decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise CallerError(f"Line {number:,} of the outcomes cannot be read: {error}.", code="verdict.outcomes", hint='Write {"id": …, "open": true, "closed": false} on each line.') from None  # fmt: skip
        except (UnicodeDecodeError, RecursionError) as error:
            raise CallerError(f"Line {number:,} of the outcomes cannot be read ({type(error).__name__}).", code="verdict.outcomes") from None  # fmt: skip


def _strange(block: list[tuple[int, bytes]]) -> set[str]:
    known = {one.encode_name for one in msgspec.structs.fields(Row)}
    found = (msgspec.json.decode(line, type=dict[str, msgspec.Raw]) for _, line in block if line.strip())
    return {key for row in found for key in row if key not in known}


def gather(rows: Iterable[Row], metric: str = "") -> Outcomes:
    """The same of rows that are at hand."""
    columns, source = _Columns(metric), iter(rows)
    while block := list(islice(source, _MANY)):
        columns.take(block)
    return made(columns, ())


def made(columns: _Columns, strange: tuple[str, ...]) -> Outcomes:
    """Put the columns together. Raises CallerError where there is nothing to compare, or a number is none."""
    count = len(columns.ids)
    if not count:
        raise CallerError("There is no outcome.", code="verdict.outcomes")
    numbers = {name: np.concatenate(parts) for name, parts in columns.numbers.items()}
    for name, values in numbers.items():
        is_odd = np.abs(values) > _MOST
        if name.endswith(("usd", "_s")):
            is_odd |= values < 0
        if is_odd.any():
            where = columns.ids[int(np.flatnonzero(is_odd)[0])]
            raise CallerError(f"{name!r} of {where[:80]!r} is beyond {_MOST:.0e}, or below zero.", code="verdict.outcomes")  # fmt: skip
    kept = {name: values for name, values in numbers.items() if not np.isnan(values).all()}
    base = ("judge_open", "judge_closed") if "judge_open" in kept or "judge_closed" in kept else ("open", "closed")
    if missing := [name for name in base if name not in kept]:
        raise CallerError(f"No row has {' or '.join(map(repr, missing))}.", code="verdict.outcomes")
    seen = [kept[name] for name in (*base, "human_open", "human_closed") if name in kept]
    is_binary = all(bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all()) for values in seen)
    return Outcomes(
        metric=columns.metric,
        count=count,
        is_binary=is_binary,
        numbers=kept,
        strata=np.concatenate(columns.strata),
        stratum_names=tuple(columns.stratum_codes.known),
        clusters=np.concatenate(columns.clusters) if columns.has_cluster else None,
        cluster_names=tuple(columns.cluster_codes.known) if columns.has_cluster else (),
        statuses={side: np.concatenate(parts) for side, parts in columns.statuses.items()},
        twice=_twice(columns.ids),
        strange=strange,
        families=None if columns.has_cluster else _families(columns.ids),
    )


def _twice(ids: list[str]) -> tuple[str, ...]:
    if len(set(ids)) == len(ids):
        return ()
    return tuple(name for name, count in Counter(ids).items() if count > 1)


def _families(ids: list[str]) -> Ints | None:
    """What stands before the last number of an id (`letters/2024-05/17`), if several cases share it and it is not all the same."""
    codes = _Codes()
    found = np.array(codes.of(name.rstrip("0123456789") for name in ids))
    count = len(codes.known)
    looks = all(name[-1:] in "/:#-_." for name in islice(codes.known, 100) if name)
    return found if looks and 1 < count <= len(ids) // 2 else None
