"""What is known of files and batches, beside their content: one SQLite file of the state directory, for all its processes.

Rules: what is in here is never content; a change is whole or not at all; whoever did not make a thing is told that there is none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from freehold.jobs.lines import Fault
from freehold.kernel.steps import bring_up

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
ENDED: frozenset[str] = frozenset({"failed", "completed", "expired", "cancelled"})
_SCHEMA = """
create table if not exists file (id text primary key, owner text not null, created_s integer not null, expires_s integer not null, said text not null)
  without rowid;
create table if not exists batch (id text primary key, owner text not null, created_s integer not null, is_ended integer not null, said text not null)
  without rowid;
create table if not exists segment (batch text not null, number integer not null, about text not null, primary key (batch, number)) without rowid;
create table if not exists parcel (name text primary key, batch text not null, way text not null, about text not null, handed_s integer not null,
  is_done integer not null) without rowid;
create index if not exists file_owner on file (owner, created_s);
create index if not exists batch_owner on batch (owner, created_s);
"""


class File(msgspec.Struct, frozen=True):
    """One file. content: under which the sealed store keeps it; times in seconds since 1970."""

    id: str
    owner: str
    purpose: str
    name: str
    size: int
    created_s: int
    expires_s: int
    content: str


class Batch(msgspec.Struct, kw_only=True):
    """One batch. owner: the key's id; content: its input, in the sealed store; declared: what its caller said of every call (headers); times: of each status, in seconds since 1970;
    lifetime_s: how long its output is kept; handed_in: lines that lie at a provider's batch endpoint; tokens: input, cached, output, reasoning.
    """

    id: str
    owner: str
    input_file: str
    content: str
    endpoint: str
    window: str
    created_s: int
    expires_s: int
    metadata: dict[str, str] | None = None
    declared: dict[str, str] = {}
    lifetime_s: int = 30 * 86_400
    status: Status = "validating"
    times: dict[str, int] = {}
    total: int = 0
    completed: int = 0
    failed: int = 0
    faults: list[Fault] = []
    output_file: str | None = None
    error_file: str | None = None
    model: str | None = None
    tokens: tuple[int, ...] = (0, 0, 0, 0)
    handed_in: int = 0


class Lying(msgspec.Struct, frozen=True):
    """What lies at a provider, from before it is handed in until it is deleted there. way: where it went; about: the provider's id of it, "" while nobody
    knows whether it has one; handed_s: when, in seconds since 1970; is_done: nobody needs it there any more.
    """

    name: str
    batch: str
    way: str
    about: str
    handed_s: int
    is_done: bool = False


class Records:
    """The records of one state directory. Not for use from several threads."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        path.chmod(0o600)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        bring_up(self._db, path.name, _SCHEMA)

    # --- files ------------------------------------------------------------------------------------------------

    def add_file(self, file: File) -> None:
        said = msgspec.json.encode(file).decode()
        self._db.execute(
            "insert into file values (?, ?, ?, ?, ?)", (file.id, file.owner, file.created_s, file.expires_s, said)
        )

    def file(self, about: str, owner: str, now_s: float) -> File | None:
        row = self._db.execute(
            "select said from file where id = ? and owner = ? and expires_s > ?", (about, owner, now_s)
        ).fetchone()
        return msgspec.json.decode(row[0], type=File) if row else None

    def files(self, owner: str, now_s: float) -> list[File]:
        """Every file of an owner, the newest first."""
        rows = self._db.execute(
            "select said from file where owner = ? and expires_s > ? order by created_s desc, id desc", (owner, now_s)
        )
        return [msgspec.json.decode(row[0], type=File) for row in rows]

    def drop_file(self, file: File) -> bool:
        """Forget a file; returns whether nobody needs its content any more (a batch that has not ended does)."""
        self._db.execute("delete from file where id = ?", (file.id,))
        open_batches = (self.batch(about) for about in self.open_batches())
        return all(batch is None or batch.content != file.content for batch in open_batches)

    def weight(self, owner: str) -> tuple[int, int]:
        """How many files an owner has, and how many bytes."""
        said = "select count(*), coalesce(sum(json_extract(said, '$.size')), 0) from file where owner = ?"
        count, size = self._db.execute(said, (owner,)).fetchone()
        return int(count), int(size)

    def expired(self, now_s: float, most: int = 100) -> list[File]:
        rows = self._db.execute("select said from file where expires_s <= ? limit ?", (now_s, most)).fetchall()
        return [msgspec.json.decode(row[0], type=File) for row in rows]

    # --- batches ----------------------------------------------------------------------------------------------

    def put(self, batch: Batch, new: Sequence[File] = ()) -> None:
        """Write a batch as it is now, and the files that it made; when it has ended, its journals are no longer its own.

        A batch that somebody asked to cancel meanwhile is cancelling from here on, also for whoever runs it.
        """
        is_ended = batch.status in ENDED
        self._db.execute("begin immediate")
        try:
            if not is_ended and (known := self.batch(batch.id)) is not None and known.status == "cancelling":
                batch.status, batch.times = known.status, {**known.times, **batch.times}
            said = msgspec.json.encode(batch).decode()
            self._db.execute(
                "insert or replace into batch values (?, ?, ?, ?, ?)",
                (batch.id, batch.owner, batch.created_s, is_ended, said),
            )
            for file in new:
                self.add_file(file)
            if is_ended:
                self._db.execute("delete from segment where batch = ?", (batch.id,))
                self._db.execute("update parcel set is_done = 1 where batch = ?", (batch.id,))
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def batch(self, about: str, owner: str | None = None) -> Batch | None:
        """A batch; owner: only if it is theirs."""
        row = self._db.execute("select said, owner from batch where id = ?", (about,)).fetchone()
        return msgspec.json.decode(row[0], type=Batch) if row and owner in (None, row[1]) else None

    def batches(self, owner: str) -> list[Batch]:
        """Every batch of an owner, the newest first."""
        rows = self._db.execute("select said from batch where owner = ? order by created_s desc, id desc", (owner,))
        return [msgspec.json.decode(row[0], type=Batch) for row in rows]

    def forget(self, before_s: float) -> None:
        """Forget batches that were handed in before a moment, and have ended."""
        self._db.execute("delete from batch where is_ended = 1 and created_s < ?", (int(before_s),))

    def has_file_of(self, batch: Batch) -> bool:
        """Whether the input of a batch is still a file of its owner."""
        return self._db.execute("select 1 from file where id = ?", (batch.input_file,)).fetchone() is not None

    def open_batches(self) -> list[str]:
        """The ids of those that have not ended, the oldest first."""
        return [row[0] for row in self._db.execute("select id from batch where is_ended = 0 order by created_s, id")]

    def ask_to_cancel(self, batch: Batch, now_s: int) -> Batch:
        """Let a batch that runs come to an end; whoever runs it sees that. Returns it as it is then."""
        self._db.execute("begin immediate")
        try:
            found = self.batch(batch.id)
            assert found is not None
            if found.status not in ENDED and found.status != "cancelling":
                found.status, found.times = "cancelling", {**found.times, "cancelling": now_s}
                said = msgspec.json.encode(found).decode()
                self._db.execute("update batch set said = ? where id = ?", (said, found.id))
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
        return found

    def segments(self, batch: str) -> list[str]:
        """The journals of a batch, in their order."""
        return [
            row[0] for row in self._db.execute("select about from segment where batch = ? order by number", (batch,))
        ]

    def add_segment(self, batch: str, about: str) -> None:
        self._db.execute(
            "insert into segment select ?, coalesce(max(number), 0) + 1, ? from segment where batch = ?",
            (batch, about, batch),
        )

    # --- what lies at providers -------------------------------------------------------------------------------

    def lay(self, lying: Lying) -> None:
        """Write down what lies at a provider, or will in a moment; what is written of it already is as it is now."""
        self._db.execute("insert or replace into parcel values (?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(lying))

    def lying(self, batch: str | None = None) -> list[Lying]:
        """What lies at providers for a batch; None: what nobody needs there any more, the oldest first."""
        rows = self._db.execute(
            "select name, batch, way, about, handed_s, is_done from parcel where batch = ?1 or (?1 is null and is_done = 1) order by handed_s, name",
            (batch,),
        )
        return [
            Lying(name, batch, way, about, handed_s, bool(is_done))
            for name, batch, way, about, handed_s, is_done in rows
        ]

    def done(self, name: str) -> None:
        """Nobody needs it there any more."""
        self._db.execute("update parcel set is_done = 1 where name = ?", (name,))

    def lift(self, name: str) -> None:
        """It does not lie there any more."""
        self._db.execute("delete from parcel where name = ?", (name,))

    def close(self) -> None:
        self._db.close()
