"""Whose trace a call belongs to (W3C Trace Context, level 1), and what of it goes on.

Rules: `traceparent` is taken if it is exactly what the standard says, and dropped in silence if not, as the standard asks; `tracestate` and `baggage`,
which are anybody's words, are never taken. What goes on to a target goes to those inside alone: a trace is the company's own.
"""

from __future__ import annotations

import os
import re

import msgspec

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


class Trace(msgspec.Struct, frozen=True):
    """A trace and the span above. trace_id: 32, parent_id: 16 hexadecimal digits, "" for none; is_sampled: whether whoever began it keeps it."""

    trace_id: str
    parent_id: str = ""
    is_sampled: bool = True

    def header(self, span_id: str) -> str:
        """What a target is told that is called by this span."""
        return f"00-{self.trace_id}-{span_id or self.parent_id}-{'01' if self.is_sampled else '00'}"


def read(text: str) -> Trace | None:
    """A trace as a caller names it, None for anything else."""
    found = _PARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return Trace(trace_id, parent_id, bool(int(flags, 16) & 1))


def begin(share: float) -> Trace:
    """A trace of a call that belongs to none. share: of the traces that are kept, decided by the id alone."""
    trace_id = os.urandom(16).hex()
    return Trace(trace_id, "", int(trace_id[-14:], 16) < share * (1 << 56))


def span_id() -> str:
    """An id of a span: 16 hexadecimal digits."""
    return os.urandom(8).hex()
