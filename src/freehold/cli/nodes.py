"""`freehold nodes`: who shares the database, and say of one that it will not come back."""

from __future__ import annotations

from pathlib import Path

import click

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.identity.shared import SharedKeys
from freehold.kernel.errors import OperatorError
from freehold.ledger.database import Database
from freehold.ledger.postgres import Census


@click.group("nodes", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Show the nodes that share keys, budgets and limits, and forget one that will not come back."""


@command.command("list")
@config_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """List the nodes that have ever greeted the others."""
    database = _database(config)
    try:
        found = Census(database).all()
    finally:
        database.close()
    if as_json:
        show_json({"nodes": [one.as_data() for one in found]})
        return
    show_table(
        ("node", "name", "last seen", "state"),
        [
            (one.id, one.name, f"{one.seen:%Y-%m-%d %H:%M:%S} UTC", "there" if one.is_there else "silent")
            for one in found
        ],
    )


@command.command("forget")
@config_option
@json_option
@click.argument("node")
def forget(config: Path | None, as_json: bool, node: str) -> int:
    """Say that a node will not come back: what it had set aside of budgets is free again; what it had spent stays spent.

    Calls that it never reported are not counted anywhere. If its state directory is still there, start it once instead. A node that is only cut off
    from the database looks silent too, and would spend what is given away here: stop it first.
    """
    database = _database(config)
    try:
        done = Census(database).forget(node)
        if done:
            SharedKeys(database, b"").release(node)
    finally:
        database.close()
    if as_json:
        show_json({"id": node, "forgotten": done})
    else:
        click.echo(f"{node} is forgotten." if done else f"There is no silent node {node!r}.", err=not done)
    return 0 if done else 1


def _database(config: Path | None) -> Database:
    nodes = Setting.find(config).nodes()
    if nodes is None:
        raise OperatorError(
            "The configuration names no database that nodes share.",
            code="nodes.none",
            hint="Add a [nodes] table to freehold.toml.",
        )
    return Database(nodes.database)
