"""`freehold verdict run`: seal a task, ask every side through a running Freehold, and decide."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
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
from freehold.cli.verdict_shown import shelf_of, tell, write
from freehold.content.answers import AnswerCache
from freehold.content.sealed import SealedStore
from freehold.evals import datasets, page, results, tasks
from freehold.evals.answers import Asked, read
from freehold.evals.bounds import LEVEL
from freehold.evals.datasets import Case
from freehold.evals.deciding import decide, together
from freehold.evals.estimate import estimate
from freehold.evals.judged import FEWEST
from freehold.evals.memory import Memory
from freehold.evals.outcomes import Outcomes, gather
from freehold.evals.results import Label, Of, choose, rows_of
from freehold.evals.running import Progress, Runner, Scored, body_of
from freehold.evals.shelf import Shelf
from freehold.evals.soundness import Soundness
from freehold.evals.tasks import CAPTURED, Human, Judged, Own, Seal, Similar, Task, name_of
from freehold.evals.telling import code_of, data
from freehold.evals.verdicts import Rule, Verdict
from freehold.gateway.capturing import room_of
from freehold.gateway.preparing import make_state, open_keyring
from freehold.kernel.classes import Class, Zone
from freehold.kernel.config import Surroundings
from freehold.kernel.config import read as read_config
from freehold.kernel.errors import CallerError, OperatorError
from freehold.kernel.snapshot import Snapshot
from freehold.ledger.files import take_lock
from freehold.perimeter.detection import raised_to, raises_of
from freehold.perimeter.detectors.scanner import Scanner, Unread
from freehold.pricing.book import Tariff, tariff
from freehold.pricing.book import load as load_book
from freehold.upstream.rows import ROWS

_LONGEST_SHOWN = 4_000  # characters of an example


@dataclass(frozen=True)
class Loaded:
    """A task with all that belongs to it. folder: where its files are."""

    task: Task
    folder: Path
    cases: list[Case]
    labels: dict[str, Label]
    where: dict[str, tuple[str, ...]]
    snapshot: Snapshot
    seen_by: list[tuple[Scanner, dict[str, Class]]] = field(default_factory=list)

    @property
    def questions(self) -> str:
        """A name for what is asked."""
        return hashlib.sha256("".join(sorted(datasets.questions_of(self.cases))).encode()).hexdigest()[:16]

    def owner_of(self, case: Case) -> str:
        """Whose key a case was called with, if it is a captured one: whoever erases that key erases what is kept of the case."""
        return str(case.fields.get("caller") or "") if self.task.before else ""

    def may_show(self, texts: Sequence[str]) -> bool:
        """Whether the detectors find nothing in some texts that raises them above what the report may show."""
        if not self.seen_by:
            self.seen_by.append((Scanner(self.snapshot.detection.custom), raises_of(self.snapshot)))
        scanner, raises = self.seen_by[0]
        try:
            found = scanner.scan(list(texts))
        except Unread:
            return False
        return all(raised_to(one.type, raises) <= Class.parse(self.task.report.show) for one in found)

    @property
    def files(self) -> dict[str, str]:
        """All beside the task that decides how it comes out: files that score, and which targets a workload has."""
        return {
            **tasks.files_of(self.task, self.folder),
            **{f"workload {name}": ", ".join(each) for name, each in self.where.items()},
        }

    @classmethod
    def of(cls, path: Path, setting: Setting) -> Loaded:
        try:
            task = tasks.read(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise CallerError(f"{str(path)!r} cannot be read ({type(error).__name__}).", code="verdict.task", hint="'freehold verdict init' writes one to begin with.") from None  # fmt: skip
        cases = _captured(task, setting) if task.before else datasets.read(path.parent / task.dataset, task)
        results.check(task, cases)
        labels = labels_in(path.parent / task.labels)
        snapshot = setting.snapshot() if setting.file is not None else read_config("", Surroundings({}, ROWS))
        return cls(task, path.parent, cases, labels, _where(task, snapshot), snapshot)


def _captured(task: Task, setting: Setting) -> list[Case]:
    """The calls that a workload kept, of before a day. Raises CallerError where there are none."""
    try:
        until = datetime.datetime.fromisoformat(task.before)
    except ValueError:
        raise tasks.wrong(f"has {task.before!r} as `before`, which is no day and no moment") from None
    before_ms = (until if until.tzinfo is not None else until.replace(tzinfo=setting.zone())).timestamp() * 1000
    if before_ms > time.time() * 1000:
        raise CallerError(f"`before` is {task.before}, which is still to come: the cases would be other ones tomorrow.", code="verdict.task", hint="Take a day or a moment that is over.")  # fmt: skip
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


def _where(task: Task, snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Which targets the workloads that a task names have now, as far as the configuration here knows them."""
    known = snapshot.workloads
    asked = {*task.sides, *(metric.target for metric in task.metrics if isinstance(metric, Judged | Similar))}
    return {name: tuple(one.name for one in known[name].targets) for name in sorted(asked) if name in known}


def digest_of(labels: dict[str, Label]) -> str:
    return hashlib.sha256(msgspec.json.encode(sorted(labels.items()))).hexdigest()


def labels_in(path: Path) -> dict[str, Label]:
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
@click.option("--fresh", is_flag=True, help="Ask everything again, whatever was answered before.")
@click.option("--dry-run", is_flag=True, help="Read and seal, say what it would cost at the most, and ask nothing.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal whether the cost is all right.")
@json_option
def _run_command(**asked: Any) -> int:
    """Run the tasks in FILES: seal each, ask every side about every case, score, and give the verdict.

    What was answered is kept, sealed: run it again after an interruption and nothing is asked twice. Several tasks are decided together (Holm).
    """
    files: tuple[Path, ...] = asked["files"]
    setting = Setting.find(asked["config"])
    loaded = [Loaded.of(path, setting) for path in files]
    make_state(setting.state)
    shelf = shelf_of(setting)
    sealed = [(one, _sealed(shelf, one)) for one in loaded]
    _say_cost(loaded, _rates(setting), is_asked=not asked["yes"] and not asked["dry_run"])
    if asked["dry_run"]:
        return 0
    if asked["key"] is None:
        raise click.UsageError("a key is needed: --key fh-… or FREEHOLD_KEY (make one with 'freehold keys create')")
    ran, level = [], LEVEL / len(loaded)
    for one, seal in sealed:
        ask = Asker(asked["url"], asked["key"], one.task.ask.timeout_s)
        with (
            memory_of(setting, one, is_fresh=asked["fresh"]) as memory,
            contextlib.redirect_stdout(sys.stderr),
        ):  # where a scorer's own words belong
            try:
                runner = Runner(one.task, seal.digest, one.folder, ask, memory, one.where, one.owner_of)
                ran.append(_run(one, seal, runner, shelf, level))
            except KeyboardInterrupt:
                memory.close()
                click.echo("\nStopped. What was answered is kept; the same command goes on where it was.", err=True)
                os._exit(130)  # threads that wait for a provider are not waited for
    verdicts = together([(each.outcomes, each.rule, each.seen) for each in ran])
    told = [_kept(shelf, each, verdict, files, asked["report"]) for each, verdict in zip(ran, verdicts, strict=True)]
    if asked["as_json"]:
        show_json(told[0] if len(told) == 1 else {"verdicts": told})
    else:
        for each, verdict, data_ in zip(ran, verdicts, told, strict=True):
            _show_run(each, verdict, data_)
    return max(code_of(verdict) for verdict in verdicts)


run = _run_command


def _sealed(shelf: Shelf, one: Loaded) -> Seal:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    had = (shelf.folder / f"{one.questions}.journals").is_file()
    seal = shelf.seal(one.task, one.cases, one.files, now=now, version=__version__, had=had)
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


def _say_cost(loaded: Sequence[Loaded], rates: Callable[[str], Tariff | None], *, is_asked: bool) -> None:
    """Say what it costs; on a terminal, ask whether that is all right."""
    estimates = [estimate(one.task, one.cases, rates) for one in loaded]
    calls, most = sum(one.calls for one in estimates), sum((one.total for one in estimates), start=Decimal(0))
    unknown = sorted({target for one in estimates for target, usd in one.usd.items() if usd is None})
    more = f", and what {', '.join(unknown)} cost, whose prices are not known" if unknown else ""
    how = (
        "at the most"
        if all(one.task.ask.max_tokens is not None for one in loaded)
        else "if answers are of usual length (no max_tokens)"
    )
    click.echo(f"{calls:,} calls, for {most:.4f} USD {how}{more}; what was answered before costs nothing.", err=True)
    if unknown and any(one.task.stopping.usd is not None for one in loaded):
        raise CallerError(f"The task stops when so much is spent, and the prices of {', '.join(unknown)} are not known.", code="verdict.prices", hint="Set prices on the provider, or leave stopping.usd out.")  # fmt: skip
    if is_asked and (most > 0 or unknown) and os.isatty(0) and os.isatty(2):
        click.confirm("Go on?", default=True, abort=True, err=True)


@contextmanager
def memory_of(setting: Setting, one: Loaded, *, is_fresh: bool = False) -> Iterator[Memory]:
    """What was answered to these questions before, and a place for what will be. Raises OperatorError where another run has it."""
    name = one.questions
    now_ms, keyring = time.time_ns() // 1_000_000, open_keyring(setting.state)
    try:
        lock = take_lock(setting.state / "verdicts", f"{name}.lock")
    except OperatorError:
        keyring.close()
        raise OperatorError("Another run asks the same questions right now.", code="verdict.busy", hint="Wait for it: what it is answered serves this one too.") from None  # fmt: skip
    memory = None
    try:
        subject = f"evaluation:{name}"
        for owner in {subject, *(one.owner_of(case) or subject for case in one.cases)}:
            keyring.key(owner, now_ms)  # of this thread alone the ring may be asked
        store, listed = SealedStore(setting.state / "content", keyring), setting.state / "verdicts" / f"{name}.journals"
        memory = Memory(store, listed, subject, now_ms=now_ms, is_fresh=is_fresh)
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


def _run(one: Loaded, seal: Seal, runner: Runner, shelf: Shelf, level: float) -> Ran:
    task = one.task
    # The scorers' own numbers are from 0 to 1; those of a user's may be any.
    span = task.span if task.span is not None or isinstance(task.metrics[0], Own) else 1.0
    rule = Rule(task.margin, span, task.strata.shares, task.stopping.watched)

    def decided(scored: Sequence[Scored]) -> bool:
        with contextlib.suppress(CallerError):
            rows = rows_of(Of(task, task.metrics[0], task.opens[0]), scored, one.labels)
            return decide(gather(rows), replace(rule, level=level)).whole.verdict not in ("INCONCLUSIVE", "INVALID")
        return False

    runner.decided = decided
    with _bar(task, len(one.cases)) as told:
        runner.tell = told
        scored = runner.run(one.cases)
    of, proving, choice = choose(task, scored, one.labels)
    more = [*(text for text in (choice, runner.stopped) if text), *results.cautions(task, scored, of.open)]
    rows = rows_of(of, proving, one.labels)
    if isinstance(of.metric, Human) and len(rows) < FEWEST:
        raise CallerError(f"{len(scored):,} cases were answered, and {len(rows)} of them are labelled; {FEWEST} are the least.", code="verdict.labels", hint="Now 'freehold verdict label' with the same task, and run it again.")  # fmt: skip
    if not rows:
        raise CallerError("No case may go to every side: the perimeter kept all of them in.", code="verdict.forbidden", hint="Compare targets in zones that these cases may enter.")  # fmt: skip
    if all(row.open is None and row.judge_open is None for row in rows) or all(row.closed is None and row.judge_closed is None for row in rows):  # fmt: skip
        why = "; ".join(text for text in more if "failed" in text) or "no scorer could read any answer"
        raise CallerError(f"There is no outcome on one side: {why}.", code="verdict.outcomes", hint="Mend it, and run it again: what was answered well is not asked twice.")  # fmt: skip
    if seal.had_answers:
        more.append(
            "the same questions had been asked under another seal before this one: whoever set this margin may have seen what came back"
        )
    if one.labels and isinstance(of.metric, Judged | Human) and (looks := shelf.looks(seal, digest_of(one.labels))):
        more.append(
            f"this is look {looks + 1} at labels that grew: the bounds hold for one look, and each more adds to the chance of a wrong word"
        )
    strange = set(one.labels) - {case.id for case in one.cases}
    if strange:
        more.append(f"{len(strange):,} labels are of cases that are not in the dataset")
    by_id = {case.id: case for case in one.cases}
    seen = Soundness(tuple(results.faults(task, proving, by_id)), tuple(more))
    others = {name_of(metric): found for metric in task.metrics[1:] if (found := _other(of._replace(metric=metric), proving, one, rule)) is not None}  # fmt: skip
    outcomes = gather(rows, name_of(of.metric))
    return Ran(one, seal, of, proving, outcomes, rule, seen, others, _examples(one, of, proving, runner.memory))


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
                usd=f"{progress.usd:.4f} USD of about {expected:.4f}",
            )

        yield told


def _examples(one: Loaded, of: Of, scored: Sequence[Scored], memory: Memory) -> list[page.Example]:
    """Cases on which the sides differ most, whose class may be shown, and in whose words no detector finds what may not."""
    task, found = one.task, list[page.Example]()
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
    for each in sorted(able, key=lambda each: (-apart(each), each.id)):
        if len(found) == task.report.examples or apart(each) == 0:
            break
        case = cases[each.id]
        texts = [answer_of(one, case, name, memory) for name in (of.open, task.targets.closed)]
        asked = "\n\n".join(f"{part['role']}: {plain(part.get('content'))}" for part in case.messages)
        words = [
            text[:_LONGEST_SHOWN] for text in (asked, *texts, "" if case.expected is None else plain(case.expected))
        ]
        if one.may_show(words):
            found.append(page.Example(f"case {each.id}", *words))
    return found


def answer_of(one: Loaded, case: Case, target: str, memory: Memory) -> str:
    replied = memory.reply(
        Asked(body_of(one.task, case, target), case.class_, where=",".join(one.where.get(target, ()))).key
    )
    if replied is None:
        return ""
    answer = read(replied)
    return answer.text + "".join(f"\n{name}({plain(arguments)})" for name, arguments in answer.tool_calls)


def plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# --- what becomes of it ---------------------------------------------------------------------------------------------


def _kept(shelf: Shelf, ran: Ran, verdict: Verdict, files: tuple[Path, ...], report: Path | None) -> dict[str, Any]:
    """Write a run down, and its report; returns it as data."""
    beside = [{"sealed_at": each.seal.sealed_at, "digest": each.seal.digest, "margin": each.seal.margin, "verdict": (each.verdict or {}).get("verdict")} for each in shelf.beside(ran.seal)]  # fmt: skip
    told = data(verdict, {**msgspec.to_builtins(ran.seal), "beside": beside})
    told |= {"task": ran.loaded.task.name, "open_target": ran.of.open, "closed_target": ran.loaded.task.targets.closed}
    told["metrics"] = {name: {**msgspec.to_builtins(one.whole), "verdict": None} for name, one in ran.others.items()}
    place = shelf.place(ran.seal.digest)
    repeat = f"freehold verdict run {' '.join(path.name for path in files)}\n\n# of the numbers alone, from the state directory:\n{again(place.name, ran.rule)}"
    title, labels = f"Verdict: {ran.loaded.task.name}", ran.loaded.labels
    told["labels"] = {"count": len(labels), "digest": digest_of(labels)} if labels else None
    # What is kept shows no words: only a page that is asked for does, and whoever asks for it has it.
    shelf.keep(
        ran.seal, rows_of(ran.of, ran.scored, labels), told, page.files(verdict, told, title=title, repeat=repeat)
    )
    if report is not None:
        pages = page.files(verdict, told, title=title, repeat=repeat, examples=ran.examples)
        write(report if len(files) == 1 else report / place.name, pages)
    return told


def again(name: str, rule: Rule) -> str:
    """The command that decides the same from the outcomes of a run."""
    parts = [f"freehold verdict --outcomes verdicts/{name}/outcomes.jsonl --margin {rule.margin:g}"]
    parts += [f"--span {rule.span:g}"] if rule.span is not None else []
    parts += ["--watched"] if rule.is_watched else []
    parts += [f"--share {shlex.quote(f'{stratum}={share:g}')}" for stratum, share in (rule.shares or {}).items()]
    return " ".join(parts)


def _show_run(ran: Ran, verdict: Verdict, told: dict[str, Any]) -> None:
    click.echo(f"{ran.loaded.task.name}: {ran.of.open} against {ran.loaded.task.targets.closed}")
    tell(verdict, told, as_json=False)
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
