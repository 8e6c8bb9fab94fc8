"""The built-in model as it is shipped: same tokens and same likelihoods as in training, valid JSON under a schema on words it never saw."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator

import pytest

from conftest import ROOT

RECIPE = ROOT / "models/hearth"
sys.path.insert(0, str(RECIPE))  # the recipe is a folder of scripts, not a package

from conversations import render  # noqa: E402
from evaluate import Served  # noqa: E402
from grammar import EXTRACTION, FIELDS, Writer  # noqa: E402


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(ROOT / "src/freehold/engines/hearth.gguf") as engine:
        yield engine


def test_parity_with_the_training_framework(served: Served) -> None:
    """Written by models/hearth/parity.py from PyTorch: tokens are equal, and the likeliest token is as likely (Q8_0 costs a little)."""
    golden = json.loads((ROOT / "tests/models/parity.json").read_text())
    assert len(golden) == 40
    for one in golden:
        assert served.ask("tokenize", {"content": one["text"], "parse_special": True})["tokens"] == one["tokens"]
        answer = served.ask(
            "completion", {"prompt": one["text"], "n_predict": 1, "temperature": 0, "n_probs": 1, "cache_prompt": False}
        )
        found = answer["completion_probabilities"][0]["top_logprobs"][0]["logprob"]  # type: ignore[index]
        assert math.isclose(found, one["logprob"], abs_tol=0.35)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up_order",
            "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}},
        },
    }
]


@pytest.mark.parametrize("tools", [False, True], ids=["plain", "tools"])
@pytest.mark.parametrize("system", ["", "Answer in JSON."], ids=["no system", "system"])
def test_the_template_writes_what_training_saw(served: Served, tools: bool, system: str) -> None:
    """A template that loses a line break makes replies gibberish, and JSON under a grammar hides it: so the two renderings are compared."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [
        {"role": "user", "content": "My parcel\n\nis late"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Thanks"},
    ]
    body = {"messages": messages} | ({"tools": TOOLS} if tools else {})
    expected = "".join(text for text, _ in render(messages, tools=tools)) + "<|im_start|>assistant\n"
    assert served.ask("apply-template", body)["prompt"] == expected


def test_json_is_always_valid(served: Served) -> None:
    writer = Writer(99, "test")
    for _ in range(25):
        assert set(json.loads(served.triage(writer.case().message))) == set(FIELDS)


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_true_by_construction(split: str) -> None:
    """An extracted field is a verbatim piece of its message; equal seeds write equal text."""
    writer, again = Writer(3, split), Writer(3, split)
    for _ in range(300):
        case = writer.case()
        assert case == again.case()
        for field in EXTRACTION:
            value = case.labels[field]
            assert value is None or value in case.message


def test_test_words_are_never_in_training() -> None:
    import phrases

    for pool in (
        phrases.PRODUCTS,
        phrases.FIRST_NAMES,
        phrases.LAST_NAMES,
        *(templates for _, templates in phrases.INTENTS.values()),
    ):
        train, test = Writer(1), Writer(1, "test")
        assert not {train.pick(pool) for _ in range(2000)} & {test.pick(pool) for _ in range(2000)}
