"""`freehold up`: look around, show what is there, make one real call, serve."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import click

from freehold.cli.hello import first_call
from freehold.cli.setting import Setting, config_option, show_table, zone_words
from freehold.engines.embedded import Embedded, choose_place
from freehold.gateway.app import Ports, build, listen, make_engine, running, stop_signal
from freehold.gateway.logs import log
from freehold.gateway.world import World, served_names
from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import BUILTIN, Surroundings
from freehold.kernel.snapshot import Provider, Target
from freehold.upstream.rows import ROWS

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
@click.option("--hello/--no-hello", default=True, help="Make one real first call and show it.")
def command(config: Path | None, port: int, admin_port: int, host: str, hello: bool) -> None:
    """Start Freehold on 127.0.0.1:4000 (admin on 4001).

    Without a freehold.toml it uses what is there: known key variables, a local Ollama, vLLM or llama.cpp, and the built-in model.
    """
    import uvloop  # only the server needs it

    uvloop.run(_up(config, Ports(port, admin_port, host), hello))


async def _up(config: Path | None, ports: Ports, hello: bool) -> None:
    stop = stop_signal()
    setting = Setting.find(config)
    place = choose_place()
    around = Surroundings(os.environ, ROWS, builtin_url=place.base_url, builtin_key=place.key)
    snapshot = await asyncio.to_thread(setting.snapshot, around)
    sockets = (listen(ports.host, ports.data, "--port"), listen("127.0.0.1", ports.admin, "--admin-port"))
    world = build(snapshot, setting.state)
    engine = make_engine(snapshot, place)
    shown = first_keys(world)
    base_url = f"http://{ports.host}:{sockets[0].getsockname()[1]}/v1"
    async with running(world, sockets, engine=engine):
        show_fleet(world, setting, engine)
        show_start(base_url, sockets[1].getsockname()[1], shown)
        if shown is not None and (first := first_model(world, shown)) is not None:
            show_example(base_url, *first)
        if hello:
            await _hello(world, base_url, engine, shown)
        click.echo(f"Serving on {base_url}  (Ctrl-C stops)")
        log("serving", address=base_url, recovered=world.ledger.recovered, policy=world.snapshot.digest)
        await stop.wait()
        log("draining")
    log("stopped")


def first_keys(world: World) -> Shown | None:
    """On the first run make two keys: one that stays inside, one that may leave."""
    if world.keys.all():
        return None
    now_ms = world.clock.now_ms()
    _, restricted = world.keys.create("first restricted key", class_=Class.RESTRICTED, workload=None, now_ms=now_ms)
    _, public = world.keys.create("first public key", class_=Class.PUBLIC, workload=None, now_ms=now_ms + 1)
    return Shown(restricted, public)


def show_fleet(world: World, setting: Setting, engine: Embedded | None) -> None:
    """Print every provider with its zone and the reason for it."""
    now = world.clock.now_s()
    rows = []
    for provider in world.snapshot.providers.values():
        models = sorted(target.model for target in world.fleet.abilities if target.provider == provider.name)
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
    for name, owner in served_names(world.fleet, world.snapshot).items():
        workload = world.snapshot.workloads.get(name)
        targets = workload.targets if workload is not None else (Target(owner, name.removeprefix(f"{owner}/")),)
        is_inside = any(world.zone_of(target) is Zone.INSIDE for target in targets)
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


async def _hello(world: World, base_url: str, engine: Embedded | None, shown: Shown | None) -> None:
    """Make the first call, as any application would."""
    if engine is None:
        click.echo("The embedded engine is switched off, so there is no first call.\n")
        return
    began = time.monotonic()
    if not await engine.wait(ENGINE_WAIT_S):
        click.echo(f"The built-in model is not available: {engine.failure or 'it takes too long to load'}\n")
        return
    key = shown.restricted if shown else world.keys.lend("hello", now_ms=world.clock.now_ms())
    model, is_own = f"builtin/{engine.settings.name}", engine.settings.model is not None
    click.echo(await asyncio.to_thread(first_call, base_url, key, model, is_own=is_own))
    waited = time.monotonic() - began
    if waited > 1:
        click.echo(f"(the model took {waited:.1f} s to load and answer)\n")
