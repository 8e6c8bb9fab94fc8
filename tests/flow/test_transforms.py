"""A workload that transforms: what the detectors found stays here, the rest may leave, and the answer comes back as if nothing had happened."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import NO_ENGINE, Freehold, running
from freehold.testing.standin import Behaviour, Standin
from ledger.audits import audit
from perimeter.canaries import CANARIES, PLACES, SPELLINGS, request

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages", "gemini")
TOKEN = r"\[[a-z]+_[a-z]+\]"
LETTER = "Please answer Hannah Whitlock (hannah.whitlock@example.com, SSN 536-90-4399), born 12 March 1980."
NAMES = ("Hannah Whitlock", "hannah.whitlock@example.com", "536-90-4399", "12 March 1980")


@pytest.fixture(scope="module")
def outside() -> Iterator[Standin]:
    with Standin() as provider:
        yield provider


@pytest.fixture(scope="module")
def freehold(outside: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    text = NO_ENGINE
    for dialect in DIALECTS:
        text += f'[providers.{dialect}]\ndialect = "{dialect}"\nbase_url = "{outside.base_url}"\nretries = 0\n'
        for kind in ("pseudonymise", "redact"):
            text += f'[workloads.{kind}-{dialect}]\nclass = "public"\ntargets = ["{dialect}/m"]\ntransform = "{kind}"\n'
    with running(tmp_path_factory.mktemp("transforms"), text) as one:
        yield one


@pytest.fixture(scope="module")
def key(freehold: Freehold) -> str:
    return freehold.key("--class", "public")


def ask(freehold: Freehold, key: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{freehold.port}{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def asked(dialect: str, model: str, text: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    said = [{"role": "user", "content": text}]
    more: dict[str, Any] = {"stream": True} if stream else {}
    if dialect == "openai-responses":
        return "/v1/responses", {"model": model, "input": text, **more}
    if dialect == "anthropic-messages":
        return "/v1/messages", {"model": model, "max_tokens": 900, "messages": said, **more}
    if dialect == "gemini":
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{verb}", {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    return "/v1/chat/completions", {"model": model, "messages": said, **more}


def words_of(answer: str, *, stream: bool) -> str:
    """All that was said, wherever the dialect puts it."""
    if not stream:
        return answer
    found = []
    for line in answer.splitlines():
        if line.startswith("data: {"):
            event = json.loads(line[6:])
            if event.get("type") in (
                "response.completed",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
            ):
                continue
            found += list(_texts(event))
    return "".join(found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, below in value.items():
            if isinstance(below, str) and (
                key in ("content", "text") or (key == "delta" and value.get("type") == "response.output_text.delta")
            ):
                yield below
            else:
                yield from _texts(below)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_stand_ins_go_out_and_originals_come_back(
    freehold: Freehold, outside: Standin, key: str, dialect: str, target: str, stream: bool
) -> None:
    outside.behave(Behaviour(echo=TOKEN))
    status, answer = ask(freehold, key, *asked(dialect, f"pseudonymise-{target}", LETTER, stream=stream))
    assert status == 200, answer
    sent = outside.requests[-1].body.decode()
    assert not [name for name in NAMES if name in sent]
    assert len(set(re.findall(TOKEN, sent))) == len(NAMES)
    said = words_of(answer, stream=stream)
    assert [name for name in NAMES if name in said] == list(NAMES), said


@pytest.mark.parametrize("target", DIALECTS)
def test_what_is_redacted_is_gone(freehold: Freehold, outside: Standin, key: str, target: str) -> None:
    outside.behave(Behaviour(echo=r"\[[a-z ]+\]"))
    _, answer = ask(freehold, key, *asked("openai-chat", f"redact-{target}", LETTER, stream=False))
    sent = outside.requests[-1].body.decode()
    assert not [name for name in NAMES if name in sent + answer]
    assert "[name removed]" in sent
    assert "[name removed]" in answer


def test_secrets_are_removed_and_never_restored(freehold: Freehold, outside: Standin, key: str) -> None:
    secret = CANARIES["api key"]
    outside.behave(Behaviour(echo=r"\[secret removed\]"))
    _, answer = ask(
        freehold, key, *asked("openai-chat", "pseudonymise-openai-chat", f"Use {secret} please", stream=False)
    )
    assert secret not in outside.requests[-1].body.decode() + answer
    assert "[secret removed]" in answer


def test_the_same_in_every_turn_and_another_in_another_conversation(
    freehold: Freehold, outside: Standin, key: str
) -> None:
    def tokens(messages: list[dict[str, str]]) -> list[str]:
        assert (
            ask(freehold, key, "/v1/chat/completions", {"model": "pseudonymise-openai-chat", "messages": messages})[0]
            == 200
        )
        return re.findall(TOKEN, outside.requests[-1].body.decode())

    first = [{"role": "user", "content": "Write to Hannah Whitlock about the letter that came on Monday."}]
    turn = tokens(first)
    more = tokens(
        [
            *first,
            {"role": "assistant", "content": "To Hannah Whitlock?"},
            {"role": "user", "content": "Yes, to Hannah Whitlock."},
        ]
    )
    assert len(turn) == 1
    assert set(more) == set(turn)
    other = tokens([{"role": "user", "content": "Quite another matter: call Hannah Whitlock tomorrow."}])
    assert other != turn


def test_a_number_that_tells_something_keeps_the_call_inside(freehold: Freehold, outside: Standin, key: str) -> None:
    """A number cannot be taken out: what asks for one takes no text."""
    before = outside.bytes_received
    body = {
        "model": "redact-openai-chat",
        "messages": [{"role": "user", "content": "hi"}],
        "metadata": {"ssn": 536904399},
    }
    status, answer = ask(freehold, key, "/v1/chat/completions", body)
    assert status in (403, 503)
    assert "536904399" not in answer
    assert outside.bytes_received == before


def test_a_model_that_nobody_listed_is_not_written_down_if_it_tells_something(freehold: Freehold, key: str) -> None:
    body = {"model": "openai-chat/536-90-4399", "messages": [{"role": "user", "content": "hi"}]}
    assert ask(freehold, key, "/v1/chat/completions", body)[0] == 404
    body["model"] = "openai-chat/" + "%41 &amp; " * 100_000
    assert ask(freehold, key, "/v1/chat/completions", body)[0] == 404, "nor is one that would take long to read"
    assert not [path for path in freehold.folder.rglob("*") if path.is_file() and b"536-90-4399" in path.read_bytes()]


def test_a_declared_class_is_not_lowered(freehold: Freehold, outside: Standin) -> None:
    """A transform takes back what detection raised, never what somebody declared."""
    count = len(outside.requests)
    for more in (("--class", "restricted"), ("--class", "confidential"), ()):
        status, answer = ask(
            freehold, freehold.key(*more), *asked("openai-chat", "pseudonymise-openai-chat", LETTER, stream=False)
        )
        assert (status, "perimeter.zone_forbidden" in answer) == (403, True)
    assert len(outside.requests) == count


def test_the_receipt_says_what_was_taken_out(freehold: Freehold, key: str) -> None:
    ask(freehold, key, *asked("openai-chat", "pseudonymise-openai-chat", LETTER, stream=False))
    intent = [record for record in freehold.records() if record["kind"] == "intent"][-1]
    assert (intent["class"], intent["zone"]) == ("public", "outside")
    assert intent["transform"] == {
        "kind": "pseudonymise",
        "from": "restricted",
        "counts": {"contact.email": 1, "gov.us_ssn": 1, "person.birth_date": 1, "person.name": 1},
    }
    assert audit(freehold.state).findings == []


MATRIX = [(canary, place, spelling) for canary in CANARIES for place in PLACES for spelling in SPELLINGS]


def test_no_canary_leaves_in_any_place_or_spelling(freehold: Freehold, outside: Standin, key: str) -> None:
    """Taken out, or refused: what leaves holds none of them."""
    outside.usual = Behaviour()
    before, refused = len(outside.requests), 0
    for canary, place, spelling in MATRIX:
        status, answer = ask(
            freehold,
            key,
            "/v1/chat/completions",
            {"model": "pseudonymise-openai-chat", **request(canary, place, spelling)},
        )
        assert status in (200, 400, 403), answer
        refused += status != 200
    sent = [one.body.decode() for one in outside.requests[before:]]
    for canary, value in CANARIES.items():
        for spelling, spell in SPELLINGS.items():
            form = spell(value)
            assert not any(form in one or json.dumps(form)[1:-1] in one for one in sent), f"{canary} ({spelling})"
    assert refused < len(MATRIX) / 4, f"{refused} of {len(MATRIX)} refused"
    assert len(sent) == len(MATRIX) - refused
