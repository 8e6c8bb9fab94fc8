"""The parent log: which epochs there were, and what each came to. An epoch is one run of one process, with a log of its own.

Rules: an epoch's log begins with a link to the entry that opened it, and ends with an entry that says how many records it has and under which
root; an epoch whose process was killed is sealed when its calls have been settled. So several processes never write into one tree, and none can be
left out. The epochs of one run (of a supervisor and its workers) may be open at the same time; those of an earlier run are all sealed.
Where the signing key is exchanged, an entry names the new one and is signed by the old.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from freehold.kernel.errors import OperatorError
from freehold.ledger import log as logs
from freehold.ledger import record as records
from freehold.ledger.files import append_synced
from freehold.ledger.merkle import Tree
from freehold.ledger.signing import Signer, cut_torn_checkpoint

FILE = "parent.log"


class Epochs:
    """The parent log of a state directory. Whoever has the directory's lock may write."""

    def __init__(self, folder: Path, signer: Signer, run: int | None = None) -> None:
        """run: the one that goes on, where epochs of it are still written; else a new one begins."""
        self._folder, self._signer = folder, signer
        self._path = folder / FILE
        if self._path.is_file():
            logs.cut_torn_line(self._path)
            cut_torn_checkpoint(folder / "parent.checkpoints")
        self._tree, self._prev = Tree(), records.GENESIS
        self.open: set[int] = set()
        self._run = 1
        self._key: str | None = None  # the one that was last handed over to
        self.last = 0
        for entry, line in entries(self._path):
            self._take(entry, line)
            self._run = max(self._run, entry.get("run", 0) + 1)
        self._run = run or self._run
        if self._key not in (None, signer.public):
            raise OperatorError(
                "signing.key is not the key that the log was handed over to.",
                code="ledger.broken",
                hint="Restore signing.key (or signing.next) of the state directory from a backup.",
            )

    @property
    def run(self) -> int:
        return self._run

    def begin(self, now_ms: int) -> tuple[int, str]:
        """Open the next epoch; returns its number and the link that its log begins with."""
        epoch = max(self.last, _highest(self._folder)) + 1
        self._append({"kind": "epoch_opened", "epoch": epoch, "at_ms": now_ms, "run": self._run})
        self._sign()
        return epoch, self._prev

    def hand_over(self, to: Signer, now_ms: int) -> None:
        """Let another key sign from here on. The caller must keep `to` before, and use it after. Raises OperatorError while an epoch is open."""
        if self.open:
            raise OperatorError(
                "Freehold was not stopped in order, and its last calls are not settled yet.",
                code="ledger.unsealed",
                hint="Start it once and stop it, then exchange the key.",
            )
        entry = {
            "kind": "key_rotated",
            "epoch": self.last,
            "at_ms": now_ms,
            "from": self._signer.public,
            "to": to.public,
        }
        entry["signature"] = self._signer.hand_over(self._prev, to.public)
        self._append(entry)
        self._signer = to
        self._sign()

    def seal(self, epoch: int, now_ms: int) -> None:
        """Say what an epoch came to. Where that was said already, and a full disk kept it from being signed, it is signed."""
        path = self._folder / f"{epoch:08d}.jsonl"
        path.touch(mode=0o600)  # a process that was killed before its first record has a log too, and nothing in it
        cut_torn_checkpoint(path.with_suffix(".checkpoints"))
        tree = tree_of(path)
        if epoch in self.open:
            root = tree.root().hex()
            self._append({"kind": "epoch_sealed", "epoch": epoch, "at_ms": now_ms, "size": tree.size, "root": root})
        self._sign()
        sign(self._folder, self._signer, path.stem, tree.size, tree.root())

    def _append(self, entry: dict[str, Any]) -> None:
        entry |= {"v": records.VERSION, "n": self._tree.size + 1, "prev": self._prev}
        line = records.encode(entry)
        try:
            append_synced(self._path, line + b"\n")
        except OSError as error:
            raise logs.unavailable(str(error.strerror)) from None
        self._take(entry, line)

    def _take(self, entry: dict[str, Any], line: bytes) -> None:
        self._prev = records.leaf_hash(line)
        self._tree.append(bytes.fromhex(self._prev))
        epoch = entry["epoch"]
        self.last = max(self.last, epoch)
        match entry["kind"]:
            case "key_rotated":
                self._key = entry["to"]
            case "epoch_opened":
                self.open.add(epoch)
            case _:
                self.open.discard(epoch)

    def _sign(self) -> None:
        sign(self._folder, self._signer, "parent", self._tree.size, self._tree.root())


def entries(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The entries of a parent log, each with its bytes. Raises OperatorError for a line that is none."""
    if not path.is_file():
        return
    for line, _ in logs.lines(path):
        try:
            yield msgspec.json.decode(line, type=dict[str, Any]), line
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise OperatorError(
                f"{path.name} holds a line that is no entry.", code="ledger.broken", hint="Restore it from a backup."
            ) from None


def tree_of(path: Path) -> Tree:
    """The tree over a segment's records."""
    return Tree(bytes.fromhex(records.leaf_hash(line)) for line, _ in logs.lines(path))


def sign(folder: Path, signer: Signer, log: str, size: int, root: bytes) -> None:
    """Write a checkpoint of a log: of the parent, or of an epoch."""
    append_synced(folder / f"{log}.checkpoints", signer.checkpoint(log, size, root).encode() + b"\n")


def _highest(folder: Path) -> int:
    paths = logs.segments(folder)
    return int(paths[-1].stem) if paths else 0
