"""The way to a provider through the whole product: equals share the load, the broken are given a rest, the busy are waited for in order."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import urlopen

import pytest

from conftest import NO_ENGINE, Freehold
from freehold.testing.standin import Behaviour, Standin

CHAT = {"model": "w", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
Answer = tuple[int, dict[str, str], dict[str, Any]]


def ask(freehold: Freehold, key: str, model: str = "w") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=60)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps({**CHAT, "model": model}), {"Authorization": f"Bearer {key}"})  # fmt: skip
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.loads(answer.read())
    finally:
        connection.close()


def provider(name: str, one: Standin, more: str = "") -> str:
    return f'[providers.{name}]\nbase_url = "{one.base_url}"\nzone = "inside"\nretries = 0\nprices = {{ m = {{ input = 0.0, output = 0.0 }} }}\n{more}'


def workload(targets: str, name: str = "w", more: str = "") -> str:
    return f'[workloads.{name}]\nclass = "public"\ntargets = {targets}\n{more}'


def at_once(freehold: Freehold, key: str, count: int, threads: int = 64) -> list[Answer]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda _: ask(freehold, key), range(count)))


def test_equals_share_by_what_they_have_to_do(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """One of two is ten times slower: it gets the smaller part by far, and is not left out."""
    inside.usual, outside.usual = Behaviour(delay_s=0.2), Behaviour(delay_s=0.02)
    text = NO_ENGINE + provider("slow", inside) + provider("quick", outside) + workload('[["slow/m", "quick/m"]]')
    freehold = make_freehold(text).start()
    answers = at_once(freehold, freehold.key(), 200, threads=12)
    assert {status for status, _, _ in answers} == {200}
    counted = Counter(headers["x-freehold-target"] for _, headers, _ in answers)
    assert 0 < counted["slow/m"] < counted["quick/m"] / 2, counted


def test_who_fails_is_given_a_rest_and_one_call_finds_out(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """Three failures and nobody goes there; after the rest one call does, and when it succeeds so do all."""
    inside.usual = Behaviour(status=500)
    text = NO_ENGINE + provider("first", inside) + provider("second", outside) + workload('["first/m", "second/m"]')
    freehold = make_freehold(text).start()
    key = freehold.key()
    began = time.monotonic()
    answers = [ask(freehold, key) for _ in range(12)]
    assert {headers["x-freehold-target"] for _, headers, _ in answers} == {"second/m"}
    assert time.monotonic() - began < 2, "within the first rest"
    assert len(inside.requests) == 3
    inside.usual = Behaviour()
    until = time.monotonic() + 20
    while ask(freehold, key)[1]["x-freehold-target"] != "first/m":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(inside.requests) == 4, "only the one that found out"
    assert ask(freehold, key)[1]["x-freehold-target"] == "first/m"
    assert freehold.output.count('"state": "rests"') == freehold.output.count('"state": "well"') == 1


def test_the_only_target_is_tried_all_the_while_but_never_overrun(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    """A dead upstream with hundreds of callers before it: one at a time finds out, the others are told to come again."""
    inside.usual = Behaviour(hang=True)
    more = "timeouts = { connect = 1.0, first_byte = 0.3, total = 1.0 }\n"
    freehold = make_freehold(NO_ENGINE + provider("rack", inside, more) + workload('["rack/m"]')).start()
    key = freehold.key()
    at_once(freehold, key, 3)
    sent = len(inside.requests)
    answers = at_once(freehold, key, 60)
    assert len(inside.requests) - sent < 15
    codes = Counter((status, headers.get("retry-after", "-") != "-") for status, headers, _ in answers)
    assert codes[503, True] > 45, codes
    inside.usual = Behaviour()
    assert ask(freehold, key)[0] == 200, "and when it is back the next call says so"


def test_no_more_at_once_than_a_provider_may_have(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Forty callers, three places: all are served, in the order in which they came, and nobody gets an error."""
    inside.usual = Behaviour(delay_s=0.03)
    text = NO_ENGINE + provider("rack", inside, "limits = { concurrent = 3 }\nwait = 30\n") + workload('["rack/m"]')
    freehold = make_freehold(text).start()
    answers = at_once(freehold, freehold.key(), 40)
    assert {status for status, _, _ in answers} == {200}
    assert inside.most_at_once == 3
    with urlopen(f"http://127.0.0.1:{freehold.admin_port}/metrics", timeout=5) as metrics:
        assert b'freehold_waited_calls_total{provider="rack"} 3' in metrics.read()


def test_a_rate_of_a_provider_is_waited_for(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    text = NO_ENGINE + provider("rack", inside, 'limits = { calls = "4/second" }\n') + workload('["rack/m"]')
    freehold = make_freehold(text).start()
    key = freehold.key()
    began = time.monotonic()
    assert {status for status, _, _ in at_once(freehold, key, 8)} == {200}
    assert time.monotonic() - began > 0.9, "four at once, then one in a quarter of a second"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param("limits = { concurrent = 1 }\nwait = 0\n", "is busy", id="who does not wait"),
        pytest.param("limits = { concurrent = 1 }\nqueue = 0\n", "is busy", id="without a queue"),
        pytest.param("limits = { concurrent = 1 }\nwait = 0.2\n", "was not free within 0.2 seconds", id="who has waited"),
    ],
)  # fmt: skip
def test_who_is_busy_sends_its_callers_on(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin, more: str, words: str
) -> None:
    """To the next target, if there is one; else 503 with the time after which to come again, and nothing was sent or held."""
    inside.usual = Behaviour(delay_s=1.0)
    text = NO_ENGINE + provider("rack", inside, more) + provider("next", outside)
    text += workload('["rack/m", "next/m"]') + workload('["rack/m"]', "alone")
    freehold = make_freehold(text).start()
    key = freehold.key()
    first = threading.Thread(target=ask, args=(freehold, key))
    first.start()
    while not inside.requests:
        time.sleep(0.01)
    assert ask(freehold, key)[1]["x-freehold-target"] == "next/m"
    status, headers, body = ask(freehold, key, "alone")
    assert status == 503
    assert float(headers["retry-after"]) >= 1
    assert words in body["error"]["message"]
    first.join()
    refused = [one for one in freehold.settled(3) if one["outcome"] == "refused"]
    assert [one["attempts"] for one in refused] == [[]]
    assert len(inside.requests) == 1


def test_batches_wait_behind_everybody_else(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Whoever nobody waits for was there first, and goes last."""
    inside.usual = Behaviour(delay_s=0.15)
    text = NO_ENGINE + provider("rack", inside, "limits = { concurrent = 1 }\nwait = 30\n")
    text += workload('["rack/m"]') + workload('["rack/m"]', "night", 'priority = "batch"\n')
    freehold = make_freehold(text).start()
    key = freehold.key()
    ended: list[str] = []

    def call(model: str) -> None:
        assert ask(freehold, key, model)[0] == 200
        ended.append(model)

    threads = [threading.Thread(target=call, args=(model,)) for model in ("w", *["night"] * 3, *["w"] * 3)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert ended == ["w"] * 4 + ["night"] * 3


def test_a_place_that_its_caller_left_is_free_again(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Callers that leave while they wait, or while they are served, take no place with them."""
    inside.usual = Behaviour(delay_s=0.3)
    text = NO_ENGINE + provider("rack", inside, "limits = { concurrent = 2 }\nwait = 30\n") + workload('["rack/m"]')
    freehold = make_freehold(text).start()
    key = freehold.key()
    left = []
    for _ in range(10):
        connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=10)
        connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), {"Authorization": f"Bearer {key}"})
        left.append(connection)
    time.sleep(0.1)
    for connection in left:
        connection.close()
    inside.usual = Behaviour()
    began = time.monotonic()
    assert {status for status, _, _ in at_once(freehold, key, 10)} == {200}
    assert time.monotonic() - began < 5
    assert {one["outcome"] for one in freehold.settled(20)} == {"ok", "cancelled", "refused"}
    with urlopen(f"http://127.0.0.1:{freehold.admin_port}/api/targets", timeout=5) as targets:
        assert json.load(targets)["targets"][0]["in_flight"] == 0


def test_what_a_provider_says_of_its_limits_is_kept_before_it_refuses(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """None are left for an hour: the next call goes elsewhere at once, and without another target it is told when to come again."""
    told = (
        ("X-RateLimit-Limit-Requests", "60"),
        ("X-RateLimit-Remaining-Requests", "0"),
        ("X-RateLimit-Reset-Requests", "1h0m0s"),
    )
    inside.behave(Behaviour(headers=told))
    text = NO_ENGINE + provider("rack", inside) + provider("next", outside)
    text += workload('["rack/m", "next/m"]') + workload('["rack/m"]', "alone")
    freehold = make_freehold(text).start()
    key = freehold.key("--class", "public")
    assert ask(freehold, key)[1]["x-freehold-target"] == "rack/m"
    assert ask(freehold, key)[1]["x-freehold-target"] == "next/m"
    status, headers, body = ask(freehold, key, "alone")
    assert (status, body["error"]["code"]) == (503, "upstream.busy")
    assert 50 < float(headers["retry-after"]) <= 60, "one of sixty an hour"
    assert len(inside.requests) == 1


def test_a_short_wait_that_a_provider_asks_for_is_waited(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    """Refused once with a second to wait: the next caller waits it, and the provider never refuses again."""
    inside.behave(Behaviour(status=429, retry_after="1"))
    freehold = make_freehold(NO_ENGINE + provider("rack", inside) + workload('["rack/m"]')).start()
    key = freehold.key("--class", "public")
    assert ask(freehold, key)[0] == 429
    began = time.monotonic()
    assert ask(freehold, key)[0] == 200
    assert time.monotonic() - began > 0.8


def test_places_at_a_provider_hold_over_all_workers(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    inside.usual = Behaviour(delay_s=0.05)
    text = NO_ENGINE + provider("rack", inside, "limits = { concurrent = 3 }\nwait = 60\n") + workload('["rack/m"]')
    freehold = make_freehold(text).start("--workers", "3")
    answers = at_once(freehold, freehold.key(), 40, threads=20)
    assert {status for status, _, _ in answers} == {200}
    assert inside.most_at_once <= 3


def test_a_provider_that_comes_back_with_an_error_first_comes_back(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """It could not be reached, then it is there and still loading (503), then it is well: it is not given up for ever."""
    port = inside.port
    text = NO_ENGINE + provider("rack", inside) + provider("next", outside) + workload('["rack/m", "next/m"]')
    freehold = make_freehold(text).start()
    key = freehold.key()
    inside.stop()
    for _ in range(4):
        assert ask(freehold, key)[1]["x-freehold-target"] == "next/m"
    with Standin(port=port) as again:
        again.behave(Behaviour(status=503))
        until = time.monotonic() + 20
        while ask(freehold, key)[1]["x-freehold-target"] != "rack/m":
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_long_stream_that_has_begun_well_keeps_nobody_waiting(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    """Three failures, and then the only target answers again, slowly: whoever comes meanwhile is served."""
    freehold = make_freehold(NO_ENGINE + provider("rack", inside) + workload('["rack/m"]')).start()
    key = freehold.key()
    inside.behave(*[Behaviour(status=500)] * 3, Behaviour(event_delay_s=0.5))
    for _ in range(3):
        ask(freehold, key)
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=30)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({**CHAT, "stream": True}), {"Authorization": f"Bearer {key}"}
    )
    stream = connection.getresponse()
    stream.read(10)
    answers = [ask(freehold, key)[0] for _ in range(3)]
    stream.read()
    connection.close()
    assert answers == [200] * 3


def test_a_caller_without_money_takes_nothing_of_a_providers_rate(
    make_freehold: Callable[..., Freehold], inside: Standin
) -> None:
    """What was never sent was never made, whoever asked for it."""
    text = (
        NO_ENGINE
        + provider("rack", inside, 'limits = { calls = "5/minute" }\nwait = 0\n').replace("input = 0.0", "input = 1.0")
        + workload('["rack/m"]')
    )
    freehold = make_freehold(text).start()
    poor, rich = freehold.key("--class", "public", "--budget", "0.0000001 USD/total"), freehold.key("--class", "public")
    assert [ask(freehold, poor)[0] for _ in range(8)] == [429] * 8
    assert [ask(freehold, rich)[0] for _ in range(6)] == [200] * 5 + [503]


def test_a_providers_own_limit_is_waited_for_in_order(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Interactive calls before batches there, too; and without a queue nobody waits."""
    told = (
        ("X-RateLimit-Limit-Requests", "10"),
        ("X-RateLimit-Remaining-Requests", "0"),
        ("X-RateLimit-Reset-Requests", "4s"),
    )
    inside.behave(Behaviour(headers=told))
    text = (
        NO_ENGINE
        + provider("rack", inside)
        + workload('["rack/m"]')
        + workload('["rack/m"]', "night", 'priority = "batch"\n')
    )
    freehold = make_freehold(text).start()
    key = freehold.key()
    assert ask(freehold, key)[0] == 200
    ended: list[str] = []

    def call(model: str) -> None:
        assert ask(freehold, key, model)[0] == 200
        ended.append(model)

    threads = [threading.Thread(target=call, args=(model,)) for model in ("night", "night", "w", "w")]
    for thread in threads:
        thread.start()
        time.sleep(0.03)
    for thread in threads:
        thread.join()
    assert ended == ["w", "w", "night", "night"]
