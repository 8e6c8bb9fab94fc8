"""What can be wrong with a configuration, and how it is said: where it stands, why, and how to mend it."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

from msgspec import inspect

from freehold.kernel.errors import OperatorError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")  # of whatever the file names


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


def explain(path: tuple[str, ...], value: Any, kind: type[Any], message: str) -> Wrong:
    """Turn the decoder's words into a problem at the key that is wrong. kind: the type of the table at the path."""
    reason, _, where = message.partition(" - at `$")
    keys = re.findall(r"\.([A-Za-z_]+)", where)
    unknown = re.search(r"unknown field `(.*)`", reason)
    if unknown and isinstance(value, dict):
        key, found = unknown.group(1), inspect.type_info(kind)
        known = sorted({one.encode_name for table in _tables(found, keys) for one in table.fields})
        return Wrong((*path, *keys, key), f"unknown key {key!r} in [{'.'.join((*path, *keys))}]", near(key, known))
    at = ".".join((*path, *keys))
    missing = re.search(r"missing required field `(.*)`", reason)
    mend = f"add {missing.group(1)} = …" if missing else "see the reference of freehold.toml"
    return Wrong((*path, *keys), f"{at}: {reason[0].lower()}{reason[1:]}", mend)


def _tables(kind: inspect.Type, keys: list[str]) -> list[inspect.StructType]:
    """The tables that may stand below a type, under these keys."""
    match kind:
        case inspect.StructType():
            if not keys:
                return [kind]
            return [
                one for field in kind.fields if field.encode_name == keys[0] for one in _tables(field.type, keys[1:])
            ]
        case inspect.UnionType():
            return [one for part in kind.types for one in _tables(part, keys)]
        case inspect.DictType():
            return _tables(kind.value_type, keys)
        case inspect.VarTupleType():
            return _tables(kind.item_type, keys)
    return []
