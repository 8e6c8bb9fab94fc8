"""A signer of tokens, honest or not: its keys are real, and its tokens say whatever a test wants."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

ISSUER, AUDIENCE = "https://issuer.example.com", "freehold"
_RSA = {bits: rsa.generate_private_key(65537, bits) for bits in (1024, 2048)}


class Forge:
    """One key pair. kind: `rsa`, `weak` (1024 bits), `ec` or `ed`."""

    def __init__(self, kind: str = "rsa", kid: str | None = "k1") -> None:
        self.kid, self.private, self._of = kid, *{
            "rsa": lambda: (_RSA[2048], RSAAlgorithm),
            "other": lambda: (rsa.generate_private_key(65537, 2048), RSAAlgorithm),
            "weak": lambda: (_RSA[1024], RSAAlgorithm),
            "ec": lambda: (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
            "ed": lambda: (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
        }[kind]()  # fmt: skip
        self.algorithm = {"ec": "ES256", "ed": "EdDSA"}.get(kind, "RS256")

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public half."""
        found: dict[str, Any] = json.loads(self._of.to_jwk(self.private.public_key()))
        return (
            {name: value for name, value in found.items() if name != "key_ops"}
            | ({"kid": self.kid} if self.kid else {})
            | more
        )

    def pem(self) -> bytes:
        found: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return found

    def token(self, headers: dict[str, Any] | None = None, algorithm: str | None = None, **claims: Any) -> str:
        """A token of this key. Claims that are None are left out."""
        now = int(time.time())
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "bot", "iat": now, "exp": now + 600} | claims
        said = {name: value for name, value in said.items() if value is not None}
        with_kid = ({"kid": self.kid} if self.kid else {}) | (headers or {})
        header = {"typ": "JWT", "alg": algorithm or self.algorithm, **with_kid}
        start = raw(header, said, b"").rpartition(".")[0]
        signer = get_default_algorithms()[algorithm or self.algorithm]
        return raw(header, said, signer.sign(start.encode(), self.private))


def jwks(*keys: dict[str, Any]) -> bytes:
    """A set of keys, as an issuer gives it."""
    return json.dumps({"keys": list(keys)}).encode()


def raw(header: dict[str, Any], claims: dict[str, Any] | bytes, signature: bytes) -> str:
    """A token put together by hand."""
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (json.dumps(header).encode(), body, signature)
    )
