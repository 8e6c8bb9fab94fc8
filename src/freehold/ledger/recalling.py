"""What was charged for calls that are not under way any more, from the log itself: asked when a process goes on with what another began."""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from freehold.kernel.units import Tokens
from freehold.ledger import log as logs


class Charged(msgspec.Struct, frozen=True):
    """What receipts say of a call so far. cost: None for an unknown price; at_ms: when it was first charged, in milliseconds since 1970."""

    cost: Decimal | None
    tokens: Tokens = Tokens()
    outcome: str = "ok"
    at_ms: int = 0

    def and_(self, receipt: dict[str, Any]) -> Charged:
        """With a receipt that corrects it."""
        more, tokens = receipt["cost_usd"], receipt["tokens"]
        cost = Decimal(more) + (self.cost or 0) if more is not None else self.cost
        each = {name: getattr(self.tokens, name) + tokens.get(name, 0) for name in Tokens.__struct_fields__}
        return Charged(cost, Tokens(**each), self.outcome, self.at_ms)


class Recalled(msgspec.Struct, frozen=True):
    """What the log says of calls. charged: by call; under_way: those with an intent and no end, which whoever settles a dead process' calls will write."""

    charged: dict[str, Charged]
    under_way: frozenset[str]


def recall(folder: Path, calls: Container[str], since_ms: int) -> Recalled:
    """Look calls up in a log that holds them from a moment on."""
    found: dict[str, Charged] = {}
    begun: set[str] = set()
    for path in logs.segments(folder):
        if path.stat().st_mtime * 1000 < since_ms:
            continue
        for line, _ in logs.lines(path):
            if b'"kind":"intent"' in line:
                about = msgspec.json.decode(line, type=_Named).call
                if about in calls:
                    begun.add(about)
            elif b'"kind":"settled"' in line:
                receipt = msgspec.json.decode(line, type=dict[str, Any])
                about = receipt.get("corrects") or receipt["call"]
                if about in calls:
                    found[about] = _with(found.get(about), receipt)
    return Recalled(found, frozenset(begun - found.keys()))


class _Named(msgspec.Struct):
    call: str


def _with(before: Charged | None, receipt: dict[str, Any]) -> Charged:
    if before is None:
        nothing = None if receipt["cost_usd"] is None else Decimal(0)
        before = Charged(nothing, outcome=receipt["outcome"], at_ms=receipt["at_ms"])
    return before.and_(receipt)
