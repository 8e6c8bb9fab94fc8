"""openai-responses streams (platform.openai.com/docs/api-reference/responses-streaming, checked 2026-11).

Rules: the type stands in every event's data, so a missing `event:` line changes nothing; text that a provider sends only at an item's
end, without deltas, is not lost. Written streams have every event that the official SDKs wait for, numbered from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from freehold.kernel.errors import FreeholdError
from freehold.kernel.units import Tokens
from freehold.wire import canonical as c
from freehold.wire import failures, sse, strict
from freehold.wire.call import Call
from freehold.wire.canonical import Feature, Stop
from freehold.wire.dialect import MISSHAPEN, InOrder, Lost, unwrap_text, words
from freehold.wire.openai_chat.answers import read_prob, write_prob
from freehold.wire.openai_responses import answers
from freehold.wire.openai_responses.requests import custom_names, read_citation, read_output, read_part


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    output_index: int = 0
    summary_index: int = 0
    item: dict[str, Any] | None = None
    response: msgspec.Raw = msgspec.Raw(b"null")
    annotation: dict[str, Any] | None = None
    logprobs: list[dict[str, Any]] | None = None


_event = msgspec.json.Decoder(_Event).decode


class _Failed(msgspec.Struct):
    usage: answers.Usage | None = None


_response = msgspec.json.Decoder(answers.Whole).decode
_failed = msgspec.json.Decoder(_Failed | None).decode


class _Opened(msgspec.Struct):
    id: str = ""
    model: str = ""


_opened = msgspec.json.Decoder(_Opened).decode
_DELTAS = frozenset({"response.reasoning_text.delta", "response.reasoning_summary_text.delta"})


class StreamReader:
    """Read a stream of response events."""

    __slots__ = ("_family", "_seen", "_summary", "_tools")

    def __init__(self, family: str) -> None:
        self._family = family
        self._tools: dict[int, int] = {}  # output index → number of the call
        self._seen: set[int] = set()  # items whose content came in deltas
        self._summary: dict[int, int] = {}

    def take(self, event: sse.Event) -> Sequence[c.Event]:
        if not event.data or event.data == b"[DONE]":
            return ()
        try:
            found = _event(event.data)
            return self._read(found, event)
        except MISSHAPEN:
            raise c.InvalidAnswer("an event of the stream is not an event of a response") from None

    def _read(self, found: _Event, event: sse.Event) -> Sequence[c.Event]:
        kind, at = found.type, found.output_index
        if kind == "response.output_text.delta":
            self._seen.add(at)
            said = (c.TextDelta(words(found.delta)),) if found.delta else ()
            return (*said, c.Logged(tuple(map(read_prob, found.logprobs)))) if found.logprobs else said
        if kind in _DELTAS:
            return self._thought(found, is_summary="summary" in kind)
        if kind == "response.function_call_arguments.delta":
            self._seen.add(at)
            return (c.ToolDelta(self._tools[at], words(found.delta)),) if found.delta else ()
        if kind == "response.refusal.delta":
            self._seen.add(at)
            return (c.RefusalDelta(words(found.delta)),)
        if kind == "response.output_text.annotation.added" and found.annotation is not None:
            return (c.Cited(read_citation(found.annotation)),)
        if kind == "response.output_item.added":
            return self._added(found.item or {}, at)
        if kind == "response.output_item.done":
            return self._finished(found.item or {}, at)
        if kind == "response.created":
            opened = _opened(found.response)
            return (c.Begin(opened.id, opened.model),)
        if kind in ("response.completed", "response.incomplete"):
            return self._completed(_response(found.response))
        if kind in ("response.failed", "error"):
            told = _failed(found.response)
            usage = told.usage if told is not None else None
            used = (c.Used(usage.tokens()),) if usage is not None else ()
            return (*used, c.Fail(failures.trouble(event.data)))
        return ()

    def _thought(self, found: _Event, *, is_summary: bool) -> Sequence[c.Event]:
        at = found.output_index
        self._seen.add(at)
        is_next = is_summary and at in self._summary and self._summary[at] != found.summary_index
        self._summary[at] = found.summary_index
        text = ("\n\n" if is_next else "") + words(found.delta)
        return (c.ThoughtDelta(text, 0, at, is_summary=is_summary),)

    def _added(self, item: dict[str, Any], at: int) -> Sequence[c.Event]:
        if item["type"] in ("function_call", "custom_tool_call"):
            block = self._tools[at] = len(self._tools)
            return (c.ToolBegin(block, words(item["call_id"]), words(item["name"])),)
        return ()

    def _finished(self, item: dict[str, Any], at: int) -> Sequence[c.Event]:
        """An item is whole: what did not come in deltas is taken from it."""
        kind = item["type"]
        if kind == "message":
            parts = [read_part(part) for part in item["content"]] if at not in self._seen else []
            return [event for part in parts for event in c.unfold_part(part)]
        part = read_output(item, self._family)
        if isinstance(part, c.ToolUse):
            begun = self._added(item, at) if at not in self._tools else ()
            return begun if at in self._seen else (*begun, c.ToolDelta(self._tools[at], part.arguments))
        if isinstance(part, c.Thought):
            text = part.text if at not in self._seen else ""
            if not text and part.blob is None:
                return ()
            return (c.ThoughtDelta(text, 0, at, part.blob, part.id, part.is_summary, part.is_redacted),)
        assert isinstance(part, c.Opaque)
        return (c.Other(part),)

    def _completed(self, whole: answers.Whole) -> Sequence[c.Event]:
        parts: list[c.Part] = [c.ToolUse("", "", "")] if self._tools else []
        events: list[c.Event] = [c.End(answers.stop_of(whole, parts) or Stop.END)]
        if whole.usage is not None:
            events.append(c.Used(whole.usage.tokens(), whole.service_tier, cost=whole.usage.told()))
        return [*events, c.Done()]


class StreamWriter:
    """Write a stream of response events for a caller. It keeps the answer so far: the last event repeats the whole of it."""

    def __init__(self, call: Call, lost: Lost) -> None:
        self._call, self._lost = call, lost
        self._body: dict[str, Any] = {}
        self._sequence = 0
        self._item: dict[str, Any] | None = None  # the open item
        self._key: Any = None  # what the open item is for
        self._text: list[str] = []
        self._stop: Stop | None = None
        self._tokens: Tokens | None = None
        self._tier: str | None = None
        self._custom = custom_names(call.body)
        self._order = InOrder()

    def take(self, events: Sequence[c.Event]) -> bytes:
        out: list[bytes] = []
        for event in self._order.take(events):
            self._write(event, out)
        return b"".join(out)

    def end(self) -> bytes:
        out: list[bytes] = []
        self._close(out)
        body = answers.close_shell(self._body, self._stop, self._tokens, self._tier)
        kind = "response.incomplete" if body["status"] == "incomplete" else "response.completed"
        out.append(self._event(kind, {"response": body}))
        return b"".join(out)

    def fail(self, error: FreeholdError) -> bytes:
        said = answers.error_body(error)
        return self._event("error", {**said, "error": {**said, "type": "server_error"}})

    def _event(self, kind: str, fields: dict[str, Any]) -> bytes:
        data = strict.encode({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def _write(self, event: c.Event, out: list[bytes]) -> None:
        if getattr(event, "choice", 0):
            self._lost.add(Feature.CHOICES)
        elif isinstance(event, c.TextDelta):
            self._delta("text", event.text, out)
        elif isinstance(event, c.ToolDelta):
            self._argue(event.arguments, out)
        elif isinstance(event, c.ToolBegin):
            self._close(out)
            self._open(("tool", event.block), self._new_tool(event), out)
        elif isinstance(event, c.ThoughtDelta):
            self._think(event, out)
        elif isinstance(event, c.RefusalDelta):
            self._delta("refusal", event.text, out)
        elif isinstance(event, c.Begin):
            self._begin(event, out)
        elif isinstance(event, c.End):
            self._stop = event.stop
        elif isinstance(event, c.Used):
            self._tokens, self._tier = event.tokens, event.service_tier
        elif isinstance(event, c.Cited | c.Logged):
            self._annotate(event, out)
        elif isinstance(event, c.Other):
            self._lost.add(event.part.feature if isinstance(event.part, c.Opaque) else Feature.IMAGE_OUT)

    def _begin(self, event: c.Begin, out: list[bytes]) -> None:
        about = event.id if event.id.startswith("resp_") else f"resp_{event.id}"
        self._body = answers.shell(self._call, about, event.model, event.created)
        out.append(self._event("response.created", {"response": self._body}))
        out.append(self._event("response.in_progress", {"response": self._body}))

    # --- items -------------------------------------------------------------------------------------------------

    @property
    def _at(self) -> dict[str, Any]:
        assert self._item is not None
        return {"item_id": self._item["id"], "output_index": len(self._body["output"])}

    def _about(self) -> str:
        return f"{self._body['id'][5:]}_{len(self._body['output'])}"

    def _open(self, key: Any, item: dict[str, Any], out: list[bytes]) -> None:
        self._key, self._item, self._text = key, item, []
        out.append(self._event("response.output_item.added", {"output_index": len(self._body["output"]), "item": item}))

    def _new_tool(self, event: c.ToolBegin) -> dict[str, Any]:
        about = self._about()
        head = {"status": "in_progress", "call_id": event.id, "name": event.name}
        if event.name in self._custom:
            return {"id": f"ctc_{about}", "type": "custom_tool_call", **head, "input": ""}
        return {"id": f"fc_{about}", "type": "function_call", **head, "arguments": ""}

    def _delta(self, field: str, text: str, out: list[bytes]) -> None:
        """Words of the answer, or of a refusal: one message, one part."""
        if self._key != field:
            self._close(out)
            self._open(field, answers.message(f"msg_{self._about()}", [], "in_progress"), out)
            part = {"type": "refusal", "refusal": ""} if field == "refusal" else answers.write_said(c.Text(""), None)
            out.append(self._event("response.content_part.added", {**self._at, "content_index": 0, "part": part}))
        self._text.append(text)
        kind = "response.refusal.delta" if field == "refusal" else "response.output_text.delta"
        more: dict[str, Any] = {} if field == "refusal" else {"logprobs": []}
        out.append(self._event(kind, {**self._at, "content_index": 0, "delta": text, **more}))

    def _argue(self, text: str, out: list[bytes]) -> None:
        self._text.append(text)
        if self._item is not None and self._item["type"] == "function_call":
            out.append(self._event("response.function_call_arguments.delta", {**self._at, "delta": text}))

    def _think(self, event: c.ThoughtDelta, out: list[bytes]) -> None:
        key = ("thought", event.block)
        if self._key != key:
            self._close(out)
            item = {
                "id": event.id or f"rs_{self._about()}",
                "type": "reasoning",
                "status": "in_progress",
                "summary": [],
            }
            self._open(key, item, out)
        assert self._item is not None
        if event.blob is not None:
            self._item["encrypted_content"] = c.wrap(event.blob)
        if not event.text:
            return
        field = "summary" if event.is_summary else "content"
        if not self._text:
            part = {"type": "summary_text" if event.is_summary else "reasoning_text", "text": ""}
            kind = "reasoning_summary_part" if event.is_summary else "content_part"
            out.append(self._event(f"response.{kind}.added", {**self._at, f"{field}_index": 0, "part": part}))
            self._item[field] = []
        self._text.append(event.text)
        kind = "reasoning_summary_text" if event.is_summary else "reasoning_text"
        out.append(self._event(f"response.{kind}.delta", {**self._at, f"{field}_index": 0, "delta": event.text}))

    def _annotate(self, event: c.Cited | c.Logged, out: list[bytes]) -> None:
        if isinstance(event, c.Logged):
            probs = [write_prob(one) for one in event.logprobs]
            if self._item is not None and self._key == "text":
                self._item.setdefault("_logprobs", []).extend(probs)
                fields = {**self._at, "content_index": 0, "delta": "", "logprobs": probs}
                out.append(self._event("response.output_text.delta", fields))
            return
        if self._key != "text" or self._item is None:
            self._lost.add(Feature.CITATIONS)
            return
        cited = self._item.setdefault("_annotations", [])
        cited.append(answers.write_citation(event.citation, sum(map(len, self._text))))
        fields = {**self._at, "content_index": 0, "annotation_index": len(cited) - 1, "annotation": cited[-1]}
        out.append(self._event("response.output_text.annotation.added", fields))

    def _close(self, out: list[bytes]) -> None:
        """Finish the open item: its `done` events, and its place in the whole."""
        item, text = self._item, "".join(self._text)
        if item is None:
            return
        item["status"] = "completed"
        if item["type"] == "message":
            self._close_message(item, text, out)
        elif item["type"] == "function_call":
            item["arguments"] = text or "{}"
            fields = {**self._at, "name": item["name"], "arguments": item["arguments"]}
            out.append(self._event("response.function_call_arguments.done", fields))
        elif item["type"] == "custom_tool_call":
            item["input"] = unwrap_text(text)
            out.append(self._event("response.custom_tool_call_input.delta", {**self._at, "delta": item["input"]}))
            out.append(self._event("response.custom_tool_call_input.done", {**self._at, "input": item["input"]}))
        else:
            self._close_thought(item, text, out)
        out.append(self._event("response.output_item.done", {"output_index": len(self._body["output"]), "item": item}))
        self._body["output"].append(item)
        self._item, self._key, self._text = None, None, []

    def _close_message(self, item: dict[str, Any], text: str, out: list[bytes]) -> None:
        place = {**self._at, "content_index": 0}
        probs, cited = item.pop("_logprobs", []), item.pop("_annotations", [])
        if self._key == "refusal":
            part: dict[str, Any] = {"type": "refusal", "refusal": text}
            out.append(self._event("response.refusal.done", {**place, "refusal": text}))
        else:
            part = {"type": "output_text", "text": text, "annotations": cited, "logprobs": probs}
            out.append(self._event("response.output_text.done", {**place, "text": text, "logprobs": probs}))
        item["content"] = [part]
        out.append(self._event("response.content_part.done", {**place, "part": part}))

    def _close_thought(self, item: dict[str, Any], text: str, out: list[bytes]) -> None:
        if not text:
            return
        is_summary = "content" not in item
        field, word = ("summary", "reasoning_summary_text") if is_summary else ("content", "reasoning_text")
        part = {"type": "summary_text" if is_summary else "reasoning_text", "text": text}
        item[field] = [part]
        place = {**self._at, f"{field}_index": 0}
        out.append(self._event(f"response.{word}.done", {**place, "text": text}))
        kind = "reasoning_summary_part" if is_summary else "content_part"
        out.append(self._event(f"response.{kind}.done", {**place, "part": part}))
