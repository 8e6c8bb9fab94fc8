"""What is ruled on is exactly what is sent: every ambiguity is refused or removed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.kernel.errors import CallerError
from freehold.wire import strict

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param(b"", "request.empty", id="empty"),
        pytest.param(b"  \n", "request.empty", id="blank"),
        pytest.param(b"[1]", "request.shape", id="a list"),
        pytest.param(b'{"a": NaN}', "request.json", id="NaN"),
        pytest.param(b'{"a": Infinity}', "request.json", id="Infinity"),
        pytest.param(b'{"a": -Infinity}', "request.json", id="minus Infinity"),
        pytest.param(b'{"a": 1e999}', "request.json", id="a number out of range"),
        pytest.param(b'{"a": "\xff"}', "request.encoding", id="not UTF-8"),
        pytest.param(b'{"a": "\\ud800"}', "request.json", id="half a surrogate pair"),
        pytest.param(b'{"a": 1} {"b": 2}', "request.json", id="two objects"),
        pytest.param(b'{"a": 1', "request.json", id="cut short"),
        pytest.param(b"\xef\xbb\xbf{}", "request.json", id="a byte order mark"),
        pytest.param(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "request.depth", id="100,000 arrays"),
        pytest.param(b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "request.depth", id="65 levels"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, "request.depth", id="65 objects"),
    ],
)
def test_refuses(raw: bytes, code: str) -> None:
    with pytest.raises(CallerError) as caught:
        strict.decode(raw)
    assert (caught.value.code, caught.value.status) == (code, 400)


def test_64_levels_are_allowed() -> None:
    """The limit itself passes; and many brackets side by side are not depth."""
    assert strict.decode(b'{"a":' + b"[" * 63 + b"]" * 63 + b"}")
    assert strict.decode(json.dumps({"a": [[1]] * 500}).encode())


def test_a_duplicate_key_reaches_nobody() -> None:
    """The last value counts, and the first is in nothing that is encoded afterwards."""
    body = strict.decode(b'{"model": "outside/x", "m\\u006fdel": "inside/y"}')
    assert body == {"model": "inside/y"}
    assert b"outside" not in strict.encode(body)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_encoding_gives_back_what_was_decoded(value: dict[str, Any]) -> None:
    raw = json.dumps(value).encode("utf-8", "surrogatepass")
    try:
        decoded = strict.decode(raw)
    except CallerError as error:
        assert error.code in ("request.json", "request.depth")  # surrogates, which JSON text cannot carry
        return
    assert strict.decode(strict.encode(decoded)) == decoded == json.loads(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(strict.decode(raw), dict)
    except CallerError as error:
        assert error.status == 400
