"""Cut: the upstream dies after every event. One receipt each, what came before intact, one error event, never a success."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable

from conftest import Freehold
from freehold.testing.standin import Behaviour, Standin

WORDS = ("one", " two", " three")


def raw_stream(freehold: Freehold, key: str) -> tuple[int, list[str]]:
    connection = http.client.HTTPConnection("127.0.0.1", freehold.port, timeout=20)
    body = json.dumps({"model": "closed", "stream": True, "messages": [{"role": "user", "content": "x"}]})
    connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, [line.removeprefix("data: ") for line in text.split("\n\n") if line]


def test_cut_and_silence_after_every_event(
    make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin
) -> None:
    freehold = make_freehold(two_zones, CLOUD="sk-1").start()
    key = freehold.key()
    events = len(WORDS) + 3  # words, stop, usage, [DONE]
    for at in range(1, events):
        for failure in (Behaviour(words=WORDS, cut_after=at), Behaviour(words=WORDS, silent_after=at)):
            inside.behave(failure)
            status, parts = raw_stream(freehold, key)
            assert status == 200
            said = [json.loads(part) for part in parts if part != "[DONE]"]
            texts = [c["delta"].get("content", "") for event in said for c in event.get("choices", ())]
            assert "".join(texts) == "".join(WORDS[: min(at, len(WORDS))]), "what came before is intact"
            errors = [event for event in said if "error" in event]
            assert len(errors) == 1, (at, failure)
            assert "[DONE]" not in parts
    inside.behave(Behaviour(words=WORDS, without_done=True))
    assert raw_stream(freehold, key)[1][-1] == "[DONE]", "a provider that sends no mark, but did finish, is a success"
    freehold.stop()
    receipts = freehold.settled()
    assert [r["outcome"] for r in receipts] == ["cut"] * (2 * (events - 1)) + ["ok"]
    assert all(r["is_estimate"] for r in receipts if r["outcome"] == "cut" and r["tokens"]["output"] != len(WORDS))
    assert len({r["call"] for r in receipts}) == len(receipts)
