"""Exchange the key that signs the log.

Rules: the new key is on the disk before the log names it, and takes the old one's place after; whatever kills the process between, the next
that looks finishes it. The old key is gone then: what it signed stays verifiable, and nothing more can be signed with it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from freehold.ledger.epochs import FILE, Epochs, entries
from freehold.ledger.files import secret_file, take_lock
from freehold.ledger.signing import Signer, load_signer

_NEXT = "signing.next"


def rotate(state: Path, now_ms: int) -> tuple[Signer, Signer]:
    """Hand over to a new key; returns (old, new). Raises OperatorError `ledger.locked` while a Freehold runs on this directory."""
    lock_fd = take_lock(state)
    try:
        old = signer_in_force(state)
        (state / _NEXT).unlink(missing_ok=True)  # made before, and never handed over to
        Epochs(state / "log", old).hand_over(Signer(secret_file(state / _NEXT)), now_ms)
        return old, signer_in_force(state)
    finally:
        os.close(lock_fd)


def signer_in_force(state: Path) -> Signer:
    """The signer of a state directory; finishes an exchange that was cut off."""
    following = state / _NEXT
    if following.is_file():
        keys = [entry["to"] for entry, _ in entries(state / "log" / FILE) if entry["kind"] == "key_rotated"]
        if keys and keys[-1] == Signer(secret_file(following)).public:
            with contextlib.suppress(FileNotFoundError):  # somebody else has finished it
                following.replace(state / "signing.key")
    return load_signer(state)
