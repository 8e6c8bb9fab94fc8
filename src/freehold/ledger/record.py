"""The record: one canonical JSON object (RFC 8785), chained by hash. Decided once; later proofs build on these bytes.

Rules: values are strings, whole numbers, booleans, null, lists and objects; no fractions, so that canonical form is exact
(money is a decimal string). Every record carries `v`, `epoch`, `seq`, `prev`, `kind`, `at_ms`. `seq` counts from 1 in each epoch; `prev` is the
RFC 6962 leaf hash, SHA-256(0x00 ‖ bytes), of the record before, and for the first one of the parent log's entry that opened the epoch. Content
never appears: `request` and `answer` are HMAC-SHA-256 under a key of the subject, which stays in the state directory until it is destroyed.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec

VERSION = 1
GENESIS = "0" * 64
_encode = msgspec.json.Encoder(order="sorted").encode
# RFC 8785 writes these five control characters in short form; so does msgspec. Lower-case hexadecimal is common to both.


def encode(record: dict[str, Any]) -> bytes:
    """Write a record canonically. Keys must be ASCII, so that sorting by code point is sorting by UTF-16 unit."""
    return _encode(record)


def leaf_hash(line: bytes) -> str:
    """The RFC 6962 leaf hash of a record's bytes (without the line break), in hexadecimal."""
    return hashlib.sha256(b"\0" + line).hexdigest()


def commitment(key: bytes, content: bytes) -> str:
    """Commit to content without revealing it, even if it is short enough to guess."""
    return "hmac-sha256:" + hmac.digest(key, content, "sha256").hex()
