"""What is kept is sealed: under its subject's key, for a time, and gone for good when the key is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.content.keyring import Keyring
from freehold.content.sealed import CHUNK, SealedStore
from freehold.kernel.errors import CallerError, OperatorError

SECRET = b"the patient's whole letter, which nobody else may read"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "subjects.db", b"m" * 32)


@pytest.fixture
def store(tmp_path: Path, keyring: Keyring) -> SealedStore:
    return SealedStore(tmp_path / "sealed", keyring)


def whole(store: SealedStore, about: str, now_ms: int = 0) -> bytes:
    return b"".join(store.read(about, now_ms))


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_what_is_kept_comes_back(store: SealedStore, tmp_path: Path, size: int) -> None:
    data = (SECRET * (size // len(SECRET) + 1))[:size]
    about = store.keep("key_1", "file", [data[:10], data[10:]], until_ms=100)
    assert whole(store, about) == data
    assert SECRET not in everything(tmp_path)
    assert (store.head(about).kind, store.head(about).until_ms) == ("file", 100)


def test_its_time_is_over(store: SealedStore, tmp_path: Path) -> None:
    about = store.keep("key_1", "file", [SECRET], until_ms=100)
    other = store.keep("key_1", "file", [SECRET], until_ms=200)
    with pytest.raises(CallerError) as caught:
        whole(store, about, 100)
    assert caught.value.code == "content.gone"
    assert store.sweep(100) == 1
    assert [path.name for path in (tmp_path / "sealed").iterdir()] == [other]


def test_an_erased_subject_is_gone_for_good(store: SealedStore, keyring: Keyring, tmp_path: Path) -> None:
    """Even with everything that is on the disk afterwards: the key was overwritten, not only unlinked."""
    about = store.keep("key_1", "file", [SECRET], until_ms=10**15)
    other = store.keep("key_2", "file", [SECRET], until_ms=10**15)
    wrapped = keyring._db.execute("select wrapped from subject where id = 'key_1'").fetchone()[0]
    assert wrapped in everything(tmp_path)
    assert keyring.erase("key_1", 5)
    assert wrapped not in everything(tmp_path), "no page, journal or copy keeps the key"
    with pytest.raises(CallerError, match="not here"):
        whole(store, about)
    assert whole(store, other) == SECRET
    keyring.key("key_1")  # the same subject may come again, under a new key
    with pytest.raises(CallerError, match="not here"):
        whole(store, about)
    assert [(subject, at) for _, subject, at in keyring.unnoted()] == [("key_1", 5)]
    assert not keyring.erase("key_9", 6)


def test_an_erased_key_is_in_no_file_any_more(keyring: Keyring, tmp_path: Path) -> None:
    """Not in the rollback journal either, which held the page as it was."""
    for subject in ("key_1", "key_2"):
        keyring.key(subject)
    path = next(tmp_path.rglob("subjects.db"))
    with sqlite3.connect(path) as db:
        wrapped = {name: bytes(found) for name, found in db.execute("select id, wrapped from subject")}
    keyring.erase("key_1", 1)
    files = {one.name: one.read_bytes() for one in path.parent.iterdir() if one.is_file()}
    assert not [name for name, data in files.items() if wrapped["key_1"] in data]
    assert wrapped["key_2"] in files["subjects.db"]
    keyring.key("key_3")
    journal = path.with_name("subjects.db-journal")
    with journal.open("ab") as file:  # killed before it was overwritten
        file.write(wrapped["key_1"])
    Keyring(path, b"m" * 32).close()
    assert wrapped["key_1"] not in journal.read_bytes()
    again = Keyring(path, b"m" * 32)
    assert (again.has("key_1"), again.has("key_2"), again.has("key_3")) == (False, True, True)
    again.close()


def test_a_key_is_forgotten_with_the_note_that_it_was_erased(keyring: Keyring, tmp_path: Path) -> None:
    """Between two looks at the file another process erases; once that is known, the key must not be used again."""
    old = keyring.key("key_1")
    keyring.refresh(100.0)
    other = Keyring(next(tmp_path.rglob("subjects.db")), b"m" * 32)
    other.erase("key_1", 1)
    other.close()
    keyring.refresh(100.1)  # too soon to look
    assert [subject for _, subject, _ in keyring.unnoted()] == ["key_1"]
    assert keyring.key("key_1") != old


def test_another_process_sees_an_erasure(tmp_path: Path) -> None:
    here, there = (Keyring(tmp_path / "subjects.db", b"m" * 32) for _ in range(2))
    key = here.key("key_1")
    assert there.key("key_1") == key
    there.erase("key_1", 1)
    here.refresh(100.0)
    assert here.key("key_1") != key


def test_another_master_key_opens_nothing(tmp_path: Path) -> None:
    Keyring(tmp_path / "subjects.db", b"m" * 32).key("key_1")
    with pytest.raises(OperatorError) as caught:
        Keyring(tmp_path / "subjects.db", b"n" * 32).key("key_1")
    assert caught.value.code == "content.damaged"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_file_that_was_touched_is_not_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("touched")
    keyring = Keyring(folder / "subjects.db", b"m" * 32)
    store = SealedStore(folder / "sealed", keyring)
    about = store.keep("key_1", "file", [SECRET * 2000], until_ms=100)
    path = folder / "sealed" / about
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "add", "drop a chunk"]))
    line = good.index(b"\n") + 1
    bad = {
        "flip": good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :],
        "cut": good[:at],
        "add": good + b"x",
        "drop a chunk": good[:line] + good[line + CHUNK + 16 :],
    }[how]
    path.write_bytes(bad)
    with pytest.raises(CallerError, match="not here"):
        whole(store, about)
    keyring.close()


@pytest.mark.parametrize("about", ["", "x", "../subjects.db", "0" * 31, "0" * 32, "G" * 32])
def test_an_id_names_no_other_file(store: SealedStore, about: str) -> None:
    with pytest.raises(CallerError, match="not here"):
        whole(store, about)
