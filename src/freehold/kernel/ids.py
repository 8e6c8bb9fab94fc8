"""Identifiers: sortable by time, unguessable, safe in a URL and in a log."""

from __future__ import annotations

import os

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def make_id(prefix: str, now_ms: int) -> str:
    """Make an id: prefix, 11 hexadecimal digits of time (ms since 1970), 20 random ones (80 bits)."""
    return f"{prefix}_{now_ms:011x}{os.urandom(10).hex()}"


def made_ms(about: str) -> int:
    """When an id was made."""
    return int(about.rpartition("_")[2][:11], 16)


def make_key() -> str:
    """Make a caller's key: `fh-` and 32 random characters (160 bits)."""
    number = int.from_bytes(os.urandom(20), "big")
    return "fh-" + "".join(_ALPHABET[(number >> (5 * at)) & 31] for at in range(32))
