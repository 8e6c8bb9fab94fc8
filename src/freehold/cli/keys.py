"""`freehold keys`: create, list and revoke callers' keys. Works beside a running `up`, which takes notice within a second."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import click

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.gateway.app import open_keys
from freehold.identity.keys import Key
from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError


@click.group("keys", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Create, list and revoke callers' keys."""


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
@click.option("--budget", help='The most it may spend, such as "20 USD/month" (day, week, month, total; UTC).')
def create(
    config: Path | None, as_json: bool, name: str, workload: str | None, class_: str | None, budget: str | None
) -> None:
    """Make a key and show it, this once."""
    setting = Setting.find(config)
    if workload is not None and workload not in setting.snapshot().workloads:
        raise CallerError(
            f"The workload {workload!r} is not configured.",
            code="keys.unknown_workload",
            hint="Add it to freehold.toml first.",
        )
    keys = open_keys(setting.state)
    key, secret = keys.create(
        name,
        class_=Class.parse(class_) if class_ else None,
        workload=workload,
        budget=budget,
        now_ms=int(time.time() * 1000),
    )
    keys.close()
    if as_json:
        show_json({"id": key.id, "key": secret, "name": name, "class": class_, "workload": workload, "budget": budget})
        return
    click.echo(secret)
    click.echo(f"{key.id}  {name}  {_declared(key)}. The key is shown this once.", err=True)


@command.command("list")
@config_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """List keys; secrets are not kept, so they are not shown."""
    keys = open_keys(Setting.find(config).state)
    found = keys.all()
    keys.close()
    if as_json:
        show_json(
            {
                "keys": [
                    {
                        "id": k.id,
                        "name": k.name,
                        "class": k.class_.label if k.class_ is not None else None,
                        "workload": k.workload,
                        "budget": k.budget_text,
                        "created": _day(k.created_ms),
                        "revoked": _day(k.revoked_ms),
                    }
                    for k in found
                ]
            }
        )
        return
    show_table(
        ("id", "name", "declared", "budget", "created", "revoked"),
        [
            (k.id, k.name, _declared(k), k.budget_text or "–", _day(k.created_ms) or "", _day(k.revoked_ms) or "–")
            for k in found
        ],
    )


@command.command("revoke")
@config_option
@json_option
@click.argument("key_id")
def revoke(config: Path | None, as_json: bool, key_id: str) -> int:
    """Revoke a key by its id."""
    keys = open_keys(Setting.find(config).state)
    done = keys.revoke(key_id, now_ms=int(time.time() * 1000))
    keys.close()
    if as_json:
        show_json({"id": key_id, "revoked": done})
    else:
        click.echo(f"{key_id} is revoked." if done else f"There is no live key {key_id!r}.", err=not done)
    return 0 if done else 1


def _declared(key: Key) -> str:
    if key.workload is not None:
        return f"workload {key.workload}" + (f", at least {key.class_.label}" if key.class_ is not None else "")
    return key.class_.label if key.class_ is not None else "no class, so restricted"


def _day(ms: int | None) -> str | None:
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).date().isoformat() if ms is not None else None
