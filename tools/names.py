"""Train the names classifier and say how good it is: make names DATA=folder of the labelled texts.

Trained on: six tenths of the templates of both presidio files, wnut17_train, meddocan_train, and the sentences below.
Measured on: the other templates, wnut17_dev, meddocan_dev, none of which training sees.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from freehold.perimeter.detectors import names
from freehold.perimeter.detectors.folding import fold

OUT = Path(__file__).parent.parent / "src/freehold/perimeter/detectors/names.json"
LIMITS = (-1.5, -1.0, -0.5, 0.0, 0.5)
PEOPLE = frozenset(("PERSON", "person", "NOMBRE_SUJETO_ASISTENCIA", "NOMBRE_PERSONAL_SANITARIO"))
EPOCHS, RATE = 16, 0.06
FAVOUR = 2.0  # a name that is missed costs more than a word that is taken for one
DROP = {"word": 0.75, "begins": 0.4, "ends": 0.2, "ending": 0.4}
LEAST = 5  # sixteenths: what weighs less is not kept

# Sentences of our own: [names] in brackets. German nouns, business prose, letters.
OWN = """
Der Bericht zeigt, dass der Umsatz im dritten Quartal um zwölf Prozent gestiegen ist und die Kosten gleich blieben.
Bitte senden Sie die Rechnung an die Abteilung Einkauf, sobald die Lieferung im Lager Hannover eingetroffen ist.
Sehr geehrte Frau [Lindner], vielen Dank für Ihre Anfrage zur Bestellung der neuen Stühle.
Sehr geehrter Herr [Vogel], Ihr Termin in der Praxis ist am Montag um neun Uhr.
Die Patientin [Martha Kessler] wurde am Dienstag in das Krankenhaus aufgenommen und bekam Schmerzmittel.
Mit freundlichen Grüßen, [Jonas Brandt]
Wir bitten [Sabine Hofmann] und [Peter Kraus], die Unterlagen bis Freitag zu prüfen.
In der Besprechung hat die Geschäftsführung über Personal, Budget und Strategie für das kommende Jahr gesprochen.
Das Angebot gilt für Kunden in Deutschland, Österreich und der Schweiz bis Ende Dezember.
The Board of Directors approved the Annual Report on Tuesday and the Finance Committee will meet in London in March.
Please send the Purchase Order to Accounts Payable before the Quarterly Business Review starts on Monday.
Our Customer Success team in New York uses Google Cloud and Microsoft Teams for most of the Project Phoenix work.
I spoke with [Hannah Whitlock] about the contract, and she asked [Omar Reyes] to call the customer.
Hi [Priya], could you forward this to [Tom Ashdown] in Legal? Thanks, [Dana]
My name is [Ruth Okafor] and I was charged twice for the desk lamp.
Dear [Mr. Whitfield], your appointment with [Dr. Amelia Stone] is on Friday.
Patient: [Leonard Marsh], seen in Cardiology on Monday by [Dr. Ines Baptista].
Best regards, [Colin Mayhew], Head of Procurement, Northwind Logistics
Write a Python function that reads a Comma Separated Values file and returns a Pandas data frame with Monday totals.
Summarise the following Terms of Service and list every Data Protection clause that mentions the European Union.
What is the capital of New Zealand, and how long is the flight from San Francisco to Hong Kong?
Explain the difference between Machine Learning and Deep Learning in the style of a High School textbook.
The United Nations and the World Health Organization published the Global Health Report in Geneva last April.
Translate this into French: the Supreme Court of Canada heard the case of the Royal Bank on Wednesday.
La paciente [Lucía Ferrer] ingresó el lunes en el Hospital Clínico con dolor abdominal y fiebre.
Le rapport de [Camille Bertrand] sur les ventes du Canada est arrivé à Paris mardi matin.
"""


def texts(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def own() -> Iterator[dict[str, Any]]:
    for line in OWN.strip().split("\n"):
        text, spans = "", []
        for at, piece in enumerate(line.replace("]", "[").split("[")):
            if at % 2:
                spans.append({"start": len(text), "end": len(text) + len(piece), "type": "PERSON"})
            text += piece
        yield {"text": text, "spans": spans}


Features = tuple[bytes, ...]


def examples(row: dict[str, Any]) -> Iterator[tuple[Features, bool]]:
    """Every word that the classifier would be asked about, with whether it belongs to a name."""
    folded = fold(f"\n{row['text']}\n")
    people = [(s["start"] + 1, s["end"] + 1) for s in row["spans"] if s["type"] in PEOPLE]
    for words in names.runs(folded.data):
        for (at, word), around in zip(words, names.place_features(folded.data, words), strict=True):
            features = names.own_features(word) + around
            yield features, any(start <= folded.place(at) < end for start, end in people)


def train(rows: list[tuple[Features, bool]]) -> names.Weights:
    """Logistic regression by stochastic gradient descent with AdaGrad steps; weights in sixteenths, the small ones left out."""
    weights: dict[tuple[str, bytes], float] = {}
    squares: dict[tuple[str, bytes], float] = {}
    draw = random.Random(7)
    for epoch in range(EPOCHS):
        draw.shuffle(rows)
        loss = 0.0
        for features, is_name in rows:
            # The word itself is forgotten in most rounds, its spelling in some: what is learnt must hold for names that were never seen.
            kept = [one for one in zip(names.KINDS, features, strict=True) if draw.random() > DROP.get(one[0], 0.05)]
            total = sum(weights.get(one, 0.0) for one in kept)
            p = 1 / (1 + math.exp(-max(-30, min(30, total))))
            loss -= math.log(max(1e-9, p if is_name else 1 - p))
            slope = (p - is_name) * (FAVOUR if is_name else 1.0)
            for one in kept:
                squares[one] = squares.get(one, 1e-3) + slope * slope
                weights[one] = weights.get(one, 0.0) - RATE * slope / math.sqrt(squares[one])
        print(f"epoch {epoch + 1}: loss {loss / len(rows):.4f}")
    table: dict[str, dict[bytes, int]] = {kind: {} for kind in names.KINDS}
    for (kind, feature), weight in sorted(weights.items()):
        if abs(rounded := round(weight * 16)) >= LEAST:
            table[kind][feature] = rounded
    return table


def measure(model: names.Names, rows: list[dict[str, Any]]) -> str:
    """Spans that are found at all (any overlap), and found spans that touch a name."""
    hit = missed = right = wrong = 0
    for row in rows:
        folded = fold(f"\n{row['text']}\n")
        spans = [(folded.place(s) - 1, folded.place(e - 1)) for s, e, _ in model.find(folded.data)]
        people = [(s["start"], s["end"]) for s in row["spans"] if s["type"] in PEOPLE]
        for start, end in people:
            ok = any(a < end and b > start for a, b in spans)
            hit, missed = hit + ok, missed + (not ok)
        for a, b in spans:
            ok = any(a < end and b > start for start, end in people)
            right, wrong = right + ok, wrong + (not ok)
    return f"recall {hit / max(1, hit + missed):.3f} of {hit + missed}, precision {right / max(1, right + wrong):.3f} of {right + wrong}"


def main() -> None:
    folder = Path(sys.argv[1])
    presidio = [*texts(folder, "presidio_synth_v2"), *texts(folder, "presidio_generated_large")]
    held = [row for row in presidio if crc32(str(row["template"]).encode()) % 10 < 4]
    training = [row for row in presidio if crc32(str(row["template"]).encode()) % 10 >= 4]
    training += [
        *texts(folder, "wnut17_train"),
        *texts(folder, "meddocan_train"),
        *(row for row in own() for _ in range(6)),
    ]
    rows = [example for row in training for example in examples(row)]
    print(f"{len(rows)} words, {sum(is_name for _, is_name in rows)} of names")
    weights = train(rows)
    shown = {kind: {one.decode("latin-1"): weight for one, weight in row.items()} for kind, row in weights.items()}
    OUT.write_text(json.dumps(shown, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{sum(map(len, weights.values()))} weights, {OUT.stat().st_size} bytes")
    model = names.Names(weights)
    tests = {
        "presidio, templates held out": held,
        **{name: list(texts(folder, name)) for name in ("wnut17_dev", "meddocan_dev")},
    }
    for name, rows_of in tests.items():
        for limit in LIMITS:
            names.THRESHOLD = limit
            print(f"{name} at {limit:+}: {measure(model, rows_of)}")


if __name__ == "__main__":
    main()
