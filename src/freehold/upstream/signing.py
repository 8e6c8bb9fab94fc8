"""Who we are, for each provider's way of asking: a key in a header, an AWS signature (SigV4), a Google access token.

Rules: nothing here opens a connection: a signature is computed, and a service account signs its own token (RFC 7523 without an exchange).
AWS and Google libraries are extras, imported when a provider needs them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from freehold.kernel.errors import OperatorError
from freehold.kernel.extras import need
from freehold.kernel.snapshot import Provider

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_KEY_HEADERS = {"x-api-key": "x-api-key", "x-goog-api-key": "x-goog-api-key", "api-key": "api-key"}
_EARLY_S = 300.0  # a token is renewed this long before it runs out


def key_headers(provider: Provider, auth: str) -> dict[str, str]:
    """The header of a provider that takes its key as it is; empty for one without a key."""
    if provider.key is None:
        return {}
    name = _KEY_HEADERS.get(auth or provider.auth)
    return {name: provider.key.value} if name else {"Authorization": f"Bearer {provider.key.value}"}


class Signer:
    """Signs the requests to one provider. `signs` says whether it has to."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.signs = provider.key is None and bool(provider.credentials)
        self._google: Any = None
        self._until_s = 0.0

    def headers(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """The headers that one request needs. Raises OperatorError when an extra is missing or the credentials are unusable."""
        if self._provider.auth == "google":
            return {"Authorization": f"Bearer {self._token()}"}
        return self._sigv4(method, url, body)

    def _sigv4(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        auth, request, known = (
            need("botocore.auth", "bedrock"),
            need("botocore.awsrequest", "bedrock"),
            need("botocore.credentials", "bedrock"),
        )
        held = self._provider.credentials
        token = held["session_token"].value if "session_token" in held else None
        credentials = known.Credentials(held["access_key"].value, held["secret_key"].value, token)
        signed = request.AWSRequest(method=method, url=url, data=body, headers={"Content-Type": "application/json"})
        auth.SigV4Auth(credentials, "bedrock", self._provider.region).add_auth(signed)
        return {name: value for name, value in signed.headers.items() if name.lower() != "content-type"}

    def _token(self) -> str:
        if self._google is None or time.time() > self._until_s - _EARLY_S:
            accounts = need("google.oauth2.service_account", "vertex")
            try:
                info = json.loads(self._provider.credentials["service_account"].value)
                self._google = accounts.Credentials.from_service_account_info(
                    info, scopes=[_SCOPE], always_use_jwt_access=True
                )
                self._google.refresh(None)  # signs a token of its own; nothing is asked of anybody
            except (KeyError, ValueError, TypeError):
                raise _unusable(
                    self._provider.name, "service_account must be the JSON key of a service account"
                ) from None
            self._until_s = time.time() + 3600.0
        return str(self._google.token)


def _unusable(provider: str, why: str) -> OperatorError:
    return OperatorError(
        f"The credentials of {provider!r} cannot be used: {why}.",
        code="config.credentials",
        hint="See the how-to on clouds in the documentation.",
    )
