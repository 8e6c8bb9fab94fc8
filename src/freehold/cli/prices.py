"""`freehold prices`: what a token costs where, who says so, and what another price would have made of what was spent."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click
import msgspec

from freehold.cli import reconcile
from freehold.cli.reconcile import terms_of
from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.cli.usage import span_of
from freehold.kernel.classes import Zone
from freehold.kernel.errors import CallerError
from freehold.kernel.snapshot import Snapshot, Target
from freehold.kernel.units import Tokens, Usd, show_usd
from freehold.ledger import log as logs
from freehold.pricing.book import Book, Rates, Row, Tariff, load, read, tariff
from freehold.pricing.changes import Change, Used, reprice

_CLASSES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "audio_in", "audio_out")


@click.group("prices")
def command() -> None:
    """Show the prices in force, what others would have made of what was spent, and what a provider says it was."""


command.add_command(reconcile.command)


@command.command("show")
@config_option
@json_option
@click.argument("target", required=False)
def show(config: Path | None, as_json: bool, target: str | None) -> int:
    """Show the price of TARGET (`provider/model`; without one, of every target that a workload lists): rates, source, date, what a second source says."""
    snapshot, book = Setting.find(config).snapshot(), load()
    if target is not None:
        wanted = [_target(target, snapshot)]
    else:
        wanted = sorted({one for workload in snapshot.workloads.values() for one in workload.targets})
    rows = [as_data(one, _tariff(one, snapshot, book), book.find(one.provider, one.model)) for one in wanted]
    if as_json:
        show_json({"book": book.digest, "date": book.date, "targets": rows})
    else:
        _show(rows)
        click.echo(f"USD per million tokens. Price book of {book.date}, {book.digest[:19]}….")
    return 0 if all(row["rates"] for row in rows) else 1


def as_data(target: Target, rates: Tariff | None, row: Row | None) -> dict[str, Any]:
    """A target's price as data: each tier's own rates, and where a second source differs."""
    also = row.also if row is not None and rates is not None and rates.source != "configuration" else None
    return {
        "target": target.name,
        "source": rates.source if rates is not None else None,
        "rates": [_rates(tier) for tier in rates.tiers] if rates is not None else [],
        "hourly": str(rates.hourly) if rates is not None and rates.hourly is not None else None,
        "retires": row.retires if row is not None else None,
        "also": {"source": f"{also.source} {also.date}", "rates": [_rates(tier) for tier in also.rates]}
        if also
        else None,
        "services": {name: [_rates(tier) for tier in tiers] for name, tiers in rates.services.items()} if rates else {},
        "uplifts": {geo: f"{factor:f}" for geo, factor in rates.uplifts.items()} if rates else {},
        "off_peak": msgspec.to_builtins(rates.off_peak) if rates and rates.off_peak else None,
    }


def _rates(rates: Rates) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: f"{value.normalize():f}" for name in _CLASSES if (value := getattr(rates, name)) is not None
    }
    return found | ({"above": rates.above} if rates.above else {})


def _show(rows: list[dict[str, Any]]) -> None:
    shown = []
    for row in rows:
        if not row["rates"]:
            shown.append((row["target"], "", *[""] * 4, "unknown: calls are marked, and refused where a budget counts"))
        for at, tier in enumerate(row["rates"]):
            shown.append((row["target"] if at == 0 else "", *_cells(tier), row["source"] if at == 0 else ""))
        for service, tiers in row["services"].items():
            shown += [("", *_cells(tier, service), "") for tier in tiers]
        if row["off_peak"]:
            shown.append(("", *_cells(row["off_peak"]["rates"], "quiet hours"), "weekdays and hours: --json"))
        for geo, factor in row["uplifts"].items():
            shown.append(("", f"processed in {geo}", *[f"× {factor}"] * 4, ""))
        also = row["also"]["rates"] if row["also"] else ()
        shown += [("", *_cells(tier), f"{row['also']['source']} says") for tier in also]
        if row["retires"]:
            shown.append(("", "", *[""] * 4, f"retires {row['retires']}"))
    columns = ("target", "when", "input", "output", "cache read", "cache write", "source")
    show_table(columns, shown, right=columns[2:6])


def _cells(tier: dict[str, Any], service: str = "") -> tuple[str, ...]:
    above = f"prompts above {tier['above']:,}" if tier.get("above") else ""
    when = ", ".join(part for part in (service, above) if part)
    return when, *(tier.get(name) or "–" for name in ("input", "output", "cache_read", "cache_write"))


@command.command("diff")
@config_option
@json_option
@click.option(
    "--book", "file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Another compiled price book."
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="TARGET:CLASS=PRICE",
    help="A price in USD per million tokens, such as openai/gpt-5:output=12; may be given several times.",
)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day (default: 30 days ago).")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day.")
def diff(
    config: Path | None,
    as_json: bool,
    file: Path | None,
    changes: tuple[str, ...],
    since: datetime.datetime | None,
    until: datetime.datetime | None,
) -> int:
    """Say what other prices would have made of what was spent: those of this configuration and book now, of another book, or as you set them.

    Receipts keep what was charged when it was charged; this prices the same tokens anew. Exit code 1 if anything would have cost otherwise.
    """
    setting = Setting.find(config)
    snapshot, book = setting.snapshot(), load() if file is None else read(file.read_bytes())
    own = _overrides(changes, snapshot)
    if since is None:
        since = datetime.datetime.fromtimestamp(time.time() - 30 * 86_400, datetime.UTC).replace(tzinfo=None)
    start, end = span_of(since, until, snapshot.organisation.zone)
    known: dict[str, Tariff | None] = {}

    def tariff_of(name: str) -> Tariff | None:
        if name not in known:
            target = Target(*name.split("/", 1))
            known[name] = _changed(_tariff(target, snapshot, book), own.get(target, {}))
        return known[name]

    found = reprice(_used(setting.state / "log", start, end), tariff_of)
    for target in own.keys() - {Target(*name.split("/", 1)) for name in known}:
        click.echo(f"No call went to {target.name} in that time: its prices change nothing.", err=True)
    if as_json:
        show_json({"since_ms": start, "until_ms": end, "book": book.digest, "rows": [_change(one) for one in found]})
    else:
        _show_changes(found)
    return 1 if any(one.difference for one in found) else 0


def _show_changes(found: list[Change]) -> None:
    total = Change("total", sum(one.calls for one in found), unpriced=sum(one.unpriced for one in found))
    total.before, total.after = (
        sum((one.before for one in found), Decimal(0)),
        sum((one.after for one in found), Decimal(0)),
    )
    columns = ("target", "calls", "charged", "would be", "difference", "unpriced")
    rows = [
        (one.target, str(one.calls), *map(_usd, (one.before, one.after, one.difference)), str(one.unpriced))
        for one in (*found, total)
    ]
    show_table(columns, rows, right=columns[1:])


def _change(one: Change) -> dict[str, Any]:
    return {
        "target": one.target,
        "calls": one.calls,
        "charged_usd": _usd(one.before),
        "would_be_usd": _usd(one.after),
        "difference_usd": _usd(one.difference),
        "unpriced_calls": one.unpriced,
    }


def _usd(amount: Decimal) -> str:
    return show_usd(Usd(amount))


def _used(folder: Path, start: int, end: int) -> Iterator[Used]:
    """What was charged for what was used, from the log. A receipt whose usage was never known (a killed process) has no tokens to price anew."""
    for path in logs.segments(folder):
        for line, _ in logs.lines(path):
            if b'"kind":"settled"' not in line:
                continue
            record = msgspec.json.decode(line, type=dict[str, Any])
            if record["target"] is None or record["outcome"] == "lost" or not start <= record["at_ms"] < end:
                continue
            cost = record["cost_usd"]
            amount = Decimal(cost) if cost is not None else None
            is_correction = record.get("corrects") is not None
            yield Used(record["target"], Tokens(**record["tokens"]), amount, terms_of(record), is_correction)


def _target(text: str, snapshot: Snapshot) -> Target:
    provider, slash, model = text.partition("/")
    if not slash or not model or provider not in snapshot.providers:
        raise CallerError(
            f"{text!r} is not a target of this configuration.",
            code="prices.unknown_target",
            hint=f"Write provider/model; the providers are {', '.join(snapshot.providers)}.",
        )
    return Target(provider, model)


def _tariff(target: Target, snapshot: Snapshot, book: Book) -> Tariff | None:
    provider = snapshot.providers.get(target.provider)
    if provider is None:
        return None
    own = provider.prices.get(target.model)
    return tariff(book, target.provider, target.model, own, is_inside=provider.declared_zone is Zone.INSIDE)


def _overrides(changes: tuple[str, ...], snapshot: Snapshot) -> dict[Target, dict[str, Decimal]]:
    found: dict[Target, dict[str, Decimal]] = {}
    for text in changes:
        head, mark, price = text.rpartition("=")
        target, colon, name = head.rpartition(":")
        try:
            amount = Decimal(price)
            if not mark or not colon or name not in _CLASSES or not amount.is_finite() or amount < 0:
                raise InvalidOperation
        except InvalidOperation:
            raise CallerError(
                f"{text[:120]!r} sets no price.",
                code="prices.set",
                hint=f"Write TARGET:CLASS=PRICE; the classes are {', '.join(_CLASSES)}.",
            ) from None
        found.setdefault(_target(target, snapshot), {})[name] = amount
    return found


def _changed(rates: Tariff | None, own: dict[str, Decimal]) -> Tariff | None:
    """A tariff with some of its rates set anew, in every tier."""
    if not own:
        return rates
    tiers = rates.tiers if rates is not None else (Rates(),)
    services = rates.services if rates is not None else {}
    uplifts = rates.uplifts if rates is not None else {}
    return Tariff(
        "as set", tuple(msgspec.structs.replace(tier, **own) for tier in tiers), services=services, uplifts=uplifts
    )
