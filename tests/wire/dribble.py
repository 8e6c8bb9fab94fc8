"""Dribble: feed a decoder whole, byte by byte, and at every split; every way must give the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def dribble(data: bytes, decode: Callable[[list[bytes]], T]) -> T:
    """Run decode on many cuts of data and return the one result they share."""
    whole = decode([data])
    assert decode([data[at : at + 1] for at in range(len(data))]) == whole, "byte by byte differs"
    for at in range(len(data) + 1):
        assert decode([data[:at], data[at:]]) == whole, f"split at {at} differs"
    return whole
