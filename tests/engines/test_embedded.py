"""The embedded engine: real weights, real child. Whatever happens to it, Freehold stays up and says why."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from conftest import ROOT, Freehold
from freehold.cli.hello import MESSAGE, SCHEMA
from freehold.engines.embedded import fault_of

HEARTH = ROOT / "src/freehold/engines/hearth.gguf"
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "triage", "schema": SCHEMA}}


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def until(claim: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if claim():
            return True
        time.sleep(0.02)
    return False


def test_a_real_model_answers_through_the_whole_spine(make_freehold: Callable[..., Freehold]) -> None:
    freehold = make_freehold(None).start()
    with OpenAI(base_url=freehold.base_url, api_key=freehold.key(), max_retries=2) as sdk:
        for at in range(5):
            message = f"{MESSAGE} ({at})\n" + 'é€😀 "quoted" \\ {}' * at
            answer = sdk.chat.completions.create(
                model="hearth", messages=[{"role": "user", "content": message}], response_format=FORMAT, max_tokens=300
            )
            assert set(json.loads(answer.choices[0].message.content or "")) == set(SCHEMA["required"]), (
                "the schema is enforced, whatever the model thinks"
            )
        text = "".join(
            c.choices[0].delta.content or ""
            for c in sdk.chat.completions.create(
                model="builtin/hearth", messages=[{"role": "user", "content": "hello"}], stream=True, max_tokens=60
            )
        )
        assert text
        vectors = sdk.embeddings.create(
            model="hearth", input=["my parcel is late", "where is my parcel", "invoice"], encoding_format="float"
        ).data
        assert len({len(v.embedding) for v in vectors}) == 1
        with pytest.raises(APIStatusError) as caught:
            sdk.chat.completions.create(model="hearth", messages=[{"role": "user", "content": "word " * 20_000}])
        assert caught.value.status_code == 400
    assert freehold.process is not None
    (engine,) = children(freehold.process.pid)
    assert freehold.stop() == 0
    assert not is_alive(engine)
    assert {r["zone"] for r in freehold.settled() if r["outcome"] == "ok"} == {"inside"}


def test_killed_it_comes_back_and_no_orphan_stays(make_freehold: Callable[..., Freehold]) -> None:
    freehold = make_freehold(None).start()
    assert freehold.process is not None
    pid = freehold.process.pid
    (engine,) = children(pid)
    os.kill(engine, signal.SIGKILL)
    assert until(lambda: bool(children(pid)) and children(pid) != [engine])
    with OpenAI(base_url=freehold.base_url, api_key=freehold.key(), max_retries=5) as sdk:
        assert sdk.chat.completions.create(
            model="hearth", messages=[{"role": "user", "content": "hello"}], max_tokens=5
        ).choices
    (engine,) = children(pid)
    freehold.kill()
    assert until(lambda: not is_alive(engine)), "kill -9 of the parent leaves no orphan"


@pytest.mark.parametrize("fault", ["missing", "cut short", "corrupt", "no GGUF"])
def test_a_broken_file_is_a_clear_error(make_freehold: Callable[..., Freehold], fault: str) -> None:
    freehold = make_freehold('[engine]\nmodel = "m.gguf"\nname = "mine"\n')
    good = HEARTH.read_bytes()
    content = {
        "cut short": good[:-500_000],
        "corrupt": good[:64] + b"\xff" * 4096 + good[4160:],
        "no GGUF": b"PK\x03\x04" + good[4:],
    }
    if fault in content:
        (freehold.folder / "m.gguf").write_bytes(content[fault])
    freehold.start()
    with (
        OpenAI(base_url=freehold.base_url, api_key=freehold.key(), max_retries=0) as sdk,
        pytest.raises(APIStatusError) as caught,
    ):
        sdk.chat.completions.create(model="mine", messages=[{"role": "user", "content": "hello"}])
    assert caught.value.status_code == 503
    assert until(lambda: "m.gguf" in freehold.output)
    assert freehold.stop() == 0


def test_the_head_of_a_file_is_looked_at(tmp_path: Path) -> None:
    assert fault_of(HEARTH) is None
    assert "cannot be read" in str(fault_of(tmp_path / "nope"))
    (tmp_path / "short").write_bytes(b"GGUF")
    assert "cut short" in str(fault_of(tmp_path / "short"))
