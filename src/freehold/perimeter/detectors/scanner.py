"""Read texts and say what is in them that is sensitive.

Rules: one pass of the engine over everything finds candidates, checks decide on candidates only; what is encoded is opened and read the same way,
twice over; of findings that overlap the surest stands, but no type hides another where something was opened. A finding says where and why, never what. Order and result do not depend on the engine.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate

import msgspec

from freehold.kernel.snapshot import Custom
from freehold.perimeter.detectors.custom import rules_of
from freehold.perimeter.detectors.engines import Engine, HyperscanEngine, PlainEngine, digest, has_hyperscan
from freehold.perimeter.detectors.folding import Folded, fold
from freehold.perimeter.detectors.identifiers import NUMBER, NUMBER_TRIGGER, NUMBERS
from freehold.perimeter.detectors.names import NAME_TRIGGER, Names
from freehold.perimeter.detectors.opening import TRIGGERS, Opened, open_run
from freehold.perimeter.detectors.rulebook import RULES, WORDS
from freehold.perimeter.detectors.rules import Number, Rule

_AROUND = 72  # characters before a candidate in which a word counts as near; a third of it behind
_SEAM = 96
_CONTEXT = 48  # characters before an encoded run that are read with it, half as many behind
_SEPARATORS = b" -./()"
_OPENINGS = tuple(TRIGGERS)
Words = dict[bytes, list[int]]  # a set of words → where one of them begins
_LEVELS = 3  # the text, what is encoded in it, and what is encoded in that
_GROWTH = 8  # times a text that what is opened of it may hold


class Unread(Exception):
    """More is encoded in a text than is opened, so nobody knows what is in it."""


class Finding(msgspec.Struct, frozen=True):
    """Something sensitive. text: which of the texts; start, end: characters in it; score: how sure, 0 to 1; why: in words, without the value;
    is_spread: it goes on in the next text; is_opened: it was read in what was encoded there.
    """

    text: int
    start: int
    end: int
    type: str
    score: float
    rule: str
    why: str
    is_spread: bool = False
    is_opened: bool = False

    @property
    def family(self) -> str:
        return self.type.partition(".")[0]


class _Match(msgspec.Struct, frozen=True):
    """A finding in folded bytes."""

    start: int
    end: int
    type: str
    score: float
    rule: str
    why: str


class Scanner:
    """Reads texts by a fixed set of rules. Safe to share; `scan` keeps nothing.

    custom: further rules, from the configuration; stored: the engine's database from an earlier start; is_plain: without Hyperscan.
    """

    def __init__(
        self,
        custom: Iterable[Custom] = (),
        *,
        stored: bytes | None = None,
        is_plain: bool = False,
        names: Names | None = None,
    ) -> None:
        triggered, self._searched = rules_of(custom)
        self.rules: tuple[Rule, ...] = (*RULES, *triggered)
        self._number_at = len(self.rules)
        self._name_at = self._number_at + 1
        self._words_at = self._name_at + 1
        self._openings_at = self._words_at + len(WORDS)
        self.triggers = _triggers(self.rules)
        self.digest = digest(self.triggers)
        self._names = names or Names()
        is_plain = is_plain or not has_hyperscan()
        self.engine: Engine = PlainEngine(self.triggers) if is_plain else HyperscanEngine(self.triggers, stored)

    def scan(self, texts: Sequence[str], seams: Iterable[tuple[int, int]] = ()) -> list[Finding]:
        """Read texts; seams: pairs of texts that follow one another, read across as well. Findings come in the order of their places.

        Raises Unread for a text in which more is encoded than can be read in good time.
        """
        page: _Page | None = _Page(texts)
        found: list[Finding] = []
        joined = _seams_of(texts, seams)
        for level in range(_LEVELS):
            assert page is not None
            data = page.folded.data
            hits = sorted(self.engine.find(data))
            found += filter(None, map(page.finding, self._read(data, hits)))
            page = page.opened(self._opened(data, hits), joined) if level < _LEVELS - 1 else None
            if page is None:
                break
            joined = []
        return _surest(found)

    def _opened(self, data: bytes, hits: list[tuple[int, int, int]]) -> list[Opened]:
        runs: dict[tuple[int, int, str], Opened] = {}
        done = [0] * len(_OPENINGS)
        for number, start, _ in hits:
            at = number - self._openings_at
            if at < 0 or start + 1 < done[at]:
                continue
            done[at], opened = open_run(_OPENINGS[at], data, start, done[at])
            for one in opened:
                runs[one.start, one.end, one.text] = one
        if sum(len(one.text) + 2 * _CONTEXT for one in runs.values()) > _GROWTH * len(data) + 65536:
            raise Unread
        return list(runs.values())

    def _read(self, data: bytes, hits: list[tuple[int, int, int]]) -> Iterable[_Match]:
        """Decide on every candidate."""
        words: dict[bytes, list[int]] = {}
        has_names = False
        for number, start, _ in hits:
            if number == self._name_at:
                has_names = True
            elif self._words_at <= number < self._openings_at:
                words.setdefault(WORDS[number - self._words_at], []).append(start)
        done = 0  # where the last number that was found ends
        for number, start, _ in hits:
            if number < self._number_at:
                match = _by_rule(self.rules[number], data, start, words)
                if match is not None:
                    yield match
            elif number == self._number_at and start >= done - 1:
                for match in _numbers(data, start + 1, words):
                    done = match.end
                    yield match
        for start, end, score in self._names.find(data) if has_names else ():
            yield _Match(start, end, "person.name", score, "name", "reads like a person's name")
        for rule in self._searched:
            for found in rule.pattern.finditer(data):
                yield _Match(*found.span(), rule.type, rule.score, rule.id, "by a pattern of the configuration")


def _triggers(rules: Sequence[Rule]) -> tuple[bytes, ...]:
    """Every trigger, in the order in which a scanner numbers them."""
    return (*(rule.trigger for rule in rules), NUMBER_TRIGGER, NAME_TRIGGER, *WORDS, *TRIGGERS.values())


def digest_of(custom: Iterable[Custom]) -> str:
    """Names the rules that a scanner with these further ones would look for."""
    return digest(_triggers((*RULES, *rules_of(custom)[0])))


def _by_rule(rule: Rule, data: bytes, start: int, words: Words) -> _Match | None:
    if rule.near is not None and rule.near not in words:
        return None
    start += rule.skip
    if rule.back is not None:
        before = rule.back.search(data, max(0, start - 160), start + (0 if data[start] in b" .-:" else 1))
        if before is None:
            return None
        start = before.start()
    found = rule.pattern.match(data, start)
    if found is None:
        return None
    start, end = found.span("v") if "v" in rule.pattern.groupindex else found.span()
    if rule.near is not None and not _is_near(words.get(rule.near), start, end):
        return None
    if rule.check is not None and not rule.check(_bare(rule, data[start:end])):
        return None
    why = "by its form and its check digits" if rule.check is not None else "by its form"
    return _Match(
        start, end, rule.type, rule.score, rule.id, f"{why}, with a word near it" if rule.near is not None else why
    )


def _bare(rule: Rule, value: bytes) -> str:
    """What a check decides on: an identifier without separators, in capitals; a credential as it is."""
    if rule.type.startswith(("secret", "contact", "network", "custom")):
        return value.decode("latin-1")
    keep = b" ()" if rule.id == "fi_hetu" else _SEPARATORS
    return value.translate(None, keep).decode("latin-1").upper()


def _numbers(data: bytes, start: int, words: Words) -> Iterable[_Match]:
    """Identifiers that are made of digits: by the shape of the groups that begin here, longest first."""
    run = NUMBER.match(data, start)
    if run is None or (not words and run.end() - start < _SHORTEST) or _goes_on(data, start):
        return
    text = run.group().decode()
    known = _BY_SHAPE if words else _SURE
    for shape, end in _shapes(text):
        found = False
        for kind, is_sure in known.get(shape, ()):
            if not is_sure and not _is_near(words.get(kind.near or b""), start, start + end):
                continue
            if kind.check is None or kind.check(text[:end].translate(_NO_SEPARATORS)):
                why = "by its digits and their check" if kind.check is not None else "by its digits"
                score = (0.95 if is_sure else 0.9) if kind.check is not None else 0.8
                yield _Match(
                    start, start + end, kind.type, score, kind.id, why if is_sure else f"{why}, with a word near it"
                )
                found = True
        if found:
            return


def _goes_on(data: bytes, start: int) -> bool:
    """Whether digits stand before a number, which makes it the rest of another."""
    return data[start - 1 : start] in (b".", b"-", b"/") and data[start - 2 : start - 1].isdigit()


_GROUP = re.compile(r"([0-9]+)([ ./-]?)")
_NO_SEPARATORS = {ord(char): None for char in " ./-"}


def _shapes(text: str) -> list[tuple[str, int]]:
    """(shape, end) of the first groups of a number, the most groups first."""
    shapes: list[tuple[str, int]] = []
    shape = ""
    for group in _GROUP.finditer(text):
        shape += str(len(group.group(1)))
        shapes.append((shape, group.end(1)))
        shape += group.group(2)
    return shapes[::-1]


_BY_SHAPE: dict[str, list[tuple[Number, bool]]] = {}
_SURE: dict[str, list[tuple[Number, bool]]] = {}
for _kind in NUMBERS:
    for _shape in _kind.sure | _kind.weak:
        _BY_SHAPE.setdefault(_shape, []).append((_kind, _shape in _kind.sure))
    for _shape in _kind.sure:
        _SURE.setdefault(_shape, []).append((_kind, True))
_SHORTEST = 9  # digits and separators of the shortest number that needs no word near it


def _is_near(places: list[int] | None, start: int, end: int) -> bool:
    """Whether a word of a set begins close before a candidate, or closer behind it."""
    if places is None:
        return False
    after = bisect.bisect_left(places, start)
    if after and places[after - 1] >= start - _AROUND:
        return True
    behind = bisect.bisect_left(places, end - 1)
    return behind < len(places) and places[behind] + 1 <= end + _AROUND // 3


def _surest(found: list[Finding]) -> list[Finding]:
    """Of findings that say the same of a place a secret, then the surest, then the longest. What only overlaps in part, and is of another family, stands too."""
    if len(found) < 2:
        return found
    chosen: dict[int, list[Finding]] = {}
    reach = 0
    for one in sorted(
        found,
        key=lambda one: (
            one.family != "secret",
            -one.score,
            one.start - one.end,
            one.text,
            one.start,
            one.type,
            one.rule,
        ),
    ):
        kept = chosen.setdefault(one.text, [])
        at = bisect.bisect_left(kept, one.start, key=lambda other: other.start)
        reach = max(reach, one.end - one.start)
        low = bisect.bisect_left(kept, one.start - reach, key=lambda other: other.start)
        high = bisect.bisect_left(kept, one.end, key=lambda other: other.start)
        if not any(_says_it(other, one) for other in kept[low:high]):
            kept.insert(at, one)
    return [one for text in sorted(chosen) for one in sorted(chosen[text], key=lambda one: (one.start, one.end))]


def _says_it(other: Finding, one: Finding) -> bool:
    """Whether a surer finding makes another needless."""
    if one.end <= other.start or one.start >= other.end:
        return False
    if one.is_opened or other.is_opened:
        return one.type == other.type
    return one.family == other.family or (other.start <= one.start and one.end <= other.end)


class _Origin(msgspec.Struct, frozen=True):
    """Where a text of a page came from: what was opened on the page before, or a seam. low: characters in front of it, which only lend words."""

    of: Opened | _Seam
    low: int


class _Page:
    """Several texts as one, and the way back. Each begins and ends at a line break, so that every rule sees a border."""

    def __init__(self, texts: Sequence[str], origins: Sequence[_Origin] = (), before: _Page | None = None) -> None:
        self._starts = [0, *accumulate(len(text) + 2 for text in texts)]
        self._texts, self._origins, self._before = texts, origins, before
        self.folded: Folded = fold("\n" + "\n\n".join(texts) + "\n") if texts else fold("")

    def opened(self, runs: list[Opened], seams: list[_Seam]) -> _Page | None:
        """A page of opened runs and of seams; its findings stand where those came from. None if there are none."""
        if not runs and not seams:
            return None
        data = self.folded.data
        texts = [seam.words for seam in seams]
        origins = [_Origin(seam, 0) for seam in seams]
        for run in runs:
            before = data[max(0, run.start - _CONTEXT) : run.start].decode("latin-1")
            behind = data[run.end : run.end + _CONTEXT // 2].decode("latin-1")
            apart = " " if run.units is None else ""
            texts.append(f"{before}{apart}{run.text}{apart}{behind}")
            origins.append(_Origin(run, len(before) + len(apart)))
        return _Page(texts, origins, self)

    def finding(self, match: _Match) -> Finding | None:
        """A match as a finding; None for one that lies in the words around an opened run, or on one side of a seam."""
        text, start, end = self._span(match.start, match.end)
        if not self._origins:
            return Finding(text, start, end, match.type, match.score, match.rule, match.why)
        origin = self._origins[text]
        if isinstance(origin.of, _Seam):
            seam = origin.of
            if not start < seam.join < end or match.type == "person.name":
                return None  # two capitals that meet are no name: one message ends, another begins
            why = f"{match.why}, across two messages"
            return Finding(seam.text, seam.start, seam.end, match.type, match.score, match.rule, why, is_spread=True)
        if end <= origin.low or start >= origin.low + len(origin.of.text):
            return None
        where, start, end, is_spread = self._source(text, start, end)
        why = f"{match.why}, in an encoded run"
        return Finding(where, start, end, match.type, match.score, match.rule, why, is_spread, is_opened=True)

    def _span(self, start: int, end: int) -> tuple[int, int, int]:
        """(text, start, end) in this page's texts of a place in its folded bytes."""
        text, begin = self._where(start)
        other, last = self._where(end - 1)
        return text, begin, max(begin, last + 1 if other == text else len(self._texts[text]))

    def _source(self, text: int, start: int, end: int) -> tuple[int, int, int, bool]:
        """(text, start, end, is_spread) in the caller's texts of a place in this page's."""
        if not self._origins:
            return text, start, end, False
        of, low = self._origins[text].of, self._origins[text].low
        if isinstance(of, _Seam):
            return of.text, of.start, of.end, True
        assert self._before is not None
        begin, last = of.place(start - low, is_end=False), of.place(end - low, is_end=True)
        there = self._before._span(begin, max(last, begin + 1))
        return self._before._source(*there)

    def _where(self, at: int) -> tuple[int, int]:
        """(text, character in it) of a place in the folded bytes."""
        place = self.folded.place(at) - 1
        text = min(bisect.bisect_right(self._starts, max(0, place)) - 1, len(self._texts) - 1)
        return text, min(max(0, place - self._starts[text]), len(self._texts[text]))


class _Seam(msgspec.Struct, frozen=True):
    """The end of one text and the beginning of the next. text, start, end: the place that it stands for; join: where they meet in `words`."""

    words: str
    text: int
    start: int
    end: int
    join: int


_ENDS = frozenset(".!?;,\"')]}>…。”’")


def _seams_of(texts: Sequence[str], seams: Iterable[tuple[int, int]]) -> list[_Seam]:
    """The pairs that may hold something between them: nothing ends before, and nothing begins anew behind."""
    found = []
    for one, other in seams:
        before, behind = texts[one][-_SEAM:], texts[other][:_SEAM]
        last = before.rstrip()[-1:]
        if last and last not in _ENDS and behind.strip():
            size = len(texts[one])
            found.append(_Seam(before + behind, one, size - len(before), size, len(before)))
    return found
