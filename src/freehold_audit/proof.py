"""Hashes and signatures: RFC 6962 trees, C2SP signed notes, canonical JSON."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

GENESIS = "0" * 64
PROMISE = b"freehold-promise/1\n"
HAND_OVER = b"freehold-hand-over/1\n"


def leaf_hash(line: bytes) -> bytes:
    """RFC 6962 §2.1: SHA-256 of 0x00 and the leaf."""
    return hashlib.sha256(b"\x00" + line).digest()


class Tree:
    """A growing Merkle tree, kept as the roots of its full subtrees, smallest last."""

    def __init__(self) -> None:
        self.size = 0
        self._stack: list[tuple[int, bytes]] = []  # (height, hash)

    def add(self, leaf: bytes) -> None:
        height, value = 0, leaf
        while self._stack and self._stack[-1][0] == height:
            value = hashlib.sha256(b"\x01" + self._stack.pop()[1] + value).digest()
            height += 1
        self._stack.append((height, value))
        self.size += 1

    def root(self) -> bytes:
        if not self._stack:
            return hashlib.sha256(b"").digest()
        value = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            value = hashlib.sha256(b"\x01" + left + value).digest()
        return value


@dataclass(frozen=True, slots=True)
class Key:
    """A verifier key, `name+hash+base64(0x01 ‖ key)`, as C2SP signed-note has it."""

    name: str
    id: bytes
    public: Ed25519PublicKey
    text: str

    @classmethod
    def parse(cls, text: str) -> Key:
        """Raises ValueError for anything that is no Ed25519 verifier key."""
        text = text.strip()
        name, _, rest = text.partition("+")
        given, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError("not a verifier key") from None
        id_ = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        if not name or len(raw) != 33 or raw[0] != 1 or given != id_.hex():
            raise ValueError("not an Ed25519 verifier key, or its hash is wrong")
        return cls(name, id_, Ed25519PublicKey.from_public_bytes(raw[1:]), text)

    def signed(self, signature: bytes, said: bytes) -> bool:
        try:
            self.public.verify(signature, said)
        except InvalidSignature:
            return False
        return True


def open_note(note: str, key: Key) -> str:
    """The text of a signed note. Raises ValueError if it is not signed by this key."""
    text, blank, signatures = note.partition("\n\n")
    if not blank:
        raise ValueError("not a signed note")
    for line in signatures.split("\n"):
        mark, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if mark != "—" or name != key.name:
            continue
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if (
            base64.b64encode(raw).decode() == encoded
            and raw[:4] == key.id
            and key.signed(raw[4:], f"{text}\n".encode())
        ):
            return f"{text}\n"
    raise ValueError(f"no valid signature by {key.name}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one ledger, oldest first, each with the number of the parent's entry that named it (the first: 0)."""

    since: tuple[tuple[int, Key], ...]

    def at(self, entry: int) -> Key:
        """The key in force when an entry of the parent was written."""
        return next(key for number, key in reversed(self.since) if number < entry)

    def named(self) -> dict[str, Key]:
        return {key.name: key for _, key in self.since}

    def may_sign(self, name: str, size: int) -> bool:
        """Whether the key of this name signs a parent of so many entries."""
        return self.at(size + 1).name == name


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed root: whose, of which log, how many records, their root."""

    signer: str
    log: str
    size: int
    root: bytes


def read_checkpoints(data: str, keys: Mapping[str, Key]) -> list[Checkpoint]:
    """The checkpoints of a file, in its order. Raises ValueError for one that is not signed by one of these or not shaped as it must be."""
    return [_checkpoint(note, keys) for note in _notes(data)]


def _notes(data: str) -> list[str]:
    """Notes that stand behind one another: text, blank line, signature line, blank line."""
    parts = data.split("\n\n")
    if parts and parts[-1] == "":
        parts.pop()
    if len(parts) % 2:
        raise ValueError("a checkpoint is cut short")
    return [f"{parts[at]}\n\n{parts[at + 1]}\n" for at in range(0, len(parts), 2)]


def _checkpoint(note: str, keys: Mapping[str, Key]) -> Checkpoint:
    key = keys.get(note.partition("/")[0])
    if key is None:
        raise ValueError("not a checkpoint of this ledger")
    lines = open_note(note, key).split("\n")
    if len(lines) < 4 or not lines[1].isdigit():
        raise ValueError("not a checkpoint of this ledger")
    return Checkpoint(key.name, lines[0].partition("/")[2], int(lines[1]), base64.b64decode(lines[2], validate=True))


def is_promise(key: Key, log: str, leaf: str, signature: str) -> bool:
    """Whether a promise to include a record was given by this key."""
    return _is_signed(key, signature, PROMISE + f"{key.name}/{log}\n{leaf}\n".encode())


def is_hand_over(key: Key, prev: str, to: Key, signature: str) -> bool:
    """Whether a key signed that another goes on behind this entry of the parent."""
    return _is_signed(key, signature, HAND_OVER + f"{prev}\n{to.text}\n".encode())


def _is_signed(key: Key, signature: str, said: bytes) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
    except binascii.Error:
        return False
    return key.signed(raw, said)


def read_canonical(line: bytes) -> dict[str, Any]:
    """A record. Raises ValueError unless it is an object in RFC 8785's form."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("not an object")
    if json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() != line:
        raise ValueError("not in canonical form")
    return record
