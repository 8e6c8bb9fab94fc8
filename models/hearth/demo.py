"""A verdict from nothing to a report, without a key: the built-in model as the one that works, and a worse sibling of it as the one that might replace it.

    python demo.py --out build/verdict        (or: make verdict)

Both are real models behind a real Freehold: the sibling is hearth with what one layer has learned taken out, served beside it as a provider of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from evaluate import KEY, SCHEMA, Served, free_port
from grammar import FIELDS, Writer
from handicap import handicap

ROOT = Path(__file__).parent.parent.parent
HEARTH = ROOT / "src/freehold/engines/hearth.gguf"
SEED = 400  # of the messages, which are others than those that the evaluation counts
TENSORS = ("blk.4.attn_output.weight",)
FREEHOLD = [sys.executable, "-m", "freehold.cli.main"]


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Freehold itself; gives its port."""
    port, admin = free_port(), free_port()
    up = subprocess.Popen(
        [*FREEHOLD, "up", "--config", "freehold.toml", "--port", str(port), "--admin-port", str(admin), "--no-hello"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(folder),
    )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                if up.poll() is not None:
                    raise SystemExit("Freehold did not start") from None
                time.sleep(0.1)
        else:
            raise SystemExit("Freehold is not ready after a minute")
        yield port
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(60)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "FREEHOLD_HOME": str((folder / "state").resolve()), "SIBLING_KEY": KEY}


def write_files(folder: Path, port: int, cases: int) -> None:
    writer = Writer(SEED, "test")
    with (folder / "cases.jsonl").open("w") as file:
        for at in range(cases):
            case = writer.case()
            file.write(
                json.dumps(
                    {
                        "id": f"letter {at}",
                        "prompt": case.message,
                        "expected": {name: case.labels[name] for name in FIELDS},
                        "stratum": case.labels["department"],
                        "class": "internal",
                    }
                )
                + "\n"
            )
    schema = {"name": "triage", "schema": SCHEMA}
    (folder / "verdict.toml").write_text(
        'name    = "support desk"\ndataset = "cases.jsonl"\nmargin  = 0.05\n\n[targets]\nopen   = "rack/sibling"\nclosed = "builtin/hearth"\n\n'
        '[ask]\nsystem      = "Triage the message. Answer in JSON."\nmax_tokens  = 640\nconcurrency = 4\n'
        f'[ask.body.response_format]\ntype = "json_schema"\n{toml(schema)}\n'
        '\n[[metrics]]\nname = "department and intent"\nscorer = "json_fields"\nfields = ["department", "intent"]\nall_or_nothing = true\n'
        '\n[[metrics]]\nname = "all twelve fields"\nscorer = "json_fields"\n\n[report]\nexamples = 4\nshow = "internal"\n'
    )
    (folder / "freehold.toml").write_text(
        f'[providers.rack]\nbase_url = "http://127.0.0.1:{port}/v1"\nkey = "env:SIBLING_KEY"\nzone = "inside"\nmodels = ["sibling"]\n'
        "prices = { sibling = { input = 0.02, output = 0.04 } }\n\n[engine]\nparallel = 2\nthreads = 1\n"
    )


def toml(value: object) -> str:
    """A JSON value as an inline table."""

    def written(one: object) -> str:
        if isinstance(one, dict):
            return "{ " + ", ".join(f"{json.dumps(name)} = {written(inner)}" for name, inner in one.items()) + " }"
        if isinstance(one, list):
            return "[" + ", ".join(map(written, one)) + "]"
        return json.dumps(one)

    return f"json_schema = {written(value)}"


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--out", type=Path, default=Path("build/verdict"))
    asked.add_argument("--cases", type=int, default=400)
    given = asked.parse_args()
    folder: Path = given.out
    folder.mkdir(parents=True, exist_ok=True)
    handicap(HEARTH, folder / "sibling.gguf", TENSORS)
    with ExitStack() as running:
        sibling = running.enter_context(Served(folder / "sibling.gguf", name="sibling", parallel=2))
        write_files(folder, sibling.port, given.cases)
        port = running.enter_context(served(folder))
        made = subprocess.run(
            [
                *FREEHOLD,
                "keys",
                "create",
                "--name",
                "verdict",
                "--class",
                "internal",
                "--config",
                "freehold.toml",
                "--json",
            ],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            check=True,
        )
        key = json.loads(made.stdout)["key"]
        return subprocess.run(
            [
                *FREEHOLD,
                "verdict",
                "run",
                "verdict.toml",
                "--config",
                "freehold.toml",
                "--key",
                key,
                "--url",
                f"http://127.0.0.1:{port}/v1",
                "--report",
                "report",
                "--yes",
            ],
            cwd=folder,
            env=environment(folder),
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
