"""What a provider says of its own rate limits: how many calls and tokens are left, and when all are back.

Rules: families of headers differ in order and in how a time is written (`6m0s`, `120ms`, seconds, a moment in RFC 3339); what cannot be read is
not there, and what is out of all proportion is not believed. Sources: the vendors' pages on rate limits; checked 2026-11-25.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import NamedTuple

_LONGEST_S = 86_400.0


class Told(NamedTuple):
    """One allowance. of: `requests` or `tokens`; reset_s: until all of it is back, None if that is not told."""

    of: str
    limit: int | None
    remaining: int
    reset_s: float | None


class _Family(NamedTuple):
    """Headers of one allowance. window: of the header that tells in how many seconds all comes back, or that time itself; is_seconds: whether a bare
    number in the reset is one of seconds (at Azure it was seen as milliseconds, too).
    """

    of: str
    limit: str
    remaining: str
    reset: str = ""
    window: str | float = ""
    is_seconds: bool = False


def _openai(of: str) -> _Family:
    limit, remaining, reset, window = (
        f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset", "renewalperiod")
    )
    return _Family(of, limit, remaining, reset, window)


def _anthropic(of: str, name: str) -> _Family:
    limit, remaining, reset = (f"anthropic-ratelimit-{name}-{what}" for what in ("limit", "remaining", "reset"))
    return _Family(of, limit, remaining, reset)


# One lookup each, because most answers have none of them.
_FAMILIES = (
    _openai("requests"),
    _openai("tokens"),
    _anthropic("requests", "requests"),
    _anthropic("tokens", "input-tokens"),
    _Family("requests", "x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute", window=60.0),
    _Family("tokens", "x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute", 60.0, is_seconds=True),
    _Family("requests", "x-ratelimit-limit-requests-minute", "x-ratelimit-remaining-requests-minute", "x-ratelimit-reset-requests-minute", 60.0, is_seconds=True),
    _Family("requests", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", is_seconds=True),
)  # fmt: skip
_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)
_BARE = re.compile(r"\d{1,20}(\.\d{1,9})?", re.ASCII)
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


def told(headers: Mapping[str, str], now_s: float) -> list[Told]:
    """The allowances that an answer's headers tell (names in lower case). now_s: seconds since 1970."""
    found = []
    for family in _FAMILIES:
        text = headers.get(family.remaining)
        left = _count(text) if text is not None else None
        if left is None:
            continue
        limit = _count(headers.get(family.limit, ""))
        found.append(Told(family.of, limit, left, _reset(family, headers, limit, left, now_s)))
    return found


def _count(text: str) -> int | None:
    """A whole number; what is below nothing, or no number, is not known."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _reset(family: _Family, headers: Mapping[str, str], limit: int | None, left: int, now_s: float) -> float | None:
    text = headers.get(family.reset, "")
    if text and (family.is_seconds or not _BARE.fullmatch(text)):
        return seconds(text, now_s)
    window = family.window if isinstance(family.window, float) else seconds(headers.get(family.window, ""), now_s)
    return window * (limit - left) / limit if window and limit and left < limit else None


def seconds(text: str, now_s: float) -> float | None:
    """How long until a time that a header tells, at most a day; None for what is no time."""
    text = text.strip()
    if _BARE.fullmatch(text):
        value = float(text)
        if value > 1e11:  # a moment in milliseconds
            value = value / 1000 - now_s
        elif value > 1e9:  # a moment in seconds
            value -= now_s
    elif text and (span := _SPAN.fullmatch(text)):
        value = sum(float(part) * unit for part, unit in zip(span.groups(), _UNITS_S, strict=True) if part)
    else:
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            return None
        value = (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp() - now_s
    return min(max(value, 0.0), _LONGEST_S)
