"""Write labelled support messages: the text that hearth learns from.

Why it exists: no customer's mail is ever used; every message is drawn from `phrases.py` by a seed.
Rules: a label is true by construction (a message is `urgent` because an urgent phrase was put in);
an extracted field is always a verbatim piece of the message; `test` draws only from sentences,
names, products and id shapes that `train` never draws from.
What it does not know: tokens, templates, tensors.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass

import phrases as P

FIELDS = ("department", "intent", "urgency", "sentiment", "name", "order_id", "amount", "date", "product")
TRIAGE, EXTRACTION = FIELDS[:4], FIELDS[4:]
HELD_OUT = 0.2
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Case:
    """One message with its true labels.

    labels maps every name in FIELDS to a string, or to None where the message does not say.
    """

    message: str
    labels: dict[str, str | None]


class Writer:
    """Draw cases from the grammar.

    seed: any integer; equal seeds and splits write equal text.
    split: "train" (also validation, with another seed) or "test" (held-out words only).
    """

    def __init__(self, seed: int, split: str = "train") -> None:
        if split not in ("train", "test"):
            raise ValueError(f"split is {split!r}; use 'train' or 'test'")
        self.random = random.Random(f"{split}:{seed}")
        self.is_test = split == "test"

    def pick(self, pool: tuple[str, ...]) -> str:
        """Choose from the part of a pool that belongs to this split (pools of three or fewer are shared)."""
        if len(pool) <= 3:
            return self.random.choice(pool)
        cut = len(pool) - max(1, round(len(pool) * HELD_OUT))
        return self.random.choice(pool[cut:] if self.is_test else pool[:cut])

    def expand(self, template: str) -> str:
        while found := _CHOICE.search(template):
            arm = self.random.choice(found.group(1).split("|"))
            template = template[: found.start()] + arm + template[found.end() :]
        return re.sub(r" +", " ", template).strip()

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def case(self) -> Case:
        """Write one message and its labels."""
        intent = self.random.choice(tuple(P.INTENTS))
        department, templates = P.INTENTS[intent]
        slots = self.slots()
        core = self.expand(self.pick(templates))
        used = set(_SLOT.findall(core))
        urgency = self.random.choices(("high", "low", "normal"), (3, 2, 5))[0]
        sentiment = (
            "positive" if intent == "praise" else self.random.choices(("negative", "positive", "neutral"), (3, 2, 5))[0]
        )
        body = [core, *self.detail_lines(used), *self.mood_lines(urgency, sentiment)]
        while self.chance(0.45):
            body.append(self.expand(self.pick(P.FILLER)))
        first = body.pop(0)
        self.random.shuffle(body)
        body.insert(self.random.randint(0, min(2, len(body))), first)
        has_name = "name" in used or self.chance(0.55)
        message = self.layout(
            [self.fill(line, slots) for line in body], slots["name"] if has_name and "name" not in used else None
        )
        message = self.noise(message, [v for k, v in slots.items() if k in used or k == "name"])
        said = {
            "name": slots["name"] if has_name else None,
            "order_id": slots["order"],
            "amount": slots["amount"],
            "date": slots["date"],
            "product": slots["product"],
        }
        for field, slot in (("order_id", "order"), ("amount", "amount"), ("date", "date"), ("product", "product")):
            if slot not in used:
                said[field] = None
        labels = {"department": department, "intent": intent, "urgency": urgency, "sentiment": sentiment, **said}
        for field in EXTRACTION:
            value = labels[field]
            assert value is None or value in message, (field, value, message)
        return Case(message, labels)

    def detail_lines(self, used: set[str]) -> list[str]:
        lines = []
        for slot, pool, probability in (
            ("order", P.ORDER_LINES, 0.45),
            ("date", P.DATE_LINES, 0.2),
            ("amount", P.AMOUNT_LINES, 0.2),
            ("name", P.NAME_LINES, 0.2),
        ):
            if slot not in used and self.chance(probability):
                lines.append(self.expand(self.pick(pool)))
                used.add(slot)
        return lines

    def mood_lines(self, urgency: str, sentiment: str) -> list[str]:
        lines = (self.expand(self.pick(P.URGENCY[urgency])), self.expand(self.pick(P.SENTIMENT[sentiment])))
        return [line for line in lines if line]

    def fill(self, line: str, slots: dict[str, str]) -> str:
        return _SLOT.sub(lambda found: slots[found.group(1)], line)

    def slots(self) -> dict[str, str]:
        return {
            "name": self.name(),
            "order": self.order(),
            "amount": self.amount(),
            "date": self.date(),
            "product": self.pick(P.PRODUCTS) + self.pick(P.PRODUCT_MODELS),
        }

    def name(self) -> str:
        first = self.pick(P.FIRST_NAMES)
        roll = self.random.random()
        if roll < 0.25:
            return first
        last = self.pick(P.LAST_NAMES) if roll < 0.5 else self.pick(P.LAST_PARTS[0]) + self.pick(P.LAST_PARTS[1])
        return f"{first} {last}"

    def digits(self, count: int) -> str:
        return "".join(self.random.choice("0123456789") for _ in range(count))

    def order(self) -> str:
        letters = "".join(self.random.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(self.random.randint(1, 3)))
        shapes = (
            lambda: f"{letters}-{self.digits(5)}",
            lambda: f"#{self.digits(5)}",
            lambda: f"ORD-{self.digits(4)}-{self.digits(2)}",
            lambda: f"{letters}{self.digits(5)}",
            lambda: f"20{self.random.randint(24, 27)}-{self.digits(6)}",
            lambda: self.digits(8),
            lambda: f"#{letters}{self.digits(4)}",
            lambda: self.digits(6),
            lambda: f"{self.digits(3)}-{self.digits(7)}",
            lambda: f"{letters}/{self.digits(4)}/{self.digits(2)}",
        )
        return self.random.choice(shapes[-2:] if self.is_test else shapes[:-2])()

    def amount(self) -> str:
        whole = self.random.choice(
            (
                self.digits(2).lstrip("0") or "9",
                str(self.random.randint(100, 999)),
                f"{self.random.randint(1, 9)},{self.digits(3)}",
            )
        )
        number = whole + self.random.choice(("", f".{self.digits(2)}", f".{self.digits(2)}"))
        shape = self.random.choice(("${}", "€{}", "£{}", "{} EUR", "{} USD", "{} dollars", "{} euros", "{}€"))
        return shape.format(number)

    def date(self) -> str:
        day, month = self.random.randint(1, 28), self.random.randint(1, 12)
        name, year = P.MONTHS[month - 1], self.random.randint(2024, 2027)
        return self.random.choice(
            (
                f"{day} {name}",
                f"{name} {day}",
                f"{year}-{month:02}-{day:02}",
                f"{day:02}.{month:02}.{year}",
                f"{month}/{day}/{year}",
                f"{day} {name} {year}",
                f"{name[:3]} {day}",
                self.random.choice(P.WEEKDAYS),
            )
        )

    def layout(self, lines: list[str], signature: str | None) -> str:
        ends = self.random.choice((". ", ". ", ".\n", "! ", "\n", ", "))
        sentences = [line[0].upper() + line[1:] if self.chance(0.85) else line for line in lines]
        body = "".join(
            s + (ends if not ends.startswith(",") or i < len(sentences) - 1 else ".") for i, s in enumerate(sentences)
        ).strip()
        greeting = self.pick(P.GREETINGS)
        start = (
            f"{greeting}{self.random.choice((',', '!', ',', ''))}{self.random.choice((chr(10), ' ', chr(10) * 2))}"
            if greeting and self.chance(0.8)
            else ""
        )
        if signature is None:
            return start + body
        closing = self.random.choice(
            (
                f"\n\n{self.pick(P.CLOSINGS)},\n",
                f"\n{self.pick(P.CLOSINGS)}, ",
                "\n- ",
                "\n",
                f"\n\n{self.pick(P.CLOSINGS)}\n",
            )
        )
        return f"{start}{body}{closing}{signature}"

    def noise(self, message: str, protected: list[str]) -> str:
        """Add typos, lost capitals or doubled marks, never inside a value that has to be extracted."""
        if self.chance(0.6):
            return message
        words = re.split(r"(\s+)", message)
        kept = {piece for value in protected for piece in value.split()}
        for at, word in enumerate(words):
            if not word.isalpha() or len(word) < 4 or word in kept or not self.chance(0.05):
                continue
            spot = self.random.randint(1, len(word) - 2)
            words[at] = self.random.choice(
                (
                    word[:spot] + word[spot + 1 :],
                    word[:spot] + word[spot + 1] + word[spot] + word[spot + 2 :],
                    word[:spot] + word[spot] + word[spot:],
                )
            )
        noisy = "".join(words)
        return noisy if all(value in noisy for value in protected if value in message) else message

    def reply(self, case: Case) -> str:
        """Write the short reply that the shop would send: thanks, the facts, the next step, no promise."""
        labels = case.labels
        about = (
            f" about order {labels['order_id']}"
            if labels["order_id"]
            else f" about the {labels['product']}"
            if labels["product"]
            else ""
        )
        dear = f"Dear {labels['name']}" if labels["name"] else "Hello"
        opening = self.random.choice(P.REPLY_OPENING).format(about=about)
        return f"{dear}, {opening} {self.random.choice(P.REPLY_ACTION[labels['intent'] or ''])}"


def answer(labels: dict[str, str | None], fields: tuple[str, ...]) -> str:
    """The JSON that hearth has to write for some of the fields, in their order."""
    return json.dumps({field: labels[field] for field in fields}, ensure_ascii=False)
