"""`freehold up`: look around, show what is there, make one real call, serve."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import click

from freehold.cli.hello import first_call
from freehold.cli.setting import Setting, config_option, show_table, surroundings, zone_words
from freehold.engines.bulletin import Bulletin
from freehold.engines.embedded import Embedded, Place, choose_place
from freehold.gateway.app import compose, listen, make_engine, running, stop_signal
from freehold.gateway.bereaved import keep_heirs, offer
from freehold.gateway.handover import Taken, take
from freehold.gateway.line import Line
from freehold.gateway.logs import log
from freehold.gateway.policy import served_names
from freehold.gateway.preparing import Prepared, prepare
from freehold.gateway.reloading import Asking, Reloading, Source
from freehold.gateway.world import World
from freehold.identity.keys import Lent, Wanted
from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import BUILTIN
from freehold.kernel.errors import OperatorError
from freehold.kernel.snapshot import Provider, Target

ENGINE_WAIT_S = 60.0


@dataclass(frozen=True)
class Shown:
    """The two keys of a first run, or None on later runs: secrets are shown once."""

    restricted: str
    public: str


@click.command("up")
@config_option
@click.option("--port", type=click.IntRange(0, 65_535), default=4000, show_default=True, help="Port of the data plane.")
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65_535),
    default=4001,
    show_default=True,
    help="Port of the admin plane (loopback only).",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the data plane.")
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that serve, on one port."
)
@click.option(
    "--take-over",
    is_flag=True,
    help="Take the place of the Freehold that serves from this state directory: no call is dropped.",
)
@click.option("--hello/--no-hello", default=True, help="Make one real first call and show it.")
@click.pass_context
def command(
    context: click.Context,
    config: Path | None,
    port: int,
    admin_port: int,
    host: str,
    workers: int,
    take_over: bool,
    hello: bool,
) -> int:
    """Start Freehold on 127.0.0.1:4000 (admin on 4001).

    Without a freehold.toml it uses what is there: known key variables, a local Ollama, vLLM or llama.cpp, and the built-in model.
    """
    setting = Setting.find(config)
    place = choose_place()
    around = replace(surroundings(), builtin_url=place.base_url, builtin_key=place.key)
    source, taken = Source.of(setting.file, around), list[Taken]()

    def claim() -> int | None:
        if take_over:
            taken.append(take(setting.state))
            _check_ports(context, taken[0].sockets)
        return taken[0].run if taken else None

    prepared = prepare(setting.snapshot(around), setting.state, claim=claim)
    sockets = (
        taken[0].sockets if taken else (listen(host, port, "--port"), listen("127.0.0.1", admin_port, "--admin-port"))
    )
    name, number = sockets[0].getsockname()[:2]
    base_url = f"http://{f'[{name}]' if ':' in name else name}:{number}/v1"
    start = Start(setting, prepared, source, place, sockets, base_url, hello, taken[0] if taken else None)
    if workers > 1:
        return _supervise(start, workers)
    import uvloop  # only the server needs it

    uvloop.run(_alone(start))
    return 0


def _check_ports(context: click.Context, sockets: tuple[socket.socket, socket.socket]) -> None:
    """Ports and the address are taken over as they are. Raises OperatorError `takeover.other_port` if others are asked for."""
    is_asked = context.get_parameter_source("host") is not click.core.ParameterSource.DEFAULT
    if is_asked and context.params["host"] != (found := sockets[0].getsockname()[0]):
        raise OperatorError(
            f"The Freehold that serves listens on {found}, and --host says {context.params['host']}.",
            code="takeover.other_port",
            hint="The address is taken over as it is. To change it, stop it and start anew.",
        )
    for name, sock in zip(("port", "admin_port"), sockets, strict=True):
        wanted, found = context.params[name], sock.getsockname()[1]
        is_asked = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if is_asked and wanted not in (0, found):
            raise OperatorError(
                f"The Freehold that serves listens on port {found}, and --{name.replace('_', '-')} says {wanted}.",
                code="takeover.other_port",
                hint="Ports are taken over as they are. To change them, stop it and start anew.",
            )


@dataclass(frozen=True)
class Start:
    """What was decided before anything serves."""

    setting: Setting
    prepared: Prepared
    source: Source
    place: Place
    sockets: tuple[socket.socket, socket.socket]
    base_url: str
    hello: bool
    taken: Taken | None = None
    lent: Lent = field(
        default_factory=lambda: Lent.make("hello", int(time.time() * 1000))
    )  # for the first call, if the keys of the first run are known


async def _alone(start: Start) -> None:
    """Serve in this process."""
    stop = stop_signal()
    world = compose(start.prepared)
    world.keys.lend(start.lent)
    engine = make_engine(start.prepared.snapshot, start.place)
    reloading = Reloading(world, start.prepared, start.source)
    world.reload = reloading.reload
    reloading.on_hangup(stop)
    ready = partial(_take_place, start.taken, engine, stop) if start.taken is not None else None
    async with among_nodes(world, start.prepared), running(world, start.sockets, engine=engine, ready=ready):
        watching = [asyncio.ensure_future(work) for work in (reloading.watch(), keep_heirs(world, start.prepared))]
        watching.append(asyncio.ensure_future(offer(world, start.sockets, stop)))
        if not stop.is_set():
            await _greet(start, world, engine)
        await stop.wait()
        for task in watching:
            task.cancel()
        log("draining")
    log("stopped")


async def _take_place(taken: Taken, engine: Embedded | None, stop: asyncio.Event) -> None:
    """Say that this one serves, once its model is loaded: the one before accepts nobody from then on. Told to stop meanwhile, it leaves the place to the other."""
    if engine is not None:
        await _first(engine.wait(ENGINE_WAIT_S), stop.wait())
    await asyncio.sleep(0.02)  # a signal that has come is heard in the loop's next turns
    if stop.is_set():
        taken.give_up()
    else:
        taken.say_ready()


async def _first(*waits: Awaitable[bool]) -> None:
    """Wait for whichever comes first."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _supervise(start: Start, workers: int) -> int:
    """Serve in processes of their own, and watch over them."""
    from freehold.gateway.workers import Supervisor, Turn  # whoever serves alone needs none of it

    engine = make_engine(start.prepared.snapshot, start.place)
    bulletin = Bulletin(engine.settings, engine.model) if engine is not None else None

    async def serve(world: World, reloading: Reloading, line: Line, turn: Turn) -> None:
        stop, asking = stop_signal(), Asking(reloading, line)
        line.listen(asking.hear, stop)
        world.reload = asking.reload
        world.keys.lend(start.lent)
        if bulletin is not None:
            world.engine_ready = lambda: bulletin.is_ready or bulletin.failure is not None

        async def ready() -> None:
            """Wait for the model, where another serves meanwhile, and until that one has stopped accepting."""
            if bulletin is not None:
                await _first(bulletin.wait(ENGINE_WAIT_S), stop.wait())  # a supervisor that died waits for nobody
            line.say({"prepared": True})
            await _first(asking.may_serve.wait(), stop.wait())

        waits = ready if turn.waits else None
        async with among_nodes(world, start.prepared), running(world, start.sockets, ready=waits, seat=turn.seat):
            line.say({"ready": True})
            if turn.is_first and not stop.is_set():
                await _greet(start, world, bulletin)
            await stop.wait()

    async def keep(line: Line) -> None:
        """Run the engine, and tell the workers how it is."""
        stop, own = stop_signal(), make_engine(start.prepared.snapshot, start.place)
        line.listen(lambda _: None, stop)
        assert own is not None
        assert bulletin is not None
        own.start()
        while not stop.is_set():
            bulletin.write(is_ready=own.is_ready, failure=own.failure)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await stop.wait()
        await own.stop()

    keeps = keep if bulletin is not None else None
    supervisor = Supervisor(start.prepared, start.source, start.sockets, workers, serve=serve, keep=keeps)
    return supervisor.run(start.taken)


@asynccontextmanager
async def among_nodes(world: World, prepared: Prepared) -> AsyncIterator[None]:
    """Be one of several nodes inside the block, if there are others."""
    if world.snapshot.nodes is None:
        yield
        return
    from freehold.gateway.nodes import Node  # Postgres is an extra

    node = Node(world, prepared, world.snapshot.nodes)
    keeping: list[asyncio.Future[None]] = []
    try:
        await asyncio.to_thread(node.check)
        world.more, world.ledger.answers.elsewhere = node.more, node.answers
        keeping.append(asyncio.ensure_future(node.run()))
        yield
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        node.close()


async def _greet(start: Start, world: World, engine: Embedded | Bulletin | None) -> None:
    """Show what there is, and make the first call."""
    shown = first_keys(world)
    show_fleet(world, start.setting, engine)
    show_start(start.base_url, start.sockets[1].getsockname()[1], shown)
    if shown is not None and (first := first_model(world, shown)) is not None:
        show_example(start.base_url, *first)
    if start.hello:
        await _hello(start, engine, shown)
    click.echo(f"Serving on {start.base_url}  (Ctrl-C stops)")
    log("serving", address=start.base_url, recovered=world.ledger.recovered, policy=world.snapshot.digest)


def first_keys(world: World) -> Shown | None:
    """On the first run make two keys: one that stays inside, one that may leave."""
    if world.snapshot.nodes is not None or world.keys.all():
        return None
    now_ms = world.clock.now_ms()
    _, restricted = world.keys.create(
        Wanted(name="first restricted key", class_=Class.RESTRICTED), now_ms=now_ms, by="freehold up"
    )
    _, public = world.keys.create(
        Wanted(name="first public key", class_=Class.PUBLIC), now_ms=now_ms + 1, by="freehold up"
    )
    return Shown(restricted, public)


def show_fleet(world: World, setting: Setting, engine: Embedded | Bulletin | None) -> None:
    """Print every provider with its zone and the reason for it."""
    now = world.clock.now_s()
    rows = []
    for provider in world.snapshot.providers.values():
        models = sorted(target.model for target in world.policy.fleet.abilities if target.provider == provider.name)
        rows.append((provider.name, zone_words(provider, now), _models(models), _why(provider, setting)))
    show_table(
        ("provider", "zone", "models", "why"),
        rows,
        title=f"Found ({setting.file or 'no freehold.toml: looked around'})",
    )
    if world.ledger.recovered:
        click.echo(f"{world.ledger.recovered} calls were under way when Freehold last ended; each has its receipt now.")
    if engine is not None and engine.failure:
        click.echo(f"The built-in model is not available: {engine.failure}")


def _models(models: list[str]) -> str:
    shown = ", ".join(models[:3])
    return f"{shown} … {len(models)} in all" if len(models) > 3 else shown or "(any name)"


def _why(provider: Provider, setting: Setting) -> str:
    if setting.file is None and provider.key is not None and provider.key.reference.startswith("env:"):
        return f"{provider.key.reference.removeprefix('env:')} is set"
    if setting.file is None and provider.name != "builtin":
        return f"answers at {provider.base_url}"
    return provider.why


def show_start(base_url: str, admin_port: int, keys: Shown | None) -> None:
    """Print the address, the keys and what to paste."""
    click.echo(f"base URL        {base_url}\nadmin           http://127.0.0.1:{admin_port}   (/metrics, /readyz)")
    if keys is None:
        click.echo("keys            as before; make another with 'freehold keys create --name NAME'\n")
        return
    click.echo(
        f"restricted key  {keys.restricted}   inside targets only\npublic key      {keys.public}   may leave; shown this once, like the other\n"
    )


def first_model(world: World, keys: Shown) -> tuple[str, str] | None:
    """A model to try, and the key that may: the built-in one, else a workload or a model inside, else one outside."""
    inside: list[str] = []
    outside: list[str] = []
    for name, owner in served_names(world.policy.fleet, world.snapshot).items():
        workload = world.snapshot.workloads.get(name)
        targets = workload.targets if workload is not None else (Target(owner, name.removeprefix(f"{owner}/")),)
        is_inside = any(world.policy.zone_of(target) is Zone.INSIDE for target in targets)
        (inside if is_inside else outside).append(name)
    own = next((name for name in inside if name.startswith(f"{BUILTIN}/")), None)
    if own or inside:
        return own or inside[0], keys.restricted
    return (outside[0], keys.public) if outside else None


def show_example(base_url: str, model: str, key: str) -> None:
    """Print a call to paste, for a terminal and for Python."""
    asked = json.dumps({"model": model, "messages": [{"role": "user", "content": "My parcel A-10423 is late. Anna"}]})
    click.echo(
        "Try it:\n\n"
        f"  curl -i {base_url}/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        f"    -d {shlex.quote(asked)}\n"
    )
    click.echo(
        "  from openai import OpenAI\n"
        f'  client = OpenAI(base_url="{base_url}", api_key="{key}")\n'
        f'  print(client.chat.completions.create(model={json.dumps(model)}, messages=[{{"role": "user", "content": "My parcel is late"}}]).choices[0].message.content)\n'
    )


async def _hello(start: Start, engine: Embedded | Bulletin | None, shown: Shown | None) -> None:
    """Make the first call, as any application would."""
    if engine is None:
        click.echo("The embedded engine is switched off, so there is no first call.\n")
        return
    began = time.monotonic()
    if not await engine.wait(ENGINE_WAIT_S):
        click.echo(f"The built-in model is not available: {engine.failure or 'it takes too long to load'}\n")
        return
    key = shown.restricted if shown else start.lent.secret
    model, is_own = f"builtin/{engine.settings.name}", engine.settings.model is not None
    click.echo(await asyncio.to_thread(first_call, start.base_url, key, model, is_own=is_own))
    waited = time.monotonic() - began
    if waited > 1:
        click.echo(f"(the model took {waited:.1f} s to load and answer)\n")
