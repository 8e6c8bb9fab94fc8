"""Answers that may be given again, in the sealed store, found by a key that their owner made of the whole question.

Rules: the index knows keys, owners and times, never words; an answer whose owner's key was destroyed is gone; what is over its time or its room is
dropped, what was not asked for longest first. What it does not know: what makes two questions the same.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from freehold.content.sealed import SealedStore
from freehold.kernel.errors import CallerError

_SCHEMA = """
create table if not exists entry (key blob primary key, file text not null, room text not null, size integer not null, until_ms integer not null,
  used_ms integer not null) without rowid;
create index if not exists by_room on entry (room, used_ms);
create index if not exists by_time on entry (until_ms);
"""
_KIND = "cached answer"
_TOUCH_MS = 10_000  # how exactly it is known when an answer was asked for last
_WAIT_S = 0.05  # for another process that writes: a call never waits long for what it does not need
_LOOK_EVERY = 16  # answers kept, until the room is measured again


class Again(NamedTuple):
    """An answer to be given again. facts: what was kept beside it."""

    facts: dict[str, str | int | list[str]]
    body: bytes


class Room(NamedTuple):
    """How much may be kept under one name."""

    name: str
    entries: int
    bytes: int


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=_WAIT_S)
    path.chmod(0o600)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = normal")
    db.executescript(_SCHEMA)
    return db


class AnswerCache:
    """The answers of one state directory; several processes may use it at once. Not for use from several threads."""

    def __init__(self, path: Path, store: SealedStore) -> None:
        self._store = store
        try:
            self._db = _opened(path)
        except sqlite3.DatabaseError:  # it is damaged: what is lost is only asked for again
            for suffix in ("", "-wal", "-shm"):
                path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
            self._db = _opened(path)
        self._kept: dict[str, int] = {}

    def find(self, key: bytes, now_ms: int) -> Again | None:
        """The answer of a key, None if there is none (any more)."""
        row = self._db.execute("select file, until_ms, used_ms from entry where key = ?", (key,)).fetchone()
        if row is None or now_ms >= row[1]:
            return None
        try:
            head, _, body = b"".join(self._store.read(row[0], now_ms)).partition(b"\n")
        except (CallerError, OSError):
            self._drop([(key, row[0])])
            return None
        if now_ms - row[2] > _TOUCH_MS:
            self._db.execute("update entry set used_ms = ? where key = ?", (now_ms, key))
        return Again(json.loads(head), body)

    def keep(self, key: bytes, subject: str, answer: Again, room: Room, *, now_ms: int, until_ms: int) -> None:
        """Keep an answer of a subject until then, in a room."""
        head = json.dumps(answer.facts, separators=(",", ":")).encode() + b"\n"
        file = self._store.keep(subject, _KIND, (head, answer.body), until_ms=until_ms, is_durable=False)
        before = self._db.execute("select key, file from entry where key = ?", (key,)).fetchall()
        row = (key, file, room.name, len(head) + len(answer.body), until_ms, now_ms)
        self._db.execute("insert or replace into entry values (?, ?, ?, ?, ?, ?)", row)
        for _, old in before:
            self._store.drop(old)
        count = self._kept[room.name] = self._kept.get(room.name, 0) + 1
        if count % _LOOK_EVERY == 1:
            self._make_room(room)

    def listed(self, room: str, now_ms: int) -> Iterator[Again]:
        """Everything that is kept in a room, the oldest first."""
        rows = self._db.execute(
            "select key from entry where room = ? and until_ms > ? order by until_ms, key", (room, now_ms)
        )
        for (key,) in rows.fetchall():
            if (found := self.find(key, now_ms)) is not None:
                yield found

    def sweep(self, now_ms: int, most: int = 200) -> int:
        """Drop answers whose time is over, so many at once; returns how many."""
        found = self._db.execute("select key, file from entry where until_ms <= ? limit ?", (now_ms, most)).fetchall()
        self._drop(found)
        return len(found)

    def _make_room(self, room: Room) -> None:
        count, size = self._db.execute(
            "select count(*), coalesce(sum(size), 0) from entry where room = ?", (room.name,)
        ).fetchone()
        over = []
        for key, file, own in self._db.execute(
            "select key, file, size from entry where room = ? order by used_ms", (room.name,)
        ):
            if count <= room.entries and size <= room.bytes:
                break
            over.append((key, file))
            count, size = count - 1, size - own
        self._drop(over)

    def _drop(self, entries: Iterable[tuple[bytes, str]]) -> None:
        for key, file in entries:
            self._db.execute("delete from entry where key = ? and file = ?", (key, file))
            self._store.drop(file)

    def close(self) -> None:
        self._db.close()
