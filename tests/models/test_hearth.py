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

import bank  # noqa: E402
from conversations import render  # noqa: E402
from evaluate import Served, handwritten, items, outside  # noqa: E402
from grammar import DEPARTMENTS, EXTRACTION, FIELDS, INTENTS, NAMED, SLOT, Case, Writer  # noqa: E402


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
        found = answer["completion_probabilities"][0]["top_logprobs"][0]["logprob"]
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
    """Under a schema, whatever the message; and an order that is one of several may be a list."""
    writer = Writer(99, "test")
    for _ in range(25):
        assert set(json.loads(served.triage(writer.case().message))) == set(FIELDS)


@pytest.mark.parametrize("split", bank.SPLITS)
def test_labels_are_true_by_construction(split: str) -> None:
    """An extracted field is a verbatim piece of its message; equal seeds write equal text."""
    writer, again = Writer(3, split), Writer(3, split)
    for _ in range(400):
        case = writer.case()
        assert case == again.case()
        check_labels(case)


def check_labels(case: Case) -> None:
    assert set(case.labels) == set(FIELDS)
    assert case.labels["intent"] in DEPARTMENTS[str(case.labels["department"])]
    assert case.labels["urgency"] in ("high", "normal", "low")
    assert case.labels["sentiment"] in ("negative", "neutral", "positive")
    assert case.labels["language"] in bank.LANGUAGES
    own = "\n".join(line for line in case.message.splitlines() if not line.startswith(">"))
    for field in EXTRACTION:
        for value in items(case.labels[field]):
            assert value
            assert value in own, (field, value, case.message)


def test_the_handwritten_messages_follow_the_guide() -> None:
    cases = handwritten()
    assert len(cases) >= 150
    assert len({case.message for case in cases}) == len(cases)
    for case in cases:
        check_labels(case)
    assert {str(case.labels["intent"]) for case in cases} == set(INTENTS)
    assert len(outside()) == 100


def test_no_handwritten_message_was_made_by_a_template() -> None:
    """No line of the banks stands in one of them, apart from what everybody writes (greetings, closings, values)."""
    everyday = {
        "greeting",
        "closing",
        "first",
        "last",
        "city",
        "product",
        "brand",
        "model",
        "month",
        "month short",
        "currency",
        "status",
    }
    messages = [case.message.lower() for case in handwritten()]
    for language in bank.LANGUAGES:
        for name, lines in bank.sections(language).items():
            for line in lines if name not in everyday else ():
                text = bank.parse(line).text.lower()
                if len(text) > 40 and not set(text) & set("[{"):
                    assert not [message for message in messages if text in message], (name, text)


@pytest.mark.parametrize("language", bank.LANGUAGES)
def test_splits_share_no_line(language: str) -> None:
    """Sentences, names, products and makes of the test split were never in training; small sections of form are shared."""
    splits = [bank.Bank(language, split) for split in bank.SPLITS]
    for name, lines in bank.sections(language).items():
        if name in bank.WHOLE or len(lines) < bank.SHARED:
            continue
        texts = [{line.text for line in one.lines[name]} for one in splits]
        assert all(texts), name
        assert len(set.union(*texts)) == sum(map(len, texts)), name
    assert all(intent in splits[0] and f"reply {intent}" in splits[0] for intent in INTENTS)


@pytest.mark.parametrize("language", bank.LANGUAGES)
def test_banks_are_well_formed(language: str) -> None:
    """Brackets are balanced, slots are known, articles have a gender."""
    slots = {
        "product",
        "product2",
        "order",
        "order2",
        "amount",
        "date",
        "name",
        "phone",
        "email",
        "number",
        "status",
        "n",
    }
    for name, lines in bank.sections(language).items():
        if name.startswith("outside"):
            continue
        for line in lines:
            text = NAMED.sub("x", bank.parse(line).text)
            assert text.count("[") == text.count("]"), (name, line)
            assert not set(SLOT.sub("", text)) & set("{}"), (name, line)
            assert {slot for slot, _ in SLOT.findall(text)} <= slots, (name, line)
            for _, form in SLOT.findall(text):
                assert not form or bank.article(language, form, bank.GENDERS[language][0], "x") is not None
            if name == "product":
                assert text.split()[0] in bank.GENDERS[language], line
