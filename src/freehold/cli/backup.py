"""`freehold backup`: copy the state directory while it is used, and look whether a copy is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from freehold.cli.setting import Setting, config_option, json_option, show_json
from freehold.gateway.backing import Manifest, back_up, bring_back, check
from freehold.identity.keys import moment


@click.group("backup", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Back up the state directory, check a back-up, bring it back.

    A back-up holds every secret of the state directory. Providers' keys and freehold.toml are not in it.
    """


@command.command("create")
@config_option
@json_option
@click.argument("out", type=click.Path(path_type=Path))
def create(config: Path | None, as_json: bool, out: Path) -> None:
    """Copy what cannot be made again into the new folder OUT, beside a running Freehold."""
    _show(back_up(Setting.find(config).state, out), out, "is backed up to", as_json=as_json)


@command.command("check")
@json_option
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False, exists=True))
def check_(as_json: bool, backup: Path) -> None:
    """Look whether BACKUP is whole."""
    _show(check(backup), backup, "is whole:", as_json=as_json)


@command.command("restore")
@config_option
@json_option
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False, exists=True))
def restore(config: Path | None, as_json: bool, backup: Path) -> None:
    """Put BACKUP where the state directory is to be, which must be empty or missing.

    Never run both what it was taken from and what it becomes: both would sign one log.
    """
    state = Setting.find(config).state
    _show(bring_back(backup, state), state, "is brought back to", as_json=as_json)


def _show(manifest: Manifest, where: Path, words: str, *, as_json: bool) -> None:
    at = moment(min(max(manifest.at_ms, 0), 2**42)) or ""
    told: dict[str, Any] = {"path": str(where), "at": at, "build": manifest.build, "files": len(manifest.files)}
    if as_json:
        show_json(told)
    else:
        click.echo(f"What there was at {at} {words} {where} ({len(manifest.files)} files, Freehold {manifest.build}).")
