"""The shape of `freehold.toml`, as written by a person. Unknown keys are errors; every default is shown here.

The JSON Schema for editors is generated from these types (`json_schema`).
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

ZoneName = Literal["inside", "attested", "outside"]
ClassName = Literal["public", "internal", "confidential", "restricted"]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base of every table in the file."""


Share = Annotated[float, msgspec.Meta(gt=0, le=10)]


class Budget(File, frozen=True):
    """A budget with more to say than its limit (`"20 USD/month"`, `"5000000 tokens/day"`).

    hard: what would exceed it is not sent, else it is only told; alerts: shares of the limit (1 = all) whose crossing is written down and told to
    `[organisation] webhook`; when_spent: `refuse` a call that no longer fits, or `degrade` it to inside targets that cost nothing.
    """

    limit: str
    hard: bool = True
    alerts: tuple[Share, ...] = (0.8, 1)
    when_spent: Literal["refuse", "degrade"] = "refuse"


BudgetSpec = str | Budget | tuple[str | Budget, ...]


class Limits(File, frozen=True):
    """How fast: `calls = "600/minute"`, `tokens = "100000/minute"` (second, minute, hour, day); concurrent: how many calls at once."""

    calls: str | None = None
    tokens: str | None = None
    concurrent: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)] | None = None


class Organisation(File, frozen=True):
    """The `[organisation]` table: what holds for all calls together. time_zone: where days, weeks and months begin;
    webhook: where alerts of budgets are sent as JSON (`env:NAME`, `file:PATH`, or an https address);
    batch: calls that name a target and no workload may come in files, which are kept.
    """

    name: str = ""
    time_zone: str = "UTC"
    budget: BudgetSpec | None = None
    limits: Limits | None = None
    webhook: str | None = None
    batch: bool = False


class Department(File, frozen=True):
    """One `[departments.NAME]` table; workloads say which department they belong to."""

    budget: BudgetSpec | None = None
    limits: Limits | None = None


class PriceTier(File, frozen=True):
    """USD per million tokens."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None


class Price(PriceTier, frozen=True):
    """USD per million tokens, overriding the price book for one model; `hourly` is an own machine's cost to be allocated; tiers: of service tiers."""

    hourly: Decimal | None = None
    tiers: dict[Literal["batch", "flex", "priority", "fast"], PriceTier] = {}


class Attestation(File, frozen=True):
    """A recorded agreement under which an outside provider counts as `attested`, from `since` until it expires.

    control: what was agreed (`zero-retention`, `baa`, `no-training`, `region`), one or several; evidence: the SHA-256 of the signed document;
    endpoint: the address that it was made for, needed where base_url is given; models: the only ones that it covers; account, reviewer: for the record.
    """

    control: str | tuple[str, ...]
    evidence: str
    expires: datetime.date
    since: datetime.date | None = None
    endpoint: str | None = None
    models: tuple[str, ...] = ()
    account: str | None = None
    reviewer: str | None = None


class Timeouts(File, frozen=True):
    """Deadlines of one attempt, in seconds."""

    connect: Seconds = 10.0
    first_byte: Seconds = 120.0
    silence: Seconds = 60.0
    total: Seconds = 600.0


class Abilities(File, frozen=True):
    """What one model can take; what is not said is assumed to work."""

    context: Annotated[int, msgspec.Meta(gt=0)] | None = None
    max_output: Annotated[int, msgspec.Meta(gt=0)] | None = None
    tools: bool | None = None
    images: bool | None = None
    embeddings: bool | None = None


class Credentials(File, frozen=True):
    """References to what a provider's requests are signed with: an AWS pair (and the token of a temporary one), or a Google account's JSON key."""

    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    service_account: str | None = None


DialectName = Literal["openai-chat", "openai-responses", "anthropic-messages", "gemini", "bedrock-converse"]


class Provider(File, frozen=True):
    """One `[providers.NAME]` table.

    like: the known provider whose ways it has (its dialects, paths and small differences); dialect: what it speaks instead, the one to
    translate into first; region, project, resource: parts of a known address; api_version: Azure's
    older interface; credentials: for providers that sign requests. One that a provider has no use for is an error.
    limits: how fast calls go there and how many at once, over all workers; queue: how many may wait for that; wait: for how long, in seconds, before
    the next target is tried; batches: how lines of a batch are handed in at its own batch endpoint, where they cost less, `none` for not at all.
    """

    like: str | None = None
    dialect: DialectName | tuple[DialectName, ...] | None = None
    base_url: str | None = None
    region: str | None = None
    project: str | None = None
    resource: str | None = None
    api_version: str | None = None
    credentials: Credentials = Credentials()
    key: str | None = None
    zone: ZoneName | None = None
    addresses: tuple[str, ...] = ()
    models: dict[str, Abilities] | tuple[str, ...] = ()
    prices: dict[str, Price] = {}
    attestation: Attestation | None = None
    timeouts: Timeouts = Timeouts()
    retries: Annotated[int, msgspec.Meta(ge=0, le=5)] = 1
    proxy: bool = True
    limits: Limits | None = None
    queue: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 1_000
    wait: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 10.0
    batches: Literal["openai", "anthropic", "mistral", "gemini", "none"] | None = None


class Cache(File, frozen=True):
    """Answers are kept, encrypted, and given again to exactly the same question.

    ttl: for how long, in seconds; scope: whose they are, each `key`'s own or the whole `workload`'s; sampling, tools: also where the answer is drawn by
    chance (a temperature above zero, or none given), and where tools are offered; entries, bytes: how much is kept at the most, all together and
    for one answer.
    """

    ttl: Annotated[float, msgspec.Meta(gt=0, le=30 * 86_400)] = 3_600.0
    scope: Literal["key", "workload"] = "key"
    sampling: bool = False
    tools: bool = False
    entries: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)] = 10_000
    bytes: Annotated[int, msgspec.Meta(gt=0)] = 256 * 1024 * 1024
    answer_bytes: Annotated[int, msgspec.Meta(gt=0, le=64 * 1024 * 1024)] = 1024 * 1024


class Capture(File, frozen=True):
    """Calls are kept, encrypted, as cases for a verdict (`dataset = "captured:NAME"`): what was asked, never what was answered.

    share: of the calls, drawn by chance; ttl: for how long, in seconds; entries, bytes: how much at the most, the oldest go first.
    """

    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    ttl: Annotated[float, msgspec.Meta(gt=0, le=365 * 86_400)] = 30 * 86_400.0
    entries: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)] = 10_000
    bytes: Annotated[int, msgspec.Meta(gt=0)] = 256 * 1024 * 1024


class Workload(File, frozen=True):
    """One `[workloads.NAME]` table. `targets` are tried in order; an inner list shares load between equals.

    lossless: a target is left out if a translation for it would lose anything that the call asks for;
    shares_state: callers may refer to what a provider keeps and Freehold has no record of (conversations, templates, items, caches), whoever made it;
    transform: what is found may be taken out (`redact`) or replaced and put back in the answer (`pseudonymise`), so that a call which only the
    detectors raised may leave as its declared class; max_output: the limit of an answer in tokens, sent to the target where the caller sets none;
    priority: `batch` waits behind everybody else where a provider is busy; cache: keep answers and give them again;
    batch: calls may come in files, which are kept until they are over their time; capture: some calls are kept as cases for a verdict.
    """

    targets: tuple[str | tuple[str, ...], ...]
    class_: ClassName = msgspec.field(name="class", default="restricted")
    budget: BudgetSpec | None = None
    limits: Limits | None = None
    max_output: Annotated[int, msgspec.Meta(gt=0)] | None = None
    department: str | None = None
    lossless: bool = False
    shares_state: bool = False
    transform: Literal["redact", "pseudonymise"] | None = None
    priority: Literal["interactive", "batch"] = "interactive"
    cache: Cache | None = None
    batch: bool = False
    capture: Capture | None = None


class WordList(File, frozen=True):
    """One `[detection.words.NAME]` table: words or phrases that are looked for as they stand, in any case; `file` holds one a line."""

    words: tuple[str, ...] = ()
    file: str | None = None
    raises: ClassName = "confidential"


class Pattern(File, frozen=True):
    """One `[detection.patterns.NAME]` table: a regular expression (Python's, over the folded text) for what only this company has."""

    pattern: str
    raises: ClassName = "confidential"


class Detection(File, frozen=True):
    """The `[detection]` table: what a finding raises a call to, by family or type (`"contact.email" = "public"` raises to nothing).

    opaque: the classes whose pictures, sounds, documents and token lists may leave the inside, where no detector can read them.
    """

    raises: dict[str, ClassName] = {}
    opaque: tuple[ClassName, ...] = ("public", "internal")
    words: dict[str, WordList] = {}
    patterns: dict[str, Pattern] = {}


class Server(File, frozen=True):
    """The `[server]` table: limits of the data plane. file_bytes: how much one key may keep in files (for batches); watch: whether this file is read
    anew when it has changed; access_log: whether each call that has ended is a line of the log.
    """

    max_body_bytes: Annotated[int, msgspec.Meta(gt=0)] = 32 * 1024 * 1024
    file_bytes: Annotated[int, msgspec.Meta(ge=0)] = 8 * 1024 * 1024 * 1024
    body_timeout: Seconds = 30.0
    drain: Seconds = 30.0
    headers: bool = True
    watch: bool = True
    access_log: bool = False


class Network(File, frozen=True):
    """The `[network]` table: `ca_bundle` is a PEM file that is trusted besides the system's authorities."""

    ca_bundle: str | None = None


class Nodes(File, frozen=True):
    """The `[nodes]` table: several nodes that share keys, budgets and the index. postgres: a reference to the address of their database; secret: a
    reference to what keys are hashed with, the same for every node; name: what people call this one (default: the host's name); copy: for how long,
    in seconds, a node that cannot reach the database goes on with the keys that it knows, of which one may have been revoked meanwhile.
    """

    postgres: str
    secret: str
    name: str = ""
    copy_: Annotated[float, msgspec.Meta(ge=60, le=30 * 86_400)] = msgspec.field(name="copy", default=86_400.0)


class SignIn(File, frozen=True):
    """The `[sign_in]` table: how people sign in to the admin plane (OpenID Connect, authorisation code with PKCE).

    issuer: as its own discovery document names it; client_secret: a reference, left out for a public client; address: where people reach the admin
    plane, to which the issuer sends them back (`/sign-in/back`); claim: by what people are known (an `email` counts only where the issuer says that
    it is verified); groups_claim, groups: which roles the issuer's groups bring; hosts: further hosts that the issuer's endpoints may have; session: for how long, in seconds.
    """

    issuer: str
    client_id: str
    address: str
    client_secret: str | None = None
    claim: str = "email"
    groups_claim: str = "groups"
    groups: dict[str, str | tuple[str, ...]] = {}
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    hosts: tuple[str, ...] = ()
    session: Annotated[float, msgspec.Meta(ge=60, le=7 * 86_400)] = 8 * 3_600.0


class Machine(File, frozen=True):
    """One `[machines.NAME]` table: whose signed tokens (JWT) count where a key is asked for. A key says which subject it belongs to (`freehold keys create --machine NAME:SUBJECT`).

    audience: what a token must be made for; claim: what in it is its subject; keys: `file:PATH` of the issuer's public keys (a JWK set), where they are not to be fetched; hosts: further hosts that its endpoints may have.
    """

    issuer: str
    audience: str
    claim: str = "sub"
    keys: str | None = None
    hosts: tuple[str, ...] = ()


class Vault(File, frozen=True):
    """The `[vault]` table: where references such as `vault:secret/freehold#openai` are looked up (HashiCorp Vault or OpenBao, KV version 2).

    token: a reference (`env:VAULT_TOKEN`, or the file that an agent keeps fresh).
    """

    address: str
    token: str = "env:VAULT_TOKEN"  # noqa: S105 - a reference, never the secret
    namespace: str = ""


class Telemetry(File, frozen=True):
    """The `[telemetry]` table: a collector that is told of calls in OpenTelemetry's format (OTLP over HTTP, as JSON), never of what they hold.

    endpoint: its address, without `/v1/traces`; addresses: the networks that a host name must resolve into where it is spoken to without TLS; headers: references to
    what it is shown (`authorization = "env:OTEL_TOKEN"`); share: of the traces that nobody else began, those that are kept.
    """

    endpoint: str
    addresses: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    traces: bool = True
    metrics: bool = True
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    service: str = "freehold"


class Engine(File, frozen=True):
    """The `[engine]` table: the embedded engine behind the provider `builtin`. `model` is a GGUF file."""

    enabled: bool = True
    model: str | None = None
    name: str = "hearth"
    context: Annotated[int, msgspec.Meta(gt=0)] = 4096
    parallel: Annotated[int, msgspec.Meta(gt=0, le=64)] = 4
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0


class Config(File, frozen=True):
    """The whole file."""

    classes: dict[ClassName, tuple[ZoneName, ...]] = {}
    providers: dict[str, Provider] = {}
    organisation: Organisation = Organisation()
    departments: dict[str, Department] = {}
    workloads: dict[str, Workload] = {}
    server: Server = Server()
    network: Network = Network()
    engine: Engine = Engine()
    detection: Detection = Detection()
    nodes: Nodes | None = None
    sign_in: SignIn | None = None
    machines: dict[str, Machine] = {}
    vault: Vault | None = None
    telemetry: Telemetry | None = None


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `freehold.toml`, for editors."""
    schema = msgspec.json.schema(Config, schema_hook=_schema_of)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "freehold.toml", **schema}


def _schema_of(kind: type) -> dict[str, Any]:
    raise NotImplementedError(f"no schema for {kind!r}")
