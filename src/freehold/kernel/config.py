"""Read `freehold.toml` into a Snapshot, or say everything that is wrong with it.

Rules: unknown keys, bad references and impossible combinations are errors; each names the line, the reason and the
mend; all of them are reported at once. A secret is always a reference, and its value is never in an error.
What it does not know: which providers exist (it is handed their rows) and whether they answer.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from freehold.kernel import schema
from freehold.kernel.addresses import endpoint
from freehold.kernel.classes import DEFAULT_ZONES, Class, Zone
from freehold.kernel.errands import machine_of, networks, sign_in_of, telemetry_of, vault_of, webhook_of
from freehold.kernel.errors import FreeholdError
from freehold.kernel.limits import time_zone
from freehold.kernel.problems import NAME, ConfigError, Problem, Wrong, explain, line_of, near
from freehold.kernel.provided import SIGNS, batches_of, check_use, nodes_of, routes_of
from freehold.kernel.rules import detection_of
from freehold.kernel.snapshot import (
    Attested,
    Department,
    Detection,
    Machine,
    Nodes,
    Organisation,
    Provider,
    ProviderRow,
    SignIn,
    Snapshot,
    Target,
    Telemetry,
    Vault,
    Workload,
)
from freehold.kernel.spending import spending_of, told_limits
from freehold.kernel.units import Secret

BUILTIN = "builtin"
_TABLES = tuple(one.encode_name for one in msgspec.structs.fields(schema.Config))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What configuration may refer to: environment variables, the folder of the file, known rows, the engine's address."""

    env: Mapping[str, str]
    rows: Mapping[str, ProviderRow]
    folder: Path = Path()
    builtin_url: str = "http://127.0.0.1:1/v1"
    builtin_key: Secret | None = None
    fetch: Callable[[str, Vault | None], str] | None = None  # what a reference to elsewhere holds; raises FreeholdError


def load(path: Path, around: Surroundings) -> Snapshot:
    """Read a file. Raises ConfigError with every problem that was found."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            str(path),
            [Problem(None, f"cannot be read ({type(error).__name__})", "check the path and that it is UTF-8 text")],
        ) from None
    return read(text, replace(around, folder=path.parent), source=str(path))


def read(text: str, around: Surroundings, *, source: str | None = None) -> Snapshot:
    """Read the text of a file (an empty one is valid). Raises ConfigError."""
    name = source or "configuration"
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        found = re.search(r"line (\d+)", str(error))
        raise ConfigError(
            name,
            [
                Problem(
                    int(found.group(1)) if found else text.count("\n") + 1,
                    f"not valid TOML: {error}",
                    "see https://toml.io",
                )
            ],
        ) from None
    return _Reader(tree, text, around, source).read()


def read_nodes(text: str, around: Surroundings) -> Nodes | None:
    """What the file says of other nodes, and nothing else: whoever makes a key may not have the providers' at hand. Raises ConfigError."""
    try:
        reader = _Reader(tomllib.loads(text), text, around, None)
    except (ValueError, RecursionError):
        return read(text, around).nodes  # which says what is wrong
    nodes: Nodes | None = reader.attempt(reader.nodes)
    if reader.problems:
        raise ConfigError("configuration", reader.problems)
    return nodes


class _Reader:
    """Checks one tree; collects problems instead of stopping at the first."""

    def __init__(self, tree: dict[str, Any], text: str, around: Surroundings, source: str | None) -> None:
        self.tree, self.text, self.around, self.source = tree, text, around, source
        self.problems: list[Problem] = []

    def read(self) -> Snapshot:
        for key in set(self.tree) - set(_TABLES):
            self.note(Wrong((key,), f"unknown table or key {key!r}", near(key, list(_TABLES))))
        zones = self.zones()
        server = self.typed(("server",), schema.Server)
        network = self.typed(("network",), schema.Network)
        engine = self.typed(("engine",), schema.Engine)
        detection = self.attempt(self.detection)
        providers = {BUILTIN: self.builtin(engine)} if engine is not None and engine.enabled else {}
        for name in self.table("providers"):
            if (provider := self.attempt(self.provider, name)) is not None:
                providers[name] = provider
        organisation = self.attempt(self.organisation)
        nodes = self.attempt(self.nodes)
        sign_in = self.attempt(self.sign_in, organisation.departments if organisation is not None else {})
        telemetry = self.attempt(self.telemetry)
        machines = {
            name: found for name in self.table("machines") if (found := self.attempt(self.machine, name, sign_in))
        }
        workloads = {}
        for name in self.table("workloads"):
            if (workload := self.attempt(self.workload, name, providers)) is not None:
                workloads[name] = workload
        if self.problems or server is None or network is None or engine is None or detection is None:
            raise ConfigError(self.source or "configuration", sorted(self.problems, key=lambda p: p.line or 0))
        if network.ca_bundle and not Path(self.around.folder, network.ca_bundle).is_file():
            problem = Problem(
                line_of(self.text, ("network", "ca_bundle")),
                f"ca_bundle {network.ca_bundle!r} is not a file",
                "give the path of a PEM file",
            )
            raise ConfigError(self.source or "configuration", [problem])
        digest = hashlib.sha256(msgspec.json.encode(self.tree, order="sorted")).hexdigest()
        return Snapshot(
            zones=zones,
            providers=providers,
            workloads=workloads,
            server=server,
            network=network,
            engine=engine,
            digest=f"sha256:{digest}",
            source=self.source,
            detection=detection,
            organisation=organisation,
            nodes=nodes,
            sign_in=sign_in,
            machines=machines,
            telemetry=telemetry,
        )

    def nodes(self) -> Nodes | None:
        if "nodes" not in self.tree:
            return None
        spec: schema.Nodes | None = self.typed(("nodes",), schema.Nodes)
        if spec is None:
            return None
        return nodes_of(spec, self.secret)

    def sign_in(self, departments: Mapping[str, Department]) -> SignIn | None:
        spec = self.typed(("sign_in",), schema.SignIn) if "sign_in" in self.tree else None
        return sign_in_of(spec, departments, self.secret) if spec is not None else None

    def telemetry(self) -> Telemetry | None:
        spec = self.typed(("telemetry",), schema.Telemetry) if "telemetry" in self.tree else None
        return telemetry_of(spec, self.header) if spec is not None else None

    def header(self, path: tuple[str, ...], reference: str) -> Secret:
        """What a header holds: one line, which may have spaces (`Bearer …`)."""
        found = self.secret(path, reference, is_document=True)
        if not found.value.strip() or not found.value.isascii() or not found.value.isprintable():
            raise Wrong(
                path, f"{reference!r} does not hold one line of printable ASCII", "write what the header holds in it"
            )
        return Secret(found.value.strip(), reference)

    def machine(self, name: str, sign_in: SignIn | None) -> Machine | None:
        path = ("machines", name)
        if not NAME.match(name):
            raise Wrong(path, f"{name!r} cannot be a machine's name", "use letters, digits, '.', '_' and '-'")
        spec = self.typed(path, schema.Machine)
        return machine_of(name, spec, self.around.folder, sign_in) if spec is not None else None

    def note(self, wrong: Wrong) -> None:
        self.problems.append(Problem(line_of(self.text, wrong.path), wrong.reason, wrong.mend))

    def attempt(self, step: Any, *args: Any) -> Any:
        try:
            return step(*args)
        except Wrong as wrong:
            self.note(wrong)
            return None

    def table(self, name: str) -> dict[str, Any]:
        found = self.tree.get(name, {})
        if not isinstance(found, dict):
            self.note(Wrong((name,), f"{name!r} must be a table", f"write [{name}.NAME]"))
            return {}
        return found

    def typed(self, path: tuple[str, ...], kind: type[Any]) -> Any:
        """Convert the table at path to its type; a problem is noted and None returned."""
        value: Any = self.tree
        for part in path:
            value = value.get(part, {})
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self.note(explain(path, value, kind, str(error)))
            return None

    def zones(self) -> dict[Class, frozenset[Zone]]:
        zones = dict(DEFAULT_ZONES)
        for name, listed in self.table("classes").items():
            try:
                class_ = Class.parse(name)
                zones[class_] = frozenset(Zone(zone) for zone in listed)
            except (ValueError, TypeError) as error:
                self.note(
                    Wrong(
                        ("classes", name),
                        f"{name!r}: {error}",
                        'write CLASS = ["inside", …] with the zones inside, attested, outside',
                    )
                )
        for lower, higher in zip(Class, list(Class)[1:], strict=False):
            if extra := zones[higher] - zones[lower]:
                words = ", ".join(sorted(extra))
                self.note(
                    Wrong(
                        ("classes", higher.label),
                        f"{higher.label} may go to {words} but the less sensitive {lower.label} may not",
                        f"remove {words} from {higher.label}, or add it to {lower.label}",
                    )
                )
        for class_ in Class:
            if not zones[class_]:
                self.note(
                    Wrong(("classes", class_.label), f"{class_.label} allows no zone at all", 'list at least "inside"')
                )
        return zones

    def builtin(self, engine: schema.Engine) -> Provider:
        models = {engine.name: schema.Abilities(context=engine.context, images=False)}
        return Provider(
            name=BUILTIN,
            base_url=self.around.builtin_url,
            host="127.0.0.1",
            is_tls=False,
            declared_zone=Zone.INSIDE,
            key=self.around.builtin_key,
            why="runs in Freehold's own child process",
            models=models,
            prices=dict.fromkeys(models, _FREE),
            timeouts=schema.Timeouts(),
            retries=1,
            uses_proxy=False,
        )

    def organisation(self) -> Organisation | None:
        path = ("organisation",)
        spec: schema.Organisation | None = self.typed(path, schema.Organisation)
        if spec is None:
            return None
        departments = {}
        for name in self.table("departments"):
            if (found := self.attempt(self.department, name)) is not None:
                departments[name] = found
        budgets, limits = spending_of(path, spec, "organisation")
        try:
            zone = time_zone(spec.time_zone)
        except ValueError as error:
            raise Wrong(
                (*path, "time_zone"), str(error), "on a machine without zone data: pip install tzdata"
            ) from None
        webhook = webhook_of((*path, "webhook"), spec.webhook, self.secret)
        return Organisation(spec.name, zone, budgets, limits, departments, webhook, spec.batch)

    def department(self, name: str) -> Department | None:
        path = ("departments", name)
        if not NAME.match(name):
            raise Wrong(path, f"{name!r} cannot be a department's name", "use letters, digits, '.', '_' and '-'")
        spec: schema.Department | None = self.typed(path, schema.Department)
        return Department(*spending_of(path, spec, f"department:{name}")) if spec is not None else None

    def detection(self) -> Detection | None:
        spec: schema.Detection | None = self.typed(("detection",), schema.Detection)
        return detection_of(spec, self.around.folder) if spec is not None else None

    def attested(self, path: tuple[str, ...], spec: schema.Provider, row: ProviderRow | None) -> Attested | None:
        """The agreement of a provider. One that was made for another address is void, and so is one that says nothing of the address that the file gives."""
        found = spec.attestation
        if found is None:
            return None
        where = (*path, "attestation")
        if (
            spec.base_url is not None
            and (row is None or spec.base_url.rstrip("/") != row.base_url)
            and found.endpoint != spec.base_url
        ):
            raise Wrong(
                where,
                "the agreement was not made for this base_url, so it is void",
                f"have it reviewed, then add endpoint = {spec.base_url!r}",
            )
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", found.evidence):
            raise Wrong(where, "evidence is the SHA-256 of the signed document", 'evidence = "sha256:…"')
        controls = (found.control,) if isinstance(found.control, str) else found.control
        since = _end_of(found.since) - 86_400 if found.since else 0.0
        return Attested(
            since,
            _end_of(found.expires),
            controls,
            found.evidence,
            frozenset(found.models),
            found.account or "",
            found.reviewer or "",
        )

    def provider(self, name: str) -> Provider:
        path = ("providers", name)
        if not NAME.match(name) or name == BUILTIN:
            raise Wrong(
                path,
                f"{name!r} cannot be a provider's name",
                "use letters, digits, '.', '_' and '-'; `builtin` is set up under [engine]",
            )
        spec: schema.Provider | None = self.typed(path, schema.Provider)
        if spec is None:
            return None  # type: ignore[return-value]  # the problem is noted; `attempt` drops it
        row = self.row(path, name, spec)
        base_url = spec.base_url or (
            self.filled(path, row.elsewhere.get(spec.region or "", row.base_url), spec) if row else None
        )
        if base_url is None:
            raise Wrong(
                path,
                f"{name!r} is not a known provider and has no base_url",
                f"add base_url, or use one of {', '.join(sorted(self.around.rows))}",
            )
        host, is_tls, address = endpoint(path, base_url)
        zone, why = self.zone(path, spec, host, address)
        if zone is not Zone.INSIDE and not is_tls and not (address and (address.is_private or address.is_loopback)):
            raise Wrong((*path, "base_url"), f"{name!r} is {zone} and would be sent plain text", "use https://")
        for model, price in spec.prices.items():
            for one in (price, *price.tiers.values()):
                if any(type(rate) is Decimal and not rate >= 0 for rate in msgspec.structs.astuple(one)):
                    raise Wrong((*path, "prices"), f"the price of {model!r} is below nothing", "USD per million tokens")
        models = dict(spec.models) if isinstance(spec.models, dict) else dict.fromkeys(spec.models, schema.Abilities())
        return Provider(
            name=name,
            base_url=base_url.rstrip("/"),
            host=host,
            is_tls=is_tls,
            declared_zone=zone,
            why=why,
            key=self.secret((*path, "key"), spec.key) if spec.key else None,
            addresses=networks((*path, "addresses"), spec.addresses),
            known_as=(row.known_as or row.name) if row else "",
            models=models,
            prices=dict(spec.prices),
            timeouts=spec.timeouts,
            retries=spec.retries,
            uses_proxy=spec.proxy and zone is not Zone.INSIDE,
            attested=self.attested(path, spec, row),
            routes=tuple(
                replace(route, traits=replace(route.traits, family=route.traits.family or name))
                for route in routes_of(spec, row)
            ),
            auth=row.auth if row else "bearer",
            region=spec.region or "",
            geo=row.geo_at(host) if row else "",
            credentials=self.credentials(path, spec, row),
            limits=told_limits(path, spec.limits),
            queue=spec.queue,
            wait_s=spec.wait,
            batches=batches_of(spec, row),
        )

    def row(self, path: tuple[str, ...], name: str, spec: schema.Provider) -> ProviderRow | None:
        """What is known of a provider: by its own name, or by the one it is like."""
        if spec.like is not None and spec.like not in self.around.rows:
            raise Wrong(
                (*path, "like"), f"{spec.like!r} is not a known provider", near(spec.like, list(self.around.rows))
            )
        return self.around.rows.get(spec.like or name)

    def filled(self, path: tuple[str, ...], template: str, spec: schema.Provider) -> str:
        """A known address with the parts that only its owner knows."""
        for part in re.findall(r"\{(\w+)\}", template):
            value = getattr(spec, part)
            if not value or not NAME.match(value):
                raise Wrong((*path, part), f"the address needs a {part}", f'add {part} = "…", or base_url')
            template = template.replace(f"{{{part}}}", value)
        return template

    def credentials(self, path: tuple[str, ...], spec: schema.Provider, row: ProviderRow | None) -> dict[str, Secret]:
        """What a provider signs with: complete, of its own kind, and without anything that would be left unused."""
        check_use(path, spec, row)
        given = {part: value for part, value in msgspec.structs.asdict(spec.credentials).items() if value is not None}
        if not given:
            return {}
        where = (*path, "credentials")
        needed, optional = SIGNS.get(row.auth if row else "bearer", (frozenset(), frozenset()))
        if not needed:
            raise Wrong(where, "this provider signs nothing", 'write key = "env:NAME"')
        if spec.key is not None:
            raise Wrong(where, "there is a key and there are credentials", "keep one of them")
        if stray := given.keys() - needed - optional:
            raise Wrong(
                (*where, min(stray)), "this provider signs in another way", f"it needs {' and '.join(sorted(needed))}"
            )
        if missing := needed - given.keys():
            raise Wrong(where, f"{min(missing)} is needed too", f'add {min(missing)} = "env:NAME"')
        return {
            part: self.secret((*where, part), reference, is_document=part == "service_account")
            for part, reference in given.items()
        }

    def zone(self, path: tuple[str, ...], spec: schema.Provider, host: str, address: Any) -> tuple[Zone, str]:
        zone = Zone(spec.zone or "outside")
        if zone is Zone.ATTESTED and spec.attestation is None:
            raise Wrong(
                (*path, "zone"),
                'zone "attested" needs an attestation',
                'add attestation = { control = …, evidence = "sha256:…", expires = 2027-06-30 }',
            )
        if zone is Zone.INSIDE and address is None and not spec.addresses:
            raise Wrong(
                (*path, "zone"),
                f"the host name {host!r} is no proof of being inside",
                'add addresses = ["10.0.0.0/8"], or use a literal address',
            )
        if spec.zone is None:
            return zone, "not declared, so outside"
        if zone is Zone.INSIDE:
            return (
                zone,
                f"declared; {host} is a literal address"
                if address
                else f"declared; must resolve within {', '.join(spec.addresses)}",
            )
        if spec.attestation is not None and zone is Zone.ATTESTED:
            control = spec.attestation.control
            return (
                zone,
                f"{control if isinstance(control, str) else ', '.join(control)}, until {spec.attestation.expires}",
            )
        return zone, "declared"

    def secret(self, path: tuple[str, ...], reference: str, *, is_document: bool = False) -> Secret:
        kind, _, name = reference.partition(":")
        if kind == "env" and name:
            value = self.around.env.get(name, "")
            if not value:
                raise Wrong(path, f"the variable {name} is not set", f"export {name}=…, or remove the provider")
        elif kind == "file" and name:
            try:
                value = Path(self.around.folder, name).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Wrong(
                    path, f"the file {name!r} cannot be read ({type(error).__name__})", "check the path and its rights"
                ) from None
        elif kind in ("vault", "command") and name and self.around.fetch is not None:
            value = self.fetched(path, reference)
        else:
            mend = 'write "env:NAME", "file:PATH", "vault:PATH#FIELD" or "command:PROGRAM …"'
            raise Wrong(path, "a key must be a reference, never the secret itself", mend)
        if is_document and value:
            return Secret(value, reference)
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise Wrong(
                path,
                f"{reference!r} does not hold a usable key",
                "one line of printable ASCII without spaces is needed",
            )
        return Secret(value, reference)

    def fetched(self, path: tuple[str, ...], reference: str) -> str:
        """What a reference to a vault or a command holds; how to get there is not known here."""
        vault = None
        if reference.startswith("vault:"):
            spec = self.typed(("vault",), schema.Vault) if "vault" in self.tree else None
            if spec is None:
                raise Wrong(path, "there is no vault to look in", "add [vault] with its address")
            network = self.typed(("network",), schema.Network)
            bundle = network.ca_bundle if network is not None else None
            vault = vault_of(spec, self.secret, str(Path(self.around.folder, bundle)) if bundle else None)
        assert self.around.fetch is not None
        try:
            return self.around.fetch(reference, vault)
        except FreeholdError as error:
            raise Wrong(path, error.message, error.hint) from None

    def workload(self, name: str, providers: Mapping[str, Provider]) -> Workload:
        path = ("workloads", name)
        if not NAME.match(name):
            raise Wrong(path, f"{name!r} cannot be a workload's name", "use letters, digits, '.', '_' and '-'")
        spec: schema.Workload | None = self.typed(path, schema.Workload)
        if spec is None:
            return None  # type: ignore[return-value]  # the problem is noted; `attempt` drops it
        groups = tuple(
            tuple(self.target(path, t, providers) for t in ((group,) if isinstance(group, str) else group))
            for group in spec.targets
        )
        flat = [target for group in groups for target in group]
        if not flat or not all(groups):
            raise Wrong(
                (*path, "targets"),
                f"workload {name!r} has an empty list of targets",
                'list at least one "provider/model"',
            )
        if len(set(flat)) != len(flat):
            raise Wrong((*path, "targets"), f"workload {name!r} lists a target twice", "list each once")
        budgets, limits = spending_of(path, spec, f"workload:{name}")
        departments = self.table("departments")
        if departments and spec.department is not None and spec.department not in departments:
            raise Wrong(
                (*path, "department"),
                f"the department {spec.department!r} is not configured",
                near(spec.department, list(departments)),
            )
        return Workload(
            name=name,
            class_=Class.parse(spec.class_),
            groups=groups,
            budgets=budgets,
            limits=limits,
            max_output=spec.max_output,
            department=spec.department,
            is_lossless=spec.lossless,
            shares_state=spec.shares_state,
            transform=spec.transform,
            is_batch=spec.priority == "batch",
            cache=spec.cache,
            takes_batches=spec.batch,
            capture=spec.capture,
        )

    def target(self, path: tuple[str, ...], text: str, providers: Mapping[str, Provider]) -> Target:
        provider, slash, model = text.partition("/")
        where = (*path, "targets")
        if not slash or not model:
            raise Wrong(where, f"{text!r} is not a target", 'write "provider/model"')
        if provider not in providers:
            known = [*self.table("providers"), BUILTIN]
            if provider in known:
                raise Wrong(where, f"the provider {provider!r} of {text!r} has a problem of its own", "mend that first")
            raise Wrong(
                where,
                f"{text!r} names the provider {provider!r}, which is not configured",
                near(provider, known) if known else f"add [providers.{provider}]",
            )
        listed = providers[provider].models
        if listed and model not in listed:
            raise Wrong(where, f"{provider!r} does not list a model {model!r}", near(model, list(listed)))
        return Target(provider, model)


_FREE = schema.Price(input=Decimal(0), output=Decimal(0))


def _end_of(day: datetime.date) -> float:
    return datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp() + 86_400
