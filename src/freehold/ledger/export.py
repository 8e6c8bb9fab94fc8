"""Write a bundle that anyone can verify: the logs, their checkpoints, the key, and a signed list of every file.

Rules: a record that is not asked for is there as its hash alone, so that every root can still be recomputed; a call is shown whole or not at all.
The format is docs/reference/audit-format.md; the verifier is the package `freehold_audit`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freehold.kernel.errors import CallerError
from freehold.ledger import log as logs
from freehold.ledger import record as records
from freehold.ledger.signing import Signer, checkpoints_in

FORMAT = "freehold-bundle/1"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls are shown: those with a record between two times (ms since 1970, the end exclusive), of one workload. None: all."""

    from_ms: int | None = None
    to_ms: int | None = None
    workload: str | None = None

    @property
    def is_all(self) -> bool:
        return self.from_ms is None and self.to_ms is None and self.workload is None

    def includes(self, record: dict[str, Any]) -> bool:
        at = record["at_ms"]
        in_time = (self.from_ms is None or at >= self.from_ms) and (self.to_ms is None or at < self.to_ms)
        return in_time and (self.workload is None or record.get("workload") == self.workload)


def export(folder: Path, out: Path, signer: Signer, wanted: Wanted, now_ms: int) -> int:
    """Write a bundle of the logs in a folder; returns how many records it shows. Raises CallerError if the place is taken."""
    if out.exists() and any(out.iterdir()):
        raise CallerError(f"{str(out)!r} is not empty.", code="audit.out_not_empty", hint="Name a new directory.")
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {f"{signer.name}.pub": f"{signer.public}\n".encode()}
    parent = _whole_lines(folder / "parent.log")
    files["parent.log"] = parent
    files["parent.checkpoints"] = _within(folder / "parent.checkpoints", parent.count(b"\n"))
    shown = 0
    for epoch, is_sealed in _overlapping(parent, wanted):
        path = folder / f"{epoch:08d}.jsonl"
        if is_sealed and not path.is_file():
            continue  # the verifier says that it is missing; one that has only just begun has no file yet
        lines = _whole_lines(path).splitlines()
        kept = list(_kept(lines, wanted))
        shown += sum(not line.startswith(b"#") for line in kept)
        files[f"{path.stem}.log"] = b"".join(line + b"\n" for line in kept)
        checkpoints = folder / f"{path.stem}.checkpoints"
        files[checkpoints.name] = _within(checkpoints, len(lines))
    for name, data in files.items():
        (out / name).write_bytes(data)
    listed = "".join(
        f"file {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" for name, data in sorted(files.items())
    )
    about = f"made {now_ms}\nfrom {_or_dash(wanted.from_ms)}\nto {_or_dash(wanted.to_ms)}\nworkload {_or_dash(wanted.workload)}\n"
    (out / "manifest").write_text(signer.note(f"{FORMAT}\n{about}{listed}"), encoding="utf-8")
    return shown


def _or_dash(value: object) -> object:
    return "-" if value is None else value


def _kept(lines: list[bytes], wanted: Wanted) -> Iterator[bytes]:
    if wanted.is_all:
        yield from lines
        return
    decoded = [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
    calls = {record["call"] for record in decoded if "call" in record and wanted.includes(record)}
    keys = {record["key"] for record in decoded if record.get("call") in calls}
    for record, line in zip(decoded, lines, strict=True):
        is_shown = record["call"] in calls if "call" in record else record["kind"] != "key" or record["key"] in keys
        yield line if is_shown else b"#" + records.leaf_hash(line).encode()


def _overlapping(parent: bytes, wanted: Wanted) -> list[tuple[int, bool]]:
    """The epochs that ran in the time that is asked for, and whether each is sealed, as far as the parent log was read: more may be opened meanwhile."""
    began: dict[int, int] = {}
    ended: dict[int, int] = {}
    for line in parent.splitlines():
        entry = msgspec.json.decode(line, type=dict[str, Any])
        if entry["kind"] == "epoch_opened":
            began[entry["epoch"]] = entry["at_ms"]
        elif entry["kind"] == "epoch_sealed":
            ended[entry["epoch"]] = entry["at_ms"]
    return [
        (epoch, epoch in ended)
        for epoch, at in began.items()
        if (wanted.to_ms is None or at < wanted.to_ms)
        and (wanted.from_ms is None or epoch not in ended or ended[epoch] >= wanted.from_ms)
    ]


def _whole_lines(path: Path) -> bytes:
    return b"".join(line + b"\n" for line, _ in logs.lines(path)) if path.is_file() else b""


def _within(path: Path, size: int) -> bytes:
    """The checkpoints of a log as far as it was read: the writer may have gone on meanwhile."""
    return b"".join(note for note in checkpoints_in(path) if int(note.split(b"\n")[1]) <= size)
