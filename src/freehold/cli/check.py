"""`freehold check`: is the configuration valid, and can nothing leave its zones?"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table, surroundings, zone_words
from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import load
from freehold.kernel.schema import json_schema
from freehold.kernel.snapshot import Snapshot
from freehold.perimeter.proof import NO_CLASS, Proof, Reach, compare, keeps, lends, prove
from freehold.pricing.book import load as load_book
from freehold.pricing.coverage import contradicting, unpriced, without_price


@click.command("check")
@config_option
@json_option
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="An older file: say what has changed since.",
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of freehold.toml and stop.")
def command(config: Path | None, as_json: bool, against: Path | None, schema: bool) -> int:
    """Check the configuration and prove the perimeter. Exit code 0: it holds; 1: a call could leave its zones; 2: not valid.

    With --against OLD: what the change newly allows and forbids; exit code 1 if it newly allows anything.
    """
    if schema:
        show_json(json_schema())
        return 0
    snapshot = Setting.find(config).snapshot()
    proof = prove(snapshot, now_s=time.time())
    if against is not None:
        return _compare(load(against, surroundings()), snapshot, as_json=as_json) or (not proof.holds)
    without = unpriced(snapshot, load_book())
    if contradicting(without):
        raise without_price(without)
    warnings = [*proof.warnings, *(one.words for one in without)]
    if as_json:
        show_json(as_data(snapshot, proof, warnings))
    else:
        _show(snapshot, proof, warnings)
    return 0 if proof.holds else 1


def _compare(old: Snapshot, new: Snapshot, *, as_json: bool) -> int:
    """Say what a change allows and forbids."""
    found = compare(old, new, now_s=time.time())
    if as_json:
        show_json(asdict(found))
    else:
        for change in found.allowed:
            click.echo(f"NEWLY ALLOWED   {change.who} → {change.where}")
        for change in found.forbidden:
            click.echo(f"newly forbidden {change.who} → {change.where}")
        for words in found.besides:
            click.echo(f"changed         {words}")
        if not (found.allowed or found.forbidden or found.besides):
            click.echo("Nothing changes in what any call can reach.")
    return 1 if found.allowed else 0


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
        "statements": statements(snapshot),
        "warnings": warnings,
        "reaches": reaches,
    }


def _show(snapshot: Snapshot, proof: Proof, warnings: list[str]) -> None:
    now = time.time()
    show_table(
        ("provider", "zone", "why"),
        [(p.name, zone_words(p, now), p.why) for p in snapshot.providers.values()],
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
    for words in statements(snapshot):
        click.echo(f"- {words}")
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


def statements(snapshot: Snapshot) -> list[str]:
    """What else holds for this configuration, in words."""
    opaque = [class_.label for class_ in Class if class_ in snapshot.detection.opaque]
    said = [
        "The highest counts of what the key, the workload, the caller's header, the detectors and a stored answer say; nothing lowers it but a transform, down to what was declared.",
        f"Pictures, sounds, documents and token lists leave only as {' or '.join(opaque) or 'no class at all'}; of a higher class they stay inside.",
        "A field that Freehold does not know holds a call inside from confidential up; a detector that fails holds it inside as restricted.",
        "No redirect is followed; no request names a host; link-local, metadata and unspecified addresses are refused in every spelling.",
    ]
    for provider in snapshot.providers.values():
        held = provider.attested
        if held is not None and provider.declared_zone is Zone.ATTESTED:
            models = f" for {', '.join(sorted(held.models))}" if held.models else ""
            said.append(
                f"{provider.name} is attested{models}: {', '.join(held.controls)}, {held.evidence[:19]}…; calls to it ask that nothing is kept."
            )
        if provider.declared_zone is Zone.INSIDE and provider.addresses:
            said.append(
                f"{provider.name} counts as inside only while {provider.host} resolves within {', '.join(map(str, provider.addresses))}."
            )
    said += [
        f"{workload.name} transforms ({workload.transform}): what only the detectors raised may leave as {workload.class_.label}, without what they found."
        for workload in snapshot.workloads.values()
        if workload.transform is not None
    ]
    said += [
        f"{name}: what is asked and answered is kept {way}, encrypted under its owner's key, for its time."
        for name, ways in keeps(snapshot).items()
        for way in sorted(ways)
    ]
    said += [
        f'{name}: lines of batches may lie at {where} until they are answered (where that costs less; batches = "none" on it forbids it).'
        for name, found in lends(snapshot).items()
        for where in sorted(found)
    ]
    lowered = [f"{type_} to {class_.label}" for type_, class_ in snapshot.detection.raises.items()]
    if lowered:
        said.append(f"This file sets what findings raise to: {', '.join(lowered)}.")
    return said


def _key(reach: Reach) -> str:
    return reach.case.key.label if reach.case.key is not None else NO_CLASS


def _targets(pairs: tuple[tuple[Any, Any], ...]) -> str:
    return ", ".join(f"{target.name} ({zone})" for target, zone in pairs) or "–"
