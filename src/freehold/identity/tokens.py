"""Signed tokens (JWT) of people and machines: whether a trusted issuer made one, for us, and when it ends.

Rules (RFC 8725): a token is checked by a key of its issuer alone, with an algorithm that this key signs with; only public keys are taken, and only strong ones; what a token says
of where its keys are (`jku`, `x5u`, `jwk`) is not looked at; issuer, audience and end are needed. No error holds anything that a token says.
What it does not know: where keys come from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from freehold.kernel.errors import CallerError, UpstreamError
from freehold.kernel.extras import need

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# By kind of key and curve: with what it may sign.
_ALGORITHMS_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "RSA": {"": _RSA},
    "EC": {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)},
    "OKP": {"Ed25519": ("EdDSA",)},
}
_MOST_READY = 100
LONGEST = 16 * 1024
LEEWAY_S = 30
_RSA_BITS = 2048


class _Set(msgspec.Struct):
    keys: list[dict[str, Any]]


class Signers:
    """The public keys of an issuer, by their ids."""

    def __init__(self, body: bytes) -> None:
        """body: a JWK set (RFC 7517); keys in it that cannot sign tokens are left out. Raises UpstreamError `auth.issuer`."""
        self._jwt = need("jwt", "sign-in")
        try:
            listed = msgspec.json.decode(body, type=_Set).keys
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise UpstreamError("The issuer's keys cannot be read.", code="auth.issuer") from None
        self._listed: dict[str | None, dict[str, Any]] = {}
        for one in listed:
            is_ours = one.get("use", "sig") == "sig" and "verify" in one.get("key_ops", ["verify"])
            if is_ours and _ALGORITHMS_OF.get(str(one.get("kty"))):
                self._listed.setdefault(one.get("kid") if isinstance(one.get("kid"), str) else None, one)
        self._ready: dict[tuple[str | None, str], Any] = {}

    def find(self, kid: str | None, algorithm: str) -> Any | None:
        """The key of this id, if it signs with this algorithm: the one that it names, else any of its kind. A token that names no key is checked by the only one there is."""
        if kid is None and len(self._listed) == 1:
            kid = next(iter(self._listed))
        if (kid, algorithm) not in self._ready and (listed := self._listed.get(kid)) is not None:
            if len(self._ready) > _MOST_READY:
                self._ready.clear()
            self._ready[kid, algorithm] = self._made(listed, algorithm)
        return self._ready.get((kid, algorithm))

    def _made(self, listed: dict[str, Any], algorithm: str) -> Any | None:
        allowed = _ALGORITHMS_OF[str(listed["kty"])].get(listed.get("crv", ""), ())
        if algorithm not in allowed or listed.get("alg", algorithm) != algorithm:
            return None
        try:
            key = self._jwt.PyJWK({part: value for part, value in listed.items() if part != "d"}, algorithm)
        except (self._jwt.PyJWTError, ValueError, TypeError, KeyError):
            return None
        return key if listed["kty"] != "RSA" or key.key.key_size >= _RSA_BITS else None


class UnknownSigner(CallerError):
    """The key that signed a token is not known: the issuer may have a new one."""

    def __init__(self) -> None:
        super().__init__("The token's key is not one of its issuer's.", code="auth.token", status=401)


def looks_signed(text: str) -> bool:
    """Whether a secret is a token, and none of Freehold's own keys."""
    return text.startswith("eyJ") and text.count(".") == 2 and len(text) <= LONGEST


def issuer_in(token: str) -> str:
    """Who a token says has made it: not yet to be believed. Raises CallerError `auth.token`."""
    jwt = need("jwt", "sign-in")
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        raise _refusal("it cannot be read") from None
    return str(claims.get("iss", ""))


def check(token: str, signers: Signers, *, issuer: str, audience: str, nonce: str | None = None) -> Mapping[str, Any]:
    """Check a token; returns what it claims.

    nonce: what the token of somebody who signs in has to repeat. Raises UnknownSigner, CallerError `auth.token`.
    """
    jwt = need("jwt", "sign-in")
    if len(token) > LONGEST:
        raise _refusal("it is too long")
    try:
        header = jwt.get_unverified_header(token)
        algorithm = str(header.get("alg"))
        key = signers.find(header.get("kid"), algorithm)
        if key is None:
            raise UnknownSigner
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise _refusal(_WHY.get(type(error).__name__, "it was not made by its issuer for this Freehold")) from None
    if type(claims["exp"]) not in (int, float) or claims["exp"] + LEEWAY_S <= time.time():
        raise _refusal("it has expired")
    if nonce is not None and claims.get("azp", audience) != audience:
        raise _refusal("it was made for somebody else")
    if nonce is not None and claims.get("nonce") != nonce:
        raise _refusal("it was not asked for here")
    return claims


_WHY = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it does not hold yet",
    "InvalidAudienceError": "it was made for somebody else",
    "InvalidIssuerError": "its issuer is another",
    "InvalidSignatureError": "its signature is wrong",
    "MissingRequiredClaimError": "it does not say by whom, for whom, and until when it was made",
}


def _refusal(why: str) -> CallerError:
    return CallerError(f"The token is refused: {why}.", code="auth.token", status=401)
