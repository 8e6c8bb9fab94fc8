"""`freehold verdict` as a person uses it: outcomes from a file, runs through a real Freehold, labels, logs, reports; the exit code says whether it is decided."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from conftest import NO_ENGINE, PROGRAM, Freehold, running
from freehold.cli.main import main
from freehold.cli.verdict import command
from freehold.testing.standin import Behaviour, Standin

# Each stand-in says what the prompt tells it to: `open=yes` is what the open one is to answer.
PROMPT = "open={} closed={} number {}"


@pytest.fixture(scope="module")
def rack() -> Iterator[Standin]:
    with Standin(usual=Behaviour(echo=r"open=\w+")) as provider:
        yield provider


@pytest.fixture(scope="module")
def cloud() -> Iterator[Standin]:
    with Standin(usual=Behaviour(echo=r"closed=\w+")) as provider:
        yield provider


@pytest.fixture(scope="module")
def freehold(tmp_path_factory: pytest.TempPathFactory, rack: Standin, cloud: Standin) -> Iterator[Freehold]:
    text = (
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{rack.base_url}"\nzone = "inside"\nprices = {{ m = {{ input = 1.0, output = 1.0 }} }}\n'
        + f'[providers.cloud]\nbase_url = "{cloud.base_url}"\nkey = "env:CLOUD"\nprices = {{ m = {{ input = 10.0, output = 10.0 }} }}\n'
    )
    with running(tmp_path_factory.mktemp("verdict"), text, CLOUD="k") as one:
        yield one


@pytest.fixture(scope="module")
def key(freehold: Freehold) -> str:
    return freehold.key("--class", "public")


TASK = """name = "{name}"
dataset = "{name}.jsonl"
margin = {margin}
[targets]
open = "rack/m"
closed = "cloud/m"
[[metrics]]
scorer = "regex"
pattern = "=(\\\\w+)"
[ask]
max_tokens = 20
{more}"""


def write(
    freehold: Freehold, name: str, rows: list[tuple[str, str, dict[str, Any]]], margin: float = 0.1, more: str = ""
) -> str:
    """A task whose cases say what each side will answer; right is `yes`."""
    lines = [
        {"id": f"c{at}", "prompt": PROMPT.format(first, second, at), "expected": "yes", **extra}
        for at, (first, second, extra) in enumerate(rows)
    ]
    (freehold.folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (freehold.folder / f"{name}.toml").write_text(TASK.format(name=name, margin=margin, more=more))
    return f"{name}.toml"


def verdict(freehold: Freehold, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, "verdict", *arguments], cwd=freehold.folder, env=freehold.env, capture_output=True, text=True, timeout=120, check=False, input=text)  # fmt: skip


def run(freehold: Freehold, key: str, *files: str, **more: str) -> subprocess.CompletedProcess[str]:
    return verdict(
        freehold,
        "run",
        *files,
        "--key",
        key,
        "--url",
        more.get("url", freehold.base_url),
        *(["--json"] if "words" not in more else []),
    )


RIGHT = ("yes", "yes", {})


def test_a_run_from_task_to_report(freehold: Freehold, key: str, rack: Standin, cloud: Standin) -> None:
    """Asked through a real Freehold, sealed before, charged, receipted, reported, and not asked twice."""
    rows = [RIGHT] * 70 + [("no", "yes", {}), ("yes", "no", {})]
    file = write(freehold, "plain", rows, more="[report]\nexamples = 3\n")
    dry = verdict(freehold, "run", file, "--dry-run")
    assert dry.returncode == 0
    assert "144 calls, for 0." in dry.stderr
    before = len(rack.requests)
    report = freehold.folder / "report"
    told = verdict(freehold, "run", file, "--key", key, "--url", freehold.base_url, "--json", "--report", str(report))
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["verdict"] == "OPEN"
    assert (found["n"], found["difference"]) == (72, 0.0)
    assert (
        found["seal"]["digest"]
        in (freehold.state / "verdicts" / found["seal"]["digest"][7:23] / "seal.json").read_text()
    )
    assert found["costs"]["per_call"]["closed"][0] == pytest.approx(10 * found["costs"]["per_call"]["open"][0], rel=0.2)
    assert len(rack.requests) - before == 72
    outcomes = freehold.state / "verdicts" / found["seal"]["digest"][7:23] / "outcomes.jsonl"
    same = json.loads(verdict(freehold, "--outcomes", str(outcomes), "--margin", "0.1", "--json").stdout)
    assert same["interval"] == found["interval"]
    page = (report / "index.html").read_text()
    assert "open=no" in page
    assert "open=" not in outcomes.with_name("index.html").read_text()  # what is kept shows no words
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    for path in freehold.state.rglob("*"):  # neither what was asked nor what was answered lies anywhere in the clear
        assert not path.is_file() or (
            b"closed=yes number" not in path.read_bytes() and b"You wrote" not in path.read_bytes()
        )
    again = run(freehold, key, file)
    assert json.loads(again.stdout)["interval"] == found["interval"]
    assert len(rack.requests) - before == 72
    receipts = [one for one in freehold.settled() if one["target"] in ("rack/m", "cloud/m")]
    assert len(receipts) >= 144


def test_a_margin_changed_after_looking_is_another_seal(freehold: Freehold, key: str) -> None:
    rows = [RIGHT] * 50
    first = json.loads(run(freehold, key, write(freehold, "moved", rows, margin=0.02)).stdout)
    second = json.loads(run(freehold, key, write(freehold, "moved", rows, margin=0.3)).stdout)
    assert first["verdict"] == "INCONCLUSIVE"
    assert second["verdict"] == "OPEN"
    assert second["seal"]["digest"] != first["seal"]["digest"]
    assert second["seal"]["beside"][0]["margin"] == 0.02
    assert any("under another seal" in text for text in second["cautions"])
    listed = json.loads(verdict(freehold, "show", "--json").stdout)["runs"]
    assert {one["margin"] for one in listed if one["task"] == "moved"} == {0.02, 0.3}
    shown = verdict(freehold, "show", first["seal"]["digest"][:20])
    assert shown.returncode == 1
    assert "INCONCLUSIVE" in shown.stdout


def test_restricted_cases_never_leave(freehold: Freehold, key: str, cloud: Standin) -> None:
    """They are asked of nobody outside, counted, and in no number."""
    rows = [RIGHT] * 40 + [("yes", "secretword", {"class": "restricted"})] * 5
    told = json.loads(run(freehold, key, write(freehold, "classes", rows)).stdout)
    assert told["n"] == 40
    assert any("5 of 45 cases may not go to every side" in text for text in told["cautions"])
    assert not any(b"secretword" in one.body for one in cloud.requests)


def test_kill_and_go_on(freehold: Freehold, key: str, rack: Standin) -> None:
    """Killed in the middle, with kill -9: the next run asks what is missing and nothing else."""
    rows = [RIGHT] * 150
    file = write(freehold, "killed", rows)
    (freehold.folder / "killed.toml").write_text(
        (freehold.folder / file).read_text().replace("max_tokens = 20", "max_tokens = 20\nconcurrency = 2")
    )
    before = len(rack.requests)
    process = subprocess.Popen([*PROGRAM, "verdict", "run", file, "--key", key, "--url", freehold.base_url], cwd=freehold.folder, env=freehold.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    until = time.monotonic() + 60
    while len(rack.requests) - before < 40 and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    at_death = len(rack.requests) - before
    assert 40 <= at_death < 150
    told = json.loads(run(freehold, key, file).stdout)
    assert told["n"] == 150
    assert 150 <= len(rack.requests) - before <= 150 + 2  # those that were on their way when it died


def test_two_runs_of_the_same_cases_wait_for_each_other(freehold: Freehold, key: str, rack: Standin) -> None:
    file = write(freehold, "both", [RIGHT] * 100)
    command_ = [*PROGRAM, "verdict", "run", file, "--key", key, "--url", freehold.base_url, "--json"]
    first, second = (subprocess.Popen(command_, cwd=freehold.folder, env=freehold.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2))  # fmt: skip
    ends = sorted((one.communicate(timeout=60)[0], one.returncode) for one in (first, second))
    codes = [code for _, code in ends]
    assert 0 in codes
    if 2 in codes:
        assert any(b"verdict.busy" in out for out, _ in ends)


def test_several_tasks_are_decided_together(freehold: Freehold, key: str) -> None:
    """One that is barely OPEN alone is not beside nine others that are not decided."""
    alone = write(freehold, "alone", [RIGHT] * 105, margin=0.05)
    assert json.loads(run(freehold, key, alone).stdout)["verdict"] == "OPEN"
    others = [write(freehold, f"other{at}", [RIGHT] * (10 + at), margin=0.05) for at in range(9)]
    told = run(freehold, key, alone, *others)
    assert {one["verdict"] for one in json.loads(told.stdout)["verdicts"]} == {"INCONCLUSIVE"}
    assert told.returncode == 1


def test_labels_by_a_person(freehold: Freehold, key: str) -> None:
    """Blind and in random order; what is written is the right way round."""
    judged = '[[metrics]]\nname = "people"\nscorer = "human"\n'
    file = write(freehold, "people", [("good", "bad", {"expected": "good"})] * 30, more=judged)
    assert run(freehold, key, file).returncode in (0, 1)
    keys = iter([])
    shown = verdict(freehold, "label", file, "-n", "12", text="1\n" * 12)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("open=good") >= 12
    labels = [json.loads(line) for line in (freehold.folder / "labels.jsonl").read_text().splitlines()]
    assert len(labels) == 12
    blocks = shown.stdout.split("--- ")[1:]
    firsts = ["You wrote: open=" in block.split("[FIRST]")[1].split("[SECOND]")[0] for block in blocks]
    assert [one["human_open"] == 1.0 for one in labels] == firsts
    assert 0 < sum(firsts) < 12
    more = verdict(freehold, "label", file, "-n", "5", text="0\nq\n")
    assert "1 labels written" in more.stderr
    assert len((freehold.folder / "labels.jsonl").read_text().splitlines()) == 13
    assert next(keys, None) is None


def test_without_a_freehold_nothing_is_lost(freehold: Freehold, key: str) -> None:
    file = write(freehold, "nobody", [RIGHT] * 3)
    told = run(freehold, key, file, url="http://127.0.0.1:9/v1")
    assert told.returncode == 2
    assert "verdict.stopped" in told.stderr
    assert "Traceback" not in told.stderr
    wrong = run(freehold, "fh-wrong", file)
    assert "auth.unknown_key" in wrong.stderr
    assert json.loads(run(freehold, key, file).stdout)["n"] == 3


# --- outcomes from a file -------------------------------------------------------------------------------------------


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., Any]:
    def say(rows: list[dict[str, Any]], *arguments: str) -> Any:
        path = tmp_path / "outcomes.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return CliRunner().invoke(command, ["--outcomes", str(path), *arguments], standalone_mode=False)

    return say


def _rows(better: int, worse: int, both: int, **more: Any) -> list[dict[str, Any]]:
    kinds = [(True, False)] * better + [(False, True)] * worse + [(True, True)] * both
    return [{"id": at, "open": first, "closed": second, **more} for at, (first, second) in enumerate(kinds)]


@pytest.mark.parametrize(("rows", "word", "code"), [(_rows(1, 1, 400), "OPEN", 0), (_rows(1, 1, 10), "INCONCLUSIVE", 1), (_rows(0, 50, 10), "CLOSED", 0), ([*_rows(1, 1, 9), {"id": 3, "open": 1, "closed": 1}], "INVALID", 2)])  # fmt: skip
def test_words_and_exit_codes(said: Callable[..., Any], rows: list[dict[str, Any]], word: str, code: int) -> None:
    told = said(rows, "--margin", "0.05", "--json")
    found = json.loads(told.output)
    assert (found["verdict"], told.return_value) == (word, code)
    wanted = {"verdict", "n", "difference", "standard_error", "standard_error_unclustered", "interval", "lower_bound", "upper_bound", "p_mcnemar", "margin", "strata", "route", "needed_n", "reasons", "seal"}  # fmt: skip
    assert wanted <= set(found)
    assert found["seal"] is None
    assert word in said(rows, "--margin", "0.05").output


def test_a_report_of_outcomes(said: Callable[..., Any], tmp_path: Path) -> None:
    rows = [{**row, "stratum": "<b>odd</b> & \x1b[31m"} for row in _rows(1, 1, 100)] + [
        {**row, "id": f"x{row['id']}", "stratum": "other"} for row in _rows(0, 30, 30)
    ]
    told = said(rows, "--margin", "0.05", "--report", str(tmp_path / "report"))
    assert told.return_value == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "<b>odd" not in page
    assert "targets = [" in page
    assert (tmp_path / "report/intervals.svg").read_text().startswith("<svg")


def test_plans() -> None:
    told = CliRunner().invoke(
        command, ["plan", "--margin", "0.05", "--discordance", "0.1", "--json"], standalone_mode=False
    )
    found = json.loads(told.output)
    assert 250 < found["needed_n"] < 350
    assert found["power"] >= 0.8
    words = CliRunner().invoke(command, ["plan", "--margin", "0.05", "--discordance", "0.1", "--correlation", "0.8", "--cluster-size", "5", "--likeness", "0.3"], standalone_mode=False)  # fmt: skip
    assert "labels by people" in words.output
    assert "2.20 times as many" in words.output


def test_logs_become_outcomes(tmp_path: Path) -> None:
    for name, value in (("a", "C"), ("b", "I")):
        samples = [
            {"id": at, "epoch": 1, "input": "q", "target": "t", "scores": {"match": {"value": value}}}
            for at in range(3)
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps({"samples": samples}))
    out = tmp_path / "o.jsonl"
    told = CliRunner().invoke(command, ["import", "--open", str(tmp_path / "a.json"), "--closed", str(tmp_path / "b.json"), "--out", str(out)], standalone_mode=False)  # fmt: skip
    assert told.return_value == 0
    assert json.loads(out.read_text().splitlines()[0]) == {
        "id": "0",
        "open": 1.0,
        "open_status": "ok",
        "closed": 0.0,
        "closed_status": "ok",
    }


def test_init_writes_a_task_once(tmp_path: Path) -> None:
    out = tmp_path / "v.toml"
    assert CliRunner().invoke(command, ["init", "--out", str(out)], standalone_mode=False).return_value == 0
    assert CliRunner().invoke(command, ["init", "--out", str(out)], standalone_mode=False).exception is not None


# --- holes that a review found --------------------------------------------------------------------------------------


def test_a_judge_outside_gets_nothing_that_a_workload_keeps_inside(
    make_freehold: Callable[..., Freehold], inside: Standin, outside: Standin
) -> None:
    """The row says nothing, the key is public: it is the workload that makes the answers restricted."""
    inside.usual = Behaviour(echo=r"open=\w+")
    one = make_freehold(
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n[providers.third]\nbase_url = "{outside.base_url}"\nkey = "env:THIRD"\n'
        + '[workloads.triage]\nclass = "restricted"\ntargets = ["rack/m"]\n',
        THIRD="k",
    ).start()
    write(one, "kept", [RIGHT] * 6)
    text = (one.folder / "kept.toml").read_text().replace('"rack/m"', '"triage"').replace('"cloud/m"', '"rack/n"')
    judge = '[[metrics]]\nscorer = "judge"\ntarget = "third/j"\nrubric = "polite"\n[[metrics]]\nscorer = "embedding"\ntarget = "third/e"\n'
    (one.folder / "kept.toml").write_text(text + judge)
    told = run(one, one.key("--class", "public"), "kept.toml")
    assert told.returncode == 2
    assert "verdict.forbidden" in told.stderr
    assert not outside.requests


def test_what_a_model_says_does_not_reach_a_terminal_raw(said: Callable[..., Any], tmp_path: Path) -> None:
    odd = "\x1b]0;PWNED\x07\x1b[2J"
    rows = [{**row, "stratum": odd} for row in _rows(1, 1, 100)] + [
        {**row, "id": f"x{row['id']}", "stratum": "b\n[providers.evil]\n#"} for row in _rows(0, 60, 30)
    ]
    told = said(rows, "--margin", "0.05")
    assert "ROUTE" in told.output
    assert "\x1b" not in told.output
    assert "\n[providers.evil]" not in told.output
    assert "[workloads.open-enough]" in told.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--margin", "nan", "--discordance", "0.1"),
        ("plan", "--margin", "3", "--discordance", "0.1"),
        ("plan", "--margin", "0.1", "--spread", "inf"),
        ("plan", "--margin", "0.1"),
        ("run", "nothing.toml"),
        ("label", "nothing.toml"),
        ("show", "nothing"),
        ("--outcomes", "nothing.jsonl", "--margin", "0.1"),
        ("--margin", "0.1"),
        ("--margin", "0.1", "run", "x.toml"),
        ("--outcomes", "nothing.jsonl", "--margin", "0.1", "--share", "a"),
        (),
    ],
)
def test_misuse_is_two_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["freehold", "verdict", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said
    assert "Traceback" not in said
    assert "itself failed" not in said


def test_a_reader_that_has_gone_is_no_answer(tmp_path: Path) -> None:
    rows = [{**row, "id": f"{at} {row['id']}", "stratum": f"s{at}"} for at in range(300) for row in _rows(1, 1, 3)]
    (tmp_path / "o.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    shell = f"{' '.join(PROGRAM)} verdict --outcomes o.jsonl --margin 0.1 --json | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    told = subprocess.run(["bash", "-c", shell], cwd=tmp_path, timeout=60, check=False)
    assert told.returncode in (0, 141)


def test_people_alone_decide(freehold: Freehold, key: str) -> None:
    """Answer first, label then, run again."""
    file = write(freehold, "human", [("good", "bad", {})] * 23)
    text = (
        (freehold.folder / file)
        .read_text()
        .replace('scorer = "regex"\npattern = "=(\\\\w+)"', 'scorer = "human"')
        .replace("margin = 0.1", 'margin = 0.1\nlabels = "human-labels.jsonl"')
    )
    (freehold.folder / file).write_text(text)
    first = run(freehold, key, file)
    assert "verdict.labels" in first.stderr
    assert verdict(freehold, "label", file, "-n", "20", text="0\n" * 20).returncode == 0
    told = json.loads(run(freehold, key, file).stdout)
    assert told["n"] == 20
    assert told["labels"]["count"] == 20


def test_a_bug_is_a_sentence_and_no_answer(tmp_path: Path) -> None:
    """Exit code 1 would say that nothing is decided."""
    code = "import freehold.cli.main as m, freehold.cli.verdict as v; v.decide = lambda *a: 1 / 0; import sys; sys.argv = ['freehold', 'verdict', '--outcomes', 'o.jsonl', '--margin', '0.1']; m.main()"
    (tmp_path / "o.jsonl").write_text('{"id": 1, "open": true, "closed": true}\n')
    told = subprocess.run(
        [PROGRAM[0], "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 2
    assert "ZeroDivisionError" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_call_that_takes_too_long_is_an_error_and_not_the_end(freehold: Freehold, key: str, rack: Standin) -> None:
    file = write(freehold, "slow", [RIGHT] * 33, more="timeout_s = 1.0\n")
    rack.behave(Behaviour(delay_s=3.0))
    told = json.loads(run(freehold, key, file).stdout)
    assert any("calls to rack/m failed: 1 × cli.timeout" in text for text in told["cautions"])
    assert told["left_out"] == 1
    assert json.loads(run(freehold, key, file).stdout)["left_out"] == 0
