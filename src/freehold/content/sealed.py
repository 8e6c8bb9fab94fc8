"""The sealed store: files under their subjects' keys, each with a lifetime. Whatever keeps content keeps it here and nowhere else.

Format: a head of one line of JSON (version, subject, kind, until when), then chunks of AES-256-GCM; the key of a file is derived from its
subject's key and the file's own salt (HKDF), the nonce counts the chunks and marks the last one, and the head is authenticated with each. So a
file cannot be cut, joined, reordered or read under another head, and it is never in memory or on disk in the clear as a whole.
"""

from __future__ import annotations

import contextlib
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
        about = os.urandom(16).hex()
        head = Head(subject, kind, until_ms, os.urandom(16).hex())
        cipher, line = self._cipher(head), head.line()
        part = self._folder / f"{about}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(line)
                for number, (chunk, is_last) in enumerate(_chunks(parts)):
                    file.write(cipher.encrypt(_nonce(number, is_last), chunk, line))
                file.flush()
                if is_durable:
                    os.fsync(fd)
            part.replace(self._folder / about)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return about

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

    def head(self, about: str) -> Head:
        """What is known of a file. Raises CallerError `content.gone`."""
        with self._path(about).open("rb") as file:
            return _head(file)[0]

    def drop(self, about: str) -> None:
        """Remove a file; what is not there any more is none."""
        with contextlib.suppress(CallerError):
            self._path(about).unlink(missing_ok=True)

    def sweep(self, now_ms: int) -> int:
        """Remove what has outlived its time or whose key was destroyed; returns how many."""
        count = 0
        for path in self._folder.iterdir():
            if path.suffix == ".part":
                continue
            try:
                head = self.head(path.name)
            except CallerError:
                continue
            if now_ms >= head.until_ms or not self._keyring.has(head.subject):
                path.unlink(missing_ok=True)
                count += 1
        return count

    def _path(self, about: str) -> Path:
        path = self._folder / about
        if len(about) != 32 or not all(char in "0123456789abcdef" for char in about) or not path.is_file():
            raise _gone()
        return path

    def _cipher(self, head: Head) -> AESGCM:
        derive = HKDF(SHA256(), 32, bytes.fromhex(head.salt), b"freehold sealed file 1")
        return AESGCM(derive.derive(self._keyring.key(head.subject)))


def _gone() -> CallerError:
    return CallerError(
        "This content is not here any more.",
        code="content.gone",
        status=404,
        hint="Its time is over, or it was erased.",
    )


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def _chunks(parts: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Chunks of one size, the last marked; there is always a last one."""
    waiting = b""
    for part in parts:
        waiting += part
        while len(waiting) > CHUNK:
            yield waiting[:CHUNK], False
            waiting = waiting[CHUNK:]
    yield waiting, True


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
