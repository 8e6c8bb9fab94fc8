"""What `up` shows of its first call, whatever the model says."""

from __future__ import annotations

import json

import pytest

from freehold.cli.hello import first_call
from freehold.testing.standin import Behaviour, Standin


def shown(content: str | None, *, is_own: bool) -> str:
    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
    with Standin() as target:
        target.behave(Behaviour(body=body))
        return first_call(target.base_url, "k", "m", is_own=is_own)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("42", "  42"),
        ("[]", "  []"),
        (None, "  (no text)"),
        (" \n", "  (no text)"),
        ('{"hello": [1]}', "  hello       1"),
    ],
)
def test_somebodys_own_model_may_say_anything(content: str | None, line: str) -> None:
    assert line in shown(content, is_own=True).splitlines()


def test_fields_are_a_table() -> None:
    lines = shown('{"order_id": ["A-1", "A-2"], "phone": null, "name": "Mira Sol"}', is_own=False).splitlines()
    assert lines[-5:-2] == ["  order_id    A-1, A-2", "  phone       –", "  name        Mira Sol"]
