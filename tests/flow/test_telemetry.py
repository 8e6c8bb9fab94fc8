"""A collector is told of calls in its own format; targets inside are told of the trace; nobody is told what was said."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from collector import Collector, values
from conftest import NO_ENGINE, Freehold
from flow.test_workers import ask
from freehold.testing.standin import Behaviour, Standin

Make = Callable[..., Freehold]
ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BODY = {"model": "open", "messages": [{"role": "user", "content": "words that nobody may read"}]}
both = pytest.mark.parametrize("how", [(), ("--workers", "2")], ids=["alone", "several"])


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.close()


def call(freehold: Freehold, key: str, body: dict[str, Any] = BODY, **headers: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=20)) as connection:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Authorization": f"Bearer {key}", **headers}
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status


@both
def test_a_call_is_a_span_and_each_attempt_one_below_it(
    make_freehold: Make, two_zones: str, inside: Standin, outside: Standin, collector: Collector, how: tuple[str, ...]
) -> None:
    freehold = make_freehold(two_zones + collector.table, CLOUD="k").start(*how)
    key = freehold.key("--class", "public")
    inside.usual = Behaviour(status=503)
    assert call(freehold, key, traceparent=f"00-{ID}-{PARENT}-01", tracestate="vendor=words", baggage="a=b") == 200
    assert inside.requests[0].headers["traceparent"].startswith(f"00-{ID}-")
    assert not {"tracestate", "baggage"} & set(inside.requests[0].headers)
    assert not {"traceparent", "tracestate", "baggage"} & set(outside.requests[0].headers), (
        "a trace is the company's own"
    )
    spans = collector.wait_for(lambda: [one for one in collector.spans if one.trace_id.hex() == ID and len(collector.spans) >= 3])  # fmt: skip
    top = next(one for one in spans if one.kind == 2)
    below = {values(one.attributes)["gen_ai.provider.name"]: one for one in spans if one.kind == 3}
    assert top.parent_span_id.hex() == PARENT
    assert {one.parent_span_id for one in below.values()} == {top.span_id}
    assert inside.requests[0].headers["traceparent"] == f"00-{ID}-{below['rack'].span_id.hex()}-01"
    about = values(top.attributes)
    (receipt,) = freehold.settled(1)
    assert about["freehold.call.id"] == receipt["call"]
    assert (top.name, about["gen_ai.operation.name"], about["gen_ai.request.model"]) == ("chat m", "chat", "m")
    assert (about["freehold.workload"], about["freehold.zone"], about["freehold.class"]) == (
        "open",
        "outside",
        "public",
    )
    assert about["gen_ai.usage.input_tokens"] == receipt["tokens"]["input"]
    assert (about["freehold.cost_usd"], about["http.response.status_code"]) == (receipt["cost_usd"], 200)
    assert (below["rack"].status.code, below["cloud"].status.code, top.status.code) == (2, 1, 1)
    assert top.start_time_unix_nano <= below["rack"].start_time_unix_nano <= below["rack"].end_time_unix_nano
    assert below["rack"].end_time_unix_nano <= below["cloud"].start_time_unix_nano + 5_000_000
    assert below["cloud"].end_time_unix_nano <= top.end_time_unix_nano + 5_000_000
    assert collector.resources[0]["service.name"] == "freehold"
    assert freehold.stop() == 0
    usage = collector.metrics["gen_ai.client.token.usage"].histogram
    tokens = {values(point.attributes)["gen_ai.token.type"]: point.sum for point in usage.data_points}
    assert tokens == {"input": receipt["tokens"]["input"], "output": receipt["tokens"]["output"]}
    assert collector.metrics["gen_ai.client.operation.duration"].histogram.data_points[0].count == 1
    assert not [body for body in collector.bodies if b"nobody may read" in body or key.encode() in body]


def test_whoever_began_a_trace_says_whether_it_is_kept(
    make_freehold: Make, two_zones: str, collector: Collector
) -> None:
    freehold = make_freehold(two_zones + collector.table + "share = 0\n", CLOUD="k").start()
    key = freehold.key("--class", "public")
    kept = f"00-{ID}-{PARENT}-01"
    for header in (None, f"00-{ID[::-1]}-{PARENT}-00", "nonsense", kept):
        assert call(freehold, key, **({"traceparent": header} if header else {})) == 200
    collector.wait_for(lambda: collector.spans)
    assert freehold.stop() == 0
    assert {one.trace_id.hex() for one in collector.spans} == {ID}


def test_without_a_collector_a_trace_goes_on_as_it_is(make_freehold: Make, two_zones: str, inside: Standin) -> None:
    freehold = make_freehold(two_zones, CLOUD="k").start()
    key = freehold.key("--class", "public")
    header = f"00-{ID}-{PARENT}-00"
    assert call(freehold, key, traceparent=header) == 200
    assert call(freehold, key, traceparent=f"{header}\tx") == 200
    assert inside.requests[0].headers["traceparent"] == header
    assert "traceparent" not in inside.requests[1].headers
    assert call(freehold, key) == 200
    assert "traceparent" not in inside.requests[2].headers


def test_a_collector_that_is_away_costs_no_call(make_freehold: Make, two_zones: str, collector: Collector) -> None:
    """It is said once; what waits is sent when it is back."""
    freehold = make_freehold(two_zones + collector.table, CLOUD="k").start()
    key = freehold.key("--class", "public")
    collector.status = 503
    assert [call(freehold, key) for _ in range(5)] == [200] * 5
    collector.wait_for(lambda: '"state": "away"' in freehold.output)
    collector.status = 200
    collector.wait_for(lambda: len([one for one in collector.spans if one.kind == 2]) == 5)
    collector.wait_for(lambda: '"state": "back"' in freehold.output)
    assert freehold.output.count('"event": "telemetry"') == 2


def test_what_a_caller_made_up_is_told_nobody(make_freehold: Make, inside: Standin, collector: Collector) -> None:
    """A model that nobody listed is `other`."""
    text = NO_ENGINE + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n' + collector.table
    freehold = make_freehold(text).start()
    key = freehold.key()
    assert ask(freehold, key, body=BODY | {"model": "rack/my-own-words"})[0] == 200
    assert ask(freehold, key, body=BODY | {"model": "nowhere-my-own-words"})[0] == 404
    assert freehold.stop() == 0
    assert {values(one.attributes)["gen_ai.request.model"] for one in collector.spans if "gen_ai.request.model" in values(one.attributes)} == {"other"}  # fmt: skip
    assert not [body for body in collector.bodies if b"my-own-words" in body]


def test_it_is_switched_on_and_off_by_a_reload(make_freehold: Make, two_zones: str, collector: Collector) -> None:
    freehold = make_freehold(two_zones, CLOUD="k", OTEL="Bearer secret-of-the-collector").start()
    key, file = freehold.key("--class", "public"), freehold.folder / "freehold.toml"
    assert call(freehold, key) == 200
    for text, spans in ((collector.table + 'headers = { authorization = "env:OTEL" }\n', 1), ("", 1)):
        file.write_text(two_zones + text)
        with closing(http.client.HTTPConnection("127.0.0.1", freehold.admin_port, timeout=20)) as connection:
            connection.request("POST", "/api/reload")
            assert connection.getresponse().status == 200
        assert call(freehold, key) == 200
        collector.wait_for(lambda count=spans: len([one for one in collector.spans if one.kind == 2]) >= count)
    assert freehold.stop() == 0
    assert len([one for one in collector.spans if one.kind == 2]) == 1
    assert collector.headers[0]["authorization"] == "Bearer secret-of-the-collector"
    assert "secret-of-the-collector" not in freehold.output
