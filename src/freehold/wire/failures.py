"""What a provider's refusal means, whatever dialect it is in: one kind, its own words, how long to wait, and its rate-limit headers.

Rules: a status alone is not enough (a bad key is 400 at Google and xAI, a prompt that is too long is 400 everywhere), so the codes and words that
providers really send are looked at too; what cannot be told apart is what its status says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from freehold.wire.canonical import Trouble
from freehold.wire.dialect import error_words


class Kind(StrEnum):
    """Whose fault a refusal is, and what could help."""

    AUTH = "auth"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    RATE_LIMIT = "rate_limit"
    TOO_LONG = "too_long"
    BAD_REQUEST = "bad_request"
    FAILED = "failed"


_BY_STATUS = {401: Kind.AUTH, 403: Kind.FORBIDDEN, 404: Kind.NOT_FOUND, 413: Kind.TOO_LONG, 429: Kind.RATE_LIMIT}
_KEY = re.compile(r"api[ _-]?key|API_KEY_INVALID|security token|credentials", re.IGNORECASE)
_LENGTH = re.compile(
    r"context_length|context length|context window|(?:prompt|input|messages)[^.\"]{0,40} too long|tokens exceeds?|too many (?:total )?(?:text )?(?:bytes|tokens)|maximum (?:context|number of tokens)"
    r"|token count .{0,60}exceeds|exceeds? the (?:maximum|limit)|reduce the length|string_above_max|max_prompt_tokens",
    re.IGNORECASE,
)


class Failure(msgspec.Struct, frozen=True):
    """A refusal, understood. words: the provider's own, None if it had none; retry_after_s: seconds, if the body says so."""

    kind: Kind
    words: str | None
    retry_after_s: float | None = None


def read(status: int, raw: bytes) -> Failure:
    """Read a refusal's body. Never raises: what is no JSON has only its status."""
    words = error_words(raw)
    text = raw[:65_536].decode("utf-8", "replace")
    kind = _BY_STATUS.get(status)
    if kind is None:
        kind = Kind.BAD_REQUEST if 400 <= status < 500 else Kind.FAILED
    if kind is Kind.BAD_REQUEST and words is not None:
        if _LENGTH.search(text):
            kind = Kind.TOO_LONG
        elif _KEY.search(text):
            kind = Kind.AUTH
    return Failure(kind, words, _delay(text) if status in (429, 503) else None)


_RATE = re.compile(rb"rate_limit|RESOURCE_EXHAUSTED|throttl|\"code\" ?: ?429|too_many_requests", re.IGNORECASE)
_FULL = re.compile(
    rb"overloaded|UNAVAILABLE|server_is_overloaded|serviceUnavailable|\"code\" ?: ?(?:503|529)", re.IGNORECASE
)


def trouble(raw: bytes) -> Trouble:
    """What an error in the middle of a stream, or under a good status, says went wrong."""
    head = raw[:4096]
    return Trouble.RATE_LIMIT if _RATE.search(head) else Trouble.OVERLOADED if _FULL.search(head) else Trouble.OTHER


def _delay(text: str) -> float | None:
    """Google puts the wait into the body: `"retryDelay": "17s"`."""
    found = re.search(r'"retryDelay"\s*:\s*"(\d{1,6}(?:\.\d{1,9})?)s"', text)
    return float(found.group(1)) if found else None


# --- headers -------------------------------------------------------------------------------------------------

_FAMILY = re.compile(r"(?:x-ratelimit-|anthropic-ratelimit-|ratelimit-|azureml-model-|x-ms-)")
_SINGLE = frozenset(
    {"retry-after", "retry-after-ms", "x-request-id", "request-id", "openai-processing-ms", "x-should-retry"}
)
_OPENAI = re.compile(r"x-ratelimit-(limit|remaining)-(requests|tokens)\Z")
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(requests|tokens)-(limit|remaining)\Z")


def headers_down(theirs: Mapping[str, str], dialect: str, *, is_same: bool) -> list[tuple[str, str]]:
    """The provider's headers that concern the caller: waits, request ids, rate limits, in the names that the caller's dialect has for them."""
    kept = []
    for name, value in theirs.items():
        name = name.lower()
        if name in _SINGLE or (is_same and _FAMILY.match(name)):
            kept.append((name, value))
        elif not is_same and (renamed := _renamed(name, dialect)) is not None:
            kept.append((renamed, value))
    return kept


def _renamed(name: str, dialect: str) -> str | None:
    """Limits and what is left of them have the same meaning everywhere; times of reset do not, and stay behind."""
    if found := _OPENAI.match(name):
        what, of = found.groups()
        return f"anthropic-ratelimit-{of}-{what}" if dialect == "anthropic-messages" else name
    if found := _ANTHROPIC.match(name):
        of, what = found.groups()
        return name if dialect == "anthropic-messages" else f"x-ratelimit-{what}-{of}"
    return None
