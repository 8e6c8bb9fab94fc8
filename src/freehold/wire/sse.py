"""Server-sent events (WHATWG HTML §9.2, checked 2026-11): bytes in, events out; sans-IO.

Rules: an event ends at a blank line; lines end in LF, CRLF or CR; an event's `raw` bytes are kept, so that the same
dialect passes through with nothing lost. Memory is bounded: an event longer than `limit` is an error.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
DEFAULT_LIMIT = 16 * 1024 * 1024


class Event(NamedTuple):
    """One event. data: its data lines joined by LF (empty for a comment); raw: as received, normalised to end in a blank line.

    name: the kind of a binary frame; what an `event:` line says is said again by the data of every dialect here, so it is not read.
    """

    data: bytes
    raw: bytes
    name: str = ""


class EventTooLong(ValueError):
    """The sender wrote more than the limit without ending an event."""


class Reader:
    """Feed bytes in any split; get whole events out."""

    __slots__ = ("_buffer", "_has_begun", "limit")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._buffer = b""
        self._has_begun = False
        self.limit = limit

    def feed(self, chunk: bytes) -> list[Event]:
        """Take some bytes; return the events that are now complete. Raises EventTooLong."""
        buffer = self._buffer + chunk if self._buffer else chunk
        if not self._has_begun:
            if _BOM.startswith(buffer[:3]) and len(buffer) < 3:
                self._buffer = buffer
                return []
            self._has_begun, buffer = True, buffer.removeprefix(_BOM)
        # A trailing CR may be half of CRLF: decide when the next byte is known.
        held = b""
        if buffer.endswith(b"\r"):
            buffer, held = buffer[:-1], b"\r"
        if b"\r" in buffer:
            events, rest = self._split_any(buffer)
        else:
            *blocks, rest = buffer.split(b"\n\n")
            events = [event for block in blocks if (event := _event(block.lstrip(b"\n"))) is not None]
        self._buffer = rest + held
        if len(self._buffer) > self.limit:
            raise EventTooLong(f"an event is longer than {self.limit} bytes")
        return events

    def close(self) -> list[Event]:
        """The stream has ended: an event whose blank line is missing counts if its last line is whole."""
        rest, self._buffer = self._buffer, b""
        event = _event(rest.strip(b"\r\n"))
        return [event] if event is not None else []

    def _split_any(self, buffer: bytes) -> tuple[list[Event], bytes]:
        events, at = [], 0
        for found in _END.finditer(buffer):
            event = _event(buffer[at : found.start()].lstrip(b"\r\n"))
            if event is not None:
                events.append(event)
            at = found.end()
        return events, buffer[at:]


def _event(block: bytes) -> Event | None:
    if not block:
        return None
    if (
        block.startswith(b"data: ") and b"\n" not in block and b"\r" not in block
    ):  # nearly every event of every provider
        return Event(block[6:], block + b"\n\n")
    lines = _LINE.split(block)
    data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return Event(b"\n".join(data), b"\n".join(lines) + b"\n\n")


def write(data: bytes) -> bytes:
    """Frame one event that has only data (which must hold no line break)."""
    return b"data: " + data + b"\n\n"
