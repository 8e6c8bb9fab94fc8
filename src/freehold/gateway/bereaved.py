"""Successors and heirs: how one that serves alone offers its place, and what becomes of what a process leaves that has ended.

Rules: what it had begun and not ended is settled as lost; what it had leased comes down to what its calls came to, those that were lost at what
they held. The process that has the state directory does it, within a second or two.
"""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial

from freehold.gateway.app import share
from freehold.gateway.handover import LOOK_EVERY_S, Offer
from freehold.gateway.logs import log
from freehold.gateway.preparing import Prepared, open_keys
from freehold.gateway.seeding import settle_pools
from freehold.gateway.world import World
from freehold.kernel.errors import OperatorError

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
        with closing(open_keys(prepared.state, prepared.snapshot.nodes)) as keys:
            settle_pools(prepared, keys, epoch)
        # Said when it is counted: a budget that heard of it before would let one more call through.
        log("inherited", epoch=epoch)
