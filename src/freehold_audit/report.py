"""What a verification came to."""

from __future__ import annotations

from dataclasses import dataclass, field


class Unreadable(Exception):
    """The bundle is not one: nothing can be said of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold. where: the file and the record; what: in words."""

    where: str
    what: str


@dataclass(slots=True)
class Report:
    """Everything that was checked. It holds when there is no finding; notes are facts that a reader should know."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    key: str = ""
    is_trusted: bool = False

    @property
    def holds(self) -> bool:
        return not self.findings

    def find(self, where: str, what: str) -> None:
        self.findings.append(Finding(where, what))

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by
