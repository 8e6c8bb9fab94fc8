"""Where a command finds its configuration and state, and how it writes tables and JSON."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from freehold.kernel.classes import Zone
from freehold.kernel.config import Surroundings, load, read, read_nodes
from freehold.kernel.errors import OperatorError
from freehold.kernel.limits import time_zone
from freehold.kernel.snapshot import Nodes, Provider, Snapshot, Vault
from freehold.upstream.rows import ROWS

DEFAULT_FILE = "freehold.toml"
F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """Add --config PATH."""
    return click.option(
        "--config",
        "config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file (default: ./freehold.toml if it is there).",
    )(command)


def json_option(command: F) -> F:
    """Add --json."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Write data to standard output as JSON; words go to standard error."
    )(command)


@dataclass(frozen=True)
class Setting:
    """A configuration file, if there is one, and the state directory that belongs to it."""

    file: Path | None
    state: Path

    @classmethod
    def find(cls, config: Path | None) -> Setting:
        file = config or (Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None)
        if file is not None and not file.is_file():
            raise OperatorError(
                f"There is no file {str(file)!r}.", code="config.missing", hint="'freehold init' writes one."
            )
        home = os.environ.get("FREEHOLD_HOME")
        state = Path(home) if home else (file.parent if file else Path()) / ".freehold"
        if state.exists() and not state.is_dir():
            raise OperatorError(
                f"The state directory {str(state)!r} is not a directory.",
                code="config.state",
                hint="Set FREEHOLD_HOME to a directory.",
            )
        return cls(file, state)

    def zone(self) -> datetime.tzinfo:
        """Where a day begins; read alone, because whoever looks at the past may not have the providers' keys at hand."""
        try:
            tree = tomllib.loads(self.file.read_text(encoding="utf-8")) if self.file is not None else {}
            return time_zone(str(tree.get("organisation", {}).get("time_zone", "UTC")))
        except (ValueError, AttributeError, OSError) as error:
            raise OperatorError(
                f"The organisation's time zone cannot be read: {error}.",
                code="config.time_zone",
                hint="'freehold check' says more.",
            ) from None

    def claim(self) -> str:
        """By what people are known; read alone, because whoever names somebody may not have the secrets at hand."""
        try:
            tree = tomllib.loads(self.file.read_text(encoding="utf-8")) if self.file is not None else {}
            return str(tree.get("sign_in", {}).get("claim", "email"))
        except (ValueError, AttributeError, OSError, RecursionError):
            return "email"

    def nodes(self) -> Nodes | None:
        """The other nodes, if the file names a database that they share. Raises ConfigError."""
        if self.file is None:
            return None
        around = replace(surroundings(), folder=self.file.parent)
        return read_nodes(self.file.read_text(encoding="utf-8"), around)

    def snapshot(self, around: Surroundings | None = None) -> Snapshot:
        """Read the file; without one, look at what is there."""
        around = around or surroundings()
        if self.file is not None:
            return load(self.file, around)
        return read(look_around(), around)


def surroundings() -> Surroundings:
    """What configuration may refer to: the environment, known providers, a vault and commands."""

    def fetch(reference: str, vault: Vault | None) -> str:
        # The door brings the HTTP client with it, which a file without such references does without.
        from freehold.gateway.secrets import fetch as fetch_secret

        return fetch_secret(reference, vault)

    return Surroundings(os.environ, ROWS, fetch=fetch)


def look_around() -> str:
    """Discover providers and write them as configuration text."""
    # Discovery brings the HTTP client with it, a tenth of a second that commands with a file do without.
    from freehold.gateway.discover import as_toml, discover
    from freehold.upstream.transport import HttpTransport

    async def look() -> str:
        transport = HttpTransport()
        try:
            return as_toml(await discover(os.environ, ROWS, transport, now_s=time.time()))
        finally:
            await transport.close()

    return asyncio.run(look())


def zone_words(provider: Provider, now_s: float) -> str:
    """A provider's zone now, and for which models it holds if not for all."""
    zone, held = provider.zone_at(now_s), provider.attested
    if zone is Zone.ATTESTED and held is not None and held.models:
        return f"attested for {', '.join(sorted(held.models))}, else outside"
    return zone.value


_CONTROLS = dict.fromkeys((*range(32), *range(127, 160), *range(8234, 8239), *range(8294, 8298)), "�")


def printable(text: str, *, lines: bool = False) -> str:
    """Text without what a terminal would obey: control characters, and marks that turn the direction of writing. lines: breaks and tabs stay."""
    kept = {ord("\n"): "\n", ord("\t"): "\t"} if lines else {}
    return text.translate({**_CONTROLS, **kept})


def show_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def show_table(
    columns: Iterable[str], rows: Iterable[Iterable[str]], *, right: Iterable[str] = (), title: str | None = None
) -> None:
    """Print a table that reads well without colour."""
    from rich import box  # rich costs 60 ms, which --json does without
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, title=escape(title) if title is not None else None, title_justify="left", pad_edge=False
    )
    for column in columns:
        table.add_column(escape(printable(column)), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    Console(soft_wrap=False, width=None if os.isatty(1) else 200).print(table)
