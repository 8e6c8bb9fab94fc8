"""python -m freehold_audit BUNDLE [--trust KEY|FILE] [--promises FILE] [--checkpoints FILE] [--json]

Exit code 0: it holds; 1: it does not; 2: this is no bundle. A file of promises holds `LOG LEAF SIGNATURE`, one a line.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from freehold_audit.report import Report, Unreadable
from freehold_audit.verifying import Expected, verify

_SHOWN = 25


def run(arguments: list[str]) -> int:
    """The whole command line; returns its exit code."""
    parser = argparse.ArgumentParser(prog="freehold_audit", description="Verify an exported bundle.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--trust", help="the verifier key that must have signed it, or a file that holds it")
    parser.add_argument("--promises", type=Path, help="promises that were kept: LOG LEAF SIGNATURE, one a line")
    parser.add_argument("--checkpoints", type=Path, help="checkpoints that were kept on an earlier day")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    given = parser.parse_args(arguments)
    try:
        trust = given.trust
        if trust is not None and "+" not in trust and not Path(trust).is_file():
            raise Unreadable(f"--trust is neither a verifier key nor a file: {trust}")
        if trust is not None and Path(trust).is_file():
            trust = Path(trust).read_text(encoding="utf-8")
        rows = (
            [line.split() for line in given.promises.read_text(encoding="utf-8").splitlines() if line.strip()]
            if given.promises
            else []
        )
        if any(len(row) != 3 for row in rows):
            raise Unreadable("a promise is LOG LEAF SIGNATURE")
        promises = tuple((log, leaf, signature) for log, leaf, signature in rows)
        kept = given.checkpoints.read_text(encoding="utf-8") if given.checkpoints else ""
        report = verify(given.bundle, trust=trust, expected=Expected(promises, kept))
    except (Unreadable, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(
        json.dumps({**asdict(report), "holds": report.holds}, indent=2) + "\n" if given.json else in_words(report)
    )
    return 0 if report.holds else 1


def in_words(report: Report) -> str:
    """The report for a person."""
    counts = report.counts
    sent = ", ".join(
        f"{count} {name.removeprefix('calls ')}" for name, count in sorted(counts.items()) if name.startswith("calls ")
    )
    lines = [
        (
            f"{_counted(counts.get('records', 0), 'record')} in {_counted(counts.get('epochs', 0), 'epoch')}, "
            f"{_counted(counts.get('checkpoints', 0), 'signed checkpoint')}, {_counted(counts.get('files', 0), 'file')}"
        ),
        f"calls: {sent or 'none'}",
        f"key: {report.key}{' (trusted)' if report.is_trusted else ''}",
    ]
    if withheld := counts.get("records withheld"):
        lines.append(f"withheld: {_counted(withheld, 'record')}, here as hashes; what they say was not checked")
    lines += [f"note: {note}" for note in report.notes[:20]]
    lines += [f"FINDING {one.where}: {one.what}" for one in report.findings[:_SHOWN]]
    if len(report.findings) > _SHOWN:
        lines.append(
            f"… and {len(report.findings) - _SHOWN} more, which often follow from the first; --json has them all"
        )
    if report.holds:
        lines.append(
            "Holds: every byte is covered, every record stands where it was signed, and no call that is shown went where its class forbids."
        )
    else:
        lines.append(f"Does not hold: {len(report.findings)} finding{'s' * (len(report.findings) != 1)}.")
    return "\n".join(lines) + "\n"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
