"""The laws of the wire on real exchanges, when ../shared is there. Each law says how many exchanges it ran on; what is broken is listed with its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from freehold.kernel.units import Terms
from freehold.pricing.book import charge, tariff
from freehold.pricing.book import load as load_book
from freehold.wire import canonical as c
from freehold.wire import failures
from freehold.wire.call import Endpoint
from freehold.wire.dialects import DIALECTS, SPOKEN
from freehold.wire.failures import Kind
from freehold.wire.tiers import tier_of
from wire import laws
from wire.recordings import DIALECT_OF, FOLDER, PASSED, conversations, exchanges, name, raw_answer

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs ../shared/recordings")

# Recordings that are themselves broken: the law is not run on them, and here is why.
BROKEN = {
    "test_azure/test_prompt_content_filtering": "edited by hand before publishing: an error object under status 200",
}
# Exchanges in no dialect of Freehold: what they are instead. They are counted, so that none is left out unseen.
ELSEWHERE = {
    "batches": "files of many calls: a later issue",
    "files": "files: a later issue",
    "cached_contents": "Google's caches: state that only Google holds",
    "count_tokens": "counted by the provider or estimated; no conversation",
    "models": "model lists",
    "chat": "Cohere's, Ollama's and Writer's own formats",
    "complete": "Anthropic's and Aleph Alpha's first formats, withdrawn",
    "generate": "Cohere's, Ollama's, Hugging Face's and watsonx's own formats",
    "invoke": "each model's own body under Bedrock",
    "invoke_stream": "each model's own body under Bedrock",
    "predictions": "Replicate's own format",
    "invocations": "SageMaker's own format",
}


def test_every_exchange_is_accounted_for() -> None:
    """A conversation in one of the dialects, something that passes through, an error, or a format that is not Freehold's."""
    count = Counter("error" if one["status"] >= 400 else one["endpoint"] for one in exchanges())
    unknown = set(count) - set(DIALECT_OF) - PASSED - set(ELSEWHERE) - {"error"}
    assert not unknown
    assert count.total() == 2196
    inside = sum(count[endpoint] for endpoint in DIALECT_OF)
    assert (inside, sum(count[endpoint] for endpoint in PASSED), count["error"]) == (1504, 227, 43)


def run(law: Callable[[str, dict[str, Any]], None], found: Iterator[tuple[str, dict[str, Any]]]) -> Counter[str]:
    """Run a law on every exchange; fail with the whole list of what broke it."""
    count: Counter[str] = Counter()
    failed: list[str] = []
    for dialect, one in found:
        if any(one["scenario"].startswith(broken) for broken in BROKEN):
            count["broken"] += 1
            continue
        try:
            law(dialect, one)
            count[dialect] += 1
        except Exception as error:
            failed.append(f"{name(one)}: {type(error).__name__}: {str(error)[:200]}")
    print("ran on", dict(count))  # noqa: T201 - shown with -s: how many exchanges a law ran on
    assert not failed, f"{len(failed)} failed:\n" + "\n".join(failed[:20])
    return count


def streams() -> Iterator[tuple[str, dict[str, Any]]]:
    return ((dialect, one) for dialect, one in conversations() if one["stream"])


def distinct(found: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each answer once: many are recorded several times."""
    seen: set[bytes] = set()
    for dialect, one in found:
        raw = raw_answer(one)
        if raw not in seen:
            seen.add(raw)
            yield dialect, one


def test_1_folding_a_stream_gives_the_unary_shape() -> None:
    """The fold of every stream is an answer: it ended, its calls parse; written as a whole answer and read again it is the same."""

    def law(dialect: str, one: dict[str, Any]) -> None:
        answer = laws.fold_is_whole(dialect, raw_answer(one))
        if dialect in SPOKEN:
            written = SPOKEN[dialect].write_answer(answer, laws.call_for(dialect), set())
            again = DIALECTS[dialect].read_answer(written, dialect)
            assert laws.common(again, dialect) == laws.common(answer, dialect)
        if dialect == "openai-responses":  # its last event repeats the whole answer: a witness that is not ours
            events = [json.loads(line[6:]) for line in one["response"].splitlines() if line.startswith("data: {")]
            told = DIALECTS[dialect].read_answer(json.dumps(events[-1]["response"]).encode(), dialect)
            assert laws.common(answer, dialect) == laws.common(told, dialect)
            assert answer.tokens == told.tokens

    assert sum(run(law, streams()).values()) >= 280


def test_2_requests_are_passed_on_as_they_came() -> None:
    def law(dialect: str, one: dict[str, Any]) -> None:
        laws.request_is_passed_on(dialect, one["request"])

    found = ((d, one) for d, one in conversations() if d in SPOKEN and (d == "gemini" or "model" in one["request"]))
    assert sum(run(law, found).values()) > 1200


def test_2_what_only_passes_through_passes_as_it_came() -> None:
    """Completions, embeddings, rankings, moderations in OpenAI's shape."""
    counted = 0
    for one in exchanges():
        body = one.get("request")
        if one["endpoint"] not in PASSED or not isinstance(body, dict) or "model" not in body or one["status"] != 200:
            continue
        if one["provider"] in ("cohere", "gemini", "vertex", "writer") or "/api/" in one["path"]:
            continue  # their own shapes
        endpoint = Endpoint(one["endpoint"])
        call = SPOKEN["openai-chat"].read_call(endpoint, json.dumps(body).encode(), laws.Address())
        assert {**call.body} == body, name(one)
        if not one["stream"]:
            DIALECTS["openai-chat"].used_of(raw_answer(one))
        counted += 1
    assert counted > 120


def test_2_streams_are_passed_on_as_they_came() -> None:
    def law(dialect: str, one: dict[str, Any]) -> None:
        laws.stream_is_passed_on(dialect, raw_answer(one))

    assert sum(run(law, distinct(streams())).values()) > 150


def test_3_requests_survive_in_every_dialect() -> None:
    def law(dialect: str, one: dict[str, Any]) -> None:
        laws.request_survives(dialect, one["request"])

    found = ((d, one) for d, one in conversations() if d in SPOKEN)
    assert sum(run(law, found).values()) > 1300


def test_3_answers_survive_in_every_dialect() -> None:
    def law(dialect: str, one: dict[str, Any]) -> None:
        raw = raw_answer(one)
        if one["stream"]:
            events = laws.events_of(dialect, [raw])
            laws.answer_survives(c.fold(events), events)
        else:
            answer = DIALECTS[dialect].read_answer(raw, dialect)
            laws.answer_survives(answer, c.unfold(answer))

    assert sum(run(law, distinct(conversations())).values()) > 900


def test_4_cuts_do_not_matter() -> None:
    def law(dialect: str, one: dict[str, Any]) -> None:
        laws.cuts_do_not_matter(dialect, raw_answer(one))

    assert sum(run(law, distinct(streams())).values()) > 150


def test_5_a_cut_stream_ends_in_one_error() -> None:
    cuts = 0

    def law(dialect: str, one: dict[str, Any]) -> None:
        nonlocal cuts
        cuts += laws.cut_is_one_error(dialect, raw_answer(one))

    run(law, distinct(streams()))
    assert cuts > 5_000


def reported(dialect: str, body: dict[str, Any]) -> tuple[int, int] | None:
    """Prompt and completion as the provider's own usage says them, read without Freehold; None where it says nothing."""
    usage = body.get("usageMetadata") if dialect == "gemini" else body.get("usage")
    if not usage:
        return None
    match dialect:
        case "openai-chat":
            return usage["prompt_tokens"], usage["completion_tokens"]
        case "openai-responses":
            return usage["input_tokens"], usage["output_tokens"]
        case "anthropic-messages":
            cached = (usage.get(f"cache_{kind}_input_tokens") or 0 for kind in ("creation", "read"))
            return usage["input_tokens"] + sum(cached), usage["output_tokens"]
        case "gemini":
            prompt = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
            return prompt, usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
        case _:
            cached = (usage.get(f"cache{kind}InputTokens") or 0 for kind in ("Write", "Read"))
            return usage["inputTokens"] + sum(cached), usage["outputTokens"]


def test_usage_sums_to_what_was_reported() -> None:
    """The classes are disjoint, none is below nothing, and prompt and completion are what the provider counted; and each has a charge, or none for a reason."""
    counted: Counter[str] = Counter()
    charged: Counter[bool] = Counter()
    tiers: Counter[str] = Counter()
    book = load_book()
    for dialect, one in conversations():
        if one["stream"] or any(one["scenario"].startswith(b) for b in BROKEN):
            continue
        body = json.loads(one["response"])
        used, told = DIALECTS[dialect].used_of(raw_answer(one)), reported(dialect, body)
        assert (used is None) == (told is None), name(one)
        if used is None or told is None:
            continue
        tokens = used.tokens
        assert min(msgspec.structs.astuple(tokens)) >= 0, name(one)
        assert (tokens.prompt, tokens.completion) == told, name(one)
        counted[dialect] += 1
        model = body.get("model") or body.get("modelVersion") or one["request"].get("model") or ""
        terms = Terms(tier_of(used.service_tier), used.geo)
        bill = charge(tariff(book, one["provider"], model, None, is_inside=False), tokens, terms)
        assert (bill.amount is not None and bill.amount >= 0) or bill.source.startswith("unknown price"), name(one)
        tiers[terms.tier] += 1
        charged[bill.amount is not None] += 1
    assert all(counted[dialect] > 40 for dialect in DIALECT_OF.values()), counted
    assert charged[True] > 600, charged
    assert set(tiers) == {"", "priority"}, tiers


KINDS = {
    401: {Kind.AUTH},
    403: {Kind.FORBIDDEN},
    404: {Kind.NOT_FOUND},
    429: {Kind.RATE_LIMIT},
    400: {Kind.BAD_REQUEST, Kind.TOO_LONG, Kind.AUTH},
}


def test_every_error_has_one_kind_and_the_providers_words() -> None:
    counted, too_long, keys = 0, 0, 0
    for one in exchanges():
        if one["status"] < 400:
            continue
        found = failures.read(one["status"], raw_answer(one))
        assert found.kind in KINDS[one["status"]], name(one)
        assert found.words, name(one)
        assert found.words.partition("\n")[0].encode() in raw_answer(one).replace(b'\\"', b'"'), name(one)
        too_long += found.kind is Kind.TOO_LONG
        keys += found.kind is Kind.AUTH
        counted += 1
    assert (counted, too_long >= 8, keys >= 18) == (43, True, True), (counted, too_long, keys)
