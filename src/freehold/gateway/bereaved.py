"""Successors and heirs: how one that serves alone offers its place, and what becomes of what a process leaves that has ended.

Rules: what it had begun and not ended is settled as lost; what it had leased comes down to what its calls came to, those that were lost at what
they held. The process that has the state directory does it, within a second or two.
"""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from freehold.gateway.app import POOLS, Prepared, open_keys, share
from freehold.gateway.handover import LOOK_EVERY_S, Offer
from freehold.gateway.logs import log
from freehold.gateway.world import World
from freehold.kernel.errors import OperatorError
from freehold.kernel.limits import Budget, period_start_ms
from freehold.ledger.sqlite_pools import SqlitePools, aside_of
from freehold.ledger.steward import records_of

_ZERO = Decimal(0)
_INHERIT_EVERY_S = 1.0


async def offer(world: World, sockets: Sequence[socket.socket], stop: asyncio.Event) -> None:
    """Offer this process's place until somebody has taken it. stop: set then."""
    assert world.steward is not None
    offered = Offer(world.state, sockets, partial(share, world), world.steward.regain)
    try:
        while not offered.is_taken():  # noqa: ASYNC110 - it is looked at for both kinds of Freehold, of which one has no loop
            await asyncio.sleep(LOOK_EVERY_S)
        world.has_successor = True
        stop.set()
    finally:
        offered.close()


async def keep_heirs(world: World, prepared: Prepared) -> None:
    """Inherit once a second, in a thread: a long log takes a while to seal."""
    while True:
        await asyncio.sleep(_INHERIT_EVERY_S)
        try:
            if prepared.steward.bereft:
                await asyncio.to_thread(inherit, prepared)
        except (OperatorError, OSError, sqlite3.Error) as error:  # it is tried again in a second
            log("inheriting", reason=type(error).__name__)


def inherit(prepared: Prepared) -> None:
    """Settle and seal what processes have left that this run of Freehold did not begin itself. Raises as `settle_pools` does."""
    for epoch in prepared.steward.inherit(prepared.facts):
        log("inherited", epoch=epoch)
        settle_pools(prepared, epoch)


def settle_pools(prepared: Prepared, epoch: int) -> None:
    """Bring down what the process of an epoch had leased. Raises OperatorError, OSError, sqlite3.Error: it stays leased then, so too little is spent, not too much."""
    file: Path = prepared.state / POOLS
    if not file.is_file():
        return
    pools = SqlitePools(file, worker=str(epoch), workers=2)
    try:
        pools.drop(aside_of(str(epoch)))
        leased = pools.leased()
        spent = _spent_in(prepared, epoch) if leased else {}
        for pool, start_ms in leased:
            amount = spent.get((pool, start_ms), _ZERO)
            pools.report(pool, start_ms, leased=amount, spent=amount)
    finally:
        pools.close()


def _spent_in(prepared: Prepared, epoch: int) -> dict[tuple[str, int], Decimal]:
    """What the calls of a dead epoch came to, by pool and period."""
    keys = open_keys(prepared.state, prepared.snapshot.nodes)
    by_key = {key.id: key.budgets for key in keys.all()}
    keys.close()
    snapshot, folder = prepared.snapshot, prepared.state / "log"
    records = list(records_of(folder / f"{epoch:08d}.jsonl"))
    ended = [record for record in records if record["kind"] == "settled"]
    done = {record["call"] for record in ended}
    lost = {record["call"]: record for record in records if record["kind"] == "intent" and record["call"] not in done}
    found: dict[tuple[str, int], Decimal] = {}
    for record in (*ended, *lost.values()):
        workload = snapshot.workloads.get(record["workload"] or "")
        for budget in (*by_key.get(record["key"], ()), *snapshot.budgets_of(workload)):
            start = period_start_ms(budget.period, record["at_ms"], snapshot.organisation.zone)
            found[budget.pool, start] = found.get((budget.pool, start), _ZERO) + _amount(record, budget)
    return found


def _amount(record: dict[str, Any], budget: Budget) -> Decimal:
    """What a receipt came to, or what an attempt without a receipt held."""
    if budget.unit == "tokens":
        tokens = record.get("tokens")
        return Decimal(sum(tokens.values()) if tokens is not None else record.get("held_tokens") or 0)
    return Decimal(record.get("cost_usd" if "tokens" in record else "held_usd") or 0)
