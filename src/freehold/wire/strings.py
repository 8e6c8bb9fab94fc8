"""Every string of a request, known field or not: what a scanner reads. And whether the request carries what no scanner can read.

Rules: keys are read as well as values, and numbers of six digits or more; a key stands before its value, so that a word in it counts as near.
Neighbouring messages are also paired, because what is sensitive may be spread over both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

# Fields whose value, wherever it stands, is a picture, a sound, a document or the name of one.
_OPAQUE = frozenset(
    [
        "image_url",
        "input_image",
        "inlineData",
        "inline_data",
        "fileData",
        "file_data",
        "input_audio",
        "audio",
        "video_url",
        "document_url",
        "file_url",
        "file_id",
        "container_upload",
        "bytes",
    ]
)
_TOKENS = 8  # so many whole numbers in a row are tokens, or at least nothing that can be read
_SMALLEST = 100_000  # numbers with fewer digits identify nobody


class Strings(msgspec.Struct):
    """texts: in the order of the request; seams: pairs of texts that follow one another in a conversation; is_opaque: some of it is no text."""

    texts: list[str]
    seams: list[tuple[int, int]]
    is_opaque: bool = False


def strings_of(body: Any) -> Strings:
    """Read a decoded body."""
    found = Strings([], [])
    _walk(body, found)
    return found


def _walk(value: Any, found: Strings) -> None:
    kind = type(value)
    if kind is str:
        if value:
            found.texts.append(value)
    elif kind is dict:
        for key, below in value.items():
            found.texts.append(key)
            if key in _OPAQUE and below:
                found.is_opaque = True
            if key == "source" and type(below) is dict and below.get("type") != "text":
                found.is_opaque = True
            _walk(below, found)
    elif kind is list:
        _walk_list(value, found)
    elif _is_long(value):
        found.texts.append(str(value))


def _is_long(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) > _SMALLEST


def _is_tokens(values: list[Any]) -> bool:
    return len(values) >= _TOKENS and all(type(one) is int for one in values[:_TOKENS])


def _walk_list(values: list[Any], found: Strings) -> None:
    if _is_tokens(values):
        found.is_opaque = True
        return
    last = -1
    for one in values:
        before = len(found.texts)
        _walk(one, found)
        first = _first_words(one, before, found)
        if last >= 0 and first >= 0:
            found.seams.append((last, first))
        end = _last_words(one, before, found)
        last = end if end >= 0 else last


def _first_words(value: Any, before: int, found: Strings) -> int:
    """The first text of a message that is words, not a key."""
    return _words(value, range(before, len(found.texts)), found)


def _last_words(value: Any, before: int, found: Strings) -> int:
    return _words(value, range(len(found.texts) - 1, before - 1, -1), found)


_KEYS = frozenset(
    [
        "role",
        "content",
        "parts",
        "text",
        "type",
        "user",
        "assistant",
        "system",
        "model",
        "tool",
        "input",
        "name",
        "output",
        "input_text",
        "output_text",
        "developer",
        "message",
        "id",
    ]
)


def _words(value: Any, order: range, found: Strings) -> int:
    if type(value) is str:
        return order[0] if len(order) else -1
    if type(value) is not dict:
        return -1
    return next((at for at in order if found.texts[at] not in _KEYS), -1)


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
    """A body with some of its strings replaced, by their places in `strings_of`; a number that is replaced becomes text."""
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
            made = {}
            for key, below in value.items():
                named = self._next(key)
                made[named] = self.value(below)
            return made
        if kind is list:
            if _is_tokens(value):
                return value
            return [self.value(one) for one in value]
        if _is_long(value):
            found = self._next(None)
            return value if found is None else found
        return value

    def _next(self, text: Any) -> Any:
        at, self._at = self._at, self._at + 1
        return self._texts.get(at, text)
