"""Where Freehold goes for something that is no call: a webhook for alerts, whoever says who people are, a store of secrets.

Rules (DESIGN §3, law 11): each address stands in the configuration; what an issuer says of further addresses counts only where the configuration
names their host. Nothing goes in plain text but to a literal address of the own network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from freehold.kernel import schema
from freehold.kernel.addresses import endpoint
from freehold.kernel.classes import Zone
from freehold.kernel.problems import NAME, Wrong
from freehold.kernel.roles import Role
from freehold.kernel.snapshot import Address, Department, Errand, Issuer, Machine, Provider, SignIn, Telemetry, Vault
from freehold.kernel.units import Secret

_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})
Where = tuple[str, ...]
Read = Callable[[Where, str], Secret]  # resolves a reference


def place(
    path: Where, url: str, name: str, why: str, *, addresses: tuple[Address, ...] = ()
) -> tuple[Provider, SplitResult]:
    """Somewhere to go, and the parts of its address. addresses: the own networks that it must be in, if it is spoken to in plain text by a name.

    Raises Wrong for one that would be spoken to in plain text anywhere else.
    """
    parts = urlsplit(url)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Wrong(path, "the address holds a character that none may have", "write what is odd in it as %XX")
    root = f"{parts.scheme}://{parts.netloc}"
    host, is_tls, address = endpoint(path, root)
    is_own = address is not None and (address.is_private or address.is_loopback)
    if not is_tls and not is_own and not addresses:
        raise Wrong(path, f"{name} would be spoken to in plain text", "use https://")
    provider = Provider(
        name=name, base_url=root, host=host, is_tls=is_tls, declared_zone=Zone.OUTSIDE, why=why, addresses=addresses
    )
    return provider, parts


def webhook_of(path: Where, text: str | None, secret: Read) -> Errand | None:
    """Where alerts go. The address is often a secret itself, so no error shows it."""
    if text is None:
        return None
    found = text if "://" in text else secret(path, text).value
    try:
        provider, parts = place(path, found, "webhook", "alerts of budgets, without content")
    except Wrong as wrong:
        if wrong.path == path:
            raise
        raise Wrong(
            path, "that is no address to send alerts to", "https://host/path, or env:NAME that holds it"
        ) from None
    where = Secret((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), "[organisation] webhook")
    return Errand(provider, where)


def issuer_of(path: Where, url: str, hosts: tuple[str, ...]) -> Issuer:
    """Whoever signs tokens, and the further hosts that its endpoints may have."""
    own, parts = place((*path, "issuer"), url, f"issuer {urlsplit(url).netloc}", "says who people and machines are")
    if parts.query or parts.fragment:
        raise Wrong((*path, "issuer"), "an issuer is an address without a query", "write https://host/path")
    known = {own.base_url: own}
    for host in hosts:
        other, rest = place((*path, "hosts"), f"https://{host}", f"issuer {host}", own.why)
        if rest.path or rest.query or rest.fragment:
            raise Wrong((*path, "hosts"), f"{host!r} is more than a host", 'write "host" or "host:port"')
        known[other.base_url] = other
    return Issuer(url, known)


def sign_in_of(spec: schema.SignIn, departments: Mapping[str, Department], secret: Read) -> SignIn:
    """How people sign in. Raises Wrong."""
    path = ("sign_in",)
    _, parts = place((*path, "address"), spec.address, "the admin plane", "")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Wrong((*path, "address"), "the admin plane is at the root of its host", "write https://host[:port]")
    groups = {}
    for group, texts in spec.groups.items():
        try:
            roles = tuple(map(Role.parse, (texts,) if isinstance(texts, str) else texts))
        except ValueError as error:
            raise Wrong((*path, "groups"), str(error), f'{group} = "auditor"') from None
        for role in roles:
            if role.department and role.department not in departments:
                raise Wrong((*path, "groups"), f"there is no department {role.department!r}", "add [departments.NAME]")
        groups[group] = roles
    if "openid" not in spec.scopes:
        raise Wrong((*path, "scopes"), "without the scope openid nobody says who signs in", 'add "openid"')
    return SignIn(
        issuer=issuer_of(path, spec.issuer, spec.hosts),
        client_id=spec.client_id,
        client_secret=secret((*path, "client_secret"), spec.client_secret) if spec.client_secret else None,
        address=f"{parts.scheme}://{parts.netloc}".lower(),
        claim=spec.claim,
        groups_claim=spec.groups_claim,
        groups=groups,
        scopes=spec.scopes,
        session_s=spec.session,
    )


def machine_of(name: str, spec: schema.Machine, folder: Path, sign_in: SignIn | None) -> Machine:
    """Whose tokens of which issuer count as keys. Raises Wrong."""
    path = ("machines", name)
    if sign_in is not None and (spec.issuer, spec.audience) == (sign_in.issuer.url, sign_in.client_id):
        raise Wrong(
            (*path, "audience"),
            "tokens of people who sign in would count as machines'",
            "give machines an audience of their own",
        )
    keys = None
    if spec.keys is not None:
        kind, _, file = spec.keys.partition(":")
        try:
            keys = Path(folder, file).read_bytes() if kind == "file" else None
        except OSError as error:
            raise Wrong((*path, "keys"), f"{file!r} cannot be read ({type(error).__name__})", "check it") from None
        if keys is None:
            raise Wrong((*path, "keys"), "the issuer's public keys are a file", 'write "file:PATH" of a JWK set')
    return Machine(name, issuer_of(path, spec.issuer, spec.hosts), spec.audience, spec.claim, keys)


def telemetry_of(spec: schema.Telemetry, secret: Read) -> Telemetry:
    """Who is told of calls. Raises Wrong."""
    path = ("telemetry",)
    addresses = networks((*path, "addresses"), spec.addresses)
    provider, parts = place((*path, "endpoint"), spec.endpoint, "telemetry", "facts about calls", addresses=addresses)
    if parts.query or parts.fragment:
        raise Wrong((*path, "endpoint"), "the address ends with its path", "write https://host[:port]")
    headers = {name: secret((*path, "headers", name), reference) for name, reference in spec.headers.items()}
    for name in headers:
        if not NAME.match(name) or name.lower() in _OURS:
            raise Wrong((*path, "headers", name), f"{name!r} is no name of a header", "use letters, digits and '-'")
    where = parts.path.rstrip("/")
    return Telemetry(provider, where, headers, spec.traces, spec.metrics, spec.share, spec.service)


def networks(path: Where, texts: tuple[str, ...]) -> tuple[Address, ...]:
    """Networks, as they are written. Raises Wrong."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise Wrong(path, f"not a network: {error}", 'write CIDR, such as "10.0.0.0/8"') from None


def vault_of(spec: schema.Vault, secret: Read, ca_bundle: str | None) -> Vault:
    """Where `vault:` references are looked up. Raises Wrong."""
    path = ("vault",)
    if spec.token.startswith("vault:"):
        raise Wrong((*path, "token"), "the token cannot lie in the vault that it opens", 'write "env:VAULT_TOKEN"')
    provider, parts = place((*path, "address"), spec.address, "vault", "holds secrets that the configuration names")
    if parts.query or parts.fragment:
        raise Wrong((*path, "address"), "the address ends with its path", "write https://host[:port]")
    return Vault(provider, parts.path.rstrip("/"), secret((*path, "token"), spec.token), spec.namespace, ca_bundle)
