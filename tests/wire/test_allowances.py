"""What providers say of their own limits, in the headers that they really send."""

from __future__ import annotations

import pytest

from freehold.wire.allowances import Told, seconds, told

NOW = 1_788_000_000.0  # 2026-08-29T10:40:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6m0s", 360.0),
        ("1.5s", 1.5),
        ("120ms", 0.12),
        ("2h3m4s", 7384.0),
        ("1d", 86_400.0),
        ("0s", 0.0),
        ("17", 17.0),
        ("11.382867", 11.382867),
        ("2026-08-29T10:40:21Z", 21.0),
        ("2026-08-29T12:40:21+02:00", 21.0),
        ("2026-08-29T10:39:00Z", 0.0),
        ("1788000030", 30.0),
        ("1788000030000", 30.0),
        ("99999999", 86_400.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1e9", None),
        ("٣", None),
    ],
)
def test_times_are_read_as_they_are_written(text: str, expected: float | None) -> None:
    """Spans, seconds, moments; what is in the past is now, what is further away than a day is not believed."""
    assert seconds(text, NOW) == (pytest.approx(expected) if expected is not None else None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(
            {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499", "x-ratelimit-reset-requests": "120ms",
             "x-ratelimit-limit-tokens": "30000", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m0s"},
            [Told("requests", 500, 499, 0.12), Told("tokens", 30_000, 0, 60.0)],
            id="openai",
        ),
        pytest.param(
            {"x-ratelimit-limit-requests": "120", "x-ratelimit-remaining-requests": "90", "x-ratelimit-reset-requests": "500",
             "x-ratelimit-renewalperiod-requests": "60"},
            [Told("requests", 120, 90, 15.0)],
            id="azure: a reset without a unit says nothing, the period does",
        ),
        pytest.param(
            {"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "0"},
            [],
            id="azure: below nothing is unknown",
        ),
        pytest.param(
            {"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "49", "anthropic-ratelimit-requests-reset": "2026-08-29T10:40:01Z",
             "anthropic-ratelimit-input-tokens-limit": "200000", "anthropic-ratelimit-input-tokens-remaining": "126000", "anthropic-ratelimit-input-tokens-reset": "2026-08-29T10:40:22Z"},
            [Told("requests", 50, 49, 1.0), Told("tokens", 200_000, 126_000, 22.0)],
            id="anthropic",
        ),
        pytest.param(
            {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "0"},
            [Told("requests", 60, 0, 60.0)],
            id="mistral: the window is in the name",
        ),
        pytest.param(
            {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "3"},
            [Told("requests", 600, 3, None)],
            id="xai: when they come back is not told",
        ),
        pytest.param({"content-type": "application/json"}, [], id="nothing"),
        pytest.param({"x-ratelimit-remaining-requests": "9" * 30}, [], id="out of all proportion"),
        pytest.param({"x-ratelimit-remaining-requests": "٣"}, [], id="digits of another script"),
    ],
)  # fmt: skip
def test_allowances_are_read(headers: dict[str, str], expected: list[Told]) -> None:
    assert told(headers, NOW) == expected
