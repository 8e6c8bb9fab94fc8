"""The hostile reviewer's matrix: each canary, in each place of a request, in each spelling. A stand-in outside keeps every byte that reaches it."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest

from collector import Collector
from conftest import NO_ENGINE, Freehold, running
from freehold.testing.standin import Behaviour, Standin
from perimeter.canaries import CANARIES, PLACES, SPELLINGS, request

MATRIX = [(canary, place, spelling) for canary in CANARIES for place in PLACES for spelling in SPELLINGS]


@pytest.fixture(scope="module")
def outside() -> Iterator[Standin]:
    with Standin() as provider:
        yield provider


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.close()


@pytest.fixture(scope="module")
def freehold(outside: Standin, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    with Standin() as inside:
        inside.usual = Behaviour(status=503)
        text = (
            NO_ENGINE
            + "[server]\naccess_log = true\n"
            + collector.table
            + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\nretries = 0\n[providers.cloud]\nbase_url = "{outside.base_url}"\nretries = 0\n'
        )
        text += '[workloads.open]\nclass = "public"\ntargets = ["rack/m", "cloud/m"]\n'
        with running(tmp_path_factory.mktemp("canaries"), text) as one:
            yield one


class Caller:
    """One connection that asks, and says how it was answered."""

    def __init__(self, freehold: Freehold, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=20)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def close(self) -> None:
        self._connection.close()

    def ask(self, body: dict[str, object]) -> tuple[int, str]:
        self._connection.request("POST", "/v1/chat/completions", json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        found = json.loads(answer.read())
        return answer.status, found["error"]["code"] if "error" in found else ""


def test_a_restricted_key_sends_nothing_outside(freehold: Freehold, outside: Standin) -> None:
    """Always: in every place and spelling, with a fallback outside and the inside target failing."""
    before = (outside.connections, outside.bytes_received)
    with closing(Caller(freehold, freehold.key("--class", "restricted"))) as caller:
        answers = Counter(caller.ask({"model": "open", **request(*one)}) for one in MATRIX)
    assert set(answers) <= {(503, "perimeter.inside_unavailable"), (400, "routing.unable"), (400, "request.type")}, (
        answers
    )
    assert (outside.connections, outside.bytes_received) == before


def test_a_public_key_sends_no_canary_outside(freehold: Freehold, outside: Standin) -> None:
    """What detection can do, and no more: in these places and these spellings it lets none of them through."""
    with closing(Caller(freehold, freehold.key("--class", "public"))) as caller:
        assert (
            caller.ask({"model": "cloud/m", "messages": [{"role": "user", "content": "an ordinary question"}]})[0]
            == 200
        )
        sent = len(outside.requests)
        leaked = [
            one
            for one in MATRIX
            if caller.ask({"model": "cloud/m", **request(*one)}) != (403, "perimeter.zone_forbidden")
        ]
    assert leaked == []
    assert len(outside.requests) == sent


def test_nothing_that_is_kept_holds_a_canary(freehold: Freehold, collector: Collector) -> None:
    """Log, index, keys, output, metrics, traces: searched for every canary in every spelling, after everything above."""
    calls = len(freehold.settled())
    assert freehold.output.count('"event": "call"') == calls
    assert calls >= 2 * len(MATRIX), "the tests above have run"
    with urlopen(f"http://127.0.0.1:{freehold.admin_port}/metrics", timeout=10) as answer:
        kept = {"metrics": answer.read()}
    collector.wait_for(lambda: len([span for span in collector.spans if span.kind == 2]) >= calls, 60)
    kept["telemetry"] = b"\n".join(collector.bodies)
    kept["top"] = freehold.run(
        "top", "--url", f"http://127.0.0.1:{freehold.admin_port}", "--every", "0.2", "--json"
    ).stdout.encode()
    freehold.run("usage", "--json")
    for path in Path(freehold.folder).rglob("*"):
        if path.is_file():
            kept[path.name] = path.read_bytes()
    for name, data in kept.items():
        for canary, value in CANARIES.items():
            for spelling, spell in SPELLINGS.items():
                for form in {spell(part) for part in (value, max(value.split(" "), key=len)) if len(part) >= 8}:
                    assert form.encode() not in data, f"{canary} ({spelling}) in {name}"
                    assert json.dumps(form).strip('"').encode() not in data, f"{canary} ({spelling}) in {name}"
    reasons = " ".join(reason for receipt in freehold.settled() for reason in receipt["reasons"])
    assert "found gov.us_ssn" in reasons
    assert {"pii", "phi", "secret"} <= {label for receipt in freehold.settled() for label in receipt["labels"]}
