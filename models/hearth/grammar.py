"""Write labelled support messages: the text that hearth learns from.

Why it exists: no customer's mail is ever used; every message is drawn from the phrase banks by a seed.
Rules: labels follow `LABELS.md` by construction: moods come from the marks of the lines that were used, an extracted field is the piece of the
finished message that was put in as a value (`\\x02 kind text \\x03` until the end), so noise can never part the two.
What it does not know: how a split divides the lines (`bank`), tokens, templates, tensors.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field

import values
from bank import NAMED, Bank, Line, article
from noise import roughen, thinned

TRIAGE = ("department", "intent", "urgency", "sentiment", "language")
EXTRACTION = ("name", "order_id", "amount", "date", "product", "phone", "email")
FIELDS = TRIAGE + EXTRACTION
DEPARTMENTS = {
    "returns": ("refund", "return_item", "exchange", "damaged"),
    "shipping": ("late_delivery", "track_order", "wrong_item", "missing_item", "change_address", "cancel_order"),
    "billing": ("double_charge", "invoice", "payment_failed"),
    "account": ("password", "close_account", "update_details"),
    "technical": ("broken", "setup"),
    "sales": ("product_question", "bulk_quote", "discount"),
    "service": ("feedback", "other"),
}
DEPARTMENT = {intent: department for department, intents in DEPARTMENTS.items() for intent in intents}
INTENTS = tuple(DEPARTMENT)
SHARES = {"en": 0.43, "de": 0.19, "es": 0.19, "fr": 0.19}  # of the languages
KINDS = {"P": "product", "O": "order_id", "A": "amount", "D": "date", "N": "name", "T": "phone", "E": "email"}
FORMS = {  # the labels of a web form, per language
    "en": {"name": ("Name", "Full name", "Customer"), "order": ("Order number", "Order no.", "Order ID", "Order"), "email": ("E-mail", "Email", "Email address"), "phone": ("Phone", "Tel.", "Telephone"), "date": ("Date of purchase", "Order date", "Date"), "amount": ("Total", "Amount", "Price paid"), "product": ("Product", "Item", "Article"), "subject": ("Subject", "Topic", "Re"), "message": ("Message", "Comment", "Your message", "Description")},
    "de": {"name": ("Name", "Vor- und Nachname", "Kunde"), "order": ("Bestellnummer", "Bestell-Nr.", "Auftragsnummer", "Bestellung"), "email": ("E-Mail", "Mail", "E-Mail-Adresse"), "phone": ("Telefon", "Tel.", "Rückrufnummer"), "date": ("Kaufdatum", "Bestelldatum", "Datum"), "amount": ("Betrag", "Summe", "Preis"), "product": ("Produkt", "Artikel", "Ware"), "subject": ("Betreff", "Thema", "AW"), "message": ("Nachricht", "Anliegen", "Ihre Nachricht", "Beschreibung")},
    "es": {"name": ("Nombre", "Nombre y apellidos", "Cliente"), "order": ("Número de pedido", "Nº de pedido", "Pedido", "N.º pedido"), "email": ("Correo", "Email", "Correo electrónico"), "phone": ("Teléfono", "Tel.", "Móvil"), "date": ("Fecha de compra", "Fecha del pedido", "Fecha"), "amount": ("Importe", "Total", "Precio"), "product": ("Producto", "Artículo", "Modelo"), "subject": ("Asunto", "Motivo", "Re"), "message": ("Mensaje", "Consulta", "Comentario", "Descripción")},
    "fr": {"name": ("Nom", "Nom et prénom", "Client"), "order": ("Numéro de commande", "N° de commande", "Commande", "Réf. commande"), "email": ("E-mail", "Courriel", "Adresse e-mail"), "phone": ("Téléphone", "Tél.", "Portable"), "date": ("Date d'achat", "Date de commande", "Date"), "amount": ("Montant", "Total", "Prix"), "product": ("Produit", "Article", "Modèle"), "subject": ("Objet", "Sujet", "Re"), "message": ("Message", "Demande", "Votre message", "Description")},
}  # fmt: skip
ALSO = {
    "en": ("also,", "and one more thing:", "besides that,", "by the way,", "oh and", "secondly,", "second question:", "while I am at it,"),
    "de": ("außerdem:", "und noch etwas:", "nebenbei:", "zweitens:", "ach ja,", "und dann noch:", "bei der Gelegenheit:"),
    "es": ("además,", "y otra cosa:", "por cierto,", "también:", "ya que estamos,", "en segundo lugar,"),
    "fr": ("par ailleurs,", "et autre chose :", "au passage,", "deuxièmement,", "ah et", "j'en profite :"),
}  # fmt: skip
WROTE = {
    "en": ("On {date}, {name} wrote:", "-----Original message-----\nFrom: {name}", "{name} wrote on {date}:", "---------- Forwarded message ---------"),
    "de": ("Am {date} schrieb {name}:", "-----Ursprüngliche Nachricht-----\nVon: {name}", "{name} schrieb am {date}:", "---------- Weitergeleitete Nachricht ---------"),
    "es": ("El {date}, {name} escribió:", "-----Mensaje original-----\nDe: {name}", "{name} escribió el {date}:", "---------- Mensaje reenviado ---------"),
    "fr": ("Le {date}, {name} a écrit :", "-----Message d'origine-----\nDe : {name}", "{name} a écrit le {date} :", "---------- Message transféré ---------"),
}  # fmt: skip
SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
_VALUE = re.compile("\x02(.)([^\x03]*)\x03")
_OPPOSED = {"!": "~", "~": "!", "+": "-", "-": "+"}

Label = str | list[str] | None


@dataclass(frozen=True)
class Case:
    """One message with its true labels: each of FIELDS is a string, `None` where the message does not say, or a list of order numbers."""

    message: str
    labels: dict[str, Label]


@dataclass
class Draft:
    """A message in the making: its facts, its sentences so far, and what they said of the mood."""

    intent: str
    facts: dict[str, str]
    marks: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def unlike(self) -> frozenset[str]:
        return frozenset(_OPPOSED[mark] for mark in self.marks)


class Writer:
    """Draw cases. seed: any integer; split: whose lines, names and shapes. Equal arguments write equal text."""

    def __init__(self, seed: int, split: str = "train") -> None:
        self.random = random.Random(f"{split}:{seed}")
        self.split = split
        self.banks = {language: Bank(language, split) for language in SHARES}

    thin = 0.4  # the share of training messages, and of single lines, that lose some of their words
    plain = 0.15  # the share of messages that say what they want and little else

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def bank(self) -> Bank:
        language = self.random.choices(list(SHARES), list(SHARES.values()))[0]
        return self.banks[language]

    def case(self) -> Case:
        """Write one message and its labels."""
        bank = self.bank()
        draft = Draft(self.random.choice(INTENTS), self.facts(bank))
        body = self.body(bank, draft)
        text = self.laid_out(bank, draft, body)
        return self.finished(draft, bank.language, self.worn(bank, text))

    def worn(self, bank: Bank, text: str) -> str:
        """As people type it; in training also with words left out."""
        if self.split == "train" and self.chance(self.thin):
            text = thinned(self.random, text)
        return roughen(self.random, bank.language, text)

    def line(self) -> tuple[Case, tuple[str, ...]]:
        """One line alone, and the fields that it tells of."""
        bank = self.bank()
        draft = Draft(self.random.choice(INTENTS), self.facts(bank))
        about_mood = self.chance(0.25)
        section = self.random.choice(("negative", "positive", "high", "low", "neutral")) if about_mood else draft.intent
        text = self.say(bank, draft, section)
        draft.marks |= {"negative": {"-"}, "positive": {"+"}, "high": {"!"}, "low": {"~"}}.get(section, set())
        text = text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")
        fields = TRIAGE[2:] if about_mood else TRIAGE if self.chance(0.3) else TRIAGE[:2]
        return self.finished(draft, bank.language, self.worn(bank, text)), fields

    def facts(self, bank: Bank) -> dict[str, str]:
        """Every value that the message may name, marked with its kind; articles keep their gender in front."""
        rng = self.random
        name = self.name(bank)
        return {
            "name": name,
            "product": self.product(bank),
            "product2": self.product(bank),
            "order": values.order(rng, self.split),
            "order2": values.order(rng, self.split),
            "amount": values.amount(rng, bank),
            "date": values.date(rng, bank),
            "phone": values.phone(rng, self.split),
            "email": values.email(rng, self.split, name),
            "number": values.number(rng),
        }

    def name(self, bank: Bank) -> str:
        rng = self.random
        first, last = bank.pick(rng, "first"), bank.pick(rng, "last")
        roll = rng.random()
        if roll < 0.2:
            return first
        if roll < 0.26:
            return f"{first[0]}. {last}"
        if roll < 0.34:
            return f"{first} {bank.pick(rng, 'last')}{rng.choice(('-', ' '))}{last}"
        return f"{first} {last}"

    def product(self, bank: Bank) -> str:
        """gender, a bar, and the noun phrase, often with a make or a model."""
        rng = self.random
        gender, _, noun = bank.pick(rng, "product").partition(" ")
        roll = rng.random()
        if roll < 0.12:
            noun = f"{noun} {bank.pick(rng, 'model')}"
        elif roll < 0.22:
            brand = bank.pick(rng, "brand")
            noun = f"{brand} {noun}" if bank.language == "en" else f"{noun} {brand}"
        elif roll < 0.27:
            noun = (
                f"{bank.pick(rng, 'brand')} {bank.pick(rng, 'model')} {noun}"
                if bank.language == "en"
                else f"{noun} {bank.pick(rng, 'brand')} {bank.pick(rng, 'model')}"
            )
        return f"{gender}|{noun}"

    def fill(self, bank: Bank, draft: Draft, line: Line) -> str:
        """Put the facts into a line, marked, and note its moods."""
        draft.marks |= line.marks
        if NAMED.search(line.text):
            draft.used.add("product")

        def value(found: re.Match[str]) -> str:
            slot, form = found.group(1), found.group(2)
            draft.used.add(slot)
            text = draft.facts[slot]
            if slot.startswith("product"):
                gender, _, noun = text.partition("|")
                return (article(bank.language, form, gender, noun) if form else "") + f"\x02P{noun}\x03"
            if slot == "number":
                return f"\x02-{text}\x03"
            return f"\x02{slot[0].upper() if slot[:5] != 'phone' else 'T'}{text}\x03"

        return SLOT.sub(value, NAMED.sub("\x02P\\1\x03", line.text))

    def say(self, bank: Bank, draft: Draft, section: str) -> str:
        return self.fill(bank, draft, bank.draw(self.random, section, unlike=draft.unlike()))

    def body(self, bank: Bank, draft: Draft) -> list[str]:
        """The sentences of the message in their order: a story around the core line, with what else people write."""
        rng = self.random
        core = self.say(bank, draft, draft.intent)
        if self.chance(self.plain):
            told = [core]
            if self.chance(0.4):
                self.mood(bank, draft, told, 0)
            return told
        around = [("before", 0.3), ("core", 1.0), ("after", 0.35)]
        told = [
            core if part == "core" else self.say(bank, draft, f"{draft.intent} {part}")
            for part, share in around
            if self.chance(share)
        ]
        at = told.index(core)
        self.mood(bank, draft, told, at)
        for section, slot, share in (("order line", "order", 0.22), ("date line", "date", 0.14), ("amount line", "amount", 0.14), ("product line", "product", 0.06), ("name line", "name", 0.12), ("phone line", "phone", 0.1), ("email line", "email", 0.08), ("distractor", "number", 0.14)):  # fmt: skip
            if slot not in draft.used and self.chance(share):
                told.insert(rng.randint(0, len(told)), self.say(bank, draft, section))
        if "order" in draft.used and draft.intent not in ("feedback", "other") and self.chance(0.12):
            told.insert(rng.randint(at + 1, len(told)), self.say(bank, draft, "two orders"))
        fillers = rng.choices((0, 1, 2, 3, 5, 8, 12), (34, 24, 16, 11, 8, 5, 2))[0]
        for line in bank.several(rng, "neutral", fillers):
            told.insert(rng.randint(0, len(told)), self.fill(bank, draft, line))
        if self.chance(0.1):
            self.second_wish(bank, draft, told)
        return told

    def mood(self, bank: Bank, draft: Draft, told: list[str], at: int) -> None:
        """Add sentences that only say how the customer feels, and how soon it must be."""
        rng = self.random
        if not draft.marks & {"+", "-"} and draft.intent != "feedback":
            section = rng.choices(("negative", "positive", ""), (27, 13, 60))[0]
            if section:
                told.insert(rng.randint(0, len(told)), self.say(bank, draft, section))
                draft.marks.add("-" if section == "negative" else "+")
                if self.chance(0.2):
                    told.insert(rng.randint(0, len(told)), self.say(bank, draft, section))
        elif "+" in draft.marks and self.chance(0.05):
            told.append(
                self.fill(bank, draft, bank.draw(rng, "negative"))
            )  # praise and annoyance in one message: annoyance counts
            draft.marks.add("-")
        if not draft.marks & {"!", "~"}:
            section = rng.choices(("high", "low", ""), (22, 11, 67))[0]
            if section:
                told.insert(rng.randint(0, len(told)), self.say(bank, draft, section))
                draft.marks.add("!" if section == "high" else "~")

    def second_wish(self, bank: Bank, draft: Draft, told: list[str]) -> None:
        """Another wish, after the first: it changes no label but the moods that it says itself."""
        other = self.random.choice([name for name in INTENTS if name not in (draft.intent, "feedback", "other")])
        words = self.random.choice(ALSO[bank.language])
        told.append(f"{words} {self.say(bank, draft, other)}")

    def laid_out(self, bank: Bank, draft: Draft, told: list[str]) -> str:
        """Join the sentences as a mail, a chat or a web form, signed or not, with quoted mail below or not."""
        rng = self.random
        kind = rng.choices(("mail", "chat", "form"), (60, 28, 12))[0]
        text = self.sentences(told, one_line=kind != "mail")
        if kind == "form":
            return self.form(bank, draft, text)
        if self.chance(0.75 if kind == "mail" else 0.35):
            greeting = bank.pick(rng, "greeting")
            text = (
                greeting
                + rng.choice((",", ",", "!", "", "."))
                + (rng.choice(("\n", "\n\n", " ")) if kind == "mail" else " ")
                + text
            )
        if kind == "mail" and self.chance(0.22):
            text = self.subject(bank, draft) + text
        if self.chance(0.62 if kind == "mail" else 0.2):
            text += self.signature(bank, draft, is_mail=kind == "mail")
        if kind == "mail" and self.chance(0.1):
            text += self.quoted(bank)
        return text

    def sentences(self, told: list[str], *, one_line: bool) -> str:
        """Capitals, full stops and line breaks, as consistently as one person writes."""
        rng = self.random
        capital, stop = self.chance(0.88), rng.choices((".", "!", "", "..", ","), (74, 6, 10, 5, 5))[0]
        between = " " if one_line else rng.choices((" ", "\n", "\n\n"), (70, 18, 12))[0]
        out = []
        for at, sentence in enumerate(told):
            text = sentence[0].upper() + sentence[1:] if capital else sentence
            if text[-1] not in ".?!…:)":
                text += stop if stop != "," or at < len(told) - 1 else "."
            out.append(text + ("\n" if not stop and between == " " and not one_line else between))
        return "".join(out).strip()

    def subject(self, bank: Bank, draft: Draft) -> str:
        words = FORMS[bank.language]["subject"]
        line = (
            self.say(bank, draft, draft.intent)
            if self.chance(0.5)
            else self.say(bank, draft, "order line" if self.chance(0.5) else "product line")
        )
        return f"{self.random.choice(words)}: {line}\n{self.random.choice(('', chr(10)))}"

    def signature(self, bank: Bank, draft: Draft, *, is_mail: bool) -> str:
        rng = self.random
        closing = bank.pick(rng, "closing")
        start = rng.choice(("\n\n", "\n")) if is_mail else " "
        lines = (
            [closing + rng.choice((",", "", "!", ".")) + ("\n" if is_mail else rng.choice((", ", " ", " - ")))]
            if self.chance(0.85)
            else [rng.choice(("- ", "-- ", ""))]
        )
        if self.chance(0.88):
            lines.append(f"\x02N{draft.facts['name']}\x03")
        for slot, kind, share in (("phone", "T", 0.14), ("email", "E", 0.12), ("order", "O", 0.06)):
            if self.chance(share):
                word = rng.choice(FORMS[bank.language][slot])
                prefix = rng.choice(("", f"{word}: ", f"{word} ")) if slot != "order" else f"{word}: "
                lines.append(f"{chr(10) if is_mail else ' / '}{prefix}\x02{kind}{draft.facts[slot]}\x03")
        return start + "".join(lines)

    def form(self, bank: Bank, draft: Draft, text: str) -> str:
        """`Field: value` lines with the message among them."""
        rng, words = self.random, FORMS[bank.language]
        colon = rng.choice((": ", ": ", " - ", " = ", ":\n"))
        rows = [(slot, kind) for slot, kind, share in (("name", "N", 0.75), ("order", "O", 0.5), ("email", "E", 0.5), ("phone", "T", 0.35), ("product", "P", 0.25), ("date", "D", 0.2), ("amount", "A", 0.12)) if self.chance(share)]  # fmt: skip
        if self.chance(0.4):
            rng.shuffle(rows)
        lines = []
        for slot, kind in rows:
            value = draft.facts[slot].partition("|")[2] if slot == "product" else draft.facts[slot]
            lines.append(f"{rng.choice(words[slot])}{colon}\x02{kind}{value}\x03")
        lines.insert(
            rng.choice((len(lines), len(lines), rng.randint(0, len(lines)))),
            f"{rng.choice(words['message'])}{colon}{text}",
        )
        return "\n".join(lines)

    def quoted(self, bank: Bank) -> str:
        """An earlier mail of the shop below the customer's own: values in it carry the mark of no field."""
        rng = self.random
        facts = self.facts(bank)

        def fill(text: str) -> str:
            return SLOT.sub(lambda found: facts[found.group(1)].rpartition("|")[2], text)

        lines = [fill(bank.pick(rng, "agent")) for _ in range(rng.randint(1, 3))]
        sign = self.name(bank) if self.chance(0.5) else ""
        mark = rng.choice(("> ", "> ", ">", ""))
        head = fill(rng.choice(WROTE[bank.language]))
        below = "\n".join(mark + line[0].upper() + line[1:] + "." for line in lines) + (
            f"\n{mark}{sign}" if sign else ""
        )
        return f"\n\n{head}\n\x02-{below}\x03"

    def finished(self, draft: Draft, language: str, text: str) -> Case:
        """Take the marks out, and read the labels off the places where they stood."""
        found: dict[str, list[str]] = {name: [] for name in KINDS.values()}
        for kind, value in _VALUE.findall(text):
            if kind in KINDS and value not in found[KINDS[kind]]:
                found[KINDS[kind]].append(value)
        labels: dict[str, Label] = {
            "department": DEPARTMENT[draft.intent],
            "intent": draft.intent,
            "urgency": "high" if "!" in draft.marks else "low" if "~" in draft.marks else "normal",
            "sentiment": "negative" if "-" in draft.marks else "positive" if "+" in draft.marks else "neutral",
            "language": language,
        }
        for name in EXTRACTION:
            labels[name] = found[name][0] if found[name] else None
        orders = found["order_id"]
        labels["order_id"] = None if not orders else orders[0] if len(orders) == 1 else list[str](orders)
        return Case(_VALUE.sub(lambda one: one.group(2), text), labels)


def answer(labels: dict[str, Label], fields: tuple[str, ...]) -> str:
    """The JSON that hearth has to write for some of the fields, in their order."""
    return json.dumps({name: labels[name] for name in fields}, ensure_ascii=False)
