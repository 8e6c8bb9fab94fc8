"""Callers' keys where several nodes share them: Postgres has them, and each node serves from a copy of its own.

Rules: what is made or revoked is first in Postgres; a node copies what has changed twice a second, so a key that is revoked anywhere is refused
everywhere within two; while Postgres is away, the copy is what is known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from freehold.identity.keys import Key, Keys, Made, Row, key_of
from freehold.kernel.classes import Class
from freehold.kernel.schema import Limits as LimitsSpec

T = TypeVar("T")
STEPS = (
    """
    create table freehold.key (id text primary key, name text not null, digest bytea not null unique, class text, workload text, budget text,
      created_ms bigint not null, revoked_ms bigint, limits text, changed bigserial);
    """,
)
_COLUMNS = "digest, id, name, class, workload, budget, created_ms, revoked_ms, limits"


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
        """Make a key for all nodes, as `Keys.create` does for one."""
        made = Made.of(name, class_, workload, budgets, limits, now_ms)

        async def write(db: Any) -> None:
            await db.execute(
                f"insert into freehold.key ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",  # noqa: S608 - fixed names
                *made.row(self._pepper),
            )

        self._database.run(write)
        return made.key, made.secret

    def all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first."""
        return sorted((key_of(row[1:]) for row in self._rows()), key=lambda key: (key.created_ms, key.id))

    def revoke(self, key_id: str, *, now_ms: int) -> bool:
        """Revoke a key by its id; False if there is none that is live."""

        async def write(db: Any) -> bool:
            done = await db.execute(
                "update freehold.key set revoked_ms = $2, changed = default where id = $1 and revoked_ms is null",
                key_id,
                now_ms,
            )
            return bool(done.endswith(" 1"))

        return self._database.run(write)

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
            return await db.fetch(f"select {_COLUMNS} from freehold.key")  # noqa: S608 - fixed names

        return [tuple(row) for row in self._database.run(read)]

    def close(self) -> None:
        self._database.close()
