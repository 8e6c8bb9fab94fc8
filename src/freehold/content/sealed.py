"""The sealed store: files under their subjects' keys, each with a lifetime. Whatever keeps content keeps it here and nowhere else.

Format: a head of one line of JSON (version, subject, kind, until when), then chunks of AES-256-GCM; the key of a file is derived from its
subject's key and the file's own salt (HKDF), the nonce counts the chunks and marks the last one, and the head is authenticated with each. So a
file cannot be cut, joined, reordered or read under another head, and it is never in memory or on disk in the clear as a whole. A journal has
records of any size instead of chunks, each behind its length, and no last one, because nobody knows when a process will be killed.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from freehold.content.keyring import Keyring
from freehold.kernel.errors import CallerError

CHUNK = 64 * 1024
_TAG = 16
_LENGTH = 4
_ABANDONED_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a sealed file without its key. until_ms: from when on it is gone (ms since 1970)."""

    subject: str
    kind: str
    until_ms: int
    salt: str

    def line(self) -> bytes:
        fields = {"v": 1, "kind": self.kind, "salt": self.salt, "subject": self.subject, "until_ms": self.until_ms}
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"


class SealedStore:
    """Files in one folder. Not for use from several threads."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._keyring = folder, keyring

    def keep(self, subject: str, kind: str, parts: Iterable[bytes], *, until_ms: int, is_durable: bool = True) -> str:
        """Seal bytes as they come; returns the id under which they are found again. is_durable: wait until they are on the disk."""
        writer = self.begin(subject, kind, until_ms=until_ms)
        try:
            for part in parts:
                writer.write(part)
            return writer.commit(is_durable=is_durable)
        except BaseException:
            writer.abort()
            raise

    def begin(self, subject: str, kind: str, *, until_ms: int) -> Writer:
        """Begin a file whose bytes come by and by. The writer asks for no key, so any thread may go on with it."""
        head = Head(subject, kind, until_ms, os.urandom(16).hex())
        return Writer(self._folder, os.urandom(16).hex(), self._cipher(head), head.line())

    def read(self, about: str, now_ms: int) -> Iterator[bytes]:
        """The bytes, chunk by chunk. Raises CallerError `content.gone` when their time is over, they were erased, or were tampered with."""
        path = self._path(about)
        with path.open("rb") as file:
            head, line = _head(file)
            if now_ms >= head.until_ms or not self._keyring.has(head.subject):
                raise _gone()
            cipher, number = self._cipher(head), 0
            chunk = file.read(CHUNK + _TAG)
            while True:
                following = file.read(CHUNK + _TAG)
                try:
                    yield cipher.decrypt(_nonce(number, not following), chunk, line)
                except InvalidTag:
                    raise _gone() from None
                if not following:
                    return
                chunk, number = following, number + 1

    def begin_journal(self, subject: str, kind: str, *, until_ms: int) -> Journal:
        """Begin a file whose records must outlive this process one by one."""
        head = Head(subject, kind, until_ms, os.urandom(16).hex())
        return Journal(self._folder, os.urandom(16).hex(), self._cipher(head), head.line())

    def records(self, about: str, now_ms: int) -> Iterator[bytes]:
        """The records of a journal, whole ones only: what a killed process wrote half is not there. Raises CallerError `content.gone`."""
        with self._path(about).open("rb") as file:
            head, line = _head(file)
            if now_ms >= head.until_ms or not self._keyring.has(head.subject):
                raise _gone()
            cipher = self._cipher(head)
            for number in itertools.count():
                size = int.from_bytes(file.read(_LENGTH), "big")
                sealed = file.read(size)
                if not size or len(sealed) < size:
                    return
                try:
                    yield cipher.decrypt(_nonce(number, is_last=False), sealed, line)
                except InvalidTag:
                    raise _gone() from None

    def head(self, about: str) -> Head:
        """What is known of a file. Raises CallerError `content.gone`."""
        with self._path(about).open("rb") as file:
            return _head(file)[0]

    def drop(self, about: str) -> None:
        """Remove a file; what is not there any more is none."""
        with contextlib.suppress(CallerError):
            self._path(about).unlink(missing_ok=True)

    def generation(self, subject: str) -> bytes | None:
        """What tells a subject's key from one that was made anew after it was destroyed; None for none."""
        return self._keyring.generation(subject)

    def sweep(self, now_ms: int) -> int:
        """Remove what has outlived its time or whose key was destroyed; returns how many."""
        return sum(self.sweeping(now_ms))

    def sweeping(self, now_ms: int) -> Iterator[bool]:
        """The same file by file, for whoever has something else to do in between: whether each was removed."""
        for path in list(self._folder.iterdir()):
            try:
                is_over = self._is_over(path, now_ms)
            except (CallerError, OSError):  # what is no sealed file is nobody's to remove; what is gone is gone
                is_over = False
            if is_over:
                path.unlink(missing_ok=True)
            yield is_over

    def _is_over(self, path: Path, now_ms: int) -> bool:
        if path.suffix == ".part":  # half a file of a process that was killed, unless somebody is still at it
            return now_ms - path.stat().st_mtime * 1000 > _ABANDONED_MS
        head = self.head(path.name)
        return now_ms >= head.until_ms or not self._keyring.has(head.subject)

    def _path(self, about: str) -> Path:
        path = self._folder / about
        if len(about) != 32 or not all(char in "0123456789abcdef" for char in about) or not path.is_file():
            raise _gone()
        return path

    def _cipher(self, head: Head) -> AESGCM:
        derive = HKDF(SHA256(), 32, bytes.fromhex(head.salt), b"freehold sealed file 1")
        return AESGCM(derive.derive(self._keyring.key(head.subject)))


class Writer:
    """One file being sealed. `commit` or `abort` ends it."""

    def __init__(self, folder: Path, about: str, cipher: AESGCM, line: bytes) -> None:
        self._folder, self._about, self._cipher, self._line = folder, about, cipher, line
        self._part = folder / f"{about}.part"
        fd = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(fd, "wb")
        self._file.write(line)
        self._waiting = bytearray()
        self._number = 0
        self.size = 0

    def write(self, part: bytes) -> None:
        """Seal what has come, in chunks of one size; the last one waits until it is known to be the last."""
        self.size += len(part)
        self._waiting += part
        while len(self._waiting) > CHUNK:
            self._seal(bytes(self._waiting[:CHUNK]), is_last=False)
            del self._waiting[:CHUNK]

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last), chunk, self._line))
        self._number += 1

    def commit(self, *, is_durable: bool = True) -> str:
        """The file is whole; returns its id."""
        self.end()
        if is_durable:
            self.sync()
        return self.name_it()

    def end(self) -> None:
        """All bytes have come."""
        self._seal(bytes(self._waiting), is_last=True)
        self._file.flush()

    def sync(self) -> None:
        """Wait until they are on the disk: this alone may take long, and any thread may do it."""
        os.fsync(self._file.fileno())

    def name_it(self) -> str:
        """Let it be found; returns its id."""
        self._file.close()
        self._part.replace(self._folder / self._about)
        return self._about

    def abort(self) -> None:
        """Nothing is kept. Safe after `commit`."""
        try:
            with contextlib.suppress(OSError):  # on a full disk even the rest of a buffer cannot be written
                self._file.close()
        finally:
            self._part.unlink(missing_ok=True)


class Journal:
    """One file to which records are added. Each is with the operating system when `append` returns, so that a killed process loses none."""

    def __init__(self, folder: Path, about: str, cipher: AESGCM, line: bytes) -> None:
        self.about, self._cipher, self._line = about, cipher, line
        self._fd = os.open(folder / about, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._number = 0
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self.close()
            (folder / about).unlink()
            raise

    def append(self, record: bytes) -> None:
        """Add a record. Raises OSError when it could not be written whole; the journal takes no more then."""
        sealed = self._cipher.encrypt(_nonce(self._number, is_last=False), record, self._line)
        data = len(sealed).to_bytes(_LENGTH, "big") + sealed
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            self.close()  # half a record may stand there, and whatever came behind it could not be read
            raise
        self._number += 1

    def sync(self) -> None:
        """Bring what was added on the disk. Raises OSError."""
        if self._fd >= 0:
            os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _gone() -> CallerError:
    return CallerError(
        "This content is not here any more.",
        code="content.gone",
        status=404,
        hint="Its time is over, or it was erased.",
    )


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def _head(file: BinaryIO) -> tuple[Head, bytes]:
    line = file.readline(4096)
    try:
        found = json.loads(line)
        head = Head(found["subject"], found["kind"], found["until_ms"], found["salt"])
        bytes.fromhex(head.salt)
    except (ValueError, KeyError, TypeError):
        raise _gone() from None
    if head.line() != line:
        raise _gone()
    return head, line
