"""`freehold audit`: what the log can prove."""

from __future__ import annotations

import csv
import datetime
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from freehold.cli.setting import Setting, config_option, json_option, show_json
from freehold.content.keyring import Keyring
from freehold.kernel.errors import CallerError
from freehold.ledger import log as logs
from freehold.ledger import record as records
from freehold.ledger.export import Wanted, export
from freehold.ledger.files import secret_file
from freehold.ledger.merkle import Tree, inclusion
from freehold.ledger.rotation import rotate, signer_in_force

DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group("audit")
def command() -> None:
    """Export what happened, explain a receipt, verify a bundle, erase a subject, exchange the signing key."""


@command.command("export")
@config_option
@json_option
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A new directory for the bundle."
)
@click.option("--from", "since", type=DAY, help="First day or time (UTC).")
@click.option("--to", "until", type=DAY, help="Last day (UTC), or the time before which it ends.")
@click.option("--workload", help="Only calls of this workload; of the others only hashes.")
def export_bundle(
    config: Path | None,
    as_json: bool,
    out: Path,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    workload: str | None,
) -> int:
    """Write a bundle that anyone can verify, with its public key as *.pub."""
    state = _state(config)
    whole_day = until is not None and until.time() == datetime.time()
    wanted = Wanted(
        _ms(since), _ms(until + datetime.timedelta(days=1) if until is not None and whole_day else until), workload
    )
    if wanted.from_ms is not None and wanted.to_ms is not None and wanted.from_ms >= wanted.to_ms:
        raise CallerError("--from is not before --to.", code="audit.period", hint="Give the earlier day first.")
    signer = signer_in_force(state)
    shown = export(state / "log", out, signer, wanted, int(time.time() * 1000))
    if as_json:
        show_json({"out": str(out), "records": shown, "key": signer.public})
    else:
        click.echo(
            f"{shown} records in {out}\nkey  {signer.public}\nVerify it anywhere: freehold audit verify {out} --trust KEY"
        )
    return 0


@command.command("verify", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def verify_bundle(arguments: tuple[str, ...]) -> int:
    """Verify a BUNDLE: --trust KEY or FILE, --promises FILE, --checkpoints FILE, --json. The same as python -m freehold_audit.

    Exit code 0: it holds; 1: it does not; 2: this is no bundle.
    """
    from freehold_audit.__main__ import run  # the verifier is a package of its own, which knows nothing of this one

    return run(list(arguments))


@command.command("show")
@config_option
@json_option
@click.argument("call")
def show(config: Path | None, as_json: bool, call: str) -> int:
    """Explain a CALL (its id, or a receipt's leaf): every record, and the proof that it stands in the log."""
    folder = _state(config) / "log"
    for path in logs.segments(folder):
        lines = [line for line, _ in logs.lines(path)]
        leaves = [bytes.fromhex(records.leaf_hash(line)) for line in lines]
        wanted = _call_of(call, lines, leaves)
        places = [at for at, line in enumerate(lines) if wanted and f'"call":"{wanted}"'.encode() in line]
        if not places:
            continue
        root = Tree(leaves).root().hex()
        found = [
            {
                "record": json.loads(lines[at]),
                "leaf": leaves[at].hex(),
                "at": at,
                "proof": [one.hex() for one in inclusion(leaves, at)],
            }
            for at in places
        ]
        if as_json:
            show_json({"log": path.stem, "size": len(leaves), "root": root, "records": found})
        else:
            _explain(path.stem, len(leaves), root, found)
        return 0
    raise CallerError(
        f"No call {call!r} is in the log.", code="audit.unknown_call", hint="Its id stands in x-freehold-call-id."
    )


def _call_of(text: str, lines: list[bytes], leaves: list[bytes]) -> str:
    if text.startswith("call_"):
        return text
    at = next((at for at, leaf in enumerate(leaves) if leaf.hex() == text.lower()), None)
    return str(json.loads(lines[at]).get("call", "")) if at is not None else ""


def _explain(log: str, size: int, root: str, found: list[dict[str, Any]]) -> None:
    for one in found:
        record = one["record"]
        at = datetime.datetime.fromtimestamp(record["at_ms"] / 1000, datetime.UTC).isoformat(timespec="milliseconds")
        if record["kind"] == "intent":
            agreed = f", under {record['attestation']['evidence'][:19]}…" if record.get("attestation") else ""
            if made := record.get("transform"):
                taken = ", ".join(f"{count} {type_}" for type_, count in sorted(made["counts"].items()))
                agreed += f", without what was found ({made['kind']}: {taken}; {made['from']} before)"
            click.echo(
                f"{at}  attempt {record['attempt']}: allowed to go {record['zone']} as {record['class']}, to {record['target']}{agreed}"
            )
        else:
            click.echo(
                f"{at}  {record['kind']}: {record.get('outcome', '')} {record.get('code') or ''} {record.get('status', '')}".rstrip()
            )
            for reason in record.get("reasons") or ():
                click.echo(f"    because {reason}")
            if record.get("labels"):
                click.echo(f"    labels {', '.join(record['labels'])}")
        click.echo(
            f"    leaf {one['leaf']}  (record {one['at'] + 1} of {size} in log {log}, {len(one['proof'])} hashes up to the root)"
        )
    click.echo(f"root {root}")


@command.command("erase")
@config_option
@json_option
@click.argument("subject")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(config: Path | None, as_json: bool, subject: str, yes: bool) -> int:
    """Destroy the key of a SUBJECT (a caller key's id): what was kept or committed to under it can never be told again.

    The log stays whole and verifies as before; a running Freehold forgets the key within a second and writes the erasure down.
    """
    if not yes:
        click.confirm(
            f"Destroy for good what {subject} was sealed and committed under? (The caller's own key goes on working; 'freehold keys revoke' ends it.)",
            abort=True,
            err=True,
        )
    keyring = Keyring(_state(config) / "subjects.db", secret_file(_state(config) / "master.key"))
    try:
        done = keyring.erase(subject, int(time.time() * 1000))
    finally:
        keyring.close()
    if as_json:
        show_json({"subject": subject, "erased": done})
    else:
        click.echo(f"The key of {subject} is destroyed." if done else f"There was no key of {subject}.")
    return 0 if done else 1


@command.command("rotate")
@config_option
@json_option
def rotate_key(config: Path | None, as_json: bool) -> int:
    """Exchange the key that signs the log, while Freehold is stopped. The old key signs that it hands over; the new one signs from here on.

    Give the new signing.pub to whoever verifies: a bundle holds under either, and only the new one shows that the old was not used again.
    """
    old, new = rotate(_state(config), int(time.time() * 1000))
    if as_json:
        show_json({"from": old.public, "to": new.public})
    else:
        click.echo(
            f"old  {old.public}\nnew  {new.public}\nThe old key is destroyed; give the new one to whoever verifies."
        )
    return 0


@command.command("reconcile")
@config_option
@json_option
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def reconcile(config: Path | None, as_json: bool, file: Path) -> int:
    """Compare the log with an independent count: FILE is an egress proxy's log or a provider's export, as CSV or JSON lines.

    A row needs a time (`at`, `time`, `timestamp`: ISO 8601 or seconds) and a `host`, `url` or `provider`. Exit code 1 if they differ.
    """
    setting = Setting.find(config)
    _state(config)
    names = {provider.host: provider.name for provider in setting.snapshot().providers.values()}
    rows = [(_when(row), _whom(row, names)) for row in _rows(file)]
    if not rows:
        raise CallerError(f"{file.name} holds no row.", code="audit.empty", hint="CSV with a header, or JSON lines.")
    first, last = min(at for at, _ in rows), max(at for at, _ in rows)
    there = Counter(name for _, name in rows)
    here = Counter(
        str(record["target"]).partition("/")[0]
        for record in _records(setting.state / "log")
        if record["kind"] == "intent" and first - 60_000 <= record["at_ms"] <= last + 60_000
    )
    found: list[dict[str, Any]] = [
        {"provider": name, "here": here[name], "there": there[name], "difference": there[name] - here[name]}
        for name in sorted(there)
    ]
    unheard = [
        {"provider": name, "here": here[name], "there": None, "difference": None}
        for name in sorted(set(here) - set(there))
    ]
    differs = [row for row in found if row["difference"]]
    if as_json:
        show_json({"from_ms": first, "to_ms": last, "rows": found + unheard})
    else:
        for row in found:
            more = (
                "more than the log knows: something went around it"
                if row["difference"] > 0
                else "fewer than the log says were sent"
            )
            click.echo(_difference(row, more))
        for row in unheard:
            click.echo(f"{row['provider']}: {row['here']} here; {file.name} says nothing of it")
    return 1 if differs else 0


def _difference(row: dict[str, Any], more: str) -> str:
    said = f"{row['provider']}: {row['here']} here, {row['there']} there"
    return f"{said}; {abs(row['difference'])} {more}" if row["difference"] else f"{said}; equal"


def _rows(file: Path) -> Iterator[dict[str, str]]:
    text = file.read_text(encoding="utf-8", errors="replace")
    if text.lstrip().startswith("{"):
        yield from (json.loads(line) for line in text.splitlines() if line.strip())
    else:
        yield from csv.DictReader(text.splitlines())


def _when(row: dict[str, Any]) -> int:
    value = next((row[name] for name in ("at", "time", "timestamp") if row.get(name)), None)
    try:
        if value is None:
            raise ValueError
        seconds = float(value)
        return int(seconds if seconds > 1e11 else seconds * 1000)
    except ValueError:
        try:
            return int(datetime.datetime.fromisoformat(str(value)).timestamp() * 1000)
        except ValueError:
            raise CallerError(
                f"A row has no time that can be read ({sorted(row)[:6]}).",
                code="audit.row",
                hint="ISO 8601, or seconds since 1970.",
            ) from None


def _whom(row: dict[str, Any], names: dict[str, str]) -> str:
    host = str(row.get("host") or urlsplit(str(row.get("url") or "")).hostname or "").partition(":")[0]
    return str(row.get("provider") or names.get(host) or host or "unknown")


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in logs.segments(folder):
        for line, _ in logs.lines(path):
            yield json.loads(line)


def _state(config: Path | None) -> Path:
    state = Setting.find(config).state
    if not (state / "log").is_dir():
        raise CallerError(
            f"There is no log in {str(state)!r}.",
            code="audit.no_log",
            hint="Start 'freehold up' first, or set FREEHOLD_HOME.",
        )
    return state


def _ms(moment: datetime.datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=datetime.UTC).timestamp() * 1000)
