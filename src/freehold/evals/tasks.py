"""A task: what is asked of whom, how answers are scored, and the margin. Read strictly, and sealed before anything is asked.

Rules: an unknown field is an error that names it; the seal is a digest of everything that could change the verdict, the cases among it, so a margin that was
changed after looking is another seal.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from freehold.kernel.errors import CallerError

Above = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Few = Annotated[int, msgspec.Meta(ge=1, le=100)]
Names = str | tuple[str, ...]
CAPTURED = "captured:"


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file may hold and nothing else."""


class Metric(Strict, frozen=True, kw_only=True, tag_field="scorer"):
    """How an answer is scored. name: of the metric, if not the scorer's; field: what is compared of a JSON answer (`order.id`), all of it if not said."""

    name: str = ""
    field: str = ""


class Exact(Metric, frozen=True, kw_only=True, tag="exact"):
    """The answer is what was expected, to the character; of several that may be expected, one of them."""


class Normalised(Metric, frozen=True, kw_only=True, tag="normalised"):
    """The same without case, accents, punctuation, articles and double spaces."""


class Number(Metric, frozen=True, kw_only=True, tag="number"):
    """The last number of the answer is the expected one, within tolerance (absolute) or relative (a share of it)."""

    tolerance: float = 0.0
    relative: float = 0.0


class Pattern(Metric, frozen=True, kw_only=True, tag="regex"):
    """A pattern is found in the answer; with a group in it, the group is what was expected."""

    pattern: str


class Schema(Metric, frozen=True, kw_only=True, tag="json_schema"):
    """The answer is JSON that fits a schema (a file beside the task; the case's own response format, if not said)."""

    schema: str = ""


class Fields(Metric, frozen=True, kw_only=True, tag="json_fields"):
    """The share of fields of the expected object that the answer has right. fields: which, all if not said; all_or_nothing: 1 only if all are."""

    fields: tuple[str, ...] = ()
    all_or_nothing: bool = False


class Tools(Metric, frozen=True, kw_only=True, tag="tool_calls"):
    """The tools that are called, with their arguments, are those expected. ordered: in that order; arguments: compare them too."""

    ordered: bool = False
    arguments: bool = True


class Command(Metric, frozen=True, kw_only=True, tag="command"):
    """A command says whether the answer is right: it gets `{"case", "answer"}` on its standard input, runs in an empty folder under limits and without a
    network, and ends with 0 for right; or it prints a number from 0 to 1 as its last line.
    """

    command: tuple[str, ...]
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 10.0
    memory_mb: Annotated[int, msgspec.Meta(ge=16, le=65_536)] = 512


class Similar(Metric, frozen=True, kw_only=True, tag="embedding"):
    """How near the answer is to what was expected: the cosine of their embeddings by a target. at_least: right or wrong instead, from there on."""

    target: str
    at_least: float | None = None


class Overlap(Metric, frozen=True, kw_only=True, tag="overlap"):
    """The words that the answer shares with what was expected, as F1 (ROUGE-1), or in the same order (ROUGE-L)."""

    in_order: bool = False


class Judged(Metric, frozen=True, kw_only=True, tag="judge"):
    """A model compares both answers by a rubric, blind and in both orders (pair), or passes each by itself (grade). It is of another family than those that
    it judges.
    """

    target: str
    rubric: str
    mode: Literal["pair", "grade"] = "pair"
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 400


class Human(Metric, frozen=True, kw_only=True, tag="human"):
    """Nothing but what people say."""


class Own(Metric, frozen=True, kw_only=True, tag="own"):
    """A function of the user's: `scorers.py:polite`, beside the task; it gets the case and the answer's text, and returns a number, true or false, or
    None where the answer cannot be read.
    """

    function: str


AnyMetric = (
    Exact | Normalised | Number | Pattern | Schema | Fields | Tools | Command | Similar | Overlap | Judged | Human | Own
)


class Targets(Strict, frozen=True, kw_only=True):
    """Who is compared: workloads, `provider/model` or plain names. Of several open ones the best is chosen on one half of the cases, and proven on the other."""

    open: Names
    closed: str


class Asking(Strict, frozen=True, kw_only=True):
    """How a case becomes a call. template: a prompt with `{fields}` of the case, for cases without messages; system: put before it; samples: answers to each
    case; body: what else a call says, such as response_format or tools; concurrency: calls at once; timeout_s: how long one may take.
    """

    template: str = ""
    system: str = ""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = 0.0
    samples: Few = 1
    body: dict[str, Any] = {}
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    timeout_s: Above = 120.0


class Strata(Strict, frozen=True, kw_only=True):
    """Kinds of cases. by: the case's field that says it, `stratum` if not said; shares: of the traffic, where the cases are not as the traffic is."""

    by: str = "stratum"
    shares: dict[str, float] | None = None


class Stopping(Strict, frozen=True, kw_only=True):
    """When to stop. cases: at the most; watched: look every so many cases and stop when it is decided, with the error still held; usd: when so much is spent."""

    cases: Annotated[int, msgspec.Meta(ge=2)] | None = None
    watched: bool = False
    every: Annotated[int, msgspec.Meta(ge=5)] = 25
    usd: Above | None = None


class Telling(Strict, frozen=True, kw_only=True):
    """What the report shows. examples: answers that differ most, of calls whose class may be shown: `public`, or `internal` too."""

    examples: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    show: Literal["public", "internal"] = "public"


class Task(Strict, frozen=True, kw_only=True):
    """The whole file. dataset: a file beside the task, or `captured:NAME` for the calls that a workload kept, of those the ones before a day; margin: how much worse the open model may be, in units of the first metric; span: how far apart two scores can be, for numbers;
    metrics: the first decides, the others are told; labels: a file of what people say, by id, if it is there; cluster: the case's field that says what it belongs to.
    """

    name: str
    dataset: str
    margin: Above
    targets: Targets
    metrics: Annotated[tuple[AnyMetric, ...], msgspec.Meta(min_length=1)]
    span: Above | None = None
    ask: Asking = Asking()
    strata: Strata = Strata()
    cluster: str = "cluster"
    labels: str = "labels.jsonl"
    before: str = ""
    stopping: Stopping = Stopping()
    report: Telling = Telling()

    @property
    def opens(self) -> tuple[str, ...]:
        return (self.targets.open,) if isinstance(self.targets.open, str) else self.targets.open

    @property
    def sides(self) -> tuple[str, ...]:
        """Every target that is asked, the closed one last."""
        return (*self.opens, self.targets.closed)


def read(text: str) -> Task:
    """Read a task in TOML. Raises CallerError `verdict.task` that says where and what is wrong."""
    try:
        tree = tomllib.loads(text)
        if isinstance(before := tree.get("before"), datetime.date):
            tree["before"] = before.isoformat()
        found = msgspec.convert(tree, Task, strict=True)
    except tomllib.TOMLDecodeError as error:
        raise wrong(f"is no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise wrong("is wrong: " + re.sub(r"\$\.?", "", str(error))) from None
    names = [name_of(metric) for metric in found.metrics]
    if len(set(names)) < len(names):
        raise wrong("has two metrics of one name: give them names")
    if len(set(found.sides)) < len(found.sides):
        raise wrong("compares a target with itself")
    if not found.opens:
        raise wrong("names no open model")
    if found.stopping.watched:
        _check_watched(found)
    if odd := sorted({"model", "messages", "stream", "n", "temperature", "max_tokens", "tools"} & set(found.ask.body)):
        raise wrong(f"has {odd[0]!r} in ask.body, which is said elsewhere or is not for evaluations")
    if found.dataset.startswith(CAPTURED) != bool(found.before):
        raise wrong(
            "needs `before = 2026-12-01` (a day, or a moment) where its dataset is captured, so that the cases stay the same, and nowhere else"
        )
    if not re.fullmatch(r"[\w .-]{1,80}", found.name):
        raise wrong("needs a name of letters, digits, spaces, dots and dashes")
    return found


def _check_watched(found: Task) -> None:
    """Raises CallerError for what cannot be looked at again and again."""
    if len(found.opens) > 1:
        raise wrong("is watched and chooses among several open models: which one is best may change from look to look")
    if found.strata.shares is not None:
        raise wrong("is watched and has shares of the traffic: leave one of the two out")
    if isinstance(found.metrics[0], Judged | Human):
        raise wrong("is watched, and people decide or correct a judge: that may be looked at once")
    if isinstance(found.metrics[0], Own) and found.span is None:
        raise wrong("is watched with a scorer of its own: say how far apart two scores can be (span)")


def name_of(metric: AnyMetric) -> str:
    return metric.name or str(type(metric).__struct_config__.tag)


def wrong(what: str) -> CallerError:
    return CallerError(f"The task {what}.", code="verdict.task", hint="'freehold verdict init' writes one to begin with.")  # fmt: skip


class Seal(msgspec.Struct, frozen=True):
    """What was fixed before anything was asked. digest: of all of it but the time; had_answers: whether answers to the same questions were there already; mark:
    by a key of this state directory, so that a seal that was changed by hand shows.
    """

    digest: str
    task: str
    dataset: str
    files: dict[str, str]
    cases: int
    margin: float
    targets: tuple[str, ...]
    sealed_at: str
    version: str
    had_answers: bool = False
    mark: str = ""


def digest_of(task: Task, dataset: str, files: dict[str, str]) -> str:
    """The digest of a task, its cases and the files that score them (schemas, functions, commands beside it)."""
    told = msgspec.json.encode([msgspec.to_builtins(task), dataset, sorted(files.items())], order="sorted")
    return "sha256:" + hashlib.sha256(told).hexdigest()


def files_of(task: Task, folder: Path) -> dict[str, str]:
    """The digests of files beside the task that decide how answers are scored. Raises CallerError for one that is not there."""
    found = {}
    for metric in task.metrics:
        names: tuple[str, ...] = ()
        match metric:
            case Schema(schema=name):
                names = (name,) if name else ()
            case Own(function=function):
                own = folder / function.partition(":")[0]
                names = tuple(sorted(str(path.relative_to(folder)) for path in own.parent.glob("*.py"))) or (function.partition(":")[0],)  # fmt: skip
            case Command(command=command):
                names = tuple(part for part in command if (folder / part).is_file())
        for name in names:
            try:
                found[name] = "sha256:" + hashlib.sha256((folder / name).read_bytes()).hexdigest()
            except OSError as error:
                raise wrong(f"names {name!r}, which cannot be read ({type(error).__name__})") from None
    return found


EXAMPLE = """\
# A verdict: is the open model good enough for this work? The margin is fixed here, before anything is asked: the file is sealed by its digest.
name    = "support triage"
dataset = "cases.jsonl"        # {"id": 1, "prompt": "…" (or "messages"), "expected": …, "stratum": "refunds", "cluster": "conversation 7"}
margin  = 0.03                 # so much worse is still good enough: 0.03 is three points of right answers

[targets]
open   = "builtin/hearth"      # a workload, provider/model or a plain name; of a list, the best is chosen on one half and proven on the other
closed = "openai/gpt-5"

[ask]
system      = "Triage the message. Answer in JSON."
max_tokens  = 200
concurrency = 8                # samples = 3 asks each case three times
# template  = "Summarise for {audience}: {text}"
# body      = { response_format = { type = "json_object" } }

[[metrics]]                    # the first decides; others are told beside it
scorer = "json_fields"         # exact, normalised, number, regex, json_schema, json_fields, tool_calls, command, embedding, overlap, judge, human, own
fields = ["department", "intent"]
all_or_nothing = true

# [[metrics]]
# scorer = "judge"
# target = "mistral/mistral-large-latest"
# rubric = "Which reply would the customer rather get? It is polite, correct and promises nothing."

# dataset = "captured:support" with before = 2026-12-01 takes calls that a workload kept (capture = {} on it)
# labels = "labels.jsonl"      # what people say of some cases, for judges: {"id": 1, "human_open": 1, "human_closed": 0}; 'freehold verdict label' writes it

[stopping]
# watched = true               # look every 25 cases and stop when it is decided; the error is held however often one looks
# usd     = 5.0                # stop when so much is spent

[report]
examples = 5                   # answers that differ, of calls that are public
"""

EXAMPLE_CASES = """\
{"id": 1, "prompt": "Hello, I was charged twice for the desk lamp. Anna Weber", "expected": {"department": "billing", "intent": "double_charge"}, "stratum": "billing"}
{"id": 2, "prompt": "My parcel A-10423 has not arrived. John Doe", "expected": {"department": "shipping", "intent": "not_delivered"}, "stratum": "shipping"}
"""
