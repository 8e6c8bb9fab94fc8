"""Invent what a message names: order numbers, sums, dates, telephone numbers, addresses of e-mail.

Why it exists: a value is copied out of a message well only if values in training have many shapes, so shapes are families here, not a list.
Rules: each split writes order numbers, dates, telephone numbers and domains of mail in shapes of its own; sums differ by the way in which a currency is
written (a section of the bank), and in the hundreds by the mark of the thousands. Numbers that are no field are written alike everywhere.
What it does not know: phrases, labels, messages.
"""

from __future__ import annotations

import random
import string

from bank import Bank

SEPARATORS = {"train": ("", "-", "/", "", "-"), "validation": ("_", ".", "-"), "test": (".", "_", "--", "/")}
ORDERS = {  # 9: digits, A: letters, Y: a year
    "train": ("9", "9", "9", "A9", "A9", "A99", "99", "A", "Y9"),
    "validation": ("9A", "A9A", "A999"),
    "test": ("99A", "9A9", "AA9", "999"),
}
PHONES = {"train": (" ", "-", "", " "), "validation": (".",), "test": (" / ", "/")}
WAYS = {
    "train": slice(None, -2),
    "validation": slice(-2, -1),
    "test": slice(-1, None),
}  # of a list of ways to write a date
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def letters(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(LETTERS) for _ in range(count))


def order(rng: random.Random, split: str) -> str:
    """An order number: one to four groups of letters and digits."""
    separator = rng.choice(SEPARATORS[split])
    groups = []
    for mark in rng.choice(ORDERS[split]):
        if mark == "9":
            groups.append(digits(rng, rng.randint(3, 7)))
        elif mark == "Y":
            groups.append(f"20{rng.randint(23, 28)}")
        else:
            groups.append(letters(rng, rng.randint(1, 4)))
    if groups[-1].isalpha() or (len(groups) == 1 and len(groups[0]) < 5):
        groups.append(digits(rng, rng.randint(4, 7)))
    return separator.join(groups) if len(groups) > 1 else groups[0]


def number(rng: random.Random) -> str:
    """Any other number: of a customer, an invoice, a parcel."""
    kind = rng.random()
    if kind < 0.5:
        return digits(rng, rng.randint(3, 9))
    if kind < 0.8:
        return letters(rng, rng.randint(1, 3)) + rng.choice(("", "-")) + digits(rng, rng.randint(3, 8))
    return letters(rng, 2) + digits(rng, rng.randint(8, 12)) + letters(rng, 2)


def amount(rng: random.Random, bank: Bank) -> str:
    whole = rng.choice((rng.randint(2, 99), rng.randint(10, 999), rng.randint(10, 999), rng.randint(1000, 9999)))
    point, thousands = (".", rng.choice((",", ",", ""))) if bank.language == "en" else (",", rng.choice((".", " ", "")))
    if bank.split != "train":
        thousands = rng.choice(("'", "", thousands))
    text = f"{whole:,}".replace(",", thousands)
    text += rng.choice(("", f"{point}{digits(rng, 2)}", f"{point}{digits(rng, 2)}", f"{point}{rng.choice('1459')}0"))
    return bank.pick(rng, "currency").replace("{n}", text)


def date(rng: random.Random, bank: Bank) -> str:
    """A calendar date in one of the language's ways."""
    day, month = rng.randint(1, 28), rng.randint(1, 12)
    year = rng.randint(2024, 2028)
    name, short = bank.section("month")[month - 1], bank.section("month short")[month - 1]
    d, m, y = str(day), str(month), str(year)
    dd, mm, yy = f"{day:02}", f"{month:02}", y[2:]
    ordinal = d + {1: "st", 2: "nd", 3: "rd"}.get(0 if day in (11, 12, 13) else day % 10, "th")
    numeric = (
        f"{y}-{mm}-{dd}",
        f"{dd}.{mm}.{y}",
        f"{dd}/{mm}/{y}",
        f"{d}.{m}.{yy}",
        f"{d}/{m}",
        f"{y}/{mm}/{dd}",
        f"{dd}-{mm}-{y}",
    )
    worded = {
        "en": (
            f"{d} {name}",
            f"{name} {d}",
            f"{name} {ordinal}",
            f"{d} {name} {y}",
            f"{name} {d}, {y}",
            f"{short} {d}",
            f"{m}/{d}/{y}",
            f"{ordinal} {name}",
            f"the {ordinal} of {name}"[4:],
            f"{dd} {short} {y}",
        ),
        "de": (
            f"{d}. {name}",
            f"{d}. {name} {y}",
            f"{dd}.{mm}.",
            f"{d}.{m}.{y}",
            f"{d}. {name}",
            f"{d}.{m}.",
            f"{d}. {short} {y}",
            f"{dd}. {name} {yy}",
        ),
        "es": (
            f"{d} de {name}",
            f"{d} de {name} de {y}",
            f"{d} {name}",
            f"{d} de {name}",
            f"{d}/{m}/{yy}",
            f"{d} {short} {y}",
            f"{dd} de {name} del {y}",
        ),
        "fr": (
            f"{d} {name}",
            f"{d} {name} {y}",
            f"{'1er' if day == 1 else d} {name}",
            f"{d} {name}",
            f"{d}/{m}/{yy}",
            f"{d} {short} {y}",
            f"{dd} {name} {yy}",
        ),
    }[bank.language]
    ways = rng.choice((numeric, worded, worded))
    return rng.choice(ways[WAYS[bank.split]])


def phone(rng: random.Random, split: str) -> str:
    """A telephone number, national or international, grouped as people group it."""
    start = rng.choice(
        (
            "0",
            "0",
            f"+{rng.choice((1, 33, 34, 41, 43, 44, 49, 52, 61))} ",
            "00" + rng.choice(("33", "49", "34", "44")) + " ",
        )
    )
    groups = [digits(rng, rng.randint(2, 4)) for _ in range(rng.randint(2, 5))]
    while sum(map(len, groups)) < 8:
        groups.append(digits(rng, 2))
    between = rng.choice(PHONES[split])
    if rng.random() < 0.12:
        groups[0] = f"({groups[0]})"
    return (start + between.join(groups)).strip()


_ONSETS = [
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "z",
    "br",
    "cl",
    "dr",
    "fl",
    "gr",
    "kr",
    "pl",
    "st",
    "tr",
]
_RHYMES = [
    "a",
    "e",
    "i",
    "o",
    "u",
    "an",
    "el",
    "in",
    "or",
    "us",
    "ar",
    "en",
    "il",
    "on",
    "um",
    "ost",
    "ell",
    "ing",
    "ark",
]
_TOPS = {
    "train": "com com net org de fr es eu co.uk info ch at mx example",
    "validation": "io be shop co ie",
    "test": "biz it ca com.au email",
}


def word(rng: random.Random) -> str:
    return "".join(rng.choice(_ONSETS) + rng.choice(_RHYMES) for _ in range(rng.randint(1, 3)))


def email(rng: random.Random, split: str, name: str) -> str:
    """An address that may resemble the name of its owner."""
    plain = "".join(c for c in name.lower().replace(" ", ".") if c.isascii() and (c.isalnum() or c == "."))
    first, _, last = plain.partition(".")
    local = rng.choice(
        (
            plain,
            first + last,
            f"{first[:1]}.{last}" if last else first,
            f"{first}_{last}" if last else first,
            word(rng),
            word(rng),
        )
    )
    local += rng.choice(("", "", digits(rng, 2), digits(rng, 4)))
    domain = rng.choice((word(rng), word(rng), f"{word(rng)}-{word(rng)}", "example"))
    return f"{local.strip('._') or word(rng)}@{domain}.{rng.choice(_TOPS[split].split())}"
