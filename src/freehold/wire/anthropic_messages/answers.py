"""anthropic-messages answers and streams (docs.anthropic.com/en/api/messages and …/messages-streaming, checked 2026-11).

Rules: input tokens here do not count what was read from or written to the cache; a stream's usage comes in two pieces, and the last
value of each count holds. Reasoning that has no signature is written with an empty one of Freehold's own, so that clients keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from freehold.kernel.errors import FreeholdError
from freehold.kernel.units import Tokens
from freehold.wire import canonical as c
from freehold.wire import failures, sse, strict
from freehold.wire.anthropic_messages.requests import NAME, read_block, read_citation
from freehold.wire.call import Call
from freehold.wire.canonical import Feature, Stop
from freehold.wire.dialect import MISSHAPEN, Count, InOrder, Lost, Model, arguments, is_list, words

_STOPS = {
    "end_turn": Stop.END,
    "max_tokens": Stop.LENGTH,
    "model_context_window_exceeded": Stop.LENGTH,
    "stop_sequence": Stop.SEQUENCE,
    "tool_use": Stop.TOOL_USE,
    "pause_turn": Stop.PAUSE,
    "refusal": Stop.REFUSAL,
}
_REASONS = {stop: reason for reason, stop in reversed(_STOPS.items())} | {
    Stop.FILTER: "refusal",
    Stop.ERROR: "end_turn",
}
_UNSIGNED = c.Blob("none", "")


class Written(msgspec.Struct):
    """What was written to the cache, by how long it is kept."""

    ephemeral_1h_input_tokens: Count | None = None


class Usage(msgspec.Struct):
    """Usage as Anthropic reports it: the classes are disjoint."""

    input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    output_tokens: Count | None = None
    service_tier: str | None = None
    cache_creation: Written | None = None
    speed: str | None = None
    inference_geo: str | None = None

    def used(self) -> c.Used:
        """With the words for how it was served: speed counts as a tier, because it has a price of its own."""
        geo = self.inference_geo or ""
        tier = "fast" if self.speed == "fast" else self.service_tier
        return c.Used(self.tokens(), tier, "" if geo in ("global", "not_available") else geo)

    def tokens(self) -> Tokens:
        written = self.cache_creation_input_tokens or 0
        for_an_hour = min(
            written, (self.cache_creation.ephemeral_1h_input_tokens if self.cache_creation else None) or 0
        )
        return Tokens(
            input=self.input_tokens or 0,
            cache_read=self.cache_read_input_tokens or 0,
            cache_write=written - for_an_hour,
            cache_write_1h=for_an_hour,
            output=self.output_tokens or 0,
        )

    def after(self, later: Usage) -> Usage:
        """The two together: a later count replaces an earlier one."""
        pairs = zip(self.__struct_fields__, msgspec.structs.astuple(later), msgspec.structs.astuple(self), strict=True)
        return Usage(**{field: new if new is not None else old for field, new, old in pairs})


def write_usage(tokens: Tokens) -> dict[str, Any]:
    written = tokens.cache_write + tokens.cache_write_1h
    usage: dict[str, Any] = {
        "input_tokens": tokens.input + tokens.audio_in,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.completion,
    }
    if written:
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": tokens.cache_write,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        }
    return usage


class _Whole(msgspec.Struct):
    content: list[dict[str, Any]]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Usage | None = None


_whole = msgspec.json.Decoder(_Whole).decode


def read_answer(raw: bytes, family: str) -> c.Answer:
    """Read a whole message."""
    body = _whole(raw)
    stop = _STOPS.get(body.stop_reason, Stop.END) if body.stop_reason else None
    parts = [read_block(block, family) for block in body.content]
    answer = c.Answer(
        id=body.id,
        model=body.model,
        candidates=[c.Candidate(parts=parts, stop=stop, sequence=body.stop_sequence)],
    )
    if body.usage is not None:
        used = body.usage.used()
        answer.tokens, answer.service_tier, answer.geo = used.tokens, used.service_tier, used.geo
    return answer


class _Read(msgspec.Struct):
    usage: Usage | None = None
    input_tokens: Count | None = None
    content: msgspec.Raw = msgspec.Raw(b"null")


_tokens = msgspec.json.Decoder(_Read).decode


def used_of(raw: bytes) -> c.Used | None:
    """What a whole message says it used; counting tokens uses none."""
    body = _tokens(raw)
    if body.input_tokens is None and not is_list(body.content):
        raise c.InvalidAnswer("no message")
    return body.usage.used() if body.usage is not None else None


# --- whole answers out -----------------------------------------------------------------------------------------


def write_answer(answer: c.Answer, _call: Call, lost: Lost) -> bytes:
    """Write a whole message."""
    if len(answer.candidates) > 1:
        lost.add(Feature.CHOICES)
    candidate = answer.candidates[0] if answer.candidates else c.Candidate(parts=[])
    if candidate.logprobs:
        lost.add(Feature.LOGPROBS)
    body = _head(answer.id, answer.model)
    body["content"] = [block for part in candidate.parts if (block := _write_block(part, lost)) is not None]
    body["stop_reason"] = _reason(candidate)
    body["stop_sequence"] = candidate.sequence
    body["usage"] = write_usage(answer.tokens or Tokens())
    if answer.service_tier is not None:
        body["usage"]["service_tier"] = answer.service_tier
    return strict.encode(body)


def _head(about: str, model: str) -> dict[str, Any]:
    return {
        "id": about if about.startswith("msg_") else f"msg_{about}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _reason(candidate: c.Candidate) -> str:
    if any(isinstance(part, c.Refusal) for part in candidate.parts):
        return "refusal"
    calls = any(isinstance(part, c.ToolUse) for part in candidate.parts)
    return _reason_of(candidate.stop, calls=calls)


def _reason_of(stop: Stop | None, *, calls: bool) -> str:
    """A turn that asks for a tool says so, also where its provider says only that it ended (a call that was forced)."""
    return _REASONS[Stop.TOOL_USE if calls and stop in (None, Stop.END) else stop or Stop.END]


def _write_block(part: c.Part, lost: Lost) -> dict[str, Any] | None:
    if isinstance(part, c.Text):
        block: dict[str, Any] = {"type": "text", "text": part.text}
        if part.citations:
            block["citations"] = [_write_citation(one) for one in part.citations]
        return block
    if isinstance(part, c.Refusal):
        return {"type": "text", "text": part.text}
    if isinstance(part, c.ToolUse):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments(part.arguments)}
    if isinstance(part, c.Thought):
        signature = c.wrap(part.blob or _UNSIGNED)
        if part.is_redacted:
            return {"type": "redacted_thinking", "data": signature}
        return {"type": "thinking", "thinking": part.text, "signature": signature}
    lost.add(part.feature if isinstance(part, c.Opaque) else Feature.IMAGE_OUT)
    return None


def _write_citation(citation: c.Citation) -> dict[str, Any]:
    if citation.dialect == NAME and citation.raw is not None:
        return citation.raw
    return {
        "type": "web_search_result_location",
        "url": citation.url or "",
        "title": citation.title,
        "cited_text": citation.quote or "",
        "encrypted_index": "",
    }


# --- streams in ------------------------------------------------------------------------------------------------


class _Block(msgspec.Struct):
    type: str = ""
    id: str = ""
    name: str = ""
    text: str = ""
    thinking: str = ""
    data: str = ""
    signature: str = ""
    input: Any = None
    citations: list[dict[str, Any]] | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str = ""
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: Usage | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: msgspec.Raw = msgspec.Raw(b"null")
    message: _Message | None = None
    usage: Usage | None = None


_event = msgspec.json.Decoder(_Event).decode
_block = msgspec.json.Decoder(_Block).decode
_raw_block = msgspec.json.Decoder(dict[str, Any]).decode


class StreamReader:
    """Read a stream of message events."""

    __slots__ = ("_family", "_hosted", "_tools", "_usage")

    def __init__(self, family: str) -> None:
        self._family = family
        self._tools: dict[int, int] = {}
        self._hosted: dict[int, dict[str, Any]] = {}
        self._usage = Usage()

    def take(self, event: sse.Event) -> Sequence[c.Event]:
        if not event.data:
            return ()
        try:
            found = _event(event.data)
            if found.type == "error":
                return (c.Fail(failures.trouble(event.data)),)
            delta = found.delta
            if delta is not None and delta.type == "text_delta":
                return (c.TextDelta(delta.text),)
            return self._read(found)
        except MISSHAPEN:
            raise c.InvalidAnswer("an event of the stream is not an event of a message") from None

    def _read(self, found: _Event) -> Sequence[c.Event]:
        kind = found.type
        if kind == "content_block_delta" and found.delta is not None:
            return self._more(found.delta, found.index)
        if kind == "content_block_start":
            return self._start(found.content_block, found.index)
        if kind == "content_block_stop":
            block = self._hosted.pop(found.index, None)
            if block is None:
                return ()
            if text := block.pop("_input", ""):
                block["input"] = arguments(text)
            return (c.Other(c.Opaque(NAME, block, Feature.HOSTED_TOOLS)),)
        if kind == "message_start" and found.message is not None:
            self._usage = found.message.usage or self._usage
            begin = c.Begin(found.message.id, found.message.model)
            return (begin, self._usage.used()) if found.message.usage else (begin,)
        if kind == "message_delta":
            return self._finish(found)
        if kind == "message_stop":
            return (c.Done(),)
        return ()

    def _start(self, raw: msgspec.Raw, at: int) -> Sequence[c.Event]:
        block = _block(raw)
        if block.type == "text":
            cited = tuple(c.Cited(read_citation(one)) for one in block.citations or ())
            return (c.TextDelta(block.text), *cited) if block.text else cited
        if block.type == "tool_use":
            number = self._tools[at] = len(self._tools)
            begin = c.ToolBegin(number, block.id, block.name)
            return (begin, c.ToolDelta(number, strict.encode(block.input).decode())) if block.input else (begin,)
        if block.type == "thinking":
            return (c.ThoughtDelta(block.thinking, 0, at),)
        if block.type == "redacted_thinking":
            return (c.ThoughtDelta("", 0, at, c.unwrap(block.data, self._family), is_redacted=True),)
        self._hosted[at] = _raw_block(raw)
        return ()

    def _more(self, delta: _Delta, at: int) -> Sequence[c.Event]:
        if delta.type == "input_json_delta":
            if at in self._hosted:
                self._hosted[at]["_input"] = self._hosted[at].get("_input", "") + delta.partial_json
                return ()
            return (c.ToolDelta(self._tools[at], delta.partial_json),) if delta.partial_json else ()
        if delta.type == "thinking_delta":
            return (c.ThoughtDelta(delta.thinking, 0, at),)
        if delta.type == "signature_delta":
            return (c.ThoughtDelta("", 0, at, c.unwrap(delta.signature, self._family)),)
        if delta.type == "citations_delta" and delta.citation is not None:
            return (c.Cited(read_citation(delta.citation)),)
        return ()

    def _finish(self, found: _Event) -> Sequence[c.Event]:
        events: list[c.Event] = []
        if found.delta is not None and found.delta.stop_reason:
            events.append(c.End(_STOPS.get(found.delta.stop_reason, Stop.END), found.delta.stop_sequence))
        if found.usage is not None:
            self._usage = self._usage.after(found.usage)
            events.append(self._usage.used())
        return events


# --- streams out -----------------------------------------------------------------------------------------------


class StreamWriter:
    """Write a stream of message events for a caller: one block after the other."""

    __slots__ = ("_at", "_calls", "_is_refused", "_key", "_lost", "_order", "_sequence", "_stop", "_usage")

    def __init__(self, _call: Call, lost: Lost) -> None:
        self._lost = lost
        self._order = InOrder()
        self._at = -1
        self._calls = False
        self._key: Any = None  # what the open block is for
        self._stop: Stop | None = None
        self._sequence: str | None = None
        self._usage = Tokens()
        self._is_refused = False

    def take(self, events: Sequence[c.Event]) -> bytes:
        out: list[bytes] = []
        for event in self._order.take(events):
            if type(event) is c.TextDelta and self._key == "text" and not event.choice:
                out.append(self._delta({"type": "text_delta", "text": event.text}))
            else:
                self._write(event, out)
        return b"".join(out)

    def end(self) -> bytes:
        out: list[bytes] = []
        self._close(out)
        reason = "refusal" if self._is_refused else _reason_of(self._stop, calls=self._calls)
        delta = {"stop_reason": reason, "stop_sequence": self._sequence}
        out.append(_framed("message_delta", {"delta": delta, "usage": write_usage(self._usage)}))
        out.append(_framed("message_stop", {}))
        return b"".join(out)

    def fail(self, error: FreeholdError) -> bytes:
        return b"event: error\ndata: " + write_error(error) + b"\n\n"

    def _write(self, event: c.Event, out: list[bytes]) -> None:
        if getattr(event, "choice", 0):
            self._lost.add(Feature.CHOICES)
        elif isinstance(event, c.TextDelta | c.RefusalDelta):
            self._is_refused = self._is_refused or isinstance(event, c.RefusalDelta)
            self._open("text", {"type": "text", "text": ""}, out)
            out.append(self._delta({"type": "text_delta", "text": event.text}))
        elif isinstance(event, c.ToolBegin):
            self._calls = True
            block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
            self._open(("tool", event.block), block, out)
        elif isinstance(event, c.ToolDelta):
            out.append(self._delta({"type": "input_json_delta", "partial_json": event.arguments}))
        elif isinstance(event, c.ThoughtDelta):
            self._think(event, out)
        elif isinstance(event, c.Cited):
            self._open("text", {"type": "text", "text": ""}, out)
            out.append(self._delta({"type": "citations_delta", "citation": _write_citation(event.citation)}))
        elif isinstance(event, c.Begin):
            out.append(_framed("message_start", {"message": _head(event.id, event.model)}))
        elif isinstance(event, c.End):
            self._stop, self._sequence = event.stop, event.sequence
        elif isinstance(event, c.Used):
            self._usage = event.tokens
        elif isinstance(event, c.Logged):
            self._lost.add(Feature.LOGPROBS)
        elif isinstance(event, c.Other):
            self._lost.add(event.part.feature if isinstance(event.part, c.Opaque) else Feature.IMAGE_OUT)

    def _think(self, event: c.ThoughtDelta, out: list[bytes]) -> None:
        if event.is_redacted and event.blob is not None and not event.text:
            self._open(object(), {"type": "redacted_thinking", "data": c.wrap(event.blob)}, out)
            return
        self._open(("thought", event.block), {"type": "thinking", "thinking": "", "signature": ""}, out)
        if event.text:
            out.append(self._delta({"type": "thinking_delta", "thinking": event.text}))
        if event.blob is not None:
            out.append(self._delta({"type": "signature_delta", "signature": c.wrap(event.blob)}))
            self._key = "signed"

    def _open(self, key: Any, block: dict[str, Any], out: list[bytes]) -> None:
        if self._key == key:
            return
        self._close(out)
        self._at += 1
        self._key = key
        out.append(_framed("content_block_start", {"index": self._at, "content_block": block}))

    def _close(self, out: list[bytes]) -> None:
        if self._key is None:
            return
        if isinstance(self._key, tuple) and self._key[0] == "thought":
            out.append(self._delta({"type": "signature_delta", "signature": c.wrap(_UNSIGNED)}))
        out.append(_framed("content_block_stop", {"index": self._at}))
        self._key = None

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _framed("content_block_delta", {"index": self._at, "delta": delta})


def _framed(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + strict.encode({"type": kind, **fields}) + b"\n\n"


# --- errors and lists ------------------------------------------------------------------------------------------

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def write_error(error: FreeholdError) -> bytes:
    """Encode an error in Anthropic's shape; `code` stands beside it."""
    kind = _KINDS.get(error.status, "overloaded_error" if error.status == 503 else "api_error")
    if 400 <= error.status < 500 and error.status not in _KINDS:
        kind = "invalid_request_error"
    return strict.encode({"type": "error", "error": {"type": kind, "message": error.text, "code": error.code}})


def write_models(models: Sequence[Model]) -> bytes:
    """Encode the model list: one page holds them all."""
    rows = [_model(one) for one in models]
    ends = {"first_id": rows[0]["id"] if rows else None, "last_id": rows[-1]["id"] if rows else None}
    return strict.encode({"data": rows, "has_more": False, **ends})


def write_model(model: Model) -> bytes:
    return strict.encode(_model(model))


def _model(model: Model) -> dict[str, Any]:
    return {"type": "model", "id": words(model.id), "display_name": model.id, "created_at": "1970-01-01T00:00:00Z"}
