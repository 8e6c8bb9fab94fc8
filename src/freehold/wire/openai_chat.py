"""The dialect `openai-chat`: chat completions, legacy completions, embeddings (platform.openai.com/docs/api-reference, checked 2026-11).

Rules: a known field of a wrong type is a 400; an unknown field is kept and sent on; what goes upstream is encoded here
from what was decoded, with the target's model name and, for streams, the wish for usage.
What it does not know: which provider answers, and what it costs.
"""

from __future__ import annotations

from typing import Any

import msgspec

from freehold.kernel.errors import CallerError, FreeholdError
from freehold.kernel.units import Tokens
from freehold.wire import strict
from freehold.wire.call import Call, Endpoint

_INT, _NUMBER, _LIST, _OBJECT = (int,), (int, float), (list,), (dict,)
_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "stream": (bool,),
    "messages": _LIST,
    "tools": _LIST,
    "n": _INT,
    "max_tokens": _INT,
    "max_completion_tokens": _INT,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "seed": _INT,
    "stop": (str, list),
    "logprobs": (bool, int),
    "top_logprobs": _INT,
    "response_format": _OBJECT,
    "stream_options": _OBJECT,
    "user": (str,),
    "logit_bias": _OBJECT,
    "tool_choice": (str, dict),
    "parallel_tool_calls": (bool,),
    "metadata": _OBJECT,
    "functions": _LIST,
    "dimensions": _INT,
    "encoding_format": (str,),
    "best_of": _INT,
}
_LARGEST_N = 128
_NONE: frozenset[str] = frozenset()
_EMBEDDINGS = frozenset({"embeddings"})


def read(endpoint: Endpoint, raw: bytes) -> Call:
    """Decode a request body for an endpoint. Raises CallerError (400)."""
    body = strict.decode(raw)
    for field, value in body.items():
        kinds = _TYPES.get(field)
        if (
            kinds is not None
            and value is not None
            and (not isinstance(value, kinds) or (type(value) is bool and bool not in kinds))
        ):
            raise _bad(f"{field!r} must be {' or '.join(_WORD[k] for k in kinds)}.", "request.type", field)
    model = body.get("model")
    if not model:
        raise _bad("'model' is missing.", "request.missing", "model")
    stream = body.get("stream") is True
    needs = _NONE
    if endpoint is Endpoint.CHAT:
        needs = _chat_needs(body)
    elif endpoint is Endpoint.COMPLETIONS:
        _require(body, "prompt", (str, list))
    else:
        _require(body, "input", (str, list))
        needs, stream = _EMBEDDINGS, False
    choices = _positive(body, "n") or 1
    if choices > _LARGEST_N:
        raise _bad(f"'n' may be at most {_LARGEST_N}.", "request.value", "n")
    limit = _positive(body, "max_completion_tokens") or _positive(body, "max_tokens")
    options = body.get("stream_options") or {}
    return Call(
        endpoint=endpoint,
        model=model,
        is_stream=stream,
        body=body,
        size=len(raw),
        needs=needs,
        choices=choices,
        max_output=limit * choices if limit else None,
        wants_usage=stream and options.get("include_usage") is True,
    )


def write(call: Call, model: str, *, asks_usage: bool) -> bytes:
    """Encode the body for one attempt: the caller's, with the target's model; streams ask for usage where the target can tell."""
    body = {**call.body, "model": model}
    if call.is_stream and asks_usage:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return strict.encode(body)


def _chat_needs(body: dict[str, Any]) -> frozenset[str]:
    messages = body.get("messages")
    if not messages:
        raise _bad("'messages' must be a list with at least one message.", "request.missing", "messages")
    has_images = False
    for at, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str:
            raise _bad(f"'messages[{at}]' must be an object with a role.", "request.type", f"messages[{at}]")
        content = message.get("content")
        if type(content) is list:
            for part in content:
                if type(part) is not dict:
                    raise _bad(
                        f"'messages[{at}].content' must hold objects.", "request.type", f"messages[{at}].content"
                    )
                has_images = has_images or part.get("type") == "image_url"
        elif content is not None and type(content) is not str:
            raise _bad(
                f"'messages[{at}].content' must be a string or a list.", "request.type", f"messages[{at}].content"
            )
    if not has_images and not body.get("tools"):
        return _NONE
    return frozenset(need for need, yes in (("images", has_images), ("tools", bool(body.get("tools")))) if yes)


def _require(body: dict[str, Any], field: str, kinds: tuple[type, ...]) -> None:
    if not isinstance(body.get(field), kinds):
        raise _bad(f"{field!r} must be {' or '.join(_WORD[k] for k in kinds)}.", "request.missing", field)


def _positive(body: dict[str, Any], field: str) -> int | None:
    value: int | None = body.get(field)
    if value is not None and value < 1:
        raise _bad(f"{field!r} must be at least 1.", "request.value", field)
    return value


_WORD: dict[type, str] = {
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "an object",
    str: "a string",
    bool: "true or false",
}


def _bad(message: str, code: str, param: str) -> CallerError:
    error = CallerError(message, code=code)
    error.add_note(param)
    return error


# --- answers -------------------------------------------------------------------------------------------------


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


class Usage(msgspec.Struct):
    """Usage as OpenAI reports it: the details are parts of the totals."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's word for cached tokens

    def tokens(self) -> Tokens:
        """Split the totals into disjoint classes; a part larger than its total is cut to it."""
        before, after = self.prompt_tokens_details or _Details(), self.completion_tokens_details or _Details()
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        read = min(before.cached_tokens or self.prompt_cache_hit_tokens or 0, prompt)
        wrote = min(before.cache_write_tokens or 0, prompt - read)
        heard = min(before.audio_tokens or 0, prompt - read - wrote)
        thought = min(after.reasoning_tokens or 0, completion)
        spoken = min(after.audio_tokens or 0, completion - thought)
        return Tokens(
            input=prompt - read - wrote - heard,
            cache_read=read,
            cache_write=wrote,
            output=completion - thought - spoken,
            reasoning=thought,
            audio_in=heard,
            audio_out=spoken,
        )


class _XGroq(msgspec.Struct):
    usage: Usage | None = None


class Answer(msgspec.Struct):
    """The parts of a unary answer that Freehold looks at."""

    usage: Usage | None = None
    error: Any = None
    choices: list[Any] | None = None
    data: list[Any] | None = None


class _ChunkChoice(msgspec.Struct):
    finish_reason: str | None = None
    index: int = 0


class Chunk(msgspec.Struct):
    """The parts of a stream's event that Freehold looks at."""

    choices: list[_ChunkChoice] | None = None
    usage: Usage | None = None
    x_groq: _XGroq | None = None
    error: Any = None


read_answer = msgspec.json.Decoder(Answer).decode
read_chunk = msgspec.json.Decoder(Chunk).decode
DONE = b"[DONE]"


class InvalidAnswer(ValueError):
    """The provider's bytes are not an answer in this dialect."""


class Progress:
    """Follow a stream: what was seen, what it used, whether it ended as it should.

    Feed it every event's data; `take` says whether the event is for the caller.
    """

    __slots__ = ("_is_asked", "_stopped", "choices", "error", "events", "is_done", "usage")

    def __init__(self, call: Call) -> None:
        self.usage: Usage | None = None
        self.events = 0
        self.is_done = False
        self.error: Any = None
        self.choices = call.choices
        self._stopped: set[int] = set()
        self._is_asked = call.wants_usage

    def take(self, data: bytes) -> bool:
        """Read one event's data; returns whether to pass it on. Raises InvalidAnswer for rubbish."""
        if data == DONE:
            self.is_done = True
            return True
        if not data:
            return True  # a comment: it keeps connections alive, so it is passed on
        try:
            chunk = read_chunk(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise InvalidAnswer("an event of the stream is not a chunk of a chat completion") from None
        if chunk.error is not None:
            self.error = chunk.error
            return False
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq else None)
        if usage is not None:
            self.usage = usage
        if chunk.choices:
            self.events += 1
            for choice in chunk.choices:
                if choice.finish_reason is not None:
                    self._stopped.add(choice.index)
            return True
        # Freehold asked for this event to learn the usage; a caller who did not ask must not see it.
        return self._is_asked or usage is None

    @property
    def is_complete(self) -> bool:
        """True when the provider said that it was finished: by `[DONE]`, or by a reason for every choice (some send no mark)."""
        return self.is_done or len(self._stopped) >= self.choices


def fold(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Fold the decoded events of a stream into the unary answer.

    Text, reasoning and arguments are joined; lists are appended; every other field keeps its last value that is not null.
    """
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for event in events:
        for field, value in event.items():
            if field == "choices":
                for choice in value or ():
                    _fold_choice(choices.setdefault(choice.get("index", 0), {"index": choice.get("index", 0)}), choice)
            elif value is not None or field not in whole:
                whole[field] = value
    if str(whole.get("object", "")).endswith(".chunk"):
        whole["object"] = whole["object"].removesuffix(".chunk")
    whole["choices"] = [choices[at] for at in sorted(choices)]
    return whole


_JOINED = frozenset({"content", "refusal", "reasoning_content", "reasoning", "arguments", "text"})


def _fold_choice(whole: dict[str, Any], part: dict[str, Any]) -> None:
    for field, value in part.items():
        if field == "delta":
            _merge(whole.setdefault("message", {}), value or {})
        elif field == "text":
            whole["text"] = whole.get("text", "") + (value or "")
        elif field == "logprobs" and value is not None:
            whole["logprobs"] = whole.get("logprobs") or {}
            _merge(whole["logprobs"], value)
        elif value is not None or field not in whole:
            whole[field] = value


def _merge(whole: dict[str, Any], part: dict[str, Any]) -> None:
    for field, value in part.items():
        before: Any = whole.get(field)
        if field == "tool_calls" and value:
            _merge_calls(whole.setdefault("tool_calls", []), value)
        elif _is_joined(field, before, value):
            whole[field] = before + value
        elif isinstance(value, dict) and isinstance(before, dict):
            _merge(before, value)
        elif value is not None or field not in whole:
            whole[field] = dict(value) if isinstance(value, dict) else value


def _is_joined(field: str, before: Any, value: Any) -> bool:
    if isinstance(value, str):
        return field in _JOINED and isinstance(before, str)
    return isinstance(value, list) and isinstance(before, list)


def _merge_calls(calls: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    for part in parts:
        at = part.get("index", len(calls))
        known = next((call for call in calls if call.get("index") == at), None)
        if known is None:
            known = {"index": at, "function": {}}
            calls.append(known)
        _merge(known, {field: value for field, value in part.items() if field not in ("function", "index")})
        _merge(known["function"], part.get("function") or {})


# --- errors and lists ----------------------------------------------------------------------------------------

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


def write_error(error: FreeholdError) -> bytes:
    """Encode an error in OpenAI's shape."""
    param = error.__notes__[0] if isinstance(error, CallerError) and getattr(error, "__notes__", None) else None
    kind = _KINDS.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    return strict.encode({"error": {"message": error.text, "type": kind, "param": param, "code": error.code}})


def write_models(models: list[tuple[str, str]]) -> bytes:
    """Encode the model list from (id, owner) pairs."""
    return strict.encode({"object": "list", "data": [_model(name, owner) for name, owner in models]})


def write_model(name: str, owner: str) -> bytes:
    """Encode one model."""
    return strict.encode(_model(name, owner))


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
