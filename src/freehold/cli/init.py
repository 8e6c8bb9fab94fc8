"""`freehold init`: write what is there into a commented freehold.toml."""

from __future__ import annotations

from pathlib import Path

import click

from freehold.cli.setting import DEFAULT_FILE, look_around
from freehold.kernel.errors import CallerError


@click.command("init")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(DEFAULT_FILE),
    show_default=True,
    help="Where to write; '-' for standard output.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def command(out: Path, force: bool) -> None:
    """Write providers whose keys are set and local servers that answer into a commented freehold.toml."""
    text = look_around()
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    try:
        with out.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CallerError(
            f"{str(out)!r} is there already.",
            code="init.exists",
            hint="Use --force to replace it, or --out - to look first.",
        ) from None
    except OSError as error:
        raise CallerError(
            f"{str(out)!r} cannot be written ({type(error).__name__}).",
            code="init.unwritable",
            hint="Check the folder.",
        ) from None
    click.echo(f"Wrote {out}. Next: freehold check", err=True)
