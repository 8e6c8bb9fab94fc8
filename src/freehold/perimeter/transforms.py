"""Take out of a call what was found in it: for good (`redact`), or against stand-ins that are put back into the answer (`pseudonymise`).

Rules: secrets are removed and never put back; a stand-in is made of letters that validate as nothing, is the same for the same value within a
conversation, and stands nowhere in the text already; what is spread over two messages cannot be taken out, so such a call stays inside. What
leaves is read again afterwards: this room only proposes.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from freehold.kernel.classes import Class
from freehold.perimeter.detection import NAME_AND_BIRTH, raised_to
from freehold.perimeter.detectors.scanner import Finding
from freehold.wire.strings import Strings, beginning_of, rewrite

Kind = Literal["redact", "pseudonymise"]
_LETTERS = "bcdfghjklmnpqrstvwxz"  # no vowel, no digit: a word of nobody, an identifier of nothing
_WORDS = {
    "person.name": "name",
    "person.birth_date": "date",
    "contact.email": "email",
    "contact.phone": "phone",
    "contact.address": "address",
}
_FAMILIES = {
    "secret": "secret",
    "health": "health",
    "gov": "id",
    "card": "card",
    "bank": "account",
    "network": "host",
    "mark": "mark",
    "custom": "term",
}


class Reading(msgspec.Struct, frozen=True):
    """What was read of a call, and what was found in it."""

    strings: Strings
    findings: tuple[Finding, ...]


class Transformed(msgspec.Struct, frozen=True):
    """What came of it. originals: stand-in → what it stands for, to be put back; counts: how often each type was taken out."""

    kind: Kind
    body: dict[str, Any]
    originals: dict[str, str]
    counts: dict[str, int]

    def words(self) -> str:
        """What was taken out, for a header and a reader: `pseudonymise: contact.email 1, person.name 2`."""
        return f"{self.kind}: {', '.join(f'{type_} {count}' for type_, count in sorted(self.counts.items()))}"

    def then(self, more: Transformed) -> Transformed:
        """This one, and another that was made of its body."""
        counts = Counter(self.counts) + Counter(more.counts)
        return Transformed(self.kind, more.body, {**self.originals, **more.originals}, dict(counts))


def transform(
    kind: Kind, body: dict[str, Any], reading: Reading, *, key: bytes, raises: Mapping[str, Class], floor: Class
) -> Transformed | None:
    """Take out what raises above the floor. key: of the conversation; raises: the table of what findings raise to.

    None if something is spread over two texts or stands beside the body, so that it cannot be taken out.
    """
    strings, findings = reading.strings, reading.findings
    types = {one.type for one in findings}
    together = {"person.name", "person.birth_date"} if {"person.name", "person.birth_date"} <= types else set()
    if together and raised_to(NAME_AND_BIRTH, raises) <= floor:
        together = set()
    wanted = [one for one in findings if raised_to(one.type, raises) > floor or one.type in together]
    if any(one.is_spread or one.text >= len(strings.texts) - strings.beside for one in wanted):
        return None
    made = _StandIns(kind, key, strings.texts)
    by_text: dict[int, list[Finding]] = {}
    for one in wanted:
        by_text.setdefault(one.text, []).append(one)
    texts = {at: _replaced(strings.texts[at], found, made) for at, found in by_text.items()}
    return Transformed(kind, rewrite(body, texts), made.originals, dict(Counter(one.type for one in wanted)))


def _replaced(text: str, findings: list[Finding], made: _StandIns) -> str:
    """What overlaps goes as one; a secret in it makes all of it secret."""
    parts, done = [], 0
    spans: list[tuple[int, int, Finding]] = []
    for one in sorted(findings, key=lambda one: (one.start, -one.end)):
        if spans and one.start < spans[-1][1]:
            start, end, first = spans.pop()
            spans.append((start, max(end, one.end), one if one.family == "secret" else first))
        else:
            spans.append((one.start, one.end, one))
    for start, end, one in spans:
        parts += [text[done:start], made.of(one, text[start:end])]
        done = end
    return "".join([*parts, text[done:]])


class _StandIns:
    """Stand-ins of one call."""

    def __init__(self, kind: Kind, key: bytes, texts: Sequence[str]) -> None:
        self._kind, self._key = kind, key
        self._all = "\n".join(texts).lower()
        self.originals: dict[str, str] = {}

    def of(self, finding: Finding, value: str) -> str:
        word = _WORDS.get(finding.type) or _FAMILIES.get(finding.family, "data")
        if finding.family == "secret":
            return "[secret removed]"
        if self._kind == "redact":
            return f"[{word} removed]"
        digest = int.from_bytes(
            hmac.digest(self._key, f"{word}\0{value}".encode("utf-8", "surrogatepass"), "sha256"), "big"
        )
        letters = ""
        while (
            len(letters) < 6
            or self.originals.get(f"[{word}_{letters}]", value) != value
            or f"[{word}_{letters}]" in self._all
        ):
            letters += _LETTERS[digest % 20]
            digest //= 20
        token = f"[{word}_{letters}]"
        self.originals[token] = value
        return token


def conversation_key(secret: bytes, body: Mapping[str, Any]) -> bytes:
    """A key that is the same for every turn of one conversation, whose beginning is sent again each time."""
    return hmac.digest(secret, msgspec.json.encode(beginning_of(body)), "sha256")
