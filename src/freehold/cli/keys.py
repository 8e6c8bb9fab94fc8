"""`freehold keys`: create, list, rotate and revoke callers' keys. Works beside a running `up`, which takes notice within a second."""

from __future__ import annotations

import getpass
import os
import time
from contextlib import closing
from pathlib import Path

import click
import msgspec

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.gateway.administration import check_names, name_of
from freehold.gateway.preparing import open_keys, open_people, open_shared
from freehold.identity.keys import Key, Keys, Wanted, moment
from freehold.identity.shared import SharedKeys
from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError
from freehold.kernel.limits import span_ms
from freehold.kernel.schema import Limits as LimitsSpec


def _span(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Read a span, in milliseconds."""
    try:
        return span_ms(text) if text is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def who() -> str:
    """By what whoever types a command is known: the name of the user of this machine."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container may have no name for its user
        return f"cli:uid {os.getuid()}"


@click.group("keys", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Create, list, rotate and revoke callers' keys."""


@command.command("create")
@config_option
@json_option
@click.option("--name", required=True, help="What the key is for.")
@click.option("--workload", help="Bind the key to a workload: it takes the workload's class and can call nothing else.")
@click.option(
    "--class",
    "class_",
    type=click.Choice([c.label for c in Class]),
    help="The class of the key's calls (default: restricted, or the workload's).",
)
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    help='The most it may spend, such as "20 USD/month" or "1000000 tokens/day"; may be given several times.',
)
@click.option(
    "--limit", "limits", multiple=True, help='How fast: "calls=60/minute", "tokens=100000/minute", "concurrent=4".'
)
@click.option("--expires", callback=_span, help="How long it is good for, such as 90d or 12h (default: for ever).")
@click.option("--owner", help="The person whose it is, who may then exchange and revoke it.")
@click.option(
    "--machine", help="NAME:SUBJECT of a machine under [machines]: its signed tokens count, and no secret is given out."
)
def create(
    config: Path | None,
    as_json: bool,
    name: str,
    workload: str | None,
    class_: str | None,
    budgets: tuple[str, ...],
    limits: tuple[str, ...],
    expires: int | None,
    owner: str | None,
    machine: str | None,
) -> None:
    """Make a key and show it, this once."""
    setting = Setting.find(config)
    if workload is not None or machine is not None:
        check_names(setting.snapshot(), workload, machine)
    now_ms = int(time.time() * 1000)
    wanted = Wanted(
        name=name,
        class_=Class.parse(class_) if class_ else None,
        workload=workload,
        budgets=budgets,
        limits=_limits(limits),
        expires_ms=now_ms + expires if expires is not None else None,
        owner=_person(setting, owner, now_ms),
        machine=machine,
    )
    with closing(keys_of(setting)) as keys:
        key, secret = keys.create(wanted, now_ms=now_ms, by=who())
    if as_json:
        show_json(
            {
                "id": key.id,
                "key": secret if machine is None else None,
                "name": name,
                "class": class_,
                "workload": workload,
                "budget": key.budget_text,
                "limits": dict(key.paces),
                "expires": moment(key.expires_ms),
            }
        )
        return
    if machine is None:
        click.echo(secret)
    shown = "The key is shown this once." if machine is None else f"Tokens of {machine} count as this key."
    click.echo(f"{key.id}  {name}  {_declared(key)}. {shown}", err=True)


@command.command("list")
@config_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """List keys; secrets are not kept, so they are not shown."""
    keys = keys_of(Setting.find(config))
    found = keys.all()
    keys.close()
    if as_json:
        show_json({"keys": [key.as_data() for key in found]})
        return
    show_table(
        ("id", "name", "declared", "budget", "limits", "created", "expires", "revoked"),
        [
            (
                key.id,
                key.name,
                _declared(key),
                key.budget_text or "–",
                ", ".join(f"{name} {value}" for name, value in key.paces) or "–",
                (moment(key.created_ms) or "")[:10],
                moment(key.expires_ms) or "–",
                (moment(key.revoked_ms) or "–")[:10],
            )
            for key in found
        ],
    )


@command.command("rotate")
@config_option
@json_option
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    callback=_span,
    help="How long the old secret stays good, such as 1h or 7d; 0 for not at all.",
)
@click.argument("key_id")
def rotate(config: Path | None, as_json: bool, overlap: int, key_id: str) -> int:
    """Give a key another secret, and show it this once. The key stays what it is: its budgets, limits and receipts go on."""
    now_ms = int(time.time() * 1000)
    with closing(keys_of(Setting.find(config))) as keys:
        secret = keys.rotate(key_id, overlap_ms=overlap, now_ms=now_ms, by=who())
    if secret is None:
        click.echo(f"There is no live key {key_id!r}.", err=True)
        return 1
    until = moment(now_ms + overlap)
    if as_json:
        show_json({"id": key_id, "key": secret, "old_until": until})
        return 0
    click.echo(secret)
    click.echo(
        f"{key_id}: the old secret is good until {until}."
        if overlap
        else f"{key_id}: the old secret is refused from now on.",
        err=True,
    )
    return 0


@command.command("revoke")
@config_option
@json_option
@click.argument("key_id")
def revoke(config: Path | None, as_json: bool, key_id: str) -> int:
    """Revoke a key by its id."""
    keys = keys_of(Setting.find(config))
    with closing(keys):
        done = keys.revoke(key_id, now_ms=int(time.time() * 1000), by=who())
    if as_json:
        show_json({"id": key_id, "revoked": done})
    else:
        click.echo(f"{key_id} is revoked." if done else f"There is no live key {key_id!r}.", err=not done)
    return 0 if done else 1


def keys_of(setting: Setting) -> Keys | SharedKeys:
    """The keys of this state directory, or of all nodes. Whoever opens them closes them."""
    nodes = setting.nodes()
    return open_keys(setting.state) if nodes is None else open_shared(nodes)


def _person(setting: Setting, name: str | None, now_ms: int) -> str | None:
    """The id of a person, who is taken down if nobody knew them."""
    if name is None:
        return None
    kept = name_of(name, None) if setting.claim() == "email" else name
    with closing(open_people(setting.state, setting.nodes())) as people:
        return people.meet(kept, now_ms=now_ms).id


def _declared(key: Key) -> str:
    if key.workload is not None:
        return f"workload {key.workload}" + (f", at least {key.class_.label}" if key.class_ is not None else "")
    return key.class_.label if key.class_ is not None else "no class, so restricted"


def _limits(given: tuple[str, ...]) -> LimitsSpec:
    """Read `NAME=VALUE` as often as it is given."""
    parts: dict[str, str | int] = {}
    for one in given:
        name, mark, value = one.partition("=")
        if not mark or name not in ("calls", "tokens", "concurrent") or name in parts:
            raise CallerError(
                f"{one[:80]!r} is not a limit.",
                code="keys.limit",
                hint="Write calls=60/minute, tokens=100000/minute or concurrent=4, each once.",
            )
        parts[name] = int(value) if name == "concurrent" and value.isdecimal() and value.isascii() else value
    try:
        return msgspec.convert(parts, LimitsSpec)
    except msgspec.ValidationError:
        raise CallerError("concurrent must be a number from 1.", code="keys.limit") from None
