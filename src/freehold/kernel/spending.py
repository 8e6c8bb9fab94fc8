"""Budgets and limits, as the tables of the file say them."""

from __future__ import annotations

from freehold.kernel import schema
from freehold.kernel.limits import Budget, Limits, limits_of, parse_budgets
from freehold.kernel.problems import Wrong


def spending_of(
    path: tuple[str, ...], spec: schema.Workload | schema.Department | schema.Organisation, scope: str
) -> tuple[tuple[Budget, ...], Limits | None]:
    """The budgets and limits of a table. Raises Wrong."""
    try:
        budgets = parse_budgets(spec.budget, scope)
    except ValueError as error:
        raise Wrong((*path, "budget"), str(error), 'budget = "200 USD/month"') from None
    return budgets, told_limits(path, spec.limits)


def told_limits(path: tuple[str, ...], spec: schema.Limits | None) -> Limits | None:
    """The limits of a table, None if it limits nothing. Raises Wrong."""
    try:
        return limits_of(spec)
    except ValueError as error:
        raise Wrong((*path, "limits"), str(error), 'limits = { calls = "600/minute" }') from None
