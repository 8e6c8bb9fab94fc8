"""What other prices would have made of calls that were made: the same tokens, priced anew. Pure.

What it does not know: where the receipts are, and why a price changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from freehold.kernel.units import USUAL, Terms, Tokens
from freehold.pricing.book import Tariff


@dataclass(frozen=True, slots=True)
class Used:
    """One call that was charged. cost: what was charged, None if its price was not known; is_correction: it is no call, but the rest of one."""

    target: str
    tokens: Tokens
    cost: Decimal | None
    terms: Terms = USUAL
    is_correction: bool = False


@dataclass(slots=True)
class Change:
    """What calls to one target cost, and would have cost. unpriced: calls that either side has no price for; they are in neither sum."""

    target: str
    calls: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    unpriced: int = 0

    @property
    def difference(self) -> Decimal:
        return self.after - self.before


def reprice(used: Iterable[Used], tariff_of: Callable[[str], Tariff | None]) -> list[Change]:
    """Price calls anew. tariff_of: the new rates of a target, None if there are none. Rows in the order of their difference, the largest first."""
    found: dict[str, Change] = {}
    for one in used:
        change = found.setdefault(one.target, Change(one.target))
        change.calls += not one.is_correction
        rates = tariff_of(one.target)
        if rates is None or one.cost is None:
            change.unpriced += 1
            continue
        after = rates.cost(one.tokens, one.terms)
        if after is None:
            change.unpriced += 1
        else:
            change.before += one.cost
            change.after += after
    return sorted(found.values(), key=lambda one: (-abs(one.difference), one.target))
