"""`freehold usage`: calls, tokens and cost by group, from the receipts."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path

import click

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.kernel.errors import CallerError
from freehold.kernel.units import Usd, show_usd
from freehold.ledger.store import GROUPS, SqliteStore, catch_up


@click.command("usage")
@config_option
@json_option
@click.option(
    "--by", default="workload,model", show_default=True, help=f"Groups, joined by commas: {', '.join(GROUPS)}."
)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day (UTC).")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day (UTC).")
@click.option("--rebuild", is_flag=True, help="Throw the index away and build it again from the log.")
def command(
    config: Path | None,
    as_json: bool,
    by: str,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    rebuild: bool,
) -> None:
    """Show usage. Every call has one receipt; a call whose price is unknown is counted and named, never as zero."""
    state = Setting.find(config).state
    if not (state / "log").is_dir():
        raise CallerError(
            f"There is no log in {str(state)!r}.",
            code="usage.no_log",
            hint="Start 'freehold up' first, or set FREEHOLD_HOME.",
        )
    if rebuild:
        for suffix in ("", "-wal", "-shm"):
            (state / f"index.db{suffix}").unlink(missing_ok=True)
    store = SqliteStore(state / "index.db")
    try:
        catch_up(store, state / "log")
        groups = tuple(part.strip() for part in by.split(",") if part.strip())
        rows = store.usage(groups, _ms(since), _ms(until + datetime.timedelta(days=1)) if until else None)
    finally:
        store.close()
    data = [
        {
            **row.group,
            "calls": row.calls,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "cost_usd": show_usd(Usd(row.cost_usd)),
            "unpriced_calls": row.unpriced,
        }
        for row in rows
    ]
    total = {
        "calls": sum(r.calls for r in rows),
        "input_tokens": sum(r.input_tokens for r in rows),
        "output_tokens": sum(r.output_tokens for r in rows),
        "cost_usd": show_usd(Usd(sum((r.cost_usd for r in rows), Decimal(0)))),
        "unpriced_calls": sum(r.unpriced for r in rows),
    }
    if as_json:
        show_json({"rows": data, "total": total})
        return
    numbers = ("calls", "input_tokens", "output_tokens", "cost_usd", "unpriced_calls")
    table = [tuple(str(row[name]) or "–" for name in (*groups, *numbers)) for row in data]
    show_table(
        (*groups, *numbers),
        [*table, ("total", *[""] * (len(groups) - 1), *(str(total[name]) for name in numbers))] if groups else table,
        right=numbers,
    )


def _ms(day: datetime.datetime | None) -> int | None:
    return int(day.replace(tzinfo=datetime.UTC).timestamp() * 1000) if day is not None else None
