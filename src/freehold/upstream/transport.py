"""The seam to the network: one method. The fake in `freehold.testing` and the real one pass the same contract suite.

Rules: no bytes without a grant; redirects are not followed; an inside provider never goes through a proxy; a host name
is resolved here, checked against what the provider may resolve to, and the checked address is the one that is dialled.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from freehold.kernel.config import is_forbidden
from freehold.kernel.errors import UpstreamError
from freehold.kernel.snapshot import Provider
from freehold.perimeter.ruling import Grant


@dataclass(frozen=True, slots=True)
class Request:
    """One request below a provider's base URL. body is None for a probe."""

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)


class Response(Protocol):
    """An answer whose head has arrived. `chunks` yields bytes as they come; `close` gives the connection up at once."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]: ...
    async def whole(self) -> bytes: ...
    def close(self) -> None: ...


class Transport(Protocol):
    """Send one request under a grant. Raises UpstreamError (`upstream.unreachable`, `.timeout`, `.cut`, `.tls`)."""

    async def send(self, grant: Grant, request: Request) -> Response: ...


class AiohttpTransport:
    """The real transport: one connection pool for each provider. Close it when done."""

    def __init__(self, *, ca_bundle: str | None = None, limit: int = 1000) -> None:
        self._ca_bundle = ca_bundle
        self._limit = limit
        self._pools: dict[str, _Pool] = {}

    async def send(self, grant: Grant, request: Request) -> Response:
        if not isinstance(grant, Grant):
            raise TypeError("a grant is needed to send")
        provider = grant.provider
        pool = self._pools.get(provider.name)
        if pool is None or pool.provider is not provider:
            pool = self._pools[provider.name] = _Pool(provider, self._ca_bundle, self._limit)
        return await pool.send(request)

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.session.close()
        self._pools.clear()


class _Pool:
    """Connections to one provider, with its deadlines, proxy and address rule."""

    def __init__(self, provider: Provider, ca_bundle: str | None, limit: int) -> None:
        self.provider = provider
        self.proxy = _proxy_for(provider)
        self._urls: dict[str, URL] = {}
        self._auth = {"Authorization": f"Bearer {provider.key.value}"} if provider.key else {}
        trust: Any = True
        if provider.is_tls and ca_bundle:
            trust = ssl.create_default_context()
            trust.load_verify_locations(ca_bundle)
        connector = aiohttp.TCPConnector(
            limit=limit, ssl=trust, resolver=_CheckedResolver(provider), use_dns_cache=False, keepalive_timeout=30
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent",),
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=provider.timeouts.total, sock_connect=provider.timeouts.connect),
            headers={
                "User-Agent": "freehold",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                **self._auth,
            },
        )

    async def send(self, request: Request) -> Response:
        url = self._urls.get(request.path)
        if url is None:
            url = self._urls[request.path] = URL(f"{self.provider.base_url}/{request.path}", encoded=True)
        try:
            async with asyncio.timeout(self.provider.timeouts.first_byte):
                answer = await self.session.request(
                    request.method,
                    url,
                    data=request.body,
                    headers=request.headers or None,
                    allow_redirects=False,
                    proxy=self.proxy,
                )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _explain(self.provider.name, error) from None
        return _AiohttpResponse(answer, self.provider)


class _AiohttpResponse:
    def __init__(self, answer: aiohttp.ClientResponse, provider: Provider) -> None:
        self._answer, self._provider = answer, provider
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        silence = self._provider.timeouts.silence
        content = self._answer.content
        try:
            while True:
                async with asyncio.timeout(silence):
                    chunk = await content.readany()
                if not chunk:
                    return
                yield chunk
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _explain(self._provider.name, error) from None

    async def whole(self) -> bytes:
        try:
            if self._answer.content.is_eof():
                return await self._answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _explain(self._provider.name, error) from None
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        self._answer.close()


class _CheckedResolver(AbstractResolver):
    """Resolve a host and refuse what the provider may not resolve to."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        infos = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        found = []
        for kind, _, proto, _, where in infos:
            text = str(where[0])
            address = ipaddress.ip_address(text.partition("%")[0])
            mapped = getattr(address, "ipv4_mapped", None) or address
            allowed = self._provider.addresses
            if is_forbidden(mapped) or (
                allowed and not any(mapped in network for network in allowed if network.version == mapped.version)
            ):
                raise UpstreamError(
                    f"{host!r} resolves to an address that {self._provider.name!r} may not have.",
                    code="upstream.address_forbidden",
                    hint="Check [providers].addresses and the name server.",
                )
            found.append(
                ResolveResult(
                    hostname=host, host=text, port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
                )
            )
        return found

    async def close(self) -> None:
        return None


def _proxy_for(provider: Provider) -> str | None:
    """The proxy that the environment names for an outside provider; inside traffic never passes one."""
    if not provider.uses_proxy or urllib.request.proxy_bypass(provider.host):
        return None
    return urllib.request.getproxies().get(urlsplit(provider.base_url).scheme)


def _explain(provider: str, error: Exception) -> UpstreamError:
    if isinstance(error, UpstreamError):
        return error
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError | socket.gaierror):
        if isinstance(error, aiohttp.ClientSSLError):
            return UpstreamError(
                f"The certificate of {provider!r} is not trusted.",
                code="upstream.tls",
                hint="Set [network] ca_bundle if a company authority signed it.",
            )
        return UpstreamError(f"{provider!r} cannot be reached.", code="upstream.unreachable")
    if isinstance(error, TimeoutError):
        return UpstreamError(f"{provider!r} did not answer in time.", code="upstream.timeout", status=504)
    return UpstreamError(f"{provider!r} broke the connection off.", code="upstream.cut")
