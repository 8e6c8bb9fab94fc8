"""Tasks, datasets and the logs of other tools: read strictly, sealed by all that could change the verdict."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from freehold.evals import datasets, logs, tasks
from freehold.evals.judging import check_family, family_of
from freehold.kernel.errors import CallerError

TASK = 'name = "t"\ndataset = "c.jsonl"\nmargin = 0.05\n[targets]\nopen = "a/x"\nclosed = "b/y"\n[[metrics]]\nscorer = "exact"\n'


def test_the_example_is_a_task() -> None:
    found = tasks.read(tasks.EXAMPLE)
    assert found.margin == 0.03
    assert isinstance(found.metrics[0], tasks.Fields)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("margin = 0.05", "margin = 0.0", "margin"),
        ("margin = 0.05", "margn = 0.05", "margn"),
        ('scorer = "exact"', 'scorer = "exakt"', "exakt"),
        ('scorer = "exact"', 'scorer = "exact"\ntolerance = 1', "tolerance"),
        ('scorer = "exact"', 'scorer = "exact"\n[[metrics]]\nscorer = "exact"', "two metrics"),
        ('closed = "b/y"', 'closed = "a/x"', "itself"),
        ('open = "a/x"', 'open = ["a/x", "c/z"]', "watched"),
        ('name = "t"', 'name = "../t"', "name"),
        ("[targets]", "[tragets]", "tragets"),
        ('open = "a/x"', "open = []", "no open model"),
        ("[[metrics]]", "[ask]\nbody = { stream = true }\n[[metrics]]", "stream"),
        ("[[metrics]]", "[stopping]\nwatched = true\n[strata]\nshares = { a = 1.0 }\n[[metrics]]", "shares"),
        ('name = "t"', "name = ", "TOML"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, says: str) -> None:
    text = TASK.replace(old, new) + ("[stopping]\nwatched = true\n" if says == "watched" else "")
    with pytest.raises(CallerError) as refused:
        tasks.read(text)
    assert refused.value.code == "verdict.task"
    assert says in refused.value.text


def test_the_seal_covers_all_that_could_change_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{}")
    base = TASK.replace('scorer = "exact"', 'scorer = "json_schema"\nschema = "s.json"')
    first = tasks.digest_of(tasks.read(base), "d", tasks.files_of(tasks.read(base), tmp_path))
    for old, new in (("0.05", "0.06"), ("a/x", "a/z"), ("c.jsonl", "e.jsonl")):
        changed = tasks.read(base.replace(old, new))
        assert tasks.digest_of(changed, "d", tasks.files_of(changed, tmp_path)) != first
    assert tasks.digest_of(tasks.read(base), "other cases", tasks.files_of(tasks.read(base), tmp_path)) != first
    (tmp_path / "s.json").write_text('{"type": "object"}')
    assert tasks.digest_of(tasks.read(base), "d", tasks.files_of(tasks.read(base), tmp_path)) != first
    assert tasks.digest_of(tasks.read(base + "\n# a remark\n"), "d", {}) == tasks.digest_of(tasks.read(base), "d", {})
    own = tasks.read(TASK.replace('scorer = "exact"', 'scorer = "own"\nfunction = "mine.py:f"'))
    (tmp_path / "mine.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("WORD = 1\n")
    before = tasks.files_of(own, tmp_path)
    (tmp_path / "helper.py").write_text("WORD = 2\n")
    assert tasks.files_of(own, tmp_path) != before


# --- datasets -------------------------------------------------------------------------------------------------------


def cases(folder: Path, name: str, raw: bytes, more: str = "") -> list[datasets.Case]:
    (folder / name).write_bytes(raw)
    return datasets.read(folder / name, tasks.read(TASK + more))


ROWS: list[dict[str, Any]] = [
    {"id": 1, "prompt": "hello", "expected": "hi", "stratum": "a", "cluster": "k", "class": "restricted"},
    {"id": 2, "prompt": "bye", "expected": "bye", "stratum": "b"},
]


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def test_the_same_cases_in_every_format(tmp_path: Path) -> None:
    jsonl = cases(tmp_path, "c.jsonl", "\n".join(map(json.dumps, ROWS)).encode())
    csv = cases(
        tmp_path, "c.csv", b"id,prompt,expected,stratum,cluster,class\n1,hello,hi,a,k,restricted\n2,bye,bye,b,,\n"
    )
    parquet = cases(tmp_path, "c.parquet", _parquet(ROWS))
    for each in (jsonl, csv, parquet):
        assert [
            (one.id, one.messages[0]["content"], one.expected, one.stratum, one.cluster, one.class_) for one in each
        ] == [
            ("1", "hello", "hi", "a", "k", "restricted"),
            ("2", "bye", "bye", "b", None, ""),
        ]


def test_the_digest_is_of_cases_in_any_order(tmp_path: Path) -> None:
    first = cases(tmp_path, "c.jsonl", "\n".join(map(json.dumps, ROWS)).encode())
    second = cases(tmp_path, "d.jsonl", "\n".join(map(json.dumps, reversed(ROWS))).encode())
    assert datasets.digest_of(first) == datasets.digest_of(second)
    changed = [{**ROWS[0], "expected": "hello"}, ROWS[1]]
    assert datasets.digest_of(
        cases(tmp_path, "e.jsonl", "\n".join(map(json.dumps, changed)).encode())
    ) != datasets.digest_of(first)


def test_templates_and_systems(tmp_path: Path) -> None:
    rows = b'{"id": 1, "text": "T {x}", "to": ["a"]}\n{"id": 2, "text": "U", "to": []}'
    found = cases(tmp_path, "c.jsonl", rows, '[ask]\ntemplate = "For {to}: {text} {{kept}}"\nsystem = "S"\n')
    assert found[0].messages == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": 'For ["a"]: T {x} {kept}'},
    ]


def test_odd_files_that_editors_write(tmp_path: Path) -> None:
    bom = cases(tmp_path, "c.jsonl", b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(row).encode() for row in ROWS))
    assert bom[0].id == "1"
    braces = cases(tmp_path, "c.csv", b'id,prompt,expected\n1,"{""a"": 1}","[1]"\n2,x,y\n')
    assert braces[0].messages[0]["content"] == '{"a": 1}'
    assert braces[0].expected == "[1]"
    with pytest.raises(CallerError):
        cases(tmp_path, "d.csv", b"id,prompt\n1," + b"x" * 200_000 + b"\n2,y\n")


def test_openai_evals_samples(tmp_path: Path) -> None:
    rows = b'{"input": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "ideal": ["x", "y"]}\n{"input": "plain", "ideal": "z"}'
    found = cases(tmp_path, "c.jsonl", rows)
    assert [one.id for one in found] == ["1", "2"]
    assert found[0].messages[0] == {"role": "system", "content": "s"}
    assert found[0].expected == ["x", "y"]
    assert found[1].messages == [{"role": "user", "content": "plain"}]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"id": 1, "prompt": "x"}', "less than two"),
        (b'{"id": 1, "prompt": "x"}\n{"id": "1", "prompt": "y"}', "'1' twice"),
        (b'{"id": 1, "prompt": "x"}\n{"id": 2}', "row 2"),
        (b'{"id": 1, "prompt": "x"}\n[]', "row 2"),
        (b'{"id": 1, "prompt": "x"}\n{', "line 2"),
        (b'{"id": 1, "prompt": "x", "class": "secret"}\n{"id": 2, "prompt": "y"}', "'secret'"),
        (b'{"id": 1, "messages": ["x"]}\n{"id": 2, "prompt": "y"}', "row 1"),
        (b'{"id": 1, "messages": 5}\n{"id": 2, "prompt": "y"}', "row 1"),
        (b'{"id": [1], "prompt": "x"}\n{"id": 2, "prompt": "y"}', "row 1"),
        (b'{"id": 1, "prompt": "x", "y": ' + b"[" * 5_000 + b"]" * 5_000 + b'}\n{"id": 2, "prompt": "y"}', "line 1"),
    ],
)
def test_a_dataset_that_is_wrong(tmp_path: Path, raw: bytes, says: str) -> None:
    with pytest.raises(CallerError) as refused:
        cases(tmp_path, "c.jsonl", raw)
    assert refused.value.code == "verdict.dataset"
    assert says in refused.value.text


# --- logs of other tools --------------------------------------------------------------------------------------------


def _sample(about: Any, score: Any, epoch: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": about,
        "epoch": epoch,
        "input": f"q{about}",
        "target": "t",
        "scores": {"match": {"value": score}},
        "working_time": 1.5,
        **more,
    }


SAMPLES = [
    _sample(1, "C"),
    _sample(1, "I", epoch=2),
    _sample("q/2", "I"),
    _sample(3, float("nan")),
    {"id": 4, "epoch": 1, "input": "q4", "target": "t", "scores": {}, "error": {"message": "m"}},
    _sample(5, {"helpful": 3, "polite": None}),
]


def _archive(path: Path, samples: list[dict[str, Any]], *, is_packed: bool) -> None:
    """A log as Inspect writes it; packed: with Zstandard, whose number Python's zipfile does not know."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", "{}")
        for one in samples:
            archive.writestr(f"samples/{one['id']}_epoch_{one['epoch']}.json", json.dumps(one))
    if not is_packed:
        return
    members = []
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    out, listing = io.BytesIO(), b""
    for name, data in members:
        half = len(data) // 2  # two frames, as a large member has
        packed = b"".join(
            pyarrow.compress(part, codec="zstd", asbytes=True) for part in (data[:half], data[half:]) if part
        )
        fields = (93, 0, 0, zlib.crc32(data), len(packed), len(data), len(name.encode()))
        offset = out.tell()
        out.write(struct.pack("<IHHHHHIIIHH", 0x04034B50, 63, 0, *fields, 0) + name.encode() + packed)
        listing += (
            struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 63, 63, 0, *fields, 0, 0, 0, 0, 0, offset) + name.encode()
        )
    start = out.tell()
    out.write(listing + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(members), len(members), len(listing), start, 0))
    path.write_bytes(out.getvalue())


@pytest.mark.parametrize("kind", ["plain", "packed", "json"])
def test_inspect_logs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("log.json" if kind == "json" else "log.eval")
    if kind == "json":
        path.write_text(json.dumps({"version": 2, "samples": SAMPLES}))
    else:
        _archive(path, SAMPLES, is_packed=kind == "packed")
    found = {(one.id, at): one for at, one in enumerate(logs.samples_of(path))}
    assert sorted(one.id for one in found.values()) == ["1", "1", "3", "4", "5", "q/2"]
    by_id = {one.id: one for one in found.values()}
    assert by_id["q/2"].scores == {"match": 0.0}
    assert by_id["3"].scores == {}
    assert by_id["4"].status == "error"
    assert by_id["5"].scores == {"match/helpful": 3.0}


def test_two_logs_become_outcomes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.eval", tmp_path / "b.json"
    _archive(first, SAMPLES[:5], is_packed=False)
    second.write_text(json.dumps({"samples": [_sample(1, "C"), _sample("q/2", "C"), _sample(9, "C")]}))
    rows = {row["id"]: row for row in logs.paired(logs.samples_of(first), logs.samples_of(second), "")}
    assert set(rows) == {"1", "q/2"}
    assert rows["1"] == {"id": "1", "open": 0.5, "open_status": "ok", "open_latency_s": 1.5, "closed": 1.0, "closed_status": "ok", "closed_latency_s": 1.5}  # fmt: skip


def test_logs_of_different_tasks_are_no_pairs() -> None:
    first = [logs.Sample("1", "q", "t", {"m": 1.0}, "ok", None, {})]
    second = [logs.Sample("1", "another q", "t", {"m": 0.0}, "ok", None, {})]
    with pytest.raises(CallerError) as refused:
        list(logs.paired(first, second, ""))
    assert "different tasks" in refused.value.message


def test_openai_evals_logs(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    events = [
        {"spec": {"completion_fns": ["x"]}},
        {"final_report": {"accuracy": 0.5}},
        {"sample_id": "s.0", "type": "sampling", "data": {"prompt": "p", "sampled": ["a"]}},
        {"sample_id": "s.1", "type": "match", "data": {"correct": False}},
        {"sample_id": "s.0", "type": "match", "data": {"correct": True}},
        {"sample_id": "s.0", "type": "metrics", "data": {"f1": 0.25, "choice": "A"}},
        {"sample_id": "s.2", "type": "error", "data": {"type": "E"}},
    ]
    path.write_text("\n".join(map(json.dumps, events)))
    found = {one.id: one for one in logs.samples_of(path)}
    assert found["s.0"].scores == {"match": 1.0, "f1": 0.25}
    assert found["s.1"].scores == {"match": 0.0}
    assert found["s.2"].status == "error"


@pytest.mark.parametrize("raw", [b"", b"{", b"PK\x03\x04rubbish", b"[]", b'{"samples": [{"id": 1}]}', b"\xff\xfe"])
def test_what_is_no_log_is_said(tmp_path: Path, raw: bytes) -> None:
    for name in ("x.eval", "x.json", "x.jsonl"):
        (tmp_path / name).write_bytes(raw)
        try:
            list(logs.samples_of(tmp_path / name))
        except CallerError as refused:
            assert refused.code == "verdict.log"


# --- judges' families -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("openai/gpt-5", "openai"),
        ("openrouter/anthropic/claude-sonnet-4.5", "anthropic"),
        ("deepinfra/meta-llama/Llama-3.3-70B-Instruct", "meta"),
        ("together/Qwen/Qwen3-32B", "alibaba"),
        ("rack/mixtral-8x7b", "mistral"),
        ("builtin/hearth", "freehold"),
        ("rack/our-own", None),
    ],
)
def test_families(name: str, family: str | None) -> None:
    assert family_of(name) == family


def test_a_judge_of_the_same_family_is_refused() -> None:
    check_family("openai/gpt-5", ("rack/llama-3.3-70b", "anthropic/claude-x"))
    check_family("rack/one-unknown", ("rack/other-unknown",))
    for candidate in ("azure/gpt-4.1", "openai/gpt-5"):
        with pytest.raises(CallerError) as refused:
            check_family("openai/gpt-5", (candidate,))
        assert refused.value.code == "verdict.judge"
