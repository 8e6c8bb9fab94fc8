"""Make a message look as people type: typos, lost accents and capitals, swallowed marks, short forms.

Rules: what stands between \\x02 and \\x03 (a value) is never mistyped; a manner of the whole message (no capitals, no accents) takes the values
with it, and the labels are read afterwards.
What it does not know: what a value means.
"""

from __future__ import annotations

import random
import re
import unicodedata

_PARTS = re.compile("(\x02[^\x03]*\x03)")
_SHORT = {
    "en": {"please": "pls", "you": "u", "are": "r", "thanks": "thx", "because": "cos", "with": "w/", "and": "&", "I am": "im", "do not": "dont", "cannot": "cant", "have not": "havent", "order": "ordr", "your": "ur", "message": "msg", "about": "abt", "received": "recieved", "definitely": "definately"},
    "de": {"und": "u.", "bitte": "bitte bitte", "nicht": "net", "ich habe": "hab", "eine": "ne", "ein": "nen", "Nummer": "Nr.", "dass": "das", "vielleicht": "vllt", "auch": "au", "einfach": "einfah"},
    "es": {"que": "q", "por favor": "xfa", "porque": "xq", "también": "tb", "para": "pa", "está": "esta", "hola": "ola", "mensaje": "msj", "quiero": "kiero"},
    "fr": {"que": "q", "s'il vous plaît": "svp", "pourquoi": "pk", "c'est": "c", "vous": "vs", "beaucoup": "bcp", "je n'ai": "j'ai", "toujours": "tjs", "commande": "cde", "quelqu'un": "qqn"},
}  # fmt: skip
_NEAR = {
    "a": "sq",
    "e": "wr",
    "i": "uo",
    "o": "ip",
    "u": "yi",
    "t": "ry",
    "n": "bm",
    "s": "ad",
    "r": "et",
    "l": "k",
    "d": "sf",
    "c": "xv",
    "m": "n",
    "p": "o",
    "h": "gj",
}  # neighbours on a keyboard


def thinned(rng: random.Random, text: str) -> str:
    """Some words left out, anywhere but in values: what a message means must not hang on one of its words."""
    share = rng.choice((0.05, 0.15, 0.3))
    pieces = _PARTS.split(text)
    for at, piece in enumerate(pieces):
        if not piece.startswith("\x02"):
            words = re.split(r"(?<= )", piece)
            pieces[at] = "".join(word for word in words if not word.strip().isalpha() or rng.random() >= share)
    return "".join(pieces)


def roughen(rng: random.Random, language: str, text: str) -> str:
    """text with values marked; gives it back rougher, or as it was in four of ten cases."""
    if rng.random() < 0.4:
        return text
    rate = rng.choice((0.0, 0.01, 0.02, 0.04, 0.07))
    pieces = [piece if piece.startswith("\x02") else typed(rng, language, piece, rate) for piece in _PARTS.split(text)]
    text = "".join(pieces)
    if rng.random() < 0.14:
        text = lowered(text)
    elif rng.random() < 0.02:
        text = _PARTS.sub(
            lambda found: found.group(), "".join(p if p.startswith("\x02") else p.upper() for p in _PARTS.split(text))
        )
    if language != "en" and rng.random() < 0.16:
        text = without_accents(language, text, rng)
    return text


def typed(rng: random.Random, language: str, text: str, rate: float) -> str:
    """One piece between two values, with slips of the hand and short forms."""
    if rng.random() < 0.25:
        for whole, short in _SHORT[language].items():
            if rng.random() < 0.3:
                text = re.sub(rf"\b{re.escape(whole)}\b", lambda _, s=short: s, text)
    if rate:
        text = "".join(
            slipped(rng, word) if len(word) > 3 and word.isalpha() and rng.random() < rate * 2 else word
            for word in re.split(r"(\W+)", text)
        )
    if rng.random() < 0.1:
        text = text.replace(",", "")
    if rng.random() < 0.05:
        text = text.replace("'", "")
    return text


def slipped(rng: random.Random, word: str) -> str:
    at = rng.randint(1, len(word) - 2)
    kind = rng.randrange(5)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    if kind == 3:
        return word[:at] + rng.choice(_NEAR.get(word[at], "e")) + word[at + 1 :]
    return word[: at + 1] + " " + word[at + 1 :] if rng.random() < 0.3 else word[:at] + word[at + 1 :]


def lowered(text: str) -> str:
    """Everything in small letters, the values too, but not the mark of their kind."""
    return _PARTS.sub(
        lambda found: found.group(),
        "".join(p[:2] + p[2:].lower() if p.startswith("\x02") else p.lower() for p in _PARTS.split(text)),
    )


def without_accents(language: str, text: str, rng: random.Random) -> str:
    if language == "de":
        for whole, plain in (
            (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"), ("Ä", "Ae"), ("Ö", "Oe"), ("Ü", "Ue"))
            if rng.random() < 0.7
            else (("ß", "ss"), ("ä", "a"), ("ö", "o"), ("ü", "u"))
        ):
            text = text.replace(whole, plain)
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
