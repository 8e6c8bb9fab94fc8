"""The built-in model as it is shipped: same tokens and same likelihoods as in training, valid JSON under a schema on words it never saw."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from freehold.cli import hello

RECIPE = ROOT / "models/hearth"
sys.path.insert(0, str(RECIPE))  # the recipe is a folder of scripts, not a package

import bank  # noqa: E402 (needs the path above)
import values  # noqa: E402 (needs the path above)
from conversations import render, reply  # noqa: E402 (needs the path above)
from evaluate import EVALUATION_SEED, Score, Served, handwritten, is_good_reply, items, keeps_to_its_job, outside, score  # noqa: E402 (needs the path above)
from grammar import DEPARTMENTS, EXTRACTION, FIELDS, INTENTS, NAMED, SLOT, Case, Writer  # noqa: E402 (needs the path above)

HANDWRITTEN = {
    "department": 0.8,
    "intent": 0.7,
    "urgency": 0.85,
    "sentiment": 0.75,
    "language": 0.97,
    "all triage": 0.53,
    "F1": 0.55,
}
TEMPLATES = {
    "department": 0.45,
    "intent": 0.35,
    "language": 0.95,
    "fits the schema, not asked for": 0.9,
    "reply": 0.35,
    "F1": 0.42,
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(ROOT / "src/freehold/engines/hearth.gguf") as engine:
        yield engine


def test_parity_with_the_training_framework(served: Served) -> None:
    """Written by models/hearth/parity.py from PyTorch: tokens are equal, and the likeliest is the likeliest and as likely (Q8_0 costs a little)."""
    golden = json.loads((ROOT / "tests/models/parity.json").read_text())
    assert len(golden) == 40
    for one in golden:
        assert served.ask("tokenize", {"content": one["text"], "parse_special": True})["tokens"] == one["tokens"]
        answer = served.ask(
            "completion", {"prompt": one["text"], "n_predict": 1, "temperature": 0, "n_probs": 1, "cache_prompt": False}
        )
        found = answer["completion_probabilities"][0]["top_logprobs"][0]
        assert math.isclose(found["logprob"], one["next"][str(found["id"])], abs_tol=0.35)


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


def test_what_was_read_is_not_kept(served: Served) -> None:
    """Prompts of many callers do not pile up in the engine: of sixty long ones it would be some 200 MB."""

    def resident() -> float:
        pages = int(Path(f"/proc/{served.child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    for at in range(70):
        if at == 10:
            before = resident()
        served.say("", " ".join(str(at * number) for number in range(150)), max_tokens=1)
    assert resident() - before < 50


def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECIPE / "evaluation.json").read_text())
    return found


def check_as_measured(found: Score, name: str, slack: float) -> None:
    """Each share of the set is what the card says of it, give or take the slack."""
    for row, (right, count) in found.shares.items():
        before, asked = measured()[name]["shares"][row]
        assert abs(right / count - before / asked) <= slack, (row, right, count, before, asked)


def check_floors(found: Score, floors: dict[str, float]) -> None:
    """What no model that is shipped may fall below: shares of messages, and F1 over all extracted fields."""
    right, said, true = (sum(counts) for counts in zip(*found.values.values(), strict=True))
    reached = {row: found.shares[row][0] / found.shares[row][1] for row in floors if row != "F1"}
    reached["F1"] = 2 * right / (said + true)
    assert {row: value for row, value in reached.items() if value < floors[row]} == {}


def test_the_handwritten_messages_are_answered_as_the_card_says(served: Served) -> None:
    """The same messages as in the card, so only another processor's rounding may turn one."""
    found = score(served, handwritten(), all_tasks=False)
    check_as_measured(found, "handwritten", 0.03)
    check_floors(found, HANDWRITTEN)


def test_unseen_templates_are_answered_as_the_card_says(served: Served) -> None:
    """The first of the card's messages."""
    writer = Writer(EVALUATION_SEED, "test")
    found = score(served, [writer.case() for _ in range(40)])
    check_as_measured(found, "test", 4 * math.sqrt(0.25 / 40))
    check_floors(found, TEMPLATES)


def test_it_keeps_to_its_job(served: Served) -> None:
    """Chat, maths, code and other languages: one sentence, that it is not for that."""
    found = keeps_to_its_job(served, outside())
    right, asked = measured()["outside"]["outside the job, said so"]
    assert abs(found.shares["outside the job, said so"][0] - right) <= 3
    assert asked == 100


def test_the_card_is_of_this_file() -> None:
    digest = hashlib.sha256((ROOT / "src/freehold/engines/hearth.gguf").read_bytes()).hexdigest()
    assert digest in (RECIPE / "CARD.md").read_text(encoding="utf-8")


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


EVERYDAY = {  # what everybody writes
    "greeting", "closing", "first", "last", "city", "product", "brand", "model", "month", "month short", "currency", "status",
}  # fmt: skip


def plain(text: str) -> str:
    """Letters and digits, in lower case, one space between words."""
    return " ".join(re.findall(r"\w+", text.lower()))


def test_no_message_written_by_hand_stands_in_the_banks() -> None:
    """No line of the banks, nor what of it stands between its slots and choices, is in a handwritten message; no prompt outside the job is one of its lines."""
    messages = [plain(case.message) for case in handwritten()]
    prompts = {plain(one["message"]) for one in outside()}
    for language in bank.LANGUAGES:
        for name, lines in bank.sections(language).items():
            for line in lines if name not in EVERYDAY else ():
                text = bank.parse(line).text
                assert plain(text) not in prompts, (name, text)
                for piece in re.split(r"\{[^{}]*\}|[\[\]|]", text):
                    said = plain(piece)
                    assert len(piece) <= 40 or not [message for message in messages if said in message], (name, text)


@pytest.mark.parametrize("language", bank.LANGUAGES)
def test_splits_share_no_line(language: str) -> None:
    """Sentences, names and makes of the other splits were never in training, and no article that training names; small sections of form are shared."""
    splits = {split: bank.drawn(language, split) for split in bank.SPLITS}
    for name, lines in bank.sections(language).items():
        if name in bank.WHOLE or len(lines) < bank.SHARED:
            continue
        texts = [{bank.parse(line).text for line in one[name]} for one in splits.values()]
        assert all(texts), name
        assert len(set.union(*texts)) == sum(map(len, texts)), name
    assert all(splits["train"][intent] and splits["train"][f"reply {intent}"] for intent in INTENTS)
    named = {split: {one for name, lines in drawn.items() for line in lines for one in bank.articles(name, line)} for split, drawn in splits.items()}  # fmt: skip
    assert not named["train"] & (named["validation"] | named["test"])


@pytest.mark.parametrize("write", [values.order, values.phone], ids=["order", "phone"])
def test_splits_share_no_shape(write: Callable[[random.Random, str], str]) -> None:
    """The same once digits are 9 and letters A, and each run of them is one."""
    shapes = {
        split: {
            re.sub(r"(9|A)\1+", r"\1", re.sub(r"[A-Z]", "A", re.sub(r"\d", "9", write(rng, split))))
            for _ in range(3000)
        }
        for split in bank.SPLITS
        for rng in [random.Random(split)]
    }
    assert not shapes["train"] & shapes["test"]
    assert not shapes["train"] & shapes["validation"]


REPLIES = {  # no name and no order, or both
    "Guten Tag, vielen Dank für Ihre Nachricht. Wir prüfen das und melden uns bei Ihnen.": True,
    "Guten Tag, the the the the the the the.": False,
    "Guten Tag, ja.": False,
    "Hello, thank you for your message, we look at what you have with us.": False,  # another language
    "Guten Tag, vielen Dank für Ihre Nachricht zur Bestellung 778812. Wir prüfen das.": False,  # a number that is no order
    "Guten Tag, vielen Dank für Ihre Nachricht. Wir werden Ihnen den Betrag erstatten.": False,  # a promise
    "Guten Tag, vielen Dank für Ihre Nachricht. Wir prüfen das und melden uns bei": False,  # not ended
    "Guten Tag Mira Sol, vielen Dank für Ihre Nachricht. Wir prüfen das und melden uns.": False,  # nobody said so
}


@pytest.mark.parametrize("text", REPLIES)
def test_a_reply_is_held_to_rules(text: str) -> None:
    labels = {"language": "de", "name": None, "order_id": None, "product": None}
    assert is_good_reply(text, Case("Rechnung 778812 fehlt.", labels)) is REPLIES[text]


def test_a_reply_names_every_order() -> None:
    case = Case("x", {"language": "es", "name": "Ana Gil", "order_id": ["123", "A-456-7"], "product": None})
    about = "Hola, Ana Gil, gracias por su mensaje sobre los pedidos {}. Lo miramos en seguida con el equipo."
    assert is_good_reply(about.format("123 y A-456-7"), case)
    assert not is_good_reply(about.format("91234 y A-456-7"), case)
    assert not is_good_reply(about.format("123"), case)
    nameless = Case("x", {"language": "es", "name": None, "order_id": None, "product": None})
    assert not is_good_reply("Hola, Mario Ruiz, gracias por su mensaje. Lo miramos en seguida con el equipo.", nameless)


@pytest.mark.parametrize("split", bank.SPLITS)
def test_the_replies_that_are_taught_keep_the_rules(split: str) -> None:
    writer = Writer(5, split)
    for _ in range(200):
        case = writer.case()
        assert is_good_reply(said := reply(writer, case), case), (said, case)


def test_the_first_call_asks_for_what_the_model_knows() -> None:
    assert tuple(hello.SCHEMA["required"]) == FIELDS
    assert set(hello.DEPARTMENTS) == set(DEPARTMENTS)


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
