"""AWS event streams (`application/vnd.amazon.eventstream`, smithy.io/2.0/aws/amazon-eventstream.html, checked 2026-11): bytes in, events out; sans-IO.

A frame: total length and length of the headers (4 bytes each, big-endian), CRC-32 of those eight bytes, headers, payload, CRC-32 of all before.
Rules: both checksums are checked; a frame longer than `limit` is an error before it is read; only string headers are kept.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

from freehold.wire.sse import DEFAULT_LIMIT, Event, EventTooLong

_PRELUDE = struct.Struct(">III")
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # bytes of a value by its type; 6 and 7 say their own length
_STRING, _BYTES = 7, 6


class BrokenFrame(EventTooLong):
    """The bytes are no frame: a checksum or a length is wrong."""


class Reader:
    """Feed bytes in any split; get whole events out. An event's `name` is its event type, or `exception`."""

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._buffer = bytearray()
        self.limit = limit

    def feed(self, chunk: bytes) -> list[Event]:
        """Take some bytes; return the events that are now complete. Raises BrokenFrame."""
        self._buffer += chunk
        events = []
        while len(self._buffer) >= _PRELUDE.size:
            total, headers, check = _PRELUDE.unpack_from(self._buffer)
            if zlib.crc32(self._buffer[:8]) != check or total < 16 or headers > total - 16 or total > self.limit:
                raise BrokenFrame("a frame's prelude is wrong")
            if len(self._buffer) < total:
                break
            frame = bytes(self._buffer[:total])
            del self._buffer[:total]
            events.append(_read(frame, headers))
        return events

    def close(self) -> list[Event]:
        """The stream has ended; half a frame is none."""
        self._buffer.clear()
        return []


def _read(frame: bytes, headers: int) -> Event:
    if zlib.crc32(frame[:-4]) != int.from_bytes(frame[-4:], "big"):
        raise BrokenFrame("a frame's checksum is wrong")
    found = _headers(frame[12 : 12 + headers])
    kind = found.get(":message-type", "event")
    name = found.get(":event-type", "") if kind == "event" else "exception"
    return Event(frame[12 + headers : -4], frame, name)


def _headers(block: bytes) -> dict[str, str]:
    found, at = {}, 0
    try:
        while at < len(block):
            end = at + 1 + block[at]
            name, kind = block[at + 1 : end].decode(), block[end]
            at = end + 1
            size = _SIZES.get(kind)
            if size is None:
                size, at = int.from_bytes(block[at : at + 2], "big"), at + 2
            value = block[at : at + size]
            if kind == _STRING:
                found[name] = value.decode()
            at += size
    except (IndexError, UnicodeDecodeError):
        raise BrokenFrame("a frame's headers are wrong") from None
    return found


def write(name: str, payload: dict[str, object], *, is_exception: bool = False) -> bytes:
    """Frame one event (what a stand-in sends)."""
    kind, field = ("exception", ":exception-type") if is_exception else ("event", ":event-type")
    headers = b"".join(
        bytes([len(key)]) + key.encode() + bytes([_STRING]) + struct.pack(">H", len(value)) + value.encode()
        for key, value in ((":message-type", kind), (field, name), (":content-type", "application/json"))
    )
    body = msgspec.json.encode(payload)
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return frame + struct.pack(">I", zlib.crc32(frame))
