"""`freehold usage`: calls, tokens and cost by group, from the receipts."""

from __future__ import annotations

import csv
import datetime
import sys
from decimal import Decimal
from pathlib import Path

import click

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.kernel.errors import CallerError
from freehold.ledger.postgres import usage_of_all
from freehold.ledger.store import GROUPS, SqliteStore, UsageRow, catch_up
from freehold.report.bars import bars

_NUMBERS = ("calls", "input_tokens", "output_tokens", "cost_usd", "unpriced_calls")


@click.command("usage")
@config_option
@json_option
@click.option(
    "--by", default="workload,model", show_default=True, help=f"Groups, joined by commas: {', '.join(GROUPS)}."
)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, in the organisation's time zone.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV to standard output.")
@click.option("--plot", is_flag=True, help="Draw the cost of each group (its tokens, where nothing cost anything).")
@click.option("--rebuild", is_flag=True, help="Throw the index away and build it again from the log.")
@click.option("--here", is_flag=True, help="Only what this node has served, where there are several.")
def command(
    config: Path | None,
    as_json: bool,
    by: str,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    as_csv: bool,
    plot: bool,
    rebuild: bool,
    here: bool,
) -> None:
    """Show usage. Every call has one receipt; a call whose price is unknown is counted and named, never as zero."""
    setting = Setting.find(config)
    if not (setting.state / "log").is_dir():
        raise CallerError(
            f"There is no log in {str(setting.state)!r}.",
            code="usage.no_log",
            hint="Start 'freehold up' first, or set FREEHOLD_HOME.",
        )
    if rebuild:
        for suffix in ("", "-wal", "-shm"):
            (setting.state / f"index.db{suffix}").unlink(missing_ok=True)
    zone, groups = setting.zone(), tuple(part.strip() for part in by.split(",") if part.strip())
    nodes = setting.nodes() if not here else None
    if nodes is not None:
        rows = usage_of_all(nodes.database, groups, span_of(since, until, zone), zone)
    else:
        rows = _here(setting, groups, span_of(since, until, zone), zone)
    total = UsageRow.total(rows)
    if as_json:
        show_json({"rows": [row.as_data() for row in rows], "total": total.as_data()})
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, (*groups, *_NUMBERS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.as_data() for row in rows)
    elif plot:
        click.echo(_plot(rows), nl=False)
    else:
        _show(groups, rows, total)


def _here(setting: Setting, groups: tuple[str, ...], span: tuple[int, int], zone: datetime.tzinfo) -> list[UsageRow]:
    """What this node has served."""
    store = SqliteStore(setting.state / "index.db")
    try:
        catch_up(store, setting.state / "log")
        return store.usage(groups, *span, zone)
    finally:
        store.close()


def _show(groups: tuple[str, ...], rows: list[UsageRow], total: UsageRow) -> None:
    table = [tuple(str(value) or "–" for value in row.as_data().values()) for row in rows]
    if groups:
        table.append(("total", *[""] * (len(groups) - 1), *(str(total.as_data()[name]) for name in _NUMBERS)))
    show_table((*groups, *_NUMBERS), table, right=_NUMBERS)


def _plot(rows: list[UsageRow]) -> str:
    is_money = any(row.cost_usd > 0 for row in rows)
    drawn = []
    for row in rows:
        label = " / ".join(value or "–" for value in row.group.values()) or "all"
        tokens = row.input_tokens + row.output_tokens
        value = row.cost_usd if is_money else Decimal(tokens)
        text = f"{row.cost_usd:,.4f} USD" if is_money else f"{tokens:,} tokens"
        drawn.append((label, value, f"{text}, {row.calls:,} call{'s' * (row.calls != 1)}"))
    return bars(drawn)


def span_of(since: datetime.datetime | None, until: datetime.datetime | None, zone: datetime.tzinfo) -> tuple[int, int]:
    """From the first day to the end of the last, in milliseconds since 1970."""
    end = until + datetime.timedelta(days=1) if until is not None else None
    return _ms(since, zone) if since is not None else 0, _ms(end, zone) if end is not None else 2**62


def _ms(day: datetime.datetime, zone: datetime.tzinfo) -> int:
    return round(day.replace(tzinfo=zone).timestamp() * 1000)
