"""Where runs are kept: one folder for each seal, with the seal, the outcomes as numbers, the verdict and the report. What was answered lies in the sealed store.

Rules: a seal is written before anything is asked and never again; who looks at one is shown the others of the same cases, so that a margin which was changed
after looking can be seen.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freehold.evals.datasets import Case, questions_of
from freehold.evals.datasets import digest_of as dataset_of
from freehold.evals.outcomes import Row
from freehold.evals.tasks import Seal, Task, digest_of
from freehold.kernel.errors import CallerError, OperatorError

_NAMED = 16  # characters of a digest that name a folder
_ALIKE = 0.1  # of the questions


class Kept(msgspec.Struct, frozen=True):
    """A run that is kept. verdict: None while it is not over; asked: its questions; is_whole: whether seal and verdict are as they were written."""

    seal: Seal
    verdict: dict[str, Any] | None
    asked: frozenset[str]
    is_whole: bool

    @property
    def has_answers(self) -> bool:
        return self.verdict is not None

    @property
    def name(self) -> str:
        return name_of(self.seal.digest)


def name_of(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_NAMED]


@dataclass(frozen=True)
class Shelf:
    """The runs of one state directory. key: 32 secret bytes that mark its seals."""

    folder: Path
    key: bytes

    def seal(
        self, task: Task, cases: Sequence[Case], files: dict[str, str], *, now: str, version: str, had: bool = False
    ) -> Seal:
        """Seal a task, or find the seal that it has. had: whether answers to its questions are known to be there. Raises OperatorError where it cannot be written, or was changed by hand."""
        dataset = dataset_of(cases)
        digest, asked = digest_of(task, dataset, files), questions_of(cases)
        place = self.place(digest)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.mkdir(exist_ok=True, mode=0o700)
            if not (place / "seal.json").is_file():
                had = had or any(one.has_answers for one in self._alike(asked, digest))
                seal = Seal(digest, task.name, dataset, files, len(cases), task.margin, task.sides, now, version, had)
                _write(place / "questions", "\n".join(sorted(asked)).encode())
                _write(place / "seal.json", msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(seal, mark=self._mark(seal)))))  # fmt: skip
            found = self._read(place)
        except OSError as error:
            raise OperatorError(f"{str(place)!r} cannot be written ({os.strerror(error.errno or 0).lower()}).", code="verdict.shelf") from None  # fmt: skip
        if found is None or not found.is_whole or (found.seal.margin, found.seal.dataset) != (task.margin, dataset):
            raise OperatorError(f"The seal in {place.name!r} was changed by hand, or is damaged.", code="verdict.seal", hint="Put back what it was, or change the task: it is sealed anew then.")  # fmt: skip
        return found.seal

    def _mark(self, told: Any) -> str:
        plain = msgspec.to_builtins(told)
        return hmac.digest(self.key, msgspec.json.encode({**plain, "mark": ""}, order="sorted"), "sha256").hex()

    def _read(self, place: Path) -> Kept | None:
        """A run; None for half a folder, or somebody else's."""
        try:
            seal = msgspec.json.decode((place / "seal.json").read_bytes(), type=Seal)
            verdict = place / "verdict.json"
            told = msgspec.json.decode(verdict.read_bytes(), type=dict[str, Any]) if verdict.is_file() else None
            asked = frozenset((place / "questions").read_text(encoding="ascii").split())
        except (OSError, ValueError, msgspec.MsgspecError):
            return None
        is_whole = hmac.compare_digest(seal.mark, self._mark(seal))
        if told is not None:
            is_whole &= hmac.compare_digest(str(told.get("mark")), self._mark(told))
        return Kept(seal, told, asked, is_whole)

    def _alike(self, asked: frozenset[str], but: str) -> list[Kept]:
        """Other runs that ask a tenth of the same questions, or more."""
        return [one for one in self.kept() if one.seal.digest != but and len(one.asked & asked) >= _ALIKE * len(asked)]

    def place(self, digest: str) -> Path:
        return self.folder / name_of(digest)

    def looks(self, seal: Seal, labels: str) -> int:
        """Write down that a verdict was looked at with these labels; returns how many different ones there have been before."""
        path = self.place(seal.digest) / "looks"
        seen = path.read_text(encoding="ascii").split() if path.is_file() else []
        if labels in seen:
            return seen.index(labels)
        with path.open("a", encoding="ascii") as file:
            file.write(f"{labels}\n")
        return len(seen)

    def keep(self, seal: Seal, rows: Iterable[Row], verdict: dict[str, Any], files: dict[str, str]) -> None:
        """Keep what a run found. files: its report, by name."""
        place = self.place(seal.digest)
        lines = b"\n".join(
            msgspec.json.encode({name: value for name, value in msgspec.to_builtins(row).items() if value is not None})
            for row in rows
        )
        _write(place / "outcomes.jsonl", lines + b"\n")
        _write(
            place / "verdict.json",
            json.dumps({**verdict, "mark": self._mark(verdict)}, indent=2, ensure_ascii=False).encode(),
        )
        for name, text in files.items():
            _write(place / name, text.encode())

    def kept(self) -> list[Kept]:
        """Every run, the newest first."""
        places = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        found = [kept for place in places if place.is_dir() and (kept := self._read(place)) is not None]
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
        """Other seals of the same questions."""
        own = self._read(self.place(seal.digest))
        return self._alike(own.asked, seal.digest) if own is not None else []


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.chmod(0o600)
    part.replace(path)
