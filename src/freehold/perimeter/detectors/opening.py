"""Open what is encoded, one level: base64, hexadecimal, percent, JSON and HTML escapes, characters set apart by spaces.

Rules: only what decodes to readable text is looked at; each opened text remembers the run that it came from, since its own places mean nothing.
Out of reach, on purpose: ciphers, compression, several levels.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_RUN = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){8,}")
_APART_HEX = re.compile(rb"(?:(?:\\x|0x)?[0-9A-Fa-f]{2}[ :,]{0,2}){8,}")
_WORD = re.compile(rb"[!-~]{1,65536}")
_LINE = re.compile(rb"[^\n]{1,65536}")
_APART = re.compile(rb"[!-~](?:[ _.*|-]{1,3}[!-~]){6,}")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([\"\\/]))")
_PLAIN_WORD = re.compile(rb"[A-Za-z]?[a-z]*|[A-Z]+")
LONGEST = 1_000_000  # bytes of one run


@dataclass(frozen=True, slots=True)
class Opened:
    """A text that was encoded, and where the run that held it stands."""

    text: bytes
    start: int
    end: int


# name → the trigger that both engines look for (of fixed length), and how the run that begins there is opened
TRIGGERS: dict[str, bytes] = {
    "base64": rb"[^A-Za-z0-9+/_-][A-Za-z0-9+/_-]{12}",
    "hex": rb"[^0-9A-Za-z](?:\\x|0x)?[0-9A-Fa-f]{2}[ :,]{1,2}(?:\\x|0x)?[0-9A-Fa-f]{2}[ :,]{1,2}(?:\\x|0x)?[0-9A-Fa-f]{2}[ :,]",
    "hexescape": rb"\\x[0-9A-Fa-f]{2}\\x[0-9A-Fa-f]{2}\\x",
    "percent": rb"%[0-9A-Fa-f]{2}",
    "escape": rb"\\(?:u[0-9A-Fa-f]{4}|[\"/])",
    "entity": rb"&(?:#[0-9xX]|amp;|lt;|gt;|quot;|num;|commat;)",
    "apart": rb"[ \n\"'(:=][!-~][ _.*|-][!-~][ _.*|-][!-~][ _.*|-][!-~][ _.*|-]",
}


def open_run(name: str, data: bytes, at: int) -> Iterator[Opened]:
    """What the run that a trigger found at a place holds, if it is text."""
    if name == "base64":
        yield from _unpacked(data, at + 1)
    elif name in ("hex", "hexescape"):
        found = _APART_HEX.match(data, at + (name == "hex"))
        if found:
            digits = re.sub(rb"\\x|0x|[ :,]", b"", found.group())
            yield from _readable(bytes.fromhex(digits[: len(digits) & ~1].decode()), *found.span())
    elif name == "apart":
        found = _APART.match(data, at + 1)
        if found:
            run = found.group()
            apart = re.escape(bytes([max(b" _.*|-", key=run.count)]))
            # One between two characters goes; several were one before the text was spread.
            yield Opened(re.sub(apart + rb"(" + apart + rb"?)" + apart + rb"*", rb"\1", run), *found.span())
    else:
        start = max(data.rfind(b"\n", 0, at + 1) + 1, at - 4096)
        found = _LINE.match(data, start)
        if found:
            opened = _UNESCAPE[name](found.group())
            if opened != found.group():
                yield from _readable(opened, *found.span())


def _unescaped(run: bytes) -> bytes:
    text = _ESCAPE.sub(lambda m: chr(int(m[1] or m[2], 16)) if m[3] is None else m[3], run.decode("latin-1"))
    return (
        text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    )  # pairs of surrogates become one character


def _unentitied(run: bytes) -> bytes:
    return html.unescape(run.decode("latin-1")).encode("utf-8", "replace")


def _unquoted(run: bytes) -> bytes:
    """Percent signs decoded; what was beyond ASCII already stays what it was."""
    return unquote_to_bytes(run.decode("latin-1"))


_UNESCAPE: dict[str, Callable[[bytes], bytes]] = {
    "percent": _unquoted,
    "escape": _unescaped,
    "entity": _unentitied,
}


def _unpacked(data: bytes, at: int) -> Iterator[Opened]:
    """A run of base64 or of hexadecimal; where the whole is neither, its parts between slashes are tried."""
    found = _RUN.match(data, at, at + LONGEST)
    if found is None:
        return
    run, (start, end) = found.group(), found.span()
    if _PLAIN_WORD.fullmatch(run):
        return  # a word
    opened = list(_decoded(run, start, end))
    if not opened and (b"/" in run or b"_" in run or b"-" in run):
        for part in re.finditer(rb"[A-Za-z0-9+]{12,}", run):
            opened += _decoded(part.group(), start + part.start(), start + part.end())
    yield from opened


def _decoded(run: bytes, start: int, end: int) -> Iterator[Opened]:
    if len(run) % 2 == 0 and _HEX.fullmatch(run):
        yield from _readable(bytes.fromhex(run.decode()), start, end)
        return
    standard = run.translate(_TO_STANDARD)
    try:
        raw = base64.b64decode(standard[: len(standard) - (len(standard) % 4 == 1)] + b"==")
    except binascii.Error:
        return
    yield from _readable(raw, start, end)


_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_PRINTED = bytes([9, 10, 13, *range(32, 127)])


def _readable(raw: bytes, start: int, end: int) -> Iterator[Opened]:
    """Bytes that are text: ASCII, UTF-8 or UTF-16, nearly all of it printable."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or raw[1:8:2] == b"\0\0\0\0":
        raw = raw.decode("utf-16-le" if raw[:2] != b"\xfe\xff" else "utf-16-be", "replace").encode("latin-1", "replace")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        is_text = len(raw.translate(None, _PRINTED)) * 8 <= len(raw)
    else:
        odd = sum(unicodedata.category(char) in ("Cc", "Co", "Cn") for char in text[:4096]) if not raw.isascii() else 0
        is_text = odd * 8 <= len(text) and (not raw.isascii() or len(raw.translate(None, _PRINTED)) * 8 <= len(raw))
    if len(raw) >= 6 and is_text:
        yield Opened(raw, start, end)
