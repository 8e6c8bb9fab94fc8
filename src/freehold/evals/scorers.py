"""Scorers: each is a function of a case and an answer that says how good the answer is, from 0 to 1, or None where it could not be read.

A user's own is the same thing in a file beside the task: `def polite(case, text): return "please" in text`.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from freehold.evals import tasks
from freehold.evals.answers import WITHHELD, Answer, Ask, Asked, highest
from freehold.evals.datasets import Case
from freehold.evals.matching import Matcher
from freehold.evals.sandbox import Limits, run
from freehold.kernel.errors import CallerError, OperatorError
from freehold.kernel.extras import need

Scorer = Callable[[Case, Answer], float | None]


class Withheld(Exception):
    """What has to be asked for a score may not go where it would have to."""


class Unscored(Exception):
    """What has to be asked for a score was not answered."""


def check(metric: tasks.AnyMetric, cases: Sequence[Case]) -> None:
    """Raises CallerError where a metric could call nothing right: before anything is asked."""
    needs = isinstance(
        metric,
        tasks.Exact | tasks.Normalised | tasks.Number | tasks.Fields | tasks.Tools | tasks.Similar | tasks.Overlap,
    )
    needs |= isinstance(metric, tasks.Pattern) and re.compile(metric.pattern).groups > 0
    without = [case.id for case in cases if case.expected is None]
    if needs and without:
        raise tasks.wrong(
            f"has the scorer {tasks.name_of(metric)!r}, and {len(without):,} of {len(cases):,} cases say nothing of what is expected (such as {without[0][:40]!r}): call it 'expected'"
        )
    if isinstance(metric, tasks.Fields):
        known = [json_of(case.expected) if isinstance(case.expected, str) else case.expected for case in cases]
        for name in metric.fields:
            if all(picked(one, name) is _NOTHING for one in known):
                raise tasks.wrong(f"looks at the field {name!r}, which no expected answer has")
    if isinstance(metric, tasks.Command) and shutil.which(metric.command[0]) is None:
        raise tasks.wrong(f"names the command {metric.command[0]!r}, which is not there or may not be run")


def scorer_of(metric: tasks.AnyMetric, folder: Path, ask: Ask) -> Scorer | None:
    """The scorer of a metric; None for what judges and people say, which needs both answers. folder: where a task's files are."""
    made: Scorer
    match metric:
        case tasks.Exact():
            made = _expected(lambda found, meant: found == meant)
        case tasks.Normalised():
            made = _expected(lambda found, meant: normal(found) == normal(meant))
        case tasks.Number(tolerance=tolerance, relative=relative):
            made = _number(tolerance, relative)
        case tasks.Pattern(pattern=pattern):
            made = _pattern(pattern)
        case tasks.Schema(schema=schema):
            made = _schema(_loaded(folder / schema) if schema else None)
        case tasks.Fields(fields=fields, all_or_nothing=whole):
            made = _fields(fields, whole=whole)
        case tasks.Tools(ordered=ordered, arguments=arguments):
            made = _tools(ordered=ordered, arguments=arguments)
        case tasks.Command(command=command, timeout_s=timeout_s, memory_mb=memory_mb):
            made = _command(command, folder, Limits(timeout_s, memory_mb))
        case tasks.Similar(target=target, at_least=at_least):
            made = _similar(ask, target, at_least)
        case tasks.Overlap(in_order=in_order):
            made = _overlap(in_order=in_order)
        case tasks.Own(function=function):
            made = _own(function, folder)
        case _:
            return None
    return _of_field(metric.field, made) if metric.field else made


def _of_field(field: str, scorer: Scorer) -> Scorer:
    """Score one field of a JSON answer instead of all of it."""

    def score(case: Case, answer: Answer) -> float | None:
        found = picked(json_of(answer.text), field)
        if found is _NOTHING:
            return None if json_of(answer.text) is _NOTHING else 0.0
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        meant = picked(case.expected, field) if isinstance(case.expected, dict) else case.expected
        return scorer(
            _with(case, None if meant is _NOTHING else meant),
            Answer(text, answer.tool_calls, answer.status, answer.class_),
        )

    return score


def _with(case: Case, expected: Any) -> Case:
    return Case(case.id, case.messages, expected, case.stratum, case.cluster, case.tools, case.class_, case.fields)


# --- text -----------------------------------------------------------------------------------------------------------


def texts(expected: Any) -> list[str]:
    """What may be expected, as texts."""
    each = expected if isinstance(expected, list) else [expected]
    return [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in each]


def _expected(same: Callable[[str, str], bool]) -> Scorer:
    return lambda case, answer: float(any(same(answer.text.strip(), meant.strip()) for meant in texts(case.expected)))


def normal(text: str) -> str:
    """Without case, accents, punctuation, articles and double spaces."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    words = re.sub(r"[^\w\s]", " ", plain).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:[,’' ]\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+−]?\.\d+")


def _number(tolerance: float, relative: float) -> Scorer:
    def score(case: Case, answer: Answer) -> float | None:
        found = _NUMBER.findall(answer.text)
        if not found:
            return None
        value = _valued(found[-1])
        meant = [_valued(each[-1]) for each in (_NUMBER.findall(text) for text in texts(case.expected)) if each]
        return float(any(abs(value - one) <= max(tolerance, relative * abs(one), 1e-12 * abs(one)) for one in meant))

    return score


def _valued(text: str) -> float:
    return float(re.sub(r"[,’' ]", "", text).replace("−", "-"))


def _pattern(pattern: str) -> Scorer:
    try:
        groups = re.compile(pattern, re.DOTALL).groups
    except re.error as error:
        raise tasks.wrong(f"has a pattern that is none: {error}") from None
    matcher = Matcher(pattern)

    def score(case: Case, answer: Answer) -> float | None:
        try:
            hit = matcher.search(answer.text)
        except OSError as error:
            raise OperatorError(f"The pattern cannot be searched for: {error}.", code="verdict.pattern") from None
        if hit is None or groups == 0:
            return None if hit is None else float(bool(hit))
        return float(any((hit[1] or "").strip() == meant.strip() for meant in texts(case.expected))) if hit else None

    return score


def _overlap(*, in_order: bool) -> Scorer:
    def score(case: Case, answer: Answer) -> float:
        said = normal(answer.text).split()
        return max((_f1(said, normal(meant).split(), in_order=in_order) for meant in texts(case.expected)), default=0.0)

    return score


def _f1(said: list[str], meant: list[str], *, in_order: bool) -> float:
    """Of shared words. Source: Lin 2004, ROUGE: ROUGE-1, and ROUGE-L by the longest common subsequence."""
    if not said or not meant:
        return float(said == meant)
    shared = _longest(said, meant) if in_order else (Counter(said) & Counter(meant)).total()
    return 2.0 * shared / (len(said) + len(meant))


def _longest(said: list[str], meant: list[str]) -> int:
    row = [0] * (len(meant) + 1)
    for word in said:
        before = 0
        for at, other in enumerate(meant, 1):
            before, row[at] = row[at], before + 1 if word == other else max(row[at], row[at - 1])
    return row[-1]


# --- JSON and tools -------------------------------------------------------------------------------------------------


class _Nothing:
    """What is not there, which is not the same as null."""


_NOTHING = _Nothing()


def json_of(text: str) -> Any:
    """The JSON of an answer, in a fence or not; `_NOTHING` where there is none."""
    fenced = re.search(r"```(?:json)?\s*(.*?)```", text, re.DOTALL)
    try:
        return json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return _NOTHING


def picked(value: Any, field: str) -> Any:
    """A field by its path: `order.lines.0.id`."""
    for name in field.split("."):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _NOTHING
    return value


def _fields(fields: tuple[str, ...], *, whole: bool) -> Scorer:
    def score(case: Case, answer: Answer) -> float | None:
        found, expected = (
            json_of(answer.text),
            json_of(case.expected) if isinstance(case.expected, str) else case.expected,
        )
        if found is _NOTHING:
            return None
        names = fields or tuple(expected if isinstance(expected, dict) else ())
        right = [_same(_or_null(picked(found, name)), _or_null(picked(expected, name))) for name in names]
        if not right:
            return float(_same(found, expected))
        return float(all(right)) if whole else sum(right) / len(right)

    return score


def _or_null(value: Any) -> Any:
    """What is not there is as good as null."""
    return None if value is _NOTHING else value


def _same(found: Any, meant: Any) -> bool:
    """The same JSON: 1 is 1.0, but true is not 1; objects in any order."""
    if isinstance(found, bool) or isinstance(meant, bool):
        return found is meant
    if isinstance(found, dict) and isinstance(meant, dict):
        return found.keys() == meant.keys() and all(_same(found[name], meant[name]) for name in meant)
    if isinstance(found, list) and isinstance(meant, list):
        return len(found) == len(meant) and all(map(_same, found, meant))
    return bool(found == meant)


def _loaded(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise tasks.wrong(f"names the schema {path.name!r}, which cannot be read ({type(error).__name__})") from None


def _schema(schema: Any) -> Scorer:
    library = need("jsonschema_rs", "verdict")
    known: dict[str, Any] = {}

    def score(case: Case, answer: Answer) -> float:
        wanted = schema if schema is not None else _format_of(case)
        if wanted is None:
            raise CallerError(
                f"The case {case.id!r} has no schema.", code="verdict.task", hint="Give the metric a schema."
            )
        found = json_of(answer.text)
        key = json.dumps(wanted, sort_keys=True)
        if key not in known:
            try:
                known[key] = library.validator_for(wanted, retriever=_nobody)
            except ValueError as error:
                raise tasks.wrong(f"has a schema that is none, or refers to another ({type(error).__name__})") from None
        return float(found is not _NOTHING and known[key].is_valid(found))

    return score


def _nobody(address: str) -> Any:
    """Whoever is asked for a schema at another address: only `upstream/` opens connections."""
    raise ValueError(address)


def _format_of(case: Case) -> Any:
    """The schema under which a case is asked."""
    told = case.fields.get("response_format")
    if isinstance(told, dict) and isinstance(told.get("json_schema"), dict):
        return told["json_schema"].get("schema")
    return case.fields.get("schema")


def _tools(*, ordered: bool, arguments: bool) -> Scorer:
    def score(case: Case, answer: Answer) -> float:
        meant = [
            _call(one)
            for one in (case.expected if isinstance(case.expected, list) else [case.expected] if case.expected else [])
        ]
        made = list(answer.tool_calls)
        if len(made) != len(meant):
            return 0.0
        for name, wanted in meant:
            at = next(
                (
                    at
                    for at, (other, given) in enumerate(made)
                    if other == name and (not arguments or _same(given, wanted))
                ),
                None,
            )
            if at is None or (ordered and at != 0):
                return 0.0
            del made[at]
        return 1.0

    return score


def _call(expected: Any) -> tuple[str, Any]:
    """An expected call: its name, or `{"name", "arguments"}`."""
    if isinstance(expected, str):
        return expected, {}
    inner = expected.get("function", expected) if isinstance(expected, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise CallerError("An expected tool call is a name, or has one.", code="verdict.dataset", hint='Write {"name": …, "arguments": {…}}.')  # fmt: skip
    given = inner.get("arguments", {})
    return inner["name"], json_of(given) if isinstance(given, str) else given


# --- programs, embeddings, functions --------------------------------------------------------------------------------


_CANNOT_RUN = (126, 127)  # sh(1): found and not executable, not found


def _command(command: tuple[str, ...], folder: Path, limits: Limits) -> Scorer:
    placed = tuple(str((folder / part).resolve()) if (folder / part).is_file() else part for part in command)

    def score(case: Case, answer: Answer) -> float | None:
        told = {"case": case.fields, "answer": answer.text, "tool_calls": answer.tool_calls}
        ended = run(placed, json.dumps(told, default=str).encode("utf-8", "replace"), limits)
        if ended.status in _CANNOT_RUN:
            return None
        last = ended.output.strip().splitlines()[-1:] or [""]
        try:
            value = float(last[0])
        except ValueError:
            return float(ended.status == 0)
        if ended.status != 0:
            return 0.0
        return value if 0.0 <= value <= 1.0 else None

    return score


def _similar(ask: Ask, target: str, at_least: float | None) -> Scorer:
    def embedded(text: str, class_: str) -> list[float]:
        replied = ask(Asked({"model": target, "input": text}, class_, path="/embeddings"))
        if replied.code == WITHHELD:
            raise Withheld
        try:
            return [float(one) for one in json.loads(replied.body)["data"][0]["embedding"]]
        except (ValueError, KeyError, IndexError, TypeError):
            raise Unscored from None

    def score(case: Case, answer: Answer) -> float | None:
        class_ = highest((case.class_, answer.class_))
        said = embedded(answer.text, class_)
        near = max(_cosine(said, embedded(text, class_)) for text in texts(case.expected))
        return near if at_least is None else float(near >= at_least)

    return score


def _cosine(first: list[float], second: list[float]) -> float:
    lengths = math.hypot(*first) * math.hypot(*second)
    return max(0.0, sum(map(float.__mul__, first, second)) / lengths) if lengths else 0.0


def _own(function: str, folder: Path) -> Scorer:
    name, _, inner = function.partition(":")
    path = folder / name
    spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path) if path.is_file() else None
    if spec is None or spec.loader is None or not inner:
        raise tasks.wrong(f"names {function!r}, where 'file.py:function' is wanted")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the border: it is the user's own code, and may do anything
        raise tasks.wrong(f"names {name!r}, which does not load ({type(error).__name__})") from None
    theirs = getattr(module, inner, None)
    if not callable(theirs):
        raise tasks.wrong(f"names {inner!r}, which {name} does not have")

    def score(case: Case, answer: Answer) -> float | None:
        try:
            found = theirs(case.fields, answer.text)
            value = None if found is None else float(found)
        except (Exception, SystemExit) as error:  # the border: the same
            raise tasks.wrong(
                f"has a scorer {function!r} that fails at the case {case.id[:40]!r} ({type(error).__name__})"
            ) from None
        if value is not None and not math.isfinite(value):
            raise tasks.wrong(f"has a scorer {function!r} that gives {value} at the case {case.id[:40]!r}")
        return value

    return score
