"""Scorers: what each calls right, wrong and unreadable. And the fence around a user's command."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from freehold.evals import tasks
from freehold.evals.answers import Answer, Asked, Replied
from freehold.evals.datasets import Case
from freehold.evals.matching import Matcher
from freehold.evals.sandbox import Limits, run
from freehold.evals.scorers import Unscored, Withheld, check, scorer_of
from freehold.kernel.errors import CallerError


def case(expected: Any = None, **fields: Any) -> Case:
    return Case("1", [{"role": "user", "content": "?"}], expected, "", None, [], "", {"id": 1, **fields})


def nobody(_asked: Asked) -> Replied:
    raise AssertionError("nobody is to be asked")


def scored(
    metric: tasks.AnyMetric, answer: str | Answer, expected: Any = None, folder: Path = Path(), **fields: Any
) -> float | None:
    scorer = scorer_of(metric, folder, nobody)
    assert scorer is not None
    return scorer(case(expected, **fields), answer if isinstance(answer, Answer) else Answer(answer, (), "ok"))


ORDER = {"order": {"id": "A-1", "lines": [{"sku": "x"}, {"sku": "y"}]}, "paid": True, "sum": 3}


@pytest.mark.parametrize(
    ("metric", "answer", "expected", "score"),
    [
        (tasks.Exact(), "Paris", "Paris", 1.0),
        (tasks.Exact(), " Paris\n", "Paris", 1.0),
        (tasks.Exact(), "paris", "Paris", 0.0),
        (tasks.Exact(), "Lyon", ["Paris", "Lyon"], 1.0),
        (tasks.Normalised(), "The  Café, please!", "cafe please", 1.0),
        (tasks.Normalised(), "STRASSE", "Straße", 1.0),
        (tasks.Number(), "That makes 1,234.5 in all.", "1234.5", 1.0),
        (tasks.Number(), "first 3, then 4", "3", 0.0),
        (tasks.Number(), "none", "3", None),
        (tasks.Number(tolerance=0.5), "3.4", "3", 1.0),
        (tasks.Number(relative=0.01), "101", "100", 1.0),
        (tasks.Number(relative=0.01), "102", "100", 0.0),
        (tasks.Number(), "−5 degrees", "-5", 1.0),
        (tasks.Number(), "it is 12", 12, 1.0),
        (tasks.Pattern(pattern="(?i)sorry"), "So SORRY about it", None, 1.0),
        (tasks.Pattern(pattern="answer: ([A-D])"), "The answer: B", "B", 1.0),
        (tasks.Pattern(pattern="answer: ([A-D])"), "The answer: B", "C", 0.0),
        (tasks.Pattern(pattern="answer: ([A-D])"), "B", "B", None),
        (tasks.Fields(), json.dumps(ORDER), ORDER, 1.0),
        (tasks.Fields(), "```json\n" + json.dumps(ORDER) + "\n```", ORDER, 1.0),
        (tasks.Fields(), json.dumps({**ORDER, "paid": False}), ORDER, 2 / 3),
        (tasks.Fields(all_or_nothing=True), json.dumps({**ORDER, "paid": False}), ORDER, 0.0),
        (tasks.Fields(fields=("order.id", "order.lines.1.sku")), json.dumps(ORDER), ORDER, 1.0),
        (tasks.Fields(), json.dumps({**ORDER, "paid": 1}), ORDER, 2 / 3),
        (tasks.Fields(), json.dumps({**ORDER, "sum": 3.0}), ORDER, 1.0),
        (tasks.Fields(), "no JSON", ORDER, None),
        (tasks.Fields(), json.dumps(ORDER), json.dumps(ORDER), 1.0),
        (tasks.Exact(field="order.id"), json.dumps(ORDER), ORDER, 1.0),
        (tasks.Exact(field="order.id"), "{}", ORDER, 0.0),
        (tasks.Exact(field="order.id"), "x", ORDER, None),
        (tasks.Overlap(), "a red fox jumps", "the red fox", 2 * 2 / 5),
        (tasks.Overlap(in_order=True), "fox red", "red fox", 2 * 1 / 4),
        (tasks.Overlap(), "", "", 1.0),
    ],
)
def test_what_is_right(metric: tasks.AnyMetric, answer: str, expected: Any, score: float | None) -> None:
    assert scored(metric, answer, expected) == (pytest.approx(score) if score is not None else None)


def _calls(*calls: tuple[str, Any]) -> Answer:
    return Answer("", calls, "ok")


TWO = [{"name": "look_up", "arguments": {"id": "A-1"}}, {"function": {"name": "refund", "arguments": '{"sum": 3}'}}]


@pytest.mark.parametrize(
    ("metric", "answer", "expected", "score"),
    [
        pytest.param(tasks.Tools(), _calls(("look_up", {"id": "A-1"}), ("refund", {"sum": 3})), TWO, 1.0, id="both"),
        pytest.param(tasks.Tools(), _calls(("refund", {"sum": 3.0}), ("look_up", {"id": "A-1"})), TWO, 1.0, id="in any order"),
        pytest.param(tasks.Tools(ordered=True), _calls(("refund", {"sum": 3}), ("look_up", {"id": "A-1"})), TWO, 0.0, id="order asked for"),
        pytest.param(tasks.Tools(), _calls(("look_up", {"id": "A-2"}), ("refund", {"sum": 3})), TWO, 0.0, id="another argument"),
        pytest.param(tasks.Tools(arguments=False), _calls(("look_up", {"id": "A-2"}), ("refund", {})), TWO, 1.0, id="names alone"),
        pytest.param(tasks.Tools(), _calls(("look_up", {"id": "A-1"})), TWO, 0.0, id="one missing"),
        pytest.param(tasks.Tools(), _calls(("look_up", {"id": "A-1"})), [], 0.0, id="none wanted"),
        pytest.param(tasks.Tools(), _calls(), [], 1.0, id="none made"),
        pytest.param(tasks.Tools(), _calls(("look_up", "{broken")), [{"name": "look_up"}], 0.0, id="arguments that are no JSON"),
    ],
)  # fmt: skip
def test_tool_calls(metric: tasks.Tools, answer: Answer, expected: Any, score: float) -> None:
    assert scored(metric, answer, expected) == score


def test_schema(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}')
    metric = tasks.Schema(schema="s.json")
    assert [scored(metric, text, folder=tmp_path) for text in ('{"a": 1}', '{"a": "1"}', "{}", "no")] == [
        1.0,
        0.0,
        0.0,
        0.0,
    ]
    own = {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}
    assert scored(tasks.Schema(), "[]", response_format=own) == 1.0
    with pytest.raises(CallerError):
        scored(tasks.Schema(), "[]")


def test_own_function(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def polite(case, text):\n    return None if not text else case['word'] in text\n"
    )
    metric = tasks.Own(function="mine.py:polite")
    assert scored(metric, "please do", folder=tmp_path, word="please") == 1.0
    assert scored(metric, "do", folder=tmp_path, word="please") == 0.0
    assert scored(metric, "", folder=tmp_path, word="please") is None
    (tmp_path / "bad.py").write_text("def fails(case, text):\n    return 1 / 0\n")
    (tmp_path / "worse.py").write_text("1 / 0\n")
    (tmp_path / "ends.py").write_text(
        "import sys\ndef now(case, text):\n    sys.exit(0)\ndef endless(case, text):\n    return float('inf')\n"
    )
    for wrong in (
        "bad.py:fails",
        "worse.py:any",
        "ends.py:now",
        "ends.py:endless",
        "mine.py",
        "mine.py:rude",
        "yours.py:polite",
    ):
        with pytest.raises(CallerError):
            scored(tasks.Own(function=wrong), "", folder=tmp_path)


def test_embedding_nearness() -> None:
    vectors = {"said": [1.0, 0.0], "meant": [1.0, 1.0], "far": [-1.0, 0.0]}

    def ask(asked: Asked) -> Replied:
        return Replied(200, json.dumps({"data": [{"embedding": vectors[asked.body["input"]]}]}))

    scorer = scorer_of(tasks.Similar(target="e"), Path(), ask)
    assert scorer is not None
    assert scorer(case("meant"), Answer("said", (), "ok")) == pytest.approx(0.5**0.5)
    assert scorer(case("far"), Answer("said", (), "ok")) == 0.0
    assert scorer(case(["far", "meant"]), Answer("said", (), "ok")) == pytest.approx(0.5**0.5)
    for replied, raised in ((Replied(500, ""), Unscored), (Replied(403, "", "perimeter.zone_forbidden"), Withheld)):
        broken = scorer_of(tasks.Similar(target="e"), Path(), lambda _asked, replied=replied: replied)
        assert broken is not None
        with pytest.raises(raised):
            broken(case("meant"), Answer("said", (), "ok"))


def test_whoever_scores_is_asked_as_what_the_answer_was_ruled() -> None:
    asked: list[Asked] = []

    def ask(one: Asked) -> Replied:
        asked.append(one)
        return Replied(200, json.dumps({"data": [{"embedding": [1.0]}]}))

    scorer = scorer_of(tasks.Similar(target="e"), Path(), ask)
    assert scorer is not None
    scorer(case("meant"), Answer("said", (), "ok", "restricted"))
    assert {one.class_ for one in asked} == {"restricted"}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (tasks.Exact(), None),
        (tasks.Pattern(pattern="(x)"), None),
        (tasks.Fields(fields=("departement",)), {"department": "a"}),
        (tasks.Command(command=("no-such-program",)), None),
    ],
)
def test_what_could_call_nothing_right_is_refused_before(metric: tasks.AnyMetric, expected: Any) -> None:
    with pytest.raises(CallerError) as refused:
        check(metric, [case(expected)])
    assert refused.value.code == "verdict.task"


def test_a_schema_elsewhere_is_not_fetched(tmp_path: Path) -> None:
    for number, schema in enumerate(
        ({"$ref": "http://127.0.0.1:9/x.json"}, {"$ref": "file:///etc/hostname"}, {"type": 5})
    ):
        (tmp_path / f"{number}.json").write_text(json.dumps(schema))
        with pytest.raises(CallerError):
            scored(tasks.Schema(schema=f"{number}.json"), "{}", folder=tmp_path)


def test_a_pattern_that_never_ends_is_ended() -> None:
    """And the next text is searched as ever."""
    matcher = Matcher(r"^(a+)+!$", timeout_s=0.5)
    assert matcher.search("a" * 40) is None
    assert matcher.search("aa!") == ["aa!", "aa"]
    assert matcher.search("\ud800 b") == []
    matcher.close()


def test_a_pattern_is_searched_apart_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file there that is called like a module is none; and nothing is left when this process is killed in the middle."""
    (tmp_path / "json.py").write_text("raise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    matcher = Matcher("a+")
    assert matcher.search("baa") == ["aa"]
    child = matcher._child
    assert child is not None
    child.kill()
    child.wait()
    assert matcher.search("baa") == ["aa"]
    matcher.close()


# --- commands -------------------------------------------------------------------------------------------------------

CHECK = "import json,sys; told=json.load(sys.stdin); ns={}; exec(told['answer'], ns); sys.exit(ns['double'](2) != told['case']['meant'])"


def python(code: str, **more: Any) -> tasks.Command:
    return tasks.Command(command=(sys.executable, "-c", code), **more)


def test_command_says_what_is_right() -> None:
    assert scored(python(CHECK), "def double(x): return 2 * x", meant=4) == 1.0
    assert scored(python(CHECK), "def double(x): return x", meant=4) == 0.0
    assert scored(python(CHECK), "not python", meant=4) == 0.0
    assert scored(python("print('words'); print(0.25)"), "") == 0.25
    assert scored(python("print(7)"), "") is None
    assert scored(python("print(0.5); import os; os.abort()"), "") == 0.0
    assert scored(python("import sys; print('x' * 300_000); print(0.75)"), "") == 0.75  # the end counts
    assert scored(tasks.Command(command=("no-such-program",)), "") is None


def test_a_command_beside_the_task_is_found(tmp_path: Path) -> None:
    (tmp_path / "check.py").write_text("print(0.5)")
    assert scored(tasks.Command(command=(sys.executable, "check.py")), "", folder=tmp_path) == 0.5


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("while True: pass", id="never ends"),
        pytest.param("import time; time.sleep(60)", id="sleeps"),
        pytest.param("x = bytearray(2_000_000_000)", id="takes all memory"),
        pytest.param("open('f', 'wb').write(bytes(200_000_000))", id="fills the disk"),
        pytest.param("import socket; socket.create_connection(('127.0.0.1', PORT), 2)", id="calls out"),
    ],
)  # fmt: skip
def test_a_command_that_misbehaves_is_wrong_and_over(code: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        done = run((sys.executable, "-c", code.replace("PORT", str(server.getsockname()[1]))), b"", Limits(1.0, 256))
        if "create_connection" in code and done.status == 0:
            pytest.skip("this system gives nobody a network of his own")
        assert done.status != 0


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    assert run(
        ("sh", "-c", f"(sleep 1; touch {mark}) & (setsid sh -c 'sleep 1; touch {mark}' &) ; echo 1"),
        b"",
        Limits(20.0, 512),
    ) == (0, "1\n")
    late = run(("sh", "-c", f"(setsid sh -c 'sleep 2; touch {mark}' &) ; sleep 9"), b"", Limits(0.5, 512))
    assert late.status == -1
    assert run(("sleep", "2.2"), b"", Limits(10.0, 64)).status == 0
    assert not mark.exists()


def test_a_command_sees_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    look = "import glob, os; print(dict(os.environ), [open(one, 'rb').read() for one in glob.glob('/proc/[0-9]*/environ') if os.access(one, os.R_OK)], os.listdir('.'))"
    told = run((sys.executable, "-c", look), b"", Limits())
    assert told.status == 0
    assert "canary" not in told.output
    assert told.output.strip().endswith("[]")
