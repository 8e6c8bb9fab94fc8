"""Events come out whole, however the bytes are cut and whichever line ends are used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.wire.sse import EventTooLong, Reader, write
from wire.dribble import dribble


def data_of(pieces: list[bytes]) -> list[bytes]:
    reader = Reader()
    return [event.data for piece in pieces for event in reader.feed(piece)] + [event.data for event in reader.close()]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], id="LF"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], id="CRLF"),
        pytest.param(b"data: a\r\rdata: b\r\r", [b"a", b"b"], id="CR"),
        pytest.param(b": OPENROUTER PROCESSING\n\ndata: a\n\n", [b"", b"a"], id="a comment"),
        pytest.param(b"event: x\ndata: a\nid: 7\n\n", [b"a"], id="other fields"),
        pytest.param(b"data: a\ndata: b\n\n", [b"a\nb"], id="two data lines"),
        pytest.param(b"data:a\n\n", [b"a"], id="no space"),
        pytest.param(b"\n\n\ndata: a\n\n\n\n", [b"a"], id="blank lines"),
        pytest.param("data: grün\n\n".encode(), ["grün".encode()], id="inside a character"),
        pytest.param(b"data: a\n\ndata: [DONE]", [b"a", b"[DONE]"], id="no blank line at the end"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_events(raw: bytes, expected: list[bytes]) -> None:
    assert dribble(raw, data_of) == expected


@given(
    st.lists(
        st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), min_size=1).map(
            lambda t: t.strip() or "x"
        ),
        max_size=6,
    )
)
def test_what_is_written_is_read(texts: list[str]) -> None:
    raw = b"".join(write(text.encode()) for text in texts)
    assert data_of([raw]) == [text.encode() for text in texts]


def test_an_event_without_end_is_an_error() -> None:
    reader = Reader(limit=1000)
    with pytest.raises(EventTooLong):
        for _ in range(100):
            reader.feed(b"data: " + b"x" * 50)


def test_raw_is_what_was_received() -> None:
    """Same dialect on both sides: nothing is lost, comments and unknown fields included."""
    raw = b": ping\n\nevent: x\ndata: a\nid: 7\n\n"
    assert b"".join(event.raw for event in Reader().feed(raw)) == raw
