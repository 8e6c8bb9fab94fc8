"""An auditor with nothing but a bundle and a key: every attack on the log is seen, and named."""

from __future__ import annotations

import ast
import asyncio
import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from freehold.kernel.units import Tokens
from freehold.ledger import epochs, merkle
from freehold.ledger import record as records
from freehold.ledger.epochs import Epochs
from freehold.ledger.export import Wanted, export
from freehold.ledger.files import append_synced
from freehold.ledger.ledger import Ledger, Receipt
from freehold.ledger.signing import Signer, load_signer
from freehold.ledger.steward import Steward
from freehold_audit import Expected, Report, verify
from freehold_audit.proof import Key, Tree, open_note
from ledger.audits import FACTS, Alone, audit


def open_ledger(state: Path, now: int = 1_700_000_000_000, **facts: Any) -> Alone:
    clock = itertools.count(now)
    return Alone(state, lambda: next(clock), **facts)


def run_call(
    ledger: Ledger | Alone,
    call: str,
    *,
    zone: str = "inside",
    class_: str = "public",
    workload: str | None = None,
    attempts: int = 1,
    tried: int | None = None,
    declared: tuple[str | None, str | None] = ("public", None),
    answered: str | None = None,
    **more: Any,
) -> str:
    """One call: its intents and its receipt. Returns the leaf of the last intent."""
    ledger.introduce("key_1", *declared)
    target, leaf = ("a/m" if zone == "inside" else "cloud/m"), ""
    for attempt in range(1, attempts + 1):
        leaf = ledger.intend(
            {
                "call": call, "attempt": attempt, "key": "key_1", "workload": workload, "class": class_, "model": "m", "endpoint": "chat/completions", "is_stream": False,
                "target": target, "zone": zone, "zones": FACTS["classes"][class_], "decision": "allow", "attestation": None, "held_usd": None,
            } | more
        )  # fmt: skip
    each = tuple({"target": target, "zone": zone, "result": "ok"} for _ in range(tried or attempts))
    ledger.settle(
        Receipt(
            call=call, key="key_1", workload=workload, class_=class_, model="m", endpoint="chat/completions", outcome="ok", code=None, status=200, target=answered or target, zone=zone,
            tokens=Tokens(input=1), cost_usd="0", price="p", is_estimate=False, is_stream=False, duration_ms=1, first_byte_ms=1, answer=None, reasons=(), attempts=each,
        )
    )  # fmt: skip
    return leaf


async def fill(state: Path, epochs: int = 2, calls: int = 6, name: str = "call") -> list[str]:
    """A history of several runs; returns the promises that were given."""
    promises = []
    for epoch in range(epochs):
        ledger = open_ledger(state, 1_700_000_000_000 + epoch * 1_000_000)
        for at in range(calls):
            leaf = run_call(ledger, f"{name}_{epoch}{at}", workload=("left", "right")[at % 2], attempts=1 + (at == 3))
            promises.append(f"{epoch + 1:08d} {leaf} {ledger.promise(leaf).split()[1]}")
            await ledger.durable()
            ledger.checkpoint()
        ledger.close()
    return promises


def bundle_of(state: Path, out: Path, wanted: Wanted | None = None) -> Path:
    export(state / "log", out, load_signer(state), wanted or Wanted(), 1)
    return out


async def test_an_honest_log_holds(tmp_path: Path) -> None:
    promises = await fill(tmp_path)
    kept = (tmp_path / "log/00000001.checkpoints").read_text().split("\n\n")
    expected = Expected(tuple(tuple(one.split()) for one in promises), "\n\n".join(kept[:4]) + "\n\n")  # type: ignore[arg-type]  # three words each
    report = audit(tmp_path, expected=expected)
    assert report.findings == []
    assert report.counts["promises kept"] == len(promises)
    assert report.counts["calls sent inside"] == 12


async def test_what_is_not_asked_for_is_there_as_hashes(tmp_path: Path) -> None:
    await fill(tmp_path)
    bundle = bundle_of(tmp_path, tmp_path / "out", Wanted(workload="left"))
    text = (bundle / "00000001.log").read_text()
    assert '"workload":"right"' not in text
    report = verify(bundle, trust=load_signer(tmp_path).public)
    assert report.findings == []
    assert report.counts["records withheld"] == 14
    later = bundle_of(tmp_path, tmp_path / "later", Wanted(from_ms=1_700_000_900_000))
    assert not (later / "00000001.log").exists()
    assert verify(later).findings == []


# --- attacks on a bundle: every byte of it is covered -----------------------------------------------------------------


async def test_any_byte_that_changes_is_seen(tmp_path: Path) -> None:
    await fill(tmp_path, epochs=1, calls=2)
    bundle = bundle_of(tmp_path, tmp_path / "out")
    trust = load_signer(tmp_path).public
    assert verify(bundle, trust=trust).holds
    for path in sorted(bundle.iterdir()):
        good = path.read_bytes()
        for at in range(0, len(good), max(1, len(good) // 40)):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            assert _fails(bundle, trust), f"{path.name}, byte {at}"
        for changed in (good + b"\n", good + b"x", good[:-1], b""):
            path.write_bytes(changed)
            assert _fails(bundle, trust), f"{path.name}, {len(changed)} bytes instead of {len(good)}"
        path.unlink()
        assert _fails(bundle, trust), f"{path.name} is missing"
        path.write_bytes(good)
    for added in ("more.txt", "00000009.log", ".hidden"):
        (bundle / added).write_text("x")
        assert _fails(bundle, trust), added
        (bundle / added).unlink()
    (bundle / "link").symlink_to("manifest")
    assert _fails(bundle, trust)
    (bundle / "link").unlink()
    (bundle / "folder").mkdir()
    assert _fails(bundle, trust)
    (bundle / "folder").rmdir()
    assert verify(bundle, trust=trust).holds


def _fails(bundle: Path, trust: str) -> bool:
    try:
        return not verify(bundle, trust=trust).holds
    except Exception as error:
        return type(error).__name__ == "Unreadable"


# --- attacks on the log itself, before it is exported by an honest program --------------------------------------------


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def write(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def rechained(lines: list[bytes]) -> list[bytes]:
    """What a careful attacker does: every link and number is made right again."""
    made, prev = [], json.loads(lines[0])["prev"]
    for number, line in enumerate(lines, 1):
        record = json.loads(line) | {"prev": prev, "seq": number}
        made.append(records.encode(record))
        prev = records.leaf_hash(made[-1])
    return made


def flip(lines: list[bytes]) -> list[bytes]:
    return [
        line.replace(b'"class":"public"', b'"class":"internal"') if at == 4 else line for at, line in enumerate(lines)
    ]


ATTACKS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "flip": flip,
    "flip, links mended": lambda lines: rechained(flip(lines)),
    "delete": lambda lines: lines[:4] + lines[5:],
    "delete, links mended": lambda lines: rechained(lines[:4] + lines[5:]),
    "insert": lambda lines: [*lines[:4], lines[2], *lines[4:]],
    "insert, links mended": lambda lines: rechained([*lines[:4], lines[2], *lines[4:]]),
    "reorder": lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]],
    "reorder, links mended": lambda lines: rechained([*lines[:3], lines[4], lines[3], *lines[5:]]),
    "truncate": lambda lines: lines[:6],
    "another policy": lambda lines: rechained(
        [lines[0].replace(b'"restricted":["inside"]', b'"restricted":["inside","outside"]'), *lines[1:]]
    ),
    "nothing left": lambda lines: [],
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_on_the_log_is_seen_and_named(tmp_path: Path, name: str) -> None:
    await fill(tmp_path)
    path = tmp_path / "log/00000001.jsonl"
    write(path, ATTACKS[name](lines_of(path)))
    report = audit(tmp_path)
    assert not report.holds
    assert any("00000001" in one.where for one in report.findings), report.findings


async def test_a_log_that_is_cut_with_its_checkpoints_is_seen(tmp_path: Path) -> None:
    """Truncated at a signed point: the parent log remembers what the epoch came to."""
    await fill(tmp_path)
    path = tmp_path / "log/00000002.jsonl"
    notes = (tmp_path / "log/00000002.checkpoints").read_text().split("\n\n")
    size = int(notes[4].split("\n")[1])
    write(path, lines_of(path)[:size])
    (tmp_path / "log/00000002.checkpoints").write_text("\n\n".join(notes[:6]) + "\n\n")
    assert [one.what for one in audit(tmp_path).findings if "sealed" in one.what]


async def test_an_epoch_that_is_left_out_is_seen(tmp_path: Path) -> None:
    await fill(tmp_path, epochs=3)
    (tmp_path / "log/00000002.jsonl").unlink()
    assert any("its own log is missing" in one.what for one in audit(tmp_path).findings)
    parent = tmp_path / "log/parent.log"
    write(parent, [line for line in lines_of(parent) if b'"epoch":2' not in line])
    found = [one.what for one in audit(tmp_path).findings]
    assert any("there is a gap" in what for what in found)
    assert any("is not those that were signed" in what or "not those that were signed" in what for what in found)


async def test_a_rollback_of_everything_is_seen_by_who_kept_something(tmp_path: Path) -> None:
    """The whole directory as it was yesterday, key and all: only what others hold can show it, a promise or a checkpoint."""
    await fill(tmp_path, epochs=1)
    saved = {path.name: path.read_bytes() for path in (tmp_path / "log").iterdir()}
    ledger = open_ledger(tmp_path, 1_700_009_000_000)
    leaf = run_call(ledger, "call_x")
    log, signature = ledger.promise(leaf).split()
    await ledger.durable()
    ledger.checkpoint()
    kept = (tmp_path / "log/00000002.checkpoints").read_text()
    ledger.close()
    assert audit(tmp_path, expected=Expected(((log, leaf, signature),), kept)).holds
    for path in list((tmp_path / "log").iterdir()):
        path.unlink()
    for name, data in saved.items():
        (tmp_path / "log" / name).write_bytes(data)
    assert audit(tmp_path).holds, "by itself it cannot be told"
    assert any(
        "was promised to be here" in one.what
        for one in audit(tmp_path, expected=Expected(((log, leaf, signature),))).findings
    )
    again = open_ledger(tmp_path, 1_700_009_500_000)  # and a fork goes on from there
    run_call(again, "call_y")
    again.close()
    assert any("kept elsewhere" in one.what for one in audit(tmp_path, expected=Expected(checkpoints=kept)).findings)


async def test_a_checkpoint_that_was_kept_is_compared_wherever_its_log_is(tmp_path: Path) -> None:
    """Of an epoch that is gone altogether, of the parent log, and two of one size."""
    await fill(tmp_path, epochs=1)
    saved = {path.name: path.read_bytes() for path in (tmp_path / "log").iterdir()}
    await fill(tmp_path, epochs=1, name="later")
    kept = (tmp_path / "log/00000002.checkpoints").read_text()
    parent = (tmp_path / "log/parent.checkpoints").read_text()
    assert audit(tmp_path, expected=Expected(checkpoints=kept + parent)).holds
    for path in list((tmp_path / "log").iterdir()):
        path.unlink()
    for name, data in saved.items():
        (tmp_path / "log" / name).write_bytes(data)
    assert any("rolled back" in one.what for one in audit(tmp_path, expected=Expected(checkpoints=kept)).findings)
    assert any("rolled back" in one.what for one in audit(tmp_path, expected=Expected(checkpoints=parent)).findings)
    await fill(tmp_path, epochs=1, calls=7, name="other")  # the same numbers, another history
    assert not audit(tmp_path, expected=Expected(checkpoints=parent)).holds
    both = kept + (tmp_path / "log/00000002.checkpoints").read_text()
    assert not audit(tmp_path, expected=Expected(checkpoints=both)).holds


async def test_a_bundle_of_everything_withholds_nothing(tmp_path: Path) -> None:
    """Hashes in the place of records hide what they say, though every root is right."""
    await fill(tmp_path, epochs=1)
    bundle = bundle_of(tmp_path, tmp_path / "out")
    for hidden, said in (([4], "records are withheld"), ([0], "how it was opened")):
        lines = lines_of(bundle / "00000001.log")
        good = list(lines)
        for at in hidden:
            lines[at] = b"#" + records.leaf_hash(lines[at]).encode()
        write(bundle / "00000001.log", lines)
        assert any(said in one.what for one in verify(bundle).findings)
        write(bundle / "00000001.log", good)


async def test_a_range_shows_every_epoch_of_it(tmp_path: Path) -> None:
    await fill(tmp_path, epochs=3)
    bundle = bundle_of(tmp_path, tmp_path / "out", Wanted(from_ms=1_700_000_900_000))
    assert verify(bundle).holds
    (bundle / "00000002.log").unlink()
    assert any("its own log is missing" in one.what for one in verify(bundle).findings)


@pytest.mark.parametrize(
    "line",
    [b"#" + b"z" * 64, b"[" * 100_000, b'{"a":' * 100_000, b'{"kind":["x"],"v":1}', b"\xff", b"{}", b"", b"null"],
)
async def test_what_is_no_record_is_a_finding(tmp_path: Path, line: bytes) -> None:
    await fill(tmp_path, epochs=1)
    bundle = bundle_of(tmp_path, tmp_path / "out")
    for name in ("00000001.log", "parent.log"):
        good = (bundle / name).read_bytes()
        write(bundle / name, [*lines_of(bundle / name), line])
        assert not verify(bundle).holds
        (bundle / name).write_bytes(good)


# --- what a kill or a full disk leaves ---------------------------------------------------------------------------------


async def test_a_checkpoint_that_was_cut_short_breaks_nothing(tmp_path: Path) -> None:
    for cut in (1, 3, 40, 90, 150):
        state = tmp_path / str(cut)
        ledger = open_ledger(state)
        for at in range(3):
            run_call(ledger, f"call_{at}")
            await ledger.durable()
            ledger.checkpoint()
        for name in ("00000001.checkpoints", "parent.checkpoints"):
            path = state / "log" / name
            path.write_bytes(path.read_bytes()[:-cut])
        ledger.kill()
        assert export(state / "log", tmp_path / f"{cut}-out", load_signer(state), Wanted(), 1)
        open_ledger(state, 1_700_000_500_000).close()
        report = audit(state)
        assert report.findings == []
        assert not [one for one in report.notes if "not yet under a checkpoint" in one]


async def test_a_transformed_call_that_is_lost_counts_as_what_it_was(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.introduce("k", "public", None)
    intent = {"call": "call_a", "attempt": 1, "key": "k", "workload": None, "class": "public", "model": "m", "endpoint": "chat/completions", "is_stream": False, "target": "cloud/m", "zone": "outside", "zones": FACTS["classes"]["public"], "decision": "allow", "attestation": None, "held_usd": None, "transform": {"kind": "redact", "from": "restricted"}}  # fmt: skip
    ledger.intend(intent)
    ledger.kill()
    open_ledger(tmp_path, 1_700_000_500_000).close()
    assert audit(tmp_path).findings == []
    lost = [json.loads(line) for line in lines_of(tmp_path / "log/00000002.jsonl") if b'"lost"' in line]
    assert [one["class"] for one in lost if one["kind"] == "settled"] == ["restricted"]


async def test_a_process_that_was_killed_before_its_first_record_is_no_finding(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.close()
    epochs = Epochs(tmp_path / "log", load_signer(tmp_path))
    epochs.begin(1_700_000_100_000)  # and here it is killed
    open_ledger(tmp_path, 1_700_000_200_000).close()
    report = audit(tmp_path)
    assert report.findings == []
    assert report.counts["epochs"] == 3


def test_what_cannot_be_written_whole_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notes"
    append_synced(path, b"one")
    write_all = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write_all(fd, data[:2]))
    with pytest.raises(OSError, match="space"):
        append_synced(path, b"two")
    monkeypatch.undo()
    append_synced(path, b"three")
    assert path.read_bytes() == b"onethree"


async def test_another_key_is_not_trusted(tmp_path: Path) -> None:
    await fill(tmp_path, epochs=1)
    genuine = load_signer(tmp_path).public
    (tmp_path / "signing.key").write_bytes(os.urandom(32))
    out = bundle_of(tmp_path, tmp_path / "out")
    report = verify(out, trust=genuine)
    assert any("another key" in one.what for one in report.findings)
    assert not verify(out).holds, "its own checkpoints were signed by the one before"


# --- claims ------------------------------------------------------------------------------------------------------


def claimed(tmp_path: Path, make: Callable[[Alone], Any], **facts: Any) -> list[str]:
    ledger = open_ledger(tmp_path, **facts)
    make(ledger)
    ledger.close()
    return [one.what for one in audit(tmp_path).findings]


ATTESTED = {
    "evidence": "sha256:1",
    "controls": ["zero-retention"],
    "since_ms": 0,
    "until_ms": 1_700_000_500_000,
    "models": ["m"],
}
AGREED = {"providers": {**FACTS["providers"], "a": {"zone": "attested", "host": "a.example", "attestation": ATTESTED}}}
USED = {"evidence": "sha256:1", "controls": ["zero-retention"], "until_ms": 1_700_000_500_000}


async def test_a_call_is_held_to_the_policy_that_it_began_under(tmp_path: Path) -> None:
    """Reloaded: what holds is the last one, but for calls that name an earlier one of the same epoch."""
    ledger = open_ledger(tmp_path)
    strict = {**FACTS, "classes": {**FACTS["classes"], "public": ["inside"]}}
    ledger.note("policy", {**strict, "policy": "sha256:q", "before": "sha256:p", "by": "file"})
    run_call(ledger, f"call_{1_700_000_000_000:011x}aa", zone="outside", policy="sha256:p")
    ledger.close()
    assert audit(tmp_path).findings == []
    wrong = [("sha256:q", "outside", {}), ("sha256:q", "inside", {"policy": "sha256:x"}), ("sha256:p", "inside", {})]
    for number, (before, zone, more) in enumerate(wrong):
        state = tmp_path / str(number)
        ledger = open_ledger(state)
        ledger.note("policy", {**strict, "policy": "sha256:q", "before": "sha256:p", "by": "file"})
        ledger.note("policy", {**strict, "policy": "sha256:r", "before": before, "by": "file"})
        run_call(ledger, f"call_{1_700_000_000_000:011x}aa", zone=zone, **more)
        ledger.close()
        assert audit(state).findings, number


async def test_a_call_that_began_after_a_policy_had_ended_is_not_decided_under_it(tmp_path: Path) -> None:
    for number, (began, count) in enumerate([(1_700_000_000_000, 0), (1_800_000_000_000, 1)]):
        state = tmp_path / str(number)
        ledger = open_ledger(state)
        strict = {**FACTS, "classes": {**FACTS["classes"], "public": ["inside"]}}
        ledger.note("policy", {**strict, "policy": "sha256:q", "before": "sha256:p", "by": "file"})
        run_call(ledger, f"call_{began:011x}aa", zone="outside", policy="sha256:p")
        ledger.close()
        assert len(audit(state).findings) == count


@pytest.mark.parametrize(
    ("make", "facts", "expected"),
    [
        pytest.param(lambda one: run_call(one, "call_a"), {}, None, id="honest"),
        pytest.param(lambda one: run_call(one, "call_a", zone="outside"), {}, None, id="a public call outside"),
        pytest.param(lambda one: run_call(one, "call_a", zone="outside", class_="restricted"), {}, "its class forbids", id="a restricted call outside"),
        pytest.param(lambda one: run_call(one, "call_a", decision="deny"), {}, "without a decision", id="no decision"),
        pytest.param(lambda one: run_call(one, "call_a", zones=[]), {}, "without a decision", id="a decision for other zones"),
        pytest.param(lambda one: run_call(one, "call_a", zones=["inside", "outside"], class_="restricted"), {}, "zones that the class forbids", id="a decision too wide"),
        pytest.param(lambda one: run_call(one, "call_a", target="cloud/m"), {}, "by the policy runs outside", id="an outside target that is called inside"),
        pytest.param(lambda one: run_call(one, "call_a", target="nowhere/m"), {}, "the policy does not have", id="a target from nowhere"),
        pytest.param(lambda one: run_call(one, "call_a", attempt=2), {}, "follows attempt 0", id="an attempt that was not ruled on"),
        pytest.param(lambda one: run_call(one, "call_a", zone="inside", attestation=USED) and None, AGREED, "by the policy runs attested", id="attested called inside"),
        pytest.param(lambda one: run_call(one, "call_a", zone="attested", attestation=USED), {}, "runs", id="an agreement that the policy lacks"),
        pytest.param(lambda one: [run_call(one, "call_a"), run_call(one, "call_a")], {}, "settled twice", id="settled twice"),
        pytest.param(lambda one: run_call(one, "call_a", workload="sealed", class_="internal"), {"workloads": {"sealed": "confidential"}}, "which is confidential", id="less than its workload"),
        pytest.param(lambda one: run_call(one, "call_a", workload="unheard"), {}, "which is restricted", id="of a workload that nobody configured"),
        pytest.param(lambda one: run_call(one, "call_a", declared=("restricted", None)), {}, "of the key key_1, which is restricted", id="less than its key"),
        pytest.param(lambda one: run_call(one, "call_a", declared=(None, None)), {}, "of the key key_1, which is restricted", id="of a key that declares nothing"),
        pytest.param(lambda one: run_call(one, "call_a", declared=(None, "left")), {}, None, id="of a key that leaves it to its workload"),
        pytest.param(lambda one: run_call(one, "call_a", declared=(None, "sealed")), {"workloads": {"sealed": "confidential"}}, "the workload sealed, which is confidential", id="less than its key's workload"),
        pytest.param(lambda one: run_call(one, "call_a", key="key_9"), {}, "key_9 was not introduced", id="a key from nowhere"),
        pytest.param(lambda one: [one.introduce("key_1", "public", None), one.retire(()), one.introduce("key_1", "public", None), run_call(one, "call_a")], {}, None, id="a key that was revoked and came again"),
        pytest.param(lambda one: run_call(one, "call_a", answered="cloud/m"), {}, "by another target", id="answered by another target"),
        pytest.param(lambda one: run_call(one, "call_a", attempts=2, tried=1), {}, "tried 1 times with 2 decisions", id="an attempt that the receipt forgets"),
        pytest.param(lambda one: run_call(one, "call_a", **{"class": "secret"}), {}, "not in the policy", id="a class that is none"),
    ],
)  # fmt: skip
async def test_claims(
    tmp_path: Path, make: Callable[[Alone], Any], facts: dict[str, Any], expected: str | None
) -> None:
    found = claimed(tmp_path, make, **facts)
    if expected is None:
        assert found == []
    else:
        assert any(expected in what for what in found), found


@pytest.mark.parametrize(("now", "models", "holds"), [(1_700_000_000_000, ["m"], True), (1_700_000_600_000, ["m"], False), (1_700_000_000_000, ["other"], False)])  # fmt: skip
async def test_an_agreement_must_hold_when_it_is_used(tmp_path: Path, now: int, models: list[str], holds: bool) -> None:
    agreed = {
        "providers": {"a": {"zone": "attested", "host": "a.example", "attestation": {**ATTESTED, "models": models}}}
    }
    ledger = open_ledger(tmp_path, now, **agreed)
    ledger.introduce("k", "public", None)
    ledger.intend({"call": "call_a", "attempt": 1, "key": "k", "workload": None, "class": "public", "model": "m", "endpoint": "chat/completions", "is_stream": False, "target": "a/m", "zone": "attested", "zones": ["attested"], "decision": "allow", "attestation": USED, "held_usd": None})  # fmt: skip
    ledger.close()
    assert audit(tmp_path).holds is holds


# --- formats -----------------------------------------------------------------------------------------------------

# The trees of the Certificate Transparency reference tests (RFC 6962): leaves, and the root over the first n of them.
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]  # fmt: skip


def test_trees_are_those_of_rfc_6962() -> None:
    ours, theirs = merkle.Tree(), Tree()
    for text, root in zip(CT_LEAVES, CT_ROOTS, strict=True):
        leaf = bytes.fromhex(records.leaf_hash(bytes.fromhex(text)))
        ours.append(leaf)
        theirs.add(leaf)
        assert (ours.root().hex(), theirs.root().hex()) == (root, root)


@given(st.integers(1, 40), st.data())
def test_a_proof_of_inclusion_leads_to_the_root(size: int, data: st.DataObject) -> None:
    leaves = [bytes.fromhex(records.leaf_hash(bytes([at]))) for at in range(size)]
    at = data.draw(st.integers(0, size - 1))
    value, fn, sn = leaves[at], at, size - 1
    for step in merkle.inclusion(leaves, at):  # RFC 9162 §2.1.3.2
        if fn % 2 or fn == sn:
            value = merkle.node(step, value)
            while fn and not fn % 2:
                fn, sn = fn >> 1, sn >> 1
        else:
            value = merkle.node(value, step)
        fn, sn = fn >> 1, sn >> 1
    assert value == merkle.Tree(leaves).root()


def test_a_note_is_that_of_c2sp() -> None:
    """The example of the Go package note: a verifier key and a note that it opens."""
    key = Key.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    note = f"{text}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    assert open_note(note, key) == text
    with pytest.raises(ValueError, match="no valid signature"):
        open_note(note.replace("answer", "Answer"), key)


def test_our_notes_open_with_their_key_only() -> None:
    one, other = Signer(b"1" * 32), Signer(b"2" * 32)
    note = one.note("x\n")
    assert open_note(note, Key.parse(one.public)) == "x\n"
    with pytest.raises(ValueError, match="no valid signature"):
        open_note(note, Key.parse(other.public))


def test_the_verifier_needs_nothing_of_freehold() -> None:
    """Its imports are the standard library, itself and `cryptography`; run from a copy elsewhere, it works."""
    for path in (ROOT / "src/freehold_audit").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in names:
                top = name.partition(".")[0]
                assert top in sys.stdlib_module_names | {"freehold_audit", "cryptography"}, f"{path.name}: {name}"


def test_it_runs_from_a_copy_alone(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "state", epochs=1))
    bundle = bundle_of(tmp_path / "state", tmp_path / "bundle")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "src/freehold_audit", elsewhere / "freehold_audit")
    code = "import sys; sys.modules['freehold'] = None; sys.path.insert(0, sys.argv[1]); from freehold_audit.__main__ import run; sys.exit(run(sys.argv[2:]))"
    command = [sys.executable, "-c", code, str(elsewhere)]
    done = subprocess.run([*command, str(bundle), "--json"], capture_output=True, text=True, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["holds"]
    assert subprocess.run([*command, str(elsewhere)], capture_output=True).returncode == 2


def test_what_is_no_bundle(tmp_path: Path) -> None:
    from freehold_audit.report import Unreadable

    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Unreadable):
            verify(folder)
    (tmp_path / "a.pub").write_text("rubbish")
    with pytest.raises(Unreadable):
        verify(tmp_path)


def test_a_report_counts() -> None:
    report = Report()
    report.count("x", 2)
    report.find("here", "that")
    assert (report.counts, report.holds) == ({"x": 2}, False)


# --- several epochs of one run ---------------------------------------------------------------------------------


async def test_workers_of_one_run_may_write_at_once(tmp_path: Path) -> None:
    """Each has an epoch of its own; one that is killed is settled by the next, and sealed then; the whole verifies at every moment."""
    clock = itertools.count(1_700_000_000_000)
    steward = Steward(tmp_path, lambda: next(clock))
    workers = [steward.open({**FACTS, "policy": "p"}, after=()) for _ in range(3)]
    for round_ in range(4):
        for at, worker in enumerate(workers):
            run_call(worker, f"call_{at}{round_}")
            await worker.durable()
            worker.checkpoint()
        assert audit(tmp_path).findings == []
    workers[1].intend({**intent_of("call_lost"), "at_ms": 0})
    workers[1]._log.flush()
    dead = workers[1].epoch
    workers[1] = steward.open({**FACTS, "policy": "p"}, after=[dead])
    assert workers[1].recovered == 1
    assert steward.left_open == (1, 3, 4)
    run_call(workers[1], "call_after")
    report = audit(tmp_path)
    assert report.findings == []
    for worker in workers:
        worker.close()
    steward.close()
    report = audit(tmp_path)
    assert report.findings == []
    assert report.counts["calls sent inside"] == 14


async def test_what_cannot_be_sealed_now_is_sealed_before_anything_else(tmp_path: Path) -> None:
    """The disk is full when a dead epoch is to be sealed: nothing later is sealed before it, and no call gets two ends."""
    ledger = open_ledger(tmp_path)
    ledger.introduce("key_1", "public", None)
    ledger.intend(intent_of("call_lost"))
    ledger.kill()
    clock = itertools.count(1_700_000_900_000)
    steward = Steward(tmp_path, lambda: next(clock))
    real = Epochs.seal

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    Epochs.seal = full  # type: ignore[method-assign]
    try:
        again = steward.open({**FACTS, "policy": "p"})
        assert again.recovered == 1
        again.close()
    finally:
        Epochs.seal = real  # type: ignore[method-assign]
    assert steward.left_open == (1, 2)
    steward.close()
    third = open_ledger(tmp_path, 1_700_001_000_000)
    assert third.recovered == 0
    third.close()
    assert audit(tmp_path).findings == []


async def test_an_epoch_of_an_earlier_run_must_be_sealed(tmp_path: Path) -> None:
    await fill(tmp_path, epochs=2)
    parent = tmp_path / "log/parent.log"
    entries = [line for line in lines_of(parent) if not (b"epoch_sealed" in line and b'"epoch":1,' in line)]
    write(parent, entries)
    assert any("was never sealed, and another run follows it" in one.what for one in audit(tmp_path).findings)


async def test_calls_that_a_closed_process_left_open_are_settled_later(tmp_path: Path) -> None:
    """An orderly end with a call under way does not seal the epoch: the next start finds the call."""
    ledger = open_ledger(tmp_path)
    ledger.introduce("key_1", "public", None)
    ledger.intend(intent_of("call_open"))
    ledger.close()
    again = open_ledger(tmp_path, 1_700_000_900_000)
    assert again.recovered == 1
    again.close()
    assert audit(tmp_path).findings == []


def intent_of(call: str) -> dict[str, Any]:
    return {
        "call": call, "attempt": 1, "key": "key_1", "workload": None, "class": "public", "model": "m", "endpoint": "chat/completions", "is_stream": False,
        "target": "a/m", "zone": "inside", "zones": FACTS["classes"]["public"], "decision": "allow", "attestation": None, "held_usd": None,
    }  # fmt: skip


def test_what_was_settled_is_not_settled_again_by_whoever_looks_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that settled it died before it could seal."""
    clock = itertools.count(1_700_000_000_000)
    steward = Steward(tmp_path, lambda: next(clock))
    dead = steward.open({**FACTS, "policy": "p"})
    dead.intend(intent_of("call_a"))
    dead.leave()
    with monkeypatch.context() as dying:
        dying.setattr(steward, "seal", lambda epoch: None)
        first = steward.open({**FACTS, "policy": "p"}, after=[dead.epoch])
    again = steward.open({**FACTS, "policy": "p"}, after=[dead.epoch])
    late = steward.open({**FACTS, "policy": "p"}, after=[dead.epoch])  # it is sealed by now
    assert [one.recovered for one in (first, again, late)] == [1, 0, 0]
    for one in (first, again, late):
        one.close()
    steward.close()
    written = b"".join(path.read_bytes() for path in (tmp_path / "log").glob("*.jsonl"))
    assert written.count(b'"kind":"settled"') == 1


def test_a_seal_that_could_not_be_signed_is_signed_and_not_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full between the parent log and its checkpoint."""
    clock = itertools.count(1_700_000_000_000)
    steward = Steward(tmp_path, lambda: next(clock))
    first = steward.open({**FACTS, "policy": "p"})
    second = steward.open({**FACTS, "policy": "p"}, after=())
    real, full = epochs.sign, [True]

    def sign(folder: Path, signer: Any, log: str, size: int, root: bytes) -> None:
        if full and log == "parent":
            full.clear()
            raise OSError(errno.ENOSPC, "No space left on device")
        real(folder, signer, log, size, root)

    monkeypatch.setattr(epochs, "sign", sign)
    first.close()
    second.close()
    steward.close()
    assert audit(tmp_path).findings == []
