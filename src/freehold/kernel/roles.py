"""What somebody may do on the admin plane."""

from __future__ import annotations

from typing import NamedTuple

KINDS = ("admin", "auditor", "lead", "developer")


class Role(NamedTuple):
    """One of `KINDS`. department: whose a lead is, "" for every other kind."""

    kind: str
    department: str = ""

    @property
    def text(self) -> str:
        """As people write it: `admin`, `lead:support`."""
        return f"{self.kind}:{self.department}" if self.department else self.kind

    @classmethod
    def parse(cls, text: str) -> Role:
        """Raises ValueError, whose words say how a role is written."""
        kind, _, department = text.partition(":")
        if kind not in KINDS or bool(department) != (kind == "lead") or text.endswith(":"):
            raise ValueError(f"{text[:80]!r} is no role: write admin, auditor, developer or lead:DEPARTMENT")
        return cls(kind, department)
