"""Where keys and people are changed: in this state directory, or in the database of all nodes, which each node's copy follows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from freehold.identity.keys import Keys
from freehold.identity.people import People
from freehold.identity.shared import SharedKeys, SharedPeople
from freehold.kernel.errors import OperatorError
from freehold.kernel.snapshot import Nodes
from freehold.ledger.database import Database

S = TypeVar("S")
T = TypeVar("T")
_TRIES, _WAIT_S = 20, 0.1


class Registry:
    """keys, people: of this state directory, what this process asks on the path."""

    def __init__(self, keys: Keys, people: People, nodes: Nodes | None) -> None:
        self.keys, self.people, self._nodes = keys, people, nodes
        self._shared: tuple[SharedKeys, SharedPeople] | None = None
        self._turn = asyncio.Lock()

    async def with_keys(self, work: Callable[[Keys | SharedKeys], T]) -> T:
        """Look at keys, or change them. Raises OperatorError `nodes.unavailable`."""
        if self._nodes is None:
            return await _patiently(work, self.keys)
        async with self._turn:
            return await asyncio.to_thread(lambda: work(self._open()[0]))

    async def with_people(self, work: Callable[[People | SharedPeople], T]) -> T:
        """Look at people, or change them. Raises OperatorError `nodes.unavailable`."""
        if self._nodes is None:
            return await _patiently(work, self.people)
        async with self._turn:
            return await asyncio.to_thread(lambda: work(self._open()[1]))

    async def with_sessions(self, work: Callable[[People], T]) -> T:
        """Begin or end sessions, which are this state directory's own. Raises OperatorError `keys.busy`."""
        return await _patiently(work, self.people)

    def _open(self) -> tuple[SharedKeys, SharedPeople]:
        if self._shared is None:
            assert self._nodes is not None
            database = Database(self._nodes.database)
            try:
                self._shared = SharedKeys(database, self._nodes.pepper), SharedPeople(database)
            except BaseException:
                database.close()
                raise
        return self._shared

    def close(self) -> None:
        if self._shared is not None:
            self._shared[0].close()
        self.people.close()


async def _patiently(work: Callable[[S], T], store: S) -> T:
    """Do some work in the loop's own thread; where another process holds the file, calls go on meanwhile. Raises OperatorError `keys.busy`."""
    for _ in range(_TRIES):
        try:
            return work(store)
        except sqlite3.OperationalError:
            await asyncio.sleep(_WAIT_S)
    raise OperatorError(
        "Another process holds the file of keys and people.", code="keys.busy", hint="Try again.", retry_after_s=1.0
    )
