"""What a call sees of the running system: one immutable snapshot with its prices and fleet, and the parts that keep state."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freehold.content.answers import AnswerCache
from freehold.content.keyring import Keyring
from freehold.content.sealed import SealedStore
from freehold.gateway.alerts import Alerts
from freehold.gateway.limits import Throttle
from freehold.gateway.metrics import Metrics
from freehold.gateway.traffic import Traffic
from freehold.identity.keys import Keys
from freehold.jobs.records import Records
from freehold.kernel.classes import Class, Zone
from freehold.kernel.clock import Clock
from freehold.kernel.config import BUILTIN
from freehold.kernel.schema import Abilities
from freehold.kernel.snapshot import Snapshot, Target
from freehold.ledger.budgets import Budgets
from freehold.ledger.ledger import Ledger
from freehold.ledger.pools import Pools
from freehold.ledger.steward import Steward
from freehold.perimeter.detectors.scanner import Scanner
from freehold.perimeter.ruling import Declared, Ruling, rule
from freehold.pricing.book import Book, Tariff, tariff
from freehold.routing.plan import Fleet, Vital
from freehold.upstream.health import Health
from freehold.upstream.transport import Transport


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


@dataclass(slots=True)
class World:
    """Everything that the pipeline is handed. `snapshot`, `prices` and `fleet` belong together and change together."""

    snapshot: Snapshot
    prices: Prices
    fleet: Fleet
    keys: Keys
    ledger: Ledger
    pools: Pools
    budgets: Budgets
    throttle: Throttle
    alerts: Alerts
    transport: Transport
    metrics: Metrics
    keyring: Keyring
    subject_key: Callable[[str], bytes]
    content: SealedStore
    cache: AnswerCache
    records: Records
    scanner: Scanner
    raises: Mapping[str, Class]
    state: Path
    health: Health
    traffic: Traffic
    clock: Clock = field(default_factory=Clock)
    is_draining: bool = False
    steward: Steward | None = None  # where this process has the state directory itself
    engine_ready: Callable[[], bool] = lambda: True
    _rulings: dict[Declared, tuple[Snapshot, Ruling]] = field(default_factory=dict)

    def base_ruling(self, declared: Declared, snapshot: Snapshot) -> Ruling:
        """The ruling on what was declared, before anything was read; callers declare the same again and again, so it is remembered."""
        known = self._rulings.get(declared)
        if known is not None and known[0] is snapshot:
            return known[1]
        ruling = rule(declared, snapshot)
        if len(self._rulings) >= _MOST_RULINGS:  # a header's words are the caller's: they must not choose our memory
            self._rulings.clear()
        self._rulings[declared] = (snapshot, ruling)
        return ruling

    def zone_of(self, target: Target) -> Zone:
        return self.snapshot.providers[target.provider].zone_at(self.clock.now_s(), target.model)


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
