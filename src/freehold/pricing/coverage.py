"""Which targets have no price, and where that contradicts a budget. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from freehold.kernel.classes import Zone
from freehold.kernel.errors import OperatorError
from freehold.kernel.snapshot import Snapshot, Target
from freehold.pricing.book import Book, tariff


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A target of a workload whose price is not known. budget: one in dollars that its calls count in, as a person writes it."""

    workload: str
    target: Target
    budget: str | None

    @property
    def words(self) -> str:
        said = f"workload {self.workload}: the price of {self.target.name} is unknown"
        if self.budget is None:
            return f"{said}; its calls are marked as unpriced"
        return f"{said}, and its calls count in the budget of {self.budget}"

    @property
    def mend(self) -> str:
        model = self.target.model
        return f'add prices = {{ "{model}" = {{ input = …, output = … }} }} to [providers.{self.target.provider}] (USD per million tokens)'


def unpriced(snapshot: Snapshot, book: Book) -> list[Unpriced]:
    """Every target of a workload without a price, in the order of the configuration."""
    found = []
    for workload in snapshot.workloads.values():
        budgets = [budget for budget in snapshot.budgets_of(workload) if budget.unit == "USD"]
        whose = f"{budgets[0].scope.replace(':', ' ')} ({budgets[0].words})" if budgets else None
        for target in workload.targets:
            provider = snapshot.providers[target.provider]
            own, is_inside = provider.prices.get(target.model), provider.declared_zone is Zone.INSIDE
            if tariff(book, target.provider, target.model, own, is_inside=is_inside) is None:
                found.append(Unpriced(workload.name, target, whose))
    return found


def contradicting(found: Iterable[Unpriced]) -> list[Unpriced]:
    """Those whose every call would be refused, because what it may cost cannot be held."""
    return [one for one in found if one.budget is not None]


def without_price(found: Iterable[Unpriced]) -> OperatorError:
    """What is wrong with a configuration in which a budget cannot be kept."""
    listed = "\n".join(f"  {one.words}\n    mend: {one.mend}" for one in contradicting(found))
    return OperatorError(f"A budget cannot be kept without a price:\n{listed}", code="config.unpriced")
