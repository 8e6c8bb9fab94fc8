"""Where runs are kept: one folder for each seal, with the seal, the outcomes as numbers, the verdict and the report. What was answered lies in the sealed store.

Rules: a seal is written before anything is asked and never again; who looks at one is shown the others of the same cases, so that a margin which was changed
after looking can be seen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freehold.evals.datasets import Case
from freehold.evals.outcomes import Row
from freehold.evals.tasks import Seal, Task, digest_of
from freehold.kernel.errors import CallerError, OperatorError

_NAMED = 16  # characters of a digest that name a folder


class Kept(msgspec.Struct, frozen=True):
    """A run that is kept. verdict: None while it is not over."""

    seal: Seal
    verdict: dict[str, Any] | None

    @property
    def name(self) -> str:
        return name_of(self.seal.digest)


def name_of(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_NAMED]


@dataclass(frozen=True)
class Shelf:
    """The runs of one state directory."""

    folder: Path

    def seal(
        self, task: Task, cases: Sequence[Case], dataset: str, files: dict[str, str], *, now: str, version: str
    ) -> Seal:
        """Seal a task, or find the seal that it has. Raises OperatorError where it cannot be written."""
        digest = digest_of(task, dataset, files)
        place = self.place(digest)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.mkdir(exist_ok=True, mode=0o700)
            if not (place / "seal.json").is_file():
                had = any(one.seal.dataset == dataset for one in self.kept())
                seal = Seal(digest, task.name, dataset, files, len(cases), task.margin, task.sides, now, version, had)
                _write(place / "task.json", msgspec.json.format(msgspec.json.encode(task)))
                _write(place / "seal.json", msgspec.json.format(msgspec.json.encode(seal)))
            return msgspec.json.decode((place / "seal.json").read_bytes(), type=Seal)
        except OSError as error:
            raise OperatorError(f"{str(place)!r} cannot be written ({os.strerror(error.errno or 0).lower()}).", code="verdict.shelf") from None  # fmt: skip

    def place(self, digest: str) -> Path:
        return self.folder / name_of(digest)

    def keep(self, seal: Seal, rows: Iterable[Row], verdict: dict[str, Any], files: dict[str, str]) -> None:
        """Keep what a run found. files: its report, by name."""
        place = self.place(seal.digest)
        lines = b"\n".join(
            msgspec.json.encode({name: value for name, value in msgspec.to_builtins(row).items() if value is not None})
            for row in rows
        )
        _write(place / "outcomes.jsonl", lines + b"\n")
        _write(place / "verdict.json", json.dumps(verdict, indent=2, ensure_ascii=False).encode())
        for name, text in files.items():
            _write(place / name, text.encode())

    def kept(self) -> list[Kept]:
        """Every run, the newest first."""
        found = []
        for path in self.folder.glob("*/seal.json"):
            try:
                seal = msgspec.json.decode(path.read_bytes(), type=Seal)
                verdict = path.with_name("verdict.json")
                found.append(Kept(seal, json.loads(verdict.read_bytes()) if verdict.is_file() else None))
            except (OSError, ValueError):
                continue  # half a folder, or somebody else's file
        return sorted(found, key=lambda one: one.seal.sealed_at, reverse=True)

    def find(self, name: str) -> Kept:
        """The run of a seal's beginning, or the newest of a task's name. Raises CallerError `verdict.unknown`."""
        kept = self.kept()
        found = [one for one in kept if name and one.name.startswith(name.removeprefix("sha256:"))] or [
            one for one in kept if one.seal.task == name
        ]
        if not found:
            raise CallerError(
                f"No run is called {name!r}.", code="verdict.unknown", hint="'freehold verdict show' lists them."
            )
        return found[0]

    def beside(self, seal: Seal) -> list[Kept]:
        """Other seals of the same cases."""
        return [one for one in self.kept() if one.seal.dataset == seal.dataset and one.seal.digest != seal.digest]


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.chmod(0o600)
    part.replace(path)
