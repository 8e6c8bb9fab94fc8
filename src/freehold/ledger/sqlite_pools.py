"""Pools in a SQLite file, for the workers of one machine.

Rules: the file belongs to one run of the supervisor, which fills it from the ledger: it is never the truth about money, so it is not synced.
Amounts are decimal text, added up here, because SQLite would round. A write waits for the other workers' at most.
"""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path

from freehold.kernel.limits import Rate
from freehold.ledger.alone import alone
from freehold.ledger.pools import NO_PART, Board, Pace, Part, Use, granted_of, paced, repaid

_SCHEMA = """
create table if not exists use (pool text not null, start_ms integer not null, worker text not null, leased text not null, spent text not null,
  primary key (pool, start_ms, worker)) without rowid;
create table if not exists mark (pool text not null, start_ms integer not null, mark text not null, primary key (pool, start_ms, mark)) without rowid;
create table if not exists part (pool text not null, start_ms integer not null, amount text not null, version integer not null,
  primary key (pool, start_ms)) without rowid;
create table if not exists credit (name text primary key, have integer not null, count integer not null, seconds integer not null,
  remaining integer not null, wait_s real not null, full_s real not null) without rowid;
create table if not exists rate (name text primary key, arrival integer not null) without rowid;
"""
_ZERO = Decimal(0)


def aside_of(worker: str) -> str:
    """Whose is what was leased for a worker while it went on: it takes it in with `absorb`."""
    return f"{worker}+"


def counted_for(worker: str) -> str:
    """Whose row it is in which others count for a worker that does not know of the pool."""
    return f"{worker}~"


_IS_SEED = "(worker glob 'before*' or worker glob 'reload*' or worker = 'floor' or worker glob '*~')"  # counted from receipts, and by nobody who lives


def is_shared(pool: str) -> bool:
    """Whether a pool or a rate is one of all nodes: what limits the way to a provider is each node's own."""
    return not pool.startswith("provider:")


class SqlitePools:
    """The counters as one worker sees them."""

    def __init__(self, path: Path, *, worker: str, workers: int, is_part: bool = False) -> None:
        """is_part: whether other nodes draw on the same budgets, so that only this node's part of them may be leased."""
        self._worker, self.workers, self.is_part = worker, workers, is_part
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = off")
        self._db.executescript(_SCHEMA)

    def lease(self, pool: str, start_ms: int, least: Decimal, limit: Decimal | None) -> Decimal:
        with alone(self._db):
            if limit is not None and self.is_part and is_shared(pool):
                limit = min(limit, self.part(pool, start_ms).amount)
            return self._lease(pool, start_ms, least, limit)

    def _lease(self, pool: str, start_ms: int, least: Decimal, limit: Decimal | None) -> Decimal:
        """Lease below a limit. Called while nobody else writes."""
        rows = self._db.execute(
            "select worker, leased, spent from use where pool = ? and start_ms = ?", (pool, start_ms)
        ).fetchall()
        granted = least
        if limit is not None:
            granted = granted_of(limit - sum((Decimal(row[1]) for row in rows), _ZERO), least, self.workers)
        if granted:
            own = next((row for row in rows if row[0] == self._worker), (self._worker, "0", "0"))
            self._put(pool, start_ms, Decimal(own[1]) + granted, Decimal(own[2]))
        return granted

    def absorb(self, pool: str, start_ms: int) -> Decimal:
        with alone(self._db) as db:
            aside = (pool, start_ms, aside_of(self._worker))
            row = db.execute("select leased from use where (pool, start_ms, worker) = (?, ?, ?)", aside).fetchone()
            if row is None:
                return _ZERO
            db.execute("delete from use where (pool, start_ms, worker) = (?, ?, ?)", aside)
            self._lease(pool, start_ms, Decimal(row[0]), None)
            return Decimal(row[0])

    def part(self, pool: str, start_ms: int) -> Part:
        """How much of a pool this node may lease."""
        row = self._db.execute(
            "select amount, version from part where pool = ? and start_ms = ?", (pool, start_ms)
        ).fetchone()
        return Part(Decimal(row[0]), row[1]) if row else NO_PART

    def take_part(self, pool: str, start_ms: int, part: Part, least: Decimal) -> bool:
        """Lease at least so much from this node's part, which is this from here on (unless a later word about it was heard); False if it is not enough."""
        with alone(self._db):
            if part.version >= self.part(pool, start_ms).version:
                self._set_part(pool, start_ms, part)
            return self._lease(pool, start_ms, least, self.part(pool, start_ms).amount) > 0

    def floor(self, pool: str, start_ms: int, spent: Decimal) -> None:
        """Know that at least so much is spent, because that was said before: what is here may be older, or gone."""
        with alone(self._db):
            self._db.execute("delete from use where (pool, start_ms, worker) = (?, ?, 'floor')", (pool, start_ms))
            missing = spent - self.use(pool, start_ms).spent
            if missing > 0:
                self.report_for("floor", pool, start_ms, leased=missing, spent=missing)

    def forget_ended(self, now_ms: int) -> None:
        """Drop the counters of periods that are over."""
        ended = "start_ms > 0 and start_ms < ? - (case when pool like '%/day' then 172800000 when pool like '%/week' then 777600000 else 2851200000 end)"
        for table in ("use", "part", "mark"):
            self._db.execute(f"delete from {table} where {ended}", (now_ms,))  # noqa: S608 - fixed names

    def give_back(self, pool: str, start_ms: int, ahead: Decimal, version: int) -> tuple[Part, Use]:
        """Keep what is leased and so much ahead of it of this node's part, and no more; returns what is kept, under a version that follows, and what is used."""
        with alone(self._db):
            use, part = self.use(pool, start_ms), self.part(pool, start_ms)
            kept = Part(max(use.leased, min(part.amount, use.leased + ahead)), version + 1)
            self._set_part(pool, start_ms, kept)
            return kept, use

    def _set_part(self, pool: str, start_ms: int, part: Part) -> None:
        self._db.execute(
            "insert into part values (?, ?, ?, ?) on conflict do update set amount = excluded.amount, version = excluded.version",
            (pool, start_ms, format(part.amount, "f"), part.version),
        )

    def shared(self) -> list[tuple[str, int]]:
        """The pools and periods that other nodes draw on, as far as anything of them was used here."""
        rows = self._db.execute("select pool, start_ms from use union select pool, start_ms from part order by 1, 2")
        return [(pool, start_ms) for pool, start_ms in rows if is_shared(pool)]

    def report(self, pool: str, start_ms: int, *, leased: Decimal, spent: Decimal) -> None:
        self._put(pool, start_ms, leased, spent)

    def report_for(self, worker: str, pool: str, start_ms: int, *, leased: Decimal, spent: Decimal) -> None:
        """Say what a worker has that does not say so itself."""
        self._db.execute(
            "insert into use values (?, ?, ?, ?, ?) on conflict do update set leased = excluded.leased, spent = excluded.spent",
            (pool, start_ms, worker, format(leased, "f"), format(spent, "f")),
        )

    def _put(self, pool: str, start_ms: int, leased: Decimal, spent: Decimal) -> None:
        self.report_for(self._worker, pool, start_ms, leased=leased, spent=spent)

    def is_counted(self, pool: str, start_ms: int) -> bool:
        """Whether a worker counts in a pool, or has counted."""
        asked = f"select 1 from use where pool = ? and start_ms = ? and not {_IS_SEED} limit 1"  # noqa: S608 - fixed words
        return self._db.execute(asked, (pool, start_ms)).fetchone() is not None

    def forget_seeds(self, pool: str, start_ms: int) -> None:
        """Drop what was counted from receipts, because it is counted anew."""
        self._db.execute(f"delete from use where pool = ? and start_ms = ? and {_IS_SEED}", (pool, start_ms))  # noqa: S608 - fixed words

    def use(self, pool: str, start_ms: int) -> Use:
        rows = self._db.execute("select leased, spent from use where pool = ? and start_ms = ?", (pool, start_ms))
        leased = spent = _ZERO
        for one, other in rows:
            leased, spent = leased + Decimal(one), spent + Decimal(other)
        return Use(leased, spent)

    def is_first(self, pool: str, start_ms: int, mark: str) -> bool:
        done = self._db.execute("insert or ignore into mark values (?, ?, ?)", (pool, start_ms, mark))
        return done.rowcount == 1

    def pace(self, name: str, rate: Rate, amount: int, now_ns: int) -> Pace:
        if self.is_part and is_shared(name):
            return self._take_credit(name, min(amount, rate.count))
        with alone(self._db):
            arrival, pace = paced(self._arrival(name), rate, amount, now_ns)
            self._set(name, arrival)
            return pace

    def repay(self, name: str, rate: Rate, amount: int, now_ns: int) -> None:
        if self.is_part and is_shared(name):
            self._db.execute("update credit set have = have + ? where name = ?", (amount, name))
            return
        with alone(self._db):
            self._set(name, repaid(self._arrival(name), rate, amount, now_ns))

    def _take_credit(self, name: str, amount: int) -> Pace:
        """Take of what this node has of a rate of all nodes."""
        with alone(self._db) as db:
            row = db.execute("select have, remaining, wait_s, full_s from credit where name = ?", (name,)).fetchone()
            if row is None:
                return Pace(0, 1.0, 0, 0.0)
            have, left, wait_s, full_s = row
            if have < amount:
                return Pace(0, wait_s, left, full_s)
            db.execute("update credit set have = have - ? where name = ?", (amount, name))
            return Pace(amount, 0.0, left, full_s)

    def credit(self, name: str, rate: Rate, amount: int, pace: Pace) -> None:
        """Have so much more of a rate of all nodes, and know what was said of it."""
        self._db.execute(
            "insert into credit values (?, ?, ?, ?, ?, ?, ?) on conflict do update set have = have + excluded.have, count = excluded.count, "
            "seconds = excluded.seconds, remaining = excluded.remaining, wait_s = excluded.wait_s, full_s = excluded.full_s",
            (name, amount, rate.count, rate.period_s, pace.left, pace.wait_s, pace.full_s),
        )

    def return_credit(self) -> list[tuple[str, Rate, int]]:
        """Give up what this node has of every rate (less than nothing: what it used beyond it)."""
        with alone(self._db) as db:
            rows = db.execute("select name, count, seconds, have from credit where have <> 0").fetchall()
            db.execute("update credit set have = 0")
        return [(name, Rate(count, seconds), have) for name, count, seconds, have in rows]

    def pace_here(self, name: str, rate: Rate, amount: int, now_ns: int) -> Pace:
        """Take of a rate that is this node's own, while the others cannot be asked."""
        with alone(self._db):
            arrival, pace = paced(self._arrival(name), rate, amount, now_ns)
            self._set(name, arrival)
            return pace

    def _arrival(self, name: str) -> int:
        row = self._db.execute("select arrival from rate where name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _set(self, name: str, arrival: int) -> None:
        self._db.execute(
            "insert into rate values (?, ?) on conflict do update set arrival = excluded.arrival", (name, arrival)
        )

    def fill(self, board: Board, worker: str) -> None:
        """Take over what stood in memory; worker: whose the part of the only one is from here on."""
        with alone(self._db) as db:
            for (pool, start_ms), uses in board.uses.items():
                for name, use in uses.items():
                    row = (pool, start_ms, name or worker, format(use.leased, "f"), format(use.spent, "f"))
                    db.execute("insert into use values (?, ?, ?, ?, ?)", row)
            db.executemany("insert into mark values (?, ?, ?)", board.marks)
            db.executemany("insert into rate values (?, ?)", board.arrivals.items())

    def drop(self, worker: str) -> None:
        """Forget what was leased for one that has ended, and of which nothing is spent."""
        self._db.execute("delete from use where worker = ?", (worker,))

    def leased(self, worker: str) -> list[tuple[str, int]]:
        """The pools and periods of which a worker has something."""
        rows = self._db.execute("select pool, start_ms from use where worker = ?", (worker,))
        return [(str(pool), int(start_ms)) for pool, start_ms in rows]

    def close(self) -> None:
        self._db.close()
