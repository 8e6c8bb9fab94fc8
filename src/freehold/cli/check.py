"""`freehold check`: is the configuration valid, and can nothing leave its zones?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.kernel.classes import Zone
from freehold.kernel.schema import json_schema
from freehold.kernel.snapshot import Snapshot
from freehold.perimeter.proof import NO_CLASS, Proof, Reach, prove
from freehold.pricing.book import load as load_book
from freehold.pricing.book import tariff


@click.command("check")
@config_option
@json_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of freehold.toml and stop.")
def command(config: Path | None, as_json: bool, schema: bool) -> int:
    """Check the configuration and prove the perimeter. Exit code 0: it holds; 1: a call could leave its zones; 2: not valid."""
    if schema:
        show_json(json_schema())
        return 0
    snapshot = Setting.find(config).snapshot()
    proof = prove(snapshot, now_s=time.time())
    warnings = [*proof.warnings, *unpriced(snapshot)]
    if as_json:
        show_json(as_data(snapshot, proof, warnings))
    else:
        _show(snapshot, proof, warnings)
    return 0 if proof.holds else 1


def unpriced(snapshot: Snapshot) -> list[str]:
    """Targets of workloads whose price is not known."""
    book, found = load_book(), []
    for workload in snapshot.workloads.values():
        for target in workload.targets:
            provider = snapshot.providers[target.provider]
            if (
                tariff(
                    book,
                    target.provider,
                    target.model,
                    provider.prices.get(target.model),
                    is_inside=provider.declared_zone is Zone.INSIDE,
                )
                is None
            ):
                consequence = (
                    "its calls are refused, because it has a budget"
                    if workload.budget
                    else "its calls are marked as unpriced"
                )
                found.append(f"workload {workload.name}: the price of {target.name} is unknown; {consequence}")
    return found


def as_data(snapshot: Snapshot, proof: Proof, warnings: list[str]) -> dict[str, Any]:
    """The proof as data."""
    reaches = [
        {
            "key": _key(reach),
            "bound": reach.case.bound,
            "workload": reach.case.workload,
            "class": reach.case.class_.label,
            "allowed": [t.name for t, _ in reach.allowed],
            "withheld": [t.name for t, _ in reach.withheld],
        }
        for reach in proof.reaches
    ]
    findings = [{"chain": f.chain, "reason": f.reason, "mend": f.mend} for f in proof.findings]
    return {
        "holds": proof.holds,
        "policy": snapshot.digest,
        "findings": findings,
        "warnings": warnings,
        "reaches": reaches,
    }


def _show(snapshot: Snapshot, proof: Proof, warnings: list[str]) -> None:
    now = time.time()
    show_table(
        ("provider", "zone", "why"),
        [(p.name, p.zone_at(now).value, p.why) for p in snapshot.providers.values()],
        title=f"Zones ({snapshot.source or 'no freehold.toml: looked around'})",
    )
    rows = [
        (
            _key(r),
            r.case.workload or "(by provider/model)",
            r.case.class_.label,
            _targets(r.allowed),
            _targets(r.withheld),
        )
        for r in proof.reaches
        if r.case.bound is None
    ]
    show_table(("key", "calls", "class", "can reach", "never reaches"), rows, title="Every key class × what it calls")
    for warning in warnings:
        click.echo(f"warning: {warning}")
    for finding in proof.findings:
        click.echo(f"LEAK: {finding.chain}\n  why: {finding.reason}\n  mend: {finding.mend}")
    cases = f"{len(proof.reaches)} combinations of key, bound workload and call"
    click.echo(
        f"Proven: in {cases} no call can reach a zone that its class forbids."
        if proof.holds
        else f"Not proven: {len(proof.findings)} finding{'s' * (len(proof.findings) != 1)} over {cases}."
    )


def _key(reach: Reach) -> str:
    return reach.case.key.label if reach.case.key is not None else NO_CLASS


def _targets(pairs: tuple[tuple[Any, Any], ...]) -> str:
    return ", ".join(f"{target.name} ({zone})" for target, zone in pairs) or "–"
