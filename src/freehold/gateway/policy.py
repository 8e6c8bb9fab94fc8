"""What follows from one configuration: its prices, its fleet, what is looked for and what that raises to. All of it changes together.

Rules (DESIGN §3, law 10): nothing here changes once it is made, but for what is remembered of it; a call takes the policy that holds when it begins,
and keeps it to its end, whatever is reloaded meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import BUILTIN
from freehold.kernel.schema import Abilities
from freehold.kernel.snapshot import Snapshot, Target
from freehold.perimeter.detection import raises_of
from freehold.perimeter.detectors.scanner import Scanner
from freehold.perimeter.ruling import Declared, Ruling, rule
from freehold.pricing.book import Book, Tariff, tariff
from freehold.routing.plan import Fleet, Vital


class Prices:
    """Tariffs of one snapshot, each looked up once."""

    def __init__(self, book: Book, snapshot: Snapshot) -> None:
        self._book, self._snapshot = book, snapshot
        self._known: dict[Target, Tariff | None] = {}
        self.digest = book.digest

    def of(self, target: Target) -> Tariff | None:
        if target not in self._known:
            provider = self._snapshot.providers[target.provider]
            found = tariff(
                self._book,
                target.provider,
                target.model,
                provider.prices.get(target.model),
                is_inside=provider.declared_zone is Zone.INSIDE,
            )
            if len(self._known) >= 10_000:  # callers choose model names: they must not choose our memory
                return found
            self._known[target] = found
        return self._known[target]


_MOST_RULINGS = 1024


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that a configuration decides. now_s: seconds since 1970."""

    snapshot: Snapshot
    prices: Prices
    fleet: Fleet
    scanner: Scanner
    raises: Mapping[str, Class]
    now_s: Callable[[], float]
    _rulings: dict[Declared, Ruling] = field(default_factory=dict)

    def base_ruling(self, declared: Declared) -> Ruling:
        """The ruling on what was declared, before anything was read; callers declare the same again and again, so it is remembered."""
        known = self._rulings.get(declared)
        if known is not None:
            return known
        ruling = rule(declared, self.snapshot)
        if len(self._rulings) >= _MOST_RULINGS:  # a header's words are the caller's: they must not choose our memory
            self._rulings.clear()
        self._rulings[declared] = ruling
        return ruling

    def zone_of(self, target: Target) -> Zone:
        """Where a target runs now."""
        return self.snapshot.providers[target.provider].zone_at(self.now_s(), target.model)


def decide(
    snapshot: Snapshot, book: Book, scanner: Scanner, vital: Callable[[Target], Vital], now_s: Callable[[], float]
) -> Policy:
    """Work out what follows from a snapshot. vital: how a target is now."""
    fleet = build_fleet(snapshot, book, vital)
    return Policy(snapshot, Prices(book, snapshot), fleet, scanner, raises_of(snapshot), now_s)


def build_fleet(snapshot: Snapshot, book: Book, vital: Callable[[Target], Vital] = lambda _target: Vital()) -> Fleet:
    """Collect abilities and plain names from the configuration, the workloads and the price book."""
    abilities: dict[Target, Abilities] = {}
    serves: dict[str, list[str]] = {}
    for provider in snapshot.providers.values():
        rows = book.rows.get(provider.name, {}) if provider.name != BUILTIN else {}
        # A provider's own list is closed; without one, the book's rows and the workloads' targets are what is known of it.
        named = set(provider.models) or {row.model for row in rows.values()} | {
            t.model for w in snapshot.workloads.values() for t in w.targets if t.provider == provider.name
        }
        for model in sorted(named):
            own = provider.models.get(model, Abilities())
            row = rows.get(model)
            abilities[Target(provider.name, model)] = Abilities(
                context=own.context or (row.context if row else None),
                max_output=own.max_output or (row.max_output if row else None),
                tools=own.tools if own.tools is not None else (row.tools if row else None),
                images=own.images if own.images is not None else (row.images if row else None),
                embeddings=own.embeddings
                if own.embeddings is not None
                else (True if row and row.mode == "embedding" else None),
            )
            serves.setdefault(model, []).append(provider.name)
    return Fleet(abilities, {model: tuple(names) for model, names in serves.items()}, vital, draw=random.random)


def served_names(fleet: Fleet, snapshot: Snapshot) -> Mapping[str, str]:
    """Names for the model list: workloads first, then targets. The value is who owns the name."""
    names = dict.fromkeys(snapshot.workloads, "workload")
    return names | {target.name: target.provider for target in fleet.abilities}
