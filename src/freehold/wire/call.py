"""The call as it came in: what an application asked for, decoded and checked, whatever its dialect."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from freehold.kernel.errors import CallerError


class Endpoint(StrEnum):
    """What kind of work a call asks for; the value is the word for it in receipts, and the path below an OpenAI-like base URL."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    MODERATIONS = "moderations"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COUNT_TOKENS = "messages/count_tokens"
    GENERATE = "generateContent"
    GEMINI_COUNT = "countTokens"
    RETRIEVE = "responses/retrieve"
    CANCEL = "responses/cancel"
    DELETE = "responses/delete"
    INPUT_ITEMS = "responses/input_items"


CONVERSATIONS = frozenset({Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES, Endpoint.GENERATE})
COUNTS = frozenset({Endpoint.COUNT_TOKENS, Endpoint.GEMINI_COUNT})
STORED = frozenset({Endpoint.RETRIEVE, Endpoint.CANCEL, Endpoint.DELETE, Endpoint.INPUT_ITEMS})  # of a stored answer


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, decoded and checked.

    body: the decoded JSON, every unknown field kept; it is never changed.
    needs: abilities a target must have ("tools", "images", "embeddings").
    max_output: the most output tokens asked for over all choices, or None if the caller set no limit.
    wants_usage: whether a streaming caller asked for the usage event; needs_state: why only a target that holds state can serve it;
    unrecorded: what it refers to that a provider keeps and no receipt names (a conversation, a template, an item, a cache);
    refers: the id of a stored answer that it is about or goes on from; query: what stands behind the path, for a stored answer;
    is_background: the answer comes later than the reply;
    has_foreign: whether it brings back opaque blobs that came from a target of another dialect; framing: how its stream is framed.
    """

    endpoint: Endpoint
    model: str
    is_stream: bool
    body: dict[str, Any]
    size: int
    dialect: str = "openai-chat"
    needs: frozenset[str] = frozenset()
    max_output: int | None = None
    choices: int = 1
    wants_usage: bool = False
    needs_state: str = ""
    unrecorded: str = ""
    refers: str = ""
    query: str = ""
    is_background: bool = False
    has_foreign: bool = False
    framing: str = "sse"

    @property
    def is_conversation(self) -> bool:
        return self.endpoint in CONVERSATIONS


class Address(msgspec.Struct, frozen=True):
    """What a path and its query say of a call, where the dialect puts it there."""

    model: str = ""
    is_stream: bool = False
    framing: str = "sse"
    stored: str = ""
    query: str = ""


NOWHERE = Address()


def check_types(body: dict[str, Any], types: Mapping[str, tuple[type, ...]]) -> None:
    """Raise CallerError 400 for a known field of a wrong type."""
    for field, value in body.items():
        kinds = types.get(field)
        if (
            kinds is not None
            and value is not None
            and (not isinstance(value, kinds) or (type(value) is bool and bool not in kinds))
        ):
            raise bad(f"{field!r} must be {a_kind(kinds)}.", "request.type", field)


def a_kind(kinds: tuple[type, ...]) -> str:
    return " or ".join(_WORD[kind] for kind in kinds)


def positive(body: dict[str, Any], field: str) -> int | None:
    """A whole number from 1. Raises CallerError."""
    value: int | None = body.get(field)
    if value is not None and (type(value) is not int or value < 1):
        raise bad(f"{field!r} must be at least 1.", "request.value", field)
    return value


def model_of(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not model or not isinstance(model, str):
        raise bad("'model' is missing.", "request.missing", "model")
    return model


def bad(message: str, code: str, param: str) -> CallerError:
    """A 400 that names the field."""
    error = CallerError(message, code=code)
    error.add_note(param)
    return error


_WORD: dict[type, str] = {
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "an object",
    str: "a string",
    bool: "true or false",
}
NO_NEEDS: frozenset[str] = frozenset()


def needs_of(*, images: bool, tools: bool) -> frozenset[str]:
    if not images and not tools:
        return NO_NEEDS
    return frozenset(need for need, yes in (("images", images), ("tools", tools)) if yes)
