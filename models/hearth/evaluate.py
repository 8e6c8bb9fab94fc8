"""Evaluate hearth as it is served: the GGUF in the embedded engine, under the JSON schema, on words that training never saw.

    python evaluate.py --model hearth.gguf --cases 400

Prints, for the held-out split and for the training distribution (a fresh seed), the accuracy per field, of all triage fields together and
of all nine together, with 95 % Wilson intervals; writes evaluation.json.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import urllib.request
from math import sqrt
from pathlib import Path

from grammar import FIELDS, TRIAGE, Case, Writer

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": list(FIELDS),
    "properties": {field: {"type": ["string", "null"]} for field in FIELDS},
}
EVALUATION_SEED = 31_337


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion."""
    z, p = 1.959964, right / count
    middle, half = p + z * z / (2 * count), z * sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


class Served:
    """The embedded engine with one model, for the length of a `with` block."""

    def __init__(self, model: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.orders = {
            "parent": os.getpid(),
            "model": str(model),
            "name": "hearth",
            "port": self.port,
            "key": "k",
            "context": 1024,
            "parallel": 1,
            "threads": 1,
        }

    def __enter__(self) -> Served:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "freehold.engines.serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps(self.orders).encode() + b"\n")
        self.child.stdin.flush()
        if not self.child.stdout.readline().startswith(b"ready"):
            raise SystemExit("the engine could not load the model")
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.communicate()

    def ask(self, path: str, body: dict[str, object]) -> dict[str, object]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}",
            json.dumps(body).encode(),
            {"Authorization": "Bearer k", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    def triage(self, message: str) -> str:
        body = {
            "model": "hearth",
            "temperature": 0,
            "max_tokens": 256,
            "messages": [
                {"role": "system", "content": "Triage the message. Answer in JSON."},
                {"role": "user", "content": message},
            ],
            "response_format": {"type": "json_schema", "json_schema": {"name": "triage", "schema": SCHEMA}},
        }
        return self.ask("v1/chat/completions", body)["choices"][0]["message"]["content"]  # type: ignore[index]


def score(served: Served, cases: list[Case]) -> dict[str, list[int]]:
    """Count per field, and for the groups: [right, asked]."""
    counts = {name: [0, 0] for name in ("valid JSON", *FIELDS, "all triage", "all nine")}

    def note(name: str, is_right: bool) -> None:
        counts[name][0] += is_right
        counts[name][1] += 1

    for case in cases:
        try:
            found = json.loads(served.triage(case.message))
        except ValueError:
            found = None
        note("valid JSON", found is not None and set(found) == set(FIELDS))
        right = {field: found is not None and found.get(field) == case.labels[field] for field in FIELDS}
        for field in FIELDS:
            note(field, right[field])
        note("all triage", all(right[field] for field in TRIAGE))
        note("all nine", all(right.values()))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("evaluation.json"))
    options = parser.parse_args()
    results = {}
    with Served(options.model) as served:
        for split in ("test", "train"):
            writer = Writer(EVALUATION_SEED, split)
            results[split] = score(served, [writer.case() for _ in range(options.cases)])
    print(f"| field | held-out words ({options.cases}) | seen words, new messages ({options.cases}) |\n|---|--:|--:|")
    for name in results["test"]:
        cells = []
        for split in ("test", "train"):
            right, count = results[split][name]
            low, high = wilson(right, count)
            cells.append(f"{right / count:.0%} ({low:.0%}–{high:.0%})")
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
