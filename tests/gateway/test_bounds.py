"""What a budget holds is never less than what a provider then counts."""

from __future__ import annotations

import json

import pytest

from freehold.gateway.bounds import ADDED, UNBOUNDED_OUTPUT, UNKNOWN_CONTEXT, Bounds, bounds, capped
from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError
from freehold.kernel.limits import parse_budget
from freehold.kernel.schema import Abilities
from freehold.kernel.snapshot import Workload
from freehold.wire import canonical as c
from freehold.wire.call import Address, Call, Endpoint
from freehold.wire.dialects import DIALECTS, SPOKEN
from freehold.wire.strings import strings_of
from gateway.test_fitting import ENDPOINT
from wire import laws
from wire.recordings import FOLDER, conversations, name, raw_answer

HARD = [parse_budget("1 USD/day", "key:k")]


def call_of(body: object, dialect: str = "openai-chat", endpoint: Endpoint = Endpoint.CHAT) -> Call:
    return SPOKEN[dialect].read_call(endpoint, json.dumps(body).encode(), Address("m"))


CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def test_what_the_body_does_not_hold_is_bounded_by_the_context() -> None:
    call = call_of({**CHAT, "max_tokens": 5})
    assert bounds(call, None, has_more=False) == Bounds(call.size + ADDED, 5)
    assert bounds(call, None, has_more=True).prompt == UNKNOWN_CONTEXT
    assert bounds(call, Abilities(context=9000), has_more=True).prompt == 9000
    assert bounds(call, Abilities(context=9), has_more=True).prompt == call.size + ADDED


def test_an_answer_is_bounded_for_every_choice() -> None:
    assert bounds(call_of({**CHAT, "n": 3}), None, has_more=False).output == 3 * UNBOUNDED_OUTPUT
    assert bounds(call_of({**CHAT, "n": 3}), Abilities(max_output=7), has_more=False).output == 21
    assert bounds(call_of({**CHAT, "n": 3, "max_tokens": 5}), None, has_more=False).output == 15


def test_the_workloads_limit_counts_for_each_choice() -> None:
    workload = Workload("w", Class.PUBLIC, (), max_output=10)
    assert capped(call_of({**CHAT, "n": 3}), workload, (), ()).max_output == 30
    assert capped(call_of({**CHAT, "n": 3, "max_tokens": 10}), workload, (), ()).max_output == 30
    with pytest.raises(CallerError, match="up to 11 tokens"):
        capped(call_of({**CHAT, "n": 3, "max_tokens": 11}), workload, (), ())


def test_a_hard_budget_limits_what_nothing_else_does() -> None:
    """By what all targets can do; where each of them has a known limit of its own, that one is held and nothing is sent."""
    call = call_of(CHAT)
    assert capped(call, None, HARD, [None, Abilities(max_output=4096)]).max_output == 4096
    assert capped(call, None, HARD, [None, Abilities()]).max_output == UNBOUNDED_OUTPUT
    assert capped(call, None, HARD, [Abilities(max_output=4096)]).max_output is None
    assert capped(call, None, [], [None]).max_output is None
    embedding = call_of({"model": "m", "input": "x"}, endpoint=Endpoint.EMBEDDINGS)
    assert capped(embedding, None, HARD, [None]) is embedding


@pytest.mark.skipif(not FOLDER.is_dir(), reason="needs ../shared/recordings")
def test_no_recorded_prompt_has_more_tokens_than_are_held() -> None:
    """Over every recorded conversation that reports its usage: what came in, and what came out where the request limits it."""
    counted, closest = 0, 0.0
    for dialect, one in conversations():
        if dialect not in SPOKEN or ("model" not in one["request"] and dialect != "gemini"):
            continue
        try:
            call = call_of(one["request"], dialect, ENDPOINT[dialect])
            raw = raw_answer(one)
            used = c.fold(laws.events_of(dialect, [raw])).used if one["stream"] else DIALECTS[dialect].used_of(raw)
        except (CallerError, c.InvalidAnswer, ValueError):
            continue
        if used is None:
            continue
        tokens = used.tokens
        has_more = bool(call.refers or call.unrecorded) or strings_of(call.body).is_opaque
        most = bounds(call, None, has_more=has_more)
        assert tokens.prompt <= most.prompt, (name(one), tokens.prompt, most.prompt)
        if call.max_output is not None:
            assert tokens.completion <= most.output, (name(one), tokens.completion, most.output)
        counted, closest = counted + 1, max(closest, tokens.prompt / most.prompt)
    assert counted > 1000
    assert closest > 0.2, "the bound is no fancy"
