"""`make capacity DATA=folder`: fit the capacity model to measured points and write src/freehold/forecast/fitted.json.

    python tools/capacity.py ../shared/data/capacity --date 2026-11-27

Each factor is fitted in logarithms, with a wide prior, a loss that forgives outliers (pseudo-Huber), and no factor that beats the hardware. Engines are
drawn towards the fit over all engines, so that one with few points is not wild. The interval is what the fit misses for a model × GPU × engine that
it has not seen.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from freehold.forecast import facts as known
from freehold.forecast.capacity import ENGINES, FIRST, PARTS, first_of, parts_of, slots_of, sum_of
from freehold.forecast.points import Point, read
from freehold.kernel.errors import CallerError

OUT = Path("src/freehold/forecast/fitted.json")
STEP_PRIOR = np.log([1.1, 1.5, 1.2, 1.5, 6e-5, 3e-6, 1.8, 2e-5, 1.7, 2.0])
STEP_SPREAD = np.array([0.3, 0.5, 0.5, 0.7, 0.7, 1.0, 0.7, 1.0, 0.6, 0.7])
STEP_LEAST = np.log([1.0, 1.0, 0.5, 1.0, 1e-7, 1e-8, 0.5, 1e-8, 1.0, 0.5])
FIRST_PRIOR = np.log([0.02, 1.0, 1.7, 2.0, 0.05])
FIRST_SPREAD = np.array([1.0, 0.7, 0.6, 0.7, 1.0])
FIRST_LEAST = np.log([1e-4, 0.5, 1.0, 0.5, 1e-4])
FORGIVE = 0.15
Key = Callable[[Point], str]


def points(folder: Path) -> list[Point]:
    """Every measurement once, of those that can be predicted and were not of a wide deployment that nobody knows the cut of."""
    facts, found, seen = known.load(), [], set()
    with gzip.open(folder / "serving_points.csv.gz") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")):
            measured = tuple(row[name] for name in ("model_path", "system", "backend", "isl", "osl", "silicon_ttft_ms", "silicon_tpot_ms"))  # fmt: skip
            if measured in seen or (row["system"] == "gb200" and int(float(row["tp_size"] or 1)) >= 12):
                continue
            try:
                point = read(row, facts)
                slots_of(point.setup, point.work.input_tokens, point.work.output_tokens)
            except CallerError:
                continue
            if point.ttft_s and point.tpot_s and point.setup.gpus <= 16:
                seen.add(measured)
                found.append(point)
    return found


class Sample:
    """Points as matrices. rows: what the factors multiply; seen: what was measured."""

    def __init__(self, found: list[Point]) -> None:
        self.points = found
        batches = [min(p.concurrency, slots_of(p.setup, p.work.input_tokens, p.work.output_tokens)) for p in found]
        self.step = np.array([parts_of(p.setup, b, p.work.input_tokens, p.work.output_tokens) for p, b in zip(found, batches, strict=True)])  # fmt: skip
        self.step_seen = np.array([p.tpot_s for p in found])
        self.first = np.array([first_of(p.setup, b, p.work.input_tokens, p.tpot_s or 0) for p, b in zip(found, batches, strict=True)])  # fmt: skip
        self.first_seen = np.array([p.ttft_s for p in found])
        self.is_free = np.array(
            [b == p.concurrency for p, b in zip(found, batches, strict=True)]
        )  # nobody waits for a slot
        self.engine = np.array([p.setup.engine for p in found])
        self.kind = np.array(["experts" if p.setup.model.experts else "dense" for p in found])


def fitted(rows: np.ndarray, seen: np.ndarray, prior: np.ndarray, spread: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Logarithms of the factors."""

    def missed(factors: np.ndarray) -> np.ndarray:
        error = (np.log(rows @ np.exp(factors)) - np.log(seen)) / FORGIVE
        soft = np.sign(error) * np.sqrt(2 * (np.sqrt(1 + error**2) - 1))
        return np.concatenate([soft, (factors - prior) / spread])

    start = np.maximum(prior, least + 1e-3)
    return np.asarray(least_squares(missed, start, bounds=(least, np.full(len(prior), 20.0))).x)


def both(sample: Sample, learn: np.ndarray, engine: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The factors of an engine and kind, of the points that may be learned from; "any": over all engines."""
    alike = learn & (sample.kind == kind)
    step = fitted(sample.step[alike], sample.step_seen[alike], STEP_PRIOR, STEP_SPREAD, STEP_LEAST)
    free = alike & sample.is_free
    first = fitted(sample.first[free], sample.first_seen[free], FIRST_PRIOR, FIRST_SPREAD, FIRST_LEAST)
    own = alike & (sample.engine == engine)
    if engine != "any" and own.any():
        step = fitted(sample.step[own], sample.step_seen[own], step, STEP_SPREAD / 2, STEP_LEAST)
        if (own & sample.is_free).any():
            free = own & sample.is_free
            first = fitted(sample.first[free], sample.first_seen[free], first, FIRST_SPREAD / 2, FIRST_LEAST)
    return np.exp(step), np.exp(first)


def crossed(sample: Sample, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """Predicted over measured, each point by a fit that has seen none of its group."""
    groups = np.array([key(point) for point in sample.points])
    steps, firsts = np.zeros(len(groups)), np.zeros(len(groups))
    for group in sorted(set(groups)):
        for engine, kind in sorted({(e, k) for e, k in zip(sample.engine[groups == group], sample.kind[groups == group], strict=True)}):  # fmt: skip
            out = (groups == group) & (sample.engine == engine) & (sample.kind == kind)
            step, first = both(sample, groups != group, engine, kind)
            steps[out] = sample.step[out] @ step / sample.step_seen[out]
            firsts[out] = sample.first[out] @ first / sample.first_seen[out]
    return steps, firsts


def said(name: str, ratio: np.ndarray) -> str:
    off = np.abs(ratio - 1) * 100
    low, high = np.quantile(ratio, [0.1, 0.9])
    return f"| {name} | {len(ratio)} | {off.mean():.1f} % | {np.median(off):.1f} % | {low:.2f} to {high:.2f} |"


def whole(point: Point) -> str:
    return f"{point.setup.model.name} · {point.setup.gpu.name} · {point.setup.engine}"


def lengths(point: Point) -> str:
    return f"{whole(point)} {point.setup.precision} {point.work.input_tokens:.0f}/{point.work.output_tokens:.0f}"


def report(sample: Sample) -> Iterator[str]:
    """The tables of docs/explanation/capacity.md."""
    for title, key in (("lengths of prompt and answer", lengths), ("a model, GPU and engine", whole)):
        steps, firsts = crossed(sample, key)
        yield f"\nPredicted over measured, leaving out {title}:\n"
        yield "| | points | mean error | median | 10th to 90th |\n|---|--:|--:|--:|--:|"
        for engine in ENGINES:
            for kind in ("dense", "experts"):
                own = (sample.engine == engine) & (sample.kind == kind)
                if own.any():
                    yield said(f"TPOT, {engine}, {kind}", steps[own])
        for kind in ("dense", "experts"):
            yield said(f"TPOT, {kind}", steps[sample.kind == kind])
            yield said(f"TTFT where nobody waits, {kind}", firsts[(sample.kind == kind) & sample.is_free])
        if key is whole:
            groups = np.array([key(point) for point in sample.points])
            for group in sorted(set(groups)):
                yield said(f"TPOT, {group}", steps[groups == group])


def table(sample: Sample, date: str) -> dict[str, object]:
    steps, firsts = crossed(sample, whole)
    fits = []
    every = np.ones(len(sample.points), dtype=bool)
    for engine in (*ENGINES, "any"):
        for kind in ("dense", "experts"):
            own = (sample.kind == kind) & ((sample.engine == engine) | (engine == "any"))
            if not own.any():
                continue
            step, first = both(sample, every, engine, kind)
            free = own & sample.is_free
            low, high = np.quantile(1 / steps[own], [0.1, 0.9])
            first_low, first_high = np.quantile(1 / firsts[free], [0.1, 0.9])
            setups = [point.setup for point, is_own in zip(sample.points, own, strict=True) if is_own]
            fits.append(
                {
                    "engine": engine,
                    "kind": kind,
                    "points": int(own.sum()),
                    "gpus": sorted({setup.gpu.name for setup in setups}),
                    "models": sorted({setup.model.name for setup in setups}),
                    "step": [_short(value) for value in step],
                    "first": [_short(value) for value in first],
                    "step_low": _short(min(low, 1.0)),
                    "step_high": _short(max(high, 1.0)),
                    "first_low": _short(min(first_low, 1.0)),
                    "first_high": _short(max(first_high, 1.0)),
                }
            )
    source = "aiconfigurator-core 0.12.0, silicon_sample.csv (NVIDIA, Apache-2.0; in part InferenceX, SemiAnalysis, Apache-2.0), measured 2025-10-29 to 2026-04-21"
    return {"source": source, "date": date, "fits": fits}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--date", required=True)
    options = parser.parse_args()
    sample = Sample(points(options.data))
    assert sample.step.shape[1] == len(PARTS)
    assert sample.first.shape[1] == len(FIRST)
    for line in report(sample):
        print(line)
    found = table(sample, options.date)
    rows = ",\n".join("  " + json.dumps(fit) for fit in found["fits"])  # type: ignore[attr-defined]
    OUT.write_text(
        f'{{\n "source": {json.dumps(found["source"])},\n "date": "{options.date}",\n "fits": [\n{rows}\n ]\n}}\n'
    )
    assert math.isfinite(sum_of(tuple(sample.step[0]), tuple(sample.step[0])))


if __name__ == "__main__":
    main()
