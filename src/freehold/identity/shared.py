"""Callers' keys where several nodes share them: Postgres has them, and each node serves from a copy of its own.

Rules: what is made or revoked is first in Postgres; a node copies what has changed twice a second, so a key that is revoked anywhere is refused
everywhere within two; while Postgres is away, the copy is what is known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from freehold.identity.keys import COLUMNS, Key, Keys, Made, Row, Wanted, check_machine, digest_of, key_of, rotated
from freehold.identity.people import People, Person, roles_of, row_of
from freehold.identity.store import Change, Told, change_of, written
from freehold.kernel.ids import make_id, make_key
from freehold.kernel.roles import Role

T = TypeVar("T")
STEPS = (
    """
    create table freehold.key (id text primary key, name text not null, digest bytea not null unique, class text, workload text, budget text,
      created_ms bigint not null, revoked_ms bigint, limits text, expires_ms bigint, old text, changed bigserial);
    create table freehold.change (id bigserial primary key, at_ms bigint not null, who text not null, what text not null, key text not null,
      before text, after text, node text, is_noted boolean not null default false);
    """,
    """
    alter table freehold.key add column owner text;
    alter table freehold.key add column machine text;
    create unique index key_machine on freehold.key (machine) where revoked_ms is null;
    create table freehold.person (id text primary key, name text not null unique, roles text not null, created_ms bigint not null, changed bigserial);
    """,
)


class Database(Protocol):
    """What is needed of a database: to do some work in one transaction."""

    def run(self, work: Callable[[Any], Awaitable[T]]) -> T: ...
    def bring_up(self, room: str, steps: Sequence[str]) -> None: ...
    def close(self) -> None: ...


class SharedKeys:
    """The keys of all nodes. pepper: the same for each of them, and not in the database."""

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database, self._pepper = database, pepper
        self._seen: tuple[Any, ...] = ()
        database.bring_up("identity", STEPS)

    def create(self, wanted: Wanted, *, now_ms: int, by: str) -> tuple[Key, str]:
        """Make a key for all nodes, as `Keys.create` does for one."""
        made = Made.of(wanted, now_ms)

        async def write(db: Any) -> None:
            if wanted.machine is not None:
                live = "select 1 from freehold.key where machine = $1 and revoked_ms is null"
                check_machine(made.key, await db.fetchval(live, wanted.machine) is not None)
            await db.execute(
                f"insert into freehold.key ({COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",  # noqa: S608 - fixed names
                *made.row(self._pepper),
            )
            await _keep(db, now_ms, by, "key.created", made.key.id, (None, made.key.told()))

        self._database.run(write)
        return made.key, made.secret

    def rotate(self, key_id: str, *, overlap_ms: int, now_ms: int, by: str) -> str | None:
        """Give a key another secret, as `Keys.rotate` does."""
        secret = make_key()

        async def write(db: Any) -> str | None:
            row = await db.fetchrow(
                "select digest, old from freehold.key where id = $1 and revoked_ms is null and machine is null for update",
                key_id,
            )
            if row is None:
                return None
            await db.execute(
                "update freehold.key set digest = $2, old = $3, changed = default where id = $1",
                *(key_id, digest_of(self._pepper, secret), rotated(row[0], row[1], now_ms, overlap_ms)),
            )
            await _keep(db, now_ms, by, "key.rotated", key_id, (None, {"old_until_ms": now_ms + overlap_ms}))
            return secret

        return self._database.run(write)

    def all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first."""
        return sorted((key_of(row[1:]) for row in self._rows()), key=lambda key: (key.created_ms, key.id))

    def one(self, key_id: str) -> Key | None:
        """A key by its id, revoked or not."""

        async def read(db: Any) -> Any:
            return await db.fetchrow(f"select {COLUMNS} from freehold.key where id = $1", key_id)  # noqa: S608 - fixed names

        row = self._database.run(read)
        return key_of(tuple(row)[1:]) if row is not None else None

    def revoke(self, key_id: str, *, now_ms: int, by: str) -> bool:
        """Revoke a key by its id; False if there is none that is live."""

        async def write(db: Any) -> bool:
            row = await db.fetchrow(
                f"select {COLUMNS} from freehold.key where id = $1 and revoked_ms is null for update",  # noqa: S608 - fixed names
                key_id,
            )
            if row is None:
                return False
            await db.execute("update freehold.key set revoked_ms = $2, changed = default where id = $1", key_id, now_ms)
            await _keep(db, now_ms, by, "key.revoked", key_id, (key_of(tuple(row)[1:]).told(), None))
            return True

        return self._database.run(write)

    def claim(self, node: str) -> list[Change]:
        """What was changed and stands in no node's log yet; it is for this node to write down, and say so with `noted`."""

        async def write(db: Any) -> Any:
            await db.execute(
                "update freehold.change set node = $1 where id in (select id from freehold.change where node is null for update skip locked)",
                node,
            )
            return await db.fetch(
                "select id, at_ms, who, what, key, before, after from freehold.change where node = $1 and not is_noted order by id",
                node,
            )

        return [change_of(tuple(row)) for row in self._database.run(write)]

    def changes(self, most: int) -> list[Change]:
        """What was changed last, the newest first."""

        async def read(db: Any) -> Any:
            return await db.fetch(
                "select id, at_ms, who, what, key, before, after from freehold.change order by id desc limit $1", most
            )

        return [change_of(tuple(row)) for row in self._database.run(read)]

    def release(self, node: str) -> None:
        """What a node that will not come back has claimed and not written is for the others."""

        async def write(db: Any) -> None:
            await db.execute("update freehold.change set node = null where node = $1 and not is_noted", node)

        self._database.run(write)

    def noted(self, numbers: Sequence[int]) -> None:
        """These changes stand in a log."""

        async def write(db: Any) -> None:
            await db.execute("update freehold.change set is_noted = true where id = any($1::bigint[])", list(numbers))

        self._database.run(write)

    def copy_to(self, keys: Keys) -> bool:
        """Bring a node's copy up to date; returns whether there was anything new."""

        async def look(db: Any) -> tuple[Any, ...]:
            # Numbers are given out before they are committed, so the last one alone would miss a key that came late.
            return tuple(await db.fetchrow("select count(*), coalesce(sum(changed), 0) from freehold.key"))

        seen = self._database.run(look)
        if seen == self._seen:
            return False
        keys.become(self._rows())
        self._seen = seen
        return True

    def _rows(self) -> list[Row]:
        async def read(db: Any) -> Any:
            return await db.fetch(f"select {COLUMNS} from freehold.key")  # noqa: S608 - fixed names

        return [tuple(row) for row in self._database.run(read)]

    def close(self) -> None:
        self._database.close()


class SharedPeople:
    """The people of all nodes. Sessions are each node's own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: tuple[Any, ...] = ()
        database.bring_up("identity", STEPS)

    def find(self, name: str) -> Person | None:
        async def read(db: Any) -> Any:
            return await db.fetchrow(f"{_PERSON} where name = $1", name)

        row = self._database.run(read)
        return Person.of(tuple(row)) if row is not None else None

    def all(self) -> list[Person]:
        """Everybody, by name."""
        return sorted(map(Person.of, self._rows()), key=lambda one: one.name)

    def meet(self, name: str, *, now_ms: int) -> Person:
        """Who somebody is, as `People.meet` says."""
        return self._database.run(lambda db: _meet(db, name, now_ms))

    def become(self, name: str, roles: Sequence[Role], *, now_ms: int, by: str) -> Person:
        """Give somebody exactly these roles, as `People.become` does."""

        async def write(db: Any) -> Person:
            before = await _meet(db, name, now_ms)
            after = Person(before.id, before.name, roles_of(row_of(roles)), before.created_ms)
            if after.roles != before.roles:
                update = "update freehold.person set roles = $2, changed = default where id = $1"
                await db.execute(update, before.id, row_of(roles))
                await _keep(db, now_ms, by, "person.roles", before.id, (before.told(), after.told()))
            return after

        return self._database.run(write)

    def remove(self, name: str, *, now_ms: int, by: str) -> bool:
        """Forget somebody at every node; False if nobody knew them."""

        async def write(db: Any) -> bool:
            row = await db.fetchrow(f"{_PERSON} where name = $1 for update", name)
            if row is None:
                return False
            before = Person.of(tuple(row))
            await db.execute("delete from freehold.person where id = $1", before.id)
            await _keep(db, now_ms, by, "person.removed", before.id, (before.told(), None))
            return True

        return self._database.run(write)

    def copy_to(self, people: People) -> None:
        """Bring a node's copy up to date."""

        async def look(db: Any) -> tuple[Any, ...]:
            return tuple(await db.fetchrow("select count(*), coalesce(sum(changed), 0) from freehold.person"))

        seen = self._database.run(look)
        if seen != self._seen:
            people.copy(self._rows())
            self._seen = seen

    def _rows(self) -> list[Row]:
        async def read(db: Any) -> Any:
            return await db.fetch(_PERSON)

        return [tuple(row) for row in self._database.run(read)]

    def close(self) -> None:
        self._database.close()


_PERSON = "select id, name, roles, created_ms from freehold.person"


async def _meet(db: Any, name: str, now_ms: int) -> Person:
    insert = "insert into freehold.person (id, name, roles, created_ms) values ($1, $2, $3, $4) on conflict (name) do nothing"
    await db.execute(insert, make_id("person", now_ms), name, row_of(()), now_ms)
    return Person.of(tuple(await db.fetchrow(f"{_PERSON} where name = $1 for update", name)))


async def _keep(db: Any, now_ms: int, by: str, what: str, key: str, told: tuple[Told, Told]) -> None:
    """Keep that something was changed, in the transaction that changes it. told: what the key declared before and after."""
    await db.execute(
        "insert into freehold.change (at_ms, who, what, key, before, after) values ($1, $2, $3, $4, $5, $6)",
        *(now_ms, by, what, key, *map(written, told)),
    )
