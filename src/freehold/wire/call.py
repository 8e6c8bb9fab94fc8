"""The canonical call: what an application asked for, whatever its dialect."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Endpoint(StrEnum):
    """What kind of work a call asks for; the value is the path below a provider's base URL."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, decoded and checked.

    body: the decoded JSON, every unknown field kept; it is never changed.
    needs: abilities a target must have ("tools", "images", "embeddings").
    max_output: the most output tokens asked for over all choices, or None if the caller set no limit.
    wants_usage: whether a streaming caller asked for the usage event.
    """

    endpoint: Endpoint
    model: str
    is_stream: bool
    body: dict[str, Any]
    size: int
    needs: frozenset[str] = frozenset()
    max_output: int | None = None
    choices: int = 1
    wants_usage: bool = False
