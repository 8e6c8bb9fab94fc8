"""How people sign in to the admin plane: OpenID Connect, authorisation code with PKCE (RFC 6749, 7636, 9700; OpenID Connect Core 1.0).

Rules: what was asked for is sealed in a cookie of the browser that asks, so an answer that another browser brings is refused; the token must repeat
our nonce; an e-mail address counts only where the issuer says that it is verified. Nothing that an issuer or a browser says is echoed.
What it does not know: what somebody may do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from freehold.gateway.issuers import Issuers, Metadata, place_of
from freehold.identity.people import MACHINE
from freehold.kernel.errors import CallerError, UpstreamError
from freehold.kernel.snapshot import SignIn

BACK = "/sign-in/back"
WAIT_S = 600
_LONGEST_NAME, _MOST_USED = 320, 10_000


class Asked(msgspec.Struct, frozen=True):
    """What a sign-in was begun with."""

    state: str
    nonce: str
    verifier: str
    way: str


class Named(msgspec.Struct, frozen=True):
    """Who somebody is, as their issuer says."""

    name: str
    groups: tuple[str, ...]


class _Tokens(msgspec.Struct):
    id_token: str
    access_token: str = ""


def way_of(sign_in: SignIn) -> str:
    """By which way people sign in: whoever signed in by another has not signed in."""
    way = (
        sign_in.issuer.url,
        sign_in.client_id,
        sign_in.claim,
        sign_in.groups_claim,
        sign_in.scopes,
        sign_in.session_s,
    )
    return hashlib.sha256(repr(way).encode()).hexdigest()[:32]


class SignIns:
    """Takes people to their issuer and back. secret: 32 bytes that every process of this installation has."""

    def __init__(self, issuers: Issuers, secret: bytes) -> None:
        self._issuers, self._used = issuers, dict[str, float]()
        key = hmac.digest(secret, b"freehold-sign-in/1", "sha256")
        self._seal = Fernet(base64.urlsafe_b64encode(key))

    async def begin(self, sign_in: SignIn) -> tuple[str, str]:
        """Where to send somebody, and the cookie that they bring back. Raises OperatorError `auth.issuer`."""
        metadata = await self._issuers.metadata(sign_in.issuer)
        place_of(sign_in.issuer, metadata.authorization_endpoint)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        asked = Asked(state, nonce, verifier, way_of(sign_in))
        proof = base64.urlsafe_b64encode(hashlib.sha256(asked.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": sign_in.client_id,
            "redirect_uri": sign_in.address + BACK,
            "scope": " ".join(sign_in.scopes),
            "state": asked.state,
            "nonce": asked.nonce,
            "code_challenge": proof,
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in metadata.authorization_endpoint else "?"
        url = metadata.authorization_endpoint + mark + urlencode(query, quote_via=quote)
        return url, self._seal.encrypt(msgspec.json.encode(asked)).decode()

    async def finish(self, sign_in: SignIn, query: Mapping[str, str], cookie: str) -> Named:
        """Who came back. query: of the address that they came to. Raises CallerError `auth.sign_in`, `auth.token`, OperatorError `auth.issuer`."""
        asked = self._opened(cookie)
        if asked is None or asked.way != way_of(sign_in):
            raise _refusal("it was not begun in this browser, or took too long", "Start again at /sign-in.")
        if not hmac.compare_digest(asked.state.encode(), query.get("state", "").encode()):
            raise _refusal("it was begun elsewhere", "Start again at /sign-in.")
        if query.get("iss", sign_in.issuer.url) != sign_in.issuer.url:
            raise _refusal("another issuer answered", "Start again at /sign-in.")  # RFC 9207
        if not self._is_first(asked.state):
            raise _refusal("it has come back already", "Start again at /sign-in.")
        if "code" not in query:
            raise _refusal("the issuer did not agree", "Ask whoever runs it, or sign in as somebody else.")
        tokens = await self._exchange(sign_in, query["code"], asked.verifier)
        issuer, audience = sign_in.issuer, sign_in.client_id
        claims = await self._issuers.claims(issuer, tokens.id_token, audience=audience, nonce=asked.nonce)
        if sign_in.claim not in claims or (sign_in.groups and sign_in.groups_claim not in claims):
            claims = {**await self._more(sign_in, claims, tokens.access_token), **claims}
        return named(sign_in, claims)

    async def _more(self, sign_in: SignIn, claims: Mapping[str, Any], access_token: str) -> Mapping[str, Any]:
        """What the issuer says of somebody beside their token: some keep it short (OpenID Connect Core 1.0, 5.3)."""
        metadata = await self._issuers.metadata(sign_in.issuer)
        if not metadata.userinfo_endpoint or not access_token.isascii() or not access_token.isprintable():
            return {}
        auth = {"Authorization": f"Bearer {access_token}"}
        try:
            body = await self._issuers.ask(sign_in.issuer, "GET", metadata.userinfo_endpoint, None, auth)
            found = msgspec.json.decode(body, type=dict[str, Any])
        except (UpstreamError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}  # then it is said what is missing
        return found if found.get("sub") == claims.get("sub") else {}  # of somebody else: 5.3.2

    def _is_first(self, state: str) -> bool:
        """A sign-in comes back once: the issuer is not asked about code after code in our name."""
        now = time.monotonic()
        if len(self._used) >= _MOST_USED:
            self._used = {known: until for known, until in self._used.items() if until > now}
        if state in self._used or len(self._used) >= _MOST_USED:
            return False
        self._used[state] = now + WAIT_S
        return True

    def _opened(self, cookie: str) -> Asked | None:
        try:
            return msgspec.json.decode(self._seal.decrypt(cookie.encode(), ttl=WAIT_S), type=Asked)
        except (InvalidToken, ValueError):
            return None

    async def _exchange(self, sign_in: SignIn, code: str, verifier: str) -> _Tokens:
        """Exchange a code for the tokens that say who somebody is."""
        metadata = await self._issuers.metadata(sign_in.issuer)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": sign_in.address + BACK,
            "client_id": sign_in.client_id,
            "code_verifier": verifier,
        }
        form, auth = _proven(sign_in, metadata, form)
        try:
            body = await self._issuers.ask(
                sign_in.issuer, "POST", metadata.token_endpoint, urlencode(form).encode(), auth
            )
            return msgspec.json.decode(body, type=_Tokens)
        except UpstreamError:
            raise _refusal("the issuer does not take the code", "Start again at /sign-in.") from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise _refusal("the issuer does not say who came", "The scope openid is needed.") from None


def _proven(sign_in: SignIn, metadata: Metadata, form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The form and the headers by which we show who we are, in the way that the issuer takes."""
    if sign_in.client_secret is None:
        return form, {}
    secret = sign_in.client_secret.value
    if "client_secret_basic" not in metadata.token_endpoint_auth_methods_supported:
        return form | {"client_secret": secret}, {}
    pair = f"{quote(sign_in.client_id, safe='')}:{quote(secret, safe='')}"
    return form, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def named(sign_in: SignIn, claims: Mapping[str, Any]) -> Named:
    """Who a token names. Raises CallerError `auth.sign_in`."""
    name = claims.get(sign_in.claim)
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise _refusal(f"the issuer does not say your {sign_in.claim!r}", "Set [sign_in] claim, or its scopes.")
    if sign_in.claim == "email":
        if claims.get("email_verified") is not True or not name.isascii():
            raise _refusal(
                "the issuer does not say that your e-mail address is verified",
                'Have it verified, or set claim = "sub".',
            )
        name = name.lower()  # the only claim in whose letters' case nobody differs
    if name != name.strip() or name.lower().startswith(MACHINE):
        raise _refusal("that is no name of a person", "Set [sign_in] claim to another.")
    listed = claims.get(sign_in.groups_claim, [])
    groups = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
    return Named(name, tuple(one for one in groups if isinstance(one, str) and one in sign_in.groups))


def _refusal(why: str, hint: str) -> CallerError:
    return CallerError(f"You cannot be signed in: {why}.", code="auth.sign_in", status=401, hint=hint)
