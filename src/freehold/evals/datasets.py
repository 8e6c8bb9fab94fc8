"""Cases: what is asked, and what a good answer is. Read from JSON lines, CSV, Parquet, Inspect AI's logs and OpenAI's evals alike."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from freehold.evals.logs import samples_of
from freehold.evals.tasks import Task
from freehold.kernel.errors import CallerError
from freehold.kernel.extras import need

_CLASSES = ("public", "internal", "confidential", "restricted")
_MANY_BYTES = 512 * 1024 * 1024
_OF_MESSAGE = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal")
_QUESTIONS, _BESIDE = (
    ("messages", "prompt", "input", "question"),
    ("id", "expected", "ideal", "target", "stratum", "cluster", "class"),
)
_OF_JSON = ("messages", "tools", "response_format")
_PLAIN = (str, int, float, bool, list, dict, type(None))


class Case(msgspec.Struct, frozen=True):
    """One case. messages: what is asked; expected: what a good answer is, None where nothing is; tools, body: what else the call says; class_: raises the call
    to it, "" for not; fields: everything that the row held.
    """

    id: str
    messages: list[dict[str, Any]]
    expected: Any
    stratum: str
    cluster: str | None
    tools: list[dict[str, Any]]
    class_: str
    fields: dict[str, Any]


def read(path: Path, task: Task) -> list[Case]:
    """Read a dataset by the end of its name. Raises CallerError `verdict.dataset` that names the row."""
    kind = path.suffix.lower()
    reader = _READERS.get(kind)
    if reader is None:
        raise _wrong(f"{path.name!r} is of no known kind: {', '.join(_READERS)}")
    try:
        if path.stat().st_size > _MANY_BYTES:
            raise _wrong(f"{path.name!r} is larger than 512 MiB")
        rows = list(reader(path))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError, csv.Error) as error:
        raise _wrong(f"{path.name!r} cannot be read ({type(error).__name__})") from None
    cases = [case_of(row, number, task) for number, row in enumerate(rows, 1)]
    return checked(cases)


def checked(cases: list[Case]) -> list[Case]:
    """Raises CallerError where there are none, or two of one id."""
    if len(cases) < 2:
        raise _wrong("holds less than two cases")
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise _wrong(
                f"holds the id {case.id!r} twice: two rows of one case are not two cases; 'cluster' says what belongs together"
            )
        seen.add(case.id)
    return cases


def digest_of(cases: Iterable[Case]) -> str:
    """The digest of cases in any order."""
    lines = sorted(msgspec.json.encode(case, order="sorted") for case in cases)
    return "sha256:" + hashlib.sha256(b"\n".join(lines)).hexdigest()


def questions_of(cases: Iterable[Case]) -> frozenset[str]:
    """What rows ask, as short digests: whatever system prompt or template is put around it, or else a row holds, a question stays the same one."""
    return frozenset(
        hashlib.sha256(msgspec.json.encode(_asked(case), order="sorted")).hexdigest()[:16] for case in cases
    )


def _asked(case: Case) -> Any:
    told = [case.fields[name] for name in _QUESTIONS if case.fields.get(name)]
    return told or {name: value for name, value in case.fields.items() if name not in _BESIDE}


def _wrong(what: str) -> CallerError:
    return CallerError(f"The dataset {what}.", code="verdict.dataset", hint='A row is {"id": …, "prompt": … or "messages": […], "expected": …}.')  # fmt: skip


def case_of(row: Any, number: int, task: Task) -> Case:
    """One row as a case. Raises CallerError `verdict.dataset`."""
    if not isinstance(row, dict):
        raise _wrong(f"has no object at row {number:,}")
    about = row.get("id", number)
    class_ = row.get("class") or ""
    if class_ and class_ not in _CLASSES:
        raise _wrong(f"names the class {class_!r} at row {number:,}; it is one of {', '.join(_CLASSES)}")
    cluster, tools = row.get(task.cluster), row.get("tools") or []
    if not isinstance(about, str | int) or isinstance(about, bool) or not isinstance(tools, list):
        raise _wrong(f"has an id or tools of a wrong kind at row {number:,}")
    try:
        msgspec.json.encode(row)  # what cannot be written cannot be asked
    except (UnicodeEncodeError, RecursionError, TypeError):
        raise _wrong(f"has text or numbers that cannot be written at row {number:,}") from None
    return Case(
        id=str(about),
        messages=_messages(row, number, task),
        expected=next((row[name] for name in ("expected", "ideal", "target") if row.get(name) is not None), None),
        stratum=str(row.get(task.strata.by) if row.get(task.strata.by) is not None else ""),
        cluster=str(cluster) if cluster is not None else None,
        tools=tools,
        class_=class_,
        fields=row,
    )


def _messages(row: dict[str, Any], number: int, task: Task) -> list[dict[str, Any]]:
    """What is asked: the row's own messages, or the template filled with its fields, or its prompt."""
    given = row.get("messages") or (row.get("input") if isinstance(row.get("input"), list) else None)
    given = json_list(given) if isinstance(given, str) else given
    if task.ask.template:
        messages = [{"role": "user", "content": filled(task.ask.template, row, number)}]
    elif given:
        if not isinstance(given, list) or not all(
            isinstance(one, dict) and isinstance(one.get("role"), str) for one in given
        ):
            raise _wrong(f"has messages that are none at row {number:,}")
        messages = [{name: one[name] for name in _OF_MESSAGE if one.get(name) is not None} for one in given]
    else:
        text = next((row[name] for name in ("prompt", "input", "question") if isinstance(row.get(name), str)), None)
        if text is None:
            raise _wrong(f"has neither messages nor a prompt at row {number:,}, and the task no template")
        options = row.get("choices")
        if isinstance(options, list) and options:
            text += "\n" + "\n".join(f"{chr(65 + at)}) {option}" for at, option in enumerate(options))
        messages = [{"role": "user", "content": text}]
    if task.ask.system and messages[0]["role"] not in ("system", "developer"):
        messages = [{"role": "system", "content": task.ask.system}, *messages]
    return messages


def filled(template: str, row: dict[str, Any], number: int) -> str:
    """A template with its `{fields}` filled in; `{{` and `}}` are braces."""

    def one(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] not in row:
            raise _wrong(f"has no {found[1]!r} at row {number:,}, which the template asks for")
        value = row[found[1]]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

    return re.sub(r"\{\{|\}\}|\{(\w+)\}", one, template)


def _of_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                try:
                    yield msgspec.json.decode(line)
                except (msgspec.DecodeError, RecursionError) as error:
                    raise _wrong(f"cannot be read at line {number:,}: {error}") from None


def _of_csv(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            yield {
                name: json_list(value) if name in _OF_JSON else value
                for name, value in row.items()
                if name and value not in (None, "")
            }


def json_list(value: str) -> Any:
    """What a cell of messages, tools or formats says; what is none stays a text."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _of_parquet(path: Path) -> Iterator[Any]:
    table = need("pyarrow.parquet", "verdict").read_table(path)
    for row in table.to_pylist():
        yield {name: value if isinstance(value, _PLAIN) else str(value) for name, value in row.items()}


def _of_log(path: Path) -> Iterator[Any]:
    """The cases of an Inspect AI log, each once."""
    seen = set()
    for sample in samples_of(path):
        if sample.id not in seen:
            seen.add(sample.id)
            yield {
                "id": sample.id,
                "input": sample.input,
                "prompt": sample.input,
                "expected": sample.target,
                **sample.metadata,
            }


_READERS: dict[str, Callable[[Path], Iterable[Any]]] = {
    ".jsonl": _of_lines,
    ".csv": _of_csv,
    ".parquet": _of_parquet,
    ".eval": _of_log,
    ".json": _of_log,
}
