"""People and what they may do: roles that an administrator gave them, and the sessions of those who have signed in.

Rules: what is here is who may do what, never how somebody proved who they are; a session's secret is shown once and kept as its digest; a change
holds within a second at every process. The log names a person by an id, because names are those of people and a log is never rewritten.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freehold.identity.store import PATIENCE_S, Told, connect, keep, whole
from freehold.kernel.ids import make_id
from freehold.kernel.roles import Role

MACHINE = "machine:"  # before the name of one that has roles, so that no person's name can be a machine's
Row = tuple[Any, ...]  # id, name, roles, created_ms


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has signed in or was given a role. name: as the issuer says it, to the letter (an e-mail address, in lower case), `machine:NAME:SUBJECT` for a machine."""

    id: str
    name: str
    roles: tuple[Role, ...]
    created_ms: int

    @classmethod
    def of(cls, row: Row) -> Person:
        return cls(row[0], row[1], roles_of(row[2]), row[3])

    def told(self) -> Told:
        """What is recorded of a change."""
        return {"roles": [role.text for role in self.roles]}


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One sign-in. groups: what the issuer said of the person; sign_on: the digest of how people signed in then, a session of another way is void."""

    person: Person
    groups: tuple[str, ...]
    sign_on: str


class _Told(msgspec.Struct, frozen=True):
    groups: tuple[str, ...]
    sign_on: str


def roles_of(text: str) -> tuple[Role, ...]:
    """The roles of a row."""
    return tuple(Role.parse(one) for one in msgspec.json.decode(text, type=list[str]))


def row_of(roles: Sequence[Role]) -> str:
    """Roles, as a row has them: each once, in one order."""
    return msgspec.json.encode(sorted({role.text for role in roles})).decode()


class People:
    """The people of one state directory."""

    def __init__(self, path: Path, *, patience_s: float = PATIENCE_S) -> None:
        """patience_s: how long another process may hold the file."""
        self._db = connect(path, patience_s)

    def find(self, name: str) -> Person | None:
        row = self._db.execute(f"{_SELECT} where name = ?", (name,)).fetchone()
        return Person.of(row) if row is not None else None

    def get(self, person_id: str) -> Person | None:
        row = self._db.execute(f"{_SELECT} where id = ?", (person_id,)).fetchone()
        return Person.of(row) if row is not None else None

    def all(self) -> list[Person]:
        """Everybody, by name."""
        return [Person.of(row) for row in self._db.execute(f"{_SELECT} order by name")]

    def meet(self, name: str, *, now_ms: int) -> Person:
        """Who somebody is; they are taken down, without any role, if nobody knew them."""
        new = Person(make_id("person", now_ms), name, (), now_ms)
        self._db.execute("insert or ignore into person values (?, ?, ?, ?)", (new.id, new.name, row_of(()), now_ms))
        return self.find(name) or new

    def become(self, name: str, roles: Sequence[Role], *, now_ms: int, by: str) -> Person:
        """Give somebody exactly these roles. by: who does it."""
        before = self.meet(name, now_ms=now_ms)
        after = Person(before.id, before.name, roles_of(row_of(roles)), before.created_ms)
        if after.roles != before.roles:
            with whole(self._db):
                self._db.execute("update person set roles = ? where id = ?", (row_of(roles), before.id))
                keep(self._db, now_ms, by, "person.roles", before.id, (before.told(), after.told()))
        return after

    def remove(self, name: str, *, now_ms: int, by: str) -> bool:
        """Forget somebody, with every session; False if nobody knew them. Whoever the issuer's groups give a role comes back without those given here."""
        before = self.find(name)
        if before is None:
            return False
        with whole(self._db):
            self._db.execute("delete from person where id = ?", (before.id,))
            self._db.execute("delete from session where person = ?", (before.id,))
            keep(self._db, now_ms, by, "person.removed", before.id, (before.told(), None))
        return True

    def learn(self, person: Person) -> None:
        """Know somebody who was met at the database of all nodes, before the next copy."""
        row = (person.id, person.name, row_of(()), person.created_ms)  # roles come with the copy alone
        self._db.execute("insert or ignore into person values (?, ?, ?, ?)", row)

    def copy(self, rows: Sequence[Row]) -> None:
        """Know exactly these people from here on, those of all nodes."""
        with whole(self._db):
            self._db.execute("delete from person")
            self._db.executemany("insert into person values (?, ?, ?, ?)", rows)
            self._db.execute("delete from session where person not in (select id from person)")

    # --- sessions: of this state directory alone ----------------------------------------------------------------

    def open(self, person: Person, groups: Sequence[str], sign_on: str, *, until_ms: int) -> str:
        """Begin a session; returns its secret, which is shown this once."""
        secret, told = secrets.token_urlsafe(32), msgspec.json.encode(_Told(tuple(groups), sign_on)).decode()
        self._db.execute("insert into session values (?, ?, ?, ?)", (digest_of(secret), person.id, told, until_ms))
        return secret

    def session(self, secret: str, *, now_ms: int) -> SignedIn | None:
        """The session of a secret, if it still holds."""
        row = self._db.execute(
            "select person, told from session where digest = ? and until_ms > ?", (digest_of(secret), now_ms)
        ).fetchone()
        person = self.get(row[0]) if row is not None else None
        if person is None:
            return None
        told = msgspec.json.decode(row[1], type=_Told)
        return SignedIn(person, told.groups, told.sign_on)

    def end(self, secret: str) -> None:
        """End a session."""
        self._db.execute("delete from session where digest = ?", (digest_of(secret),))

    def sweep(self, now_ms: int) -> None:
        """Drop sessions that are over, if there are any: to write needs a lock."""
        if self._db.execute("select 1 from session where until_ms <= ? limit 1", (now_ms,)).fetchone() is None:
            return
        self._db.execute("delete from session where until_ms <= ?", (now_ms,))

    def close(self) -> None:
        self._db.close()


_SELECT = "select id, name, roles, created_ms from person"


def digest_of(secret: str) -> bytes:
    """By what a secret of 256 random bits is kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
