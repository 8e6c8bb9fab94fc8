"""The ledger's signature: checkpoints as signed notes, and promises to include a record.

Formats: C2SP signed-note and tlog-checkpoint (c2sp.org, checked 2026-11), Ed25519. A promise signs a leaf before it stands under a checkpoint,
so that whoever holds it can show an omission.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from freehold.ledger.files import secret_file, write_private

_ED25519 = b"\x01"  # the note's word for the algorithm
PROMISE = b"freehold-promise/1\n"
HAND_OVER = b"freehold-hand-over/1\n"


_NOTES = re.compile(rb"[^\n]+\n[0-9]+\n[^\n]+\n\n\xe2\x80\x94 [^\n]+\n\n")


def checkpoints_in(path: Path) -> list[bytes]:
    """The checkpoints of a file, each with the blank line behind it; what a killed process left of one is not among them."""
    data = path.read_bytes() if path.is_file() else b""
    found, at = [], 0
    while (note := _NOTES.match(data, at)) is not None:
        found.append(note.group())
        at = note.end()
    return found


def cut_torn_checkpoint(path: Path) -> None:
    """Take away what a killed process left of a checkpoint at the end of a file."""
    size = sum(map(len, checkpoints_in(path)))
    if path.is_file() and path.stat().st_size > size:
        os.truncate(path, size)


class Signer:
    """Signs in the name of one state directory. `public` is the verifier key in the note's own format: name+hash+key."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        public = _ED25519 + self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.name = f"freehold-{hashlib.sha256(public).hexdigest()[:16]}"
        self._id = hashlib.sha256(self.name.encode() + b"\n" + public).digest()[:4]
        self.public = f"{self.name}+{self._id.hex()}+{base64.b64encode(public).decode()}"

    def note(self, text: str) -> str:
        """A signed note over a text, which must end in a line break."""
        signature = base64.b64encode(self._id + self._key.sign(text.encode())).decode()
        return f"{text}\n— {self.name} {signature}\n"

    def checkpoint(self, log: str, size: int, root: bytes) -> str:
        """A signed checkpoint of a log of this ledger."""
        return self.note(f"{self.name}/{log}\n{size}\n{base64.b64encode(root).decode()}\n")

    def promise(self, log: str, leaf: str) -> str:
        """A promise that a record (its leaf hash, in hexadecimal) will stand in a log, in base64."""
        said = PROMISE + f"{self.name}/{log}\n{leaf}\n".encode()
        return base64.b64encode(self._key.sign(said)).decode()

    def hand_over(self, prev: str, to: str) -> str:
        """The signature under an exchange of keys: behind which entry of the parent (its leaf hash), and to which key."""
        return base64.b64encode(self._key.sign(HAND_OVER + f"{prev}\n{to}\n".encode())).decode()


def load_signer(state: Path) -> Signer:
    """The signer of a state directory; its key is made at the first time (`signing.key`, 0600), the public one lies beside it."""
    signer = Signer(secret_file(state / "signing.key"))
    public = state / "signing.pub"
    if not public.is_file() or public.read_text(encoding="utf-8").strip() != signer.public:
        write_private(public, f"{signer.public}\n".encode())
        public.chmod(0o644)
    return signer
