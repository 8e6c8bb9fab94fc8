"""The one frozen picture of the configuration that a call sees from beginning to end.

Rules: nothing here changes after it is built; a reload builds a new one and swaps it. Every value is resolved:
secrets are read, zones decided, names checked.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from freehold.kernel.classes import Class, Zone
from freehold.kernel.limits import Budget, Limits
from freehold.kernel.roles import Role
from freehold.kernel.routes import ROUTES, Auth, Route
from freehold.kernel.schema import Abilities, Cache, Capture, Engine, Network, Price, Server, Timeouts
from freehold.kernel.units import Secret

DEFAULT_TIMEOUTS = Timeouts()
Address = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """What is known of a provider before anyone configures it; a row of data, not behaviour.

    key_env: the variable that its users keep their key in; port: the loopback port of a local server, to look for it;
    routes: the dialects that it takes, the one to translate into first; base_url may name `{region}`, `{project}` and `{resource}`;
    elsewhere: regions with an address of another form, and that address;
    batches: how lines of a batch are handed in at its own batch endpoint (a style of `upstream.posting`), "" for one without;
    known_as: what OpenTelemetry calls it, where that is another name;
    geos: hosts (regular expressions) at which calls are processed in a place that has a price of its own, and the price book's word for it.
    """

    name: str
    base_url: str
    key_env: str | None = None
    port: int | None = None
    title: str = ""
    routes: tuple[Route, ...] = (ROUTES["openai-chat"],)
    auth: Auth = "bearer"
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    geos: tuple[tuple[str, str], ...] = ()
    batches: str = ""
    known_as: str = ""

    def geo_at(self, host: str) -> str:
        return next((geo for pattern, geo in self.geos if re.fullmatch(pattern, host)), "")


@dataclass(frozen=True, slots=True)
class Attested:
    """A recorded agreement, as it counts: when it holds (seconds since 1970), and for which models (all, if none is named)."""

    since_s: float
    until_s: float
    controls: tuple[str, ...]
    evidence: str
    models: frozenset[str] = frozenset()
    account: str = ""
    reviewer: str = ""

    def holds(self, model: str, now_s: float) -> bool:
        return self.since_s <= now_s < self.until_s and (not self.models or not model or model in self.models)


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
    attested: Attested | None = None
    routes: tuple[Route, ...] = (ROUTES["openai-chat"],)
    auth: Auth = "bearer"
    region: str = ""
    geo: str = ""
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    limits: Limits | None = None
    queue: int = 1_000
    wait_s: float = 10.0
    batches: str = ""
    known_as: str = ""

    def routes_to(self, model: str) -> tuple[Route, ...]:
        """The routes by which a model can be reached."""
        return tuple(route for route in self.routes if not route.serves or re.match(route.serves, model))

    def zone_at(self, now_s: float, model: str = "") -> Zone:
        """The zone of a model at a moment (seconds since 1970): an agreement that does not hold for it leaves it outside. No model: that of the provider."""
        if self.declared_zone is Zone.ATTESTED and (self.attested is None or not self.attested.holds(model, now_s)):
            return Zone.OUTSIDE
        return self.declared_zone


class Target(NamedTuple):
    """`provider/model`: what one attempt is sent to. A tuple, because it is looked up many times in every call."""

    provider: str
    model: str

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Organisation:
    """What holds for all calls together, and for each department. zone: where a day begins; webhook: where alerts go; takes_batches: for calls without a workload."""

    name: str = ""
    zone: datetime.tzinfo = datetime.UTC
    budgets: tuple[Budget, ...] = ()
    limits: Limits | None = None
    departments: Mapping[str, Department] = field(default_factory=dict)
    webhook: Errand | None = None
    takes_batches: bool = False


@dataclass(frozen=True, slots=True)
class Errand:
    """Somewhere that is told something: an address without its path as a provider, and the path, which may be a secret."""

    provider: Provider
    path: Secret


@dataclass(frozen=True, slots=True)
class Issuer:
    """Somebody that says who people or machines are. url: as its tokens name it; places: by their address, where it and its endpoints may be."""

    url: str
    places: Mapping[str, Provider]


@dataclass(frozen=True, slots=True)
class SignIn:
    """How people sign in. address: of the admin plane, as people reach it; claim: by what they are known; groups: which roles those of the issuer bring."""

    issuer: Issuer
    client_id: str
    client_secret: Secret | None
    address: str
    claim: str
    groups_claim: str
    groups: Mapping[str, tuple[Role, ...]]
    scopes: tuple[str, ...]
    session_s: float


@dataclass(frozen=True, slots=True)
class Machine:
    """Whose tokens count as keys. claim: what in a token is its subject; keys: the issuer's public ones (a JWK set), None where they are fetched."""

    name: str
    issuer: Issuer
    audience: str
    claim: str
    keys: bytes | None = None


@dataclass(frozen=True, slots=True)
class Vault:
    """Where secrets are looked up: an address, the path before its API, and what opens it."""

    provider: Provider
    path: str
    token: Secret
    namespace: str = ""
    ca_bundle: str | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A collector that is told of calls. path: before `/v1/traces`; share: of the traces that begin here, those that are kept."""

    provider: Provider
    path: str
    headers: Mapping[str, Secret]
    traces: bool
    metrics: bool
    share: float
    service: str


@dataclass(frozen=True, slots=True)
class Nodes:
    """What several nodes share. pepper: what keys are hashed with, made of their common secret; name: of this one, "" for the host's; copy_s: how old
    a node's copy of the keys may be."""

    database: Secret
    secret: Secret
    name: str = ""
    copy_s: float = 86_400.0

    @property
    def pepper(self) -> bytes:
        return hashlib.sha256(b"freehold-nodes-pepper/1\n" + self.secret.value.encode()).digest()


@dataclass(frozen=True, slots=True)
class Department:
    """What holds for the workloads of a department."""

    budgets: tuple[Budget, ...] = ()
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """A named use case. `groups` are tried in order; the targets of one group share the load; is_lossless: translation may lose nothing;
    shares_state: its callers may refer to what a provider keeps and no receipt names;
    transform: how what is found is taken out, so that a call may leave as its declared class;
    budgets, limits: of its own, its department's and the organisation's are beside; max_output: tokens of an answer, where the caller sets no limit;
    is_batch: its calls wait behind everybody else; cache: how its answers are kept and given again, None for not at all;
    takes_batches: they may come in files, which are kept; capture: how some are kept as cases for a verdict, None for not at all."""

    name: str
    class_: Class
    groups: tuple[tuple[Target, ...], ...]
    budgets: tuple[Budget, ...] = ()
    limits: Limits | None = None
    max_output: int | None = None
    department: str | None = None
    is_lossless: bool = False
    shares_state: bool = False
    transform: Literal["redact", "pseudonymise"] | None = None
    is_batch: bool = False
    cache: Cache | None = None
    takes_batches: bool = False
    capture: Capture | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(target for group in self.groups for target in group)


@dataclass(frozen=True, slots=True)
class Custom:
    """Something that only this company looks for. words: as they stand; pattern: a regular expression; exactly one of them is set."""

    name: str
    raises: Class
    words: tuple[str, ...] = ()
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Detection:
    """What findings raise to, beside the defaults; which classes' opaque content may leave; what else is looked for."""

    raises: Mapping[str, Class] = field(default_factory=dict)
    opaque: frozenset[Class] = frozenset({Class.PUBLIC, Class.INTERNAL})
    custom: tuple[Custom, ...] = ()


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
    detection: Detection = Detection()
    organisation: Organisation = Organisation()
    nodes: Nodes | None = None
    sign_in: SignIn | None = None
    machines: Mapping[str, Machine] = field(default_factory=dict)
    telemetry: Telemetry | None = None

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Every budget that is configured."""
        departments = (budget for one in self.organisation.departments.values() for budget in one.budgets)
        return (*self.organisation.budgets, *departments, *(b for one in self.workloads.values() for b in one.budgets))

    def budgets_of(self, workload: Workload | None) -> tuple[Budget, ...]:
        """Every budget that a workload's calls count in, beside their key's."""
        if workload is None:
            return self.organisation.budgets
        department = self.organisation.departments.get(workload.department or "")
        return (*workload.budgets, *(department.budgets if department else ()), *self.organisation.budgets)

    def limits_of(self, workload: Workload | None) -> list[tuple[str, Limits]]:
        """Every limit that a workload's calls count in, with whose it is, beside their key's."""
        found: list[tuple[str, Limits | None]] = []
        if workload is not None:
            department = workload.department or ""
            known = self.organisation.departments.get(department)
            found = [(f"workload:{workload.name}", workload.limits)]
            found.append((f"department:{department}", known.limits if known else None))
        found.append(("organisation", self.organisation.limits))
        return [(scope, limits) for scope, limits in found if limits is not None]
