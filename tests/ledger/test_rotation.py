"""The signing key is exchanged: an auditor who trusts any key of the chain verifies everything, and nobody slips in another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.kernel.errors import OperatorError
from freehold.ledger.epochs import Epochs
from freehold.ledger.export import Wanted, export
from freehold.ledger.rotation import rotate, signer_in_force
from freehold.ledger.signing import Signer, load_signer
from freehold_audit import Expected, Report, verify
from ledger.test_audit import fill, open_ledger

LATER = 1_700_100_000_000


async def handed_over(state: Path) -> tuple[list[str], list[str]]:
    """Three runs under three keys; returns the keys, oldest first, and the promises of all runs."""
    keys, promises = [], []
    for at in range(3):
        if at:
            rotate(state, LATER + at)
        keys.append(signer_in_force(state).public)
        promises += [f"{at + 1:08d} {one.split(' ', 1)[1]}" for one in await fill(state, epochs=1, name=f"run{at}")]
    return keys, promises


def bundle_of(state: Path, out: Path) -> Path:
    export(state / "log", out, signer_in_force(state), Wanted(), 1)
    return out


def report_on(state: Path, trust: str | None = None, expected: Expected | None = None) -> Report:
    out = state / f"out{len(list(state.glob('out*')))}"
    return verify(bundle_of(state, out), trust=trust, expected=expected)


async def test_a_bundle_holds_under_every_key_of_the_chain(tmp_path: Path) -> None:
    keys, promises = await handed_over(tmp_path)
    assert len(set(keys)) == 3
    given = tuple((log, leaf, signature) for log, leaf, signature in map(str.split, promises))
    kept = "".join(path.read_text() for path in sorted((tmp_path / "log").glob("*.checkpoints")))
    for key in keys:
        report = report_on(tmp_path, key, Expected(given, kept))
        assert report.findings == []
        assert report.counts["promises kept"] == len(promises)
        assert report.counts["keys exchanged"] == 2
    assert "another key" in report_on(tmp_path, Signer(bytes(32)).public).findings[0].what


async def test_a_promise_counts_under_the_key_of_its_epoch_only(tmp_path: Path) -> None:
    """The new key cannot have promised what the old one wrote."""
    await handed_over(tmp_path)
    leaf = "ab" * 32
    signature = load_signer(tmp_path).promise("00000001", leaf)
    found = report_on(
        tmp_path, expected=Expected((("00000001", leaf, signature), ("00000009", leaf, signature)))
    ).findings
    assert [one.what.split(",")[0] for one in found] == [
        "was not given by this key",
        f"the record {leaf} was promised to be here",
    ]


def by_stranger(state: Path, old: Signer) -> None:
    """Somebody without the old key says that it handed over to theirs."""
    stranger = Signer(b"s" * 32)
    stranger.public = old.public  # as it says; it cannot sign for it
    Epochs(state / "log", stranger).hand_over(Signer(b"s" * 32), LATER)
    (state / "signing.key").write_bytes(b"s" * 32)


def after_its_time(state: Path, old: Signer) -> None:
    """The old key signs what the new one has written."""
    rotate(state, LATER)
    ledger = open_ledger(state, LATER + 1)
    ledger.close()
    epochs = Epochs(state / "log", signer_in_force(state))
    epochs._signer = old
    epochs._sign()


def moved(state: Path, old: Signer) -> None:
    """A true hand-over, put behind another history."""
    rotate(state, LATER)
    entry = json.loads((state / "log/parent.log").read_text().splitlines()[-1])
    for path in (state / "log").iterdir():
        path.unlink()
    epochs = Epochs(state / "log", old)
    epochs.begin(LATER)
    epochs.seal(1, LATER + 1)
    epochs._append({name: entry[name] for name in ("kind", "epoch", "at_ms", "from", "to", "signature")})
    epochs._signer = load_signer(state)
    epochs._sign()


def an_epoch_by_the_old_one(state: Path, old: Signer) -> None:
    """An epoch after the hand-over is signed with the old key."""
    rotate(state, LATER)
    open_ledger(state, LATER + 1).close()
    path = state / "log/00000002.checkpoints"
    size, root = path.read_text().split("\n")[1:3]
    path.write_text(old.note(f"{old.name}/00000002\n{size}\n{root}\n") + "\n")


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (by_stranger, "never signed that it hands over"),
        (after_its_time, "which was not its time"),
        (moved, "never signed that it hands over"),
        (an_epoch_by_the_old_one, "not a checkpoint of this ledger"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
async def test_an_exchange_that_is_no_exchange_is_seen(
    tmp_path: Path, attack: Callable[[Path, Signer], None], said: str
) -> None:
    await fill(tmp_path, epochs=1)
    old = load_signer(tmp_path)
    assert report_on(tmp_path, old.public).holds
    attack(tmp_path, old)
    assert any(said in one.what for one in report_on(tmp_path, old.public).findings)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("step", ["secret_file", "appended", "signed", "handed_over"])
async def test_an_exchange_may_be_cut_off_anywhere(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever kills it, the next start has one key that the log agrees with, and the bundle holds."""
    await fill(tmp_path, epochs=1)
    first = load_signer(tmp_path).public

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if step == "secret_file":
            patch.setattr(Epochs, "hand_over", killed)
        elif step == "appended":
            patch.setattr(Epochs, "_append", killed)
        elif step == "signed":
            patch.setattr(Epochs, "_sign", killed)
        else:
            hand_over = Epochs.hand_over
            patch.setattr(Epochs, "hand_over", lambda *given: (hand_over(*given), killed()))
        with pytest.raises(Killed):
            rotate(tmp_path, LATER)
    open_ledger(tmp_path, LATER + 10).close()
    assert not (tmp_path / "signing.next").exists() or signer_in_force(tmp_path).public == first
    if step != "handed_over":
        rotate(tmp_path, LATER + 20)
    assert load_signer(tmp_path).public != first
    open_ledger(tmp_path, LATER + 30).close()
    report = report_on(tmp_path, first)
    assert report.findings == []


def test_not_while_it_runs(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    with pytest.raises(OperatorError, match="already uses"):
        rotate(tmp_path, LATER)
    ledger.close()
    old, new = rotate(tmp_path, LATER)
    assert signer_in_force(tmp_path).public == new.public != old.public
    assert old.public.split("+")[0] not in (tmp_path / "signing.pub").read_text()


def test_a_key_that_the_log_does_not_know_does_not_sign(tmp_path: Path) -> None:
    """An old key restored from a backup would fork the log."""
    open_ledger(tmp_path).close()
    old = (tmp_path / "signing.key").read_bytes()
    rotate(tmp_path, LATER)
    (tmp_path / "signing.key").write_bytes(old)
    with pytest.raises(OperatorError, match="not the key that the log was handed over to"):
        open_ledger(tmp_path)


def test_an_entry_without_keys_is_a_finding(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    rotate(tmp_path, LATER)
    out = bundle_of(tmp_path, tmp_path / "out")
    lines = (out / "parent.log").read_bytes().split(b"\n")
    for wrong in ({"to": 3}, {"to": "x+y+z"}, {"from": None}):
        entry = json.loads(lines[2]) | wrong
        changed = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        (out / "parent.log").write_bytes(b"\n".join([*lines[:2], changed, *lines[3:]]))
        assert any("hands over to no key" in one.what for one in verify(out).findings)
