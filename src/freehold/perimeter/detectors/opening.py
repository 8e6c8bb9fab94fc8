"""Open what is encoded, one level: base64, hexadecimal, percent, JSON and HTML escapes, characters and digits set apart.

Rules: only what decodes to readable text is looked at. Where single characters are spelled otherwise each keeps its place; a run of base64 or the
like stands for whatever is in it. Every byte is opened at most once by each opening, so the work stays in proportion to the text.
Out of reach, on purpose: ciphers, compression, runs that are cut or shifted.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_RUN = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){8,}")
_APART_HEX = re.compile(rb"(?:(?:\\x|0x)?[0-9A-Fa-f]{2}[ :,]{0,2}){8,}")
_APART = re.compile(rb"[!-~](?:[ _.*|-]{1,3}[!-~]){6,}")
_LINE = re.compile(rb"[^\n]{1,65536}")
_LOOSE = re.compile(rb"[0-9]+(?:(?: {1,3}|[ \n]?[./_-][ \n]?|\n)[0-9]+){1,40}")
_BEFORE_LOOSE = re.compile(rb"[0-9 ./_\n-]{0,48}\Z")
_PLAIN_WORD = re.compile(rb"[A-Za-z]?[a-z]*|[A-Z]+")
_BACK = 4096  # characters of a line that are read before the first thing to open in it


@dataclass(frozen=True, slots=True)
class Opened:
    """A text that was encoded, and where the run that held it stands.

    units: (start, end, start, end) of each piece that was spelled otherwise, in `text` and in the run's page; None where only the run has a place.
    """

    text: str
    start: int
    end: int
    units: tuple[tuple[int, int, int, int], ...] | None = None

    def place(self, at: int, *, is_end: bool) -> int:
        """Where on the run's page a character of `text` begins (or the one before it ends)."""
        if self.units is None:
            return self.end if is_end else self.start
        which = bisect.bisect_right(self.units, at - is_end, key=lambda unit: unit[0]) - 1
        if which < 0:
            return self.start + at
        _, there, begin, end = self.units[which]
        if at - is_end >= there:
            return end + at - there
        return end if is_end else begin


# name → the trigger that both engines look for (of fixed length), and how the run that begins there is opened
TRIGGERS: dict[str, bytes] = {
    "base64": rb"[^A-Za-z0-9+/_-][A-Za-z0-9+/_-]{12}",
    "hex": rb"[^0-9A-Za-z](?:\\x|0x)?[0-9A-Fa-f]{2}[ :,]{1,2}(?:\\x|0x)?[0-9A-Fa-f]{2}[ :,]{1,2}(?:\\x|0x)?[0-9A-Fa-f]{2}[ :,]",
    "hexescape": rb"\\x[0-9A-Fa-f]{2}\\x[0-9A-Fa-f]{2}\\x",
    "percent": rb"%[0-9A-Fa-f]{2}",
    "escape": rb"\\(?:u[0-9A-Fa-f]{4}|[\"/nrt])",
    "entity": rb"&(?:#[0-9xX]|amp;|lt;|gt;|quot;|num;|commat;)",
    "apart": rb"[ \n\"'(:=][!-~][ _.*|-][!-~][ _.*|-][!-~][ _.*|-][!-~][ _.*|-]",
    "loose": rb"[0-9](?:  | ?[./_-] | [./_-]|_|[./-]?\n)[0-9]",
}


def open_run(name: str, data: bytes, at: int, done: int) -> tuple[int, list[Opened]]:
    """What the run that a trigger found at a place holds, if it is text; and where that run ends. done: what lies before was opened already."""
    if name == "base64":
        return _unpacked(data, at + 1)
    if name in ("hex", "hexescape"):
        found = _APART_HEX.match(data, at + (name == "hex"))
        if found is None:
            return at + 1, []
        digits = re.sub(rb"\\x|0x|[ :,]", b"", found.group())
        return found.end(), _readable(bytes.fromhex(digits[: len(digits) & ~1].decode()), *found.span())
    if name == "apart":
        found = _APART.match(data, at + 1)
        if found is None:
            return at + 1, []
        run = found.group()
        apart = re.escape(bytes([max(b" _.*|-", key=run.count)]))
        # One between two characters goes; several were one before the text was spread.
        text = re.sub(apart + rb"(" + apart + rb"?)" + apart + rb"*", rb"\1", run)
        return found.end(), [Opened(text.decode("latin-1"), *found.span())]
    if name == "loose":
        before = _BEFORE_LOOSE.search(data, max(done, at - 48), at)
        found = _LOOSE.search(data, before.start() if before else at)
        while found is not None and found.end() <= at:
            found = _LOOSE.search(data, found.end())
        assert found is not None  # what was found is in it
        is_wrapped = found.group().count(b"\n") == 1
        return found.end(), _spelled(_LOOSE_UNITS[is_wrapped], _closed, *found.span(), data)
    start = max(data.rfind(b"\n", 0, at + 1) + 1, at - _BACK)
    found = _LINE.match(data, start)
    assert found is not None  # what was found is in it
    return found.end() - 16, _spelled(*_SPELLINGS[name], *found.span(), data)


def _spelled(units: re.Pattern[str], decode: Callable[[str], str], start: int, end: int, data: bytes) -> list[Opened]:
    """A text in which some characters are spelled otherwise, each with its place."""
    run = data[start:end].decode("latin-1")
    parts: list[str] = []
    places: list[tuple[int, int, int, int]] = []
    done = size = 0
    for found in units.finditer(run):
        text = decode(found.group())
        if text != found.group():
            parts += run[done : found.start()], text
            size += found.start() - done
            places.append((size, size + len(text), start + found.start(), start + found.end()))
            size, done = size + len(text), found.end()
    return [Opened("".join([*parts, run[done:]]), start, end, tuple(places))] if places else []


def _closed(apart: str) -> str:
    """The one separator that several stand for."""
    return "-" if "_" in apart else apart.strip(" \n") or " "


def _unescaped(escape: str) -> str:
    if escape[1] not in "ux":
        return {"n": "\n", "r": "\n", "t": "\t"}.get(escape[1], escape[1])
    pair = "".join(chr(int(one[1:], 16)) for one in escape.split("\\")[1:])
    return pair.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# What is spelled otherwise, one character at a time, and how each is read.
_SPELLINGS: dict[str, tuple[re.Pattern[str], Callable[[str], str]]] = {
    "percent": (
        re.compile(r"%[0-7][0-9A-Fa-f]|(?:%[89A-Fa-f][0-9A-Fa-f])+"),
        lambda run: unquote_to_bytes(run).decode("utf-8", "replace"),
    ),
    "escape": (
        re.compile(
            r"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[\"\\/nrt]"
        ),
        _unescaped,
    ),
    "entity": (re.compile(r"&(?:#[xX]?[0-9A-Fa-f]{1,8}|[A-Za-z]{2,12});?"), html.unescape),
}
_LOOSE_UNITS = (
    re.compile(r"(?<=[0-9])(?: {2,3}| ?[./_-] | [./_-]|_|[./-]\n)(?=[0-9])"),
    re.compile(
        r"(?<=[0-9])(?: {2,3}|[ \n]?[./_-][ \n]|[ \n][./_-]|_|\n)(?=[0-9])"
    ),  # one that a line break went through
)


def _unpacked(data: bytes, at: int) -> tuple[int, list[Opened]]:
    """A run of base64 or of hexadecimal; where the whole is neither, its parts between slashes are tried."""
    found = _RUN.match(data, at)
    assert found is not None  # the trigger is its beginning
    run, (start, end) = found.group(), found.span()
    if _PLAIN_WORD.fullmatch(run):
        return end, []  # a word
    opened = _decoded(run, start, end)
    if not opened and (b"/" in run or b"_" in run or b"-" in run):
        for part in re.finditer(rb"[A-Za-z0-9+]{12,}", run):
            opened += _decoded(part.group(), start + part.start(), start + part.end())
    return end, opened


def _decoded(run: bytes, start: int, end: int) -> list[Opened]:
    if len(run) % 2 == 0 and _HEX.fullmatch(run):
        return _readable(bytes.fromhex(run.decode()), start, end)
    standard = run.translate(_TO_STANDARD)
    try:
        raw = base64.b64decode(standard[: len(standard) - (len(standard) % 4 == 1)] + b"==")
    except binascii.Error:
        return []
    return _readable(raw, start, end)


_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_PRINTED = bytes([9, 10, 13, *range(32, 127)])


def _readable(raw: bytes, start: int, end: int) -> list[Opened]:
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
    return [Opened(raw.decode("utf-8", "replace"), start, end)] if len(raw) >= 6 and is_text else []
