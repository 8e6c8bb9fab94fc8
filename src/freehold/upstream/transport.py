"""The seam to the network: one method. The fake in `freehold.testing` and the real ones pass the same contract suite.

Rules: no bytes without a grant; redirects are not followed; an inside provider never goes through a proxy; a host name
is resolved here, checked against what the provider may resolve to, and the checked address is the one that is dialled.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from freehold.kernel.addresses import is_forbidden
from freehold.kernel.errors import UpstreamError
from freehold.kernel.snapshot import Provider
from freehold.perimeter.ruling import Grant, honour
from freehold.upstream.direct import LONGEST_ANSWER, Pool
from freehold.upstream.signing import Signer, key_headers

if TYPE_CHECKING:
    from freehold.upstream.proxied import ProxiedPool

_NO_HEADERS: Mapping[str, str] = {}


class Request(msgspec.Struct, frozen=True):
    """One request below a provider's base URL, or from its root if the path begins with a slash. body is None for a probe.

    auth: how the key is shown, where it is not the provider's usual way; kind: the body's content type; longest: bytes that the answer may have.
    """

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str] = _NO_HEADERS
    auth: str = ""
    kind: str = "application/json"
    longest: int = LONGEST_ANSWER


class Response(Protocol):
    """An answer whose head has arrived.

    `chunks` yields bytes as they come; `finish` says that the answer is whole and the connection may serve again;
    `close` gives it up at once, unless it was finished.
    """

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    async def whole(self) -> bytes: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


class Transport(Protocol):
    """Send one request under a grant. Raises UpstreamError (`upstream.unreachable`, `.timeout`, `.cut`, `.tls`, `.invalid_answer`)."""

    async def send(self, grant: Grant, request: Request) -> Response: ...


class HttpTransport:
    """The real transport: one connection pool for each provider. Close it when done. at_s: the clock by which grants expire, which nobody sets."""

    def __init__(self, *, ca_bundle: str | None = None, at_s: Callable[[], float] = time.monotonic) -> None:
        self._ca_bundle = ca_bundle
        self._at_s = at_s
        self._pools: dict[str, Pool | ProxiedPool] = {}
        self._signers: dict[str, Signer] = {}

    async def send(self, grant: Grant, request: Request) -> Response:
        honour(grant, request.body, at_s=self._at_s())
        provider = grant.provider
        pool = self._pools.get(provider.name)
        if pool is None or pool.provider is not provider:
            pool = self._pools[provider.name] = self._pool(provider)
            self._signers[provider.name] = Signer(provider)
        headers = {name: _one_line(value) for name, value in request.headers.items()}
        path = request.path[1:] if request.path.startswith("/") else f"{pool.base}{request.path}"
        signer = self._signers[provider.name]
        if signer.signs:
            headers |= signer.headers(request.method, f"{pool.root}/{path}", request.body or b"")
        else:
            headers |= key_headers(provider, request.auth)
        headers["Content-Type"] = request.kind
        answer = await pool.send(request.method, f"/{path}", request.body, headers)
        answer.longest = request.longest
        return answer

    async def close(self) -> None:
        for pool in self._pools.values():
            closing = pool.close()
            if closing is not None:
                await closing
        self._pools.clear()
        await asyncio.sleep(0.01)  # sockets are closed in the loop's next turns

    def _pool(self, provider: Provider) -> Pool | ProxiedPool:
        trust = _trust(self._ca_bundle) if provider.is_tls else None
        proxy = proxy_for(provider)
        if proxy is not None:
            # aiohttp costs a tenth of a second to import, and only providers behind a proxy need it
            from freehold.upstream.proxied import ProxiedPool

            return ProxiedPool(provider, proxy, trust)
        return Pool(provider, _dialler(provider, trust))


def _dialler(provider: Provider, trust: ssl.SSLContext | None) -> Any:
    """Open a connection to the address that was checked, with the certificate checked against the host's name."""
    parts = urlsplit(provider.base_url)
    port = parts.port or (443 if provider.is_tls else 80)
    tls: dict[str, Any] = {"ssl": trust, "server_hostname": provider.host} if trust is not None else {}

    async def dial(factory: Any) -> Any:
        loop = asyncio.get_running_loop()
        failure: OSError = OSError("no address")
        for address in await resolve(provider, port):
            try:
                return await loop.create_connection(factory, address, port, **tls)
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
        raise failure

    return dial


async def resolve(provider: Provider, port: int) -> list[str]:
    """Resolve a provider's host. Raises UpstreamError if any address is one that it may not have."""
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(provider.host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise UpstreamError(f"The name of {provider.name!r} cannot be resolved.", code="upstream.unreachable") from None
    addresses = list(dict.fromkeys(str(where[0]) for *_, where in infos))
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        networks = [network for network in provider.addresses if network.version == address.version]
        if is_forbidden(address) or (provider.addresses and not any(address in network for network in networks)):
            raise UpstreamError(
                f"{provider.host!r} resolves to an address that {provider.name!r} may not have.",
                code="upstream.address_forbidden",
                hint="Check the provider's addresses in the configuration, and the name server.",
            )
    return addresses


def proxy_for(provider: Provider) -> str | None:
    """The proxy that the environment names for an outside provider; inside traffic never passes one."""
    if not provider.uses_proxy or urllib.request.proxy_bypass(provider.host):
        return None
    return urllib.request.getproxies().get(urlsplit(provider.base_url).scheme)


def _one_line(value: str) -> str:
    """A caller's header value must not begin another header."""
    return value.replace("\r", " ").replace("\n", " ")


def _trust(ca_bundle: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_bundle:
        context.load_verify_locations(ca_bundle)
    return context
