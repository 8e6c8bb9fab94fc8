"""The SQLite file that holds keys and people, and who changed them. One file, one list of steps, whoever opens it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from freehold.kernel.steps import bring_up

_SCHEMA = """
create table if not exists key (
  id text primary key, name text not null, digest blob not null unique, class text, workload text, budget text,
  created_ms integer not null, revoked_ms integer
);
"""
_STEPS = (
    "alter table key add column limits text;",
    """
    alter table key add column expires_ms integer;
    alter table key add column old text;
    create table change (id integer primary key, at_ms integer not null, who text not null, what text not null, key text not null, before text,
      after text, is_noted integer not null default 0);
    """,
    """
    alter table key add column owner text;
    alter table key add column machine text;
    create table person (id text primary key, name text not null unique, roles text not null, created_ms integer not null);
    create table session (digest blob primary key, person text not null, told text not null, until_ms integer not null);
    create table ended (id text primary key, revoked_ms integer not null);
    create table step (id integer primary key check (id = 1), at_ms integer not null);
    """,
)
Told = dict[str, Any] | None


class Change(msgspec.Struct, frozen=True):
    """What somebody did to a key or a person. id: its number where it is kept; who: by what they are known; key: the id of what was changed; before, after: what it declared."""

    id: int
    at_ms: int
    who: str
    what: str
    key: str
    before: Told
    after: Told

    def fields(self) -> dict[str, Any]:
        """As the log has it."""
        return {
            "change": self.id,
            "changed_ms": self.at_ms,
            "who": self.who,
            "what": self.what,
            "key": self.key,
            "before": self.before,
            "after": self.after,
        }


PATIENCE_S = 10.0


def connect(path: Path, patience_s: float = PATIENCE_S) -> sqlite3.Connection:
    """A connection to the file, brought up to this version. Raises OperatorError `state.newer`."""
    db = sqlite3.connect(path, isolation_level=None, timeout=patience_s)
    db.execute("pragma journal_mode = wal")
    bring_up(db, path.name, _SCHEMA, _STEPS)
    return db


@contextmanager
def whole(db: sqlite3.Connection) -> Iterator[None]:
    """Everything in the block, or nothing of it."""
    db.execute("begin immediate")
    try:
        yield
    except BaseException:
        db.execute("rollback")
        raise
    db.execute("commit")


def keep(db: sqlite3.Connection, now_ms: int, by: str, what: str, about: str, told: tuple[Told, Told]) -> None:
    """Keep that something was changed, in the transaction that changes it. about: its id; told: what it declared before and after."""
    db.execute(
        "insert into change (at_ms, who, what, key, before, after) values (?, ?, ?, ?, ?, ?)",
        (now_ms, by, what, about, *map(written, told)),
    )


def written(told: Told) -> str | None:
    """What something declared, as it is kept."""
    return msgspec.json.encode(told).decode() if told is not None else None


def change_of(row: tuple[Any, ...]) -> Change:
    """A change as its row says."""
    number, at_ms, who, what, key, *told = row
    before, after = (msgspec.json.decode(one) if one is not None else None for one in told)
    return Change(number, at_ms, who, what, key, before, after)
