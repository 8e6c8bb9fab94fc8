"""Say how good the detectors are on labelled texts: python tools/detectors.py FOLDER [> table]. Per file and type; never one number over all.

Recall: how many labelled spans a finding of the fitting type touches. Precision: how many findings of a type touch a span that fits it. Names are
measured by `make names` on texts that training did not see; here only files and templates that it did not see count for names too.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from freehold.perimeter.detectors.scanner import Scanner

# our type (or family) → the labels that mean the same, by the words of each file's authors
FITS = {
    "card": {"CREDIT_CARD"},
    "bank.iban": {"IBAN_CODE"},
    "gov.us_ssn": {"US_SSN"},
    "gov.driver_licence": {"US_DRIVER_LICENSE"},
    "contact.email": {"EMAIL_ADDRESS", "CORREO_ELECTRONICO"},
    "contact.phone": {"PHONE_NUMBER", "NUMERO_TELEFONO", "NUMERO_FAX"},
    "contact.address": {"STREET_ADDRESS", "ADDRESS", "CALLE"},
    "network.ip": {"IP_ADDRESS"},
    "health.mrn": {"ID_SUJETO_ASISTENCIA", "ID_CONTACTO_ASISTENCIAL"},
    "health.insurance": {"ID_ASEGURAMIENTO"},
    "person.name": {"PERSON", "person", "PER", "NOMBRE_SUJETO_ASISTENCIA", "NOMBRE_PERSONAL_SANITARIO"},
}
FILES = ("presidio_synth_v2", "presidio_generated_large", "wnut17_dev", "meddocan_dev")


def rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            # Templates on which the names classifier was trained are left out (tools/names.py).
            if "template" not in row or crc32(str(row["template"]).encode()) % 10 < 4:
                yield row


def main() -> None:
    scanner, folder = Scanner(), Path(sys.argv[1])
    print("| file | type | recall | of | precision | of |\n|---|---|--:|--:|--:|--:|")
    for name in FILES:
        found, labelled, right, given = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        for row in rows(folder, name):
            findings = scanner.scan([row["text"]])
            for type_, labels in FITS.items():
                mine = [one for one in findings if one.type.startswith(type_)]
                spans = [span for span in row["spans"] if span["type"] in labels]
                labelled[type_] += len(spans)
                given[type_] += len(mine)
                found[type_] += sum(
                    any(one.start < s["end"] and one.end > s["start"] for one in findings if one.type.startswith(type_))
                    for s in spans
                )
                right[type_] += sum(any(one.start < s["end"] and one.end > s["start"] for s in spans) for one in mine)
        for type_ in FITS:
            if labelled[type_]:
                precision = f"{right[type_] / given[type_]:.2f}" if given[type_] else "–"
                print(
                    f"| {name} | `{type_}` | {found[type_] / labelled[type_]:.2f} | {labelled[type_]} | {precision} | {given[type_]} |"
                )


if __name__ == "__main__":
    main()
