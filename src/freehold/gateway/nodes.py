"""One of several nodes: what it shares with the others through Postgres, and how it goes on without.

Rules: the path of a call asks the node's own directory; only where the node's part of a budget is too small does a call wait until more was leased.
One process of a node does the rest, twice a second: it copies the keys, says what is spent, gives back what is not needed, and brings the index up
to date. While Postgres is away, calls go on within what the node has; what would need more is refused (503), never guessed. What happened meanwhile is
said when it is back, and counts once, because everything that is said is absolute.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from freehold.gateway.logs import log, log_bug
from freehold.gateway.preparing import Prepared, open_keys
from freehold.gateway.seeding import POOLS
from freehold.gateway.world import World
from freehold.identity.keys import Keys
from freehold.identity.people import People
from freehold.identity.shared import SharedKeys, SharedPeople
from freehold.identity.store import Change
from freehold.kernel.errors import OperatorError
from freehold.kernel.ids import make_id
from freehold.kernel.limits import Budget, Rate, period_start_ms
from freehold.kernel.snapshot import Nodes
from freehold.ledger.budgets import Crossing
from freehold.ledger.database import Database, unavailable
from freehold.ledger.files import take_lock, written_once
from freehold.ledger.pools import AT_ONCE, NO_PART, Lack, Lull, Part, Share
from freehold.ledger.postgres import NodePools, PostgresStore
from freehold.ledger.sqlite_pools import SqlitePools, aside_of
from freehold.ledger.store import catch_up

T = TypeVar("T")
ROUND_S = 0.5
_TRY_LOCK_S = 0.25
_GREET_S, _CLEAN_S = 5.0, 60.0
_PATH_S, _REST_S = (
    1.5,
    1.0,
)  # how long a call waits for the database, and how long nobody asks after it has waited in vain
_TRIES = 4  # where other processes of the node take what was leased
_ZERO = Decimal(0)


def node_id(state: Path, now_ms: int) -> str:
    """What a node is known by: it stays with its state directory."""
    return written_once(state / "node", make_id("node", now_ms).encode()).decode()


class Node:
    """What one process of a node does. Made after any fork; `run` goes on as long as Freehold does; close when done."""

    def __init__(self, world: World, prepared: Prepared, nodes: Nodes) -> None:
        self._world, self._prepared, self._nodes = world, prepared, nodes
        self._database = Database(nodes.database)
        self._quick = Database(nodes.database, answer_s=_PATH_S)  # what a call waits for
        self._rests_until_s = 0.0  # nobody asks meanwhile, because somebody has just waited in vain
        self._floored = set[tuple[str, int]]()  # pools of which what was said before is known here
        self._id = node_id(prepared.state, world.clock.now_ms())
        self._rounds, self._leases, self._indexing = (
            ThreadPoolExecutor(1, f"freehold-{name}") for name in ("round", "lease", "index")
        )
        self._turns: dict[str, asyncio.Lock] = {}
        self._near: SqlitePools | None = None  # that of the thread which leases
        self._far: NodePools | None = None
        self._count = 2  # of nodes that are there, as far as is known
        self._lock: int | None = None
        self._away = set[str]()  # which of the two loops cannot reach the others
        self._noted = set[int]()  # changes that stand in the log, whether or not that could be said

    # --- on the path of a call ------------------------------------------------------------------------------------

    async def more(self, lacks: Lack | Lull) -> bool:
        """Take more of a budget or a limit; returns whether there is any. Raises OperatorError `nodes.unavailable`, for money alone."""
        if isinstance(lacks, Lull):
            async with self._turns.setdefault(lacks.name, asyncio.Lock()):
                return await self._in(self._leases, lambda: self._hasten(lacks))
        async with self._turns.setdefault(lacks.share.pool, asyncio.Lock()):
            leasing = asyncio.ensure_future(self._in(self._leases, lambda: self._lease(lacks)))
            leasing.add_done_callback(partial(_take_in, lacks.share))
            try:
                return await asyncio.shield(leasing)
            except asyncio.CancelledError:
                leasing.add_done_callback(lambda _: lacks.share.tell())  # nobody here needs it: it goes back
                raise

    def _lease(self, lacks: Lack) -> bool:
        """Lease aside for this process, from what the node has or, if that is too little, from what all have."""
        near, pool, start_ms, least = self._aside(), lacks.share.pool, lacks.share.start_ms, lacks.short
        for _ in range(_TRIES):
            slack = near.part(pool, start_ms).amount - near.use(pool, start_ms).leased
            part, is_more = NO_PART, True
            if slack < least:
                part, is_more = self._from_all(lacks, least - max(slack, _ZERO), near.part(pool, start_ms))
            if near.take_part(pool, start_ms, part, least):
                return True
            if not is_more:
                return False
        return False  # others were quicker each time

    def _from_all(self, lacks: Lack, missing: Decimal, part: Part) -> tuple[Part, bool]:
        """This node's part with so much more; of places at once, its share if nobody can be asked, because they are no money."""
        pool, start_ms = lacks.share.pool, lacks.share.start_ms
        try:
            part, is_more = self._asked(lambda far: far.lease(pool, start_ms, missing, lacks.limit))
            if (pool, start_ms) not in self._floored:
                self._aside().floor(pool, start_ms, part.spent)
                self._floored.add((pool, start_ms))
            return part, is_more
        except OperatorError:
            if not lacks.share.pool.endswith(AT_ONCE):
                raise
            return Part(max(part.amount, lacks.limit // self._count), part.version), False

    def _hasten(self, lull: Lull) -> bool:
        """Take of a rate of all nodes, a little ahead if there is plenty; while nobody can be asked, of this node's share of it."""
        near, rate = self._aside(), lull.rate
        ahead = min(lull.amount * 16, rate.count // (16 * self._count))
        try:
            pace = self._asked(lambda far: far.pace(lull.name, rate, lull.amount + ahead))
            if not pace.granted and ahead:
                ahead, pace = 0, self._asked(lambda far: far.pace(lull.name, rate, lull.amount))
        except OperatorError:
            own = Rate(max(1, rate.count // self._count), rate.period_s)
            ahead, pace = 0, near.pace_here(lull.name, own, lull.amount, self._world.clock.now_ns())
        taken = min(lull.amount, rate.count) + ahead if pace.granted else 0
        near.credit(lull.name, rate, taken, pace)
        return taken > 0

    def _aside(self) -> SqlitePools:
        if self._near is None:
            self._near = self._pools(aside_of(str(self._world.ledger.epoch)))
        return self._near

    def _asked(self, ask: Callable[[NodePools], T]) -> T:
        """Ask the pools of all nodes, unless somebody has just asked in vain. Raises OperatorError `nodes.unavailable`."""
        if self._world.clock.monotonic_s() < self._rests_until_s:
            raise unavailable("it did not a moment ago")
        try:
            if self._far is None:
                self._far = NodePools(self._quick, self._id, self.name)
            return ask(self._far)
        except OperatorError:
            self._rests_until_s = self._world.clock.monotonic_s() + _REST_S
            raise

    def answers(self, about: str) -> list[dict[str, Any]]:
        """What the receipts of all nodes say of a stored answer. Call it in a thread. Raises OperatorError `nodes.unavailable`."""
        return PostgresStore(self._database, self._id).answers(about)

    # --- beside it ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep this node and the others in step, if no other process of it does."""
        while self._lock is None:
            try:
                self._lock = take_lock(self._world.state, "node.lock")
            except OperatorError:
                await asyncio.sleep(_TRY_LOCK_S)
        indexing = asyncio.ensure_future(self._keep(self._indexing, _Index(self).round))
        try:
            await self._keep(self._rounds, _Round(self).round)
        finally:
            indexing.cancel()

    def check(self) -> None:
        """Raises OperatorError `state.newer` where a newer version has the database. One that does not answer is no reason not to start."""
        try:
            self._node_pools()
        except OperatorError as error:
            if error.code == "state.newer":
                raise

    async def _keep(self, executor: ThreadPoolExecutor, work: Callable[[], News]) -> None:
        name = work.__qualname__
        while True:
            try:
                news = await self._in(executor, work)
                self._world.alerts.tell(self._world.ledger, news.crossings)
                for change in news.changes:
                    self._note(change)
                await self._in(executor, news.noted)
                self._tell(name, None)
            except (OperatorError, OSError, sqlite3.Error) as error:  # it is tried again, and everything is said anew
                self._tell(name, error)
            except (
                Exception
            ) as bug:  # the border: a node that no longer hears of revocations may not go on as if it did
                log_bug(bug)
                self._tell(name, bug)
            await asyncio.sleep(ROUND_S)

    def _note(self, change: Change) -> None:
        """Write a change down, once: that it is written may not have been heard."""
        if change.id in self._noted:
            return
        if self._world.pools.is_first(f"change of all {change.id}", 0, "noted"):
            self._world.ledger.note("change", change.fields())
        self._noted.add(change.id)

    def _tell(self, name: str, error: Exception | None) -> None:
        """Say once that the others are away, and once that they are back."""
        was_away = bool(self._away)
        (self._away.add if error is not None else self._away.discard)(name)
        if was_away != bool(self._away):
            code = error.code if isinstance(error, OperatorError) else type(error).__name__
            log("nodes", state="away" if error is not None else "back", reason=code if error is not None else None)

    async def _in(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    def _pools(self, worker: str = "node") -> SqlitePools:
        return SqlitePools(self._prepared.state / POOLS, worker=worker, workers=2, is_part=True)

    @property
    def name(self) -> str:
        """What people call this node."""
        return self._nodes.name or socket.gethostname()

    def _node_pools(self) -> NodePools:
        return NodePools(self._database, self._id, self.name)

    def close(self) -> None:
        for executor in (self._rounds, self._leases, self._indexing):
            executor.shutdown(wait=True, cancel_futures=True)
        self._database.close()
        self._quick.close()
        if self._lock is not None:
            os.close(self._lock)


def _take_in(share: Share, leasing: asyncio.Future[bool]) -> None:
    """Take in what was leased for a process, also when the call that needed it has gone meanwhile."""
    if not leasing.cancelled():
        leasing.exception()  # whoever waits is told; if nobody does, nobody need be
    share.absorb()


@dataclass(slots=True)
class News:
    """What a round has found for the log, and what is to be done when it stands there."""

    crossings: list[Crossing] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    noted: Callable[[], None] = lambda: None


class _Index:
    """Brings the index of all nodes up to date with this one's log, in a thread of its own."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store: PostgresStore | None = None

    def round(self) -> News:
        node = self._node
        if self._store is None:
            self._store = PostgresStore(node._database, node._id, node._prepared.state / "log")
        catch_up(self._store, node._prepared.state / "log")
        return News()


class _Round:
    """What is done twice a second, in a thread of its own."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._greet_at_s = self._clean_at_s = 0.0
        self._crossings: list[Crossing] = []  # found, and not yet told
        self._spending = set[tuple[str, int]]()  # where something was spent, and not yet looked at
        self._given: list[tuple[str, Rate, int]] = []  # to be given back
        self._spent: dict[tuple[str, int], Decimal] = {}
        self._open: tuple[SharedKeys, SharedPeople, NodePools, SqlitePools] | None = None
        self._copy: tuple[Keys, People] | None = None
        self._budgets: list[Budget] = []  # those of keys

    def round(self) -> News:
        node = self._node
        if self._open is None:
            keys = SharedKeys(node._database, node._nodes.pepper)
            self._open = keys, SharedPeople(node._database), node._node_pools(), node._pools()
        keys, people, far, near = self._open
        now_s, now_ms = node._world.clock.monotonic_s(), node._world.clock.now_ms()
        if now_s >= self._greet_at_s:
            node._count = max(2, far.greet())
            self._greet_at_s = now_s + _GREET_S
        if now_s >= self._clean_at_s:
            far.forget_ended()
            near.forget_ended(now_ms)
            self._clean_at_s = now_s + _CLEAN_S
        if self._copy is None:
            state = node._prepared.state
            self._copy = open_keys(state, node._nodes), People(state / "shared.db")
        if keys.copy_to(self._copy[0]):
            self._budgets = [one for key in self._copy[0].all() if key.revoked_ms is None for one in key.budgets]
        people.copy_to(self._copy[1])
        self._copy[0].compared(now_ms)
        self._spending |= self._share(far, near)
        self._given += near.return_credit()
        if self._given:
            far.repay(self._given)
            self._given = []
        changes = keys.claim(node._id)
        self._cross(far, [*node._world.snapshot.budgets, *self._budgets])
        crossings, self._crossings = self._crossings, []
        return News(crossings, changes, lambda: keys.noted([one.id for one in changes]) if changes else None)

    def _share(self, far: NodePools, near: SqlitePools) -> set[tuple[str, int]]:
        """Say what is spent here, and give back what is neither leased by a worker nor likely to be within the next moment; returns where something was spent."""
        parts, said = far.parts(), {}
        for pool, start_ms in sorted({*near.shared(), *parts}):
            known = parts.get((pool, start_ms), NO_PART)
            if (pool, start_ms) not in self._node._floored:  # what was said before may be more than is known here now
                near.floor(pool, start_ms, known.spent)
                self._node._floored.add((pool, start_ms))
            use = near.use(pool, start_ms)
            ahead = max(use.spent - self._spent.get((pool, start_ms), use.spent), _ZERO) * 4
            kept, use = near.give_back(pool, start_ms, ahead, known.version)
            if kept.amount != known.amount or use.spent != self._spent.get((pool, start_ms)):
                said[pool, start_ms] = kept, use.spent
        if said:
            far.report(said)
        news = {pool: spent for pool, (_, spent) in said.items() if spent != self._spent.get(pool)}
        self._spent |= news
        return set(news)

    def _cross(self, far: NodePools, budgets: list[Budget]) -> None:
        """Find which alerts all nodes together have crossed where this one has just spent something; each is told once, by the node that sees it first."""
        world = self._node._world
        for budget in budgets:
            if not budget.alerts or budget.limit <= 0:
                continue
            start_ms = period_start_ms(budget.period, world.clock.now_ms(), world.budgets.zone)
            if (budget.pool, start_ms) not in self._spending:
                continue  # whoever spends it tells
            spent = far.use(budget.pool, start_ms).spent
            for at in budget.alerts:
                if spent >= at * budget.limit and far.is_first(budget.pool, start_ms, str(at)):
                    self._crossings.append(Crossing(budget, at, spent, start_ms))
            self._spending.discard((budget.pool, start_ms))
        self._spending.clear()
