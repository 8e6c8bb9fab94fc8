"""Every string of a request, known field or not: what a scanner reads. And whether the request carries what no scanner can read.

Rules: keys are read as well as values, and numbers of four digits or more; a key stands before its value, so that a word in it counts as near.
Neighbouring messages are also paired, because what is sensitive may be spread over both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

# Fields whose value, wherever it stands, is a picture, a sound, a document or the name of one.
_OPAQUE = frozenset(
    ["image_url", "input_image", "image", "inlineData", "inline_data", "fileData", "file_data", "input_audio", "audio"]
)
_OPAQUE |= {"video_url", "video", "document_url", "file_url", "file_id", "container_upload", "bytes"}
_MEDIA = frozenset({"mimeType", "mime_type", "media_type"})  # beside `data`: a file
_NAMED = frozenset({"properties", "$defs", "definitions"})  # below these, names are the caller's own
_SIGNED = frozenset(
    {"signature", "thoughtSignature", "thought_signature", "encrypted_content"}
)  # made by a provider, to be given back to it
_WORDS = frozenset({"content", "text", "input", "output", "arguments", "prompt", "instructions", "system"})
_BLOB = re.compile(r"[A-Za-z0-9+/_=\r\n-]{1024,}").fullmatch
_TOKENS = 8  # so many whole numbers in a row, where words are expected, are tokens
_SMALLEST = 1000  # numbers with fewer digits identify nobody


class Strings(msgspec.Struct):
    """texts: in the order of the request; seams: pairs of texts that follow one another in a conversation; is_opaque: some of it is no text;
    beside: how many of the texts, at their end, do not stand in the body.
    """

    texts: list[str]
    seams: list[tuple[int, int]]
    is_opaque: bool = False
    beside: int = 0


def strings_of(body: Any, *beside: str) -> Strings:
    """Read a decoded body, and what is sent beside it."""
    reading = _Reading()
    reading.value(body)
    reading.found.texts += beside
    reading.found.beside = len(beside)
    return reading.found


class _Reading:
    """A walk in the order of the request."""

    def __init__(self) -> None:
        self.found = Strings([], [])
        self._words: list[int] = []  # which texts somebody said, rather than named something by

    def value(self, value: Any, key: str = "") -> None:
        kind = type(value)
        if kind is str:
            self._text(value, key)
        elif kind is dict:
            self._object(value, is_named=key in _NAMED)
        elif kind is list:
            self._list(value, key)
        elif _is_long(value):
            self.found.texts.append(str(value))

    def _text(self, value: str, key: str) -> None:
        if not value:
            return
        if key in _WORDS:
            self._words.append(len(self.found.texts))
        self.found.texts.append(value)
        if ";base64," in value or (len(value) >= 1024 and key not in _SIGNED and _BLOB(value)):
            self.found.is_opaque = True

    def _object(self, value: dict[str, Any], *, is_named: bool) -> None:
        is_signed = value.get("type") == "redacted_thinking"
        if "data" in value and (
            not _MEDIA.isdisjoint(value) or value.get("type") in ("image", "audio", "video", "document")
        ):
            self.found.is_opaque = True
        for key, below in value.items():
            self.found.texts.append(key)
            if not is_named and below and (key in _OPAQUE or (key == "source" and _is_file(below))):
                self.found.is_opaque = True
            self.value(below, "signature" if is_signed and key == "data" else key)

    def _list(self, values: list[Any], key: str) -> None:
        if key in _WORDS and len(values) >= _TOKENS and all(type(one) is int for one in values[:_TOKENS]):
            self.found.is_opaque = True
        last = -1
        for one in values:
            said = len(self._words)
            self.value(one, "text" if type(one) is str else key)
            if len(self._words) > said:
                if last >= 0:
                    self.found.seams.append((last, self._words[said]))
                last = self._words[-1]


def _is_file(source: Any) -> bool:
    return type(source) is dict and source.get("type") != "text"


def _is_long(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) >= _SMALLEST


def beginning_of(body: Mapping[str, Any]) -> list[Any]:
    """What every turn of a conversation begins with, whatever its dialect: its instructions, and all up to the first words of the user."""
    found = [body.get(field) for field in ("system", "instructions", "systemInstruction", "system_instruction")]
    items = next((body[field] for field in ("messages", "contents", "input", "prompt") if field in body), None)
    if not isinstance(items, list):
        return [*found, items]
    for item in items:
        found.append(item)
        if not isinstance(item, dict) or item.get("role", "user") == "user":
            break
    return found


def rewrite(body: Any, texts: Mapping[int, str]) -> Any:
    """A body with some of its strings replaced, by their places in `strings_of`. Numbers stay: what asks for one takes no text."""
    return _Rewriting(texts).value(body)


class _Rewriting:
    """The walk of `strings_of` once more, making a copy."""

    def __init__(self, texts: Mapping[int, str]) -> None:
        self._texts, self._at = texts, 0

    def value(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self._next(value) if value else value
        if kind is dict:
            made: dict[str, Any] = {}
            for key, below in value.items():
                named = self._next(key)
                while named in made:
                    named += "'"
                made[named] = self.value(below)
            return made
        if kind is list:
            return [self.value(one) for one in value]
        if _is_long(value):
            self._at += 1
        return value

    def _next(self, text: str) -> str:
        at, self._at = self._at, self._at + 1
        return self._texts.get(at, text)
