"""Postgres, for what several nodes agree on: a pool of connections in a thread with a loop of its own.

Rules: nobody on the path of a call waits here; whoever asks does so from a thread, and hears within a few seconds that nobody answers. What is
written says what is (absolute numbers, places in a log), so that after a failure it can be said again.
What it does not know: what is kept.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from freehold.kernel.errors import OperatorError
from freehold.kernel.extras import need
from freehold.kernel.steps import newer
from freehold.kernel.units import Secret

T = TypeVar("T")
Connection = Any  # asyncpg's, which is an extra
_ANSWER_S, _SLACK_S, _GIVE_UP_S = 5.0, 3.0, 8.0
_STEPS_LOCK = 7_241_902_113  # an advisory lock, so that nodes which start together take each step once


def unavailable(reason: str) -> OperatorError:
    """What whoever needs the database is told. reason: never its words, which may hold a password."""
    return OperatorError(
        f"The database of all nodes does not answer ({reason}).",
        code="nodes.unavailable",
        hint="Check Postgres, and [nodes] postgres.",
        retry_after_s=2.0,
    )


class Database:
    """Connections to one database. Made where they are needed, after any fork; close when done."""

    def __init__(self, url: Secret, *, answer_s: float = _ANSWER_S) -> None:
        """answer_s: how long an answer may take, in seconds."""
        self._url, self._asyncpg, self._answer_s = url, need("asyncpg", "postgres"), answer_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="freehold-nodes", daemon=True)
        self._thread.start()
        self._pool: Any = None
        self._opening = asyncio.Lock()

    def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do some work in one transaction. Raises OperatorError `nodes.unavailable`: it may have been done or not."""
        doing = asyncio.run_coroutine_threadsafe(self._transact(work), self._loop)
        try:
            return doing.result(self._answer_s + _SLACK_S)
        except concurrent.futures.TimeoutError:
            doing.cancel()
            raise unavailable("no answer in time") from None
        except (
            OSError,
            ValueError,
            self._asyncpg.PostgresError,
            self._asyncpg.InterfaceError,
            self._asyncpg.InternalClientError,
            TimeoutError,
        ) as error:
            raise unavailable(type(error).__name__) from None

    async def _transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._opening:
            if self._pool is None:
                self._pool = await self._asyncpg.create_pool(
                    self._url.value, min_size=0, max_size=4, timeout=self._answer_s, command_timeout=self._answer_s
                )
        async with self._pool.acquire(timeout=self._answer_s) as connection, connection.transaction():
            return await work(connection)

    def bring_up(self, room: str, steps: Sequence[str]) -> None:
        """Take the steps of a room's tables that the database has not seen. Raises OperatorError `state.newer`, `nodes.unavailable`."""

        async def take(db: Connection) -> int:
            await db.execute("select pg_advisory_xact_lock($1)", _STEPS_LOCK)
            await db.execute("create schema if not exists freehold")
            await db.execute("create table if not exists freehold.step (room text primary key, seen integer not null)")
            seen: int = await db.fetchval("select seen from freehold.step where room = $1", room) or 0
            if seen < len(steps):
                for step in steps[seen:]:
                    await db.execute(step)
                await db.execute(
                    "insert into freehold.step values ($1, $2) on conflict (room) do update set seen = excluded.seen",
                    room,
                    len(steps),
                )
            return seen

        if (seen := self.run(take)) > len(steps):
            raise newer("The database of all nodes", seen, len(steps))

    def close(self) -> None:
        async def end() -> None:
            if self._pool is not None:
                self._pool.terminate()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(_GIVE_UP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_GIVE_UP_S)
        self._loop.close()
