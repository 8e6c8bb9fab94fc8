"""Fold text so that what looks alike is alike: one byte a character, and the way back to where it stood.

Rules: letters and digits of other scripts or widths become the ASCII ones that a reader would take them for; what cannot be seen is taken out;
a byte above 0x7f is a character that no rule names. Text of ASCII alone costs one copy.
"""

from __future__ import annotations

import bisect
import codecs
import re
import unicodedata
from dataclasses import dataclass

# Letters of other scripts that a reader takes for Latin ones (a selection of Unicode's confusables, by look).
_LOOKALIKES = dict(
    zip(
        "АаВЕеЅѕІіЈјКкМмНОоРрСсТтХхУуԁԌԍԛԜԝһԚҮүәΑΒΕΖΗΙΚΜΝΟΡΤΥΧαγικνορτυχѵոսօԼՏցհ",
        "AaBEeSsIiJjKkMmHOoPpCcTtXxYydGgqWwhQYyeABEZHIKMNOPTYXayiKvoptuxvnuoLSgh",
        strict=True,
    )
)
_UNSEEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u0300-\u036f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u1ab0-\u1aff\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u20d0-\u20ff\u3164\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff\U0001d173-\U0001d17a"
)
_SHIFTS = re.compile(f"([{_UNSEEN}]+|[\ufb00-\ufb06\u2100-\u2103\u2105\u2106\u2116\u2121])")
_CONTROLS = bytes([*range(9), 11, 12, *range(14, 32), 127])
_LATIN = bytes.maketrans(b"\xa0\xb2\xb3\xb9\xb4\xb7", b" 231'.")
_folded: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Folded:
    """data: one byte a character; breaks: (place in data, place in the text) behind each run that was taken out, None if there was none."""

    data: bytes
    breaks: tuple[tuple[int, int], ...] | None = None

    def place(self, at: int) -> int:
        """Where in the text the character at a place of `data` stood."""
        if self.breaks is None:
            return at
        there, here = self.breaks[bisect.bisect_right(self.breaks, at, key=lambda one: one[0]) - 1]
        return here + at - there


def fold(text: str) -> Folded:
    """Fold a text. Never fails; a lone surrogate is a character like any other."""
    if text.isascii():
        data = text.encode()
        if len(data.translate(None, _CONTROLS)) == len(data):
            return Folded(data)
    elif _SHIFTS.search(text) is None:
        return Folded(_bytes(text))
    parts: list[bytes] = []
    breaks, there, here = [(0, 0)], 0, 0
    for at, piece in enumerate(_SHIFTS.split(text)):
        data = _bytes(_spelled(piece) if at % 2 else piece)
        parts.append(data)
        there, here = there + len(data), here + len(piece)
        if at % 2:
            breaks.append((there, here))
    return Folded(b"".join(parts), tuple(breaks))


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "freehold.fold").translate(_LATIN)


def _spelled(piece: str) -> str:
    """A ligature as its letters; nothing for what cannot be seen."""
    return "" if _is_unseen(piece) else unicodedata.normalize("NFKC", piece)


_is_unseen = re.compile(f"[{_UNSEEN}]+").fullmatch


def _one(char: str) -> str:
    """The one character that stands for another."""
    found = _folded.get(char)
    if found is None:
        found = _LOOKALIKES.get(char) or _plain(char)
        if len(_folded) < 4096:  # callers choose characters: they must not choose our memory
            _folded[char] = found
    return found


def _plain(char: str) -> str:
    kind = unicodedata.category(char)
    if kind == "Nd":
        return str(unicodedata.digit(char))
    if kind == "Pd" or char in "\u2212\u2043":
        return "-"
    if kind[0] == "Z":
        return " "
    if char in "‘’‚‛′ʹʼ＇`":
        return "'"
    if char in "“”„‟″＂":
        return '"'
    if char in "․。．｡":
        return "."
    first = unicodedata.normalize("NFKD", char)[:1]
    first = _LOOKALIKES.get(first, first)
    return first if first.isascii() and first.isprintable() else "\xff"


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_one, error.object[error.start : error.end])), error.end


codecs.register_error("freehold.fold", _replace)
