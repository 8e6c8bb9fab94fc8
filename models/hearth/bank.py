"""Read the phrase banks: for each language, sections of lines with choices, slots and marks.

Why it exists: a small model generalises as far as its text varies, so variety lives in `bank/*.txt` as data, and this module only draws from it.
Rules: every line belongs to one split for ever, by a digest of its text, so that training, validation and test share no sentence and no name; no article that
training names, in whatever line, is named in the others. Sections of fewer than ten lines (months, forms of address, the steps that replies tell) are shared.
`[a|b|]` is a choice, `{slot.form}` is filled later, `{=desk lamp}` is an article that the line itself names.
What it does not know: how messages are put together.
"""

from __future__ import annotations

import random
import re
import zlib
from bisect import bisect
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent / "bank"
LANGUAGES = ("en", "de", "es", "fr")
SPLITS = ("train", "validation", "test")
SHARED = 10  # sections with fewer lines are not split
WHOLE = frozenset({"month", "month short"})
MARKS = frozenset("-+!~")
NAMED = re.compile(r"\{=([^{}]+)\}")  # an article that a line itself names
_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Line:
    """One phrase, and what it says of the mood: `-` negative, `+` positive, `!` high urgency, `~` low."""

    text: str
    marks: frozenset[str]


def shared_out(lines: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The lines of a section by split, by their digests: 12 % test, 8 % validation, the rest train; so a line that is added moves no other.

    A split that would be empty gets the line whose digest is nearest.
    """
    ranked = sorted(lines, key=lambda line: zlib.crc32(line.encode()))
    ranks = [zlib.crc32(line.encode()) / 2**32 for line in ranked]
    test = max(1, bisect(ranks, 0.12))
    held = max(test + 1, bisect(ranks, 0.20))
    return {"test": tuple(ranked[:test]), "validation": tuple(ranked[test:held]), "train": tuple(ranked[held:])}


def articles(section: str, line: str) -> frozenset[str]:
    """What a line names by itself of what the shop sells, in lower case."""
    named = [line.partition(" ")[2]] if section == "product" else NAMED.findall(line)
    return frozenset(one.lower() for one in named)


def parse(text: str) -> Line:
    head, space, rest = text.partition(" ")
    if space and head and set(head) <= MARKS:
        return Line(rest.strip(), frozenset(head))
    return Line(text, frozenset())


@cache
def sections(language: str) -> dict[str, tuple[str, ...]]:
    """Every section of a language's files. Raises ValueError where a line stands before the first section."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob(f"{language}*.txt")):
        lines: list[str] | None = None  # of the section that has begun
        for raw in path.read_text(encoding="utf-8").splitlines():
            line = raw.strip()
            if line.startswith("== "):
                lines = found.setdefault(line[3:].strip(), [])
            elif line and lines is not None:
                lines.append(line)
            elif line:
                raise ValueError(f"{path.name}: a line before the first section: {line[:40]!r}")
    return {name: tuple(dict.fromkeys(lines)) for name, lines in found.items()}


@cache
def drawn(language: str, split: str) -> dict[str, tuple[str, ...]]:
    """What of every section one split may draw from."""
    found = {
        name: lines if name in WHOLE or len(lines) < SHARED else shared_out(lines)[split]
        for name, lines in sections(language).items()
    }
    if split == "train":
        return found
    known = {one for name, lines in drawn(language, "train").items() for line in lines for one in articles(name, line)}
    return {name: tuple(line for line in lines if not articles(name, line) & known) for name, lines in found.items()}


class Bank:
    """The lines of one language that one split may draw from."""

    def __init__(self, language: str, split: str) -> None:
        if language not in LANGUAGES or split not in SPLITS:
            raise ValueError(f"no bank for {language!r}, {split!r}")
        self.language, self.split = language, split
        self.lines = {name: tuple(map(parse, lines)) for name, lines in drawn(language, split).items()}

    def section(self, name: str) -> list[str]:
        return [line.text for line in self.lines[name]]

    def draw(self, rng: random.Random, name: str, *, unlike: frozenset[str] = frozenset()) -> Line:
        """One line, its choices made; `unlike`: marks that it should not carry, where there is such a line."""
        lines = self.lines[name]
        line = rng.choice(lines)
        if line.marks & unlike:
            line = rng.choice([one for one in lines if not one.marks & unlike] or lines)
        return Line(expand(rng, line.text), line.marks)

    def several(self, rng: random.Random, name: str, count: int) -> list[Line]:
        """Different lines of one section, as many as it has of them."""
        lines = rng.sample(self.lines[name], min(count, len(self.lines[name])))
        return [Line(expand(rng, line.text), line.marks) for line in lines]

    def pick(self, rng: random.Random, name: str) -> str:
        return self.draw(rng, name).text


def expand(rng: random.Random, text: str) -> str:
    """Make every choice, the inner ones first."""
    while found := _CHOICE.search(text):
        text = text[: found.start()] + rng.choice(found.group(1).split("|")) + text[found.end() :]
    return re.sub(r" +", " ", text).replace(" ,", ",").replace(" ?", "?").strip()


_DE = {
    "nom": ("der", "die", "das", "die"), "akk": ("den", "die", "das", "die"), "dat": ("dem", "der", "dem", "den"),
    "mnom": ("mein", "meine", "mein", "meine"), "makk": ("meinen", "meine", "mein", "meine"), "mdat": ("meinem", "meiner", "meinem", "meinen"),
    "enom": ("ein", "eine", "ein", ""), "eakk": ("einen", "eine", "ein", ""), "edat": ("einem", "einer", "einem", ""),
}  # fmt: skip
_ES = {
    "el": ("el", "la", "los", "las"), "del": ("del", "de la", "de los", "de las"), "al": ("al", "a la", "a los", "a las"),
    "mi": ("mi", "mi", "mis", "mis"), "un": ("un", "una", "unos", "unas"),
}  # fmt: skip
_FR = {
    "le": ("le", "la", "les", "les"), "du": ("du", "de la", "des", "des"), "au": ("au", "à la", "aux", "aux"),
    "mon": ("mon", "ma", "mes", "mes"), "un": ("un", "une", "des", "des"),
}  # fmt: skip
_MUTE = ("harmonica", "horloge", "humidificateur", "huile", "hélicoptère", "habit", "haltère", "herbier", "hydrat")
_ELIDED = {"le": "l'", "du": "de l'", "au": "à l'", "mon": "mon "}
GENDERS = {
    "de": ["m", "f", "n", "p"],
    "es": ["m", "f", "mp", "fp"],
    "fr": ["m", "f", "mp", "fp"],
    "en": ["s", "p", "u"],
}


def article(language: str, form: str, gender: str, noun: str) -> str:
    """What stands before a noun in one form, with its space. Raises KeyError for a form that the language does not have."""
    at = GENDERS[language].index(gender)
    if language == "en":
        if form != "a":
            raise KeyError(form)
        return "" if gender != "s" else "an " if noun[:1].lower() in "aeiou" else "a "
    if (
        language == "fr"
        and at < 2
        and (noun[:1].lower() in "aeiouéèêàâîôûœ" or noun.lower().startswith(_MUTE))
        and form in _ELIDED
    ):
        return _ELIDED[form]
    word = {"de": _DE, "es": _ES, "fr": _FR}[language][form][at]
    return f"{word} " if word else ""
