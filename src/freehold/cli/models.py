"""`freehold models`: what can be called, where it runs, what it costs, and what a translation for it can carry."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import click

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.gateway.policy import Prices, build_fleet
from freehold.kernel.snapshot import Snapshot
from freehold.kernel.units import Usd, show_usd
from freehold.pricing.book import Tariff
from freehold.pricing.book import load as load_book
from freehold.wire.dialects import SPOKEN
from freehold.wire.fidelity import carries, says


@click.command("models")
@config_option
@json_option
@click.option(
    "--fidelity",
    is_flag=True,
    help="Show what each provider is given of each feature when its dialect is not the caller's.",
)
@click.argument("search", default="")
def command(config: Path | None, as_json: bool, fidelity: bool, search: str) -> int:
    """List workloads and targets with zone, price and context; SEARCH keeps names that contain it."""
    snapshot, book = Setting.find(config).snapshot(), load_book()
    if fidelity:
        return _show_fidelity(snapshot, search, as_json=as_json)
    fleet, prices, now = build_fleet(snapshot, book), Prices(book, snapshot), time.time()
    rows = []
    for target, abilities in sorted(fleet.abilities.items()):
        if search.lower() not in target.name.lower():
            continue
        rates = prices.of(target)
        rows.append(
            {
                "name": target.name,
                "zone": snapshot.providers[target.provider].zone_at(now, target.model).value,
                "input_usd_per_mtok": _rate(rates, "input"),
                "output_usd_per_mtok": _rate(rates, "output"),
                "context": abilities.context,
                "price_source": rates.source if rates else None,
            }
        )
    workloads = [
        {"name": w.name, "class": w.class_.label, "targets": [t.name for t in w.targets]}
        for w in snapshot.workloads.values()
        if search.lower() in w.name.lower()
    ]
    if as_json:
        show_json({"workloads": workloads, "targets": rows})
        return 0 if rows or workloads else 1
    if workloads:
        show_table(
            ("workload", "class", "targets in order"),
            [(str(w["name"]), str(w["class"]), " → ".join(w["targets"])) for w in workloads],
        )
    shown = [
        (
            str(r["name"]),
            str(r["zone"]),
            *(
                str(r[c]) if r[c] is not None else "unknown"
                for c in ("input_usd_per_mtok", "output_usd_per_mtok", "context", "price_source")
            ),
        )
        for r in rows
    ]
    show_table(
        ("target", "zone", "USD/M in", "USD/M out", "context", "price from"),
        shown,
        right=("USD/M in", "USD/M out", "context"),
    )
    return 0 if rows or workloads else 1


def _show_fidelity(snapshot: Snapshot, search: str, *, as_json: bool) -> int:
    """The matrix for the configured providers, each in every dialect that it takes."""
    columns = {
        f"{provider.name} ({route.dialect})": carries(route.dialect, route.traits)
        for provider in snapshot.providers.values()
        if search.lower() in provider.name.lower()
        for route in provider.routes
    }
    callers = {dialect: says(dialect) for dialect in SPOKEN}
    if as_json:
        show_json({"callers": callers, "targets": columns})
        return 0 if columns else 1
    features = list(next(iter(callers.values())))
    show_table(
        ("a caller can say", *callers),
        [(feature, *("yes" if said[feature] else "-" for said in callers.values())) for feature in features],
    )
    show_table(
        ("a target is given", *columns),
        [(feature, *(column[feature].value for column in columns.values())) for feature in features],
    )
    click.echo(
        "A call in a target's own dialect passes through with nothing lost. lost: left out, and named in x-freehold-lost and in the",
        err=True,
    )
    click.echo(
        "receipt. refused: the target is not given such a call, because its answer would depend on what it never saw.",
        err=True,
    )
    return 0 if columns else 1


def _rate(rates: Tariff | None, class_: str) -> str | None:
    return show_usd(Usd(getattr(rates.tiers[0], class_) or Decimal(0))) if rates is not None else None
