"""Evaluate hearth as it is served: the GGUF in the embedded engine, on words that training never saw and on messages that no template made.

    python evaluate.py --model hearth.gguf --cases 400 --out evaluation.json

Sets: `test` (lines, names, products and shapes of the test split), `handwritten` (`handwritten/*.jsonl`), `outside` (100 prompts that are not the job).
Prints accuracy per triage field, F1 per extracted field, exact messages, replies held to rules, tool calls, and JSON with and without a schema, with
95 % Wilson intervals for shares; and the speed of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable
from functools import reduce
from math import sqrt
from pathlib import Path
from statistics import median
from typing import Any

import jsonschema_rs

from conversations import CLOSED, DEAR, TOOL
from grammar import DEPARTMENTS, EXTRACTION, FIELDS, INTENTS, TRIAGE, Case, Writer

HERE = Path(__file__).parent
EVALUATION_SEED = 31_337
KEY = "k"  # of the engine, which listens on loopback for as long as it is asked
# Bounded, because a model of this size may say the same for ever.
_TEXT: dict[str, object] = {"type": ["string", "null"], "maxLength": 80}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": list(FIELDS),
    "properties": {
        "department": {"enum": list(DEPARTMENTS)},
        "intent": {"enum": list(INTENTS)},
        "urgency": {"enum": ["high", "normal", "low"]},
        "sentiment": {"enum": ["negative", "neutral", "positive"]},
        "language": {"anyOf": [{"enum": ["en", "de", "es", "fr"]}, {"type": "null"}]},
        **dict.fromkeys(EXTRACTION, _TEXT),
        "order_id": {"anyOf": [_TEXT, {"type": "array", "items": {"type": "string", "maxLength": 80}, "maxItems": 8}]},
    },
}
TASKS: dict[str, tuple[str, dict[str, object]]] = {  # what the system says, and what form the answer has
    "triage": (
        "Triage the message. Answer in JSON.",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "triage", "schema": SCHEMA}}},
    ),
    "reply": ("Write a short, polite reply to the customer.", {}),
}
PROMISES = re.compile(
    r"will (be )?(refund|replac|deliver|arriv|receiv|credit)|you will (get|have) (it|your money|a refund)|guarantee|promise|tomorrow|today|within \d|"
    r"(werden?|wird)\b[^.!?]*\b(erstatt|ersetz|geliefert|gutgeschrieben|zurückgezahlt|ankommen)|garantier|verspreche|morgen (bei|da)|heute noch|"
    r"reembolsaremos|devolveremos|llegará|garantiz|prometemos|mañana mismo|"
    r"rembourserons|remplacerons|arrivera|serez remboursé|garantiss|promettons|dès demain",
    re.IGNORECASE,
)
SHORTEST_REPLY, LONGEST_REPLY = 8, 80  # words
COMMON = {  # what a fifth of the words of any sentence are
    "en": r"\b(the|a|an|and|you|your|we|our|will|is|it|to|for|of|about|have|with|in|that|this|please|thank|us|can|be|are|on|as|what)\b",
    "de": r"\b(der|die|das|den|dem|und|sie|ihre?n?|ihnen|wir|uns|unser\w*|für|zu[rm]?|ist|es|mit|in|im|ein\w*|bitte|vielen|dank|kann|haben|an|auf|was)\b",
    "es": r"\b(el|la|los|las|y|su|sus|le|nos|nuestr\w+|de|del|por|para|en|con|es|un|una|que|se|lo|gracias|favor|sobre|al|a)\b",
    "fr": r"\b(le|la|les|et|votre|vos|vous|nous|notre|nos|de|du|des|pour|en|avec|est|un|une|que|qui|à|au|aux|merci|sur|sujet|ce|cette)\b|\b[dlqcn]'",
}
FITS = jsonschema_rs.validator_for(SCHEMA)


def handwritten() -> list[Case]:
    """The messages that people wrote by hand, in the order of the files."""
    rows = [
        json.loads(line)
        for path in sorted((HERE / "handwritten").glob("??.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return [Case(row["message"], row["labels"]) for row in rows]


def outside() -> list[dict[str, str]]:
    return [json.loads(line) for line in (HERE / "handwritten/outside.jsonl").read_text(encoding="utf-8").splitlines()]


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion."""
    z, p = 1.959964, right / count
    middle, half = p + z * z / (2 * count), z * sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """The embedded engine with one model, for the length of a `with` block; parallel: calls at once."""

    def __init__(self, model: Path, *, name: str = "hearth", parallel: int = 1) -> None:
        self.port = free_port()
        self.orders = {
            "parent": os.getpid(),
            "model": str(model),
            "name": name,
            "port": self.port,
            "key": KEY,
            "context": 1024,
            "parallel": parallel,
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

    def ask(self, path: str, body: dict[str, object]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def say(self, system: str, message: str, **more: object) -> dict[str, Any]:  # the engine's own fields
        messages = ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": message}]
        body = {"model": "hearth", "temperature": 0, "max_tokens": 640, "messages": messages, **more}
        try:
            found: dict[str, Any] = self.ask("v1/chat/completions", body)["choices"][0]["message"]
        except urllib.error.HTTPError as error:
            if error.code != 500:
                raise
            return {"content": ""}  # the engine refuses to read what broke off at the limit: no answer
        return found

    def triage(self, message: str, *, schema: bool = True) -> str:
        system, form = TASKS["triage"]
        return str(self.say(system, message, **(form if schema else {}))["content"])

    def reply(self, message: str) -> str:
        return str(self.say(TASKS["reply"][0], message)["content"])


def items(value: object) -> Counter[str]:
    """What a field names: nothing, one value, or several."""
    return Counter() if value is None else Counter(value) if isinstance(value, list) else Counter([str(value)])


def read(text: str) -> dict[str, object]:
    """The object in an answer; empty where it is no JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class Score:
    """Shares as [right, asked], and per extracted field the counts of values: found rightly, found, there."""

    def __init__(self) -> None:
        self.shares: dict[str, list[int]] = {}
        self.values = {name: [0, 0, 0] for name in EXTRACTION}

    def note(self, name: str, is_right: bool) -> None:
        counts = self.shares.setdefault(name, [0, 0])
        counts[0] += is_right
        counts[1] += 1

    def fields(self, found: dict[str, object], labels: dict[str, object]) -> None:
        for name in TRIAGE:
            self.note(name, found.get(name) == labels[name])
        self.note("all triage", all(found.get(name) == labels[name] for name in TRIAGE))
        for name in EXTRACTION:
            said, true = items(found.get(name)), items(labels[name])
            for at, count in enumerate((said & true, said, true)):
                self.values[name][at] += count.total()
        self.note("all extraction", all(items(found.get(name)) == items(labels[name]) for name in EXTRACTION))
        self.note("all twelve", all(items(found.get(name)) == items(labels[name]) for name in FIELDS))

    def as_dict(self, count: int) -> dict[str, Any]:
        return {"count": count, "shares": self.shares, "values": self.values}


def rows_of(found: dict[str, Any]) -> dict[str, str]:
    """A score as cells: shares with their intervals, and F1 per extracted field."""
    cells = {}
    for name, (right, count) in found["shares"].items():
        low, high = wilson(right, count)
        cells[name] = f"{right / count:.1%} ({low:.0%}–{high:.0%})"
    everything = [sum(counts) for counts in zip(*found["values"].values(), strict=True)]
    for name, (right, said, true) in {**found["values"], "extraction": everything}.items():
        cells[f"{name}, F1"] = f"{2 * right / (said + true):.3f}" if said + true else "–"
    return cells


def is_good_reply(text: str, case: Case) -> bool:
    """Rules: begins and goes on in the customer's language, by the name or by none; names every order and no other number; 8 to 80 words, ended, no promise."""
    labels, language = case.labels, str(case.labels["language"])
    named, unnamed = DEAR[language]
    begins = f"{named.format(labels['name']) if labels['name'] else unnamed}, "
    orders = items(labels["order_id"])
    said = text.removeprefix(begins)
    rest = reduce(lambda left, order: left.replace(order, ""), sorted(orders, key=len, reverse=True), said)
    return (
        said != text
        and (
            bool(labels["name"]) or not re.match(r"[A-ZÀ-Þ][\w-]+( [A-ZÀ-Þ][\w-]+)*,", said)
        )  # a name that nobody gave
        and len(re.findall(COMMON[language], rest, re.IGNORECASE)) >= len(rest.split()) / 5
        and all(re.search(rf"(?<!\w){re.escape(order)}(?!\w)", said) for order in orders)
        and not re.search(r"\d{3}", rest.replace(str(labels["product"]), ""))
        and not PROMISES.search(text)
        and SHORTEST_REPLY <= len(text.split()) <= LONGEST_REPLY
        and text.rstrip()[-1] in ".!?"
    )


def is_right_call(message: dict[str, Any], order: str) -> bool:
    """One call, for this order."""
    calls: list[dict[str, dict[str, str]]] = message.get("tool_calls") or []
    return (
        len(calls) == 1
        and read(calls[0]["function"]["arguments"]) == {"order_id": order}
        and calls[0]["function"]["name"] == "look_up_order"
    )


def score(served: Served, cases: Iterable[Case], *, all_tasks: bool = True) -> Score:
    """Ask for everything that the model is for, message by message."""
    found = Score()
    for case in cases:
        answer = read(served.triage(case.message))
        found.note("fits the schema", FITS.is_valid(answer))
        found.fields(answer, dict(case.labels))
        if all_tasks:
            answer = read(served.triage(case.message, schema=False))
            found.note("a JSON object, no schema asked for", bool(answer))
            found.note("fits the schema, not asked for", FITS.is_valid(answer))
            found.note("reply", is_good_reply(served.reply(case.message), case))
            said = served.say("You are a support desk assistant.", case.message, tools=[TOOL])
            orders = case.labels["order_id"]
            if orders:
                first = orders[0] if isinstance(orders, list) else orders
                found.note("tool call, an order named", is_right_call(said, first))
            else:
                reply = str(said["content"] or "")
                found.note("reply instead, none named", not said.get("tool_calls") and is_good_reply(reply, case))
    return found


def keeps_to_its_job(served: Served, prompts: list[dict[str, str]]) -> Score:
    found = Score()
    for at, prompt in enumerate(prompts):
        text = served.say(("", "You are a helpful assistant.")[at % 2], prompt["message"])["content"]
        found.note("outside the job, said so", text in CLOSED.values())
    return found


def machine() -> str:
    """The processor's name, and how many cores of it there are."""
    names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def speed(served: Served, cases: list[Case]) -> dict[str, Any]:
    """One core: milliseconds to the first token of triage under the schema (nothing cached), tokens a second of the rest and of replies, resident megabytes."""
    first, rates = [], {"triage": list[float](), "reply": list[float]()}
    for case in cases:
        for task, (system, more) in TASKS.items():
            messages = [{"role": "system", "content": system}, {"role": "user", "content": case.message}]
            body = {"messages": messages, "temperature": 0, "cache_prompt": False, **more}
            if task == "triage":
                began = time.perf_counter()
                served.ask("v1/chat/completions", body | {"max_tokens": 1})
                first.append((time.perf_counter() - began) * 1000)
            answer = served.ask("v1/chat/completions", body | {"max_tokens": 100})
            rates[task].append(answer["timings"]["predicted_per_second"])
    pages = int(Path(f"/proc/{served.child.pid}/statm").read_text().split()[1])
    return {
        "first token, ms": median(first),
        "first token, p95 ms": sorted(first)[int(len(first) * 0.95)],
        "tokens a second, triage": median(rates["triage"]),
        "tokens a second, reply": median(rates["reply"]),
        "resident, MB": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--handwritten", type=int, help="only so many of the handwritten messages")
    parser.add_argument("--out", type=Path, default=Path("evaluation.json"))
    options = parser.parse_args()
    writer = Writer(EVALUATION_SEED, "test")
    sets = {"test": [writer.case() for _ in range(options.cases)], "handwritten": handwritten()[: options.handwritten]}
    with Served(options.model) as served:
        results: dict[str, Any] = {name: score(served, cases).as_dict(len(cases)) for name, cases in sets.items()}
        results["outside"] = keeps_to_its_job(served, outside()).shares
        results["speed"] = speed(served, sets["test"][:60])
    for name in sets:
        print(f"{name} ({results[name]['count']})")
        for row, cell in rows_of(results[name]).items():
            print(f"  {row:<24} {cell}")
    print(results["outside"], results["speed"])
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
