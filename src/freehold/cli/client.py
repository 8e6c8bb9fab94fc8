"""A small client of Freehold itself, for `chat` and for the first call of `up`. It talks to a Freehold, never to a provider."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from freehold.kernel.errors import CallerError, OperatorError


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(base_url: str, key: str, body: dict[str, Any], *, headers: dict[str, str] | None = None) -> Answer:
    """Make one unary chat call. Raises OperatorError if nobody answers."""
    connection, response = _send(base_url, key, body, headers)
    try:
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def stream(
    base_url: str, key: str, body: dict[str, Any], *, headers: dict[str, str] | None = None
) -> tuple[Answer, Iterator[str]]:
    """Make one streaming chat call: the head (with the whole body if it is an error), and the pieces of text as they come."""
    connection, response = _send(base_url, key, {**body, "stream": True}, headers)
    head = {name.lower(): value for name, value in response.getheaders()}
    if response.status != 200:
        body_bytes = response.read()
        connection.close()
        return Answer(response.status, head, body_bytes), iter(())
    return Answer(200, head, b""), _pieces(connection, response)


def _pieces(connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> Iterator[str]:
    try:
        for line in response:
            if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                yield _text_of(json.loads(line[6:]))
    finally:
        connection.close()


def _text_of(event: dict[str, Any]) -> str:
    """The text that a stream's event adds. Raises OperatorError if the stream broke off."""
    if "error" in event:
        raise OperatorError(event["error"]["message"], code=event["error"]["code"] or "upstream.cut")
    return "".join((choice.get("delta") or {}).get("content") or "" for choice in event.get("choices") or ())


def error_of(answer: Answer) -> dict[str, Any]:
    """The error of a refusal. Raises OperatorError if whoever answered is no Freehold."""
    return error_of_body(answer.status, answer.body)


def error_of_body(status: int, body: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(body)["error"]
        return {"code": found["code"], "message": found["message"]}
    except (ValueError, KeyError, TypeError):
        raise OperatorError(
            f"Who answers there is no Freehold (status {status}).", code="cli.unreachable", hint="Check --url."
        ) from None


def _place(base_url: str) -> tuple[str, int | None, str, bool]:
    """(host, port, path, whether TLS) of a base URL. Raises CallerError."""
    try:
        parts = urlsplit(base_url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts.hostname, parts.port, parts.path.rstrip("/"), parts.scheme == "https"
    except ValueError:
        pass
    raise CallerError(f"{base_url!r} is not an address.", code="cli.url", hint="Write http://127.0.0.1:4000/v1.")


def request(
    base_url: str,
    method: str,
    below: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    *,
    timeout_s: float = 600.0,
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Send one request to a path below a base URL; whoever gets the connection closes it. Raises OperatorError if nobody answers."""
    host, port, path, is_tls = _place(base_url)
    kind = http.client.HTTPSConnection if is_tls else http.client.HTTPConnection
    connection = kind(host, port, timeout=timeout_s)
    try:
        connection.request(method, f"{path}{below}", body, headers or {})
        return connection, connection.getresponse()
    except ValueError:
        connection.close()
        raise CallerError("The key is not one line of printable characters.", code="cli.key") from None
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise unreachable(base_url, error) from None


def unreachable(base_url: str, error: Exception) -> OperatorError:
    """Nobody answers, or not to the end."""
    return OperatorError(
        f"No Freehold answers at {base_url} ({type(error).__name__}).",
        code="cli.unreachable",
        hint="Start one with 'freehold up', or give --url.",
    )


def _send(
    base_url: str, key: str, body: dict[str, Any], headers: dict[str, str] | None
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    own = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **(headers or {})}
    return request(base_url, "POST", "/chat/completions", json.dumps(body), own)
