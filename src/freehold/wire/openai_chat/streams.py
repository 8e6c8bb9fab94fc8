"""openai-chat streams: chunks read from providers and written for callers (platform.openai.com/docs/api-reference/chat-streaming, checked 2026-11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from freehold.kernel.errors import FreeholdError
from freehold.kernel.units import Tokens
from freehold.wire import canonical as c
from freehold.wire import failures, sse, strict
from freehold.wire.call import Call
from freehold.wire.canonical import Feature, Stop
from freehold.wire.dialect import MISSHAPEN, Lost, split_data_url, unwrap_text
from freehold.wire.openai_chat.answers import (
    REASONS,
    Usage,
    held_detail,
    read_citations,
    read_logprobs,
    read_said,
    stop_of,
    write_citation,
    write_error,
    write_image,
    write_prob,
    write_usage,
)
from freehold.wire.openai_chat.requests import argument_text, custom_names, write_details

DONE = b"[DONE]"

# --- streams in ------------------------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Called(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Called] | None = None
    function_call: _Function | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None
    images: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None  # legacy completions
    finish_reason: str | None = None
    stop_reason: Any = None
    logprobs: dict[str, Any] | None = None


class _XGroq(msgspec.Struct):
    usage: Usage | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    x_groq: _XGroq | None = None
    service_tier: str | None = None
    error: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode


class StreamReader:
    """Read a stream of chunks."""

    __slots__ = ("_began", "_family", "_kept", "_tools")

    def __init__(self, family: str) -> None:
        self._family = family
        self._began = False
        self._tools: dict[int, list[tuple[int | None, str | None]]] = {}
        self._kept: dict[tuple[int, int], dict[str, Any]] = {}

    def take(self, event: sse.Event) -> Sequence[c.Event]:
        data = event.data
        if data == DONE:
            return (c.Done(),)
        if not data:
            return ()
        try:
            chunk = _chunk(data)
            return self._read(chunk) if chunk.error is None else (c.Fail(failures.trouble(data)),)
        except MISSHAPEN:
            raise c.InvalidAnswer("an event of the stream is not a chunk of a chat completion") from None

    def _read(self, chunk: _Chunk) -> Sequence[c.Event]:
        events: list[c.Event] = []
        if not self._began:
            self._began = True
            events.append(c.Begin(chunk.id or "", chunk.model or ""))
        for choice in chunk.choices or ():
            if (delta := choice.delta) is not None:
                if delta.reasoning_details:
                    events += self._details(delta.reasoning_details, choice.index)
                elif thought := delta.reasoning_content or delta.reasoning:
                    events.append(c.ThoughtDelta(thought, choice.index))
                if type(delta.content) is str and delta.content:
                    events.append(c.TextDelta(delta.content, choice.index))
                self._more(delta, choice.index, events)
            elif choice.text:
                events.append(c.TextDelta(choice.text, choice.index))
            if choice.logprobs and (logged := read_logprobs(choice.logprobs)):
                events.append(c.Logged(tuple(logged), choice.index))
            if choice.finish_reason:
                stop, sequence = stop_of(choice.finish_reason, choice.stop_reason)
                events.append(c.End(stop or Stop.END, sequence, choice.index))
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq else None)
        if usage is not None:
            events.append(c.Used(usage.tokens(), chunk.service_tier or usage.service_tier, cost=usage.told()))
        return events

    def _more(self, delta: _Delta, choice: int, events: list[c.Event]) -> None:
        """What is rarer than plain text, in the order in which it comes."""
        if type(delta.content) is list:
            for part in delta.content:
                said = read_said(part)
                if isinstance(said, c.Thought):
                    events.append(c.ThoughtDelta(said.text, choice))
                elif isinstance(said, c.Text):
                    events.append(c.TextDelta(said.text, choice))
                elif isinstance(said, c.Opaque):
                    events.append(c.Other(said, choice))
        if delta.refusal:
            events.append(c.RefusalDelta(delta.refusal, choice))
        for called in delta.tool_calls or ():
            self._called(called, choice, events)
        if delta.function_call is not None:
            self._called(_Called(0, None, delta.function_call), choice, events)
        events += [c.Cited(citation, choice) for citation in read_citations(delta.annotations or (), None)]
        for image in delta.images or ():
            found = split_data_url(image["image_url"]["url"])
            events.append(
                c.Other(c.Media("image", *found) if found else c.Media("image", url=image["image_url"]["url"]), choice)
            )

    def _called(self, called: _Called, choice: int, events: list[c.Event]) -> None:
        """Number the calls from 0 in the order in which they come, whatever index or id the provider goes by.

        A piece belongs to the call with its index, unless it names another id: some give every call the index 0.
        """
        function = called.function or _Function()
        mine = self._tools.setdefault(choice, [])
        block = next((at for at in range(len(mine) - 1, -1, -1) if _continues(mine[at], called)), None)
        if block is None:
            block = len(mine)
            about = called.id or f"call_{function.name or block}"
            mine.append((called.index, called.id))
            events.append(c.ToolBegin(block, about, function.name or "", choice))
        if function.arguments not in (None, ""):
            events.append(c.ToolDelta(block, argument_text(function.arguments), choice))

    def _details(self, details: list[dict[str, Any]], choice: int) -> list[c.Event]:
        """Pieces of reasoning details: what is signed at last is the whole of them together."""
        found: list[c.Event] = []
        for piece in details:
            block = piece.get("index") or 0
            whole = self._kept.setdefault((choice, block), {})
            for field, value in piece.items():
                is_more = (
                    field in ("text", "summary", "data")
                    and isinstance(whole.get(field), str)
                    and isinstance(value, str)
                )
                whole[field] = whole[field] + value if is_more else value
            text = piece.get("text") or piece.get("summary") or ""
            is_held = piece.get("signature") or piece.get("data")
            blob = held_detail(whole, self._family).blob if is_held else None
            found.append(
                c.ThoughtDelta(text, choice, block, blob, "", "summary" in piece, bool(piece.get("data")) and not text)
            )
        return found


def _continues(known: tuple[int | None, str | None], called: _Called) -> bool:
    index, about = known
    if called.id and about:
        return called.id == about
    return called.index is None or called.index == index


# --- streams out -----------------------------------------------------------------------------------------------


class StreamWriter:
    """Write a stream of chunks for a caller."""

    __slots__ = ("_custom", "_free", "_head", "_is_first", "_legacy", "_lost", "_usage", "_wants_usage")

    def __init__(self, call: Call, lost: Lost) -> None:
        self._lost = lost
        self._wants_usage = call.wants_usage
        self._legacy = "functions" in call.body
        self._custom = custom_names(call.body)
        self._free: dict[
            tuple[int, int], str
        ] = {}  # what custom tools were given so far: it can be told when it is whole
        self._is_first: set[int] = set()
        self._usage: Tokens | None = None
        self._head = b""

    def take(self, events: Sequence[c.Event]) -> bytes:
        out = b""
        for event in events:
            if isinstance(event, c.TextDelta):
                out += self._chunk(event.choice, {"content": event.text})
            elif (write := _WRITERS.get(type(event))) is not None:
                out += write(self, event)
        return out

    def end(self) -> bytes:
        """Usage comes once, at the end, however often the provider told it."""
        told = b""
        if self._wants_usage and self._usage is not None:
            told = self._head + b'],"usage":' + strict.encode(write_usage(self._usage)) + b"}\n\n"
        return told + b"data: [DONE]\n\n"

    def fail(self, error: FreeholdError) -> bytes:
        return sse.write(write_error(error))

    def begin(self, event: c.Begin) -> bytes:
        head = strict.encode(
            {"id": event.id, "object": "chat.completion.chunk", "created": event.created, "model": event.model}
        )
        self._head = b"data: " + head[:-1] + b',"choices":['
        return b""

    def _chunk(self, choice: int, delta: dict[str, Any], reason: str | None = None, logged: Any = None) -> bytes:
        if choice not in self._is_first:
            self._is_first.add(choice)
            delta = {"role": "assistant", **delta}
        body: dict[str, Any] = {"index": choice, "delta": delta, "finish_reason": reason}
        if logged is not None:
            body["logprobs"] = logged
        return self._head + strict.encode(body) + b"]}\n\n"

    def thought(self, event: c.ThoughtDelta) -> bytes:
        delta: dict[str, Any] = {"reasoning_content": event.text} if event.text else {}
        thought = c.Thought(event.text, event.blob, event.id, event.is_summary, event.is_redacted)
        if event.blob is not None or event.is_summary:
            delta["reasoning_details"] = [{**one, "index": event.block} for one in write_details([thought])]
        return self._chunk(event.choice, delta)

    def refusal(self, event: c.RefusalDelta) -> bytes:
        return self._chunk(event.choice, {"refusal": event.text})

    def tool(self, event: c.ToolBegin) -> bytes:
        if self._legacy and event.block:
            self._lost.add(Feature.PARALLEL_TOOLS)  # the older form calls one function
            return b""
        if self._legacy:
            return self._chunk(event.choice, {"function_call": {"name": event.name, "arguments": ""}})
        called: dict[str, Any] = {"index": event.block, "id": event.id}
        if event.name in self._custom:
            self._free[event.choice, event.block] = ""
            called |= {"type": "custom", "custom": {"name": event.name, "input": ""}}
        else:
            called |= {"type": "function", "function": {"name": event.name, "arguments": ""}}
        return self._chunk(event.choice, {"tool_calls": [called]})

    def arguments(self, event: c.ToolDelta) -> bytes:
        if self._legacy and event.block:
            return b""
        if self._legacy:
            return self._chunk(event.choice, {"function_call": {"arguments": event.arguments}})
        if (at := (event.choice, event.block)) in self._free:
            self._free[at] += event.arguments
            return b""
        function = {"arguments": event.arguments}
        return self._chunk(event.choice, {"tool_calls": [{"index": event.block, "function": function}]})

    def cited(self, event: c.Cited) -> bytes:
        return self._chunk(event.choice, {"annotations": [write_citation(event.citation, 0, 0)]})

    def logged(self, event: c.Logged) -> bytes:
        return self._chunk(event.choice, {}, logged={"content": [write_prob(one) for one in event.logprobs]})

    def stop(self, event: c.End) -> bytes:
        reason, out = REASONS[event.stop], b""
        for choice, block in [at for at in self._free if at[0] == event.choice]:
            custom = {"input": unwrap_text(self._free.pop((choice, block)))}
            out += self._chunk(choice, {"tool_calls": [{"index": block, "custom": custom}]})
        reason = "function_call" if self._legacy and reason == "tool_calls" else reason
        return out + self._chunk(event.choice, {}, reason)

    def used(self, event: c.Used) -> bytes:
        self._usage = event.tokens
        return b""

    def other(self, event: c.Other) -> bytes:
        if isinstance(event.part, c.Media) and event.part.kind == "image":
            return self._chunk(event.choice, {"images": [write_image(event.part)]})
        self._lost.add(event.part.feature if isinstance(event.part, c.Opaque) else Feature.CONTENT)
        return b""


_WRITERS: dict[type, Callable[[StreamWriter, Any], bytes]] = {
    c.Begin: StreamWriter.begin,
    c.ThoughtDelta: StreamWriter.thought,
    c.RefusalDelta: StreamWriter.refusal,
    c.ToolBegin: StreamWriter.tool,
    c.ToolDelta: StreamWriter.arguments,
    c.Cited: StreamWriter.cited,
    c.Logged: StreamWriter.logged,
    c.End: StreamWriter.stop,
    c.Used: StreamWriter.used,
    c.Other: StreamWriter.other,
}
