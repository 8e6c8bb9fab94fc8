"""What is looked for, as data: one row for each kind of credential, identifier or mark.

Rules: a `trigger` is what both engines search for; it has no look-around and, for each of its ends, one beginning. What begins there is read by
`pattern`, on bytes (one for each character of the folded text); then `check` decides on its letters and digits without separators. Where `near`
is set, one of its words must stand close by. A type's part before the point is its family, which is what configuration speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. score: how sure a match is, 0 to 1; back: how far before the trigger the match may begin; skip: characters of the trigger before it."""

    id: str
    type: str
    trigger: bytes
    pattern: re.Pattern[bytes]
    score: float
    check: Check | None = None
    near: bytes | None = None
    back: re.Pattern[bytes] | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Number:
    """An identifier of digits. sure, weak: shapes such as `3-2-4`; a weak one needs a word near it."""

    id: str
    type: str
    sure: frozenset[str]
    weak: frozenset[str]
    check: Check | None
    near: bytes | None


def words(text: str) -> bytes:
    """A trigger for any of some words, at the beginning of a word; `_` stands for a space, a hyphen or nothing."""
    return rb"(?i)[^a-z](?:" + text.replace(" ", "|").replace("_", r"[ _-]?").encode("latin-1") + rb")"
