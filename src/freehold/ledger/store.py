"""The index over the log: answers questions about usage. It holds nothing that the log does not, and can be rebuilt from it.

`Store` is the seam: SQLite implements it here, Postgres later; one contract suite holds both.
Rules: a receipt counts once, whatever process indexes it; money is summed as exact decimals.
"""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import msgspec

from freehold.kernel.errors import CallerError
from freehold.ledger import log as logs

GROUPS = ("department", "workload", "key", "model", "target", "zone", "class", "day", "outcome")
_BATCH = 5_000
_VERSION = 3  # of the tables
# What is kept of a receipt that names a stored answer.
_OF_ANSWER = ("key", "workload", "class", "model", "target", "tokens", "cost_usd", "is_estimate", "at_ms", "booked_ms")


@dataclass(frozen=True, slots=True)
class Place:
    """How far the index has read: a segment's name and an offset in bytes."""

    segment: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of one group. unpriced: calls whose price is unknown; their cost is not in cost_usd."""

    group: dict[str, str]
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    unpriced: int


class Store(Protocol):
    """What an index can do. `usage` takes names from GROUPS and times in milliseconds since 1970, the end exclusive."""

    def place(self) -> Place: ...
    def add(self, receipts: Iterable[dict[str, Any]], before: Place, after: Place) -> bool: ...
    def answers(self, answer_id: str) -> list[dict[str, Any]]: ...
    def usage(
        self, by: tuple[str, ...], since_ms: int | None = None, until_ms: int | None = None
    ) -> list[UsageRow]: ...
    def close(self) -> None: ...


def catch_up(store: Store, folder: Path) -> int:
    """Read what the log has gained into the index; returns how many receipts. Safe beside a writer and other readers."""
    added = 0
    while True:
        before = store.place()
        receipts, after = _next_batch(folder, before)
        if after == before:
            return added
        if store.add(receipts, before, after):
            added += len(receipts)


def _next_batch(folder: Path, place: Place) -> tuple[list[dict[str, Any]], Place]:
    receipts: list[dict[str, Any]] = []
    for path in logs.segments(folder):
        if path.name < place.segment:
            continue
        offset = place.offset if path.name == place.segment else 0
        for line, behind in logs.lines(path, offset):
            place = Place(path.name, behind)
            if b'"kind":"settled"' in line:
                receipts.append(msgspec.json.decode(line, type=dict[str, Any]))
            if len(receipts) >= _BATCH:
                return receipts, place
    return receipts, place


_SCHEMA = """
create table if not exists place (one integer primary key check (one = 1), segment text not null, "offset" integer not null);
create table if not exists receipt (
  call text primary key, at_ms integer not null, day text not null, key text not null, workload text not null, model text not null,
  target text not null, zone text not null, class text not null, outcome text not null,
  input_tokens integer not null, output_tokens integer not null, cost_usd text, answer_id text, answer text, department text not null
) without rowid;
create index if not exists receipt_at on receipt (at_ms);
create index if not exists receipt_answer on receipt (answer_id) where answer_id is not null;
"""


class _ExactSum:
    """An SQLite aggregate that adds decimal text without rounding."""

    def __init__(self) -> None:
        self.total = Decimal(0)

    def step(self, text: str | None) -> None:
        if text is not None:
            self.total += Decimal(text)

    def finalize(self) -> str:
        return str(self.total)


class SqliteStore:
    """The index in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._prepare()
        self._db.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]  # typeshed wants a narrower protocol

    def _prepare(self) -> None:
        """Make the tables; those of another version are dropped, because the log holds all that was in them."""
        if self._db.execute("pragma user_version").fetchone()[0] != _VERSION:
            self._db.executescript(
                f"begin immediate; drop table if exists receipt; drop table if exists place; {_SCHEMA} pragma user_version = {_VERSION}; commit;"
            )

    def place(self) -> Place:
        row = self._db.execute('select segment, "offset" from place').fetchone()
        return Place(*row) if row else Place()

    def add(self, receipts: Iterable[dict[str, Any]], before: Place, after: Place) -> bool:
        """Add receipts read between two places; returns False if somebody else has added them meanwhile."""
        self._db.execute("begin immediate")
        try:
            is_current = self.place() == before
            if is_current:
                self._db.executemany(
                    "insert into receipt values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                    [_row(receipt) for receipt in receipts],
                )
                self._db.execute(
                    'insert into place values (1, ?, ?) on conflict (one) do update set segment = excluded.segment, "offset" = excluded."offset"',
                    (after.segment, after.offset),
                )
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
        return is_current

    def answers(self, answer_id: str) -> list[dict[str, Any]]:
        """What receipts say of a stored answer, in the order of the calls."""
        rows = self._db.execute("select answer from receipt where answer_id = ? order by call", (answer_id,))
        return [msgspec.json.decode(text, type=dict[str, Any]) for (text,) in rows]

    def usage(self, by: tuple[str, ...], since_ms: int | None = None, until_ms: int | None = None) -> list[UsageRow]:
        for name in by:
            if name not in GROUPS:
                raise CallerError(f"{name!r} is not a group; use {', '.join(GROUPS)}.", code="usage.unknown_group")
        columns = "".join(f"{name}, " for name in by)
        grouped = f"group by {', '.join(by)} order by {', '.join(by)}" if by else ""
        rows = self._db.execute(
            f"select {columns} count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), exact_sum(cost_usd), "  # noqa: S608 - names are from GROUPS
            f"coalesce(sum(cost_usd is null and outcome <> 'refused'), 0) from receipt where at_ms >= ? and at_ms < ? {grouped}",
            (since_ms or 0, until_ms if until_ms is not None else 2**62),
        ).fetchall()
        size = len(by)
        return [
            UsageRow(
                dict(zip(by, row, strict=False)),
                row[size],
                row[size + 1],
                row[size + 2],
                Decimal(row[size + 3] or 0),
                row[size + 4],
            )
            for row in rows
        ]

    def close(self) -> None:
        self._db.close()


def _row(receipt: dict[str, Any]) -> tuple[Any, ...]:
    tokens, answer_id = receipt["tokens"], receipt.get("answer_id")
    at_ms = receipt.get("booked_ms") or receipt["at_ms"]
    day = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).date().isoformat()
    prompt = tokens["input"] + tokens["cache_read"] + tokens["cache_write"] + tokens["audio_in"]
    completion = tokens["output"] + tokens["reasoning"] + tokens["audio_out"]
    return (
        receipt["call"],
        at_ms,
        day,
        receipt["key"],
        receipt["workload"] or "",
        receipt["model"],
        receipt["target"] or "",
        receipt["zone"] or "",
        receipt["class"],
        receipt["outcome"],
        prompt,
        completion,
        receipt["cost_usd"],
        answer_id,
        msgspec.json.encode({field: receipt[field] for field in _OF_ANSWER}).decode() if answer_id else None,
        receipt.get("department") or "",
    )
