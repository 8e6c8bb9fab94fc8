"""What a provider's refusal means, and which of its headers reach the caller, in whose words."""

from __future__ import annotations

import pytest

from freehold.wire import failures
from freehold.wire.failures import Kind, headers_down

THEIRS = {
    "content-type": "application/json",
    "set-cookie": "session=1",
    "server": "x",
    "retry-after": "7",
    "request-id": "req_1",
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-tokens": "5000",
    "x-ratelimit-reset-requests": "6m0s",
    "anthropic-ratelimit-tokens-limit": "9000",
    "anthropic-ratelimit-requests-reset": "2027-01-01T00:00:00Z",
}


def test_headers_of_the_same_dialect_pass_on() -> None:
    found = dict(headers_down(THEIRS, "openai-chat", is_same=True))
    assert set(found) == set(THEIRS) - {"content-type", "set-cookie", "server"}


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        pytest.param(
            "anthropic-messages",
            {
                "anthropic-ratelimit-requests-limit": "100",
                "anthropic-ratelimit-tokens-remaining": "5000",
                "anthropic-ratelimit-tokens-limit": "9000",
            },
            id="to Anthropic's",
        ),
        pytest.param(
            "openai-chat",
            {
                "x-ratelimit-limit-requests": "100",
                "x-ratelimit-remaining-tokens": "5000",
                "x-ratelimit-limit-tokens": "9000",
            },
            id="to OpenAI's",
        ),
    ],
)
def test_limits_are_told_in_the_callers_words(dialect: str, expected: dict[str, str]) -> None:
    """A time of reset is a duration in one dialect and a date in the other: it stays behind."""
    assert dict(headers_down(THEIRS, dialect, is_same=False)) == {**expected, "retry-after": "7", "request-id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words", "wait"),
    [
        pytest.param(
            429,
            b'{"error": {"message": "slow", "details": [{"retryDelay": "17s"}]}}',
            Kind.RATE_LIMIT,
            "slow",
            17.0,
            id="Google's wait",
        ),
        pytest.param(
            400,
            b'{"error": {"message": "API key not valid"}}',
            Kind.AUTH,
            "API key not valid",
            None,
            id="a bad key under 400",
        ),
        pytest.param(
            400,
            b'{"error": {"message": "x", "code": "context_length_exceeded"}}',
            Kind.TOO_LONG,
            "x",
            None,
            id="too long, by its code",
        ),
        pytest.param(
            422,
            b'{"detail": [{"msg": "extra"}, {"msg": "fields"}]}',
            Kind.BAD_REQUEST,
            "extra; fields",
            None,
            id="FastAPI's list",
        ),
        pytest.param(
            400, b'{"message": "Input Tokens Exceeded"}', Kind.TOO_LONG, "Input Tokens Exceeded", None, id="flat"
        ),
        pytest.param(400, b"<html>", Kind.BAD_REQUEST, None, None, id="no JSON"),
        pytest.param(500, b"\xff", Kind.FAILED, None, None, id="no text"),
        pytest.param(503, b"[" * 9000, Kind.FAILED, None, None, id="deep"),
    ],
)
def test_kinds(status: int, body: bytes, kind: Kind, words: str | None, wait: float | None) -> None:
    found = failures.read(status, body)
    assert (found.kind, found.words, found.retry_after_s) == (kind, words, wait)
