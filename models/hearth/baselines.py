"""What simpler means reach on the same two sets: the commonest label, regular expressions, TF-IDF with a linear classifier.

    python baselines.py --cases 400 --train 20000

The linear one learns from as many messages of the training split as asked (the message alone, words and pairs of words, and pieces of words); what
it cannot do, extraction, it leaves to the regular expressions.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_union

from evaluate import EVALUATION_SEED, Score, handwritten, rows_of
from grammar import DEPARTMENT, EXTRACTION, TRIAGE, Case, Writer

TRAIN_SEED = 4_711
Guess = Callable[[str], dict[str, object]]

KEYWORDS = {  # in this order: the first that is found
    "double_charge": r"twice|double|doppelt|zweimal|dos veces|doble|deux fois|double",
    "password": r"password|log ?in|sign in|passwort|einloggen|anmelden|contraseña|iniciar sesión|mot de passe|connecter",
    "close_account": r"(close|delete).*account|unsubscribe|newsletter|konto.*(lösch|schlie)|cerrar.*cuenta|borrar.*cuenta|supprimer.*compte|fermer.*compte",
    "invoice": r"invoice|receipt|rechnung|quittung|factura|recibo|facture|reçu",
    "payment_failed": r"payment|card|declined|zahlung|karte|pago|tarjeta|paiement|carte",
    "cancel_order": r"cancel|stornier|cancelar|anular|annuler",
    "refund": r"refund|money back|erstatt|geld zurück|reembols|devol.*dinero|rembours",
    "return_item": r"return|send back|zurückschick|retour|zurückgeben|devolver|devolución|renvoyer|retourner",
    "exchange": r"exchange|swap|umtausch|tauschen|cambiar|cambio|échang",
    "damaged": r"damaged|scratch|crack|beschädigt|kratzer|dañad|golpe|abîmé|endommagé",
    "wrong_item": r"wrong|falsch|equivocad|mauvais|erreur",
    "missing_item": r"missing|fehlt|falta|manque",
    "change_address": r"address|adresse|dirección",
    "late_delivery": r"late|delay|still waiting|verspät|warte|retras|en retard|toujours pas",
    "track_order": r"where is|track|wo ist|sendung|dónde está|seguimiento|où est|suivi",
    "broken": r"broken|not work|stopped|kaputt|defekt|funktioniert nicht|roto|no funciona|panne|ne (marche|fonctionne)",
    "setup": r"install|assemble|connect|set up|aufbau|montier|montar|instalar|monter|installer",
    "bulk_quote": r"quote|bulk|pieces|angebot|stück|presupuesto|unidades|devis",
    "discount": r"discount|voucher|code|coupon|rabatt|gutschein|descuento|cupón|réduction|remise",
    "update_details": r"change my|update|ändern|aktualisieren|actualizar|modifier",
    "feedback": r"great|terrible|lob|beschwerde|enhorabuena|queja|bravo|déçu",
    "product_question": r"\?",
}
LANGUAGE = {
    "de": r"\b(ich|und|nicht|die|der|bitte|mein\w*)\b",
    "es": r"\b(el|que|por|para|mi|una|los|no)\b",
    "fr": r"\b(je|le|les|vous|pas|une|est|mon)\b",
    "en": r"\b(the|i|and|my|is|you|to)\b",
}
HIGH = r"urgent|asap|immediately|today|dringend|sofort|heute|eilig|urgente|hoy|cuanto antes|inmediat|urgent|aujourd'hui|immédiat|vite"
LOW = r"no hurry|no rush|whenever|keine eile|eilt nicht|sin prisa|no corre prisa|pas urgent|rien ne presse|pas pressé"
BAD = r"unacceptable|disappoint|angry|ridiculous|terrible|worst|frech|enttäusch|ärger|unverschämt|inaceptable|decepcion|vergüenza|indignad|inacceptable|déçu|scandal|honte|marre"
GOOD = r"great|love|wonderful|excellent|toll|super|begeistert|klasse|genial|encant|excelente|ravi|parfait|merveill"
ORDER = r"(?:order|bestell\w*|auftrag\w*|pedido|commande|ref\w*)[^\w\n]*(?:number|nummer|no|nr|n[º°]|id|número|numéro|is|ist|es|est)?[^\w\n]*#?((?=[\w/.-]*\d)[A-Za-z0-9][\w/.-]{3,})"
MONTHS = r"jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez|ene|abr|ago|dic|févr|avr|juin|juil|août|déc"
DATE = rf"\d{{4}}[-/]\d\d[-/]\d\d|\d{{1,2}}[./-]\d{{1,2}}[./-](?:\d{{4}}|\d\d)|\d{{1,2}}(?:\.|st|nd|rd|th|er)? (?:de |of )?(?:{MONTHS})\w*(?: (?:de )?\d{{4}})?|(?:{MONTHS})\w* \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?"
AMOUNT = r"(?:[€$£]|EUR|USD|CHF|GBP) ?\d[\d.,' ]*\d?|\d[\d.,']*(?:[.,]-)? ?(?:€|\$|£|EUR\b|USD\b|CHF\b|GBP\b|euros?\b|dollars?\b|pounds?\b|Euro\b|francs?\b)"


def first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.IGNORECASE)
    return found.group(found.lastindex or 0).strip() if found else None


def by_rules(message: str) -> dict[str, object]:
    text = re.sub(r"^>.*$", "", message, flags=re.MULTILINE)
    intent = next((name for name, pattern in KEYWORDS.items() if re.search(pattern, text, re.IGNORECASE)), "other")
    phone = first(r"(?<![\w-])(?:\+|0)[\d ()/.-]{7,}\d", text)
    signature = text.strip().rpartition("\n")[2].strip()
    return {
        "department": DEPARTMENT[intent],
        "intent": intent,
        "urgency": "high"
        if re.search(HIGH, text, re.IGNORECASE)
        else "low"
        if re.search(LOW, text, re.IGNORECASE)
        else "normal",
        "sentiment": "negative"
        if re.search(BAD, text, re.IGNORECASE)
        else "positive"
        if re.search(GOOD, text, re.IGNORECASE)
        else "neutral",
        "language": max(LANGUAGE, key=lambda name: len(re.findall(LANGUAGE[name], text, re.IGNORECASE))),
        "name": signature if re.fullmatch(r"[^\W\d]+(?:[ .-]+[^\W\d]+){0,3}", signature) and "\n" in text else None,
        "order_id": first(ORDER, text),
        "amount": first(AMOUNT, text),
        "date": first(DATE, text),
        "product": None,
        "phone": phone,
        "email": first(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", text),
    }


def majority(cases: list[Case]) -> Guess:
    common = {name: Counter(str(case.labels[name]) for case in cases).most_common(1)[0][0] for name in TRIAGE}
    return lambda message: {**common, **dict.fromkeys(EXTRACTION)}


def linear(cases: list[Case]) -> Guess:
    texts = [case.message for case in cases]
    words = make_union(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2),
        TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 5), min_df=3, max_features=200_000),
    )
    seen = words.fit_transform(texts)
    models = {
        name: SGDClassifier(loss="log_loss", alpha=2e-6, random_state=0).fit(
            seen, [str(case.labels[name]) for case in cases]
        )
        for name in TRIAGE
    }

    def guess(message: str) -> dict[str, object]:
        row = words.transform([message])
        return by_rules(message) | {name: str(model.predict(row)[0]) for name, model in models.items()}

    return guess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--train", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path("baselines.json"))
    options = parser.parse_args()
    writer, held = Writer(TRAIN_SEED), Writer(EVALUATION_SEED, "test")
    seen = [writer.case() for _ in range(options.train)]
    sets = {"test": [held.case() for _ in range(options.cases)], "handwritten": handwritten()}
    guesses: dict[str, Guess] = {"majority": majority(seen), "regex": by_rules, "TF-IDF + linear": linear(seen)}
    columns = {}
    for name, guess in guesses.items():
        for where, cases in sets.items():
            score = Score()
            for case in cases:
                score.fields(guess(case.message), dict(case.labels))
            columns[f"{name}, {where}"] = rows_of(score.as_dict(len(cases)))
    options.out.write_text(
        json.dumps({"train": options.train, "columns": columns}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for row in next(iter(columns.values())):
        print(f"{row:<16}" + "".join(f"{column[row]:>20}" for column in columns.values()))


if __name__ == "__main__":
    main()
