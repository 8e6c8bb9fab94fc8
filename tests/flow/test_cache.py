"""The exact cache through the whole product: the same question, the same answer, and never anybody else's."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from conftest import NO_ENGINE, Freehold
from freehold.testing.standin import Behaviour, Standin

ASK: dict[str, Any] = {"temperature": 0, "messages": [{"role": "user", "content": "What is 2 + 2?"}]}
SAID: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": ("/v1/chat/completions", {**ASK, "model": "w", "max_tokens": 10}),
    "openai-responses": ("/v1/responses", {"model": "w", "input": "x", "temperature": 0, "store": False}),
    "anthropic-messages": ("/v1/messages", {**ASK, "model": "w", "max_tokens": 10}),
    "gemini": (
        "/v1beta/models/w:generateContent",
        {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"temperature": 0}},
    ),
}
Answer = tuple[int, dict[str, str], bytes]


def config(inside: Standin, cache: str = "cache = {}\n", more: str = "") -> str:
    return (
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\nretries = 0\nprices = {{ m = {{ input = 1.0, output = 2.0 }} }}\n'
        + f'[workloads.w]\nclass = "public"\ntargets = ["rack/m"]\n{cache}{more}'
    )


def ask(freehold: Freehold, key: str, body: Any = None, path: str = "/v1/chat/completions", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        raw = json.dumps(SAID["openai-chat"][1] if body is None else body)
        connection.request("POST", path, raw, {"Authorization": f"Bearer {key}", **named})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def is_hit(answer: Answer) -> bool:
    assert answer[0] == 200, answer
    return answer[1].get("x-freehold-cache") == "hit"


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", SAID)
def test_the_same_question_gets_the_same_answer(make_freehold: Callable[..., Freehold], inside: Standin, dialect: str, is_stream: bool) -> None:  # fmt: skip
    """To the byte, in every dialect; the second is charged nothing, is sent nowhere, and has a receipt of its class that names the first."""
    path, body = SAID[dialect]
    if is_stream:
        path = path.replace(":generateContent", ":streamGenerateContent")
        body = body if dialect == "gemini" else {**body, "stream": True}
    freehold = make_freehold(config(inside)).start()
    key = freehold.key("--class", "internal")
    first, second = ask(freehold, key, body, path), ask(freehold, key, body, path)
    assert (is_hit(first), is_hit(second)) == (False, True)
    assert first[2] == second[2]
    assert first[1]["content-type"] == second[1]["content-type"]
    assert len(inside.requests) == 1
    one, other = freehold.settled(2)
    assert other["cached"] == one["call"]
    assert (other["cost_usd"], other["target"], other["attempts"], other["outcome"]) == ("0", None, [], "ok")
    assert sum(other["tokens"].values()) == 0
    assert other["class"] == one["class"] == "internal"
    assert {row["outcome"]: row["calls"] for row in freehold.usage()["rows"]} == {"ok": 1, "cached": 1}
    total = freehold.usage()["total"]
    assert (total["calls"], total["cost_usd"], total["unpriced_calls"]) == (2, one["cost_usd"], 0)


CHANGES: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("a word", {"messages": [{"role": "user", "content": "What is 2 + 3?"}]}, {}),
    ("a role", {"messages": [{"role": "system", "content": "What is 2 + 2?"}]}, {}),
    ("the limit", {"max_tokens": 11}, {}),
    ("a seed", {"seed": 7}, {}),
    ("the shape", {"response_format": {"type": "json_object"}}, {}),
    ("how many", {"n": 2}, {}),
    ("a field that nobody knows", {"x_future": 1}, {}),
    ("the end user", {"user": "somebody"}, {}),
    ("streaming", {"stream": True}, {}),
    ("the target by its name", {"model": "rack/m"}, {"x_freehold_workload": "w"}),
    ("the class", {}, {"x_freehold_class": "confidential"}),
    ("a feature of the dialect", {}, {"openai_beta": "future=v2"}),
]


def test_whatever_could_change_the_answer_makes_another_question(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    freehold = make_freehold(config(inside)).start()
    key = freehold.key("--class", "public")
    base = SAID["openai-chat"][1]
    assert not is_hit(ask(freehold, key))
    for what, change, headers in CHANGES:
        assert not is_hit(ask(freehold, key, {**base, **change}, **headers)), what
        assert is_hit(ask(freehold, key, {**base, **change}, **headers)), what
    assert is_hit(ask(freehold, key, dict(reversed(base.items())))), "the order of fields says nothing"


def test_another_key_never_gets_it(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Unless the workload says so."""
    freehold = make_freehold(config(inside)).start()
    mine, yours = freehold.key("--class", "public"), freehold.key("--class", "public")
    assert [is_hit(ask(freehold, key)) for key in (mine, yours, mine, yours)] == [False, False, True, True]
    shared = make_freehold(config(inside, 'cache = { scope = "workload" }\n')).start()
    mine, yours, higher = (
        shared.key("--class", "public"),
        shared.key("--class", "public"),
        shared.key("--class", "restricted"),
    )
    assert [is_hit(ask(shared, key)) for key in (mine, yours, higher, higher)] == [False, True, False, True]


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
NEVER: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("drawn by chance", {"temperature": 0.2}, {}),
    ("chance unless told otherwise", {"temperature": None}, {}),
    ("no temperature at all", {"temperature": False}, {}),
    ("tools are offered", {"tools": [TOOL]}, {}),
    ("the target searches", {"web_search_options": {}}, {}),
    ("not to be kept", {}, {"cache_control": "no-store"}),
    ("a new one is wanted", {}, {"cache_control": "no-cache"}),
    ("none is fresh enough", {}, {"cache_control": "private, max-age=0"}),
]


def test_what_is_never_kept_unless_asked(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    freehold = make_freehold(config(inside)).start()
    key = freehold.key("--class", "public")
    for what, change, headers in NEVER:
        body = {**SAID["openai-chat"][1], **change}
        for _ in range(2):
            status, found, _ = ask(freehold, key, body, **headers)
            assert (status, found.get("x-freehold-cache")) in ((200, None), (400, None)), what
    assert is_hit(ask(freehold, key)), "a new one was kept"
    stored = {"model": "w", "input": "x", "temperature": 0}
    assert not any(is_hit(ask(freehold, key, stored, "/v1/responses")) for _ in range(2)), "its provider keeps it"
    asked = make_freehold(config(inside, "cache = { sampling = true, tools = true }\n")).start()
    key = asked.key("--class", "public")
    for what, change, _ in NEVER[:5:3]:
        body = {**SAID["openai-chat"][1], **change}
        assert [is_hit(ask(asked, key, body)) for _ in range(2)] == [False, True], what


def test_what_went_wrong_is_not_kept(make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin) -> None:
    """An error, a stream that broke off, an answer of a target that was not the first choice, one that is too large."""
    text = (
        config(inside, "cache = { answer_bytes = 600 }\n")
        + f'[providers.next]\nbase_url = "{outside.base_url}"\nzone = "inside"\n'
    )
    freehold = make_freehold(text.replace('["rack/m"]', '["rack/m", "next/m"]')).start()
    key, stream = freehold.key("--class", "public"), {**SAID["openai-chat"][1], "stream": True}
    inside.behave(Behaviour(status=400))
    assert ask(freehold, key)[0] == 400
    inside.behave(Behaviour(status=500))
    assert ask(freehold, key)[1]["x-freehold-target"] == "next/m"
    inside.behave(Behaviour(cut_after=3))
    ask(freehold, key, stream)
    inside.behave(Behaviour(words=("x" * 700,)), Behaviour(words=("x" * 700,)))
    assert not is_hit(ask(freehold, key))
    assert not is_hit(ask(freehold, key, stream))
    assert not is_hit(ask(freehold, key)), "none of these was kept"
    assert is_hit(ask(freehold, key))


def test_an_answer_is_kept_no_longer_than_it_may_be(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    freehold = make_freehold(config(inside, "cache = { ttl = 0.5 }\n")).start()
    key = freehold.key("--class", "public")
    assert not is_hit(ask(freehold, key))
    while is_hit(ask(freehold, key)):
        pass
    assert len(inside.requests) == 2


def test_a_changed_policy_forgets_what_was_kept_under_the_old_one(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    freehold = make_freehold(config(inside)).start()
    key = freehold.key("--class", "public")
    ask(freehold, key)
    freehold.stop()
    freehold.start()
    assert is_hit(ask(freehold, key)), "it outlives a restart"
    freehold.stop()
    (freehold.folder / "freehold.toml").write_text(config(inside) + '[workloads.v]\ntargets = ["rack/m"]\n')
    freehold.start()
    assert not is_hit(ask(freehold, key))


def test_a_hit_is_limited_and_ruled_on_and_costs_no_budget(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    """A spent budget does not keep back what costs nothing; a rate does count; what may not be asked is not answered from memory either."""
    more = 'budget = "0.0005 USD/total"\nlimits = { calls = "4/day" }\n'
    freehold = make_freehold(config(inside, more=more)).start()
    key = freehold.key("--class", "public")
    assert ask(freehold, key)[0] == 200
    assert ask(freehold, key, {**SAID["openai-chat"][1], "max_tokens": 900})[0] == 429, "no money is left for another"
    assert is_hit(ask(freehold, key))
    assert is_hit(ask(freehold, key))
    status, _, body = ask(freehold, key)
    assert (status, json.loads(body)["error"]["code"]) == (429, "limits.calls")


def test_an_erased_key_takes_its_answers_with_it(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    freehold = make_freehold(config(inside)).start()
    made = json.loads(freehold.run("keys", "create", "--name", "k", "--class", "public", "--json").stdout)
    assert [is_hit(ask(freehold, made["key"])) for _ in range(2)] == [False, True]
    freehold.run("audit", "erase", made["id"], "--yes")
    assert not is_hit(ask(freehold, made["key"]))


def test_workers_share_what_is_kept_and_an_audit_holds(
    make_freehold: Callable[..., Freehold], inside: Standin, tmp_path: Path
) -> None:
    freehold = make_freehold(config(inside)).start("--workers", "2")
    key = freehold.key("--class", "public")
    assert not is_hit(ask(freehold, key))
    assert all(is_hit(ask(freehold, key)) for _ in range(10))
    freehold.settled(11)
    freehold.stop()
    freehold.run("audit", "export", "--out", str(tmp_path / "bundle"))
    told = subprocess.run([sys.executable, "-m", "freehold_audit", str(tmp_path / "bundle")], capture_output=True, text=True, check=False)  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_sdk_reads_an_answer_given_again(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    freehold = make_freehold(config(inside)).start()
    with OpenAI(base_url=freehold.base_url, api_key=freehold.key("--class", "public"), max_retries=0) as sdk:
        said = [sdk.chat.completions.create(model="w", temperature=0, messages=ASK["messages"]).choices[0].message.content for _ in range(2)]  # fmt: skip
        assert said[0] == said[1] == "Hello from the stand-in."
        texts = []
        for _ in range(2):
            stream = sdk.chat.completions.create(model="w", temperature=0, stream=True, messages=ASK["messages"])
            texts.append("".join(event.choices[0].delta.content or "" for event in stream if event.choices))
        assert texts == ["Hello from the stand-in."] * 2
    assert len(inside.requests) == 2


def test_a_broken_cache_costs_no_answer(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Its index is damaged while Freehold runs, and when it starts: calls are served, and what is new is kept again."""
    freehold = make_freehold(config(inside)).start()
    key = freehold.key("--class", "public")
    assert not is_hit(ask(freehold, key))
    for suffix in ("", "-wal"):
        path = freehold.state / f"cache.db{suffix}"
        path.write_bytes(b"no database at all" * 1000)
    assert all(ask(freehold, key, {**SAID["openai-chat"][1], "seed": at})[0] == 200 for at in range(5))
    freehold.stop()
    (freehold.state / "cache.db").write_bytes(b"no database at all" * 1000)
    freehold.start()
    assert [is_hit(ask(freehold, key)) for _ in range(2)] == [False, True]


def test_an_answer_has_one_commitment_however_often_it_is_given(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    freehold = make_freehold(config(inside)).start()
    key = freehold.key("--class", "public")
    for body in (SAID["openai-chat"][1], {**SAID["openai-chat"][1], "stream": True}):
        ask(freehold, key, body)
        ask(freehold, key, body)
    first, second, third, fourth = (one["answer"] for one in freehold.settled(4))
    assert first == second
    assert third == fourth
