"""Names of people: a small linear classifier over capitalised words, each with its neighbours.

Rules: only words that could be a name are looked at, and only where the engine saw one, so that ordinary prose costs next to nothing; the
weights are `names.json`, made by `make names` (docs/reference/detectors.md has the data, the figures, and what is missed: names in small
letters, in other scripts, and single names at the beginning of a sentence).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files

from freehold.perimeter.detectors.given import GIVEN

NAME_TRIGGER = rb"[a-z\xdf-\xff0-9,:;)\"(] [A-Z\xc0-\xde][a-z\xdf-\xff']"
THRESHOLD = -0.5  # log-odds from which a word counts as part of a name
KINDS = ("word", "begins", "ends", "ending", "letters", "shape", "before", "before2", "behind", "place")
_SCALE = 1 / 16  # of a weight
_WORD = rb"[A-Z\xc0-\xde][A-Za-z\xc0-\xff'-]{0,30}\.?"
_RUN = re.compile(
    _WORD
    + rb"(?: (?:(?:de|la|las|los|del|van|von|der|den|di|da|dos|du|le|bin|ibn|al|el|zu) ){0,2}"
    + _WORD
    + rb"){0,6}"
)
_PARTICLES = frozenset(b"de la las los del van von der den di da dos du le bin ibn al el zu".split())
_BEGINS_SENTENCE = (b". ", b"? ", b"! ")
Weights = Mapping[str, Mapping[bytes, int]]  # kind of feature → feature → weight in sixteenths
Word = tuple[int, bytes]  # where it stands, and it


class Names:
    """Finds names. weights: None for the ones that ship."""

    def __init__(self, weights: Weights | None = None) -> None:
        self._weights = [dict((weights or load())[kind]) for kind in KINDS]

    def find(self, data: bytes) -> Iterator[tuple[int, int, float]]:
        """(beginning, end, score) of names."""
        for words, features in candidates(data):
            start, end, best = -1, -1, 0.0
            for (at, word), found in zip(words, features, strict=True):
                odds = sum([weight.get(one, 0) for weight, one in zip(self._weights, found, strict=True)]) * _SCALE
                if odds > THRESHOLD:
                    start, best = (at, odds) if start < 0 else (start, max(best, odds))
                    end = at + len(word)
                elif start >= 0:
                    yield start, end, _score(best)
                    start = -1
            if start >= 0:
                yield start, end - (data[end - 1] == 46), _score(best)


def load() -> Weights:
    """The weights that ship."""
    text = files("freehold.perimeter.detectors").joinpath("names.json").read_text(encoding="utf-8")
    return {
        kind: {one.encode("latin-1"): weight for one, weight in row.items()} for kind, row in json.loads(text).items()
    }


def candidates(data: bytes) -> Iterator[tuple[list[Word], list[tuple[bytes, ...]]]]:
    """Runs of capitalised words, with the features of each word; a single one that begins a sentence or a line could be any."""
    for found in _RUN.finditer(data):
        start, end = found.span()
        run = found.group()
        is_first = data[start - 1 : start] == b"\n" or data[start - 2 : start] in _BEGINS_SENTENCE
        if b" " not in run:
            if not is_first and not data[start - 1 : start].isalnum():
                yield [(start, run)], [_features(data, start, end, [run])[0]]
            continue
        words, at = [], start
        for word in run.split(b" "):
            if word not in _PARTICLES:
                words.append((at, word))
            at += len(word) + 1
        yield words, _features(data, start, end, [word for _, word in words])


def _features(data: bytes, start: int, end: int, words: list[bytes]) -> list[tuple[bytes, ...]]:
    """Of each word: itself, how it begins and ends, its shape; its neighbours, and where in its run it stands."""
    before = data[max(0, start - 40) : start].rpartition(b"\n")[2].lower().split()
    behind = data[end : end + 24].partition(b"\n")[0].lower().split(None, 1)
    low = [before[-1] if before else b"", *[word.lower().rstrip(b".") for word in words], behind[0] if behind else b""]
    earlier = before[-2] if len(before) > 1 else b""
    last = len(words) - 1
    found: list[tuple[bytes, ...]] = []
    for at, word in enumerate(words):
        bare, previous, after = low[at + 1], low[at], low[at + 2]
        is_given = bare in GIVEN
        shape = b"C" if word.isupper() else b"D" if word.endswith(b".") else b"P"
        found.append(
            (
                bare,
                bare[:3],
                bare[-3:],
                bare[-4:],
                bare[:1] + bare[-2:],
                b"%b%d%d" % (shape, min(len(bare), 12), is_given),
                previous,
                earlier + b" " + previous if not at else low[0] + b"+",
                after,
                b"%d%d%d%d%d%d"
                % (
                    min(last, 3),
                    at == 0,
                    at == last,
                    is_given,
                    at > 0 and previous in GIVEN,
                    at < last and after in GIVEN,
                ),
            )
        )
    return found


def _score(odds: float) -> float:
    return round(1 / (1 + math.exp(-odds)), 2)
