"""Small files of the state directory: secrets, and what must be written whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from freehold.kernel.errors import OperatorError

RESTORING = "restoring"  # in a state directory that a back-up is being brought back to


def secret_file(path: Path) -> bytes:
    """Read a secret of 32 bytes, or make it (readable by its owner only)."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != 32:
            raise OperatorError(
                f"{path.name} in the state directory is damaged.",
                code="ledger.broken",
                hint="Restore it from a backup.",
            ) from None
        return secret
    secret = os.urandom(32)
    with os.fdopen(fd, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(fd)
    return secret


def write_private(path: Path, data: bytes) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    part.replace(path)


def written_once(path: Path, data: bytes) -> bytes:
    """What a file holds; it is made with this data if it is missing, whole, and once however many ask at the same time."""
    if not path.exists():
        part = path.with_name(f"{path.name}.{os.getpid()}.new")
        write_private(part, data)
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
        part.unlink()
    return path.read_bytes()


def append_synced(path: Path, data: bytes) -> None:
    """Append to a file and wait until it is on the disk: whole, or not at all."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    size = os.fstat(fd).st_size
    try:
        done = os.write(fd, data)
        if done != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
        raise
    finally:
        os.close(fd)


def take_lock(state: Path, name: str = "lock", *, wait_s: float = 0.0) -> int:
    """A lock in a state directory, held until the descriptor is closed: its own, or that of one task. wait_s: how long whoever has it may take to let
    go. Raises OperatorError `ledger.locked`.
    """
    fd = os.open(state / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            os.close(fd)
            raise OperatorError(
                f"Another Freehold already uses the state directory {str(state)!r}.",
                code="ledger.locked",
                hint="Take its place with --take-over, stop it, or set FREEHOLD_HOME to another directory.",
            ) from None
