"""Composition: where a snapshot becomes a running Freehold. Everything else is handed what it needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from freehold import __version__
from freehold.content.answers import AnswerCache
from freehold.content.keyring import Keyring
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
from freehold.gateway.presence import operator_token
from freehold.gateway.protocol import FreeholdProtocol
from freehold.gateway.registry import Registry
from freehold.gateway.sign_in import SignIns
from freehold.gateway.traffic import Traffic
from freehold.gateway.world import World
from freehold.identity.keys import Keys
from freehold.identity.people import People
from freehold.identity.shared import SharedKeys, SharedPeople
from freehold.jobs.records import Records
from freehold.jobs.runner import Runner
from freehold.kernel.clock import Clock
from freehold.kernel.errors import OperatorError
from freehold.kernel.limits import Budget, period_start_ms
from freehold.kernel.snapshot import Nodes, Snapshot
from freehold.ledger.budgets import Budgets, seed
from freehold.ledger.database import Database
from freehold.ledger.files import secret_file, take_lock, write_private
from freehold.ledger.ledger import Ledger
from freehold.ledger.pools import NOTHING, Board, MemoryPools, Pools
from freehold.ledger.sqlite_pools import SqlitePools
from freehold.ledger.steward import Steward
from freehold.ledger.store import SqliteStore, UsageRow, catch_up
from freehold.perimeter.detectors.engines import HyperscanEngine
from freehold.perimeter.detectors.scanner import Scanner, digest_of
from freehold.perimeter.proof import prove
from freehold.pricing.book import Book
from freehold.pricing.book import load as load_book
from freehold.pricing.coverage import contradicting, unpriced, without_price
from freehold.upstream.health import Health
from freehold.upstream.transport import HttpTransport, Transport

SYNC_EVERY_S = 1.0
POOLS = "pools.db"
Spent = tuple[Budget, int, Decimal]  # in the period that began then
HEARTH = Path(__file__).parent.parent / "engines" / "hearth.gguf"


def make_state(state: Path) -> None:
    """Make the state directory if it is missing. Raises OperatorError `config.state`."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise OperatorError(
            f"The state directory {str(state)!r} cannot be made ({os.strerror(error.errno or 0).lower()}).",
            code="config.state",
            hint="Set FREEHOLD_HOME to a directory that can be written.",
        ) from None


def open_keys(state: Path, nodes: Nodes | None = None) -> Keys:
    """The keys of a state directory, or its copy of those of all nodes; makes what is missing. Raises OperatorError `config.state` if it cannot be made."""
    make_state(state)
    if nodes is not None:
        return Keys(state / "shared.db", nodes.pepper)
    return Keys(state / "store.db", secret_file(state / "pepper"))


def open_shared(nodes: Nodes) -> SharedKeys:
    """The keys of all nodes. Raises OperatorError `nodes.unavailable`."""
    return SharedKeys(Database(nodes.database), nodes.pepper)


def open_people(state: Path, nodes: Nodes | None) -> People | SharedPeople:
    """The people of a state directory, or of all nodes. Raises OperatorError `config.state`, `nodes.unavailable`."""
    make_state(state)
    if nodes is not None:
        return SharedPeople(Database(nodes.database))
    return People(state / "store.db")


def open_keyring(state: Path) -> Keyring:
    """The subjects' keys of a state directory; makes what is missing."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Keyring(state / "subjects.db", secret_file(state / "master.key"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is the same for every process that serves a snapshot: proven, loaded, and with the state directory taken."""

    snapshot: Snapshot
    state: Path
    clock: Clock
    book: Book
    scanner: Scanner
    steward: Steward

    @property
    def facts(self) -> dict[str, Any]:
        """The first record of every epoch."""
        facts = {"policy": self.snapshot.digest, "prices": self.book.digest, "rules": self.scanner.digest}
        return {**facts_of(self.snapshot), **facts, "build": __version__}


def prepare(
    snapshot: Snapshot, state: Path, clock: Clock | None = None, *, claim: Callable[[], int | None] = lambda: None
) -> Prepared:
    """Prove the perimeter, load what is needed, take the state directory. claim: asks whoever has it, and says which run of the log goes on.

    Raises OperatorError when the proof fails, a budget cannot be kept, or the ledger is locked or broken. Whoever prepares closes the steward.
    """
    clock, book = clock or Clock(), load_book()
    _check(snapshot, book, clock)
    make_state(state)
    scanner = load_scanner(snapshot, state)
    return Prepared(snapshot, state, clock, book, scanner, Steward(state, clock.now_ms, claim()))


def revise(prepared: Prepared, snapshot: Snapshot) -> Prepared:
    """The same with another configuration. Raises OperatorError as `prepare` does, and `config.needs_restart` for what is decided once for a process."""
    for table in ("engine", "network", "nodes"):
        if getattr(snapshot, table) != getattr(prepared.snapshot, table):
            raise OperatorError(
                f"[{table}] cannot be changed while Freehold runs, so nothing has changed.",
                code="config.needs_restart",
                hint="Restart Freehold, or start it again with --take-over, which drops no call.",
            )
    _check(snapshot, prepared.book, prepared.clock)
    return replace(prepared, snapshot=snapshot, scanner=load_scanner(snapshot, prepared.state))


def _check(snapshot: Snapshot, book: Book, clock: Clock) -> None:
    """Prove that nothing can leave its zones, and that every budget can be kept. Raises OperatorError."""
    proof = prove(snapshot, now_s=clock.now_s())
    if not proof.holds:
        listed = "\n".join(
            f"  {finding.chain}\n    why: {finding.reason}\n    mend: {finding.mend}" for finding in proof.findings
        )
        raise OperatorError(
            f"The configuration contradicts its own classes:\n{listed}",
            code="perimeter.unproven",
            hint="'freehold check' shows the whole proof.",
        )
    if contradicting(without := unpriced(snapshot, book)):
        raise without_price(without)


def assemble(prepared: Prepared, ledger: Ledger, pools: Pools, *, transport: Transport | None = None) -> World:
    """Compose what one process serves with. Close it with `close`."""
    snapshot, clock = prepared.snapshot, prepared.clock
    keys, keyring, metrics = open_keys(prepared.state, snapshot.nodes), open_keyring(prepared.state), Metrics()
    health, throttle = Health(partial(_tell_of_rest, metrics)), Throttle(pools)

    def subject_key(subject: str) -> bytes:
        keyring.refresh(clock.monotonic_s())  # another process may have destroyed it
        return keyring.key(subject, clock.now_ms())

    ledger.key_subjects_with(subject_key)
    content = SealedStore(prepared.state / "content", keyring)
    transport = transport or HttpTransport(ca_bundle=_bundle(snapshot))
    issuers = Issuers(transport, clock.now_s, clock.monotonic_s)
    people = People(prepared.state / ("store.db" if snapshot.nodes is None else "shared.db"))
    pepper = snapshot.nodes.pepper if snapshot.nodes is not None else secret_file(prepared.state / "pepper")
    return World(
        policy=policy_of(prepared, health),
        keys=keys,
        ledger=ledger,
        pools=pools,
        budgets=Budgets(pools, zone=snapshot.organisation.zone),
        throttle=throttle,
        alerts=Alerts(snapshot.organisation, transport, clock.now_s),
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
        pools: Pools = MemoryPools(board)
        is_part = prepared.snapshot.nodes is not None
        if prepared.steward.is_heir or is_part:
            if not prepared.steward.is_heir:  # else the one before counts there too, until it has ended
                drop_pools(prepared.state)
            pools = SqlitePools(prepared.state / POOLS, worker=str(ledger.epoch), workers=2, is_part=is_part)
            before: Pools = SqlitePools(prepared.state / POOLS, worker=f"before {ledger.epoch}", workers=2)
            ledger.answers.is_shared = True
        else:
            before = MemoryPools(board, worker="before")
        seed(before, uncounted(before, spent_before(prepared)))
        before.close()
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


def uncounted(pools: Pools, spent: Iterable[Spent]) -> list[Spent]:
    """Of what budgets had spent, that of which no pool knows yet."""
    return [(budget, start, amount) for budget, start, amount in spent if pools.use(budget.pool, start) == NOTHING]


def spent_before(prepared: Prepared) -> list[Spent]:
    """What every budget had already spent in its running period, which began then, from the receipts: ask when a crash's are written."""
    snapshot, clock, state = prepared.snapshot, prepared.clock, prepared.state
    keys = open_keys(state, snapshot.nodes)
    budgets = [
        *snapshot.budgets,
        *(budget for key in keys.all() if key.revoked_ms is None for budget in key.budgets),
    ]
    keys.close()
    if not budgets:
        return []
    store = SqliteStore(state / "index.db")
    try:
        catch_up(store, state / "log")
        known: dict[tuple[str, int], list[UsageRow]] = {}
        spent = []
        for budget in budgets:
            start = period_start_ms(budget.period, clock.now_ms(), snapshot.organisation.zone)
            kind, _, name = budget.scope.partition(":")
            if (kind, start) not in known:
                known[kind, start] = store.usage((kind,) if name else (), since_ms=start)
            rows = [row for row in known[kind, start] if not name or row.group[kind] == name]
            tokens = sum(row.input_tokens + row.output_tokens for row in rows)
            money = sum((row.cost_usd for row in rows), Decimal(0))
            spent.append((budget, start, Decimal(tokens) if budget.unit == "tokens" else money))
        return spent
    finally:
        store.close()


def facts_of(snapshot: Snapshot) -> dict[str, Any]:
    """What an auditor needs to know of a configuration: where each class may go, who runs where, and under which agreement."""
    providers = {}
    for provider in snapshot.providers.values():
        held = provider.attested
        agreed = None
        if held is not None:
            agreed = {
                "evidence": held.evidence,
                "controls": list(held.controls),
                "since_ms": int(held.since_s * 1000),
                "until_ms": int(held.until_s * 1000),
                "models": sorted(held.models),
            }
        providers[provider.name] = {"zone": provider.declared_zone.value, "host": provider.host, "attestation": agreed}
    return {
        "classes": {class_.label: sorted(zones) for class_, zones in snapshot.zones.items()},
        "providers": providers,
        "workloads": {name: workload.class_.label for name, workload in snapshot.workloads.items()},
    }


def load_scanner(snapshot: Snapshot, state: Path) -> Scanner:
    """The scanner of a snapshot. Its compiled rules are kept in the state directory, named by their digest."""
    custom = snapshot.detection.custom
    name = f"rules-{digest_of(custom)[:32]}.hsdb"
    kept = state / name
    scanner = Scanner(custom, stored=kept.read_bytes() if kept.is_file() else None)
    if isinstance(scanner.engine, HyperscanEngine) and not scanner.engine.was_stored:
        for old in state.glob("rules-*.hsdb"):
            old.unlink(missing_ok=True)
        write_private(kept, scanner.engine.stored())
    return scanner


def _bundle(snapshot: Snapshot) -> str | None:
    if snapshot.network.ca_bundle is None:
        return None
    return str(Path(snapshot.source or ".").parent / snapshot.network.ca_bundle)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: `serve` decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
    world: World, sockets: tuple[socket.socket, socket.socket], *, engine: Embedded | None = None
) -> AsyncIterator[None]:
    """Serve both planes (and supervise the engine) inside the block. Drains on the way out."""
    if engine is not None:
        engine.start()
        world.engine_ready = lambda: engine.is_ready or engine.failure is not None
    options: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "lifespan": "off",
        "server_header": False,
        "date_header": False,
        "ws": "none",
        "proxy_headers": False,
    }
    data = _Server(uvicorn.Config(DataApp(world), http=_protocol(world), timeout_keep_alive=75, **options))
    admin = _Server(uvicorn.Config(build_admin_app(world), **options))
    tasks = [
        asyncio.ensure_future(server.serve(sockets=[sock])) for server, sock in zip((data, admin), sockets, strict=True)
    ]
    batches = Batches(world)
    keepers = [asyncio.ensure_future(work) for work in (_keep_synced(world), world.alerts.deliver(), batches.run())]
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
        await asyncio.gather(tasks[0], batches.stop(drain_s), return_exceptions=True)
        admin.should_exit = True
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*tasks, *keepers, return_exceptions=True)
        if engine is not None:
            await engine.stop()
        await close(world)


def _protocol(world: World) -> type[FreeholdProtocol]:
    deadline = property(lambda _: world.snapshot.server.body_timeout)
    return type("Connection", (FreeholdProtocol,), {"deadline_s": deadline})


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
    world.keys.refresh(world.clock.monotonic_s())
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
