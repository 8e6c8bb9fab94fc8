"""Back up a state directory while it is used, and bring it back.

Rules: what a back-up holds is a state that a crash could have left, so a start from it finds and settles what was under way: stores first, then what
the log signs before what is signed, and the parent log before the epochs that it names. What can be made again (the index, counters, compiled rules) is
left out. A back-up holds every secret of the state directory, and is its owner's alone.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from freehold import __version__
from freehold.kernel.errors import OperatorError
from freehold.ledger import log as logs
from freehold.ledger.epochs import FILE as PARENT
from freehold.ledger.epochs import entries
from freehold.ledger.files import RESTORING, write_private

MANIFEST = "backup.json"
_LEFT_OUT = (
    "pools.db*",
    "index.db*",
    "*-wal",
    "*-shm",
    "*-journal",
    "*.lock",
    "lock",
    "handover.sock*",
    "rules-*.hsdb",
    "*.part",
    "*.new",
)
_FOLDERS_LEFT_OUT = frozenset({"log", "metrics"})
_PIECE = 1 << 20


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a back-up holds. files: by their place below the state directory, the SHA-256 of each; build: the version that made it."""

    build: str
    at_ms: int
    files: dict[str, str]


def back_up(state: Path, out: Path) -> Manifest:
    """Copy what cannot be made again into a new folder. Raises OperatorError `backup.exists`, `backup.nothing`, `backup.inside`, `backup.failed`."""
    if not (state / "store.db").is_file() and not (state / "shared.db").is_file():
        raise OperatorError(
            f"{str(state)!r} is no state directory.", code="backup.nothing", hint="Give --config, or set FREEHOLD_HOME."
        )
    if out.resolve().is_relative_to(state.resolve()):
        raise OperatorError(
            "A back-up inside the state directory would be in the next one.",
            code="backup.inside",
            hint="Name a folder elsewhere.",
        )
    try:
        out.mkdir(parents=True, mode=0o700)
        files = {name: _copied(state / name, out / name) for name in _in_order(state)}
        manifest = Manifest(
            build=__version__, at_ms=int(time.time() * 1000), files={k: v for k, v in files.items() if v}
        )
        write_private(out / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    except FileExistsError:
        raise OperatorError(
            f"{str(out)!r} is there already.", code="backup.exists", hint="Name a folder that is not."
        ) from None
    except (OSError, ValueError, sqlite3.Error) as error:
        raise _failed(
            "The back-up is not whole", error, "Check the disk and whose files they are, remove it, and try again."
        ) from None
    return manifest


def bring_back(backup: Path, state: Path) -> Manifest:
    """Put a back-up where a state directory is to be, which must be empty or missing. Raises OperatorError `backup.damaged`, `backup.exists`, `backup.failed`."""
    manifest = check(backup)
    if state.exists() and any(one.name != "lost+found" for one in state.iterdir()):
        raise OperatorError(
            f"The state directory {str(state)!r} is not empty.",
            code="backup.exists",
            hint="Move what is there away first: nothing is overwritten.",
        )
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        (state / RESTORING).touch(mode=0o600)  # until it is whole, nobody starts from it
        for name, digest in manifest.files.items():
            if _copied(backup / name, state / name, is_store=False) != digest:
                raise _damaged(name)
        for path in (state, *state.rglob("*")):
            _own(path, state.stat().st_uid, state.stat().st_gid)
        _sync(state)
        (state / RESTORING).unlink()
    except OSError as error:
        raise _failed(
            "It could not be brought back whole", error, "Check the disk, empty the directory, and try again."
        ) from None
    return manifest


def _own(path: Path, user: int, group: int) -> None:
    """What root brings back belongs to whom the directory belongs to."""
    if os.geteuid() == 0:
        os.chown(path, user, group, follow_symlinks=False)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check(backup: Path) -> Manifest:
    """Look whether a back-up is whole. Raises OperatorError `backup.damaged`."""
    try:
        manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise OperatorError(f"{str(backup)!r} is no back-up that was finished.", code="backup.damaged") from None
    for name, digest in manifest.files.items():
        try:
            is_whole = _is_below(name) and (backup / name).is_file() and _digest(backup / name) == digest
        except OSError:
            is_whole = False
        if not is_whole:
            raise _damaged(name)
    return manifest


def _in_order(state: Path) -> Iterator[str]:
    """What is copied, in the order in which it is. Raises OSError for what cannot be looked into, or leads elsewhere: to leave it out would be to lose it."""

    def refuse(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(state, onerror=refuse):
        below = Path(folder).relative_to(state)
        folders[:] = sorted(name for name in folders if below != Path() or name not in _FOLDERS_LEFT_OUT)
        for name in (*folders, *sorted(names)):
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEFT_OUT):
                continue
            if (Path(folder) / name).is_symlink() and name in folders:
                raise OSError(errno.ELOOP, "a folder that is a link")
            if name not in folders:
                yield str(below / name)
    log = state / "log"
    if not (log / PARENT).is_file():
        return
    yield "log/parent.checkpoints"
    known = {f"{entry['epoch']:08d}" for entry, _ in entries(log / PARENT)}
    yield f"log/{PARENT}"
    for path in logs.segments(log):
        if path.stem in known:
            yield f"log/{path.stem}.checkpoints"
            yield f"log/{path.name}"


def _copied(source: Path, target: Path, *, is_store: bool = True) -> str:
    """Copy a file; returns the digest of what was written, "" if it is gone."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not source.is_file():
        return ""
    if is_store and source.suffix == ".db":
        _copy_store(source, target)
        return _digest(target)
    size, hashed = source.stat().st_size, hashlib.sha256()  # no further: a log grows while it is read
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as reader, os.fdopen(fd, "wb") as writer:
        while size and (piece := reader.read(min(_PIECE, size))):
            writer.write(piece)
            hashed.update(piece)
            size -= len(piece)
        writer.flush()
        os.fsync(fd)
    return hashed.hexdigest()


def _copy_store(source: Path, target: Path) -> None:
    """Copy a SQLite file as it is at one moment, whoever writes in it."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    where = f"{source.absolute().as_uri()}?mode=ro"  # a path may hold what an address may not
    reader, writer = sqlite3.connect(where, uri=True, timeout=10.0), sqlite3.connect(target)
    try:
        reader.backup(writer)
        writer.execute("pragma journal_mode = delete")
        tables = [db.execute("select count(*) from sqlite_master").fetchone()[0] for db in (reader, writer)]
        if tables[0] != tables[1] or not tables[0]:
            raise sqlite3.DatabaseError("the copy is not what it was made from")
    finally:
        writer.close()
        reader.close()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_below(name: str) -> bool:
    """Whether a place is below the folder, whatever a manifest says."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _failed(what: str, error: Exception, hint: str) -> OperatorError:
    return OperatorError(f"{what} ({type(error).__name__}).", code="backup.failed", hint=hint)


def _damaged(name: str) -> OperatorError:
    return OperatorError(
        f"The back-up's {name[:200]!r} is missing or damaged.", code="backup.damaged", hint="Take another one."
    )
