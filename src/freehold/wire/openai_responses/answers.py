"""openai-responses answers: read from providers, written for callers (platform.openai.com/docs/api-reference/responses/object, checked 2026-11)."""

from __future__ import annotations

from typing import Any

import msgspec

from freehold.kernel.errors import FreeholdError
from freehold.kernel.units import Tokens
from freehold.wire import canonical as c
from freehold.wire import failures, strict
from freehold.wire.call import Call
from freehold.wire.canonical import Feature, Stop
from freehold.wire.dialect import Count, Lost, Stored, is_list, unwrap_text
from freehold.wire.openai_chat.answers import Costed, read_prob, write_prob
from freehold.wire.openai_responses.requests import NAME, custom_names, read_output, read_part


class _InputDetails(msgspec.Struct):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None


class Usage(Costed):
    """Usage as the Responses API reports it: the details are parts of the totals."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def tokens(self) -> Tokens:
        before, after = self.input_tokens_details or _InputDetails(), self.output_tokens_details or _OutputDetails()
        prompt, completion = self.input_tokens or 0, self.output_tokens or 0
        read = min(before.cached_tokens or 0, prompt)
        wrote = min(before.cache_write_tokens or 0, prompt - read)
        thought = min(after.reasoning_tokens or 0, completion)
        return Tokens(
            input=prompt - read - wrote,
            cache_read=read,
            cache_write=wrote,
            output=completion - thought,
            reasoning=thought,
        )


def write_usage(tokens: Tokens) -> dict[str, Any]:
    before: dict[str, int] = {"cached_tokens": tokens.cache_read}
    if written := tokens.cache_write + tokens.cache_write_1h:
        before["cache_write_tokens"] = written
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": before,
        "output_tokens": tokens.completion,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.prompt + tokens.completion,
    }


class _Reason(msgspec.Struct):
    reason: str | None = None


class Whole(msgspec.Struct):
    """The parts of a response object that are looked at."""

    output: list[dict[str, Any]]
    id: str = ""
    model: str = ""
    status: str | None = None
    created_at: float | None = None
    usage: Usage | None = None
    service_tier: str | None = None
    incomplete_details: _Reason | None = None
    error: Any = None


_whole = msgspec.json.Decoder(Whole).decode


def read_answer(raw: bytes, family: str) -> c.Answer:
    """Read a whole response."""
    body = _whole(raw)
    if body.error is not None or body.status == "failed":
        raise c.FailedAnswer(failures.trouble(raw))
    parts: list[c.Part] = []
    logged: list[c.TokenProb] | None = None
    for item in body.output:
        if item["type"] != "message":
            parts.append(read_output(item, family))
            continue
        for part in item["content"]:
            parts.append(read_part(part))
            if part.get("logprobs"):
                logged = [*(logged or ()), *map(read_prob, part["logprobs"])]
    return c.Answer(
        id=body.id,
        model=body.model,
        candidates=[c.Candidate(parts=parts, stop=stop_of(body, parts), logprobs=logged)],
        tokens=body.usage.tokens() if body.usage else None,
        created=int(body.created_at) if body.created_at else None,
        service_tier=body.service_tier,
        cost=body.usage.told() if body.usage else None,
    )


def stop_of(body: Whole, parts: list[c.Part]) -> Stop | None:
    if body.status == "incomplete":
        reason = body.incomplete_details.reason if body.incomplete_details else None
        return Stop.FILTER if reason == "content_filter" else Stop.LENGTH
    if body.status not in (None, "completed"):
        return None
    return Stop.TOOL_USE if any(isinstance(part, c.ToolUse) for part in parts) else Stop.END


class _Read(msgspec.Struct):
    id: str = ""
    status: str = "completed"
    usage: Usage | None = None
    error: Any = None
    service_tier: str | None = None
    output: msgspec.Raw = msgspec.Raw(b"null")


_tokens = msgspec.json.Decoder(_Read).decode


def used_of(raw: bytes) -> c.Used | None:
    """What a whole response says it used."""
    body = _tokens(raw)
    if body.status == "failed":
        raise c.FailedAnswer(failures.trouble(raw))
    if body.error is not None or not is_list(body.output):
        raise c.InvalidAnswer("no response")
    return _used(body)


def _used(body: _Read) -> c.Used | None:
    return c.Used(body.usage.tokens(), body.service_tier, cost=body.usage.told()) if body.usage is not None else None


def stored_of(raw: bytes) -> Stored:
    """What a whole response says of itself as something that its provider keeps; one that failed used nothing, unless it says so."""
    body = _tokens(raw)
    if not is_list(body.output):
        raise c.InvalidAnswer("no response")
    used = _used(body)
    return Stored(body.id, c.Used(Tokens()) if used is None and body.status == "failed" else used)


# --- out -----------------------------------------------------------------------------------------------------

_ECHOED = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
]
_DEFAULTS: dict[str, Any] = {
    "metadata": {},
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
}


def shell(call: Call, about: str, model: str, created: int) -> dict[str, Any]:
    """A response object without its output: what the caller asked for is repeated, as the API does."""
    asked = {field: call.body[field] for field in _ECHOED if call.body.get(field) is not None}
    return {
        "id": about,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        **dict.fromkeys(_ECHOED),
        **_DEFAULTS,
        **asked,
        "model": model,
        "previous_response_id": None,
        "store": False,  # a translated answer is kept nowhere
        "output": [],
        "usage": None,
    }


def close_shell(body: dict[str, Any], stop: Stop | None, tokens: Tokens | None, tier: str | None) -> dict[str, Any]:
    """Say how the response ended."""
    is_cut = stop in (Stop.LENGTH, Stop.FILTER)
    body["status"] = "incomplete" if is_cut else "completed"
    if is_cut:
        body["incomplete_details"] = {"reason": "content_filter" if stop is Stop.FILTER else "max_output_tokens"}
    if tokens is not None:
        body["usage"] = write_usage(tokens)
    if tier is not None:
        body["service_tier"] = tier
    return body


def write_answer(answer: c.Answer, call: Call, lost: Lost) -> bytes:
    """Write a whole response."""
    about = answer.id if answer.id.startswith("resp_") else f"resp_{answer.id}"
    body = shell(call, about, answer.model, answer.created or 0)
    if len(answer.candidates) > 1:
        lost.add(Feature.CHOICES)
    candidate = answer.candidates[0] if answer.candidates else c.Candidate(parts=[])
    custom = custom_names(call.body)
    said: list[dict[str, Any]] = []
    for at, part in enumerate(candidate.parts):
        if isinstance(part, c.Text | c.Refusal):
            said.append(write_said(part, candidate.logprobs if not said else None))
            continue
        if said:
            body["output"].append(message(f"msg_{about[5:]}_{at}", said))
            said = []
        item = write_item(part, f"{about[5:]}_{at}", custom, lost)
        if item is not None:
            body["output"].append(item)
    if said:
        body["output"].append(message(f"msg_{about[5:]}", said))
    return strict.encode(close_shell(body, candidate.stop, answer.tokens, answer.service_tier))


def message(about: str, content: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    return {"id": about, "type": "message", "status": status, "role": "assistant", "content": content}


def write_said(part: c.Text | c.Refusal, logged: list[c.TokenProb] | None) -> dict[str, Any]:
    if isinstance(part, c.Refusal):
        return {"type": "refusal", "refusal": part.text}
    annotations = [write_citation(one, len(part.text)) for one in part.citations]
    probs = [write_prob(one) for one in logged or ()]
    return {"type": "output_text", "text": part.text, "annotations": annotations, "logprobs": probs}


def write_citation(citation: c.Citation, end: int) -> dict[str, Any]:
    if citation.dialect == NAME and citation.raw is not None:
        return citation.raw
    return {
        "type": "url_citation",
        "start_index": citation.start or 0,
        "end_index": citation.end if citation.end is not None else end,
        "title": citation.title or "",
        "url": citation.url or "",
    }


def write_item(part: c.Part, about: str, custom: frozenset[str], lost: Lost) -> dict[str, Any] | None:
    """Write an item other than a message; about makes its id."""
    if isinstance(part, c.ToolUse):
        called = {"call_id": part.id, "name": part.name, "status": "completed"}
        if part.name in custom:
            return {"id": f"ctc_{about}", "type": "custom_tool_call", **called, "input": unwrap_text(part.arguments)}
        return {"id": f"fc_{about}", "type": "function_call", **called, "arguments": part.arguments}
    if isinstance(part, c.Thought):
        return write_thought(part, about)
    if isinstance(part, c.Opaque) and part.dialect == NAME:
        item: dict[str, Any] = part.item
        return item
    lost.add(part.feature if isinstance(part, c.Opaque) else Feature.IMAGE_OUT)
    return None


def write_thought(thought: c.Thought, about: str) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": thought.id or f"rs_{about}",
        "type": "reasoning",
        "status": "completed",
        "summary": [],
    }
    if thought.text and thought.is_summary:
        item["summary"] = [{"type": "summary_text", "text": thought.text}]
    elif thought.text:
        item["content"] = [{"type": "reasoning_text", "text": thought.text}]
    if thought.blob is not None:
        item["encrypted_content"] = c.wrap(thought.blob)
    return item


def error_body(error: FreeholdError) -> dict[str, Any]:
    """The fields of an `error` event."""
    return {"type": "error", "code": error.code, "message": error.text, "param": None}
