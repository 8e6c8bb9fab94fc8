"""Everything of a request is read, in the order of the request, and can be put back there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.wire.quiet import hush
from freehold.wire.strings import rewrite, strings_of

BLOB = "QUJD" * 300


def message(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content, **more}]}


@pytest.mark.parametrize(
    "body",
    [
        message([{"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}]),
        message("see data:image/png;base64,iVBORw0KGgo="),
        message("x", attachment=BLOB),
        {"model": "m", "input": [{"image": "aGVsbG8="}]},
        {"model": "m", "documents": [{"image": "https://a.example/x.png"}]},
        message([{"type": "image", "data": "aGVsbG8="}]),
        {"model": "m", "input": [536, 90, 4399, 1, 2, 3, 4, 5]},
        {"model": "m", "prompt": [[1, 2, 3, 4, 5, 6, 7, 8]]},
        message([{"type": "document", "source": {"type": "base64", "data": "aGVsbG8="}}]),
        message([{"type": "tool_result", "content": [{"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}]}]),
    ],
)
def test_what_no_scanner_can_read_is_said_to_be(body: Any) -> None:
    assert strings_of(body).is_opaque


@pytest.mark.parametrize(
    "body",
    [
        message("a question, and a word of 40 letters: " + "a" * 40),
        message(" ".join(["word"] * 2000)),
        {"tools": [{"input_schema": {"properties": {"file_id": {"type": "string"}, "image": {"type": "object"}}}}]},
        message([{"type": "thinking", "thinking": "so", "signature": BLOB}]),
        message([{"type": "redacted_thinking", "data": BLOB}]),
        {"input": [{"type": "reasoning", "encrypted_content": BLOB}]},
        {"logit_bias": {"50256": -100}, "stop": ["a"], "dimensions": 1024, "metadata": {"rows": list(range(100))}},
    ],
)
def test_what_can_be_read_or_is_a_providers_own_is_not(body: Any) -> None:
    assert not strings_of(body).is_opaque


def test_numbers_are_read_wherever_they_stand() -> None:
    body = {
        "metadata": {"mrn": 48213, "values": [536904399, 1, 2, 3, 4, 5, 6, 7], "small": 99},
        "input": [536904399] * 9,
    }
    texts = strings_of(body).texts
    assert texts.count("536904399") == 10
    assert texts[texts.index("mrn") + 1] == "48213"
    assert "99" not in texts


def test_words_of_neighbours_are_paired_and_names_of_fields_are_not() -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "536-90-", **cached}]}, {"role": "user", "content": "4399", "name": "x"}]}  # fmt: skip
    found = strings_of(body)
    assert [(found.texts[a], found.texts[b]) for a, b in found.seams] == [("536-90-", "4399")]
    found = strings_of({"prompt": ["536-90-", "4399"]})
    assert [(found.texts[a], found.texts[b]) for a, b in found.seams] == [("536-90-", "4399")]


def test_what_is_sent_beside_the_body_is_read_and_cannot_be_rewritten() -> None:
    found = strings_of({"a": "b"}, "models/x", "flag-1")
    assert (found.texts, found.beside) == (["a", "b", "models/x", "flag-1"], 2)


def test_keys_that_become_one_stay_two() -> None:
    assert rewrite({"Anna": 1, "Tom": 2}, {0: "[name]", 1: "[name]"}) == {"[name]": 1, "[name]'": 2}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=10)
        | st.dictionaries(
            st.sampled_from(["content", "text", "properties", "type", "image", "x", "data"]), below, max_size=4
        )
    ),
    max_leaves=30,
)


@given(JSON)
def test_a_rewrite_goes_the_same_way_as_the_reading(body: Any) -> None:
    found = strings_of(body)
    assert rewrite(body, {}) == body
    marked = strings_of(rewrite(body, {at: f"<{at}>" for at in range(len(found.texts))})).texts
    assert len(marked) == len(found.texts)
    for at, text in enumerate(marked):
        assert text.rstrip("'") == f"<{at}>" or text == found.texts[at], (
            "a number stays, everything else is where it was"
        )


@pytest.mark.parametrize("more", [{"plugins": [{"id": "web"}]}, {"model": "a/b:online"}])
def test_what_hands_the_text_on_is_not_quiet(more: dict[str, Any]) -> None:
    assert "hosted tools" in hush("openai-chat", {"model": "m", "messages": [], **more})
