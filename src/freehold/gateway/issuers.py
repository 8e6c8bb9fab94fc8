"""Whoever says who people and machines are: their addresses and their public keys, fetched through the door and kept for a while.

Rules (DESIGN §3, law 11): what an issuer says of its endpoints counts where the configuration names their host; keys are asked for again every five
minutes, and at once (but not more often than every ten seconds) for a token that is signed by none of them; while the issuer does not answer, the
keys that are known hold for a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from freehold.gateway.logs import log
from freehold.identity.tokens import Signers, UnknownSigner, check
from freehold.kernel.errors import FreeholdError, OperatorError, UpstreamError
from freehold.kernel.snapshot import Issuer, Provider
from freehold.perimeter.ruling import grant_errand
from freehold.upstream.transport import Request, Transport

FRESH_S, HELD_S, AGAIN_S, ANSWER_S = 300.0, 86_400.0, 10.0, 5.0
_LONGEST = 512 * 1024


class Metadata(msgspec.Struct, frozen=True):
    """What an issuer says of itself (OpenID Connect Discovery 1.0)."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


@dataclass(slots=True)
class _Known:
    """What is known of one issuer, and since when. asking: the one question that is under way, for all who wait."""

    metadata: Metadata | None = None
    signers: Signers | None = None
    fetched_s: float = 0.0
    tried_s: float = -1e9
    asking: asyncio.Task[None] | None = None
    failure: OperatorError | None = None


class Issuers:
    """Knows issuers. now_s: seconds since 1970; monotonic_s: of a clock that nobody sets."""

    def __init__(self, transport: Transport, now_s: Callable[[], float], monotonic_s: Callable[[], float]) -> None:
        self._transport, self._now_s, self._monotonic_s = transport, now_s, monotonic_s
        self._known: dict[tuple[str, frozenset[str]], _Known] = {}  # by who they are and where they may be

    async def claims(
        self, issuer: Issuer, token: str, *, audience: str, keys: bytes | None = None, nonce: str | None = None
    ) -> Mapping[str, Any]:
        """What a token claims, once it is checked. keys: the issuer's, where they are configured. Raises CallerError, OperatorError `auth.issuer`."""
        if keys is not None:
            return check(token, Signers(keys), issuer=issuer.url, audience=audience, nonce=nonce)
        known = await self._fresh(issuer, FRESH_S)
        signers = known.signers
        assert signers is not None
        try:
            return check(token, signers, issuer=issuer.url, audience=audience, nonce=nonce)
        except UnknownSigner:
            again = await self._fresh(issuer, AGAIN_S)
            if again.signers is signers or again.signers is None:
                raise
            return check(token, again.signers, issuer=issuer.url, audience=audience, nonce=nonce)

    async def metadata(self, issuer: Issuer) -> Metadata:
        """Its endpoints. Raises OperatorError `auth.issuer`."""
        known = await self._fresh(issuer, FRESH_S)
        assert known.metadata is not None
        return known.metadata

    async def _fresh(self, issuer: Issuer, most_s: float) -> _Known:
        """What an issuer says of itself, not older than that if it can be had: one question for all who wait, and not more often than every ten seconds."""
        known = self._known.setdefault((issuer.url, frozenset(issuer.places)), _Known())
        now = self._monotonic_s()
        if known.signers is not None and now - known.fetched_s < most_s:
            return known
        if known.asking is None and now - known.tried_s >= (AGAIN_S if known.signers is not None else 1.0):
            known.asking = asyncio.ensure_future(self._ask_for(issuer, known))
        is_usable = known.signers is not None and now - known.fetched_s < HELD_S
        if known.asking is not None and (not is_usable or most_s < FRESH_S):
            await asyncio.shield(known.asking)
        if known.signers is None or self._monotonic_s() - known.fetched_s >= HELD_S:
            raise known.failure or _away("it did not answer a moment ago")
        return known

    async def _ask_for(self, issuer: Issuer, known: _Known) -> None:
        """Ask an issuer what it says of itself. While it is away, what is known holds; where it says what may not be, nothing does."""
        try:
            async with asyncio.timeout(ANSWER_S):
                metadata = await self._discover(issuer)
                signers = Signers(await self.ask(issuer, "GET", metadata.jwks_uri))
            known.metadata, known.signers, known.failure = metadata, signers, None
            known.fetched_s = self._monotonic_s()
        except (UpstreamError, TimeoutError) as error:
            known.failure = _away(error.code if isinstance(error, UpstreamError) else "no answer in time")
            log("issuer", state="away", reason=error.code if isinstance(error, UpstreamError) else "timeout")
        except FreeholdError as error:
            known.failure = error if isinstance(error, OperatorError) else _away(error.code)
            known.signers = known.metadata = None
        finally:
            known.tried_s, known.asking = self._monotonic_s(), None

    async def _discover(self, issuer: Issuer) -> Metadata:
        body = await self.ask(issuer, "GET", f"{issuer.url.rstrip('/')}/.well-known/openid-configuration")
        try:
            found = msgspec.json.decode(body, type=Metadata)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise _away("what it says of itself cannot be read") from None
        if found.issuer != issuer.url:
            raise _away("it calls itself by another name", "Write the issuer exactly as its own document has it.")
        return found

    async def ask(
        self, issuer: Issuer, method: str, url: str, body: bytes | None = None, auth: Mapping[str, str] | None = None
    ) -> bytes:
        """Send an issuer a request at one of its places; a body is a form. Raises UpstreamError, OperatorError `auth.issuer`."""
        provider, path = place_of(issuer, url)
        permit = grant_errand(provider, body or b"", now_s=self._now_s(), at_s=self._monotonic_s())
        headers = {"Accept": "application/json", **(auth or {})}
        kind = "application/x-www-form-urlencoded"
        request = Request(method, path, body, headers, kind=kind, longest=_LONGEST)
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._transport.send(permit, request)
                try:
                    found = await answer.whole()
                    answer.finish()
                finally:
                    answer.close()
        except TimeoutError:
            raise UpstreamError("The issuer did not answer in time.", code="auth.issuer", status=504) from None
        if answer.status != 200:
            raise UpstreamError(f"The issuer answered {answer.status}.", code="auth.issuer")
        return found


def place_of(issuer: Issuer, url: str) -> tuple[Provider, str]:
    """Where an endpoint of an issuer is. Raises OperatorError for a host that the configuration does not name."""
    parts = urlsplit(url)
    provider = issuer.places.get(f"{parts.scheme}://{parts.netloc}")
    if provider is None:
        host = parts.netloc[:200]
        raise _away(f"it names an endpoint at {host!r}", f"If that is right, add {host!r} to its hosts.")
    return provider, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _away(why: str, hint: str = "Try again in a moment; if it lasts, check the issuer's address.") -> OperatorError:
    return OperatorError(f"The issuer cannot be asked: {why}.", code="auth.issuer", hint=hint, retry_after_s=2.0)
