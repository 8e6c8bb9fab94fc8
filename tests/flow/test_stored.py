"""Responses that a target keeps: asked for again, cancelled, deleted, gone on from; by their maker alone, under their class, and paid for once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

from conftest import NO_ENGINE, Freehold, running
from freehold.testing.standin import Behaviour, Standin

SAID = "Hello from the stand-in."
BOUND = 40  # output tokens


@pytest.fixture(scope="module")
def provider() -> Iterator[Standin]:
    with Standin() as one:
        yield one


@pytest.fixture(scope="module")
def other() -> Iterator[Standin]:
    with Standin() as one:
        yield one


@pytest.fixture(scope="module")
def freehold(provider: Standin, other: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    text = NO_ENGINE
    for name, stand, zone in (("near", provider, "inside"), ("twin", other, "inside"), ("far", other, "outside")):
        text += f'[providers.{name}]\ndialect = "openai-responses"\nbase_url = "{stand.base_url}"\nzone = "{zone}"\nretries = 0\n'
        text += "prices = { m = { input = 1.0, output = 2.0 } }\n"
    text += '[workloads.w]\nclass = "public"\ntargets = ["near/m", "twin/m"]\n'
    text += '[workloads.tight]\nclass = "public"\ntargets = ["near/m"]\nbudget = "0.0008 USD/total"\n'
    text += '[workloads.counted]\nclass = "public"\ntargets = ["near/m"]\nbudget = "800 tokens/total"\n'
    with running(tmp_path_factory.mktemp("stored"), text) as one:
        yield one


@pytest.fixture(scope="module")
def key(freehold: Freehold) -> str:
    return freehold.key("--class", "public")


@pytest.fixture
def sdk(freehold: Freehold, key: str) -> Iterator[openai.OpenAI]:
    with sdk_of(freehold, key) as one:
        yield one


def sdk_of(freehold: Freehold, key: str, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0, timeout=20, **more)


def receipts(freehold: Freehold, about: str, count: int) -> list[dict[str, Any]]:
    """The receipts that name an answer; the last may be written just after its call was answered."""
    until = time.monotonic() + 10
    while True:
        found = [record for record in freehold.settled() if record["answer_id"] == about]
        if len(found) >= count or time.monotonic() > until:
            assert len(found) == count
            return found


def test_a_background_response_is_fetched_and_paid_for_once(sdk: openai.OpenAI, freehold: Freehold) -> None:
    """The worst case is charged until the usage is known; then the difference is given back, however often it is asked for."""
    made = sdk.responses.create(model="near/m", input="Hello", background=True, max_output_tokens=BOUND)
    assert (made.status, made.output) == ("queued", [])
    states = [sdk.responses.retrieve(made.id) for _ in range(3)]
    assert [one.status for one in states] == ["in_progress", "completed", "completed"]
    assert states[-1].output_text == SAID
    first, *asked = receipts(freehold, made.id, 4)
    assert (first["is_estimate"], first["endpoint"]) == (True, "responses")
    assert Decimal(first["cost_usd"]) > Decimal("0.00008")
    assert [one["endpoint"] for one in asked] == ["responses/retrieve"] * 3
    assert [Decimal(one["cost_usd"]) == 0 for one in asked] == [True, False, True]
    assert sum(Decimal(one["cost_usd"]) for one in (first, *asked)) == Decimal("0.000017")  # 7 in, 5 out
    assert sum(one["tokens"]["output"] for one in (first, *asked)) == 5
    assert asked[1]["booked_ms"] == first["at_ms"]
    usage = freehold.run("usage", "--by", "target", "--json").stdout
    assert '"near/m"' in usage


def test_it_is_found_after_a_restart(freehold: Freehold, key: str) -> None:
    with sdk_of(freehold, key) as sdk:
        made = sdk.responses.create(model="near/m", input="Hello", background=True, max_output_tokens=BOUND)
    freehold.stop()
    freehold.start()
    with sdk_of(freehold, key) as sdk:
        assert sdk.responses.retrieve(made.id).status == "in_progress"
        assert sdk.responses.retrieve(made.id).status == "completed"
        on = sdk.responses.create(model="w", input="And?", previous_response_id=made.id)
        assert on.output_text == SAID
    assert sum(Decimal(one["cost_usd"]) for one in receipts(freehold, made.id, 3)) == Decimal("0.000017")


def test_cancel_delete_and_input_items(sdk: openai.OpenAI, provider: Standin) -> None:
    made = sdk.responses.create(model="near/m", input="Hello", background=True)
    assert sdk.responses.cancel(made.id).status == "cancelled"
    assert sdk.responses.retrieve(made.id).status == "cancelled"
    (item,) = sdk.responses.input_items.list(made.id, limit=7)
    assert item.model_dump()["content"][0]["text"] == "Hello"
    assert provider.requests[-1].path.endswith(f"/responses/{made.id}/input_items?limit=7")
    sdk.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        sdk.responses.retrieve(made.id)
    plain = sdk.responses.create(model="near/m", input="Hello")
    with pytest.raises(openai.BadRequestError, match="Only background"):
        sdk.responses.cancel(plain.id)


def test_a_stream_is_taken_up_again(sdk: openai.OpenAI, freehold: Freehold) -> None:
    """A background stream that was left goes on where it was left, and is paid for by what it says at its end."""
    stream = sdk.responses.create(model="near/m", input="Hello", background=True, stream=True, max_output_tokens=BOUND)
    first = next(iter(stream))
    assert first.type == "response.created"
    stream.close()
    about = first.response.id
    kinds = [event.type for event in sdk.responses.retrieve(about, stream=True, starting_after=0)]
    assert (kinds[0], kinds[-1]) == ("response.output_item.added", "response.completed")
    for count in (2, 3):
        assert sum(Decimal(one["cost_usd"]) for one in receipts(freehold, about, count)) == Decimal("0.000017")
        list(sdk.responses.retrieve(about, stream=True))


def test_nobody_else_may_refer_to_it(sdk: openai.OpenAI, freehold: Freehold, provider: Standin) -> None:
    """Another key learns nothing of it, not even that it is; and nothing is sent."""
    made = sdk.responses.create(model="near/m", input="Hello")
    seen = len(provider.requests)
    with sdk_of(freehold, freehold.key("--class", "public")) as stranger:
        for ask in (stranger.responses.retrieve, stranger.responses.cancel, stranger.responses.delete):
            with pytest.raises(openai.NotFoundError) as caught:
                ask(made.id)
            assert caught.value.code == "request.unknown_response"
        with pytest.raises(openai.BadRequestError) as refused:
            stranger.responses.create(model="near/m", input="And?", previous_response_id=made.id)
        assert refused.value.code == "request.unknown_response"
        with pytest.raises(openai.NotFoundError) as missing:
            stranger.responses.retrieve("resp_that_never_was")
        assert missing.value.code == caught.value.code
    assert len(provider.requests) == seen


def test_it_keeps_its_class(freehold: Freehold, key: str, other: Standin) -> None:
    """An answer of a restricted call stays restricted: a call that goes on from it may not leave, whatever its own class is."""
    with sdk_of(freehold, key) as sdk:
        raised = sdk.responses.create(model="w", input="Hello", extra_headers={"x-freehold-class": "restricted"})
        plain = sdk.responses.with_raw_response.create(model="w", input="And?", previous_response_id=raised.id)
        assert plain.headers["x-freehold-class"] == "restricted"
        assert sdk.responses.with_raw_response.retrieve(raised.id).headers["x-freehold-class"] == "restricted"
        far = sdk.responses.create(model="far/m", input="Hello")
        with pytest.raises(openai.PermissionDeniedError):
            sdk.responses.create(
                model="far/m", input="x", previous_response_id=far.id, extra_headers={"x-freehold-class": "restricted"}
            )
        seen = len(other.requests)
        with pytest.raises(openai.PermissionDeniedError):
            sdk.responses.retrieve(far.id, extra_headers={"x-freehold-class": "restricted"})
        assert len(other.requests) == seen


def test_it_goes_to_who_holds_it(sdk: openai.OpenAI, provider: Standin, other: Standin) -> None:
    """A workload with two targets: going on goes to the target that holds the answer, and does not fall back to one that does not."""
    other.behave(Behaviour())
    held = sdk.responses.create(model="twin/m", input="Hello")
    seen = len(provider.requests)
    for _ in range(4):
        sdk.responses.create(model="w", input="And?", previous_response_id=held.id)
    other.behave(Behaviour(status=503))
    with pytest.raises(openai.InternalServerError):
        sdk.responses.create(model="w", input="And?", previous_response_id=held.id)
    assert len(provider.requests) == seen


@pytest.mark.parametrize("workload", ["tight", "counted"])
def test_a_budget_holds_the_worst_case_until_the_usage_is_known(freehold: Freehold, workload: str) -> None:
    """In dollars and in tokens: what was held is given back when the truth is known, and the truth is counted once."""
    with sdk_of(freehold, freehold.key("--workload", workload)) as sdk:
        ask: Any = {"model": workload, "input": "Hello", "background": True, "max_output_tokens": 150}
        made = sdk.responses.create(**ask)
        with pytest.raises(openai.RateLimitError):
            sdk.responses.create(**ask)
        assert [sdk.responses.retrieve(made.id).status for _ in range(2)] == ["in_progress", "completed"]
        assert sdk.responses.create(**ask).status == "queued"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/responses/..", 404),
        ("GET", "/responses/%2e%2e%2fmodels", 404),
        ("GET", "/responses/{id}", 404),
        ("GET", "/responses/" + "x" * 300, 404),
        ("POST", "/responses/resp_1", 405),
        ("GET", "/responses/resp_1/cancel", 405),
        ("GET", "/responses/resp_1/secrets", 404),
        ("GET", "/responses/r%C3%A9sp?stream=true&starting_after=1e9", 404),
    ],
)
def test_odd_paths(freehold: Freehold, key: str, provider: Standin, method: str, path: str, status: int) -> None:
    seen = len(provider.requests)
    with httpx.Client(base_url=freehold.base_url) as client:
        url = httpx.URL(freehold.base_url.removesuffix("/v1")).copy_with(raw_path=f"/v1{path}".encode())
        answer = client.request(method, url, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    assert len(provider.requests) == seen


HTML = b"<html><body>sk-not-json</body></html>"


@pytest.mark.parametrize("ask", ["retrieve", "cancel", "delete", "input_items.list"])
@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (Behaviour(body=HTML), 502),
        (Behaviour(body=b"[]"), 502),
        (Behaviour(body=b"\xff\xfe"), 502),
        (Behaviour(status=404, body=HTML), 404),
        (Behaviour(status=409, body=b"{}"), 409),
        (Behaviour(status=500, body=HTML), 502),
        (Behaviour(status=401, echo_key=True), 502),
    ],
)
def test_a_broken_provider(sdk: openai.OpenAI, provider: Standin, ask: str, behaviour: Behaviour, status: int) -> None:
    """What is no answer is an error in the caller's dialect; nothing of a page that somebody put in between is passed on."""
    about = sdk.responses.create(model="near/m", input="Hello").id
    provider.behave(behaviour)
    method: Any = sdk.responses
    for name in ask.split("."):
        method = getattr(method, name)
    with pytest.raises(openai.APIStatusError) as caught:
        method(about)
    assert caught.value.status_code == status
    assert "html" not in caught.value.response.text
    assert caught.value.body
