"""What a provider's table may say: how its kind signs, which parts of an address it has, and which dialects it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qsl, quote, urlsplit

from freehold.kernel import schema
from freehold.kernel.problems import Wrong
from freehold.kernel.routes import ROUTES, Route
from freehold.kernel.snapshot import Nodes, ProviderRow
from freehold.kernel.units import Secret

SIGNS = {  # by a provider's way of asking: the credentials that it needs, and those that it may have
    "sigv4": (frozenset({"access_key", "secret_key"}), frozenset({"session_token"})),
    "google": (frozenset({"service_account"}), frozenset[str]()),
}


def check_use(path: tuple[str, ...], spec: schema.Provider, row: ProviderRow | None) -> None:
    """Raises Wrong for a part that would change nothing: whoever wrote it believes that it does."""
    auth, address = (row.auth, row.base_url) if row else ("bearer", "")
    for part in ("region", "project", "resource"):
        is_named = f"{{{part}}}" in address and spec.base_url is None
        is_signed = part == "region" and auth == "sigv4"
        if getattr(spec, part) is not None and not is_named and not is_signed:
            why = "base_url is the whole address" if f"{{{part}}}" in address else "this provider has no use for it"
            raise Wrong((*path, part), why, "remove it")
    if spec.api_version is not None and auth != "api-key":
        raise Wrong((*path, "api_version"), "this provider has no use for it", 'it belongs to Azure: like = "azure"')
    if auth == "sigv4" and spec.region is None and spec.credentials != schema.Credentials():
        raise Wrong((*path, "region"), "a signature names its region", 'add region = "eu-central-1"')


def routes_of(spec: schema.Provider, row: ProviderRow | None) -> tuple[Route, ...]:
    """The dialects of a provider: as the file says, with the row's knowledge of each; else the row's; else openai-chat."""
    known = row.routes if row is not None else ()
    if spec.dialect is None:
        routes = known or (ROUTES["openai-chat"],)
    else:
        names = (spec.dialect,) if isinstance(spec.dialect, str) else spec.dialect
        mine = {route.dialect: route for route in reversed(known)}
        routes = tuple(mine.get(name, ROUTES[name]) for name in names)
    if spec.api_version is not None:
        # Azure's older interface: the deployment stands in the path and the version in the query.
        path = f"/openai/deployments/{{model}}/{{endpoint}}?api-version={quote(spec.api_version)}"
        routes = tuple(replace(route, path=path) for route in routes if route.dialect == "openai-chat")
    return routes


def batches_of(spec: schema.Provider, row: ProviderRow | None) -> str:
    """How lines are handed in: as said, else as the known provider does at its own address."""
    found = spec.batches or (row.batches if row is not None and spec.base_url is None else "")
    return "" if found == "none" else found


def nodes_of(spec: schema.Nodes, secret: Callable[[tuple[str, ...], str], Secret]) -> Nodes:
    """What several nodes share; secret: resolves a reference. Raises Wrong."""
    database = secret(("nodes", "postgres"), spec.postgres)
    if not database.value.startswith(("postgres://", "postgresql://")):
        why = "does not hold an address of Postgres"
        raise Wrong(("nodes", "postgres"), why, "write postgres://USER:PASSWORD@HOST/DATABASE in it")
    _check_route(database.value)
    common = secret(("nodes", "secret"), spec.secret)
    if len(common.value) < 32:
        raise Wrong(("nodes", "secret"), "is shorter than 32 characters", "make one: openssl rand -hex 32")
    return Nodes(database, common, spec.name, spec.copy_)


def _check_route(address: str) -> None:
    """Raises Wrong for an address of Postgres that cannot be read, or by which a password could be taken. What it holds is never said."""
    path = ("nodes", "postgres")
    try:
        parts = urlsplit(address)
        host, _, query = parts.hostname, parts.port, dict(parse_qsl(parts.query))
    except ValueError:
        host, query, parts = None, {}, urlsplit("")
    if parts.fragment or not parts.path.strip("/") or (host is None and "host" not in query):
        raise Wrong(
            path,
            "does not hold an address of Postgres that can be read",
            "write / # ? @ : of a password as %2F %23 %3F %40 %3A",
        )
    host = host or query["host"]
    is_here = host in ("localhost", "127.0.0.1", "::1") or host.startswith("/")
    if not is_here and query.get("sslmode") not in ("verify-full", "verify-ca", "disable"):
        raise Wrong(
            path,
            "leads over a network and does not say how the server proves itself, so a false one would be shown the password",
            "add ?sslmode=verify-full&sslrootcert=/path/ca.pem (sslmode=disable where nobody else is on the way)",
        )
