"""One attempt, and what its failure means.

Why it exists: a failure is either the caller's (passed on as the provider said it), or the provider's (another target may do).
Rules: no answer of a provider shows its key; a body with status 401 or 403 is never passed on, because it is about our key.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping

import msgspec

from freehold.kernel.errors import FreeholdError, UpstreamError
from freehold.kernel.units import Secret
from freehold.perimeter.ruling import Grant
from freehold.upstream.transport import Request, Response, Transport
from freehold.wire import failures
from freehold.wire.allowances import told
from freehold.wire.failures import Failure, Kind

FORWARDED_UP = (b"openai-beta", b"anthropic-beta", b"anthropic-version")  # a caller's own, to a target of its dialect
LONGEST_WAIT_S = 10.0
_CALLERS_FAULT = frozenset({Kind.BAD_REQUEST, Kind.TOO_LONG})
CALLERS_STATUS = frozenset({400, 413, 422})
_ERROR_LIMIT = 64 * 1024


class Rejected(FreeholdError):
    """The provider says that the caller's request is wrong: its own status and words go back to the caller.

    body: as the provider sent it, for a caller of its dialect; words: what it says, for every other, None if it cannot be read.
    """

    def __init__(self, status: int, body: bytes, failure: Failure) -> None:
        code = "upstream.too_long" if failure.kind is Kind.TOO_LONG else "upstream.rejected"
        super().__init__(f"The provider refused the request with status {status}.", code=code, status=status)
        self.body = body
        self.words = failure.words
        self.dialect = ""  # whoever chose the dialect of the attempt says it


async def send(transport: Transport, grant: Grant, request: Request) -> Response:
    """Make one attempt; returns an answer with a status below 300. Raises UpstreamError or Rejected."""
    response = await transport.send(grant, request)
    if response.status < 300:
        return response
    try:
        body = await _head_of(response)
    finally:
        response.close()
    if request.body is None and response.status in (404, 409):  # a stored answer that is gone, or not to be had now
        clean = scrub(body, grant.provider.key)
        raise Rejected(response.status, clean, failures.read(response.status, clean))
    error = _failure(grant, response.status, response.headers, body)
    if isinstance(error, UpstreamError):
        error.said = response.status
    raise error


def _failure(grant: Grant, status: int, headers: Mapping[str, str], body: bytes) -> FreeholdError:
    name, failure = grant.provider.name, failures.read(status, body)
    wait_s = _retry_after(headers)
    wait_s = failure.retry_after_s if wait_s is None else wait_s
    if failure.kind in _CALLERS_FAULT and status in CALLERS_STATUS and failure.words is not None:
        clean = scrub(body, grant.provider.key)
        return Rejected(status, clean, failures.read(status, clean))
    if failure.kind is Kind.RATE_LIMIT:
        if wait_s is None:  # some say when all is back instead
            resets = [
                one.reset_s for one in told(headers, time.time()) if not one.remaining and one.reset_s is not None
            ]
            wait_s = max(resets, default=None)
        return UpstreamError(
            f"{name!r} is limiting the rate.", code="upstream.rate_limited", status=429, retry_after_s=wait_s
        )
    if failure.kind in (Kind.AUTH, Kind.FORBIDDEN):
        return _final(
            f"{name!r} does not accept Freehold's key.",
            "upstream.key_refused",
            "An administrator has to check the provider's key.",
        )
    if failure.kind is Kind.NOT_FOUND:
        return _final(
            f"{name!r} does not know {grant.target.model!r}.",
            "upstream.unknown_model",
            "Check the model's name in the configuration.",
        )
    if status < 400:
        return _final(
            f"{name!r} answered with a redirect, which is never followed.",
            "upstream.redirect",
            "Set base_url to the final address.",
        )
    error = UpstreamError(f"{name!r} failed with status {status}.", code="upstream.failed", retry_after_s=wait_s)
    error.is_retryable = status >= 500 or status == 408
    return error


def _final(message: str, code: str, hint: str) -> UpstreamError:
    """A failure that the same target would only repeat: the next target may still do."""
    error = UpstreamError(message, code=code, hint=hint)
    error.is_retryable = False
    return error


def scrub(data: bytes, secret: Secret | None) -> bytes:
    """Take a provider's key out of what it sent."""
    if secret is None:
        return data
    value = secret.value.encode()
    return data.replace(value, b"[redacted]") if value in data else data


def wait_before_retry(error: UpstreamError, tries: int) -> float | None:
    """Seconds to wait before the same target is tried again, None to give it up. Jittered; honours Retry-After up to 10 s."""
    if not error.is_retryable:
        return None
    if error.retry_after_s is not None:
        return error.retry_after_s if error.retry_after_s <= LONGEST_WAIT_S else None
    return random.uniform(0.5, 1.0) * min(0.2 * float(2**tries), LONGEST_WAIT_S)  # noqa: S311 - jitter is no secret


class ServedModel(msgspec.Struct, frozen=True):
    """One row of a provider's model list."""

    id: str
    owned_by: str = ""


class _ModelList(msgspec.Struct):
    data: list[ServedModel]


async def list_models(transport: Transport, grant: Grant, *, deadline_s: float) -> list[ServedModel]:
    """Probe a provider's model list. Raises UpstreamError; never sends a body."""
    try:
        async with asyncio.timeout(deadline_s):
            response = await transport.send(grant, Request("GET", "models", None))
            body = await response.whole()
            response.finish()
        if response.status != 200:
            raise UpstreamError(
                f"{grant.provider.name!r} answered {response.status} to a probe.", code="upstream.failed"
            )
        return msgspec.json.decode(body, type=_ModelList).data
    except TimeoutError:
        raise UpstreamError(
            f"{grant.provider.name!r} did not answer a probe in time.", code="upstream.timeout"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise UpstreamError(
            f"{grant.provider.name!r} did not answer a probe with a model list.", code="upstream.invalid_answer"
        ) from None


async def _head_of(response: Response) -> bytes:
    """Read an error's body, but no more than is worth passing on."""
    kept = b""
    try:
        async for chunk in response.chunks():
            kept += chunk
            if len(kept) > _ERROR_LIMIT:
                return kept[:_ERROR_LIMIT]
        response.finish()
    except UpstreamError:
        pass  # the status already says what happened
    return kept


def _retry_after(headers: Mapping[str, str]) -> float | None:
    in_ms, in_s = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if in_ms is not None:
            return max(0.0, float(in_ms) / 1000)
        return max(0.0, float(in_s)) if in_s is not None else None
    except ValueError:
        return None  # a date: rare, and a jittered wait serves as well
