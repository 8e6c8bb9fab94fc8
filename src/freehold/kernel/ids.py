"""Identifiers: sortable by time, unguessable, safe in a URL and in a log."""

from __future__ import annotations

import os

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def make_id(prefix: str, now_ms: int) -> str:
    """Make an id: prefix, 10 characters of time (ms since 1970), 16 random characters (80 bits)."""
    number = (now_ms << 80) | int.from_bytes(os.urandom(10), "big")
    out = []
    for _ in range(26):
        out.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(out))}"


def make_key() -> str:
    """Make a caller's key: `fh-` and 32 random characters (160 bits)."""
    number = int.from_bytes(os.urandom(20), "big")
    return "fh-" + "".join(_ALPHABET[(number >> (5 * at)) & 31] for at in range(32))
