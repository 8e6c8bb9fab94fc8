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
_OWN = 6  # so many kinds are of the word itself
_SCALE = 1 / 16  # of a weight
_HOPELESS = (
    -32
)  # sixteenths: of the names that are found one in two hundred is by itself so unlikely (presidio, WNUT, MEDDOCAN)
_WORD = rb"[A-Z\xc0-\xde][A-Za-z\xc0-\xff'-]{0,30}\.?"
_RUN = re.compile(
    _WORD
    + rb"(?: (?:(?:de|la|las|los|del|van|von|der|den|di|da|dos|du|le|bin|ibn|al|el|zu) ){0,2}"
    + _WORD
    + rb"){0,6}"
)
_PARTICLES = frozenset(b"de la las los del van von der den di da dos du le bin ibn al el zu".split())
_ALONG = -2.5  # log-odds from which a word beside a name goes along with it
_NOBODY = frozenset(  # words that are addressed as people are, and name nobody
    b"sir madam sirs madame colleague colleagues team all customer customers friend friends kollege kollegin kollegen damen herren kunde kundin everyone "
    b"folks user admin support sales dear hi hello hallo liebe lieber please thanks regards".split()
)
_BEGINS_SENTENCE = (b". ", b"? ", b"! ")
Weights = Mapping[str, Mapping[bytes, int]]  # kind of feature → feature → weight in sixteenths
Word = tuple[int, bytes]  # where it stands, and it


class Names:
    """Finds names. weights: None for the ones that ship."""

    def __init__(self, weights: Weights | None = None) -> None:
        found = weights or load()
        self._own = [dict(found[kind]) for kind in KINDS[:_OWN]]
        self._place = [dict(found[kind]) for kind in KINDS[_OWN:]]

    def find(self, data: bytes) -> Iterator[tuple[int, int, float]]:
        """(beginning, end, score) of names."""
        for words in runs(data):
            own = [self._by_itself(word) for _, word in words]
            if max(own) < _HOPELESS:
                continue  # whatever stands around it
            odds = [
                (mine + self._in_place(around)) * _SCALE
                for mine, around in zip(own, place_features(data, words), strict=True)
            ]
            for first, last in _spans(words, odds):
                end = words[last][0] + len(words[last][1])
                yield words[first][0], end - (data[end - 1] == 46), _score(max(odds[first : last + 1]))

    def _by_itself(self, word: bytes) -> int:
        whole, begins, ends, ending, letters, shape = own_features(word)
        a, b, c, d, e, f = self._own
        return (
            a.get(whole, 0) + b.get(begins, 0) + c.get(ends, 0) + d.get(ending, 0) + e.get(letters, 0) + f.get(shape, 0)
        )

    def _in_place(self, features: tuple[bytes, ...]) -> int:
        before, before2, behind, place = features
        a, b, c, d = self._place
        return a.get(before, 0) + b.get(before2, 0) + c.get(behind, 0) + d.get(place, 0)


def _spans(words: list[Word], odds: list[float]) -> Iterator[tuple[int, int]]:
    """The names in a run: from each word that counts, on to its neighbours, unless those surely belong to something else."""
    at = 0
    while at < len(words):
        if odds[at] <= THRESHOLD or words[at][1].lower().rstrip(b".") in _NOBODY:
            at += 1
            continue
        first = last = at
        while first > 0 and _goes_along(words[first - 1][1], odds[first - 1]):
            first -= 1
        while last + 1 < len(words) and _goes_along(words[last + 1][1], odds[last + 1]):
            last += 1
        yield first, last
        at = last + 1


def _goes_along(word: bytes, odds: float) -> bool:
    return odds > _ALONG and word.lower().rstrip(b".") not in _NOBODY


def load() -> Weights:
    """The weights that ship."""
    text = files("freehold.perimeter.detectors").joinpath("names.json").read_text(encoding="utf-8")
    return {
        kind: {one.encode("latin-1"): weight for one, weight in row.items()} for kind, row in json.loads(text).items()
    }


def runs(data: bytes) -> Iterator[list[Word]]:
    """Runs of capitalised words; a single one that begins a sentence or a line could be any, and is left out."""
    for found in _RUN.finditer(data):
        start, run = found.start(), found.group()
        if b" " not in run:
            before = data[start - 2 : start]
            if before[-1:] != b"\n" and before not in _BEGINS_SENTENCE and not before[-1:].isalnum():
                yield [(start, run)]
            continue
        words, at = [], start
        for word in run.split(b" "):
            if word not in _PARTICLES:
                words.append((at, word))
            at += len(word) + 1
        yield words


def own_features(word: bytes) -> tuple[bytes, ...]:
    """Of a word by itself: whole, how it begins and ends, its shape."""
    bare = word.lower().rstrip(b".")
    shape = b"C" if word.isupper() else b"D" if word.endswith(b".") else b"P"
    form = b"%b%d%d" % (shape, min(len(bare), 12), bare in GIVEN)
    return bare, bare[:3], bare[-3:], bare[-4:], bare[:1] + bare[-2:], form


def place_features(data: bytes, words: list[Word]) -> list[tuple[bytes, ...]]:
    """Of where each word of a run stands: its neighbours, and its place in the run."""
    start, end = words[0][0], words[-1][0] + len(words[-1][1])
    before = data[max(0, start - 40) : start].rpartition(b"\n")[2].lower().split()
    behind = data[end : end + 24].partition(b"\n")[0].lower().split(None, 1)
    first = before[-1] if before else b""
    low = [first, *[word.lower().rstrip(b".") for _, word in words], behind[0] if behind else b""]
    earlier = before[-2] if len(before) > 1 else b""
    last = len(words) - 1
    found: list[tuple[bytes, ...]] = []
    for at in range(last + 1):
        previous, bare, after = low[at : at + 3]
        place = b"%d%d%d%d%d%d" % (
            min(last, 3),
            at == 0,
            at == last,
            bare in GIVEN,
            at > 0 and previous in GIVEN,
            at < last and after in GIVEN,
        )
        found.append((previous, earlier + b" " + previous if not at else first + b"+", after, place))
    return found


def _score(odds: float) -> float:
    return round(1 / (1 + math.exp(-odds)), 2)
