"""Two ways to find where candidates begin: Hyperscan, all triggers in one pass, and Python's own `re`, one trigger after another.

Rules: for the same bytes both give the same places (the tests hold them to it); a database that was stored is used only under the digest of the
triggers that it was made from.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from typing import Any, Protocol

Hits = list[tuple[int, int, int]]  # (number of the trigger, beginning, end)


class Engine(Protocol):
    """Finds every place where a trigger matches, in any order."""

    def find(self, data: bytes) -> Hits: ...


class PlainEngine:
    """Every trigger by `re`, in a look-ahead, so that matches may overlap."""

    def __init__(self, triggers: Sequence[bytes]) -> None:
        self._triggers = [_overlapping(trigger) for trigger in triggers]

    def find(self, data: bytes) -> Hits:
        return [
            (number, found.start(1), found.end(1))
            for number, one in enumerate(self._triggers)
            for found in one.finditer(data)
        ]


def _overlapping(trigger: bytes) -> re.Pattern[bytes]:
    flags = rb"(?i)" if trigger.startswith(b"(?i)") else b""
    return re.compile(flags + rb"(?=(" + trigger.removeprefix(b"(?i)") + rb"))")


class HyperscanEngine:
    """All triggers at once. stored: what `stored()` gave for the same triggers, on the same kind of machine."""

    def __init__(self, triggers: Sequence[bytes], stored: bytes | None = None) -> None:
        self._hyperscan: Any = importlib.import_module("hyperscan")  # where there is no wheel, the other engine serves
        self._database: Any = self._load(stored) if stored is not None else None
        self.was_stored = self._database is not None
        if self._database is None:
            self._database = self._hyperscan.Database(mode=self._hyperscan.HS_MODE_BLOCK)
            flags = self._hyperscan.HS_FLAG_SOM_LEFTMOST
            self._database.compile(
                expressions=list(triggers),
                ids=list(range(len(triggers))),
                elements=len(triggers),
                flags=[flags] * len(triggers),
            )

    def _load(self, stored: bytes) -> Any:
        try:
            database = self._hyperscan.loadb(stored, mode=self._hyperscan.HS_MODE_BLOCK)
            database.scratch = self._hyperscan.Scratch(database)
        except self._hyperscan.error:
            return None  # another machine's or another version's: made anew
        return database

    def stored(self) -> bytes:
        """The compiled triggers, to start from the next time."""
        data: bytes = self._hyperscan.dumpb(self._database)
        return data

    def find(self, data: bytes) -> Hits:
        hits: Hits = []
        self._database.scan(
            data, match_event_handler=lambda number, start, end, _flags, _context: hits.append((number, start, end))
        )
        return hits


def has_hyperscan() -> bool:
    return importlib.util.find_spec("hyperscan") is not None


def digest(triggers: Sequence[bytes]) -> str:
    """Names a set of triggers, and the version of what compiles them."""
    version = importlib.metadata.version("hyperscan") if has_hyperscan() else ""
    return hashlib.sha256(b"\n".join((version.encode(), *triggers))).hexdigest()
