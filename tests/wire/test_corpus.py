"""What the fuzzer has found so far, fed once more: every input that reached something new, and every one that ever broke something."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent.parent / "fuzz/corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_read_or_refused(name: str) -> None:
    """`make fuzz` finds more; each line of a target's folder is an input in hexadecimal."""
    kept = CORPUS / f"{name.replace(' ', '-')}.txt"
    inputs = [bytes.fromhex(line) for line in kept.read_text().split()]
    assert inputs
    for data in inputs:
        TARGETS[name](data)
