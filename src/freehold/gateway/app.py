"""Composition: where a snapshot becomes a running Freehold. Everything else is handed what it needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from freehold.content.answers import AnswerCache
from freehold.content.sealed import SealedStore
from freehold.engines.embedded import Embedded, Place
from freehold.gateway.admin_app import build_admin_app
from freehold.gateway.alerts import Alerts
from freehold.gateway.asking import ask
from freehold.gateway.data_app import DataApp
from freehold.gateway.handover import DRAIN_S
from freehold.gateway.issuers import Issuers
from freehold.gateway.limits import Throttle
from freehold.gateway.logs import log
from freehold.gateway.machines import Machines
from freehold.gateway.metrics import Metrics
from freehold.gateway.policy import Policy, decide
from freehold.gateway.posting import Post
from freehold.gateway.preparing import Prepared, open_keyring, open_keys, prepare
from freehold.gateway.presence import operator_token
from freehold.gateway.protocol import FreeholdProtocol
from freehold.gateway.registry import Registry
from freehold.gateway.seats import Door, Seat
from freehold.gateway.seeding import POOLS, seed_all, seed_beside
from freehold.gateway.sign_in import SignIns
from freehold.gateway.telemetry import Telemetry
from freehold.gateway.traffic import Traffic
from freehold.gateway.world import World
from freehold.identity.people import People
from freehold.jobs.records import Records
from freehold.jobs.runner import Runner
from freehold.kernel.clock import Clock
from freehold.kernel.errors import OperatorError
from freehold.kernel.snapshot import Snapshot
from freehold.ledger.budgets import Budgets
from freehold.ledger.files import secret_file, take_lock
from freehold.ledger.ledger import Ledger
from freehold.ledger.pools import Board, MemoryPools, Pools
from freehold.ledger.sqlite_pools import SqlitePools
from freehold.upstream.health import Health
from freehold.upstream.transport import HttpTransport, Transport

SYNC_EVERY_S = 1.0
_LAST_WORD_S = 3.0
IN_LOOP_S = (
    0.1  # how long another process may hold keys and people while calls wait: what cannot be written is tried again
)
HEARTH = Path(__file__).parent.parent / "engines" / "hearth.gguf"


def assemble(prepared: Prepared, ledger: Ledger, pools: Pools, *, transport: Transport | None = None) -> World:
    """Compose what one process serves with. Close it with `close`."""
    snapshot, clock = prepared.snapshot, prepared.clock
    keys, keyring, metrics = (
        open_keys(prepared.state, snapshot.nodes, patience_s=IN_LOOP_S),
        open_keyring(prepared.state),
        Metrics(),
    )
    health, throttle = Health(partial(_tell_of_rest, metrics)), Throttle(pools)

    def subject_key(subject: str) -> bytes:
        keyring.refresh(clock.monotonic_s())  # another process may have destroyed it
        return keyring.key(subject, clock.now_ms())

    ledger.key_subjects_with(subject_key)
    content = SealedStore(prepared.state / "content", keyring)
    transport = transport or HttpTransport(ca_bundle=_bundle(snapshot))
    issuers = Issuers(transport, clock.now_s, clock.monotonic_s)
    store = prepared.state / ("store.db" if snapshot.nodes is None else "shared.db")
    people = People(store, patience_s=IN_LOOP_S)
    pepper = snapshot.nodes.pepper if snapshot.nodes is not None else secret_file(prepared.state / "pepper")
    return World(
        policy=policy_of(prepared, health),
        keys=keys,
        ledger=ledger,
        pools=pools,
        budgets=Budgets(pools, zone=snapshot.organisation.zone),
        throttle=throttle,
        alerts=Alerts(snapshot.organisation, transport, clock),
        transport=transport,
        metrics=metrics,
        keyring=keyring,
        subject_key=subject_key,
        content=content,
        cache=AnswerCache(prepared.state / "cache.db", content),
        records=Records(prepared.state / "jobs.db"),
        health=health,
        traffic=Traffic(throttle, health, metrics, clock),
        registry=Registry(keys, people, snapshot.nodes),
        machines=Machines(issuers, clock.now_s),
        sign_ins=SignIns(issuers, pepper),
        operator_token=operator_token(prepared.state),
        telemetry=Telemetry(snapshot.telemetry, transport, clock),
        clock=clock,
        state=prepared.state,
    )


def policy_of(prepared: Prepared, health: Health) -> Policy:
    """What follows from what was prepared."""
    clock = prepared.clock
    return decide(
        prepared.snapshot,
        prepared.book,
        prepared.scanner,
        lambda target: health.vital(target, clock.monotonic_s()),
        clock.now_s,
    )


def _tell_of_rest(metrics: Metrics, name: str, rests: bool) -> None:
    log("target", target=name, state="rests" if rests else "well")
    if rests:
        metrics.rested()


def build(snapshot: Snapshot, state: Path, *, transport: Transport | None = None, clock: Clock | None = None) -> World:
    """Compose a world for this process alone. Raises OperatorError. Close it with `close`."""
    return compose(prepare(snapshot, state, clock), transport)


def compose(prepared: Prepared, transport: Transport | None = None) -> World:
    """Compose a world for this process alone from what was prepared. Raises OperatorError. Close it with `close`."""
    try:
        ledger, board = prepared.steward.open(prepared.facts), Board()
        is_part = prepared.snapshot.nodes is not None
        with closing(open_keys(prepared.state, prepared.snapshot.nodes)) as keys:
            if prepared.steward.is_heir:
                seed_beside(prepared, keys, workers=2)
            elif is_part:
                drop_pools(prepared.state)
                before = SqlitePools(prepared.state / POOLS, worker="before", workers=2)
                seed_all(prepared, keys, before)
                before.close()
            else:
                seed_all(prepared, keys, MemoryPools(board, worker="before"))
        pools: Pools = MemoryPools(board)
        if prepared.steward.is_heir or is_part:
            pools = SqlitePools(prepared.state / POOLS, worker=str(ledger.epoch), workers=2, is_part=is_part)
            ledger.answers.is_shared = True
        world = assemble(prepared, ledger, pools, transport=transport)
    except BaseException:
        prepared.steward.close()
        raise
    world.steward = prepared.steward
    return world


async def close(world: World) -> None:
    """Close what `build` or `assemble` opened."""
    if isinstance(world.transport, HttpTransport):
        await world.transport.close()
    world.ledger.close()
    if world.steward is not None:
        world.steward.close()
    world.cache.close()
    world.records.close()
    world.keyring.close()
    world.registry.close()
    world.keys.close()
    world.pools.close()


def share(world: World) -> int:
    """Let another process go on with the log and count in the same pools; returns the run of the log. For one that served alone."""
    assert world.steward is not None
    if isinstance(world.pools, MemoryPools):
        drop_pools(world.state)
        pools = SqlitePools(world.state / POOLS, worker=str(world.ledger.epoch), workers=2)
        pools.fill(world.pools.board, str(world.ledger.epoch))
        world.pools = pools
        world.budgets.move(pools)
        world.throttle.move(pools)
    world.ledger.answers.is_shared = True
    world.ledger.flush()
    return world.steward.lend()


def drop_pools(state: Path) -> None:
    """Remove the counters of an earlier run."""
    for suffix in ("", "-wal", "-shm"):
        (state / f"{POOLS}{suffix}").unlink(missing_ok=True)


def _bundle(snapshot: Snapshot) -> str | None:
    if snapshot.network.ca_bundle is None:
        return None
    return str(Path(snapshot.source or ".").parent / snapshot.network.ca_bundle)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: `serve` decides when to stop. With a seat, it shares out its connections with other workers."""

    seat: Seat | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.seat is None:
            await super().startup(sockets)
            return
        protocol: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        make = partial(protocol, config=self.config, server_state=self.server_state, app_state={})
        doors = [Door(sock, self.seat, make) for sock in sockets or ()]
        await super().startup([])
        self.servers = doors  # type: ignore[assignment]  # what uvicorn asks of a server, a door has


def listen(host: str, port: int, flag: str) -> socket.socket:
    """Bind a port. Raises OperatorError `server.port_busy` that names the flag to change it."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OperatorError(
            f"Port {port} on {host} cannot be used ({os.strerror(error.errno or 0).lower()}).",
            code="server.port_busy",
            hint=f"Stop what uses it, or choose another with {flag} PORT.",
        ) from None
    sock.listen(2048)
    return sock


@asynccontextmanager
async def running(
    world: World,
    sockets: tuple[socket.socket, socket.socket],
    *,
    engine: Embedded | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
    seat: Seat | None = None,
) -> AsyncIterator[None]:
    """Serve both planes (and supervise the engine) inside the block. Drains on the way out.

    ready: waited for before anybody is accepted. seat: a worker's among others.
    """
    if engine is not None:
        engine.start()
        world.engine_ready = lambda: engine.is_ready or engine.failure is not None
    if ready is not None:
        await ready()
    data, admin = _servers(world, seat)
    tasks = [
        asyncio.ensure_future(server.serve(sockets=[sock])) for server, sock in zip((data, admin), sockets, strict=True)
    ]
    batches = Batches(world)
    keepers = [
        asyncio.ensure_future(work)
        for work in (_keep_synced(world), world.alerts.deliver(), world.telemetry.deliver(), batches.run())
    ]
    while not (data.started and admin.started):
        await asyncio.sleep(0.002)
        for task in tasks:
            if task.done():
                task.result()
    try:
        yield
    finally:
        world.is_draining = True
        drain_s = DRAIN_S if world.has_successor else world.snapshot.server.drain
        data.config.timeout_graceful_shutdown = admin.config.timeout_graceful_shutdown = int(drain_s)
        data.should_exit = True
        if world.has_successor:  # who asks about what serves, asks the one that does; and the next call is the other's
            admin.should_exit = True
            for server in (*data.servers, *admin.servers):
                server.close()
        await asyncio.gather(tasks[0], batches.stop(drain_s), return_exceptions=True)
        admin.should_exit = True
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*tasks, *keepers, return_exceptions=True)
        if engine is not None:
            await engine.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_S):
                await world.telemetry.flush()
        await close(world)


def _servers(world: World, seat: Seat | None) -> tuple[_Server, _Server]:
    """Both planes, not yet serving."""
    options: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "lifespan": "off",
        "server_header": False,
        "date_header": False,
        "ws": "none",
        "proxy_headers": False,
    }
    data = _Server(uvicorn.Config(DataApp(world), http=_protocol(world, seat), timeout_keep_alive=75, **options))
    data.seat = seat
    return data, _Server(uvicorn.Config(build_admin_app(world), **options))


def _protocol(world: World, seat: Seat | None) -> type[FreeholdProtocol]:
    deadline = property(lambda _: world.snapshot.server.body_timeout)
    return type("Connection", (FreeholdProtocol,), {"deadline_s": deadline, "seat": seat})


async def _keep_synced(world: World) -> None:
    """Bring what stayed inside to the disk once a second as well."""
    while True:
        await asyncio.sleep(SYNC_EVERY_S)
        try:
            world.ledger.check()
            await world.ledger.durable()
        except OperatorError:
            continue  # refused to callers while it lasts; shown by /readyz
        for step in (
            world.ledger.checkpoint,
            lambda: note_erasures(world),
            lambda: note_revocations(world),
            lambda: note_changes(world),
            lambda: note_spending(world),
            lambda: world.registry.people.sweep(world.clock.now_ms()),
            lambda: world.cache.sweep(world.clock.now_ms()),
            lambda: drop_expired(world),
        ):
            try:
                step()
            except (OperatorError, OSError, sqlite3.Error) as error:  # tried again in a second
                log("keeping", reason=type(error).__name__)


def note_erasures(world: World) -> None:
    """Forget keys that another process destroyed, and write down that they were."""
    world.keyring.refresh(world.clock.monotonic_s())
    for number, subject, at_ms in world.keyring.unnoted():
        if not world.pools.is_first(f"erasure {number}", 0, "noted"):
            continue  # another worker writes it
        world.ledger.note("erased", {"subject": subject, "erased_ms": at_ms})
        world.keyring.noted(number)


def drop_expired(world: World) -> None:
    """Drop files whose time is over, and batches that nobody will ask for any more."""
    for file in world.records.expired(world.clock.now_s()):
        if world.records.drop_file(file):
            world.content.drop(file.content)
    world.records.forget(world.clock.now_s() - BATCHES_KEPT_S)


class Batches:
    """Runs the batches of the state directory, if no other process of it does: whoever gets the lock, until it ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._runner = Runner(
            world.records,
            world.content,
            partial(ask, world),
            clock=world.clock,
            longest_line=world.snapshot.server.max_body_bytes,
            note=log,
        )
        self._runner.post_with(Post(world))
        self._lock: int | None = None

    async def run(self) -> None:
        while self._lock is None:
            try:
                self._lock = take_lock(self._world.state, "batches.lock")
            except OperatorError:
                await asyncio.sleep(_TRY_LOCK_S)
        sweeping = asyncio.ensure_future(self._sweep())
        try:
            await self._runner.run()
        finally:
            sweeping.cancel()

    async def _sweep(self) -> None:
        """Remove sealed files that nobody will ask for: over their time, left by a killed process, or of an erased subject."""
        await asyncio.sleep(_SWEEP_S / 60)
        while True:
            try:
                for number, _ in enumerate(self._world.content.sweeping(self._world.clock.now_ms())):
                    if number % 16 == 0:
                        await asyncio.sleep(0)
            except (OSError, sqlite3.Error) as error:
                log("sweeping", reason=type(error).__name__)
            await asyncio.sleep(_SWEEP_S)

    async def stop(self, deadline_s: float) -> None:
        """Let what is under way end, within so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._runner.stop()
        if self._lock is not None:
            os.close(self._lock)


_TRY_LOCK_S, _SWEEP_S = 1.0, 3_600.0
BATCHES_KEPT_S = 90 * 86_400


def note_spending(world: World) -> None:
    """Share what is left with the other workers, and tell which budgets are nearly spent."""
    world.throttle.tell(world.clock.now_ns())
    world.alerts.tell(world.ledger, world.budgets.tell(world.clock.now_ms()))


def note_changes(world: World) -> None:
    """Write down what somebody did to keys, in whatever process; those of several nodes come from their database."""
    for change in world.keys.unnoted():
        if world.pools.is_first(f"change {change.id}", 0, "noted"):
            world.ledger.note("change", change.fields())
            world.keys.noted(change.id)


def note_revocations(world: World) -> None:
    """Write down which keys another process revoked."""
    before = world.keys.unreadable
    world.keys.refresh(world.clock.monotonic_s())
    for key in set(world.keys.unreadable) - set(before):
        log("key_unreadable", key=key)
    world.ledger.retire(world.keys.live())


def make_engine(snapshot: Snapshot, place: Place) -> Embedded | None:
    """The embedded engine of a snapshot, or None if it is switched off."""
    if not snapshot.engine.enabled:
        return None
    own = snapshot.engine.model
    model = Path(snapshot.source or ".").parent / own if own else HEARTH
    return Embedded(snapshot.engine, model, place, note=lambda words: log("engine", reason=words))


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets. Ask for it before serving: a signal that comes earlier must drain too."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
