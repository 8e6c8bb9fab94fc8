"""Callers' keys. A key is shown once; only HMAC-SHA-256 of it under the pepper is kept.

Rules: the map in memory is looked up by the whole digest, so nothing can be learned from timing or prefixes; another process's change holds
within a second (SQLite's `data_version` is asked, which costs microseconds).
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freehold.identity.store import PATIENCE_S, Change, Told, change_of, connect, keep, whole
from freehold.kernel.classes import Class
from freehold.kernel.clock import Clock
from freehold.kernel.errors import CallerError
from freehold.kernel.ids import make_id, make_key
from freehold.kernel.limits import Budget, Limits, limits_of, parse_budgets
from freehold.kernel.schema import Limits as LimitsSpec

RECHECK_S = 0.5
COLUMNS = "digest, id, name, class, workload, budget, created_ms, revoked_ms, limits, expires_ms, old, owner, machine"
_INSERT = f"insert into key ({COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - fixed names
_OF_MACHINE = "select 1 from key where machine = ? and revoked_ms is null"
_NEVER_MS = 2**62
_LONGEST_OVERLAP_MS, _MOST_OLD = 90 * 86_400_000, 4
_CLOCK = Clock()
_OLD, _REVOKED = (COLUMNS.split(", ").index(name) for name in ("old", "revoked_ms"))
Row = tuple[Any, ...]  # in the order of those columns


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key. `class_` None and `workload` None together count as restricted; expires_ms: from when on it is refused;
    owner: the id of the person whose it is; machine: whose signed tokens count in its place (`NAME:SUBJECT`)."""

    id: str
    name: str
    class_: Class | None
    workload: str | None
    budget_text: str | None
    created_ms: int
    revoked_ms: int | None
    budgets: tuple[Budget, ...] = ()
    limits: Limits | None = None
    expires_ms: int | None = None
    spec: str | None = None
    owner: str | None = None
    machine: str | None = None

    def as_data(self) -> dict[str, Any]:
        """As JSON, for whoever may see keys."""
        return {
            "id": self.id,
            "name": self.name,
            "class": self.class_.label if self.class_ is not None else None,
            "workload": self.workload,
            "budget": self.budget_text,
            "limits": dict(self.paces),
            "owner": self.owner,
            "machine": self.machine,
            "created": moment(self.created_ms),
            "expires": moment(self.expires_ms),
            "revoked": moment(self.revoked_ms),
        }

    @property
    def paces(self) -> list[tuple[str, str]]:
        """Its limits, as a person writes them."""
        limits = self.limits or Limits()
        found = [(name, rate.words) for name, rate in (("calls", limits.calls), ("tokens", limits.tokens)) if rate]
        return [*found, ("concurrent", str(limits.concurrent))] if limits.concurrent is not None else found

    def told(self) -> dict[str, Any]:
        """What it declares, for the record of a change: no name, which may be a person's, and nothing of its secret."""
        return {
            "class": self.class_.label if self.class_ is not None else None,
            "workload": self.workload,
            "budget": self.budget_text,
            "limits": self.spec,
            "expires_ms": self.expires_ms,
            **({"owner": self.owner} if self.owner is not None else {}),
            **({"machine": _unnamed(self.machine)} if self.machine is not None else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a key is to be. expires_ms: from when on it is refused, None for never; owner, machine: as of `Key`."""

    name: str
    class_: Class | None = None
    workload: str | None = None
    budgets: Sequence[str] = ()
    limits: LimitsSpec | None = None
    expires_ms: int | None = None
    owner: str | None = None
    machine: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A key that is new, and its secret, which is shown this once."""

    key: Key
    secret: str

    @classmethod
    def of(cls, wanted: Wanted, now_ms: int) -> Made:
        """Raises CallerError `keys.budget` for a budget or a limit that is none, `keys.expired` for a key that has ended already."""
        text, limits = ", ".join(wanted.budgets) or None, wanted.limits
        spec = msgspec.json.encode(limits).decode() if limits is not None and limits != LimitsSpec() else None
        label = wanted.class_.label if wanted.class_ is not None else None
        if wanted.expires_ms is not None and wanted.expires_ms <= now_ms:
            raise CallerError("The key would have expired already.", code="keys.expired")
        whose = (wanted.owner, wanted.machine)
        about = (wanted.name, label, wanted.workload, text, now_ms, None, spec, wanted.expires_ms, None, *whose)
        try:
            return cls(key_of((make_id("key", now_ms), *about)), make_key())
        except ValueError as error:
            raise CallerError(str(error), code="keys.budget") from None

    def row(self, pepper: bytes) -> Row:
        """As it is kept: the secret's digest alone."""
        key = self.key
        label = key.class_.label if key.class_ is not None else None
        about = (key.id, key.name, label, key.workload, key.budget_text, key.created_ms, None, key.spec, key.expires_ms)
        return (digest_of(pepper, self.secret), *about, None, key.owner, key.machine)


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

    def __init__(
        self, path: Path, pepper: bytes, now_ms: Callable[[], int] = _CLOCK.now_ms, *, patience_s: float = PATIENCE_S
    ) -> None:
        """patience_s: how long another process may hold the file."""
        self._now_ms = now_ms
        self._db = connect(path, patience_s)
        self._pepper = pepper
        self._by_digest: dict[bytes, tuple[Key, int]] = {}  # and until when
        self._by_id: dict[str, Key] = {}
        self._by_machine: dict[str, Key] = {}
        self._lent: dict[bytes, tuple[Key, int]] = {}
        self.unreadable: tuple[str, ...] = ()  # keys that this version cannot read: they are refused, and no others
        self._in_step_ms: int | None = None  # when this copy of the keys of all nodes was last compared, None for never
        self._version: int | None = None
        self._checked_s = -RECHECK_S
        self.refresh()

    def find(self, secret: str) -> Key | None:
        """The key that a secret belongs to, or None: it is not known, or no longer good. Costs one HMAC."""
        found = self._by_digest.get(digest_of(self._pepper, secret))
        if found is None or (found[1] != _NEVER_MS and self._now_ms() >= found[1]):
            return None
        return found[0]

    def of_machine(self, machine: str) -> Key | None:
        """The live key of a machine (`NAME:SUBJECT`), whose token has been checked."""
        found = self._by_machine.get(machine)
        return found if found is not None and not self._has_ended(found) else None

    def get(self, key_id: str) -> Key | None:
        """A live key by its id, for what its owner asked for earlier."""
        found = self._by_id.get(key_id)
        return found if found is not None and not self._has_ended(found) else None

    def _has_ended(self, key: Key) -> bool:
        return key.expires_ms is not None and self._now_ms() >= key.expires_ms

    def refresh(self, now_s: float | None = None) -> None:
        """Read the store again if another process has changed it; given a time, ask at most twice a second."""
        if now_s is not None:
            if now_s - self._checked_s < RECHECK_S:
                return
            self._checked_s = now_s
        version = self._db.execute("pragma data_version").fetchone()[0]
        if version != self._version:
            rows = self._db.execute(f"select {COLUMNS} from key where revoked_ms is null").fetchall()  # noqa: S608 - fixed names
            doors, unreadable = [], []
            for row in rows:
                try:
                    doors += list(_doors(row))
                except (ValueError, TypeError, msgspec.MsgspecError):
                    unreadable.append(str(row[1]))
            self.unreadable = tuple(unreadable)
            self._by_digest = {digest: (key, until) for digest, key, until in doors} | self._lent
            step = self._db.execute("select at_ms from step").fetchone()
            self._in_step_ms = step[0] if step is not None else None
            self._by_id = {key.id: key for key, _ in self._by_digest.values()}
            self._by_machine = {key.machine: key for key in self._by_id.values() if key.machine is not None}
            self._version = version

    def live(self) -> frozenset[str]:
        """The ids of all keys that are live."""
        return frozenset(key.id for key in self._by_id.values() if not self._has_ended(key))

    def create(self, wanted: Wanted, *, now_ms: int, by: str) -> tuple[Key, str]:
        """Make a key; returns it and the secret, which is shown this once. by: who does it. Raises CallerError for a bad budget, limit or end."""
        made = Made.of(wanted, now_ms)
        with self._changing(now_ms, by, "key.created", made.key.id, (None, made.key.told())):
            check_machine(made.key, self._db.execute(_OF_MACHINE, (wanted.machine,)).fetchone() is not None)
            self._db.execute(_INSERT, made.row(self._pepper))
        self._renew()
        return made.key, made.secret

    def rotate(self, key_id: str, *, overlap_ms: int, now_ms: int, by: str) -> str | None:
        """Give a key another secret, and let the old one be good for so much longer; returns the new one, None if there is no such key that is live and has one. Raises CallerError `keys.span`."""
        row = self._db.execute(
            "select digest, old from key where id = ? and revoked_ms is null and machine is null", (key_id,)
        ).fetchone()
        if row is None:
            return None
        secret = make_key()
        after = (digest_of(self._pepper, secret), rotated(row[0], row[1], now_ms, overlap_ms), key_id)
        with self._changing(now_ms, by, "key.rotated", key_id, (None, {"old_until_ms": now_ms + overlap_ms})):
            self._db.execute("update key set digest = ?, old = ? where id = ?", after)
        self._renew()
        return secret

    def unnoted(self) -> list[Change]:
        """What was changed and stands in no log yet, in order."""
        rows = self._db.execute(
            "select id, at_ms, who, what, key, before, after from change where not is_noted order by id"
        )
        return [change_of(row) for row in rows]

    def changes(self, most: int) -> list[Change]:
        """What was changed last, the newest first."""
        rows = self._db.execute(
            "select id, at_ms, who, what, key, before, after from change order by id desc limit ?", (most,)
        )
        return [change_of(row) for row in rows]

    def noted(self, number: int) -> None:
        """A change stands in a log."""
        self._db.execute("update change set is_noted = 1 where id = ?", (number,))

    @contextmanager
    def _changing(self, now_ms: int, by: str, what: str, key: str, told: tuple[Told, Told]) -> Iterator[None]:
        """Change something and keep that it was, both or neither."""
        with whole(self._db):
            yield
            keep(self._db, now_ms, by, what, key, told)

    def _renew(self) -> None:
        self._version = None
        self.refresh()

    def become(self, rows: Sequence[Row]) -> None:
        """Hold exactly these keys from here on, those of all nodes. What was once revoked stays so, whatever an older back-up says."""
        ended = [(row[1], row[_REVOKED]) for row in rows if row[_REVOKED] is not None]
        with whole(self._db):
            self._db.executemany("insert or ignore into ended values (?, ?)", ended)
            self._db.execute("delete from key")
            self._db.executemany(_INSERT, rows)
            self._db.execute(
                "update key set revoked_ms = (select revoked_ms from ended where ended.id = key.id) where revoked_ms is null and id in (select id from ended)"
            )
        self._renew()

    def compared(self, now_ms: int) -> None:
        """This copy was in step with the keys of all nodes a moment ago."""
        self._db.execute("insert into step values (1, ?) on conflict do update set at_ms = excluded.at_ms", (now_ms,))

    def is_in_step(self, within_s: float) -> bool:
        """Whether this copy was compared with the keys of all nodes not longer ago than that."""
        return self._in_step_ms is not None and self._now_ms() - self._in_step_ms <= within_s * 1000

    def lend(self, lent: Lent) -> None:
        """Take a key for as long as this process lives. It is restricted."""
        key = Key(lent.id, lent.name, Class.RESTRICTED, None, None, lent.created_ms, None)
        self._lent[digest_of(self._pepper, lent.secret)] = (key, _NEVER_MS)
        self._version = None
        self.refresh()

    def all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first."""
        rows = self._db.execute(f"select {COLUMNS} from key order by created_ms, id")  # noqa: S608 - fixed names
        return [key_of(row[1:]) for row in rows if row[1] not in self.unreadable]

    def one(self, key_id: str) -> Key | None:
        """A key by its id, revoked or not."""
        row = self._db.execute(f"select {COLUMNS} from key where id = ?", (key_id,)).fetchone()  # noqa: S608 - fixed names
        return key_of(row[1:]) if row is not None and row[1] not in self.unreadable else None

    def revoke(self, key_id: str, *, now_ms: int, by: str) -> bool:
        """Revoke a key by its id; False if there is none that is live."""
        before = next((key for key in self.all() if key.id == key_id and key.revoked_ms is None), None)
        if before is None:
            return False
        with self._changing(now_ms, by, "key.revoked", key_id, (before.told(), None)):
            self._db.execute("update key set revoked_ms = ? where id = ?", (now_ms, key_id))
        self._renew()
        return True

    def close(self) -> None:
        self._db.close()


def moment(ms: int | None) -> str | None:
    """A time as people read it, to the second (UTC)."""
    if ms is None:
        return None
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).isoformat(timespec="seconds")


def digest_of(pepper: bytes, secret: str) -> bytes:
    """By what a secret is known."""
    return hmac.digest(pepper, secret.encode("utf-8", "surrogatepass"), "sha256")


def _unnamed(machine: str) -> str:
    """A machine for the log: whose tokens, and which subject by its digest, because that may be somebody's name."""
    name, _, subject = machine.partition(":")
    return f"{name}:sha256:{hashlib.sha256(subject.encode()).hexdigest()[:32]}"


def check_machine(key: Key, is_taken: bool) -> None:
    """Raises CallerError `keys.machine` where another live key has the machine's tokens already."""
    if is_taken and key.machine is not None:
        raise CallerError(
            f"{key.machine!r} has a key already.",
            code="keys.machine",
            hint="Revoke that one first: a machine's tokens count as one key.",
        )


def rotated(digest: bytes, old: str | None, now_ms: int, overlap_ms: int) -> str:
    """The secrets that were a key's before, and until when each is good, once the one of this digest is another."""
    if overlap_ms > _LONGEST_OVERLAP_MS:
        raise CallerError("An old secret may stay good for 90 days at the most.", code="keys.span")
    before = [
        (one, until) for one, until in msgspec.json.decode(old or "[]", type=list[tuple[str, int]]) if until > now_ms
    ][-_MOST_OLD:]
    return msgspec.json.encode([*before, (bytes(digest).hex(), now_ms + overlap_ms)]).decode()


def _doors(row: Row) -> Iterator[tuple[bytes, Key, int]]:
    """Every digest by which a key may be asked for, and until when."""
    key = key_of(row[1:])
    until = key.expires_ms if key.expires_ms is not None else _NEVER_MS
    for digest, old_until in msgspec.json.decode(row[_OLD] or "[]", type=list[tuple[str, int]]):
        yield bytes.fromhex(digest), key, min(until, old_until)
    yield bytes(row[0]), key, until


def key_of(row: Row) -> Key:
    """A key as its row, without the digest, says. Raises ValueError for a budget or a limit that is none."""
    key_id, name, class_, workload, budget, created, revoked, limits, expires, _, owner, machine = row
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
        expires,
        limits,
        owner,
        machine,
    )
