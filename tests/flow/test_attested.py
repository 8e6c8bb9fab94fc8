"""A target under an agreement: only while it holds, only for the models that it names, and asked to keep nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from conftest import NO_ENGINE, Freehold
from freehold.testing.standin import Standin

EVIDENCE = "sha256:" + "0" * 64


def config(cloud: Standin, *, like: str = "", until: str = "2099-01-01", models: str = "") -> str:
    agreed = f'{{ control = ["zero-retention", "baa"], evidence = "{EVIDENCE}", expires = {until}, endpoint = "{cloud.base_url}", reviewer = "R. Okafor"{models} }}'
    dialects = "" if like else 'dialect = ["openai-chat", "openai-responses", "anthropic-messages", "gemini"]\n'
    return (
        NO_ENGINE
        + f'[providers.zdr]\n{like}{dialects}base_url = "{cloud.base_url}"\nzone = "attested"\nretries = 0\nattestation = {agreed}\n'
        + '[workloads.letters]\nclass = "confidential"\ntargets = ["zdr/m"]\n'
    )


def post(freehold: Freehold, key: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = Request(
        f"http://127.0.0.1:{freehold.port}{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}"},
    )
    try:
        with urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as refusal:
        with refusal:
            return refusal.code, json.loads(refusal.read())


SAID = [{"role": "user", "content": "the contract"}]
PATHS = {
    "chat": ("/v1/chat/completions", {"model": "letters", "messages": SAID}),
    "responses": ("/v1/responses", {"model": "letters", "input": "x"}),
    "messages": ("/v1/messages", {"model": "letters", "max_tokens": 9, "messages": SAID}),
    "gemini": ("/v1beta/models/letters:generateContent", {"contents": [{"parts": [{"text": "x"}]}]}),
}


@pytest.mark.parametrize(
    ("dialect", "more", "kept"),
    [
        pytest.param("chat", {"store": True}, False, id="chat"),
        pytest.param("responses", {"store": True}, False, id="responses"),
        pytest.param("responses", {}, False, id="responses, by default"),
    ],
)
def test_it_is_asked_to_keep_nothing(
    make_freehold: Callable[..., Freehold], outside: Standin, dialect: str, more: dict[str, Any], kept: bool
) -> None:
    freehold = make_freehold(config(outside)).start()
    path, body = PATHS[dialect]
    assert post(freehold, freehold.key("--workload", "letters"), path, {**body, **more})[0] == 200
    assert outside.requests[-1].json["store"] is kept


KEEPING = [
    ("chat", {"web_search_options": {}}),
    ("chat", {"prompt_cache_retention": "24h"}),
    ("responses", {"background": True}),
    ("responses", {"tools": [{"type": "web_search"}]}),
    ("responses", {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x.example"}]}),
    ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("messages", {"mcp_servers": [{"type": "url", "url": "https://x.example"}]}),
    ("gemini", {"tools": [{"googleSearch": {}}]}),
]


@pytest.mark.parametrize(
    ("dialect", "more"), KEEPING, ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else value
)
def test_what_cannot_be_had_without_keeping_is_refused(
    make_freehold: Callable[..., Freehold], outside: Standin, dialect: str, more: dict[str, Any]
) -> None:
    freehold = make_freehold(config(outside)).start()
    path, body = PATHS[dialect]
    status, answer = post(
        freehold,
        freehold.key("--class", "public"),
        path.replace("letters", "zdr%2Fm"),
        {**body, **more, **({} if dialect == "gemini" else {"model": "zdr/m"})},
    )
    assert status in (400, 403), answer
    assert "attested" in json.dumps(answer)
    assert outside.requests == []


def test_openrouter_is_told_in_its_own_words(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    freehold = make_freehold(config(outside, like='like = "openrouter"\nkey = "env:OR"\n'), OR="sk-1").start()
    asked = {"model": "letters", "messages": SAID}
    assert post(freehold, freehold.key("--workload", "letters"), "/v1/chat/completions", asked)[0] == 200
    assert outside.requests[-1].json["provider"] == {"data_collection": "deny", "zdr": True}
    asked["provider"] = {"zdr": False, "order": ["x"]}
    assert (
        post(freehold, freehold.key("--class", "public"), "/v1/chat/completions", {**asked, "model": "zdr/m"})[0] == 200
    )
    assert outside.requests[-1].json["provider"] == {"data_collection": "deny", "order": ["x"], "zdr": True}


def test_an_agreement_covers_what_it_names(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    freehold = make_freehold(config(outside, models=', models = ["m"]')).start()
    key = freehold.key("--class", "confidential")
    body = {"messages": SAID}
    assert post(freehold, key, "/v1/chat/completions", {"model": "zdr/m", **body})[0] == 200
    status, answer = post(freehold, key, "/v1/chat/completions", {"model": "zdr/other", **body})
    assert (status, answer["error"]["code"]) == (403, "perimeter.zone_forbidden")
    assert len(outside.requests) == 1
    (intent,) = [record for record in freehold.records() if record["kind"] == "intent"]
    assert intent["attestation"] == {
        "evidence": EVIDENCE,
        "controls": ["zero-retention", "baa"],
        "until_ms": intent["attestation"]["until_ms"],
    }


def test_an_agreement_that_has_run_out_is_none(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    freehold = make_freehold(config(outside, until="2020-01-01"))
    done = freehold.run("check", check=False)
    assert done.returncode == 1
    assert "its agreement has expired" in done.stdout
    assert freehold.run("up", "--no-hello", check=False).returncode == 2


def test_an_agreement_for_another_address_is_void(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    text = config(outside).replace(f'endpoint = "{outside.base_url}"', 'endpoint = "https://before.example/v1"')
    done = make_freehold(text).run("check", check=False)
    assert done.returncode == 2
    assert "was not made for this base_url" in done.stderr


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        pytest.param("/v1/chat/completions", {"messages": [{"role": "user", "content": [IMAGE]}]}, id="a picture"),
        pytest.param(
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file_1"}}]}]},
            id="a file by its id",
        ),
        pytest.param("/v1/completions", {"prompt": list(range(40))}, id="tokens"),
        pytest.param("/v1/embeddings", {"input": [list(range(40))]}, id="lists of tokens"),
        pytest.param(
            "/v1/chat/completions", {"messages": SAID, "unheard_of": {"x": "y"}}, id="a field that nobody knows"
        ),
        pytest.param(
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "x", "unheard_of": 1}]},
            id="such a field in a message",
        ),
    ],
)
def test_what_cannot_be_read_stays_inside_from_confidential_up(
    make_freehold: Callable[..., Freehold], outside: Standin, endpoint: str, body: dict[str, Any]
) -> None:
    freehold = make_freehold(config(outside)).start()
    status, answer = post(freehold, freehold.key("--class", "confidential"), endpoint, {"model": "zdr/m", **body})
    assert (status, answer["error"]["code"]) == (403, "perimeter.zone_forbidden")
    assert outside.requests == []
    assert post(freehold, freehold.key("--class", "internal"), endpoint, {"model": "zdr/m", **body})[0] == 200


def test_what_a_change_newly_allows(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    freehold = make_freehold(config(outside))
    (freehold.folder / "old.toml").write_text((freehold.folder / "freehold.toml").read_text())
    assert "Nothing changes" in freehold.run("check", "--against", "old.toml").stdout
    text = (freehold.folder / "freehold.toml").read_text()
    wider = (
        text.replace('class = "confidential"', 'class = "public"')
        + '[detection.raises]\ncontact = "public"\n[providers.new]\nbase_url = "https://new.example/v1"\n'
    )
    (freehold.folder / "freehold.toml").write_text(wider)
    done = freehold.run("check", "--against", "old.toml", check=False)
    assert done.returncode == 1
    assert "NEWLY ALLOWED   a call by provider/model, public and internal → new/* (outside)" in done.stdout
    assert "NEWLY ALLOWED   letters, public and internal → zdr/m (attested)" in done.stdout
    assert "letters is public and was confidential" in done.stdout
    assert "NEWLY ALLOWED   what is found as contact → raises to public only, and raised to confidential" in done.stdout
    back = freehold.run("check", "--config", "old.toml", "--against", "freehold.toml", "--json")
    assert {change["where"] for change in json.loads(back.stdout)["forbidden"]} >= {"new/* (outside)"}


def test_what_is_no_longer_looked_for_and_where_a_provider_may_be(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    own = '[detection.words.project]\nwords = ["BLUEFIN", "HERON"]\nraises = "restricted"\n'
    rack = '[providers.rack]\nbase_url = "http://rack.local:8000/v1"\nzone = "inside"\naddresses = ["10.0.0.0/24"]\n'
    freehold = make_freehold(config(outside) + own + rack)
    text = (freehold.folder / "freehold.toml").read_text()
    (freehold.folder / "old.toml").write_text(text)
    for old, new, said in (
        (', "HERON"', "", "custom.project → is looked for by other words"),
        (own, "", "custom.project → is no longer looked for"),
        ("10.0.0.0/24", "10.0.0.0/8", "the provider rack → may be at 10.0.0.0/8"),
        ("rack.local:8000/v1", "rack.local:9000/v2", "rack is at http://rack.local:9000/v2 and was at"),
    ):
        assert old in text
        (freehold.folder / "freehold.toml").write_text(text.replace(old, new))
        done = freehold.run("check", "--against", "old.toml", check=False)
        assert said in done.stdout
        assert done.returncode == (1 if "→" in said else 0)


def test_a_new_transform_is_newly_allowed(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    freehold = make_freehold(config(outside))
    text = (freehold.folder / "freehold.toml").read_text()
    (freehold.folder / "old.toml").write_text(text)
    (freehold.folder / "freehold.toml").write_text(
        text.replace('targets = ["zdr/m"]', 'targets = ["zdr/m"]\ntransform = "redact"')
    )
    done = freehold.run("check", "--against", "old.toml", check=False)
    assert done.returncode == 1
    assert "NEWLY ALLOWED   letters, what only detectors raised → may leave as confidential (redact)" in done.stdout
    assert "letters transforms (redact)" in freehold.run("check").stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[detection.raises]\n"contact.emial" = "public"\n', "no rule finds anything under this name"),
        ('[providers.far]\nbase_url = "http://8.8.8.8/v1"\nzone = "inside"\n', "an address of the public internet"),
    ],
)
def test_what_check_does_not_let_pass_in_silence(
    make_freehold: Callable[..., Freehold], outside: Standin, more: str, said: str
) -> None:
    assert said in make_freehold(config(outside) + more).run("check", check=False).stdout


def test_an_agreement_that_has_not_begun_is_none(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    text = config(outside).replace("expires =", "since = 2098-01-01, expires =")
    assert "its agreement has not begun" in make_freehold(text).run("check", check=False).stdout
