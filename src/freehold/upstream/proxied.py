"""HTTP to a provider behind a company proxy: aiohttp, because tunnels and proxy credentials are its job, not ours."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from freehold.kernel.errors import UpstreamError
from freehold.kernel.snapshot import Provider
from freehold.upstream.direct import LONGEST_ANSWER


class ProxiedPool:
    """Connections to one provider through one proxy (which resolves the provider's name)."""

    def __init__(self, provider: Provider, proxy: str, trust: ssl.SSLContext | None) -> None:
        self.provider = provider
        self._proxy = proxy
        parts = urlsplit(provider.base_url)
        self.base = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self.root = f"{parts.scheme}://{parts.netloc}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1000, ssl=trust if trust is not None else True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=provider.timeouts.total, sock_connect=provider.timeouts.connect),
            headers={
                "User-Agent": "freehold",
                "Accept-Encoding": "identity",
            },
        )

    async def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> ProxiedAnswer:
        url = URL(f"{self.root}{path}", encoded=True)
        try:
            async with asyncio.timeout(self.provider.timeouts.first_byte):
                answer = await self._session.request(
                    method, url, data=body, headers=headers or None, allow_redirects=False, proxy=self._proxy
                )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _explain(self.provider.name, error) from None
        return ProxiedAnswer(answer, self.provider)

    def close(self) -> Coroutine[Any, Any, None]:
        return self._session.close()


class ProxiedAnswer:
    """An answer whose head has arrived."""

    def __init__(self, answer: aiohttp.ClientResponse, provider: Provider) -> None:
        self._answer, self._provider = answer, provider
        self.status, self.longest = answer.status, LONGEST_ANSWER
        self.headers: Mapping[str, str] = answer.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            while True:
                async with asyncio.timeout(self._provider.timeouts.silence):
                    chunk = await self._answer.content.readany()
                if not chunk:
                    return
                size += len(chunk)
                if size > self.longest:
                    raise UpstreamError(
                        f"{self._provider.name!r} sent an answer without end.", code="upstream.invalid_answer"
                    )
                yield chunk
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _explain(self._provider.name, error) from None

    async def whole(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    def finish(self) -> None:
        self._answer.release()

    def close(self) -> None:
        self._answer.close()


def _explain(provider: str, error: Exception) -> UpstreamError:
    if isinstance(error, aiohttp.ClientSSLError):
        return UpstreamError(
            f"The certificate of {provider!r} is not trusted.",
            code="upstream.tls",
            hint="Set [network] ca_bundle if a company authority signed it.",
        )
    if isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError
    ):
        return UpstreamError(f"{provider!r} cannot be reached through the proxy.", code="upstream.unreachable")
    if isinstance(error, TimeoutError):
        return UpstreamError(f"{provider!r} did not answer in time.", code="upstream.timeout", status=504)
    return UpstreamError(f"{provider!r} broke the connection off.", code="upstream.cut")
