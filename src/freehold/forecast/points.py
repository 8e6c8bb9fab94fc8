"""Measured serving points, in the columns of NVIDIA's aiconfigurator: read, so that they can be predicted and fitted to.

Rules: a row that cannot be predicted says why; two dumps of the source write parallelism wrongly, and are read as their own ids say (a deployment of
8-way experts became 8 × 8, an attention copy for each GPU became copies × cuts).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from freehold.forecast.capacity import ENGINES, Engine, Setup, Work
from freehold.forecast.facts import Facts
from freehold.kernel.errors import CallerError

_PRECISIONS = {"nvfp4": "fp4", "int4_wo": "int4", "fp8_block": "fp8", "fp8": "fp8", "": "bf16", "bf16": "bf16", "bfloat16": "bf16"}  # fmt: skip
_WRONG_DUMPS = ("2026-04-06", "2026-04-27")


@dataclass(frozen=True, slots=True)
class Point:
    """One row. ttft_s, tpot_s: as measured, None if they were not."""

    id: str
    setup: Setup
    work: Work
    concurrency: float
    ttft_s: float | None
    tpot_s: float | None


def read(row: Mapping[str, str], facts: Facts) -> Point:
    """Read a row. Raises CallerError for one that cannot be predicted."""
    if row.get("mode", "agg") != "agg":
        raise CallerError("prefill and decoding on separate workers are not modelled", code="forecast.points")
    if row["backend"] not in ENGINES:
        raise CallerError(f"{row['backend']!r} is no engine of {', '.join(ENGINES)}", code="forecast.points")
    engine: Engine = row["backend"]
    told = row.get("silicon_data_source", "")
    gpus, copies = _parallel(row, told)
    counted = re.search(r"silicon_concurrency=(\d+)", told)
    concurrency = float(counted[1]) if counted else float(row["batch_size"]) * copies
    quant = row.get("moe_quant_mode") or row.get("gemm_quant_mode") or ""
    if quant not in _PRECISIONS:
        raise CallerError(f"{quant!r} is no precision that is modelled", code="forecast.points")
    setup = Setup(facts.model(row["model_path"]), facts.gpu(row["system"]), gpus, engine, _PRECISIONS[quant], copies)
    work = Work(float(row["isl"]), float(row["osl"]))
    return Point(row["id"], setup, work, concurrency, _ms(row, "silicon_ttft_ms"), _ms(row, "silicon_tpot_ms"))


def _parallel(row: Mapping[str, str], told: str) -> tuple[int, int]:
    """(GPUs, copies of the attention)."""
    cut, pipeline, copies, expert_cut, expert_ways = (
        int(float(row.get(name) or 1))
        for name in ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    )
    gpus = max(cut * pipeline * copies, expert_cut * expert_ways)
    if any(dump in told for dump in _WRONG_DUMPS):
        if expert_cut == expert_ways > 1:
            return expert_ways, min(copies, expert_ways)
        if copies == cut > 1:
            return cut, copies
    return gpus, copies


def _ms(row: Mapping[str, str], name: str) -> float | None:
    return float(row[name]) / 1000 if row.get(name) else None
