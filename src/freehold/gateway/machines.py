"""Machines that show a signed token in place of a key. A token is checked once and known for a few minutes; whose it is then costs one look-up.

What it does not know: what the key that belongs to a machine may do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from freehold.gateway.issuers import Issuers
from freehold.identity.tokens import LEEWAY_S, issuer_in, looks_signed
from freehold.kernel.errors import CallerError
from freehold.kernel.snapshot import Machine

KNOWN_S, MOST = 300.0, 10_000


class Machines:
    """Knows whose tokens were good a moment ago. now_s: seconds since 1970."""

    def __init__(self, issuers: Issuers, now_s: Callable[[], float]) -> None:
        self._issuers, self._now_s = issuers, now_s
        self._known: dict[bytes, tuple[Machine, str, float]] = {}  # whose, of which subject, until when

    def find(self, token: str, machines: Mapping[str, Machine]) -> str | None:
        """Whose token that is (`NAME:SUBJECT`), if it was learnt, still holds, and nothing about its issuer was configured anew."""
        found = self._known.get(_digest(token))
        if found is None:
            return None
        machine, subject, until_s = found
        if self._now_s() >= until_s or machines.get(machine.name) is not machine:
            return None
        return f"{machine.name}:{subject}"

    async def learn(self, token: str, machines: Mapping[str, Machine]) -> None:
        """Check a token, if it is one and is not known. Raises CallerError `auth.token`, OperatorError `auth.issuer`."""
        if not looks_signed(token) or self.find(token, machines) is not None:
            return
        said, refusal = issuer_in(token), CallerError("No machine is configured for the token's issuer.", code="auth.token", status=401)  # fmt: skip
        for machine in machines.values():
            if machine.issuer.url != said:
                continue
            try:
                claims = await self._issuers.claims(machine.issuer, token, audience=machine.audience, keys=machine.keys)
            except CallerError as error:
                refusal = error
                continue  # another machine may have the same issuer and another audience
            if "nonce" in claims or (machine.claim == "email" and claims.get("email_verified") is not True):
                refusal = CallerError("The token is a person's.", code="auth.token", status=401)
                continue
            subject = claims.get(machine.claim)
            if not isinstance(subject, str) or not subject or len(subject) > 512:
                refusal = CallerError("The token does not say whose it is.", code="auth.token", status=401)
                continue
            if len(self._known) >= MOST:
                self._known.clear()
            until_s = min(claims["exp"] + LEEWAY_S, self._now_s() + KNOWN_S)
            self._known[_digest(token)] = machine, subject, until_s
            return
        raise refusal


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
