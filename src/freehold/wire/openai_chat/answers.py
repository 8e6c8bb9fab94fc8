"""openai-chat answers and streams: read from providers, written for callers (platform.openai.com/docs/api-reference/chat/object, checked 2026-11).

Rules: usage stands in the last chunk that has any; some providers send it unasked, in every chunk, or under a name of their own;
all of that is read. What is written is what OpenAI writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from freehold.kernel.errors import CallerError, FreeholdError
from freehold.kernel.units import Tokens
from freehold.wire import canonical as c
from freehold.wire import strict
from freehold.wire.call import Call
from freehold.wire.canonical import Feature, Stop
from freehold.wire.dialect import Count, Lost, Model, data_url, is_list, split_data_url, unwrap_text, words
from freehold.wire.openai_chat.requests import NAME, custom_names, read_called, read_thoughts, write_details


class _Details(msgspec.Struct):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    audio_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class _Cost(msgspec.Struct):
    total_cost: Decimal | None = None
    upstream_inference_cost: Decimal | None = None


_TICKS = Decimal(10) ** 10  # to the dollar


class Costed(msgspec.Struct):
    """A usage that may name its dollars: as a number (OpenRouter), an object with a total (Perplexity), or ticks (xAI). Whatever is odd there spoils nothing else."""

    cost: msgspec.Raw = msgspec.Raw()
    cost_details: msgspec.Raw = msgspec.Raw()
    cost_in_usd_ticks: msgspec.Raw = msgspec.Raw()
    is_byok: msgspec.Raw = msgspec.Raw()

    def told(self) -> Decimal | None:
        """What the call costs, in US dollars; None if it does not say, or zero. Under a key of one's own at OpenRouter, what the model's provider bills is added to its fee."""
        try:
            if bytes(self.cost_in_usd_ticks):
                amount = Decimal(msgspec.json.decode(self.cost_in_usd_ticks, type=int)) / _TICKS
            elif bytes(self.cost)[:1] == b"{":
                amount = msgspec.json.decode(self.cost, type=_Cost).total_cost or Decimal(0)
            else:
                amount = msgspec.json.decode(self.cost, type=Decimal) if bytes(self.cost) else Decimal(0)
            if bytes(self.is_byok) == b"true":
                elsewhere = msgspec.json.decode(self.cost_details, type=_Cost).upstream_inference_cost
                amount = amount + elsewhere if elsewhere else Decimal(0)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return amount if amount.is_finite() and 0 < amount < 10**6 else None


class Usage(Costed):
    """Usage as OpenAI reports it: the details are parts of the totals."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: Count | None = None  # DeepSeek's word for cached tokens
    service_tier: str | None = None  # Mistral says it here

    def tokens(self) -> Tokens:
        """Split the totals into disjoint classes; a part larger than its total is cut to it."""
        before, after = self.prompt_tokens_details or _Details(), self.completion_tokens_details or _Details()
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        if self.prompt_tokens is None and self.completion_tokens is None:
            prompt = self.total_tokens or 0  # rankings count all in one
        if (thinking := after.reasoning_tokens or 0) and prompt + completion + thinking == self.total_tokens:
            completion += thinking  # xAI counts them beside the answer, not in it
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


def write_usage(tokens: Tokens) -> dict[str, Any]:
    """Usage in OpenAI's arithmetic: totals, and the parts of them that are known."""
    before = {"cached_tokens": tokens.cache_read, "audio_tokens": tokens.audio_in}
    if written := tokens.cache_write + tokens.cache_write_1h:
        before["cache_write_tokens"] = written
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
        "prompt_tokens_details": before,
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "audio_tokens": tokens.audio_out},
    }


STOPS = {
    "stop": Stop.END,
    "eos": Stop.END,
    "length": Stop.LENGTH,
    "model_length": Stop.LENGTH,
    "tool_calls": Stop.TOOL_USE,
    "function_call": Stop.TOOL_USE,
    "content_filter": Stop.FILTER,
    "error": Stop.ERROR,
    "insufficient_system_resource": Stop.ERROR,
}
REASONS = {
    Stop.END: "stop",
    Stop.SEQUENCE: "stop",
    Stop.PAUSE: "stop",
    Stop.LENGTH: "length",
    Stop.TOOL_USE: "tool_calls",
    Stop.REFUSAL: "content_filter",
    Stop.FILTER: "content_filter",
    Stop.ERROR: "stop",
}


class _Whole(msgspec.Struct):
    choices: list[dict[str, Any]]
    id: str | None = None
    model: str | None = None
    created: int | None = None
    usage: Usage | None = None
    service_tier: str | None = None
    citations: list[str] | None = None
    error: Any = None


_whole = msgspec.json.Decoder(_Whole).decode


def read_answer(raw: bytes, family: str) -> c.Answer:
    """Read a whole chat completion."""
    body = _whole(raw)
    if body.error is not None:
        raise c.InvalidAnswer("an error with a good status")
    if not body.choices:
        raise c.InvalidAnswer("an answer without a choice")
    choices = sorted(body.choices, key=lambda choice: choice.get("index") or 0)
    return c.Answer(
        id=body.id or "",
        model=body.model or "",
        candidates=[_read_choice(choice, family, body.citations) for choice in choices],
        tokens=body.usage.tokens() if body.usage else None,
        created=body.created,
        service_tier=body.service_tier or (body.usage.service_tier if body.usage else None),
        cost=body.usage.told() if body.usage else None,
    )


def _read_choice(choice: dict[str, Any], family: str, links: list[str] | None) -> c.Candidate:
    message = choice.get("message") or {}
    parts: list[c.Part] = _mine(read_thoughts(message), message, family)
    citations = read_citations(message.get("annotations") or (), links)
    content = message.get("content")
    if isinstance(content, list):
        parts += [read_said(part) for part in content]
    elif content or citations:
        parts.append(c.Text(words(content or ""), citations=citations))
    if message.get("refusal"):
        parts.append(c.Refusal(words(message["refusal"])))
    for image in message.get("images") or ():
        found = split_data_url(image["image_url"]["url"])
        parts.append(c.Media("image", *found) if found else c.Media("image", url=image["image_url"]["url"]))
    if message.get("audio"):
        parts.append(c.Opaque(NAME, {"audio": message["audio"]}, Feature.AUDIO_OUT))
    called = message.get("function_call")
    for one in message.get("tool_calls") or ([{"id": "", "function": called}] if called else ()):
        parts.append(read_called(one, one.get("id") or f"call_{(one.get('function') or {}).get('name')}"))
    reason = choice.get("finish_reason")
    logged = read_logprobs(choice.get("logprobs"))
    stop, sequence = stop_of(reason, choice.get("stop_reason"))
    return c.Candidate(parts=parts, stop=stop, sequence=sequence, logprobs=logged)


def stop_of(reason: str | None, matched: Any) -> tuple[Stop | None, str | None]:
    """Why a choice ended; matched: the stop sequence, where the server (vLLM) says it beside the reason."""
    stop = STOPS.get(reason, Stop.END) if reason else None
    if stop is Stop.END and isinstance(matched, str):
        return Stop.SEQUENCE, matched
    return stop, None


def _mine(thoughts: list[c.Part], message: dict[str, Any], family: str) -> list[c.Part]:
    """Reasoning details that are signed or encrypted are blobs: each is kept whole, to be given back whole."""
    details = message.get("reasoning_details")
    return [held_detail(detail, family) for detail in details] if isinstance(details, list) and details else thoughts


def held_detail(detail: dict[str, Any], family: str) -> c.Thought:
    text = detail.get("text") or detail.get("summary") or ""
    blob = c.Blob(family, strict.encode(detail).decode()) if detail.get("signature") or detail.get("data") else None
    return c.Thought(text, blob, is_summary="summary" in detail, is_redacted=not text)


def read_said(part: dict[str, Any]) -> c.Part:
    if part["type"] == "thinking":
        return c.Thought("".join(words(one.get("text") or "") for one in part["thinking"]))
    if part["type"] == "text":
        return c.Text(words(part["text"]))
    return c.Opaque(NAME, part)


def read_citations(annotations: Any, links: list[str] | None) -> tuple[c.Citation, ...]:
    found = [
        c.Citation(
            one.get("url"), one.get("title"), None, one.get("start_index"), one.get("end_index"), NAME, annotation
        )
        for annotation in annotations
        if (one := annotation.get(annotation["type"])) is not None
    ]
    return tuple(found) if found else tuple(c.Citation(url=url, dialect=NAME) for url in links or ())


def read_logprobs(found: Any) -> list[c.TokenProb] | None:
    listed = found.get("content") if isinstance(found, dict) else None
    return [read_prob(one) for one in listed] if isinstance(listed, list) else None


def read_prob(one: dict[str, Any]) -> c.TokenProb:
    top = tuple((words(rival["token"]), float(rival["logprob"])) for rival in one.get("top_logprobs") or ())
    return c.TokenProb(words(one["token"]), float(one["logprob"]), top)


def write_prob(prob: c.TokenProb) -> dict[str, Any]:
    def shown(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    return {**shown(prob.token, prob.logprob), "top_logprobs": [shown(*rival) for rival in prob.top]}


_NOTHING = msgspec.Raw(b"null")


class _Read(msgspec.Struct):
    usage: Usage | None = None
    choices: msgspec.Raw = _NOTHING
    data: msgspec.Raw = _NOTHING
    results: msgspec.Raw = _NOTHING
    error: Any = None
    service_tier: str | None = None


_tokens = msgspec.json.Decoder(_Read).decode


def used_of(raw: bytes) -> c.Used | None:
    """What a whole answer says it used: of a chat, a completion, an embedding, a ranking or a moderation."""
    body = _tokens(raw)
    if body.error is not None or not any(is_list(found) for found in (body.choices, body.data, body.results)):
        raise c.InvalidAnswer("no answer")
    return (
        c.Used(body.usage.tokens(), body.service_tier or body.usage.service_tier, cost=body.usage.told())
        if body.usage is not None
        else None
    )


# --- whole answers out -----------------------------------------------------------------------------------------


def write_answer(answer: c.Answer, call: Call, lost: Lost) -> bytes:
    """Write a whole chat completion."""
    body: dict[str, Any] = {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created or 0,
        "model": answer.model,
        "choices": [_write_choice(at, one, call, lost) for at, one in enumerate(answer.candidates)],
    }
    if answer.tokens is not None:
        body["usage"] = write_usage(answer.tokens)
    if answer.service_tier is not None:
        body["service_tier"] = answer.service_tier
    return strict.encode(body)


def _write_choice(at: int, candidate: c.Candidate, call: Call, lost: Lost) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    thoughts: list[c.Thought] = []
    tools: list[c.ToolUse] = []
    for part in candidate.parts:
        if isinstance(part, c.Text):
            _add_text(message, part)
        elif isinstance(part, c.Thought):
            thoughts.append(part)
        elif isinstance(part, c.ToolUse):
            tools.append(part)
        elif isinstance(part, c.Refusal):
            message["refusal"] = message.get("refusal", "") + part.text
        elif isinstance(part, c.Media) and part.kind == "image":
            message.setdefault("images", []).append(write_image(part))
        else:
            lost.add(part.feature if isinstance(part, c.Opaque) else Feature.CONTENT)
    message.setdefault("refusal", None)
    if text := "\n".join(thought.text for thought in thoughts if thought.text):
        message["reasoning_content"] = text
    if details := write_details(thoughts):
        message["reasoning_details"] = details
    if len(tools) > 1 and "functions" in call.body:
        lost.add(Feature.PARALLEL_TOOLS)  # the older form calls one function
    if tools and "functions" in call.body:
        message["function_call"] = {"name": tools[0].name, "arguments": tools[0].arguments}
    elif tools:
        custom = custom_names(call.body)
        message["tool_calls"] = [_write_called(tool, is_custom=tool.name in custom) for tool in tools]
    logged = (
        {"content": [write_prob(one) for one in candidate.logprobs], "refusal": None} if candidate.logprobs else None
    )
    return {"index": at, "message": message, "logprobs": logged, "finish_reason": _reason(candidate.stop, call)}


def _write_called(tool: c.ToolUse, *, is_custom: bool) -> dict[str, Any]:
    if is_custom:
        custom = {"name": tool.name, "input": unwrap_text(tool.arguments)}
        return {"id": tool.id, "type": "custom", "custom": custom}
    return {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}


def _reason(stop: Stop | None, call: Call) -> str:
    reason = REASONS[stop or Stop.END]
    return "function_call" if reason == "tool_calls" and "functions" in call.body else reason


def _add_text(message: dict[str, Any], part: c.Text) -> None:
    offset = len(message["content"] or "")
    message["content"] = (message["content"] or "") + part.text
    for citation in part.citations:
        message.setdefault("annotations", []).append(write_citation(citation, offset, len(message["content"])))


def write_citation(citation: c.Citation, offset: int, end: int) -> dict[str, Any]:
    if citation.dialect == NAME and citation.raw is not None:
        return citation.raw
    written: dict[str, Any] = {
        "start_index": citation.start if citation.start is not None else offset,
        "end_index": citation.end if citation.end is not None else end,
        "title": citation.title or "",
        "url": citation.url or "",
    }
    if citation.quote:
        written["cited_text"] = citation.quote
    return {"type": "url_citation", "url_citation": written}


def write_image(media: c.Media) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": media.url or data_url(media.mime, media.data or "")}}


# --- errors and lists ------------------------------------------------------------------------------------------

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


def write_models(models: Sequence[Model]) -> bytes:
    """Encode the model list."""
    return strict.encode({"object": "list", "data": [_model(one) for one in models]})


def write_model(model: Model) -> bytes:
    """Encode one model."""
    return strict.encode(_model(model))


def _model(model: Model) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": 0, "owned_by": model.owner}
