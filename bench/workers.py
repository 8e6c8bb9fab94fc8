"""`make bench-workers`: what more workers than cores cost. Two and four workers of one Freehold each, in turns, under the same load.

Per round and side: calls in a second of wall time and the latency that the client sees, unary and streams, over 32 connections from one
process on the same machine. The client and the upstream take their share of the cores, on both sides alike: the figures are for the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from run import FREEHOLD, HERE, UPSTREAM, configure, start, wait_for

FEWER, MORE = 2, 4


def start_workers(stack: ExitStack, folder: Path, workers: int, port: int) -> str:
    """One Freehold with every control on, in a folder of its own; gives the key to call it with."""
    folder.mkdir()
    program, key = configure(folder)
    ports = ["--port", str(port), "--admin-port", str(port + 1)]
    start(stack, [program, "up", "--no-hello", "--workers", str(workers), *ports], cwd=folder)
    wait_for(port)
    return key


def drive(port: int, key: str, kind: str, calls: int) -> dict[str, float]:
    command = [sys.executable, str(HERE / "client.py"), str(port), key, "bench", kind, str(calls)]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    if found["errors"]:
        raise SystemExit(f"{found['errors']} of {calls} {kind} calls failed: {found['first_error']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=8000, help="unary calls a round; streams are a quarter")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        start(stack, [sys.executable, str(HERE / "upstream.py"), str(UPSTREAM)])
        time.sleep(0.5)
        ports = {FEWER: FREEHOLD, MORE: FREEHOLD + 10}
        keys = {workers: start_workers(stack, folder / str(workers), workers, port) for workers, port in ports.items()}
        for workers, port in ports.items():
            drive(port, keys[workers], "unary", 1000)
        rounds = [
            {(w, kind): drive(ports[w], keys[w], kind, calls) for w in order for kind, calls in _kinds(options.calls)}
            for order in ([FEWER, MORE] if at % 2 else [MORE, FEWER] for at in range(options.rounds))
        ]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}; median of {options.rounds} rounds\n"
    )
    print(table(rounds))


def _kinds(calls: int) -> tuple[tuple[str, int], ...]:
    return ("unary", calls), ("stream", calls // 4)


def table(rounds: list[dict[tuple[int, str], dict[str, float]]]) -> str:
    """The medians, and for four workers over two the median of the rounds' own ratios with the middle half of them."""
    rows = ["| | calls/s | p50 ms | p99 ms |", "|---|--:|--:|--:|"]
    for kind in ("unary", "stream"):
        for workers in (FEWER, MORE):
            cells = [
                statistics.median(r[workers, kind][what] for r in rounds) for what in ("per_second", "p50_ms", "p99_ms")
            ]
            rows.append(f"| {kind}, {workers} workers | {cells[0]:,.0f} | {cells[1]:.1f} | {cells[2]:.1f} |")
        ratios = [
            statistics.quantiles([r[MORE, kind][what] / r[FEWER, kind][what] for r in rounds], n=4)
            for what in ("per_second", "p50_ms", "p99_ms")
        ]
        rows.append(
            f"| {kind}, {MORE} over {FEWER} | "
            + " | ".join(f"{middle:.2f} ({low:.2f} to {high:.2f})" for low, middle, high in ratios)
            + " |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
