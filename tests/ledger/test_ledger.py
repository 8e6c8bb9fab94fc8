"""Records are canonical and chained; the log survives kills, torn writes and full disks; every call has one terminal record."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from freehold.kernel.errors import OperatorError
from freehold.kernel.units import Tokens
from freehold.ledger import log as logs
from freehold.ledger import record as records
from freehold.ledger.ledger import Receipt
from ledger.audits import Alone, audit

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(blacklist_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(max_codepoint=127)), values, max_size=5))
def test_a_record_is_canonical_json(record: dict[str, Any]) -> None:
    """RFC 8785, checked against an implementation that is not ours."""
    assert records.encode(record) == rfc8785.dumps(record)


def test_a_leaf_is_that_of_rfc_6962() -> None:
    """SHA-256 of 0x00 and the bytes; the empty leaf's hash stands in the Certificate Transparency test vectors."""
    assert records.leaf_hash(b"") == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_a_commitment_needs_the_key() -> None:
    assert records.commitment(b"k" * 32, b"yes") != records.commitment(b"l" * 32, b"yes")
    assert "yes" not in records.commitment(b"k" * 32, b"yes")


def receipt(call: str, outcome: str = "ok") -> Receipt:
    return Receipt(
        call=call, key="key_1", workload=None, class_="public", model="m", endpoint="chat/completions", outcome=outcome, code=None, status=200, target="a/m", zone="inside",
        tokens=Tokens(input=1), cost_usd="0", price="p", is_estimate=False, is_stream=False, duration_ms=1, first_byte_ms=1, answer=None, reasons=(), attempts=({"target": "a/m", "zone": "inside", "result": "ok"},),
    )  # fmt: skip


def intent(call: str) -> dict[str, Any]:
    return {
        "call": call,
        "attempt": 1,
        "key": "key_1",
        "workload": None,
        "class": "public",
        "model": "m",
        "endpoint": "chat/completions",
        "is_stream": False,
        "target": "a/m",
        "zone": "inside",
        "zones": ["inside"],
        "decision": "allow",
        "attestation": None,
        "held_usd": "0.5",
        "held_tokens": 30,
        "held_output": 10,
    }


def open_ledger(state: Path) -> Alone:
    clock = itertools.count(1_700_000_000_000)
    ledger = Alone(state, lambda: next(clock))
    ledger.introduce("key_1", "public", None)
    return ledger


def kinds(state: Path) -> list[tuple[str, str | None]]:
    found = []
    for path in logs.segments(state / "log"):
        for line, _ in logs.lines(path):
            record = json.loads(line)
            found.append((record["kind"], record.get("outcome")))
    return found


async def test_a_killed_process_leaves_open_calls_that_are_settled_once(tmp_path: Path) -> None:
    """Twice killed, also right after recovery: each call has one terminal record, and the chain holds over all epochs."""
    ledger = open_ledger(tmp_path)
    ledger.intend(intent("call_a"))
    ledger.settle(receipt("call_a"))
    ledger.intend(intent("call_b"))
    ledger.intend(intent("call_b") | {"attempt": 2})
    ledger.kill()
    again = open_ledger(tmp_path)
    assert again.recovered == 1
    again.kill()
    third = open_ledger(tmp_path)
    assert third.recovered == 0
    third.close()
    terminal = [outcome for kind, outcome in kinds(tmp_path) if kind == "settled"]
    assert sorted(terminal) == ["lost", "ok"]
    assert audit(tmp_path).holds
    lost = next(
        json.loads(line)
        for path in logs.segments(tmp_path / "log")
        for line, _ in logs.lines(path)
        if b'"outcome":"lost"' in line
    )
    assert (lost["call"], lost["cost_usd"], lost["is_estimate"]) == ("call_b", "0.5", True), (
        "what was held counts, as an estimate"
    )
    assert (lost["tokens"]["input"], lost["tokens"]["output"], sum(lost["tokens"].values())) == (20, 10, 30)


@pytest.mark.parametrize("cut", range(1, 40, 3))
async def test_a_torn_last_line_is_removed(tmp_path: Path, cut: int) -> None:
    ledger = open_ledger(tmp_path)
    ledger.intend(intent("call_a"))
    ledger.kill()
    path = logs.segments(tmp_path / "log")[-1]
    path.write_bytes(path.read_bytes()[:-cut])
    again = open_ledger(tmp_path)
    again.close()
    assert audit(tmp_path).holds


async def test_a_changed_record_breaks_the_chain(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for at in range(5):
        ledger.intend(intent(f"call_{at}"))
    ledger.close()
    path = logs.segments(tmp_path / "log")[0]
    good = path.read_bytes()
    lines = good.split(b"\n")
    for bad in (
        good.replace(b"call_2", b"call_9", 1),
        b"\n".join([*lines[:3], *lines[4:]]),
        b"\n".join([lines[0], lines[2], lines[1], *lines[3:]]),
    ):
        path.write_bytes(bad)
        assert not audit(tmp_path).holds
    path.write_bytes(good)
    assert audit(tmp_path).holds


async def test_one_process_writes(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    with pytest.raises(OperatorError) as caught:
        open_ledger(tmp_path)
    assert caught.value.code == "ledger.locked"
    ledger.close()


async def test_a_full_disk_refuses_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails halfway leaves the file as it was; the receipts that were waiting are written when there is room again."""
    ledger = open_ledger(tmp_path)
    ledger.intend(intent("call_a"))
    real, room = os.write, [10]

    def full(fd: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        done = real(fd, data[: room[0]])
        room[0] = 0
        return done

    monkeypatch.setattr(os, "write", full)
    ledger.settle(receipt("call_a"))
    for call in ("call_b", "call_c"):
        with pytest.raises(OperatorError) as caught:
            ledger.intend(intent(call))
        assert (caught.value.code, caught.value.status) == ("ledger.unavailable", 503)
    with pytest.raises(OperatorError):
        ledger.check()
    monkeypatch.setattr(os, "write", real)
    ledger.check()
    ledger.intend(intent("call_d"))
    ledger.close()
    assert audit(tmp_path).holds
    found = kinds(tmp_path)
    assert found.count(("settled", "ok")) == 1
    assert [kind for kind, _ in found].count("intent") == 2, "what was refused was never recorded"


async def test_many_waiters_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = os.fdatasync, []
    monkeypatch.setattr(os, "fdatasync", lambda fd: (count.append(fd), real(fd))[1])
    ledger = open_ledger(tmp_path)
    for at in range(100):
        ledger.intend(intent(f"call_{at}"))
    await asyncio.gather(*(ledger.durable() for _ in range(100)))
    assert 1 <= len(count) <= 3
    ledger.close()


async def test_a_failed_sync_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel dropped then cannot be known, so nothing more is written in this run."""

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    ledger = open_ledger(tmp_path)
    ledger.intend(intent("call_a"))
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(OperatorError, match="fdatasync"):
        await ledger.durable()
    with pytest.raises(OperatorError):
        ledger.intend(intent("call_b"))
    with pytest.raises(OperatorError):
        ledger.check()
    ledger.close()


async def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    assert (tmp_path / "commitment.key").stat().st_mode & 0o777 == 0o600
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "log").iterdir())
