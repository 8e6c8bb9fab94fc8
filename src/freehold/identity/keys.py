"""Callers' keys. A key is shown once; only HMAC-SHA-256 of it under the pepper is kept.

Rules: the map in memory is looked up by the whole digest, so nothing can be learned from timing or prefixes; another process's change holds
within a second (SQLite's `data_version` is asked, which costs microseconds).
"""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError
from freehold.kernel.ids import make_id, make_key
from freehold.kernel.limits import Budget, Limits, limits_of, parse_budgets
from freehold.kernel.schema import Limits as LimitsSpec
from freehold.kernel.steps import bring_up

_SCHEMA = """
create table if not exists key (
  id text primary key, name text not null, digest blob not null unique, class text, workload text, budget text,
  created_ms integer not null, revoked_ms integer
);
"""
_STEPS = ("alter table key add column limits text;",)
RECHECK_S = 0.5
_INSERT = "insert into key (digest, id, name, class, workload, budget, created_ms, revoked_ms, limits) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
Row = tuple[Any, ...]  # in the order of those columns


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key. `class_` None and `workload` None together count as restricted."""

    id: str
    name: str
    class_: Class | None
    workload: str | None
    budget_text: str | None
    created_ms: int
    revoked_ms: int | None
    budgets: tuple[Budget, ...] = ()
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A key that is new, and its secret, which is shown this once."""

    key: Key
    secret: str
    spec: str | None

    @classmethod
    def of(
        cls,
        name: str,
        class_: Class | None,
        workload: str | None,
        budgets: Sequence[str],
        limits: LimitsSpec | None,
        now_ms: int,
    ) -> Made:
        """Raises CallerError `keys.budget` for a budget or a limit that is none."""
        text = ", ".join(budgets) or None
        spec = msgspec.json.encode(limits).decode() if limits is not None and limits != LimitsSpec() else None
        label = class_.label if class_ is not None else None
        try:
            key = key_of((make_id("key", now_ms), name, label, workload, text, now_ms, None, spec))
        except ValueError as error:
            raise CallerError(str(error), code="keys.budget") from None
        return cls(key, make_key(), spec)

    def row(self, pepper: bytes) -> Row:
        """As it is kept: the secret's digest alone."""
        key = self.key
        label = key.class_.label if key.class_ is not None else None
        about = (key.id, key.name, label, key.workload, key.budget_text, key.created_ms, None, self.spec)
        return (_digest(pepper, self.secret), *about)


@dataclass(frozen=True, slots=True)
class Lent:
    """A key that is in no store: it lives in the memory of those that are handed it."""

    id: str
    name: str
    secret: str
    created_ms: int

    @classmethod
    def make(cls, name: str, now_ms: int) -> Lent:
        return cls(make_id("key", now_ms), name, make_key(), now_ms)


class Keys:
    """The keys of one state directory. pepper: 32 secret bytes that live beside the store, not in it."""

    def __init__(self, path: Path, pepper: bytes) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        self._db.execute("pragma journal_mode = wal")
        bring_up(self._db, path.name, _SCHEMA, _STEPS)
        self._pepper = pepper
        self._by_digest: dict[bytes, Key] = {}
        self._by_id: dict[str, Key] = {}
        self._lent: dict[bytes, Key] = {}
        self._version: int | None = None
        self._checked_s = -RECHECK_S
        self.refresh()

    def find(self, secret: str) -> Key | None:
        """The key that a secret belongs to, or None. Costs one HMAC."""
        return self._by_digest.get(self._digest(secret))

    def get(self, key_id: str) -> Key | None:
        """A live key by its id, for what its owner asked for earlier."""
        return self._by_id.get(key_id)

    def refresh(self, now_s: float | None = None) -> None:
        """Read the store again if another process has changed it; given a time, ask at most twice a second."""
        if now_s is not None:
            if now_s - self._checked_s < RECHECK_S:
                return
            self._checked_s = now_s
        version = self._db.execute("pragma data_version").fetchone()[0]
        if version != self._version:
            rows = self._db.execute(
                "select digest, id, name, class, workload, budget, created_ms, revoked_ms, limits from key where revoked_ms is null"
            ).fetchall()
            self._by_digest = {bytes(row[0]): key_of(row[1:]) for row in rows} | self._lent
            self._by_id = {key.id: key for key in self._by_digest.values()}
            self._version = version

    def live(self) -> frozenset[str]:
        """The ids of all keys that are live."""
        return frozenset(self._by_id)

    def create(
        self,
        name: str,
        *,
        class_: Class | None,
        workload: str | None,
        budgets: Sequence[str] = (),
        limits: LimitsSpec | None = None,
        now_ms: int,
    ) -> tuple[Key, str]:
        """Make a key; returns it and the secret, which is shown this once. Raises CallerError for a bad budget or limit."""
        made = Made.of(name, class_, workload, budgets, limits, now_ms)
        self._db.execute(_INSERT, made.row(self._pepper))
        self._version = None
        self.refresh()
        return made.key, made.secret

    def become(self, rows: Sequence[Row]) -> None:
        """Hold exactly these keys from here on, those of all nodes."""
        self._db.execute("begin immediate")
        try:
            self._db.execute("delete from key")
            self._db.executemany(_INSERT, rows)
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
        self._version = None
        self.refresh()

    def lend(self, lent: Lent) -> None:
        """Take a key for as long as this process lives. It is restricted."""
        key = Key(lent.id, lent.name, Class.RESTRICTED, None, None, lent.created_ms, None)
        self._lent[self._digest(lent.secret)] = key
        self._version = None
        self.refresh()

    def all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first."""
        return [
            key_of(row)
            for row in self._db.execute(
                "select id, name, class, workload, budget, created_ms, revoked_ms, limits from key order by created_ms, id"
            )
        ]

    def revoke(self, key_id: str, *, now_ms: int) -> bool:
        """Revoke a key by its id; False if there is none that is live."""
        done = (
            self._db.execute(
                "update key set revoked_ms = ? where id = ? and revoked_ms is null", (now_ms, key_id)
            ).rowcount
            == 1
        )
        self._version = None
        self.refresh()
        return done

    def close(self) -> None:
        self._db.close()

    def _digest(self, secret: str) -> bytes:
        return _digest(self._pepper, secret)


def _digest(pepper: bytes, secret: str) -> bytes:
    return hmac.digest(pepper, secret.encode("utf-8", "surrogatepass"), "sha256")


def key_of(row: Row) -> Key:
    """A key as its row, without the digest, says. Raises ValueError for a budget or a limit that is none."""
    key_id, name, class_, workload, budget, created, revoked, limits = row
    return Key(
        key_id,
        name,
        Class.parse(class_) if class_ else None,
        workload,
        budget,
        created,
        revoked,
        parse_budgets(tuple(budget.split(",")), f"key:{key_id}") if budget else (),
        limits_of(msgspec.json.decode(limits, type=LimitsSpec)) if limits else None,
    )
