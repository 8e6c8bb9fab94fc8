"""What can be wrong with a configuration, and how it is said: where it stands, why, and how to mend it."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from freehold.kernel.errors import OperatorError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where it stands, why it is wrong, how to mend it."""

    line: int | None
    reason: str
    mend: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.reason}\n    mend: {self.mend}"


class ConfigError(OperatorError):
    """The file cannot be used; `problems` lists every reason."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        listed = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(
            f"{source} has {len(problems)} problem{'s' * (len(problems) != 1)}:\n{listed}", code="config.invalid"
        )
        self.problems = problems


class Wrong(Exception):
    """Raised inside the reader for one problem; the path says which key it stands at."""

    def __init__(self, path: tuple[str, ...], reason: str, mend: str) -> None:
        super().__init__(reason)
        self.path, self.reason, self.mend = path, reason, mend


def near(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3)
    return (
        f"did you mean {' or '.join(repr(c) for c in close)}?"
        if close
        else f"use one of {', '.join(sorted(known)) or 'none so far'}"
    )


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The 1-based line at which a key stands; its table's line if the key itself is not found."""
    best: int | None = None
    depth = 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if header := re.match(r"\[+\s*([^\]]+?)\s*\]+", stripped):
            table = tuple(part.strip().strip("\"'") for part in header.group(1).split("."))
            here = table
        elif key := re.match(r"([A-Za-z0-9_.\"'-]+)\s*=", stripped):
            here = table + tuple(part.strip("\"'") for part in key.group(1).split("."))
        else:
            continue
        shared = min(len(here), len(path))
        if here[:shared] == path[:shared] and shared > depth:
            best, depth = number, shared
    return best
