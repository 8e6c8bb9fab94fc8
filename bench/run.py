"""`make bench`: what a call costs the gateway, beside nginx as a plain proxy (when it is there) and, with --peers, LiteLLM.

Measured per call over many: CPU microseconds of the gateway's own process (user + system, from /proc), latency as the client sees it,
resident memory; and for Freehold the time until it is ready, and the time of its import. One run measures all sides in turns, so that
the ratios hold on a machine whose speed drifts. 1 kB request, 1 kB answer or 64 events, loopback, 32 connections.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")
UPSTREAM, NGINX, FREEHOLD, ADMIN, LITELLM = 18900, 18901, 18902, 18903, 18904


@dataclass
class Side:
    """One gateway under test: how to call it, whose CPU to count, and what was measured."""

    name: str
    port: int
    pids: Callable[[], list[int]]
    key: str = "none"
    model: str = "bench"
    cpu_us: dict[str, list[float]] = field(default_factory=lambda: {"unary": [], "stream": []})
    p50_ms: dict[str, list[float]] = field(default_factory=lambda: {"unary": [], "stream": []})
    p99_ms: dict[str, list[float]] = field(default_factory=lambda: {"unary": [], "stream": []})
    rss_mb: float = 0.0


def cpu_seconds(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(parts[11]) + int(parts[12])
    return total / TICK


def rss_mb(pids: list[int]) -> float:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def load(side: Side, kind: str, calls: int) -> None:
    """Drive one side from a process of its own and note what it cost."""
    before = cpu_seconds(side.pids())
    command = [sys.executable, str(HERE / "client.py"), str(side.port), side.key, side.model, kind, str(calls)]
    found = json.loads(subprocess.check_output(command))
    spent = cpu_seconds(side.pids()) - before
    if found["errors"]:
        raise SystemExit(f"{side.name}: {found['errors']} of {calls} {kind} calls failed: {found['first_error']}")
    side.cpu_us[kind].append(spent / calls * 1e6)
    side.p50_ms[kind].append(found["p50_ms"])
    side.p99_ms[kind].append(found["p99_ms"])
    side.rss_mb = rss_mb(side.pids())


def wait_for(port: int, path: str = "/readyz", deadline_s: float = 60.0) -> float:
    began = time.monotonic()
    while time.monotonic() - began < deadline_s:
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
                if answer.status == 200:
                    return time.monotonic() - began
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"nothing became ready on port {port}")


def start(stack: ExitStack, command: list[str], **options: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    stack.callback(process.wait)
    stack.callback(process.send_signal, signal.SIGTERM)
    return process


def configure(folder: Path) -> tuple[str, str]:
    """Write a Freehold with every control on: key, scan, ruling, plan, intent, receipt, charge, promise, metrics. Gives the program and a key."""
    (folder / "freehold.toml").write_text(
        "[engine]\nenabled = false\n"
        f'[providers.rack]\nbase_url = "http://127.0.0.1:{UPSTREAM}/v1"\nzone = "inside"\nprices = {{ bench = {{ input = 0.1, output = 0.2 }} }}\n'
        '[workloads.bench]\nclass = "public"\ntargets = ["rack/bench"]\nbudget = "1000000 USD/month"\n'
    )
    program = str(Path(sys.executable).parent / "freehold")
    made = subprocess.check_output(
        [program, "keys", "create", "--name", "bench", "--workload", "bench", "--json"], cwd=folder
    )
    return program, json.loads(made)["key"]


def start_freehold(stack: ExitStack, folder: Path) -> tuple[Side, float]:
    program, key = configure(folder)
    began = time.monotonic()
    process = start(
        stack, [program, "up", "--no-hello", "--port", str(FREEHOLD), "--admin-port", str(ADMIN)], cwd=folder
    )
    wait_for(FREEHOLD)
    return Side("Freehold", FREEHOLD, lambda: [process.pid], key=key), time.monotonic() - began


def start_nginx(stack: ExitStack, folder: Path) -> Side | None:
    program = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    if program is None:
        return None
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log /dev/null;\nevents {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; upstream u {{ server 127.0.0.1:{UPSTREAM}; keepalive 64; }}\n"
        f' server {{ listen 127.0.0.1:{NGINX}; keepalive_requests 1000000; location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }} }}\n'
    )
    process = start(stack, [program, "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    time.sleep(0.5)
    return Side("nginx, plain proxy", NGINX, lambda: children_of(process.pid))


def start_litellm(stack: ExitStack, folder: Path) -> Side:
    (folder / "litellm.yaml").write_text(
        f"model_list:\n- model_name: bench\n  litellm_params: {{ model: openai/bench, api_base: 'http://127.0.0.1:{UPSTREAM}/v1', api_key: none }}\n"
        "general_settings: { master_key: sk-bench }\n"
    )
    program = HERE.parent / ".venv-litellm/bin/litellm"
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    process = start(
        stack,
        [str(program), "--config", str(folder / "litellm.yaml"), "--port", str(LITELLM), "--host", "127.0.0.1"],
        env=environment,
    )
    wait_for(LITELLM, "/health/liveliness", 120)
    version = subprocess.check_output(
        [str(program.parent / "python"), "-c", "import importlib.metadata as m; print(m.version('litellm'))"], text=True
    ).strip()
    return Side(f"LiteLLM {version}", LITELLM, lambda: [process.pid, *children_of(process.pid)], key="sk-bench")


def import_ms() -> float:
    times = []
    for _ in range(7):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare = time.monotonic() - began
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import freehold, freehold.cli.main"], check=True)
        times.append((time.monotonic() - began - bare) * 1000)
    return statistics.median(times)


def table(sides: list[Side]) -> str:
    base = next((side for side in sides if side.name.startswith("nginx")), None)
    rows = [
        "| | unary CPU µs | × nginx | p50 ms | p99 ms | stream of 64, CPU µs | × nginx | p50 ms | MB |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for side in sides:
        cells = [side.name]
        for kind in ("unary", "stream"):
            cpu = statistics.median(side.cpu_us[kind])
            cells += [
                f"{cpu:,.0f}",
                f"{cpu / statistics.median(base.cpu_us[kind]):.1f}" if base else "–",
                f"{statistics.median(side.p50_ms[kind]):.1f}",
            ]
            if kind == "unary":
                cells.append(f"{statistics.median(side.p99_ms[kind]):.1f}")
        rows.append("| " + " | ".join([*cells, f"{side.rss_mb:.0f}"]) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=4000, help="unary calls a round; streams are a quarter")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        start(stack, [sys.executable, str(HERE / "upstream.py"), str(UPSTREAM)])
        time.sleep(0.5)
        freehold, ready_s = start_freehold(stack, folder)
        sides = [side for side in (start_nginx(stack, folder), freehold) if side is not None]
        if options.peers:
            sides.append(start_litellm(stack, folder))
        load(freehold, "unary", 500)
        freehold.cpu_us["unary"].clear()
        first_mb = rss_mb(freehold.pids())
        for _ in range(options.rounds):
            for side in sides:
                share = 20 if side.name.startswith("LiteLLM") else 1
                load(side, "unary", max(100, options.calls // share))
                load(side, "stream", max(25, options.calls // 4 // share))
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}; median of {options.rounds} rounds\n"
        )
        print(table(sides))
        calls = 500 + options.rounds * (options.calls + options.calls // 4)
        print(
            f"\nFreehold: ready in {ready_s:.2f} s, import {import_ms():.0f} ms, resident {first_mb:.0f} MB after 500 calls and {freehold.rss_mb:.0f} MB after {calls:,}."
        )


if __name__ == "__main__":
    main()
