"""Calls that are kept as cases for a verdict: only where a workload opted in, sealed, a sample, erased with their key."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from conftest import NO_ENGINE, Freehold
from freehold.cli.setting import Setting
from freehold.cli.verdict_run import Loaded
from freehold.kernel.errors import CallerError
from freehold.testing.standin import Behaviour, Standin

TASK = 'name = "t"\ndataset = "captured:kept"\nbefore = NOW\nmargin = 0.1\ncluster = "caller"\n[targets]\nopen = "rack/m"\nclosed = "rack/n"\n[[metrics]]\nscorer = "human"\n'


def config(inside: Standin, capture: str) -> str:
    return (
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\nretries = 0\n[workloads.kept]\nclass = "internal"\ntargets = ["rack/m"]\n{capture}[workloads.other]\ntargets = ["rack/m"]\n'
    )


def loaded(freehold: Freehold) -> Loaded:
    path = freehold.folder / "verdict.toml"
    path.write_text(TASK.replace("NOW", datetime.datetime.now(datetime.UTC).isoformat()))
    return Loaded.of(path, Setting(freehold.folder / "freehold.toml", freehold.state))


def test_every_kind_of_call_is_kept_and_nothing_else(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """Unary, streamed, in another dialect; not where nobody opted in, nor what failed; nothing of it in the clear."""
    one = make_freehold(config(inside, "capture = { share = 1.0 }\n")).start()
    sdk = openai.OpenAI(base_url=one.base_url, api_key=one.key(), max_retries=0)

    def say(words: str, model: str = "kept", **more: object) -> None:
        made = sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": words}], **more)  # type: ignore[call-overload]
        if more.get("stream"):
            list(made)

    say("canary-unary")
    say("canary-stream", stream=True)
    say("canary-secret SSN 536-90-4399")
    say("canary-other", model="other")
    sdk.responses.create(model="kept", input="canary-responses", store=False)
    inside.behave(Behaviour(status=400))
    with pytest.raises(openai.BadRequestError):
        say("canary-failed")
    one.settled(6)
    cases = loaded(one).cases
    said = {case.messages[-1]["content"]: case for case in cases}
    assert set(said) == {"canary-unary", "canary-stream", "canary-secret SSN 536-90-4399", "canary-responses"}
    assert said["canary-unary"].class_ == "restricted"  # as a key without a class declares it
    assert len({case.cluster for case in cases}) == 1
    for path in one.state.rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes(), path
    assert "canary" not in one.output
    (key,) = {case.cluster or "" for case in cases}
    one.run("audit", "erase", key, "--yes")
    with pytest.raises(CallerError):
        loaded(one)


def test_who_says_so_is_not_kept(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """An evaluation's own calls are no traffic; and days to come are no days."""
    one = make_freehold(config(inside, "capture = { share = 1.0 }\n")).start()
    sdk = openai.OpenAI(base_url=one.base_url, api_key=one.key(), max_retries=0)
    for at in range(6):
        more = {"x-freehold-no-capture": "true"} if at % 2 else {}
        sdk.chat.completions.create(model="kept", messages=[{"role": "user", "content": f"n{at}"}], extra_headers=more)
    one.settled(6)
    assert {case.messages[-1]["content"] for case in loaded(one).cases} == {"n0", "n2", "n4"}
    (one.folder / "later.toml").write_text(TASK.replace("NOW", "2999-01-01"))
    with pytest.raises(CallerError) as refused:
        Loaded.of(one.folder / "later.toml", Setting(one.folder / "freehold.toml", one.state))
    assert "still to come" in refused.value.message


def test_a_share_is_a_sample(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    one = make_freehold(config(inside, "capture = { share = 0.5, entries = 40 }\n")).start()
    sdk = openai.OpenAI(base_url=one.base_url, api_key=one.key("--class", "internal"), max_retries=0)
    for at in range(120):
        sdk.chat.completions.create(model="kept", messages=[{"role": "user", "content": f"n{at}"}])
    one.settled(120)
    kept = [int(case.messages[-1]["content"][1:]) for case in loaded(one).cases]
    assert 24 < len(kept) <= 40 + 16
    assert max(kept) > 90  # the oldest go first
    assert {case.class_ for case in loaded(one).cases} == {"internal"}


def test_nothing_is_kept_unless_somebody_opted_in(
    make_freehold: Callable[..., Freehold], inside: Standin, tmp_path: Path
) -> None:
    one = make_freehold(config(inside, "")).start()
    sdk = openai.OpenAI(base_url=one.base_url, api_key=one.key(), max_retries=0)
    sdk.chat.completions.create(model="kept", messages=[{"role": "user", "content": "x"}])
    one.settled(1)
    with pytest.raises(CallerError) as refused:
        loaded(one)
    assert refused.value.code == "verdict.dataset"
    assert not list((one.state / "content").iterdir())
