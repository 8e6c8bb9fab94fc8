"""Hold the verdict's promises against simulated data whose truth is known; `make calibrate` does it at full size and writes the table into the docs.

Each function gives the share of simulations in which something happened; what it should be stands beside it in `PROMISES`.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.evals.bets import Bets
from freehold.evals.bounds import quantile, score
from freehold.evals.deciding import decide
from freehold.evals.judged import Corrected, Labelled, corrected
from freehold.evals.outcomes import Outcomes
from freehold.evals.planning import Aim, plan, power_of
from freehold.evals.verdicts import Rule

Floats = NDArray[np.float64]
SEED = 20_261_128
PAGE = Path(__file__).parent.parent / "docs/explanation/verdict-calibration.md"


class Row(NamedTuple):
    """One promise. low, high: what the share has to lie between."""

    what: str
    share: float
    low: float
    high: float
    runs: int

    @property
    def holds(self) -> bool:
        """Whether it lies there, or no farther off than chance takes it in so many runs (three standard errors)."""
        slack = 3 * math.sqrt(max(self.share * (1 - self.share), 1e-4) / self.runs)
        return self.low - slack <= self.share <= self.high + slack


def outcomes(first: Floats, second: Floats, *, strata: NDArray[np.int64] | None = None, clusters: NDArray[np.int64] | None = None, is_binary: bool = True) -> Outcomes:  # fmt: skip
    """Columns as they would be read from a file."""
    n = len(first)
    codes = strata if strata is not None else np.zeros(n, dtype=np.int64)
    none = np.full(n, -1, dtype=np.int8)
    names = tuple(f"s{code}" for code in range(int(codes.max()) + 1)) if strata is not None else ("",)
    return Outcomes(
        metric="",
        count=n,
        is_binary=is_binary,
        numbers={"open": first, "closed": second},
        strata=codes,
        stratum_names=names,
        clusters=clusters,
        cluster_names=(),
        statuses={"open": none, "closed": none},
        twice=(),
        strange=(),
    )


def pairs(
    draw: np.random.Generator, n: int, closed: float, discordance: float, difference: float
) -> tuple[Floats, Floats]:
    """Right and wrong on both sides, with a true difference (open - closed)."""
    better, worse = (discordance + difference) / 2, (discordance - difference) / 2
    kind = draw.random(n)
    is_better, is_worse = kind < better, (kind >= better) & (kind < better + worse)
    both = draw.random(n) < max(0.0, min(1.0, (closed - worse) / max(1e-9, 1 - discordance)))
    return np.where(is_better, 1.0, np.where(is_worse, 0.0, both)), np.where(
        is_worse, 1.0, np.where(is_better, 0.0, both)
    )


# --- promises -------------------------------------------------------------------------------------------------------


def false_open(draw: np.random.Generator, runs: int) -> Iterator[Row]:
    """At the boundary, how often the verdict says that the open model is good enough."""
    for n, margin, discordance in (
        (40, 0.1, 0.2),
        (150, 0.05, 0.1),
        (400, 0.03, 0.08),
        (400, 0.05, 0.3),
        (1_500, 0.03, 0.1),
    ):
        found = sum(
            decide(outcomes(*pairs(draw, n, 0.9, discordance, -margin)), Rule(margin)).whole.verdict
            in ("OPEN", "OPEN_BETTER")
            for _ in range(runs)
        )
        yield Row(
            f"false OPEN at the boundary, n = {n}, margin {margin:g}, {discordance:.0%} differ",
            found / runs,
            0,
            0.05,
            runs,
        )


def false_open_numbers(draw: np.random.Generator, runs: int) -> Iterator[Row]:
    """The same for numbers; and where it is known not to hold: losses that are large, and so rare that a sample may hold none."""
    for name, make, high in (
        ("normal, n = 40", lambda: draw.normal(-0.05, 0.3, 40), 0.05),
        ("normal, n = 150", lambda: draw.normal(-0.05, 0.3, 150), 0.05),
        ("a loss of 1 in one case of twenty, n = 40", lambda: np.where(draw.random(40) < 0.05, -1.0, draw.normal(0.0, 0.02, 40)), 1.0),
        ("a loss of 1 in one case of twenty, n = 400", lambda: np.where(draw.random(400) < 0.05, -1.0, draw.normal(0.0, 0.02, 400)), 1.0),
    ):  # fmt: skip
        found = 0
        for _ in range(runs):
            seen = make()
            data = outcomes(seen, np.zeros(len(seen)), is_binary=False)
            found += decide(data, Rule(0.05, 4.0)).whole.verdict in ("OPEN", "OPEN_BETTER")
        yield Row(f"false OPEN at the boundary, numbers: {name}", found / runs, 0, high, runs)


def false_open_enumerated() -> float:
    """The worst chance of a false OPEN over every n, margin and discordance of a grid, counted out and not drawn."""
    worst = 0.0
    for n in (10, 14, 20, 27, 40, 64, 100, 130, 220, 400):
        for margin in (0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15):
            for discordance in np.unique([margin + 1e-4, margin * 1.2, margin * 1.5, 0.2, 0.3, 0.5, 0.8, 1.0]):
                if discordance > margin:
                    worst = max(worst, power_of(Aim(margin, difference=-margin, discordance=float(discordance)), n))
    return worst


def false_open_watched(draw: np.random.Generator, runs: int, looks: int = 60) -> Iterator[Row]:
    """The same for who looks every day and stops at the first OPEN; and what the bounds for one look would do then."""
    for n, margin, discordance in ((1_500, 0.03, 0.1), (3_000, 0.05, 0.3)):
        watched = plain = 0
        for _ in range(runs):
            first, second = pairs(draw, n, 0.9, discordance, -margin)
            seen = first - second
            days = [seen[: n * (day + 1) // looks] for day in range(looks)]
            watched += any(Bets(day, 1.0).p_above(-margin) <= 0.05 for day in days)
            plain += any(_score_shows(day, margin) for day in days)
        yield Row(
            f"false OPEN, {looks} looks with --watched, margin {margin:g}, {discordance:.0%} differ",
            watched / runs,
            0,
            0.05,
            runs,
        )
        yield Row("… and without it (why it is there)", plain / runs, 0, 1, runs)


def watched_lengths(draw: np.random.Generator, runs: int) -> Iterator[tuple[str, float, float]]:
    """How many times the planned number of cases a watched run takes where both sides are alike: half of the runs, and four of five."""
    for margin, discordance in ((0.05, 0.1), (0.05, 0.3), (0.03, 0.1), (0.1, 0.2)):
        n, ends = plan(Aim(margin, discordance=discordance)).needed_n, []
        for _ in range(runs):
            first, second = pairs(draw, 6 * n, 0.9, discordance, 0.0)
            looks = range(25, 6 * n, max(25, n // 40))
            ends.append(next((t for t in looks if Bets((first - second)[:t], 1.0).p_above(-margin) <= 0.05), 6 * n))
        yield (
            f"margin {margin:g}, {discordance:.0%} differ",
            float(np.median(ends)) / n,
            float(np.quantile(ends, 0.8)) / n,
        )


def _score_shows(seen: Floats, margin: float) -> bool:
    better, worse, n = float((seen > 0).sum()), float((seen < 0).sum()), float(len(seen))
    return bool(score(better, worse + 1, n + 1, -margin) >= quantile(0.05, math.inf))


def coverage_small(draw: np.random.Generator, runs: int) -> Iterator[Row]:
    """How often the interval of 40 pairs holds the truth."""
    for share in (0.5, 0.9, 0.97):
        for difference in (0.0, -0.02):
            discordance = (
                min(2 * share * (1 - share), 1 - abs(difference))
                if not difference
                else max(0.05, 2 * share * (1 - share))
            )
            held = sum(
                _holds(outcomes(*pairs(draw, 40, share, discordance, difference)), difference) for _ in range(runs)
            )
            yield Row(f"interval of 40 pairs, right {share:.0%}, difference {difference:g}", held / runs, 0.93, 1, runs)


def coverage_numbers(draw: np.random.Generator, runs: int) -> Iterator[Row]:
    """The same for numbers, skewed ones among them."""
    for name, make, truth in (
        ("normal", lambda n: draw.normal(0.02, 0.3, n), 0.02),
        ("skewed", lambda n: 0.2 - draw.exponential(0.2, n), 0.0),
        ("mostly equal", lambda n: np.where(draw.random(n) < 0.2, draw.normal(-0.3, 0.2, n), 0.0), -0.06),
    ):  # fmt: skip
        for n in (40, 150):
            held = 0
            for _ in range(runs):
                held += _holds(outcomes(make(n), np.zeros(n), is_binary=False), truth)
            yield Row(f"interval of {n} {name} differences", held / runs, 0.93, 1, runs)


def coverage_clusters(draw: np.random.Generator, runs: int) -> Iterator[Row]:
    """The same for 20 clusters of 10 that resemble each other half; and for clusters of unequal sizes."""
    for name, sizes in (("20 clusters of 10", [10] * 20), ("30 clusters of 1 to 60", [1 + at * 2 for at in range(30)])):
        clusters = np.repeat(np.arange(len(sizes)), sizes)
        for is_binary in (True, False):
            held = 0
            for _ in range(runs):
                first, second, truth = _clustered(draw, clusters, is_binary)
                held += _holds(outcomes(first, second, clusters=clusters, is_binary=is_binary), truth)
            kind = "right or wrong" if is_binary else "numbers"
            yield Row(f"interval of {name}, likeness 0.5, {kind}", held / runs, 0.92, 1, runs)


def _clustered(draw: np.random.Generator, clusters: NDArray[np.int64], is_binary: bool) -> tuple[Floats, Floats, float]:
    """Differences with an intra-cluster correlation of one half."""
    n, count = len(clusters), int(clusters.max()) + 1
    if not is_binary:
        both = draw.normal(0, math.sqrt(0.5), count)[clusters] + draw.normal(0, math.sqrt(0.5), n)
        return both - 0.1, np.zeros(n), -0.1
    # A case takes its cluster's kind with a chance of √½, so that two of a cluster do with ½.
    own, shared = draw.random(n), draw.random(count)[clusters]
    kind = np.where(draw.random(n) < math.sqrt(0.5), shared, own)
    better, worse = 0.1, 0.2
    return (kind < better).astype(float), ((kind >= better) & (kind < better + worse)).astype(float), better - worse


def _holds(data: Outcomes, truth: float) -> bool:
    interval = decide(data, Rule(0.05, None if data.is_binary else 20.0)).whole.interval
    return interval is not None and interval[0] <= truth <= interval[1]


def routes(draw: np.random.Generator, runs: int) -> Iterator[Row]:
    """How often a split is claimed although what it keeps is no better than the margin allows: strata that are good, at the boundary and bad."""
    for name, truths in (
        ("two of six bad, the rest at the boundary", (-0.05, -0.05, -0.05, -0.05, -0.25, -0.25)),
        ("one bad, one borderline bad, one good", (-0.25, -0.15, 0.05)),
        ("all a little bad", (-0.08,) * 8),
    ):
        false = 0
        for _ in range(runs):
            parts = [pairs(draw, 150, 0.85, 0.3, truth) for truth in truths]
            first, second = (np.concatenate(side) for side in zip(*parts, strict=True))
            found = decide(outcomes(first, second, strata=np.repeat(np.arange(len(truths)), 150)), Rule(0.05))
            if found.route is not None:
                kept = [truths[int(one[1:])] for one in found.route.open]
                false += sum(kept) / len(kept) <= -0.05 + 1e-12
        yield Row(f"false ROUTE: {name}", false / runs, 0, 0.05, runs)


def powers(draw: np.random.Generator, runs: int) -> Iterator[Row]:
    """Whether the planned number of cases decides as often as it was to."""
    for aim in (
        Aim(0.05, 0.8, 0.0, 0.1),
        Aim(0.05, 0.9, 0.0, 0.3),
        Aim(0.03, 0.8, 0.01, 0.08),
        Aim(0.1, 0.8, -0.02, 0.2),
    ):
        n = plan(aim).needed_n
        assert aim.discordance is not None
        decided = sum(
            decide(outcomes(*pairs(draw, n, 0.9, aim.discordance, aim.difference)), Rule(aim.margin)).whole.verdict
            in ("OPEN", "OPEN_BETTER")
            for _ in range(runs)
        )
        yield Row(
            f"power of a planned n = {n:,}, margin {aim.margin:g}, {aim.discordance:.0%} differ",
            decided / runs,
            aim.power - 0.02,
            aim.power + 0.02,
            runs,
        )


def powers_numbers(draw: np.random.Generator, runs: int) -> Iterator[Row]:
    """The same for numbers, and for clusters of them."""
    for aim in (Aim(0.15, spread=0.3), Aim(0.05, spread=0.3), Aim(0.1, spread=0.3, cluster_size=10, likeness=0.5)):
        n, size = plan(aim).needed_n, int(aim.cluster_size)
        n, spread, decided = -(-n // size) * size, aim.spread or 0.0, 0
        for _ in range(runs):
            shared = np.repeat(draw.normal(0, spread * math.sqrt(aim.likeness), n // size), size)
            seen = shared + draw.normal(0, spread * math.sqrt(1 - aim.likeness), n)
            clusters = np.repeat(np.arange(n // size), size) if size > 1 else None
            data = outcomes(seen, np.zeros(n), clusters=clusters, is_binary=False)
            decided += decide(data, Rule(aim.margin, 8.0)).whole.verdict in ("OPEN", "OPEN_BETTER")
        kind = f", clusters of {size}" if size > 1 else ""
        yield Row(
            f"power of a planned n = {n:,}, margin {aim.margin:g}, numbers{kind}",
            decided / runs,
            aim.power - 0.02,
            aim.power + 0.04,
            runs,
        )


def judges(draw: np.random.Generator, runs: int, data: Path) -> Iterator[Row]:
    """PPI++ on real pairs: whether its interval holds what people said of all, and how long it is beside that of labels alone."""
    with gzip.open(data, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    sign = {1: 1.0, 2: -1.0, 0: 0.0, None: 0.0}
    human = np.array([sign[max(set(row["human"]), key=row["human"].count)] for row in rows])
    for name in ("judge_gpt35", "judge_pandalm"):
        judge = np.array([sign[row[name]] for row in rows])
        held, ratios = 0, []
        for _ in range(runs):
            picked = draw.integers(0, len(rows), 500)
            labels = np.where(np.arange(500) < 100, human[picked], np.nan)
            labelled = Labelled(judge[picked], labels, None, 2.0)
            effect, weight = corrected(labelled)
            bounds = Corrected(labelled, effect, weight).bounds()
            low, high = bounds.lower(0.025), bounds.upper(0.025)
            held += low <= human.mean() <= high
            alone = 2 * quantile(0.025, 99) * human[picked][:100].std(ddof=1) / 10
            ratios.append((high - low) / alone)
        yield Row(
            f"PPI++ with {name[6:]}, 100 labels of 500 real pairs ({np.mean(ratios):.2f} times as long as labels alone)",
            held / runs,
            0.93,
            0.975,
            runs,
        )


def table(rows: list[Row]) -> str:
    lines = ["| what | is | should be | simulations |", "|---|--:|--:|--:|"]
    for row in rows:
        meant = (
            f"≤ {row.high:.1%}"
            if not row.low
            else f"≥ {row.low:.1%}"
            if row.high == 1
            else f"{row.low:.1%} to {row.high:.1%}"
        )
        meant = "–" if not row.low and row.high == 1 else meant
        lines.append(f"| {row.what} | {row.share:.1%} | {meant} | {row.runs:,} |")
    return "\n".join(lines)


def page(rows: list[Row], worst: float) -> str:
    """The page of the docs."""
    return (
        "# The verdict, held against simulated truth\n\n<!-- Written by `make calibrate`; edit the tool, not this page. -->\n\n"
        f"{datetime.date.today()}, seed {SEED}. How each is reached: [verdict](verdict.md).\n\n{table(rows)}\n\n"  # noqa: DTZ011 - the day it ran here
        f"The worst chance of a false `OPEN`, counted out over every outcome of n from 10 to 400, margins from 0.01 to 0.15 and shares of pairs that differ: {worst:.2%}.\n"
    )


ALL: tuple[Callable[[np.random.Generator, int], Iterator[Row]], ...] = (
    false_open,
    false_open_numbers,
    false_open_watched,
    coverage_small,
    coverage_numbers,
    coverage_clusters,
    routes,
    powers,
    powers_numbers,
)
SLOW = (false_open_numbers, false_open_watched, coverage_numbers, powers_numbers)  # a fifth as often


def main() -> int:
    asked = argparse.ArgumentParser()
    asked.add_argument("--runs", type=int, default=10_000)
    asked.add_argument("--judging", type=Path, help="pandalm_500.jsonl.gz")
    asked.add_argument("--write", action="store_true")
    asked.add_argument("--lengths", action="store_true", help="only how long watched runs take")
    given = asked.parse_args()
    if given.lengths:
        for what, half, most in watched_lengths(np.random.default_rng(SEED), 200):
            print(f"{what}: half within {half:.2f} times the planned cases, four of five within {most:.2f}")
        return 0
    draw, rows = np.random.default_rng(SEED), []
    for promise in ALL:
        began = time.monotonic()
        for row in promise(draw, given.runs // 5 if promise in SLOW else given.runs):
            rows.append(row)
            print(f"{row.what}: {row.share:.3f} {'' if row.holds else '  <-- NOT HELD'}", flush=True)
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
    if given.judging is not None:
        for row in judges(draw, given.runs // 5, given.judging):
            rows.append(row)
            print(f"{row.what}: {row.share:.3f} {'' if row.holds else '  <-- NOT HELD'}", flush=True)
    worst = false_open_enumerated()
    print(f"the worst chance of a false OPEN, counted out: {worst:.4f}")
    if given.write:
        PAGE.write_text(page(rows, worst), encoding="utf-8")
    print(table(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
