"""Budgets and limits through the whole product: what is spent is never more than a hard budget, whoever asks at once and in whatever dialect."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from openai import OpenAI, RateLimitError

from conftest import NO_ENGINE, Freehold
from freehold.testing.standin import Behaviour, Standin

ASK = {"messages": [{"role": "user", "content": "x"}]}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat": ("/v1/chat/completions", {**ASK, "model": "w", "max_completion_tokens": 10}),
    "openai-responses": ("/v1/responses", {"model": "w", "input": "x", "max_output_tokens": 16}),
    "anthropic-messages": ("/v1/messages", {**ASK, "model": "w", "max_tokens": 10}),
    "gemini": (
        "/v1beta/models/w:generateContent",
        {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"maxOutputTokens": 10}},
    ),
}


def ask(freehold: Freehold, key: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    try:
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.loads(answer.read())
    finally:
        connection.close()


def config(rack: Standin, cloud: Standin, workload: str, more: str = "") -> str:
    return (
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{rack.base_url}"\nzone = "inside"\nretries = 0\nprices = {{ free = {{ input = 0.0, output = 0.0 }}, m = {{ input = 1.0, output = 2.0 }} }}\n'
        + f'[providers.cloud]\nbase_url = "{cloud.base_url}"\nzone = "inside"\nretries = 0\nprices = {{ m = {{ input = 1.0, output = 2.0 }} }}\n'
        + more
        + '[workloads.w]\nclass = "public"\n'
        + workload
    )


def test_a_thousand_calls_at_once_on_a_budget_that_fits_a_hundred(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """Not one more is sent than fits, what is refused reached nobody, and the receipts add up to what the budget counted."""
    freehold = make_freehold(config(inside, outside, 'targets = ["cloud/m"]\nbudget = "0.01 USD/total"\n')).start()
    key = freehold.key("--class", "public")
    size = len(json.dumps({**ASK, "model": "w", "max_tokens": 10}))
    worst = Decimal(size + 256 + 2 * 10) / 1_000_000
    with OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0) as sdk, ThreadPoolExecutor(64) as pool:

        def one(_: int) -> int:
            try:
                sdk.chat.completions.create(model="w", max_tokens=10, messages=[{"role": "user", "content": "x"}])
            except RateLimitError as error:
                assert error.response.headers["x-should-retry"] == "false"
                return error.status_code
            return 200

        statuses = list(pool.map(one, range(1000)))
        statuses.append(one(0))
        while statuses[-1] == 200:  # how many fitted while others held is a matter of timing; in the end it is used up
            statuses.append(one(0))
    sent, total = len(outside.requests), freehold.usage()["total"]
    assert statuses.count(200) == sent
    assert statuses.count(429) == len(statuses) - sent
    spent = Decimal(total["cost_usd"])
    assert spent <= Decimal("0.01")
    assert Decimal("0.01") - spent < worst + worst, "and it is used up: one more would not fit"
    assert total["calls"] == len(statuses) >= 1000


@pytest.mark.parametrize("dialect", BODIES)
def test_a_spent_budget_is_said_in_the_dialect_of_the_caller(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin, dialect: str
) -> None:
    freehold = make_freehold(config(inside, outside, 'targets = ["cloud/m"]\nbudget = "0.0000001 USD/day"\n')).start()
    path, body = BODIES[dialect]
    status, headers, said = ask(freehold, freehold.key("--class", "public"), path, body)
    kind = {"anthropic-messages": "rate_limit_error", "gemini": "RESOURCE_EXHAUSTED"}.get(dialect, "budget.exhausted")
    assert (status, headers["x-should-retry"]) == (429, "false")
    assert kind in json.dumps(said["error"])
    assert "workload 'w' (0.0000001 USD/day)" in said["error"]["message"]
    assert outside.requests == []


def test_a_spent_budget_may_send_calls_where_they_cost_nothing(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """Inside, for nothing, and within the workload: the answer and the receipt say so. Without such a target it is refused."""
    budget = 'budget = { limit = "0.0005 USD/total", when_spent = "degrade" }\n'
    text = config(inside, outside, 'targets = ["cloud/m", "rack/m", "rack/free"]\n' + budget)
    text += '[workloads.dear]\nclass = "public"\ntargets = ["cloud/m", "rack/m"]\nbudget = { limit = "0.0000001 USD/total", when_spent = "degrade" }\n'
    freehold = make_freehold(text).start()
    key = freehold.key("--class", "public")
    path, body = BODIES["openai-chat"]
    answers = [ask(freehold, key, path, body) for _ in range(12)]
    assert [status for status, _, _ in answers] == [200] * 12
    assert answers[0][1]["x-freehold-target"] == "cloud/m"
    _, headers, _ = answers[-1]
    assert (headers["x-freehold-target"], headers["x-freehold-degraded"]) == ("rack/free", "workload:w USD/total")
    receipt = freehold.settled(12)[-1]
    assert (receipt["degraded"], receipt["target"], receipt["cost_usd"]) == ("workload:w USD/total", "rack/free", "0")
    status, _, said = ask(freehold, key, path, {**body, "model": "dear"})
    assert (status, said["error"]["code"]) == (429, "budget.exhausted")
    assert freehold.settled(13)[-1]["degraded"] is None, "what was refused went nowhere"
    assert Decimal(freehold.usage()["total"]["cost_usd"]) <= Decimal("0.0005")


def test_every_budget_above_a_workload_counts(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """Two workloads of one department draw on its budget, two departments on the organisation's; a restart knows what was spent."""
    more = '[organisation]\ntime_zone = "Europe/Berlin"\nbudget = "900 tokens/day"\n[departments.care]\nbudget = "0.0005 USD/month"\n[departments.law]\n'
    text = config(inside, outside, 'department = "care"\ntargets = ["cloud/m"]\n', more)
    text += '[workloads.v]\nclass = "public"\ndepartment = "care"\ntargets = ["cloud/m"]\n'
    text += '[workloads.u]\nclass = "public"\ndepartment = "law"\ntargets = ["cloud/m"]\n'
    freehold = make_freehold(text).start()
    key = freehold.key("--class", "public")
    path, body = BODIES["openai-chat"]

    def until_refused(name: str) -> str:
        for _ in range(50):
            status, _, said = ask(freehold, key, path, {**body, "model": name})
            if status != 200:
                return str(said["error"]["message"])
        raise AssertionError("never refused")

    assert "department 'care' (0.0005 USD/month)" in until_refused("w")
    assert "department 'care'" in until_refused("v")
    freehold.stop()
    freehold.start()
    assert "department 'care'" in until_refused("v")
    assert "the organisation (900 tokens/day)" in until_refused("u")
    rows = freehold.usage("department")["rows"]
    assert [row["department"] for row in rows] == ["care", "law"]
    assert sum(row["input_tokens"] + row["output_tokens"] for row in rows) <= 900


def test_a_soft_budget_alerts_and_refuses_nothing(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """The webhook is told once for each share that is crossed, and again while it fails; the log has it; no content is in it."""
    hook = Standin()
    with hook:
        hook.behave(Behaviour(status=500))
        hook.usual = Behaviour(body=b"{}")
        where = f"http://127.0.0.1:{hook.port}/v1/chat/completions?token=sesame"
        more = '[organisation]\nname = "Lindenhof"\nwebhook = "env:HOOK"\n'
        budget = 'budget = { limit = "0.0002 USD/total", hard = false, alerts = [0.5, 1.0] }\n'
        freehold = make_freehold(config(inside, outside, 'targets = ["cloud/m"]\n' + budget, more), HOOK=where).start()
        key = freehold.key("--class", "public")
        for _ in range(20):
            assert ask(freehold, key, *BODIES["openai-chat"])[0] == 200
        until = time.monotonic() + 15
        while len(hook.requests) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        told = [request.json for request in hook.requests]
        assert [one["share"] for one in told] == ["0.5", "0.5", "1.0"], "the first was tried again"
        assert told[0]["id"] == told[1]["id"] != told[2]["id"]
        assert hook.requests[0].path.endswith("?token=sesame")
        assert told[2]["text"].startswith("workload w: ")
        assert (told[2]["scope"], told[2]["budget"], told[2]["is_hard"]) == ("workload:w", "0.0002 USD/total", False)
        noted = [record for record in freehold.records() if record["kind"] == "budget"]
        assert [(one["scope"], one["share"]) for one in noted] == [("workload:w", "0.5"), ("workload:w", "1.0")]
        freehold.stop()
        assert "sesame" not in freehold.output + json.dumps(freehold.records())
        assert freehold.run("audit", "export", "--out", "bundle").returncode == 0
        assert freehold.run("audit", "verify", "bundle").returncode == 0


# --- rates -------------------------------------------------------------------------------------------------------


def test_a_rate_says_when_to_come_back(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """In the headers of the caller's dialect, which its SDK reads; and a key's own limit counts beside the workload's."""
    freehold = make_freehold(
        config(inside, outside, 'targets = ["cloud/m"]\nlimits = { calls = "100/hour", tokens = "100000/hour" }\n')
    ).start()
    key = freehold.key("--class", "public", "--limit", "calls=3/hour", "--limit", "concurrent=5")
    for left, (dialect, (path, body)) in zip((2, 1, 0), list(BODIES.items())[:3], strict=True):
        status, headers, _ = ask(freehold, key, path, body)
        assert status == 200
        names = (
            ("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining")
            if dialect == "anthropic-messages"
            else ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests")
        )
        assert [headers[name] for name in names] == ["3", str(left)]
    status, headers, said = ask(freehold, key, *BODIES["gemini"])
    assert status == 429
    assert 1190 <= int(headers["retry-after"]) <= 1200
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("3", "0")
    assert "may use 3 calls per hour" in said["error"]["message"]
    assert next(one["retryDelay"] for one in said["error"]["details"] if "retryDelay" in one).startswith(("119", "120"))
    with OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0) as sdk, pytest.raises(RateLimitError) as caught:
        sdk.chat.completions.create(model="w", messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "limits.calls"
    assert len(outside.requests) == 3
    other = freehold.key("--class", "public")
    assert ask(freehold, other, *BODIES["openai-chat"])[1]["x-ratelimit-limit-requests"] == "100"
    assert freehold.settled(6)[-2]["outcome"] == "refused"


def test_tokens_that_were_not_used_come_back(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """A rate is taken at the worst case; after the answer only what was used counts."""
    freehold = make_freehold(
        config(inside, outside, 'targets = ["cloud/m"]\nlimits = { tokens = "2000/hour" }\n')
    ).start()
    key = freehold.key("--class", "public")
    path, body = BODIES["openai-chat"]
    statuses = [ask(freehold, key, path, {**body, "max_completion_tokens": 800})[0] for _ in range(5)]
    assert statuses == [200] * 5
    status, headers, said = ask(freehold, key, path, {**body, "max_completion_tokens": 1990})
    assert (status, said["error"]["code"]) == (429, "limits.tokens")
    assert int(headers["retry-after"]) >= 1


def test_so_many_at_once_and_no_more(make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin) -> None:
    """A place comes back when a call has ended, however it ended."""
    freehold = make_freehold(config(inside, outside, 'targets = ["cloud/m"]\nlimits = { concurrent = 3 }\n')).start()
    key = freehold.key("--class", "public")
    outside.usual = Behaviour(delay_s=0.5)
    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(lambda _: ask(freehold, key, *BODIES["openai-chat"])[0], range(10)))
    assert statuses.count(200) == 3
    assert statuses.count(429) == 7
    outside.usual = Behaviour(status=400)
    assert [ask(freehold, key, *BODIES["openai-chat"])[0] for _ in range(8)] == [400] * 8
    for _ in range(4):  # callers that leave
        connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=5)
        outside.behave(Behaviour(hang=True))
        connection.request(
            "POST", BODIES["openai-chat"][0], json.dumps(BODIES["openai-chat"][1]), {"Authorization": f"Bearer {key}"}
        )
        time.sleep(0.1)
        connection.close()
    outside.usual = Behaviour()
    time.sleep(0.2)
    outside._queue.clear()
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: ask(freehold, key, *BODIES["openai-chat"])[0], range(3))) == [200] * 3


# --- the limit of an answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", BODIES)
def test_a_workloads_limit_reaches_the_target(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin, dialect: str
) -> None:
    """Where the caller sets none it is sent, in the same dialect and in another; a caller that asks for more is told."""
    text = config(inside, outside, 'targets = ["cloud/m"]\nmax_output = 77\n')
    if dialect != "anthropic-messages":  # whose callers must set one
        same = f'[providers.same]\nbase_url = "{outside.base_url}"\nzone = "inside"\ndialect = "{dialect}"\n'
        freehold = make_freehold(
            text + '[workloads.own]\nclass = "public"\nmax_output = 77\ntargets = ["same/m"]\n' + same
        ).start()
        key = freehold.key("--class", "public")
        path, body = BODIES[dialect]
        plain = {name: value for name, value in body.items() if not name.startswith(("max_", "generationConfig"))}
        for name in ("w", "own"):
            own = {**plain, "model": name} if "model" in plain else plain
            assert ask(freehold, key, path.replace("/w:", f"/{name}:"), own)[0] == 200
            assert "77" in outside.requests[-1].body.decode()
    else:
        freehold = make_freehold(text).start()
        key = freehold.key("--class", "public")
        path, body = BODIES[dialect]
    more = json.loads(json.dumps(body).replace("10", "78").replace("16", "78"))
    status, _, said = ask(freehold, key, path, more)
    assert status == 400
    assert "allows 77" in said["error"]["message"]


def test_where_nothing_limits_an_answer_a_hard_budget_does(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """What is held must be the most that can come: so that most is asked for."""
    freehold = make_freehold(
        config(inside, outside, 'targets = ["cloud/m"]\nbudget = "1 USD/day"\n')
        + '[workloads.free]\nclass = "public"\ntargets = ["cloud/m"]\n'
    ).start()
    key = freehold.key("--class", "public")
    for name, sent in (("w", 16_384), ("free", None)):
        assert ask(freehold, key, "/v1/chat/completions", {**ASK, "model": name})[0] == 200
        body = outside.requests[-1].json
        assert body.get("max_tokens", body.get("max_completion_tokens")) == sent
    assert Decimal(next(one for one in freehold.records() if one["kind"] == "intent")["held_usd"]) > Decimal("0.032")


@pytest.mark.parametrize("dialect", BODIES)
def test_what_a_provider_may_make_of_a_call_is_held(
    make_freehold: Callable[..., Freehold], outside: Standin, dialect: str
) -> None:
    """Whoever asks in whatever dialect: a target that speaks OpenAI's may serve a call that names no tier in its dearest one, so that is held."""
    text = NO_ENGINE + f'[providers.cloud]\nbase_url = "{outside.base_url}"\nzone = "inside"\n'
    text += "prices = { m = { input = 1.0, output = 2.0, tiers = { priority = { input = 1000000.0, output = 1000000.0 } } } }\n"
    text += '[workloads.w]\nclass = "public"\ntargets = ["cloud/m"]\nbudget = "1 USD/total"\n'
    freehold = make_freehold(text).start()
    path, body = BODIES[dialect]
    status, _, said = ask(freehold, freehold.key("--class", "public"), path, body)
    assert status == 429, said
    assert outside.requests == []


def test_a_long_stream_alerts_while_it_goes_on(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Whoever watches a budget need not wait for the end of an answer, and at its end the sum is what the provider said."""
    inside.usual = Behaviour(words=tuple(f" {at}" for at in range(200)), event_delay_s=0.02)
    text = (
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\nprices = {{ m = {{ input = 0.0, output = 1000.0 }} }}\n'
    )
    text += (
        '[workloads.w]\nclass = "public"\ntargets = ["rack/m"]\nbudget = { limit = "1 USD/total", alerts = [0.05] }\n'
    )
    freehold = make_freehold(text).start()
    with OpenAI(base_url=freehold.base_url, api_key=freehold.key("--class", "public"), max_retries=0) as sdk:
        stream = sdk.chat.completions.create(
            model="w", max_tokens=300, stream=True, messages=[{"role": "user", "content": "x"}]
        )
        was_told_at = 0
        for at, _ in enumerate(stream):
            if not was_told_at and any(record["kind"] == "budget" for record in freehold.records()):
                was_told_at = at
    assert 64 <= was_told_at < 200
    (receipt,) = freehold.settled(1)
    assert receipt["cost_usd"] == "0.2"
    assert freehold.usage()["total"]["cost_usd"] == "0.2"


@pytest.mark.parametrize(("like", "expected"), [("openrouter", "0.0042"), ("vllm", "0.000017")])
@pytest.mark.parametrize("is_stream", [False, True])
def test_what_a_provider_says_that_a_call_costs_counts_where_it_is_what_it_bills(
    make_freehold: Callable[..., Freehold], inside: Standin, like: str, expected: str, is_stream: bool
) -> None:
    """Of OpenRouter, and of nobody else who writes such a field."""
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "cost": 0.0042}
    whole = {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}], "usage": usage}  # fmt: skip
    chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
    stream = (f"data: {json.dumps(chunk)}\n\n".encode(), f"data: {json.dumps({'id': 'x', 'choices': [], 'usage': usage})}\n\n".encode(), b"data: [DONE]\n\n")  # fmt: skip
    inside.behave(Behaviour(raw_stream=stream) if is_stream else Behaviour(body=json.dumps(whole).encode()))
    text = (
        NO_ENGINE
        + f'[providers.p]\nlike = "{like}"\nbase_url = "{inside.base_url}"\nzone = "inside"\nprices = {{ m = {{ input = 1.0, output = 2.0 }} }}\n'
    )
    text += '[workloads.w]\nclass = "public"\ntargets = ["p/m"]\nbudget = "1 USD/total"\n'
    freehold = make_freehold(text).start()
    with OpenAI(base_url=freehold.base_url, api_key=freehold.key("--class", "public"), max_retries=0) as sdk:
        answer = sdk.chat.completions.create(model="w", stream=is_stream, messages=[{"role": "user", "content": "x"}])
        if is_stream:
            list(answer)  # type: ignore[call-overload]
    (receipt,) = freehold.settled(1)
    assert receipt["cost_usd"] == expected
    assert (receipt["price"] == "told by p") == (like == "openrouter")
