"""The lines of a batch: cut anywhere, checked whole, each fault at its place."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.jobs import lines

CHAT, MOST = "/v1/chat/completions", 10_000


def line(custom_id: Any = "a", **more: Any) -> bytes:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"model": "m"}, **more}).encode()


def split(chunks: Iterable[bytes], most: int = MOST) -> list[tuple[int, bytes]]:
    splitter = lines.Splitter(most)
    return [*(found for chunk in chunks for found in splitter.feed(chunk)), *splitter.close()]


def faults(*raw: bytes) -> list[tuple[str, int | None, str | None]]:
    checker = lines.Checker(CHAT, MOST)
    for number, one in split([b"\n".join(raw)]):
        checker.take(number, one)
    return [(fault.code, fault.line, fault.param) for fault in checker.faults()]


def test_a_good_file_has_no_faults() -> None:
    assert faults(line("a"), line("b"), b"", b"  ", line("c")) == []


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"{", ("invalid_json_line", 2, None)),
        (b"\xff\xfe", ("invalid_json_line", 2, None)),
        (b"[]", ("invalid_json_line", 2, None)),
        (b'{"a":NaN}', ("invalid_json_line", 2, None)),
        (b"{}", ("missing_required_parameter", 2, "custom_id")),
        (line(7), ("invalid_type", 2, "custom_id")),
        (line(""), ("invalid_value", 2, "custom_id")),
        (line("x" * 513), ("invalid_value", 2, "custom_id")),
        (line(method="GET"), ("invalid_method", 2, "method")),
        (line(url="/v1/embeddings"), ("invalid_url", 2, "url")),
        (line(url="http://evil.example/v1/chat/completions"), ("invalid_url", 2, "url")),
        (line(body=[]), ("invalid_type", 2, "body")),
        (line(body={}), ("missing_required_parameter", 2, "body.model")),
        (line(body={"model": "m", "stream": True}), ("streaming_unsupported", 2, "body.stream")),
        (line("first"), ("duplicate_custom_id", 2, "custom_id")),
    ],
)
def test_every_fault_names_its_line(raw: bytes, fault: tuple[str, int, str | None]) -> None:
    assert faults(line("first"), raw, line("last")) == [fault]


def test_an_empty_file_is_one_fault() -> None:
    assert faults() == faults(b"", b" ") == [("empty_file", None, None)]


def test_a_fault_quotes_nothing_of_the_line() -> None:
    """What was written there may be anybody's."""
    checker = lines.Checker(CHAT, MOST)
    for number, raw in enumerate(
        (b'{"canary-4711', line("canary-4711", method="canary-4711"), line("canary-4711"), line("canary-4711")), 1
    ):
        checker.take(number, raw)
    assert "canary" not in repr(checker.faults())


def test_not_more_faults_are_told_than_anybody_reads() -> None:
    found = faults(*[b"{"] * 5000)
    assert len(found) == lines.MOST_FAULTS
    assert found[-1][1] == lines.MOST_FAULTS


@given(st.lists(st.binary(max_size=30).filter(lambda one: b"\n" not in one), max_size=20), st.data())
def test_lines_are_the_same_however_the_bytes_come(wanted: list[bytes], data: st.DataObject) -> None:
    raw = b"\n".join(wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    chunks = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    expected = [(number, one) for number, one in enumerate(wanted, 1) if one.strip()]
    assert split(chunks) == expected


def test_a_line_without_end_is_cut_and_no_request() -> None:
    """It is not gathered in memory, and what comes behind it is read again."""
    chunks = itertools.chain((b"x" * 1000 for _ in range(10_000)), [b"\n", line("next")])
    (long, following) = split(chunks, 5000)
    assert (long[0], len(long[1])) == (1, 5001)
    assert following == (2, line("next"))
    with pytest.raises(lines.Unfit) as unfit:
        lines.read(1, long[1], CHAT, 5000)
    assert unfit.value.fault.code == "line_too_long"


def test_cutting_a_long_line_costs_no_more_than_its_length() -> None:
    """Thirty-two megabytes without a line break, in small pieces: no piece is copied again with each that follows."""
    splitter = lines.Splitter(1 << 30)
    piece = b"x" * 65_536
    for _ in range(512):
        assert not list(splitter.feed(piece))
    ((_, raw),) = splitter.close()
    assert len(raw) == 512 * 65_536


def test_a_line_of_output_holds_the_answer_on_one_line() -> None:
    """However its provider indents it; numbers and words stay as they are written."""
    raw = b'{\n  "id": "x",\r\n  "n": 1.50,\n  "text": "a\\nb  c"\n}\n'
    said = lines.answered("my id", 200, "call_1", raw)
    assert b"\n" not in said
    assert b'{"id":"x","n":1.50,"text":"a\\nb  c"}' in said
    found = json.loads(said)
    assert (found["custom_id"], found["response"]["status_code"], found["response"]["request_id"], found["error"]) == (
        "my id",
        200,
        "call_1",
        None,
    )
    unasked = json.loads(lines.not_run("my id", "batch_expired", "Too late."))
    assert (unasked["response"], unasked["error"]["code"]) == (None, "batch_expired")
