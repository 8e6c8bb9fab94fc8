"""`freehold verdict`: open or closed for a workload, by how much, and how sure."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from freehold.cli.setting import json_option, show_json
from freehold.cli.verdict_label import label
from freehold.cli.verdict_run import again, run
from freehold.cli.verdict_shown import show, tell, write
from freehold.evals import logs, page, tasks
from freehold.evals.deciding import decide
from freehold.evals.outcomes import Outcomes, read
from freehold.evals.planning import Aim, Planned, labels_for, plan
from freehold.evals.telling import code_of, data
from freehold.evals.verdicts import Rule
from freehold.kernel.errors import CallerError

_FEWEST = 10  # cases of a pilot


@click.group("verdict", invoke_without_command=True)
@click.pass_context
@click.option("--outcomes", type=click.Path(path_type=Path, dir_okay=False), help='Outcomes scored elsewhere, a line each: {"id": …, "open": true, "closed": false}.')  # fmt: skip
@click.option("--margin", type=float, help="How much worse the open model may be, in units of the metric: 0.03 is three points.")  # fmt: skip
@click.option("--metric", default="", help="Which metric, where the outcomes hold several.")
@click.option("--span", type=float, help="How far apart two scores can be, for numbers (default: as far as the seen ones are).")  # fmt: skip
@click.option("--share", "shares", multiple=True, help="A stratum's share of the traffic, such as refunds=0.2; all of them, or none.")  # fmt: skip
@click.option("--watched", is_flag=True, help="Bounds that hold however often one looks: for evaluations that grow from day to day.")  # fmt: skip
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Write a page with plots to this folder.")  # fmt: skip
@json_option
def _verdict(ctx: click.Context, /, **asked: Any) -> int:
    """Say whether an open model is good enough to replace a closed one, everywhere or in part: OPEN, OPEN_BETTER, CLOSED, ROUTE, INCONCLUSIVE or INVALID.

    Exit code 0 if it is decided, 1 if not, 2 if the evaluation itself is at fault.
    """
    if ctx.invoked_subcommand is not None:
        if any(asked[name] for name in asked):
            raise click.UsageError(f"options stand behind the command: freehold verdict {ctx.invoked_subcommand} …")
        return 0
    if asked["outcomes"] is None:
        raise click.UsageError("nothing to look at: give --outcomes FILE, or one of the commands (see --help)")
    if asked["margin"] is None:
        raise click.UsageError("--margin is needed: how much worse may the open model be and still be good enough?")
    rule = Rule(asked["margin"], asked["span"], _shares(asked["shares"]), is_watched=asked["watched"])
    found = decide(_outcomes(asked["outcomes"], asked["metric"]), rule)
    told = data(found, None)
    if asked["report"] is not None:
        repeat = again("", rule).replace("verdicts//outcomes.jsonl", asked["outcomes"].name)
        write(asked["report"], page.files(found, told, title=f"Verdict on {asked['outcomes'].name}", repeat=repeat))
    tell(found, told, as_json=asked["as_json"])
    return code_of(found)


command = _verdict
for other in (run, show, label):
    command.add_command(other)


def _shares(told: tuple[str, ...]) -> dict[str, float] | None:
    """Raises UsageError for what is no share."""
    found = {}
    for one in told:
        name, _, share = one.rpartition("=")
        try:
            found[name] = float(share)
        except ValueError:
            raise click.UsageError(f"{one!r} is no share of a stratum: write refunds=0.2") from None
    return found or None


def _outcomes(path: Path, metric: str) -> Outcomes:
    try:
        with path.open("rb") as file:
            return read(file, metric)
    except OSError as error:
        raise CallerError(f"{str(path)!r} cannot be read ({type(error).__name__}).", code="verdict.outcomes") from None


@command.command("init")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("verdict.toml"), show_default=True)
def _init(out: Path) -> int:
    """Write a commented task to begin with, and two cases beside it if there are none."""
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(tasks.EXAMPLE)
    except OSError as error:
        raise CallerError(f"{str(out)!r} cannot be written ({type(error).__name__}).", code="verdict.task", hint="Choose another with --out.") from None  # fmt: skip
    cases = out.with_name("cases.jsonl")
    with contextlib.suppress(FileExistsError, OSError), cases.open("x", encoding="utf-8") as file:
        file.write(tasks.EXAMPLE_CASES)
    click.echo(f"Wrote {out}, for the cases in {cases}. Next: freehold verdict run {out} --dry-run", err=True)
    return 0


@command.command("import")
@click.option("--open", "open_", type=click.Path(path_type=Path, dir_okay=False, exists=True), required=True, help="The log of the open model.")  # fmt: skip
@click.option("--closed", type=click.Path(path_type=Path, dir_okay=False, exists=True), required=True, help="The log of the closed model.")  # fmt: skip
@click.option("--metric", default="", help="Which score of the logs, where they hold several.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("outcomes.jsonl"), show_default=True
)
def _import(open_: Path, closed: Path, metric: str, out: Path) -> int:
    """Make outcomes of two logs of the same cases, by Inspect AI (.eval, .json) or OpenAI's evals (.jsonl)."""
    rows = list(logs.paired(logs.samples_of(open_), logs.samples_of(closed), metric))
    try:
        with out.open("xb") as file:
            file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
    except OSError as error:
        raise CallerError(f"{str(out)!r} cannot be written ({type(error).__name__}).", code="verdict.outcomes", hint="Choose another with --out.") from None  # fmt: skip
    click.echo(f"Wrote {len(rows):,} cases to {out}. Next: freehold verdict --outcomes {out} --margin 0.03", err=True)
    return 0


@command.command("plan")
@click.option(
    "--margin", type=float, required=True, help="How much worse the open model may be, in units of the metric."
)
@click.option("--power", type=float, default=0.8, show_default=True, help="The chance to prove it, if the difference is as below.")  # fmt: skip
@click.option("--difference", type=float, default=0.0, show_default=True, help="What the true difference (open - closed) is thought to be.")  # fmt: skip
@click.option("--discordance", type=float, help="The share of cases that only one side gets right (right or wrong).")
@click.option("--spread", type=float, help="The standard deviation of differences (numbers).")
@click.option("--metric", default="", help="Which metric of the pilot, where it holds several.")
@click.option("--pilot", type=click.Path(path_type=Path, dir_okay=False), help="Outcomes of a first few cases, to take the discordance or spread from.")  # fmt: skip
@click.option("--cluster-size", type=click.FloatRange(min=1), default=1.0, help="Cases of a conversation, document or customer.")  # fmt: skip
@click.option("--likeness", type=click.FloatRange(0, 1), default=0.0, help="How alike the cases of a cluster are (their intra-cluster correlation).")  # fmt: skip
@click.option("--correlation", type=click.FloatRange(0, 1), help="How well a judge's differences correlate with people's, to plan labels.")  # fmt: skip
@click.option("--cases", type=click.IntRange(min=2), help="How many cases the judge scores, with --correlation (default: ten times those needed).")  # fmt: skip
@json_option
def _plan(**asked: Any) -> int:
    """Say how many cases (and labels by people) a verdict needs."""
    names = ("margin", "power", "difference", "discordance", "spread", "cluster_size", "likeness")
    aim = Aim(**{name: asked[name] for name in names})
    if asked["pilot"] is not None:
        aim = _piloted(aim, _outcomes(asked["pilot"], asked["metric"]))
    planned = plan(aim)
    if asked["correlation"] is not None:
        judged = asked["cases"] or 10 * planned.needed_n
        planned = msgspec.structs.replace(planned, needed_labels=labels_for(aim, judged, asked["correlation"]))
    if asked["as_json"]:
        show_json({**msgspec.to_builtins(planned), "aim": msgspec.to_builtins(aim)})
    else:
        click.echo(_planned(aim, planned))
    return 0


def _piloted(aim: Aim, pilot: Outcomes) -> Aim:
    """How the sides differ, as a first few cases show it. Raises CallerError where they are too few."""
    names = ("judge_open", "judge_closed") if pilot.is_judged else ("open", "closed")
    seen = pilot.numbers[names[0]] - pilot.numbers[names[1]]
    seen = seen[~np.isnan(seen)]
    if len(seen) < _FEWEST:
        raise CallerError(
            f"A pilot of {len(seen)} cases says too little: {_FEWEST} are the least.", code="verdict.plan"
        )
    differ = (float(np.count_nonzero(seen)) + 1.0) / (len(seen) + 1.0)
    if pilot.is_binary:
        return msgspec.structs.replace(aim, discordance=differ)
    return msgspec.structs.replace(aim, spread=max(float(seen.std(ddof=1)), 1e-9), differ=differ)


def _planned(aim: Aim, planned: Planned) -> str:
    varies = (
        f"{aim.discordance:.1%} of cases differ"
        if aim.discordance is not None
        else f"differences spread by {aim.spread:g}"
    )
    lines = [f"{planned.needed_n:,} cases: with a true difference of {aim.difference:+g} and {varies}, they prove it good enough at a margin of {aim.margin:g} with a chance of {planned.power:.0%}."]  # fmt: skip
    if planned.effect > 1:
        lines.append(f"Clusters make it {planned.effect:.2f} times as many as cases that stand alone.")
    if planned.needed_labels is not None:
        lines.append(f"{planned.needed_labels:,} labels by people, with the judge on all cases.")
    return "\n".join(lines)
