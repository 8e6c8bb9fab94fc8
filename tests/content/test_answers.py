"""Answers that are kept: found by their whole key, bounded in number and size, gone with their time and with their owner's key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freehold.content.answers import Again, AnswerCache, Room
from freehold.content.keyring import Keyring
from freehold.content.sealed import SealedStore

ROOM = Room("w", 100, 1_000_000)
NOW, LATER = 1_000_000, 2_000_000


@pytest.fixture
def keyring(tmp_path: Path) -> Iterator[Keyring]:
    one = Keyring(tmp_path / "subjects.db", b"m" * 32)
    yield one
    one.close()


@pytest.fixture
def open_cache(tmp_path: Path, keyring: Keyring) -> Iterator[Callable[[], AnswerCache]]:
    opened: list[AnswerCache] = []

    def make() -> AnswerCache:
        opened.append(AnswerCache(tmp_path / "cache.db", SealedStore(tmp_path / "content", keyring)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def answer(text: str) -> Again:
    return Again({"call": "call_1", "kind": "application/json", "at_ms": NOW, "lost": []}, text.encode())


def keep(
    cache: AnswerCache, key: str, text: str, *, room: Room = ROOM, subject: str = "key_1", now_ms: int = NOW
) -> None:
    cache.keep(key.encode(), subject, answer(text), room, now_ms=now_ms, until_ms=LATER)


def files(tmp_path: Path) -> int:
    return len(list((tmp_path / "content").iterdir()))


def test_what_is_kept_is_found_by_any_process(open_cache: Callable[[], AnswerCache], tmp_path: Path) -> None:
    one, other = open_cache(), open_cache()
    keep(one, "k", "an answer\nof two lines")
    found = other.find(b"k", NOW)
    assert found == answer("an answer\nof two lines")
    assert other.find(b"kk", NOW) is None
    assert b"answer" not in b"".join(path.read_bytes() for path in (tmp_path / "content").iterdir()).partition(b"\n")[2]


def test_the_same_key_is_kept_once(open_cache: Callable[[], AnswerCache], tmp_path: Path) -> None:
    cache = open_cache()
    keep(cache, "k", "first")
    keep(cache, "k", "second")
    assert cache.find(b"k", NOW) == answer("second")
    assert files(tmp_path) == 1


def test_nothing_outlives_its_time(open_cache: Callable[[], AnswerCache], tmp_path: Path) -> None:
    cache = open_cache()
    for name in "abc":
        keep(cache, name, name)
    assert cache.find(b"a", LATER - 1) is not None
    assert cache.find(b"a", LATER) is None
    assert cache.sweep(LATER - 1) == 0
    assert cache.sweep(LATER, most=2) == 2
    assert cache.sweep(LATER, most=2) == 1
    assert files(tmp_path) == 0


def test_an_answer_is_gone_with_its_owners_key(
    open_cache: Callable[[], AnswerCache], keyring: Keyring, tmp_path: Path
) -> None:
    cache = open_cache()
    keep(cache, "k", "mine")
    keep(cache, "l", "another's", subject="key_2")
    keyring.erase("key_1", NOW)
    assert cache.find(b"k", NOW) is None
    assert cache.find(b"l", NOW) is not None
    assert files(tmp_path) == 1, "and what cannot be read is not kept"


@pytest.mark.parametrize("room", [Room("w", 20, 10**9), Room("w", 10**9, 20 * 1100)])
def test_a_room_is_never_much_fuller_than_it_may_be(
    open_cache: Callable[[], AnswerCache], tmp_path: Path, room: Room
) -> None:
    """What was asked for longest ago goes first; another room is not touched."""
    cache = open_cache()
    keep(cache, "other", "x", room=Room("v", 1, 1000))
    for number in range(100):
        at = NOW + number * 20_000
        cache.keep(b"%d" % number, "key_1", answer("x" * 1000), room, now_ms=at, until_ms=10**9)
        cache.find(b"0", at)
    assert cache.find(b"0", NOW) is not None, "asked for again and again"
    assert cache.find(b"1", NOW) is None
    assert cache.find(b"99", NOW) is not None
    assert cache.find(b"other", NOW) is not None
    assert files(tmp_path) <= 20 + 16 + 1


def test_a_file_that_was_changed_or_taken_away_is_no_answer(
    open_cache: Callable[[], AnswerCache], tmp_path: Path
) -> None:
    cache = open_cache()
    for name in "ab":
        keep(cache, name, name)
    first, second = (tmp_path / "content").iterdir()
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    second.unlink()
    assert cache.find(b"a", NOW) is None
    assert cache.find(b"b", NOW) is None
