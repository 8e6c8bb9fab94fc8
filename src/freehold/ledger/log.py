"""The log on disk: one file of lines for each epoch (a run of Freehold), append-only.

Rules: `append` gives a record its place in the chain and buffers it; `flush` hands everything to the operating system, which
survives a killed process; `sync` waits until it is on the disk, many waiters sharing one `fdatasync`. A write that fails
leaves the file as it was, and everything that is refused meanwhile was never recorded as done. A failed `fdatasync` is final for this
run: what the kernel dropped then cannot be known (fsyncgate, 2018).
What it does not know: what records mean.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from freehold.kernel.errors import OperatorError
from freehold.ledger import record as records
from freehold.ledger.merkle import Tree

_SUFFIX = ".jsonl"


def unavailable(reason: str) -> OperatorError:
    return OperatorError(
        f"The ledger cannot be written ({reason}), and nothing runs unrecorded.",
        code="ledger.unavailable",
        hint="Check the disk of the state directory.",
    )


class Log:
    """The open segment of one epoch: a chain, and a tree over it.

    link: what its first record continues, the entry of the parent log that opened the epoch.
    """

    def __init__(self, folder: Path, epoch: int, link: str) -> None:
        """Begin the epoch. The file must not exist yet."""
        self.epoch = epoch
        self.tree = Tree()
        self._seq, self._leaf = 0, link
        self._buffer: list[bytes] = []
        self._fd = os.open(
            folder / f"{self.epoch:08d}{_SUFFIX}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600
        )
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until its process ends, however it ends
        _sync_folder(folder)
        self._written = self._synced = 0
        self.synced_tree = self.tree.size, self.tree.root()  # what was on the disk when it was last waited for
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="freehold-ledger")
        self._syncing: asyncio.Future[None] | None = None
        self.failure: str | None = None
        self._is_dead = False

    def append(self, fields: dict[str, Any]) -> str:
        """Chain a record and buffer it; returns its leaf hash."""
        self._seq += 1
        fields["v"], fields["epoch"], fields["seq"], fields["prev"] = records.VERSION, self.epoch, self._seq, self._leaf
        line = records.encode(fields)
        self._leaf = records.leaf_hash(line)
        self.tree.append(bytes.fromhex(self._leaf))
        self._buffer.append(line)
        return self._leaf

    def append_now(self, fields: dict[str, Any]) -> str:
        """Append and flush; if that fails the record is taken back. Raises OperatorError `ledger.unavailable`."""
        before = (self._seq, self._leaf, self.tree.size, self.tree.peaks)
        leaf = self.append(fields)
        try:
            self.flush()
        except OperatorError:
            self._buffer.pop()
            self._seq, self._leaf, self.tree.size, self.tree.peaks = before
            raise
        return leaf

    def flush(self) -> None:
        """Hand the buffer to the operating system, all of it or nothing."""
        if self._is_dead:
            raise unavailable(self.failure or "closed")
        if not self._buffer:
            return
        data = b"\n".join((*self._buffer, b""))
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            self.failure = os.strerror(error.errno or 0)
            try:
                os.ftruncate(self._fd, self._written)
            except OSError:
                self._is_dead = True  # half a record may stand there; only recovery may touch the file now
            raise unavailable(self.failure) from None
        self._buffer.clear()
        self._written += len(data)
        self.failure = None

    def sync_now(self) -> None:
        """Bring everything to the disk before going on. Raises OperatorError."""
        self.flush()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self.failure, self._is_dead = f"fdatasync: {os.strerror(error.errno or 0)}", True
            raise unavailable(self.failure) from None
        self._synced, self.synced_tree = self._written, (self.tree.size, self.tree.root())

    async def sync(self) -> None:
        """Wait until everything flushed so far is on the disk."""
        need = self._written
        while self._synced < need:
            if self._is_dead:
                raise unavailable(self.failure or "closed")
            if self._syncing is None:
                self._syncing = asyncio.ensure_future(self._sync_once())
            await asyncio.shield(self._syncing)

    async def _sync_once(self) -> None:
        reach, size, root = self._written, self.tree.size - len(self._buffer), None
        if not self._buffer:
            root = self.tree.root()
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, os.fdatasync, self._fd)
            self._synced = max(self._synced, reach)
            if root is not None:
                self.synced_tree = size, root
        except OSError as error:
            self.failure, self._is_dead = f"fdatasync: {os.strerror(error.errno or 0)}", True
        finally:
            self._syncing = None

    def close(self) -> bool:
        """Flush, sync and close; returns whether everything is on the disk. Safe to call twice."""
        if self._fd < 0:
            return False
        try:
            self.flush()
            os.fdatasync(self._fd)
        except (OperatorError, OSError):
            is_whole = False  # recovery settles what is missing
        else:
            is_whole = True
        self.leave()
        return is_whole

    def leave(self) -> None:
        """Close without writing anything."""
        self._disk.shutdown(wait=False)
        os.close(self._fd)
        self._fd, self._is_dead = -1, True


def is_written(path: Path) -> bool:
    """Whether a living process has a segment open to write in it."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}"))


def lines(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """Whole lines of a segment from an offset, each with the offset behind it; a torn last line is not given."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield line[:-1], offset


def cut_torn_line(path: Path) -> int:
    """Remove bytes behind the last line break (a write that a crash cut short); returns how many."""
    end = 0
    for _, behind in lines(path):
        end = behind
    torn = path.stat().st_size - end
    if torn:
        with path.open("r+b") as file:
            file.truncate(end)
            os.fsync(file.fileno())
    return torn


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
