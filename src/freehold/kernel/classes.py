"""The two ladders of the perimeter: classes (how sensitive a call is) and zones (where a target runs)."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Class(IntEnum):
    """How sensitive a call is; higher is more sensitive."""

    PUBLIC = 0
    INTERNAL = 1
    CONFIDENTIAL = 2
    RESTRICTED = 3

    @property
    def label(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Class:
        """Read a class by its name; raises ValueError for any other text."""
        try:
            return _BY_LABEL[text]
        except KeyError:
            raise ValueError(f"{text!r} is not a class; use one of {', '.join(_BY_LABEL)}") from None


_BY_LABEL = {member.name.lower(): member for member in Class}


class Zone(StrEnum):
    """Where a target runs: the company's own machines, outside under a recorded agreement, or outside."""

    INSIDE = "inside"
    ATTESTED = "attested"
    OUTSIDE = "outside"


DEFAULT_ZONES: dict[Class, frozenset[Zone]] = {
    Class.PUBLIC: frozenset(Zone),
    Class.INTERNAL: frozenset(Zone),
    Class.CONFIDENTIAL: frozenset({Zone.INSIDE, Zone.ATTESTED}),
    Class.RESTRICTED: frozenset({Zone.INSIDE}),
}
