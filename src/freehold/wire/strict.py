"""Strict JSON. Why it exists: what is ruled on must be exactly what is sent, so every ambiguity is refused or removed.

Rules: UTF-8 only, no NaN or Infinity, at most 64 levels, an object at the top. A duplicate key keeps its last value,
and since what goes upstream is encoded from what was decoded, the other value reaches nobody.
"""

from __future__ import annotations

from typing import Any

import msgspec

from freehold.kernel.errors import CallerError

MAX_DEPTH = 64
_decoder = msgspec.json.Decoder()
encode = msgspec.json.Encoder().encode


def decode(raw: bytes) -> dict[str, Any]:
    """Decode a request body. Raises CallerError (400) that says what is wrong, without quoting content."""
    if not raw.strip():
        raise _bad("The body is empty; a JSON object is needed.", "request.empty")
    try:
        body = _decoder.decode(raw)
    except UnicodeDecodeError as error:
        raise _bad(f"The body is not valid UTF-8 (byte {error.start}).", "request.encoding") from None
    except RecursionError:
        raise _bad(f"The body is nested deeper than {MAX_DEPTH} levels.", "request.depth") from None
    except msgspec.DecodeError as error:
        raise _bad(f"The body is not valid JSON: {error}.", "request.json") from None
    if type(body) is not dict:
        raise _bad("The body must be a JSON object.", "request.shape")
    # Counting brackets is a cheap upper bound; only a suspicious body is walked.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth_exceeds(body, MAX_DEPTH):
        raise _bad(f"The body is nested deeper than {MAX_DEPTH} levels.", "request.depth")
    return body


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) in (dict, list)
        ]
        if not level:
            return False
    return True


def _bad(message: str, code: str) -> CallerError:
    return CallerError(message, code=code)
