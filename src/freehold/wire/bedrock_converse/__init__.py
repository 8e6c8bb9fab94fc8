"""bedrock-converse: Amazon Bedrock's own format, spoken to targets only (docs.aws.amazon.com/bedrock, Converse and ConverseStream, checked 2026-11).

Rules: the model stands in the path; bytes are base64 text; what a model wants beyond the common fields goes into `additionalModelRequestFields`
in the words of its maker; streams are binary frames whose kind stands in a header.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from freehold.kernel.routes import Traits
from freehold.kernel.units import Tokens
from freehold.wire import canonical as c
from freehold.wire import eventstream, failures, sse, strict
from freehold.wire.canonical import Conversation, Feature, Stop
from freehold.wire.dialect import (
    MISSHAPEN,
    Count,
    Dialect,
    Lost,
    arguments,
    budget_of,
    described,
    effort_of,
    hoist,
    in_words,
    settings,
    thinking_budget,
    words,
)

NAME = "bedrock-converse"
_FIELDS = {
    "temperature": "temperature",
    "top_p": "topP",
    "stop": "stopSequences",
    "top_k": "",
    "reasoning": "",
    "metadata": "",
    "service_tier": "",
}
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_ROOM = 8192  # what Claude may write on Bedrock where no limit is given, thinking included
_STOPS = {
    "end_turn": Stop.END,
    "tool_use": Stop.TOOL_USE,
    "max_tokens": Stop.LENGTH,
    "model_context_window_exceeded": Stop.LENGTH,
    "stop_sequence": Stop.SEQUENCE,
    "guardrail_intervened": Stop.FILTER,
    "content_filtered": Stop.FILTER,
}


def write_request(talk: Conversation, model: str, traits: Traits, lost: Lost) -> dict[str, Any]:
    """Write the body for Converse (the model stands in the path). Raises Unable."""
    system, turns = hoist(talk.turns, lost)
    wished = settings(talk, _FIELDS, traits, lost, lambda _, value: list(value) if isinstance(value, tuple) else value)
    if talk.max_output is not None:
        wished["maxTokens"] = talk.max_output
    body: dict[str, Any] = {"messages": [_write_turn(turn, lost) for turn in turns]}
    said = [block for part in system for block in _marked({"text": part.text}, part.cache)]
    if talk.shape is not None and talk.shape.schema is None:
        lost.add(Feature.JSON)
        said.append({"text": in_words(talk.shape)})
    elif talk.shape is not None:
        schema = {"schema": strict.encode(described(talk.shape)).decode(), "name": talk.shape.name}
        body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
    if said:
        body["system"] = said
    if wished:
        body["inferenceConfig"] = wished
    if talk.metadata is not None:
        body["requestMetadata"] = {str(key): str(value) for key, value in talk.metadata.items()}
    if talk.service_tier in ("priority", "flex", "default"):
        body["serviceTier"] = {"type": talk.service_tier}
    elif talk.service_tier not in (None, "auto", "standard"):
        lost.add(Feature.SERVICE_TIER)
    _write_tools(talk, body, lost)
    _write_more(talk, model, body, lost)
    return body


def _write_more(talk: Conversation, model: str, body: dict[str, Any], lost: Lost) -> None:
    """What goes to a model in its maker's own words."""
    more: dict[str, Any] = {}
    is_claude, is_nova = "anthropic." in model, "amazon.nova" in model
    if talk.top_k is not None:
        if is_claude:
            more["top_k"] = talk.top_k
        elif is_nova:
            more["inferenceConfig"] = {"topK": talk.top_k}
        else:
            lost.add(Feature.TOP_K)
    asked = talk.reasoning
    if asked is not None and not asked.is_off:
        budget = thinking_budget(asked, talk.max_output or _ROOM) if is_claude else None
        effort = asked.effort or effort_of(asked.budget if asked.budget is not None else budget_of("medium"))
        if budget is not None:
            more["thinking"] = {"type": "enabled", "budget_tokens": budget}
        elif is_nova:
            more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": effort}
        elif "openai." in model:
            more["reasoning_effort"] = effort
        else:
            lost.add(Feature.REASONING)
    if more:
        body["additionalModelRequestFields"] = more


def _write_tools(talk: Conversation, body: dict[str, Any], lost: Lost) -> None:
    if talk.hosted:
        lost.add(Feature.HOSTED_TOOLS)
    if not talk.tools:
        return
    choice = talk.tool_choice
    if choice is not None and choice.mode == "none":
        lost.add(
            Feature.TOOL_CHOICE
        )  # there is no such word here: the tools are left out instead, if no earlier turn used one
        if not any(isinstance(part, c.ToolUse | c.ToolResult) for turn in talk.turns for part in turn.parts):
            return
    tools: list[dict[str, Any]] = []
    for tool in talk.tools:
        spec: dict[str, Any] = {
            "name": tool.name,
            "inputSchema": {"json": tool.schema or {"type": "object", "properties": {}}},
        }
        if tool.description:
            spec["description"] = tool.description
        if tool.strict:
            spec["strict"] = True
        tools += _marked({"toolSpec": spec}, tool.cache)
    body["toolConfig"] = {"tools": tools}
    if choice is not None and choice.mode != "none":
        key = {"auto": "auto", "required": "any"}.get(choice.mode, "tool")
        body["toolConfig"]["toolChoice"] = {key: {"name": choice.name} if key == "tool" else {}}


def _marked(block: dict[str, Any], cache: str) -> list[dict[str, Any]]:
    """A block, and the cache's mark behind it."""
    if not cache:
        return [block]
    return [block, {"cachePoint": {"type": "default"} if cache == "5m" else {"type": "default", "ttl": cache}}]


def _write_turn(turn: c.Turn, lost: Lost) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    for part in turn.parts:
        block = _write_block(part, lost)
        if block is not None:
            blocks += _marked(block, _mark_of(part))
    return {"role": turn.role, "content": blocks}


def _mark_of(part: c.Part) -> str:
    """A part's mark for the cache; one inside a result stands behind the whole of it."""
    inner = (
        next((mark for one in reversed(part.parts) if (mark := _mark_of(one))), "")
        if isinstance(part, c.ToolResult)
        else ""
    )
    return getattr(part, "cache", "") or inner


def _write_block(part: c.Part, lost: Lost) -> dict[str, Any] | None:
    if isinstance(part, c.Text | c.Refusal):
        if isinstance(part, c.Text) and part.citations:
            lost.add(Feature.CITATIONS)
        return {"text": part.text} if part.text else None
    if isinstance(part, c.ToolUse):
        return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": arguments(part.arguments)}}
    if isinstance(part, c.ToolResult):
        content = [block for one in part.parts if (block := _write_block(one, lost)) is not None]
        status = {"status": "error"} if part.is_error else {}
        return {"toolResult": {"toolUseId": part.id, "content": content, **status}}
    if isinstance(part, c.Thought):
        return _write_thought(part, lost)
    if isinstance(part, c.Media):
        return _write_media(part, lost)
    if part.feature is Feature.CONTENT:
        raise c.Unable(part.feature)
    lost.add(part.feature)
    return None


def _write_thought(thought: c.Thought, lost: Lost) -> dict[str, Any] | None:
    held = c.readable(thought.blob, NAME, "anthropic-messages")  # Claude's signatures are good on every platform
    if not held:
        lost.add(Feature.SIGNATURE if thought.blob and thought.blob.data else Feature.THINKING)
        return None
    if thought.is_redacted:
        return {"reasoningContent": {"redactedContent": held}}
    return {"reasoningContent": {"reasoningText": {"text": thought.text, "signature": held}}}


def _write_media(media: c.Media, lost: Lost) -> dict[str, Any]:
    if media.file_id is not None:
        raise c.Unable(Feature.FILE_ID)
    if media.detail not in (None, "auto"):
        lost.add(Feature.IMAGE_DETAIL)
    if media.kind == "image":
        if media.url is not None or media.mime not in _IMAGES:
            raise c.Unable(Feature.IMAGE_URL if media.url is not None else Feature.IMAGE_DATA)
        return {"image": {"format": _IMAGES[media.mime], "source": {"bytes": media.data}}}
    if media.kind != "document":
        raise c.Unable(Feature.AUDIO_DATA if media.kind == "audio" else Feature.VIDEO)
    if media.url is not None:
        raise c.Unable(Feature.DOCUMENT_URL)
    name = re.sub(r"[^A-Za-z0-9 \-()\[\]]", " ", media.name or "document").strip()[:200] or "document"
    written: dict[str, Any] = {"name": re.sub(r" +", " ", name)}
    if media.text is not None:
        written |= {"format": "txt", "source": {"text": media.text}}
    else:
        written |= {"format": _DOCUMENTS.get(media.mime, "pdf"), "source": {"bytes": media.data or ""}}
    if media.cites:
        written["citations"] = {"enabled": True}
    return {"document": written}


# --- answers -------------------------------------------------------------------------------------------------


class _Written(msgspec.Struct, rename="camel"):
    """What was written to the cache for so long."""

    ttl: str = ""
    input_tokens: Count | None = None


class Usage(msgspec.Struct, rename="camel"):
    """Usage as Converse reports it: the classes are disjoint. Some models give the cache's counts under two names; they are the same."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_write_input_tokens: Count | None = None
    cache_details: list[_Written] | None = None

    def tokens(self) -> Tokens:
        written = self.cache_write_input_tokens or 0
        for_an_hour = min(written, sum(one.input_tokens or 0 for one in self.cache_details or () if one.ttl == "1h"))
        return Tokens(
            input=self.input_tokens or 0,
            cache_read=self.cache_read_input_tokens or 0,
            cache_write=written - for_an_hour,
            cache_write_1h=for_an_hour,
            output=self.output_tokens or 0,
        )


class _Tier(msgspec.Struct):
    type: str = ""


class _Message(msgspec.Struct):
    content: list[dict[str, Any]]


class _Output(msgspec.Struct):
    message: _Message


class _Read(msgspec.Struct, rename="camel"):
    usage: Usage | None = None
    service_tier: _Tier | None = None

    def used(self) -> c.Used | None:
        tier = self.service_tier.type if self.service_tier is not None else None
        return c.Used(self.usage.tokens(), tier) if self.usage is not None else None


class _Whole(_Read, rename="camel", kw_only=True):
    output: _Output
    stop_reason: str | None = None


_whole = msgspec.json.Decoder(_Whole).decode


def read_answer(raw: bytes, family: str) -> c.Answer:
    """Read a whole answer of Converse."""
    body = _whole(raw)
    stop = _STOPS.get(body.stop_reason, Stop.END) if body.stop_reason else None
    parts = [part for block in body.output.message.content for part in _read_block(block, family)]
    used = body.used()
    answer = c.Answer(id="", model="", candidates=[c.Candidate(parts=parts, stop=stop)])
    if used is not None:
        answer.tokens, answer.service_tier = used.tokens, used.service_tier
    return answer


def _read_block(block: dict[str, Any], family: str) -> list[c.Part]:
    if "text" in block:
        return [c.Text(words(block["text"]))]
    if called := block.get("toolUse"):
        return [c.ToolUse(words(called["toolUseId"]), words(called["name"]), strict.encode(called["input"]).decode())]
    if thought := block.get("reasoningContent"):
        if held := thought.get("redactedContent"):
            return [c.Thought("", c.Blob(family, words(held)), is_redacted=True)]
        text = thought["reasoningText"]
        return [c.Thought(words(text["text"]), c.Blob(family, text["signature"]) if text.get("signature") else None)]
    if cited := block.get("citationsContent"):
        said = "".join(words(one["text"]) for one in cited.get("content") or ())
        return [c.Text(said, citations=tuple(_read_citation(one) for one in cited.get("citations") or ()))]
    return [c.Opaque(NAME, block, Feature.HOSTED_TOOLS if "toolResult" in block else Feature.CONTENT)]


def _read_citation(cited: dict[str, Any]) -> c.Citation:
    quote = "".join(one.get("text") or "" for one in cited.get("sourceContent") or ())
    location = cited.get("location") or {}
    url = (location.get("web") or {}).get("url")
    return c.Citation(url, cited.get("title"), quote or None, dialect=NAME, raw=cited)


_tokens = msgspec.json.Decoder(_Read).decode


def used_of(raw: bytes) -> c.Used | None:
    """What a whole answer says it used."""
    return _tokens(raw).used()


_any = msgspec.json.Decoder(dict[str, Any]).decode


class StreamReader:
    """Read the frames of ConverseStream."""

    __slots__ = ("_family", "_tools")

    def __init__(self, family: str) -> None:
        self._family = family
        self._tools: dict[int, int] = {}

    def take(self, event: sse.Event) -> Sequence[c.Event]:
        if event.name == "exception":
            return (c.Fail(failures.trouble(event.data)),)
        try:
            return self._read(event.name, _any(event.data))
        except MISSHAPEN:
            raise c.InvalidAnswer("a frame of the stream is not an event of Converse") from None

    def _read(self, name: str, body: dict[str, Any]) -> Sequence[c.Event]:
        if name == "contentBlockDelta":
            return self._more(body["delta"], body["contentBlockIndex"])
        if name == "contentBlockStart":
            called = (body.get("start") or {}).get("toolUse")
            if called is None:
                return ()
            block = self._tools[body["contentBlockIndex"]] = len(self._tools)
            return (c.ToolBegin(block, words(called["toolUseId"]), words(called["name"])),)
        if name == "messageStart":
            return (c.Begin("", ""),)
        if name == "messageStop":
            return (c.End(_STOPS.get(body["stopReason"], Stop.END)),)
        if name == "metadata":
            used = msgspec.convert(body, _Read).used()
            return (used if used is not None else c.Used(Tokens()), c.Done())
        return ()

    def _more(self, delta: dict[str, Any], at: int) -> Sequence[c.Event]:
        if (text := delta.get("text")) is not None:
            return (c.TextDelta(words(text)),) if text else ()
        if (called := delta.get("toolUse")) is not None:
            return (c.ToolDelta(self._tools[at], words(called["input"])),) if called.get("input") else ()
        if (thought := delta.get("reasoningContent")) is not None:
            if held := thought.get("redactedContent"):
                return (c.ThoughtDelta("", 0, at, c.Blob(self._family, held), is_redacted=True),)
            signature = thought.get("signature")
            return (
                c.ThoughtDelta(
                    thought.get("text") or "", 0, at, c.Blob(self._family, signature) if signature else None
                ),
            )
        if (cited := delta.get("citation")) is not None:
            return (c.Cited(_read_citation(cited)),)
        return ()


DIALECT = Dialect(
    name=NAME,
    write_request=write_request,
    read_answer=read_answer,
    stream_reader=StreamReader,
    used_of=used_of,
    frames=eventstream.Reader,
    needs_done=True,
)
