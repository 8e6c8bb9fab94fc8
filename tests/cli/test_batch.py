"""`freehold batch` as a person uses it: hand in, watch, fetch; the exit code says whether every line was answered."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from conftest import NO_ENGINE, PROGRAM, Freehold, running
from freehold.testing.standin import Behaviour, Standin


@pytest.fixture(scope="module")
def inside() -> Iterator[Standin]:
    with Standin() as provider:
        yield provider


@pytest.fixture(scope="module")
def freehold(tmp_path_factory: pytest.TempPathFactory, inside: Standin) -> Iterator[Freehold]:
    text = (
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n[workloads.w]\nbatch = true\ntargets = ["rack/m"]\n'
    )
    with running(tmp_path_factory.mktemp("batch"), text) as one:
        yield one


@pytest.fixture(scope="module")
def key(freehold: Freehold) -> str:
    return freehold.key("--workload", "w")


def batch(freehold: Freehold, key: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    said = [*PROGRAM, "batch", *arguments, "--url", freehold.base_url, "--key", key]
    return subprocess.run(
        said, cwd=freehold.folder, env=freehold.env, capture_output=True, text=True, timeout=60, check=False
    )


def write(freehold: Freehold, name: str, *models: str) -> None:
    lines = [{"custom_id": f"r{at}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}} for at, model in enumerate(models)]  # fmt: skip
    (freehold.folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_run_writes_what_came_back(freehold: Freehold, key: str) -> None:
    write(freehold, "good.jsonl", *["w"] * 30)
    told = batch(freehold, key, "run", "good.jsonl", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["request_counts"] == {"total": 30, "completed": 30, "failed": 0}
    assert len((freehold.folder / "good.output.jsonl").read_text().splitlines()) == 30
    (freehold.folder / "good.errors.jsonl").write_text("of an earlier run")
    assert batch(freehold, key, "run", "good.jsonl").returncode == 0
    assert not (freehold.folder / "good.errors.jsonl").exists()
    listed = batch(freehold, key, "list")
    assert "completed" in listed.stdout
    assert "30" in listed.stdout


def test_a_line_without_an_answer_is_exit_code_1(freehold: Freehold, key: str, inside: Standin) -> None:
    inside.behave(Behaviour(status=400))
    write(freehold, "mixed.jsonl", "w", "w")
    told = batch(freehold, key, "run", "mixed.jsonl", "--out", "results")
    assert told.returncode == 1
    assert "1 of 2 answered, 1 failed" in told.stdout
    assert (freehold.folder / "results/mixed.errors.jsonl").is_file()


def test_a_broken_file_names_the_line(freehold: Freehold, key: str) -> None:
    write(freehold, "broken.jsonl", "w", "w")
    with (freehold.folder / "broken.jsonl").open("a") as file:
        file.write("{\n")
    told = batch(freehold, key, "run", "broken.jsonl")
    assert told.returncode == 1
    assert "line 3: invalid_json_line" in told.stdout


def test_detach_show_cancel_follow(freehold: Freehold, key: str, inside: Standin) -> None:
    inside.usual = Behaviour(delay_s=0.1)
    write(freehold, "long.jsonl", *["w"] * 3000)
    begun = json.loads(batch(freehold, key, "run", "long.jsonl", "--detach", "--json").stdout)
    until = time.monotonic() + 20
    while json.loads(batch(freehold, key, "show", begun["id"], "--json").stdout)["status"] != "in_progress":
        assert time.monotonic() < until
    assert batch(freehold, key, "cancel", begun["id"]).returncode == 0
    told = batch(freehold, key, "follow", begun["id"], "--out", "cut")
    assert told.returncode == 1
    lines = [
        len((freehold.folder / f"cut/{begun['id']}.{kind}.jsonl").read_text().splitlines())
        for kind in ("output", "errors")
    ]
    assert sum(lines) == 3000
    assert batch(freehold, key, "show", begun["id"]).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "batch_of_nobody"), "request.unknown_batch"),
        (("show", "../../v1/models"), "request.unknown_path"),
        (("run", "good.jsonl", "--window", "soon"), "request.value"),
    ],
)
def test_what_cannot_be_done_is_said(freehold: Freehold, key: str, arguments: tuple[str, ...], code: str) -> None:
    write(freehold, "good.jsonl", "w")
    told = batch(freehold, key, *arguments)
    assert (told.returncode, f"code: {code}" in told.stderr) == (2, True), told.stderr
    if code == "request.unknown_path":
        return  # said to anybody
    wrong = batch(freehold, "fh-wrong", *arguments)
    assert (wrong.returncode, "auth.unknown_key" in wrong.stderr) == (2, True)
