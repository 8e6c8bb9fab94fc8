"""The index over the log: answers questions about usage. It holds nothing that the log does not, and can be rebuilt from it.

`Store` is the seam: SQLite implements it here for one node, `postgres` for several; one contract suite holds both.
Rules: each segment of the log is read from where it was left, several may grow at once; a receipt counts once, whatever process indexes it; money is summed as exact decimals.
"""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, Protocol

import msgspec

from freehold.kernel.errors import CallerError
from freehold.kernel.lengths import Length
from freehold.kernel.units import Usd, show_usd
from freehold.ledger import log as logs
from freehold.ledger.alone import alone

GROUPS = ("department", "workload", "key", "model", "target", "zone", "class", "outcome", "hour", "day", "month")
_BATCH = 5_000
_VERSION = 4  # of the tables
# What is kept of a receipt that names a stored answer.
OF_ANSWER = ("key", "workload", "class", "model", "target", "tokens", "cost_usd", "is_estimate", "at_ms", "booked_ms")


@dataclass(slots=True)
class UsageRow:
    """Usage of one group. unpriced: calls whose price is unknown; their cost is not in cost_usd."""

    group: dict[str, str]
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0

    def as_data(self) -> dict[str, Any]:
        """As JSON, the group's fields first."""
        return {
            **self.group,
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": show_usd(Usd(self.cost_usd)),
            "unpriced_calls": self.unpriced,
        }

    @classmethod
    def total(cls, rows: Iterable[UsageRow], group: dict[str, str] | None = None) -> UsageRow:
        """All of them together."""
        found = cls(group or {})
        for row in rows:
            found.calls += row.calls
            found.input_tokens += row.input_tokens
            found.output_tokens += row.output_tokens
            found.unpriced += row.unpriced
            found.cost_usd += row.cost_usd
        return found


class Store(Protocol):
    """What an index can do. `usage` takes names from GROUPS and times in milliseconds since 1970 (down to the quarter of an hour before, the end exclusive); zone: where a day begins."""

    def places(self) -> dict[str, int]:
        """How far each segment was read: offsets in bytes."""

    def add(self, receipts: Iterable[dict[str, Any]], segment: str, before: int, after: int) -> bool:
        """Add the receipts of a segment between two offsets; False if somebody else has added them meanwhile."""

    def answers(self, answer_id: str) -> list[dict[str, Any]]: ...
    def lengths(self) -> list[Length]:
        """How long calls were, whose tokens were reported."""

    def usage(
        self,
        by: tuple[str, ...],
        since_ms: int | None = None,
        until_ms: int | None = None,
        zone: datetime.tzinfo = datetime.UTC,
    ) -> list[UsageRow]: ...
    def close(self) -> None: ...


def catch_up(store: Store, folder: Path) -> int:
    """Read what the logs have gained into the index; returns how many receipts. Safe beside writers and other readers."""
    added, places = 0, store.places()
    for path in logs.segments(folder):
        place = places.get(path.name, 0)
        while path.stat().st_size > place:
            receipts, after = _next_batch(path, place)
            if after == place:
                break  # the rest is half a line
            if store.add(receipts, path.name, place, after):
                added += len(receipts)
                place = after
            else:
                place = store.places().get(path.name, 0)
    return added


def _next_batch(path: Path, place: int) -> tuple[list[dict[str, Any]], int]:
    receipts: list[dict[str, Any]] = []
    for line, behind in logs.lines(path, place):
        place = behind
        if b'"kind":"settled"' in line:
            receipts.append(msgspec.json.decode(line, type=dict[str, Any]))
        if len(receipts) >= _BATCH:
            break
    return receipts, place


# Receipts are added up as they are read: for each quarter of an hour, and for each kind (what receipts have in common) in it. Money is whole
# nano-dollars and the rest of them in 1e-18 dollars, because SQLite adds integers exactly and quickly; what is finer still stands as text.
_SCHEMA = """
create table place (segment text primary key, "offset" integer not null) without rowid;
create table kind (id integer primary key, department text not null, workload text not null, key text not null, model text not null,
  target text not null, zone text not null, class text not null, outcome text not null,
  unique (department, workload, key, model, target, zone, class, outcome));
create table tally (kind integer not null, slot integer not null, calls integer not null, input integer not null, output integer not null,
  nano integer not null, atto integer not null, unpriced integer not null, primary key (kind, slot)) without rowid;
create table length (workload text not null, prompt integer not null, answer integer not null, calls integer not null, input integer not null,
  output integer not null, cached integer not null, primary key (workload, prompt, answer)) without rowid;
create table fine (kind integer not null, slot integer not null, amount text not null);
create table answer (id text not null, call text not null, said text not null, primary key (id, call)) without rowid;
"""
KINDS = ("department", "workload", "key", "model", "target", "zone", "class", "outcome")
TIMES = {"hour": "%Y-%m-%d %H", "day": "%Y-%m-%d", "month": "%Y-%m"}
SLOT_MS = 900_000  # days begin at such times in every zone
_NANO = Decimal(10) ** 9


class SqliteStore:
    """The index in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._prepare()
        self._known: dict[tuple[str, ...], int] = {}

    def _prepare(self) -> None:
        """Make the tables; those of another version are dropped, because the log holds all that was in them."""
        with alone(self._db) as db:
            if db.execute("pragma user_version").fetchone()[0] == _VERSION:
                return
            for (table,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
                db.execute(f'drop table "{table}"')
            for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
                db.execute(statement)
            db.execute(f"pragma user_version = {_VERSION}")

    def places(self) -> dict[str, int]:
        return dict(self._db.execute('select segment, "offset" from place').fetchall())

    def add(self, receipts: Iterable[dict[str, Any]], segment: str, before: int, after: int) -> bool:
        with alone(self._db) as db:
            row = db.execute('select "offset" from place where segment = ?', (segment,)).fetchone()
            if (row[0] if row else 0) != before:
                return False
            tallies: dict[tuple[int, int], _Sum] = {}
            lengths: dict[tuple[str, int, int], list[int]] = {}
            for receipt in receipts:
                at = (self._kind(receipt), (receipt.get("booked_ms") or receipt["at_ms"]) // SLOT_MS)
                fine = tallies.setdefault(at, _Sum()).take(receipt)
                if fine is not None:
                    db.execute("insert into fine values (?,?,?)", (*at, fine))
                note_length(lengths, receipt)
                if receipt.get("answer_id"):
                    said = msgspec.json.encode({field: receipt[field] for field in OF_ANSWER}).decode()
                    db.execute("insert into answer values (?,?,?)", (receipt["answer_id"], receipt["call"], said))
            db.executemany(_LENGTHEN, [(*at, *sums) for at, sums in lengths.items()])
            db.executemany(_ADD, [(*at, *msgspec.structs.astuple(tally)) for at, tally in tallies.items()])
            db.execute(
                'insert into place values (?, ?) on conflict do update set "offset" = excluded."offset"',
                (segment, after),
            )
            return True

    def _kind(self, receipt: dict[str, Any]) -> int:
        """The number of what a receipt has in common with others. Called while nobody else writes."""
        kind = kind_of(receipt)
        found = self._known.get(kind)
        if found is None:
            self._db.execute("insert or ignore into kind values (null,?,?,?,?,?,?,?,?)", kind)
            where = " and ".join(f"{name} = ?" for name in KINDS)
            found = self._known[kind] = self._db.execute(f"select id from kind where {where}", kind).fetchone()[0]  # noqa: S608 - fixed names
        return found

    def answers(self, answer_id: str) -> list[dict[str, Any]]:
        """What receipts say of a stored answer, in the order of the calls."""
        rows = self._db.execute("select said from answer where id = ? order by call", (answer_id,))
        return [msgspec.json.decode(text, type=dict[str, Any]) for (text,) in rows]

    def lengths(self) -> list[Length]:
        rows = self._db.execute("select workload, calls, input, output, cached from length order by 1, prompt, answer")
        return [Length(*row) for row in rows]

    def usage(
        self,
        by: tuple[str, ...],
        since_ms: int | None = None,
        until_ms: int | None = None,
        zone: datetime.tzinfo = datetime.UTC,
    ) -> list[UsageRow]:
        for name in by:
            if name not in GROUPS:
                raise CallerError(f"{name!r} is not a group; use {', '.join(GROUPS)}.", code="usage.unknown_group")
        slots = ((since_ms or 0) // SLOT_MS, until_ms // SLOT_MS if until_ms is not None else 2**62)
        times = self._label(tuple(name for name in by if name in TIMES), slots, zone)
        each, joined = ("label", "join temp.time using (slot)") if times else ("0", "")
        rows = self._db.execute(
            f"select kind, {each}, sum(calls), sum(input), sum(output), sum(nano), sum(atto), sum(unpriced) from tally {joined} "  # noqa: S608 - no text of others
            "where slot >= ? and slot < ? group by 1, 2",
            slots,
        ).fetchall()
        fine = self._db.execute(
            f"select kind, {each}, amount from fine {joined} where slot >= ? and slot < ?",  # noqa: S608 - no text of others
            slots,
        ).fetchall()
        kinds = {row[0]: row[1:] for row in self._db.execute(f"select id, {', '.join(KINDS)} from kind")}  # noqa: S608 - fixed names
        groups: dict[tuple[str, ...], UsageRow] = {}

        def group_of(kind: int, label: int) -> UsageRow:
            known = dict(zip(KINDS, kinds[kind], strict=True)) | (times[label] if times else {})
            group = tuple(known[name] for name in by)
            return groups.setdefault(group, UsageRow(dict(zip(by, group, strict=True))))

        with localcontext(prec=60):
            for kind, label, calls, prompt, completion, nano, atto, unpriced in rows:
                row = group_of(kind, label)
                row.calls += calls
                row.input_tokens += prompt
                row.output_tokens += completion
                row.cost_usd += (Decimal(nano) + Decimal(atto) / _NANO) / _NANO
                row.unpriced += unpriced
            for kind, label, amount in fine:
                group_of(kind, label).cost_usd += Decimal(amount)
        return [groups[group] for group in sorted(groups)]

    def _label(self, names: tuple[str, ...], slots: tuple[int, int], zone: datetime.tzinfo) -> list[dict[str, str]]:
        """Number the days (or months) that slots lie in, for the query; returns what each number stands for."""
        if not names:
            return []
        self._db.execute("create temp table if not exists time (slot integer primary key, label integer not null)")
        self._db.execute("delete from temp.time")
        found = self._db.execute("select distinct slot from tally where slot >= ? and slot < ?", slots).fetchall()
        labels, numbers = label_slots([slot for (slot,) in found], names, zone)
        self._db.executemany("insert into temp.time values (?, ?)", numbers.items())
        return labels

    def close(self) -> None:
        self._db.close()


_ADD = """
insert into tally values (?,?,?,?,?,?,?,?) on conflict do update set calls = calls + excluded.calls, input = input + excluded.input,
  output = output + excluded.output, nano = nano + excluded.nano, atto = atto + excluded.atto, unpriced = unpriced + excluded.unpriced
"""


_LENGTHEN = """
insert into length values (?,?,?,?,?,?,?) on conflict do update set calls = calls + excluded.calls, input = input + excluded.input,
  output = output + excluded.output, cached = cached + excluded.cached
"""


def label_slots(
    slots: Iterable[int], names: tuple[str, ...], zone: datetime.tzinfo
) -> tuple[list[dict[str, str]], dict[int, int]]:
    """Which days (or hours, or months: names of TIMES) there are, and by its number in that list the one of each slot."""
    numbers: dict[tuple[str, ...], int] = {}
    found = {}
    for slot in slots:
        moment = datetime.datetime.fromtimestamp(slot * SLOT_MS / 1000, zone)
        found[slot] = numbers.setdefault(tuple(moment.strftime(TIMES[name]) for name in names), len(numbers))
    return [dict(zip(names, label, strict=True)) for label in numbers], found


def kind_of(receipt: dict[str, Any]) -> tuple[str, ...]:
    """What a receipt has in common with others, in the order of KINDS."""
    kind = tuple(receipt.get(name) or "" for name in KINDS)
    return (*kind[:-1], "cached") if receipt.get("cached") else kind  # of what is ok, what was given again


def used(receipt: dict[str, Any]) -> tuple[int, int, int, Decimal, int]:
    """What a receipt adds: (calls, input tokens, output tokens, dollars, calls without a price)."""
    tokens, cost = receipt["tokens"], receipt["cost_usd"]
    output = tokens["output"] + tokens["reasoning"] + tokens["audio_out"]
    is_unpriced = cost is None and receipt["outcome"] != "refused"
    calls = 0 if receipt.get("corrects") else 1
    return calls, sum(tokens.values()) - output, output, Decimal(cost or 0), int(is_unpriced)


def note_length(lengths: dict[tuple[str, int, int], list[int]], receipt: dict[str, Any]) -> None:
    """Count a call among those about as long (within a factor of two), if what it used is known and its own."""
    if receipt["outcome"] != "ok" or receipt.get("is_estimate") or receipt.get("corrects") or receipt.get("cached"):
        return
    tokens = receipt["tokens"]
    output = tokens["output"] + tokens["reasoning"] + tokens["audio_out"]
    prompt = sum(tokens.values()) - output
    if not prompt or not output:
        return
    at = (receipt["workload"] or "", prompt.bit_length(), output.bit_length())
    sums = lengths.setdefault(at, [0, 0, 0, 0])
    for place, more in enumerate((1, prompt, output, tokens["cache_read"])):
        sums[place] += more


class _Sum(msgspec.Struct):
    """What receipts of one kind and time come to; in the order of the table's columns."""

    calls: int = 0
    input: int = 0
    output: int = 0
    nano: int = 0
    atto: int = 0
    unpriced: int = 0

    def take(self, receipt: dict[str, Any]) -> str | None:
        """Add a receipt; returns its cost if it is finer than can be added here."""
        calls, prompt, output, cost, unpriced = used(receipt)
        self.calls += calls
        self.input += prompt
        self.output += output
        self.unpriced += unpriced
        whole = int(cost.scaleb(18).to_integral_value())
        if abs(whole) >= 10**27 or Decimal(whole).scaleb(-18) != cost:
            return str(cost)
        nano, atto = divmod(whole, 10**9)
        self.nano += nano
        self.atto += atto
        return None
