"""gemini answers and streams (ai.google.dev/api/generate-content#v1beta.GenerateContentResponse, checked 2026-11).

Rules: every event of a stream is a response of its own, and the parts add up; a call of a function comes whole; thoughts are counted beside
the answer; a blocked prompt has no candidate at all. Streams are framed as events (`alt=sse`) or as one JSON array.
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
from freehold.wire.dialect import MISSHAPEN, Count, InOrder, Lost, Model, arguments, is_list
from freehold.wire.gemini.requests import NAME, read_part, signed

_REASONS = {
    Stop.LENGTH: "MAX_TOKENS",
    Stop.FILTER: "SAFETY",
    Stop.REFUSAL: "SAFETY",
    Stop.ERROR: "OTHER",
}
_STOPS = {"STOP": Stop.END, "MAX_TOKENS": Stop.LENGTH, "MALFORMED_FUNCTION_CALL": Stop.ERROR, "OTHER": Stop.ERROR}


class _Modality(msgspec.Struct, rename="camel"):
    modality: str = ""
    token_count: Count = 0


class Usage(msgspec.Struct, rename="camel"):
    """Usage as Google reports it: what was cached is a part of the prompt, what was thought is not a part of the answer."""

    prompt_token_count: Count | None = None
    cached_content_token_count: Count | None = None
    candidates_token_count: Count | None = None
    thoughts_token_count: Count | None = None
    tool_use_prompt_token_count: Count | None = None
    prompt_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None
    traffic_type: str | None = None
    service_tier: str | None = None

    def used(self) -> c.Used:
        return c.Used(self.tokens(), self.service_tier or self.traffic_type)

    def tokens(self) -> Tokens:
        prompt, said = self.prompt_token_count or 0, self.candidates_token_count or 0
        read = min(self.cached_content_token_count or 0, prompt)
        heard = min(_audio(self.prompt_tokens_details), prompt - read)
        spoken = min(_audio(self.candidates_tokens_details), said)
        return Tokens(
            input=prompt - read - heard + (self.tool_use_prompt_token_count or 0),
            cache_read=read,
            output=said - spoken,
            reasoning=self.thoughts_token_count or 0,
            audio_in=heard,
            audio_out=spoken,
        )


def _audio(details: list[_Modality] | None) -> int:
    return sum(one.token_count for one in details or () if one.modality == "AUDIO")


def write_usage(tokens: Tokens) -> dict[str, Any]:
    written = {
        "promptTokenCount": tokens.prompt,
        "candidatesTokenCount": tokens.output + tokens.audio_out,
        "totalTokenCount": tokens.prompt + tokens.completion,
    }
    if tokens.cache_read:
        written["cachedContentTokenCount"] = tokens.cache_read
    if tokens.reasoning:
        written["thoughtsTokenCount"] = tokens.reasoning
    return written


class _Content(msgspec.Struct):
    parts: list[dict[str, Any]] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int = 0
    logprobs_result: dict[str, Any] | None = None
    citation_metadata: dict[str, Any] | None = None
    grounding_metadata: dict[str, Any] | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Whole(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: Usage | None = None
    model_version: str = ""
    response_id: str = ""
    prompt_feedback: _Feedback | None = None
    error: Any = None


_whole = msgspec.json.Decoder(_Whole).decode


def read_answer(raw: bytes, family: str) -> c.Answer:
    """Read a whole response."""
    body = _whole(raw)
    if body.error is not None or (
        body.candidates is None and body.prompt_feedback is None and body.usage_metadata is None
    ):
        raise c.InvalidAnswer("no response")
    candidates = []
    for one in body.candidates or ():
        parts: list[c.Part] = []
        for part in (one.content.parts if one.content else None) or ():
            parts += _read_part(part, family, body.response_id, sum(isinstance(known, c.ToolUse) for known in parts))
        parts = _joined(parts)
        _cite(parts, one)
        candidates.append(
            c.Candidate(parts=parts, stop=_stop(one, parts), logprobs=_read_logprobs(one.logprobs_result))
        )
    if not candidates:
        candidates = [c.Candidate(parts=[], stop=Stop.FILTER)]
    tokens = body.usage_metadata.tokens() if body.usage_metadata else None
    tier = body.usage_metadata.used().service_tier if body.usage_metadata else None
    return c.Answer(
        id=body.response_id, model=body.model_version, candidates=candidates, tokens=tokens, service_tier=tier
    )


def _stop(candidate: _Candidate, parts: Sequence[Any]) -> Stop | None:
    if candidate.finish_reason is None:
        return None
    if candidate.finish_reason == "STOP" and any(isinstance(part, c.ToolUse) for part in parts):
        return Stop.TOOL_USE
    return _STOPS.get(candidate.finish_reason, Stop.FILTER)


def _read_part(part: dict[str, Any], family: str, about: str, calls: int) -> list[c.Part]:
    called = part.get("functionCall")
    if called is None:
        return read_part(part, family)
    known = called.get("id") or f"call_{about}_{calls}"
    return signed(c.ToolUse(known, called["name"], strict.encode(called.get("args") or {}).decode()), part, family)


def _joined(parts: list[c.Part]) -> list[c.Part]:
    """Neighbouring pieces of text, or of thought, as one: where one ends and the next begins means nothing here."""
    joined: list[c.Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, c.Text) and isinstance(last, c.Text):
            joined[-1] = c.Text(last.text + part.text)
        elif isinstance(part, c.Thought) and isinstance(last, c.Thought) and not last.blob and not part.is_redacted:
            joined[-1] = msgspec.structs.replace(part, text=last.text + part.text)
        else:
            joined.append(part)
    return joined


def _cite(parts: list[c.Part], candidate: _Candidate) -> None:
    """Hang what grounds a candidate on its last text."""
    citations = _citations(candidate)
    at = next((at for at in range(len(parts) - 1, -1, -1) if isinstance(parts[at], c.Text)), None)
    if citations and at is not None:
        parts[at] = msgspec.structs.replace(parts[at], citations=citations)


def _citations(candidate: _Candidate) -> tuple[c.Citation, ...]:
    cited = candidate.citation_metadata or {}
    sources = cited.get("citationSources") or cited.get("citations") or ()
    found = [
        c.Citation(one.get("uri"), one.get("title"), None, one.get("startIndex"), one.get("endIndex"), NAME, one)
        for one in sources
    ]
    grounding = candidate.grounding_metadata or {}
    chunks = [
        chunk.get("web") or chunk.get("retrievedContext") or {} for chunk in grounding.get("groundingChunks") or ()
    ]
    for support in grounding.get("groundingSupports") or ():
        segment = support.get("segment") or {}
        for at in support.get("groundingChunkIndices") or ():
            if at < len(chunks):
                start, end = segment.get("startIndex") or 0, segment.get("endIndex")
                found.append(
                    c.Citation(chunks[at].get("uri"), chunks[at].get("title"), segment.get("text"), start, end, NAME)
                )
    return tuple(found)


def _read_logprobs(found: dict[str, Any] | None) -> list[c.TokenProb] | None:
    if not found or not found.get("chosenCandidates"):
        return None
    rivals = found.get("topCandidates") or []
    probs = []
    for at, one in enumerate(found["chosenCandidates"]):
        top = (rivals[at].get("candidates") or ()) if at < len(rivals) else ()
        pairs = tuple((rival["token"], float(rival["logProbability"])) for rival in top)
        probs.append(c.TokenProb(one["token"], float(one["logProbability"]), pairs))
    return probs


class _Read(msgspec.Struct, rename="camel"):
    usage_metadata: Usage | None = None
    candidates: msgspec.Raw = msgspec.Raw(b"null")
    prompt_feedback: _Feedback | None = None
    total_tokens: Count | None = None


_tokens = msgspec.json.Decoder(_Read).decode


def used_of(raw: bytes) -> c.Used | None:
    """What a whole response says it used; counting tokens uses none."""
    body = _tokens(raw)
    usage, is_blocked = body.usage_metadata, body.prompt_feedback is not None
    if usage is None and body.total_tokens is None and not is_blocked and not is_list(body.candidates):
        raise c.InvalidAnswer("no response")
    return usage.used() if usage is not None else None


# --- whole answers out -----------------------------------------------------------------------------------------


def write_answer(answer: c.Answer, _call: Call, lost: Lost) -> bytes:
    """Write a whole response."""
    body: dict[str, Any] = {"candidates": [_write_candidate(at, one, lost) for at, one in enumerate(answer.candidates)]}
    if answer.tokens is not None:
        body["usageMetadata"] = write_usage(answer.tokens)
    return strict.encode({**body, "modelVersion": answer.model, "responseId": answer.id})


def _write_candidate(at: int, candidate: c.Candidate, lost: Lost) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    signature: str | None = None
    cited: list[dict[str, Any]] = []
    for part in candidate.parts:
        if isinstance(part, c.Thought) and part.is_redacted and part.blob is not None:
            if signature is not None:
                parts.append({"text": "", "thoughtSignature": signature})
            signature = c.wrap(part.blob)
            continue
        written = _write_part(part, lost)
        if written is None:
            continue
        if signature is not None and "thoughtSignature" not in written:
            written["thoughtSignature"], signature = signature, None
        if isinstance(part, c.Text):
            cited += [_write_citation(one, lost) for one in part.citations]
        parts.append(written)
    if signature is not None:
        parts.append({"text": "", "thoughtSignature": signature})
    body: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": at}
    body["finishReason"] = _REASONS.get(candidate.stop or Stop.END, "STOP")
    if cited:
        body["citationMetadata"] = {"citationSources": cited}
    if candidate.logprobs is not None:
        body["logprobsResult"] = _write_logprobs(candidate.logprobs)
    return body


def _write_part(part: c.Part, lost: Lost) -> dict[str, Any] | None:
    if isinstance(part, c.Text | c.Refusal):
        return {"text": part.text}
    if isinstance(part, c.Thought):
        written: dict[str, Any] = {"text": part.text, "thought": True}
        return {**written, "thoughtSignature": c.wrap(part.blob)} if part.blob is not None else written
    if isinstance(part, c.ToolUse):
        return {"functionCall": {"id": part.id, "name": part.name, "args": arguments(part.arguments)}}
    if isinstance(part, c.Media) and part.data is not None:
        return {"inlineData": {"mimeType": part.mime, "data": part.data}}
    lost.add(part.feature if isinstance(part, c.Opaque) else Feature.IMAGE_OUT)
    return None


def _write_citation(citation: c.Citation, lost: Lost) -> dict[str, Any]:
    if citation.quote:
        lost.add(Feature.CITATIONS)  # there is no place for the words that are cited
    fields = {"startIndex": citation.start, "endIndex": citation.end, "uri": citation.url, "title": citation.title}
    return {name: value for name, value in fields.items() if value is not None}


def _write_logprobs(probs: Sequence[c.TokenProb]) -> dict[str, Any]:
    def shown(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logProbability": logprob}

    return {
        "chosenCandidates": [shown(one.token, one.logprob) for one in probs],
        "topCandidates": [{"candidates": [shown(*rival) for rival in one.top]} for one in probs],
    }


# --- streams ---------------------------------------------------------------------------------------------------


class StreamReader:
    """Read a stream of responses."""

    __slots__ = ("_about", "_began", "_calls", "_family", "_thoughts")

    def __init__(self, family: str) -> None:
        self._family = family
        self._began = False
        self._about = ""
        self._calls: dict[int, int] = {}
        self._thoughts = 0

    def take(self, event: sse.Event) -> Sequence[c.Event]:
        if not event.data:
            return ()
        try:
            body = _whole(event.data)
            return self._read(body) if body.error is None else (c.Fail(failures.trouble(event.data)),)
        except MISSHAPEN:
            raise c.InvalidAnswer("an event of the stream is not a response") from None

    def _read(self, body: _Whole) -> Sequence[c.Event]:
        events: list[c.Event] = []
        if not self._began:
            self._began, self._about = True, body.response_id
            events.append(c.Begin(body.response_id, body.model_version))
        for one in body.candidates or ():
            for part in (one.content.parts if one.content else None) or ():
                self._part(part, one.index, events)
            events += [c.Cited(cited, one.index) for cited in _citations(one)]
            if logged := _read_logprobs(one.logprobs_result):
                events.append(c.Logged(tuple(logged), one.index))
            if one.finish_reason:
                called = [c.ToolUse("", "", "")] if self._calls.get(one.index) else []
                events.append(c.End(_stop(one, called) or Stop.END, None, one.index))
        if not body.candidates and body.prompt_feedback is not None and body.prompt_feedback.block_reason:
            events.append(c.End(Stop.FILTER))
        if body.usage_metadata is not None:
            events.append(body.usage_metadata.used())
        return events

    def _part(self, raw: dict[str, Any], choice: int, events: list[c.Event]) -> None:
        text = raw.get("text")
        if type(text) is str and len(raw) == 1:
            if text:
                events.append(c.TextDelta(text, choice))
            return
        calls = self._calls.get(choice, 0)
        for part in _read_part(raw, self._family, self._about, calls):
            if isinstance(part, c.Text):
                if part.text:
                    events.append(c.TextDelta(part.text, choice))
            elif isinstance(part, c.Thought):
                self._thoughts += part.is_redacted  # a block of its own: nothing before it belongs to it
                events.append(
                    c.ThoughtDelta(part.text, choice, self._thoughts, part.blob, "", part.is_summary, part.is_redacted)
                )
                self._thoughts += part.blob is not None  # and nothing after a signature does
            elif isinstance(part, c.ToolUse):
                events += [c.ToolBegin(calls, part.id, part.name, choice), c.ToolDelta(calls, part.arguments, choice)]
                self._calls[choice] = calls + 1
            elif isinstance(part, c.Opaque | c.Media):
                events.append(c.Other(part, choice))


class StreamWriter:
    """Write a stream of responses for a caller; a call of a function is written when it is whole."""

    __slots__ = ("_array", "_call", "_count", "_head", "_lost", "_order", "_signature", "_stops", "_tool", "_usage")

    def __init__(self, call: Call, lost: Lost) -> None:
        self._lost = lost
        self._array = call.framing == "json"
        self._order = InOrder()
        self._count = 0
        self._head: dict[str, Any] = {}
        self._tool: tuple[c.ToolBegin, list[str]] | None = None
        self._signature: str | None = None
        self._stops: dict[int, Stop] = {}
        self._usage: Tokens | None = None

    def take(self, events: Sequence[c.Event]) -> bytes:
        out: list[bytes] = []
        for event in self._order.take(events):
            if type(event) is c.ToolDelta and self._tool is not None:
                self._tool[1].append(event.arguments)
                continue
            self._flush(out)
            self._write(event, out)
        return b"".join(out)

    def end(self) -> bytes:
        out: list[bytes] = []
        self._flush(out)
        candidates = []
        for choice, stop in (self._stops or {0: Stop.END}).items():
            part: dict[str, Any] = {"text": ""}
            if self._signature is not None:
                part["thoughtSignature"], self._signature = self._signature, None
            content = {"parts": [part], "role": "model"}
            candidates.append({"content": content, "finishReason": _REASONS.get(stop, "STOP"), "index": choice})
        body: dict[str, Any] = {"candidates": candidates}
        if self._usage is not None:
            body["usageMetadata"] = write_usage(self._usage)
        out.append(self._framed({**body, **self._head}))
        return b"".join(out) + (b"]" if self._array else b"")

    def fail(self, error: FreeholdError) -> bytes:
        data = write_error(error)
        return self._frame(data) + (b"]" if self._array else b"")

    def _write(self, event: c.Event, out: list[bytes]) -> None:
        if isinstance(event, c.TextDelta | c.RefusalDelta):
            out.append(self._parts({"text": event.text}, event.choice))
        elif isinstance(event, c.ThoughtDelta):
            self._think(event, out)
        elif isinstance(event, c.ToolBegin):
            self._tool = (event, [])
        elif isinstance(event, c.Begin):
            self._head = {"modelVersion": event.model, "responseId": event.id}
        elif isinstance(event, c.End):
            self._stops[event.choice] = event.stop
        elif isinstance(event, c.Used):
            self._usage = event.tokens
        elif isinstance(event, c.Cited):
            cited = {
                "citationMetadata": {"citationSources": [_write_citation(event.citation, self._lost)]},
                "index": event.choice,
            }
            out.append(self._framed({"candidates": [cited], **self._head}))
        elif isinstance(event, c.Logged):
            logged = {"logprobsResult": _write_logprobs(event.logprobs), "index": event.choice}
            out.append(self._framed({"candidates": [logged], **self._head}))
        elif isinstance(event, c.Other):
            written = _write_part(event.part, self._lost)
            if written is not None:
                out.append(self._parts(written, event.choice))

    def _think(self, event: c.ThoughtDelta, out: list[bytes]) -> None:
        if event.blob is not None and event.is_redacted:
            if self._signature is not None:
                out.append(self._parts({"text": ""}, event.choice))
            self._signature = c.wrap(event.blob)
            return
        part = {"text": event.text, "thought": True}
        if event.blob is not None:
            part["thoughtSignature"] = c.wrap(event.blob)
        if event.text or event.blob is not None:
            out.append(self._parts(part, event.choice))

    def _flush(self, out: list[bytes]) -> None:
        if self._tool is None:
            return
        (begun, pieces), self._tool = self._tool, None
        called = {"id": begun.id, "name": begun.name, "args": arguments("".join(pieces))}
        out.append(self._parts({"functionCall": called}, begun.choice))

    def _parts(self, part: dict[str, Any], choice: int) -> bytes:
        if self._signature is not None and "thoughtSignature" not in part:
            part["thoughtSignature"], self._signature = self._signature, None
        return self._framed(
            {"candidates": [{"content": {"parts": [part], "role": "model"}, "index": choice}], **self._head}
        )

    def _framed(self, body: dict[str, Any]) -> bytes:
        return self._frame(strict.encode(body))

    def _frame(self, data: bytes) -> bytes:
        self._count += 1
        if self._array:
            return (b"[" if self._count == 1 else b",\r\n") + data
        return b"data: " + data + b"\r\n\r\n"


# --- errors and lists ------------------------------------------------------------------------------------------

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def write_error(error: FreeholdError) -> bytes:
    """Encode an error in Google's shape; the stable code is the reason in `details`."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code, "domain": "freehold"}
    details: list[dict[str, Any]] = [info]
    if error.retry_after_s is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{error.retry_after_s:g}s"})
    status = _STATUS.get(error.status, "INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")
    return strict.encode({"error": {"code": error.status, "message": error.text, "status": status, "details": details}})


def write_models(models: Sequence[Model]) -> bytes:
    """Encode the model list."""
    return strict.encode({"models": [_model(one) for one in models]})


def write_model(model: Model) -> bytes:
    return strict.encode(_model(model))


def _model(model: Model) -> dict[str, Any]:
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{model.id}", "displayName": model.id, "supportedGenerationMethods": methods}
