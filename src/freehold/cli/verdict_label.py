"""`freehold verdict label`: show answers to a person, blind and in random order, and write down what is said of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from freehold.cli.setting import Setting, config_option, printable
from freehold.cli.verdict_run import Loaded, answer_of, labels_in, memory_of, plain
from freehold.cli.verdict_shown import shelf_of
from freehold.evals.datasets import Case
from freehold.evals.results import half_of
from freehold.evals.running import in_order
from freehold.evals.tasks import Judged
from freehold.kernel.errors import CallerError


@click.command("label")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-n", "count", type=click.IntRange(min=1), default=50, show_default=True, help="How many cases to label.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Where labels go (default: where the task looks for them, labels.jsonl).")  # fmt: skip
@config_option
def label(file: Path, count: int, out: Path | None, config: Path | None) -> int:
    """Show answers of the task in FILE, blind and in random order, and write down what you say of them.

    Cases are drawn by chance, so that what you say of some holds for all. Answers must be there: run the task first.
    """
    setting = Setting.find(config)
    loaded = Loaded.of(file, setting)
    task, to = loaded.task, out or loaded.folder / loaded.task.labels
    is_graded = any(isinstance(metric, Judged) and metric.mode == "grade" for metric in task.metrics)
    done, open_ = labels_in(to), _chosen(loaded, setting)
    cases = [case for case in in_order(loaded.cases)[: task.stopping.cases] if case.id not in done]
    if len(task.opens) > 1:
        cases = [case for case in cases if half_of(case.id) == 1]  # the half that proves
    labelled = 0
    with memory_of(setting, loaded) as memory:
        for case in sorted(cases, key=lambda case: _chance("label", case.id)):
            answers = [answer_of(loaded, case, target, memory) for target in (open_, task.targets.closed)]
            if not all(answers):
                continue
            said = (
                _asked_person(case, answers, is_graded=is_graded, place=f"{labelled + 1} of {count}")
                if labelled < count
                else None
            )
            if said is None:
                break
            line = {"id": case.id, "human_open": said[0], "human_closed": said[1], "open": open_}
            with to.open("ab") as written:
                written.write(msgspec.json.encode(line) + b"\n")
            labelled += 1
    click.echo(f"{labelled} labels written to {to}.", err=True)
    if labelled == 0 and cases and not done:
        click.echo(f"No answers are kept for these cases: run 'freehold verdict run {file}' first.", err=True)
        return 1
    return 0


def _chosen(loaded: Loaded, setting: Setting) -> str:
    """The open model to show: the one there is, or the one that was chosen. Raises CallerError where none was yet."""
    if len(loaded.task.opens) == 1:
        return loaded.task.opens[0]
    kept = [one for one in shelf_of(setting).kept() if one.seal.task == loaded.task.name and one.verdict is not None]
    if not kept or kept[0].verdict is None:
        raise CallerError("Of several open models the best is chosen by a run, and there was none yet.", code="verdict.unknown", hint="'freehold verdict run' comes first.")  # fmt: skip
    return str(kept[0].verdict["open_target"])


def _chance(what: str, about: str) -> bytes:
    return hashlib.sha256(f"{what} {about}".encode()).digest()


def _asked_person(case: Case, answers: Sequence[str], *, is_graded: bool, place: str) -> tuple[float, float] | None:
    """Ask about two answers, which are shown in random order; None to stop."""
    is_turned = _chance("turn", case.id)[0] % 2 == 1
    shown = list(reversed(answers)) if is_turned else list(answers)
    click.echo(f"\n--- {place} ---")
    for part in case.messages:
        click.echo(printable(f"{part['role']}: {plain(part.get('content'))}", lines=True))
    for name, text in zip(("FIRST", "SECOND"), shown, strict=True):
        click.echo(printable(f"\n[{name}]\n{text}", lines=True))
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
