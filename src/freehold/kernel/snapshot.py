"""The one frozen picture of the configuration that a call sees from beginning to end.

Rules: nothing here changes after it is built; a reload builds a new one and swaps it. Every value is resolved:
secrets are read, zones decided, names checked.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from freehold.kernel.classes import Class, Zone
from freehold.kernel.routes import ROUTES, Auth, Route
from freehold.kernel.schema import Abilities, Engine, Network, Price, Server, Timeouts
from freehold.kernel.units import Secret

DEFAULT_TIMEOUTS = Timeouts()
Address = ipaddress.IPv4Network | ipaddress.IPv6Network
Period = Literal["day", "week", "month", "total"]


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """What is known of a provider before anyone configures it; a row of data, not behaviour.

    key_env: the variable that its users keep their key in; port: the loopback port of a local server, to look for it;
    routes: the dialects that it takes, the one to translate into first; base_url may name `{region}`, `{project}` and `{resource}`.
    """

    name: str
    base_url: str
    key_env: str | None = None
    port: int | None = None
    title: str = ""
    routes: tuple[Route, ...] = (ROUTES["openai-chat"],)
    auth: Auth = "bearer"


@dataclass(frozen=True, slots=True)
class Provider:
    """Somebody that serves models at an address. `declared_zone` is what the file says; `zone_at` is what holds now."""

    name: str
    base_url: str
    host: str
    is_tls: bool
    declared_zone: Zone
    why: str
    key: Secret | None = None
    addresses: tuple[Address, ...] = ()
    models: Mapping[str, Abilities] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    retries: int = 1
    uses_proxy: bool = True
    attested_until_s: float | None = None
    routes: tuple[Route, ...] = (ROUTES["openai-chat"],)
    auth: Auth = "bearer"
    region: str = ""
    credentials: Mapping[str, Secret] = field(default_factory=dict)

    def routes_to(self, model: str) -> tuple[Route, ...]:
        """The routes by which a model can be reached."""
        return tuple(route for route in self.routes if not route.serves or re.match(route.serves, model))

    def zone_at(self, now_s: float) -> Zone:
        """The zone at a moment (seconds since 1970): an agreement that has run out leaves the provider outside."""
        if self.declared_zone is Zone.ATTESTED and (self.attested_until_s is None or now_s >= self.attested_until_s):
            return Zone.OUTSIDE
        return self.declared_zone


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """`provider/model`: what one attempt is sent to."""

    provider: str
    model: str

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent in a period (UTC)."""

    limit: Decimal
    period: Period


@dataclass(frozen=True, slots=True)
class Workload:
    """A named use case. `groups` are tried in order; the targets of one group share the load; is_lossless: translation may lose nothing;
    shares_state: its callers may refer to what a provider keeps and no receipt names."""

    name: str
    class_: Class
    groups: tuple[tuple[Target, ...], ...]
    budget: Budget | None = None
    department: str | None = None
    is_lossless: bool = False
    shares_state: bool = False

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(target for group in self.groups for target in group)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that was configured, resolved. `digest` names the policy in every receipt."""

    zones: Mapping[Class, frozenset[Zone]]
    providers: Mapping[str, Provider]
    workloads: Mapping[str, Workload]
    server: Server
    network: Network
    engine: Engine
    digest: str
    source: str | None = None
