"""Contact data, addresses of machines, dates of a life, places, and marks that somebody put on a text."""

from __future__ import annotations

import re

from freehold.perimeter.detectors.rules import Rule, words


def _is_phone(text: str) -> bool:
    digits = "".join(c for c in text if c.isdigit())
    return 7 <= len(digits) <= 15 and len(set(digits)) > 2


def _is_public_ip(text: str) -> bool:
    return text not in ("127.0.0.1", "0.0.0.0") and not text.startswith("255.")  # noqa: S104 - a text that is read, not bound


_MONTH = rb"(?:jan(?:uary|uar|vier)?|feb(?:ruary|ruar)?|mar(?:ch|s|zo)?|m\xe4rz|apr(?:il)?|may|mai|mayo|jun[ei]?|juni|jul[yi]?|juli|aug(?:ust)?|agosto|ao\xfbt|sep(?:t(?:ember)?)?|o[ck]t(?:ober|ubre|obre)?|nov(?:ember|iembre|embre)?|de[cz](?:ember)?|diciembre|enero|febrero|abril|junio|julio|septiembre)"
_DATE = (
    rb"(?:[0-9]{4}[./-][0-9]{1,2}[./-][0-9]{1,2}|[0-9]{1,2}[./ -]{1,2}[0-9]{1,2}[./ -]{1,2}(?:19|20)?[0-9]{2}|[0-9]{1,2}(?:st|nd|rd|th|\.)?[ -](?:of |de )?"
    + _MONTH
    + rb"\.?,?(?: de)?[ -](?:19|20)?[0-9]{2}|"
    + _MONTH
    + rb"\.? [0-9]{1,2}(?:st|nd|rd|th)?,? (?:19|20)[0-9]{2})(?![0-9])"
)
_BORN = rb"(?:date of birth|birth ?dat|birthday|d\.?o\.?b\b|born|geboren|geb\.|geburtsdatum|nacid[oa]|nacimiento|n\xe9e? |naissance|nascita|data nasc|geboortedatum)"
_CARE = rb"(?:admitted|admission|discharged?|diagnosed|surgery|operated|hospitali[sz]ed|deceased|died|vaccinated|ingreso|alta|intervenid[oa]|aufnahme|entlassen|entlassung)"
_STREET = (
    rb"(?:Street|Avenue|Road|Boulevard|Drive|Lane|Court|Square|Terrace|Crescent|Highway|Parkway|Circle|Close|Way|Place)"
)
_SHORT = rb"(?:St|Ave?|Rd|Blvd|Dr|Ln|Ct|Sq|Hwy|Pkwy|Pl)"
_NEAR_PHONE = words(
    "phone tel(?:ephone|[.:]|[^a-z]) call_(?:me|us|at|him|her|on) fax mobil cell whatsapp sms handy m.vil telefon tfno tlf contact reach office messages answering dial"
)


def _context(id_: str, type_: str, trigger: bytes, pattern: bytes, score: float) -> Rule:
    return Rule(id_, type_, rb"(?i)[^A-Za-z]" + trigger, re.compile(rb"(?i)" + pattern), score, skip=1)


CONTEXT = (
    Rule(
        "email",
        "contact.email",
        rb"[A-Za-z0-9_-]@[A-Za-z0-9]",
        re.compile(rb"[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}"),
        0.97,
        back=re.compile(rb"[A-Za-z0-9._%+'-]{1,64}\Z"),
    ),
    Rule(
        "phone_plus",
        "contact.phone",
        rb"[+][0-9(]",
        re.compile(rb"\+[0-9(][0-9 ().-]{5,20}[0-9](?:[ ]?(?:x|ext\.?)[ ]?[0-9]{1,6})?"),
        0.9,
        _is_phone,
    ),
    Rule(
        "phone_paren",
        "contact.phone",
        rb"\([0-9]{2}",
        re.compile(rb"\([0-9]{2,5}\)[ .-]?[0-9](?:[ .-]?[0-9]){4,10}(?![0-9])(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{1,6})?"),
        0.85,
        _is_phone,
    ),
    Rule(
        "phone_dashed",
        "contact.phone",
        rb"[^0-9A-Za-z.-][0-9]{3}[ .-][0-9]{3}[ .-]",
        re.compile(rb"[0-9]{3}(?P<s>[ .-])[0-9]{3}(?P=s)[0-9]{4}(?![0-9-])(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{1,6})?"),
        0.8,
        _is_phone,
        skip=1,
    ),
    Rule(
        "phone_near",
        "contact.phone",
        rb"\b[0-9](?:[ ./-]?[0-9]){6}",
        re.compile(rb"[0-9](?:[ ./-]{0,2}[0-9]){6,14}(?![0-9])(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{1,6})?"),
        0.75,
        _is_phone,
        _NEAR_PHONE,
    ),
    Rule(
        "ipv4",
        "network.ip",
        rb"[^0-9A-Za-z.][0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
        re.compile(
            rb"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(?![0-9A-Za-z]|\.[0-9])"
        ),
        0.9,
        _is_public_ip,
        skip=1,
    ),
    Rule(
        "ipv6",
        "network.ip",
        rb"[^0-9A-Za-z:][0-9a-fA-F]{1,4}:[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:",
        re.compile(rb"[0-9a-fA-F]{1,4}(?:::?[0-9a-fA-F]{1,4}){3,7}(?![0-9A-Za-z:])"),
        0.85,
        skip=1,
    ),
    Rule(
        "mac",
        "network.mac",
        rb"[^0-9A-Za-z:-][0-9a-fA-F]{2}[:-][0-9a-fA-F]{2}[:-][0-9a-fA-F]{2}[:-]",
        re.compile(rb"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}(?![0-9A-Za-z:-])"),
        0.9,
        skip=1,
    ),
    _context(
        "birth_date",
        "person.birth_date",
        _BORN,
        _BORN + rb"[^0-9\n]{0,24}\n{0,2}[^0-9\n]{0,8}(?P<v>" + _DATE + rb")",
        0.9,
    ),
    _context(
        "birth_date",
        "person.birth_date",
        _BORN,
        _BORN
        + rb"[^A-Za-z\n]{0,4}(?:[a-z]{1,4} ){0,2}(?P<v>"
        + _MONTH
        + rb"\.? [0-9]{1,2}(?:st|nd|rd|th)?,? (?:19|20)[0-9]{2})",
        0.9,
    ),
    _context("medical_date", "health.date", _CARE, _CARE + rb"[^0-9\n]{0,24}(?P<v>" + _DATE + rb")", 0.8),
    Rule(
        "street",
        "contact.address",
        rb"[ ]" + _STREET + rb"\b",
        re.compile(
            rb"[0-9]{1,6}[A-Za-z]?(?:[ ][A-Z0-9\xc0-\xde][A-Za-z0-9\xc0-\xff.'-]{0,24}){1,4}[ ]"
            + _STREET
            + rb"(?:,? (?:Apt|Suite|Unit|Floor|#)\.? ?[0-9A-Z]{1,6})?"
        ),
        0.85,
        back=re.compile(rb"[0-9]{1,6}[A-Za-z]?(?:[ ][A-Z0-9\xc0-\xde][A-Za-z0-9\xc0-\xff.'-]{0,24}){1,4}\Z"),
    ),
    Rule(
        "street_short",
        "contact.address",
        rb"[ ]" + _SHORT + rb"[., \n]",
        re.compile(
            rb"[0-9]{1,6}[A-Za-z]?(?:[ ][A-Z0-9\xc0-\xde][A-Za-z0-9\xc0-\xff.'-]{0,24}){1,4}[ ]"
            + _SHORT
            + rb"(?=[., \n])"
        ),
        0.8,
        back=re.compile(rb"[0-9]{1,6}[A-Za-z]?(?:[ ][A-Z0-9\xc0-\xde][A-Za-z0-9\xc0-\xff.'-]{0,24}){1,4}\Z"),
    ),
    Rule(
        "street_unit",
        "contact.address",
        rb"[ ](?:Apt|Suite|Ste|Unit)\.? [0-9]",
        re.compile(
            rb"[0-9]{1,6}(?:[ ][A-Z0-9\xc0-\xde][A-Za-z0-9\xc0-\xff.'-]{0,24}){1,5}[ ](?:Apt|Suite|Ste|Unit)\.? [0-9]{1,6}"
        ),
        0.85,
        back=re.compile(rb"[0-9]{1,6}(?:[ ][A-Z0-9\xc0-\xde][A-Za-z0-9\xc0-\xff.'-]{0,24}){1,5}\Z"),
    ),
    Rule(
        "postcode_uk",
        "contact.address",
        rb"[^A-Za-z0-9][A-Z]{1,2}[0-9][0-9A-Z]? [0-9][A-Z]{2}",
        re.compile(rb"[A-Z]{1,2}[0-9][0-9A-Z]? [0-9][ABD-HJLNP-UW-Z]{2}(?![A-Za-z0-9])"),
        0.75,
        skip=1,
    ),
    Rule(
        "street_de",
        "contact.address",
        rb"(?:stra\xdfe|strasse|str\.|gasse|allee|platz) [0-9]",
        re.compile(
            rb"[A-Z\xc0-\xde][A-Za-z\xc0-\xff-]{1,30}(?:stra\xdfe|strasse|str\.|gasse|allee|platz) [0-9]{1,4}[a-z]?(?![0-9])"
        ),
        0.85,
        back=re.compile(rb"[A-Z\xc0-\xde][A-Za-z\xc0-\xff-]{1,30}\Z"),
    ),
    Rule(
        "street_romance",
        "contact.address",
        rb"[^A-Za-z](?:[Cc]alle|C/|[Aa]venida|[Aa]vda\.?|Av\.|[Pp]laza|[Pp]aseo|[Rr]ue|[Bb]oulevard|[Vv]ia|[Vv]iale|[Rr]ua) ",
        re.compile(
            rb"(?:[Cc]alle|C/|[Aa]venida|[Aa]vda\.?|Av\.|[Pp]laza|[Pp]aseo|[Rr]ue|[Bb]oulevard|[Vv]ia|[Vv]iale|[Rr]ua) (?:de (?:la |los |las |l')?|del |du |des |da |do )?[A-Z\xc0-\xde][^\n;]{2,60}"
        ),
        0.8,
        skip=1,
    ),
    _context(
        "po_box",
        "contact.address",
        rb"(?:p\.?o\.? ?box|postfach|apartado)",
        rb"(?:p\.?o\.? ?box|postfach|apartado)[ #:]{1,3}(?P<v>[0-9]{2,8})",
        0.8,
    ),
    _context(
        "privileged",
        "mark.privileged",
        rb"(?:attorney|solicitor|lawyer|legal|anwalt)",
        rb"(?:attorney[- ]client (?:privileged?|communication|work product)|(?:solicitor|lawyer)[- ]client privileged?|legally privileged|legal advice privilege|legal professional privilege|attorney work[- ]product|anwaltsgeheimnis|anwaltlich(?:e[rs]?)? verschwiegenheit)",
        0.9,
    ),
    _context(
        "privileged",
        "mark.privileged",
        rb"(?:privileged|secret professionnel|secreto profesional)",
        rb"(?:privileged (?:and|&) confidential|privileged communication|secret professionnel|secreto profesional)",
        0.9,
    ),
    _context(
        "export_control",
        "mark.export_control",
        rb"(?:itar|ear99|eccn|export[- ]control|usml|noforn|22 cfr|15 cfr)",
        rb"(?:itar(?:[- ]controlled)?(?![a-z])|ear99|eccn[ :]{1,2}[0-9][a-e][0-9]{3}|export[- ]controlled|usml category|noforn|22 cfr 12[0-9]|15 cfr 7[3-7][0-9])",
        0.85,
    ),
)
