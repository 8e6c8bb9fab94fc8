"""`make bench-scan`: what reading a call for sensitive content costs, beside a yardstick of the same run (hashing the same bytes with SHA-256).

CPU microseconds on one core, the median of many rounds. The texts are written for the purpose and do not repeat themselves within one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import time
from collections.abc import Callable

from freehold.perimeter.detection import DEFAULT_RAISES, weigh
from freehold.perimeter.detectors.scanner import Scanner
from freehold.wire.strings import strings_of

WORDS = [
    "the",
    "report",
    "shows",
    "that",
    "revenue",
    "grew",
    "while",
    "costs",
    "stayed",
    "flat",
    "and",
    "we",
    "expect",
    "this",
    "trend",
    "to",
    "continue",
    "until",
    "the",
    "end",
    "of",
    "next",
    "year",
    "because",
    "orders",
    "from",
    "abroad",
    "have",
    "doubled",
    "since",
    "spring",
]
PEOPLE = [
    "Hannah Whitlock",
    "Tom Ashdown",
    "Ruth Okafor",
    "Colin Mayhew",
    "Amelia Stone",
    "Leonard Marsh",
    "Ines Baptista",
    "Omar Reyes",
    "Dana Petrov",
    "Priya Nair",
]
PLACES = ["Hamburg", "London", "Lisbon", "Finance", "Procurement", "Tuesday", "March", "Northwind", "Geneva", "Monday"]
FACTS = ["card 4111 1111 1111 1111", "mail to {n}@example.com", "phone +49 171 55{n:05d}", "IBAN DE89 3704 0044 0532 0130 00", "SSN 536-90-4399", "born 12 March 19{m:02d}", "MRN: 00{n:06d}", "10.1.{m}.7", "api_key = Zk4vJ8qT2mW9xR5nB7c{n:05d}"]  # fmt: skip


def prose(size: int, draw: random.Random, *, people: float = 0.0, facts: float = 0.0) -> str:
    """Sentences of ordinary words; people, facts: how many of each for every hundred characters."""
    parts: list[str] = []
    length = 0
    while length < size:
        words = draw.choices(WORDS, k=draw.randint(8, 16))
        for share, made in (
            (people, lambda: draw.choice(PEOPLE + PLACES)),
            (facts, lambda: draw.choice(FACTS).format(n=draw.randint(1000, 99_999), m=draw.randint(40, 99))),
        ):
            for _ in range(int(share) + (draw.random() < share % 1)):
                words.insert(draw.randint(1, len(words)), made())
        sentence = (
            " ".join(words).capitalize()
            if not people and not facts
            else words[0].capitalize() + " " + " ".join(words[1:])
        )
        parts.append(sentence + ".")
        length += len(parts[-1]) + 1
    return " ".join(parts)[:size]


def cost_us(work: Callable[[], object], rounds: int = 300, each: int = 5) -> float:
    times = []
    for _ in range(rounds):
        began = time.process_time_ns()
        for _ in range(each):
            work()
        times.append((time.process_time_ns() - began) / each / 1000)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    draw = random.Random(7)
    scanner, plain = Scanner(), Scanner(is_plain=True)
    texts = {
        "2 kB of plain prose": prose(2048, draw),
        "2 kB of prose with people and places (1.5 in 100 characters)": prose(2048, draw, people=1.5),
        "2 kB of which a fifth is data (1 identifier in 100 characters)": prose(2048, draw, facts=1.0),
        "100 kB of plain prose": prose(100_000, draw),
        "100 kB with people and data": prose(100_000, draw, people=0.5, facts=0.2),
    }
    rows = []
    for name, text in texts.items():
        few = 20 if len(text) > 10_000 else 300
        rows.append(
            {
                "what": name,
                "hyperscan_us": cost_us(lambda text=text: scanner.scan([text]), few, 2),
                "re_us": cost_us(lambda text=text: plain.scan([text]), 5, 1),
                "sha256_us": cost_us(lambda text=text: hashlib.sha256(text.encode()).digest(), few),
                "findings": len(scanner.scan([text])),
            }
        )
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": prose(600, draw)}, {"role": "user", "content": prose(1400, draw)}],
    }

    def read() -> object:
        strings = strings_of(body)
        return weigh(scanner.scan(strings.texts, strings.seams), DEFAULT_RAISES)

    whole = cost_us(read)
    stored = scanner.engine.stored()  # type: ignore[attr-defined]  # the bench has Hyperscan
    starts = []
    for _ in range(9):
        began = time.perf_counter()
        Scanner(stored=stored)
        starts.append((time.perf_counter() - began) * 1000)
    if given.json:
        print(json.dumps({"rows": rows, "request_us": whole, "start_ms": statistics.median(starts)}))
        return
    print("| text | Hyperscan, µs | `re`, µs | SHA-256 of it, µs | findings |\n|---|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['what']} | {row['hyperscan_us']:,.0f} | {row['re_us']:,.0f} | {row['sha256_us']:.1f} | {row['findings']} |"
        )
    print(
        f"\nA 2 kB request, walked, read and weighed: {whole:.0f} µs. The rules from their stored form: {statistics.median(starts):.0f} ms."
    )


if __name__ == "__main__":
    main()
