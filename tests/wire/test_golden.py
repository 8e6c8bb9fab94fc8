"""The laws of the wire on Freehold's own golden set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from freehold.kernel.routes import PLAIN
from freehold.kernel.units import Tokens
from freehold.wire import canonical as c
from freehold.wire.anthropic_messages.answers import write_usage
from freehold.wire.dialects import DIALECTS, SPOKEN
from freehold.wire.progress import Progress
from wire import golden, laws

PAIRS = [pytest.param(pair, id=f"{pair.dialect}: {pair.name}") for pair in golden.PAIRS]


@pytest.mark.parametrize("pair", PAIRS)
def test_folding_gives_the_unary_answer(pair: golden.Pair) -> None:
    streamed = laws.fold_is_whole(pair.dialect, pair.stream)
    whole = DIALECTS[pair.dialect].read_answer(json.dumps(pair.whole).encode(), pair.dialect)
    assert laws.meaning(streamed) == laws.meaning(whole)
    assert [type(part) for part in streamed.candidates[0].parts] == [type(part) for part in whole.candidates[0].parts]
    assert (streamed.id, streamed.model) == (whole.id, whole.model)


@pytest.mark.parametrize("pair", PAIRS)
def test_every_dialect_says_the_same(pair: golden.Pair) -> None:
    events = laws.events_of(pair.dialect, [pair.stream])
    laws.answer_survives(c.fold(events), events)
    laws.answer_survives(c.fold(events), c.unfold(c.fold(events)))


@pytest.mark.parametrize("pair", PAIRS)
def test_cuts_do_not_matter(pair: golden.Pair) -> None:
    laws.cuts_do_not_matter(pair.dialect, pair.stream)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_cut_stream_ends_in_one_error(pair: golden.Pair) -> None:
    laws.cut_is_one_error(pair.dialect, pair.stream)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.values[0].dialect in SPOKEN])  # type: ignore[union-attr]  # pytest types values as object
def test_streams_are_passed_on(pair: golden.Pair) -> None:
    laws.stream_is_passed_on(pair.dialect, pair.stream)


@pytest.mark.parametrize("dialect", golden.REQUESTS)
def test_requests_are_passed_on(dialect: str) -> None:
    laws.request_is_passed_on(dialect, golden.REQUESTS[dialect])


# All that a rich request loses on its way to each dialect, or the content that it cannot take: a new loss shows here.
LOSSES: dict[str, dict[str, str]] = {
    "openai-chat": {
        "openai-chat": "thinking unknown_fields",
        "openai-responses": "logit_bias n participant_name penalties seed stop thinking unknown_fields",
        "anthropic-messages": "image_detail logit_bias logprobs metadata n participant_name penalties prompt_cache_key reasoning_control seed service_tier store thinking unknown_fields verbosity",
        "gemini": "document_name image_detail logit_bias metadata parallel_tool_calls participant_name prompt_cache_key service_tier store thinking tool_strict unknown_fields user verbosity",
        "bedrock-converse": "unable: image_url",
    },
    "openai-responses": {
        "openai-chat": "thinking thinking_signature tool_grammar unknown_fields",
        "openai-responses": "tool_grammar unknown_fields",
        "anthropic-messages": "image_detail metadata reasoning_control thinking_signature tool_grammar unknown_fields verbosity",
        "gemini": "document_name image_detail metadata thinking_signature tool_grammar tool_strict unknown_fields verbosity",
        "bedrock-converse": "image_detail reasoning_control thinking_signature tool_grammar unknown_fields verbosity",
    },
    "anthropic-messages": {
        "openai-chat": "citations document_name hosted_tools thinking thinking_signature tool_result_error tool_result_media unknown_fields",
        "openai-responses": "cache_control citations document_name hosted_tools stop thinking_signature tool_result_error top_k unknown_fields",
        "anthropic-messages": "top_k unknown_fields",
        "gemini": "cache_control citations document_name hosted_tools parallel_tool_calls thinking_signature unknown_fields user",
        "bedrock-converse": "hosted_tools parallel_tool_calls reasoning_control top_k unknown_fields user",
    },
    "gemini": {
        "openai-chat": "hosted_tools safety_settings thinking_signature tool_result_error unknown_fields",
        "openai-responses": "hosted_tools n penalties safety_settings seed stop thinking_signature tool_result_error top_k unknown_fields",
        "anthropic-messages": "hosted_tools logprobs n penalties reasoning_control safety_settings seed thinking_signature unknown_fields",
        "gemini": "safety_settings unknown_fields",
        "bedrock-converse": "unable: document_url",
    },
}


@pytest.mark.parametrize("dialect", golden.REQUESTS)
def test_requests_survive_and_name_what_is_lost(dialect: str) -> None:
    found = laws.request_survives(dialect, golden.REQUESTS[dialect])
    named = {to: f"unable: {lost}" if isinstance(lost, str) else " ".join(sorted(lost)) for to, lost in found.items()}
    assert named == LOSSES[dialect]


@pytest.mark.parametrize(
    ("dialect", "last"),
    [
        pytest.param("anthropic-messages", b"event: message_stop", id="messages"),
        pytest.param("openai-responses", b"event: response.completed", id="responses"),
    ],
)
def test_a_stream_without_its_last_mark_is_cut_off(dialect: str, last: bytes) -> None:
    """These dialects always say when they have finished: all but the last event is no whole answer."""
    pair = next(pair for pair in golden.PAIRS if pair.dialect == dialect)
    events = laws.events_of(dialect, [pair.stream[: pair.stream.rindex(last)]])
    progress = Progress(1, needs_done=DIALECTS[dialect].needs_done)
    progress.take(events)
    assert not progress.is_complete
    whole = Progress(1, needs_done=DIALECTS[dialect].needs_done)
    whole.take(laws.events_of(dialect, [pair.stream]))
    assert whole.is_complete


@pytest.mark.parametrize(
    ("dialect", "choice"),
    [
        pytest.param(
            "openai-chat",
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]},
                }
            },
            id="chat",
        ),
        pytest.param(
            "openai-responses",
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "required",
                    "tools": [{"type": "function", "name": "now"}],
                }
            },
            id="responses",
        ),
    ],
)
def test_only_allowed_tools_are_offered(dialect: str, choice: dict[str, Any]) -> None:
    """A caller that names some of its tools gets only those offered, whatever the target has for it."""
    tools: list[Any] = [{"name": name, "parameters": golden.SCHEMA} for name in ("look_up", "now")]
    offered = [
        {"type": "function", **one} if dialect == "openai-responses" else {"type": "function", "function": one}
        for one in tools
    ]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "input": "x", "tools": offered, **choice}
    talk = SPOKEN[dialect].read_request(body)
    written = DIALECTS["anthropic-messages"].write_request(talk, "m", PLAIN, set())
    assert ([tool["name"] for tool in written["tools"]], written["tool_choice"]) == (["now"], {"type": "any"})


def test_what_is_written_to_the_cache_for_an_hour_is_a_class_of_its_own() -> None:
    """Anthropic bills it at twice the input; read, written and read again it stays what it is, and other dialects count all writes together."""
    usage = {
        "input_tokens": 5, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 7, "output_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70},
    }  # fmt: skip
    body = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    used = DIALECTS["anthropic-messages"].used_of(json.dumps(body).encode())
    assert used is not None
    tokens = used.tokens
    assert tokens == Tokens(input=5, cache_read=7, cache_write=30, cache_write_1h=70, output=3)
    assert tokens.prompt == 112
    assert write_usage(tokens) == usage
    lying = {**usage, "cache_creation_input_tokens": 10}
    told = DIALECTS["anthropic-messages"].used_of(json.dumps({**body, "usage": lying}).encode())
    assert told is not None
    assert (told.tokens.cache_write, told.tokens.cache_write_1h) == (0, 10), "the parts are never more than the whole"
