"""`freehold verdict run`, `show` and `label`: seal a task, ask every side through a running Freehold, and decide."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from freehold import __version__
from freehold.cli.asking import Asker
from freehold.cli.setting import Setting, config_option, json_option, show_json, show_table
from freehold.content.answers import AnswerCache
from freehold.content.sealed import SealedStore
from freehold.evals import datasets, page, results, tasks
from freehold.evals.answers import Ask, Asked, read
from freehold.evals.datasets import Case
from freehold.evals.deciding import decide, together
from freehold.evals.estimate import Estimate, estimate
from freehold.evals.memory import Memory
from freehold.evals.outcomes import Outcomes, gather
from freehold.evals.results import Label, Of, choose, rows_of
from freehold.evals.running import Progress, Runner, Scored, body_of, in_order
from freehold.evals.shelf import Kept, Shelf
from freehold.evals.soundness import Soundness
from freehold.evals.tasks import CAPTURED, Judged, Seal, Task, name_of
from freehold.evals.telling import code_of, data, quotable, sentences, tables
from freehold.evals.verdicts import Rule, Verdict
from freehold.gateway.app import make_state, open_keyring
from freehold.gateway.capturing import room_of
from freehold.kernel.classes import Zone
from freehold.kernel.errors import CallerError, OperatorError
from freehold.ledger.files import take_lock
from freehold.pricing.book import Tariff, tariff
from freehold.pricing.book import load as load_book

_LONGEST_SHOWN = 4_000  # characters of an example


@dataclass(frozen=True)
class Loaded:
    """A task with all that belongs to it. folder: where its files are."""

    task: Task
    folder: Path
    cases: list[Case]
    dataset: str
    labels: dict[str, Label]

    @classmethod
    def of(cls, path: Path, setting: Setting) -> Loaded:
        try:
            task = tasks.read(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise CallerError(f"{str(path)!r} cannot be read ({type(error).__name__}).", code="verdict.task", hint="'freehold verdict init' writes one to begin with.") from None  # fmt: skip
        cases = _captured(task, setting) if task.before is not None else datasets.read(path.parent / task.dataset, task)
        labels = _labels(path.parent / task.labels) if task.labels else {}
        return cls(task, path.parent, cases, datasets.digest_of(cases), labels)


def _captured(task: Task, setting: Setting) -> list[Case]:
    """The calls that a workload kept, of before a day. Raises CallerError where there are none."""
    assert task.before is not None
    before_ms = datetime.datetime.combine(task.before, datetime.time(), setting.zone()).timestamp() * 1000
    keyring = open_keyring(setting.state)
    cache = AnswerCache(setting.state / "cache.db", SealedStore(setting.state / "content", keyring))
    try:
        kept = cache.listed(room_of(task.dataset.removeprefix(CAPTURED)), time.time_ns() // 1_000_000)
        rows = [msgspec.json.decode(one.body) for one in kept if int(str(one.facts["at_ms"])) < before_ms]
    finally:
        cache.close()
        keyring.close()
    if not rows:
        raise CallerError(f"No call was kept for {task.dataset!r} before {task.before}.", code="verdict.dataset", hint="Set capture = {} on the workload, and wait for calls.")  # fmt: skip
    return datasets.checked([datasets.case_of(row, number, task) for number, row in enumerate(rows, 1)])


def _labels(path: Path) -> dict[str, Label]:
    """What people said, the last word of each case; none where the file is not there yet."""
    if not path.is_file():
        return {}
    try:
        found = [msgspec.json.decode(line, type=Label) for line in path.read_bytes().splitlines() if line.strip()]
    except msgspec.MsgspecError as error:
        raise CallerError(f"The labels in {path.name!r} cannot be read: {error}.", code="verdict.labels", hint='A line is {"id": …, "human_open": …, "human_closed": …}.') from None  # fmt: skip
    return {str(one.id): one for one in found}


def _of_caller(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --key and --url."""
    function = click.option("--url", envvar="FREEHOLD_URL", default="http://127.0.0.1:4000/v1", show_default=True, help="The base URL of a running Freehold.")(function)  # fmt: skip
    return click.option("--key", envvar="FREEHOLD_KEY", help="The key to call with (or FREEHOLD_KEY).")(function)


@click.command("run")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@_of_caller
@config_option
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Write a page with plots to this folder.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Read and seal, say what it would cost at the most, and ask nothing.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal whether the cost is all right.")
@json_option
def _run_command(**asked: Any) -> int:
    """Run the tasks in FILES: seal each, ask every side about every case, score, and give the verdict.

    What was answered is kept, sealed: run it again after an interruption and nothing is asked twice. Several tasks are decided together (Holm).
    """
    files: tuple[Path, ...] = asked["files"]
    setting, loaded = Setting.find(asked["config"]), [Loaded.of(path, Setting.find(asked["config"])) for path in files]
    make_state(setting.state)
    shelf = Shelf(setting.state / "verdicts")
    sealed = [(one, _sealed(shelf, one)) for one in loaded]
    _say_cost(
        [estimate(one.task, one.cases, _rates(setting)) for one in loaded],
        is_asked=not asked["yes"] and not asked["dry_run"],
    )
    if asked["dry_run"]:
        return 0
    if asked["key"] is None:
        raise click.UsageError("a key is needed: --key fh-… or FREEHOLD_KEY (make one with 'freehold keys create')")
    ask = Asker(asked["url"], asked["key"])
    ran = []
    for one, seal in sealed:
        with _memory(setting, one.dataset) as memory:
            ran.append(_run(one, seal, ask, memory))
    verdicts = together([(each.outcomes, each.rule, each.seen) for each in ran])
    told = [
        _kept(shelf, each, verdict, files, asked["report"], setting)
        for each, verdict in zip(ran, verdicts, strict=True)
    ]
    if asked["as_json"]:
        show_json(told[0] if len(told) == 1 else {"verdicts": told})
    else:
        for each, verdict in zip(ran, verdicts, strict=True):
            _show_run(each, verdict)
    return max(code_of(verdict) for verdict in verdicts)


run = _run_command


def _sealed(shelf: Shelf, one: Loaded) -> Seal:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    seal = shelf.seal(
        one.task, one.cases, one.dataset, tasks.files_of(one.task, one.folder), now=now, version=__version__
    )
    click.echo(
        f"{one.task.name}: {len(one.cases):,} cases, margin {one.task.margin:g}, sealed {seal.sealed_at} as {seal.digest[:23]}",
        err=True,
    )
    return seal


def _rates(setting: Setting) -> Callable[[str], Tariff | None]:
    """What a target costs, by the configuration and the price book; of a workload, its first target."""
    book, snapshot = load_book(), setting.snapshot()

    def rates(name: str) -> Tariff | None:
        workload = snapshot.workloads.get(name)
        provider, _, model = (workload.targets[0].name if workload is not None else name).partition("/")
        known = snapshot.providers.get(provider)
        own = known.prices.get(model) if known is not None else None
        return tariff(book, provider, model, own, is_inside=known is not None and known.declared_zone is Zone.INSIDE)

    return rates


def _say_cost(estimates: Sequence[Estimate], *, is_asked: bool) -> None:
    """Say what it costs at the most; on a terminal, ask whether that is all right."""
    calls = sum(one.calls for one in estimates)
    unknown = sorted({target for one in estimates for target, usd in one.usd.items() if usd is None})
    most = sum((one.total for one in estimates), start=estimates[0].total * 0)
    more = f", and what {', '.join(unknown)} cost, whose prices are not known" if unknown else ""
    click.echo(
        f"{calls:,} calls, for {most:.4f} USD at the most{more}; what was answered before costs nothing.", err=True
    )
    if is_asked and (most > 0 or unknown) and os.isatty(0) and os.isatty(2):
        click.confirm("Go on?", default=True, abort=True, err=True)


@contextmanager
def _memory(setting: Setting, dataset: str) -> Iterator[Memory]:
    """What was answered to these cases before, and a place for what will be. Raises OperatorError where another run has it."""
    name = hashlib.sha256(dataset.encode()).hexdigest()[:16]
    now_ms, keyring = time.time_ns() // 1_000_000, open_keyring(setting.state)
    try:
        lock = take_lock(setting.state / "verdicts", f"{name}.lock")
    except OperatorError:
        keyring.close()
        raise OperatorError("Another run asks about the same cases right now.", code="verdict.busy", hint="Wait for it: what it is answered serves this one too.") from None  # fmt: skip
    memory = None
    try:
        subject = f"evaluation:{name}"
        keyring.key(subject, now_ms)
        memory = Memory(
            SealedStore(setting.state / "content", keyring),
            setting.state / "verdicts" / f"{name}.journals",
            subject,
            now_ms=now_ms,
        )
        yield memory
    finally:
        if memory is not None:
            memory.close()
        os.close(lock)
        keyring.close()


# --- one task -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """What a run found. others: further metrics, with what is known of their difference."""

    loaded: Loaded
    seal: Seal
    of: Of
    scored: list[Scored]
    outcomes: Outcomes
    rule: Rule
    seen: Soundness
    others: dict[str, Verdict]
    examples: list[page.Example]


def _run(one: Loaded, seal: Seal, ask: Ask, memory: Memory) -> Ran:
    task = one.task
    rule = Rule(task.margin, task.span, task.strata.shares, task.stopping.watched)
    runner = Runner(task, seal.digest, one.folder, ask, memory)

    def decided(scored: Sequence[Scored]) -> bool:
        with contextlib.suppress(CallerError):
            rows = rows_of(Of(task, task.metrics[0], task.opens[0]), scored, one.labels)
            return decide(gather(rows), rule).whole.verdict not in ("INCONCLUSIVE", "INVALID")
        return False

    runner.decided = decided
    with _bar(task, len(one.cases)) as told:
        runner.tell = told
        scored = runner.run(one.cases)
    of, proving, choice = choose(task, scored, one.labels)
    if all(each.is_forbidden for each in proving):
        raise CallerError("No case may go to every side: the perimeter kept all of them in.", code="verdict.forbidden", hint="Compare targets in zones that these cases may enter.")  # fmt: skip
    by_id = {case.id: case for case in one.cases}
    more = [*(text for text in (choice, runner.stopped) if text), *results.cautions(task, scored, of.open)]
    if seal.had_answers:
        more.append(
            "the same cases had been asked about under another seal before this one: whoever set this margin may have seen what came back"
        )
    seen = Soundness(tuple(results.faults(task, proving, by_id)), tuple(more))
    others = {name_of(metric): found for metric in task.metrics[1:] if (found := _other(of._replace(metric=metric), proving, one, rule)) is not None}  # fmt: skip
    examples = _examples(one, of, proving, memory)
    return Ran(
        one,
        seal,
        of,
        proving,
        gather(rows_of(of, proving, one.labels), name_of(of.metric)),
        rule,
        seen,
        others,
        examples,
    )


def _other(of: Of, scored: Sequence[Scored], one: Loaded, rule: Rule) -> Verdict | None:
    """What is known of the difference in a further metric; None where it has no score."""
    try:
        return decide(gather(rows_of(of, scored, one.labels), name_of(of.metric)), Rule(rule.margin))
    except CallerError:
        return None


@contextmanager
def _bar(task: Task, cases: int) -> Iterator[Callable[[Progress], None]]:
    """A bar with the cost so far, and what it will be at this rate."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[usd]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), disable=not os.isatty(2)) as bar:
        shown = bar.add_task(task.name, total=cases, usd="")

        def told(progress: Progress) -> None:
            expected = progress.usd / max(1, progress.done) * progress.cases
            bar.update(
                shown,
                completed=progress.done,
                total=progress.cases,
                usd=f"{progress.usd:.4g} USD of about {expected:.4g}",
            )

        yield told


def _examples(one: Loaded, of: Of, scored: Sequence[Scored], memory: Memory) -> list[page.Example]:
    """Cases on which the sides differ most, whose class may be shown."""
    task, found = one.task, []
    shown = ("public", "internal") if task.report.show == "internal" else ("public",)
    rows = {str(row.id): row for row in rows_of(of, scored, one.labels)}
    cases = {case.id: case for case in one.cases}

    def apart(each: Scored) -> float:
        row = rows[each.id]
        pair = (row.judge_open, row.judge_closed) if row.judge_open is not None else (row.open, row.closed)
        return (
            abs(float(pair[0]) - float(pair[1]))
            if isinstance(pair[0], int | float) and isinstance(pair[1], int | float)
            else 0.0
        )

    able = [
        each
        for each in scored
        if each.id in rows
        and all(set(each.sides[name].classes) <= set(shown) for name in (of.open, task.targets.closed))
    ]
    for each in sorted(able, key=lambda each: (-apart(each), each.id))[: task.report.examples]:
        if apart(each) > 0:
            case = cases[each.id]
            texts = [_answer_of(task, case, name, memory) for name in (of.open, task.targets.closed)]
            asked = "\n\n".join(f"{part['role']}: {_plain(part.get('content'))}" for part in case.messages)
            expected = "" if case.expected is None else _plain(case.expected)
            found.append(
                page.Example(f"case {each.id}", *(text[:_LONGEST_SHOWN] for text in (asked, *texts, expected)))
            )
    return found


def _answer_of(task: Task, case: Case, target: str, memory: Memory) -> str:
    replied = memory.reply(Asked(body_of(task, case, target), case.class_).key)
    if replied is None:
        return ""
    answer = read(replied)
    return answer.text + "".join(f"\n{name}({_plain(arguments)})" for name, arguments in answer.tool_calls)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# --- what becomes of it ---------------------------------------------------------------------------------------------


def _kept(
    shelf: Shelf, ran: Ran, verdict: Verdict, files: tuple[Path, ...], report: Path | None, setting: Setting
) -> dict[str, Any]:
    """Write a run down, and its report; returns it as data."""
    beside = [{"sealed_at": each.seal.sealed_at, "digest": each.seal.digest, "margin": each.seal.margin, "verdict": (each.verdict or {}).get("verdict")} for each in shelf.beside(ran.seal)]  # fmt: skip
    told = data(verdict, {**msgspec.to_builtins(ran.seal), "beside": beside})
    told |= {"task": ran.loaded.task.name, "open_target": ran.of.open, "closed_target": ran.loaded.task.targets.closed}
    told["metrics"] = {name: {**msgspec.to_builtins(one.whole), "verdict": None} for name, one in ran.others.items()}
    place = shelf.place(ran.seal.digest)
    repeat = f"freehold verdict run {' '.join(path.name for path in files)}\nfreehold verdict --outcomes {place.name}/outcomes.jsonl --margin {ran.rule.margin:g}   # the numbers alone"
    pages = page.files(verdict, told, title=f"Verdict: {ran.loaded.task.name}", repeat=repeat, examples=ran.examples)
    shelf.keep(ran.seal, rows_of(ran.of, ran.scored, ran.loaded.labels), told, pages)
    if report is not None:
        write(report if len(files) == 1 else report / place.name, pages)
    return told


def _show_run(ran: Ran, verdict: Verdict) -> None:
    click.echo(f"{ran.loaded.task.name}: {ran.of.open} against {ran.loaded.task.targets.closed}")
    tell(verdict, {}, as_json=False)
    rows = []
    for name, one in ran.others.items():
        low, high = one.whole.interval or (float("nan"), float("nan"))
        rows.append(
            (
                name,
                f"{one.whole.open:.4g}",
                f"{one.whole.closed:.4g}",
                f"{one.whole.difference:+.4g} ({low:+.4g} to {high:+.4g})",
            )
        )
    if rows:
        columns = ("open", "closed", "difference")
        show_table(("other metrics, which decide nothing", *columns), rows, right=columns)


def tell(verdict: Verdict, told: dict[str, Any], *, as_json: bool) -> None:
    """Say a verdict."""
    if as_json:
        show_json(told)
        return
    click.echo(f"{verdict.whole.verdict}: {quotable(verdict)}")
    for table in tables(verdict):
        show_table(table.columns, table.rows, right=table.right, title=table.title)
    for sentence in sentences(verdict):
        click.echo(sentence)


def write(folder: Path, files: dict[str, str]) -> None:
    """Write a report. Raises CallerError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CallerError(f"{str(folder)!r} cannot be written ({type(error).__name__}).", code="verdict.report", hint="Choose another with --report.") from None  # fmt: skip
    click.echo(f"Wrote {folder / 'index.html'}.", err=True)


@click.command("show")
@click.argument("name", default="")
@config_option
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Write its page to this folder.")
@json_option
def show(name: str, config: Path | None, report: Path | None, as_json: bool) -> int:
    """List the runs that are kept, or show NAME: the beginning of a seal, or a task's name for its newest run."""
    shelf = Shelf(Setting.find(config).state / "verdicts")
    if not name:
        return _list(shelf.kept(), as_json=as_json)
    kept = shelf.find(name)
    if kept.verdict is None:
        raise CallerError(f"{kept.seal.task!r} was sealed, and has no verdict yet.", code="verdict.unknown", hint="Run it to its end with 'freehold verdict run'.")  # fmt: skip
    if report is not None:
        place = shelf.place(kept.seal.digest)
        write(
            report,
            {one.name: one.read_text(encoding="utf-8") for one in place.iterdir() if one.suffix in (".html", ".svg")},
        )
    if as_json:
        show_json(kept.verdict)
    else:
        _show_kept(kept)
    return {"INVALID": 2, "INCONCLUSIVE": 1}.get(kept.verdict["verdict"], 0)


def _list(kept: Sequence[Kept], *, as_json: bool) -> int:
    if as_json:
        show_json(
            {"runs": [{**msgspec.to_builtins(one.seal), "verdict": (one.verdict or {}).get("verdict")} for one in kept]}
        )
        return 0
    rows = [
        (one.name, one.seal.task, (one.verdict or {}).get("verdict", "not over"), f"{one.seal.cases:,}", f"{one.seal.margin:g}", one.seal.sealed_at[:16].replace("T", " "))
        for one in kept
    ]  # fmt: skip
    show_table(("seal", "task", "verdict", "cases", "margin", "sealed"), rows, right=("cases", "margin"))
    return 0


def _show_kept(kept: Kept) -> None:
    told = kept.verdict
    assert told is not None
    click.echo(f"{told['task']}: {told['open_target']} against {told['closed_target']}")
    click.echo(f"{told['verdict']}: difference {told['difference']:+.4g}, interval {told['interval'][0]:+.4g} to {told['interval'][1]:+.4g}, margin {told['margin']:g}, {told['n']:,} cases")  # fmt: skip
    rows = [(one["stratum"] or "(none)", one["verdict"], f"{one['n']:,}", f"{one['difference']:+.4g}", f"{one['lower_bound']:+.4g}", f"{one['upper_bound']:+.4g}") for one in told["strata"]]  # fmt: skip
    if rows:
        show_table(("stratum", "verdict", "cases", "difference", "lower bound", "upper bound"), rows, right=("cases", "difference", "lower bound", "upper bound"))  # fmt: skip
    for text in (*told["reasons"], *told["cautions"]):
        click.echo(f"{text[0].upper()}{text[1:]}.")
    click.echo(f"Sealed {kept.seal.sealed_at} as {kept.seal.digest}.")


# --- people ---------------------------------------------------------------------------------------------------------


@click.command("label")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-n", "count", type=click.IntRange(min=1), default=50, show_default=True, help="How many cases to label.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Where labels go (default: what the task names, or labels.jsonl beside it).")  # fmt: skip
@config_option
def label(file: Path, count: int, out: Path | None, config: Path | None) -> int:
    """Show answers of the task in FILE, blind and in random order, and write down what you say of them.

    Cases are drawn by chance, so that what you say of some holds for all. Answers must be there: run the task first.
    """
    setting = Setting.find(config)
    loaded = Loaded.of(file, setting)
    task = loaded.task
    to = out or loaded.folder / (task.labels or "labels.jsonl")
    is_graded = any(isinstance(metric, Judged) and metric.mode == "grade" for metric in task.metrics)
    done = _labels(to)
    open_ = task.opens[0]
    drawn = sorted(
        (case for case in in_order(loaded.cases)[: task.stopping.cases] if case.id not in done),
        key=lambda case: _chance("label", case.id),
    )
    labelled = 0
    with _memory(setting, loaded.dataset) as memory:
        for case in drawn:
            answers = [_answer_of(task, case, target, memory) for target in (open_, task.targets.closed)]
            if labelled == count or not all(answers):
                if labelled == count:
                    break
                continue
            said = _asked_person(case, answers, is_graded=is_graded, place=f"{labelled + 1} of {count}")
            if said is None:
                break
            with to.open("ab") as written:
                written.write(
                    msgspec.json.encode({"id": case.id, "human_open": said[0], "human_closed": said[1]}) + b"\n"
                )
            labelled += 1
    click.echo(f"{labelled} labels written to {to}.", err=True)
    if labelled == 0 and drawn:
        click.echo(f"No answers are kept for these cases: run 'freehold verdict run {file}' first.", err=True)
        return 1
    return 0


def _chance(what: str, about: str) -> bytes:
    return hashlib.sha256(f"{what} {about}".encode()).digest()


def _asked_person(case: Case, answers: Sequence[str], *, is_graded: bool, place: str) -> tuple[float, float] | None:
    """Ask about two answers, which are shown in random order; None to stop."""
    is_turned = _chance("turn", case.id)[0] % 2 == 1
    shown = list(reversed(answers)) if is_turned else list(answers)
    click.echo(f"\n--- {place} ---")
    for part in case.messages:
        click.echo(f"{part['role']}: {_plain(part.get('content'))}")
    for name, text in zip(("FIRST", "SECOND"), shown, strict=True):
        click.echo(f"\n[{name}]\n{text}")
    if is_graded:
        said = [_key(f"Does the {name} pass?", {"y": 1.0, "n": 0.0}) for name in ("first", "second")]
    else:
        better = _key("Which is better: 1, 2, or 0 for neither?", {"1": 1.0, "2": 0.0, "0": 0.5})
        said = [better, None if better is None else 1.0 - better]
    if said[0] is None or said[1] is None:
        return None
    return (said[1], said[0]) if is_turned else (said[0], said[1])


def _key(question: str, meanings: dict[str, float]) -> float | None:
    """One of a few answers; None for q."""
    given = click.prompt(f"{question} (q to stop)", type=click.Choice([*meanings, "q"]), show_choices=False)
    return meanings.get(given)
