"""What the scanner finds, in every spelling, and what it must leave alone. Both engines say the same, whatever the bytes."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import re
import string
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import snapshot_of
from freehold.perimeter.detectors import scanner as scanning
from freehold.perimeter.detectors.credentials import CREDENTIALS
from freehold.perimeter.detectors.engines import HyperscanEngine, PlainEngine, digest
from freehold.perimeter.detectors.folding import fold
from freehold.perimeter.detectors.opening import TRIGGERS, Opened, open_run
from freehold.perimeter.detectors.rulebook import RULES
from freehold.perimeter.detectors.scanner import Finding, Scanner, Unread

FAST, PLAIN = Scanner(), Scanner(is_plain=True)
RANDOM = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=400))
HEX = "".join(random.Random(7).choices("0123456789abcdef", k=400))
CAPS = "".join(random.Random(7).choices("ABCDEFGHJKLMNPQRSTUVWXYZ234567", k=400))


def scan(*texts: str, seams: tuple[tuple[int, int], ...] = ()) -> list[Finding]:
    """Scan with both engines, which must agree."""
    found = FAST.scan(texts, seams)
    assert found == PLAIN.scan(texts, seams)
    return found


def types(*texts: str) -> set[str]:
    return {one.type for one in scan(*texts)}


# One of each kind, made of nothing real: what stands behind the beginning is random.
SECRETS = [
    f"sk-proj-{RANDOM[:48]}", f"sk-ant-api03-{RANDOM[:80]}", f"sk-or-v1-{HEX[:64]}", f"gsk_{RANDOM[:52]}", f"AIza{RANDOM[:35]}", f"ya29.{RANDOM[:60]}",
    f"GOCSPX-{RANDOM[:28]}", f"AKIA{CAPS[:16]}", f"ghp_{RANDOM[:36]}", f"github_pat_{RANDOM[:60]}", f"glpat-{RANDOM[:20]}", f"xoxb-{RANDOM[:40]}",
    f"https://hooks.slack.com/services/{CAPS[:9]}/{CAPS[:9]}/{RANDOM[:24]}", f"sk_live_{RANDOM[:24]}", f"whsec_{RANDOM[:32]}", f"SG.{RANDOM[:22]}.{RANDOM[22:65]}",
    f"key-{HEX[:32]}", f"{HEX[:32]}-us12", f"npm_{RANDOM[:36]}", f"pypi-AgEIcHlwaS{RANDOM[:60]}", f"dckr_pat_{RANDOM[:27]}", f"dapi{HEX[:32]}", f"dop_v1_{HEX[:64]}",
    f"shpat_{HEX[:32]}", f"sq0atp-{RANDOM[:22]}", f"lin_api_{RANDOM[:40]}", f"ATATT3x{RANDOM[:180]}", f"PMAK-{HEX[:24]}-{HEX[24:58]}", f"NRAK-{CAPS[:27]}",
    f"glsa_{RANDOM[:32]}_{HEX[:8]}", f"hvs.{RANDOM[:90]}", f"dp.pt.{RANDOM[:43]}", f"pscale_tkn_{RANDOM[:43]}", f"sbp_{HEX[:40]}", f"nfp_{RANDOM[:40]}",
    f"rubygems_{HEX[:48]}", f"AGE-SECRET-KEY-1{CAPS[:58]}", f"fh-{'0123456789abcdefghjkmnpqrstvwxyz'}", f"pplx-{RANDOM[:48]}", f"xai-{RANDOM[:80]}",
    f"nvapi-{RANDOM[:64]}", f"pcsk_{RANDOM[:70]}", f"lsv2_pt_{HEX[:32]}_{HEX[32:42]}", f"figd_{RANDOM[:40]}", f"shippo_live_{HEX[:40]}", f"SK{HEX[:32]}",
    f"123456789:AA{RANDOM[:33]}", f"M{RANDOM[:23]}.{RANDOM[23:29]}.{RANDOM[29:62]}", f"eyJ{RANDOM[:30]}.eyJ{RANDOM[30:80]}.{RANDOM[80:120]}",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", f"postgres://app:{RANDOM[:12]}@db.internal/x", f"AccountKey={RANDOM[:86]}==",
    f"abc8Q~{RANDOM[:34]}", f"Authorization: Bearer {RANDOM[:40]}", "Authorization: Basic dXNlcjpwYXNzd29yZA==", f"api_key = '{RANDOM[:32]}'", "password: hunter2!x",
    "Passwort ist Geheim-1234", f"client_secret={RANDOM[:40]}", f"AWS_SECRET_ACCESS_KEY={RANDOM[:40]}",
    f'"SecretAccessKey": "{RANDOM[:40]}"', f"token={RANDOM[:30]}", f"secret: {RANDOM[:30]}", f"SERVICE_TOKEN={RANDOM[:30]}", f"sk-proj-{RANDOM[:300]}",
    f"hf_{RANDOM[:34]}", f"eyJ{RANDOM[:30]}.eyJ{RANDOM * 20}.{RANDOM[80:120]}",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS, ids=lambda text: re.split(r"[A-Za-z0-9]{20}", text)[0][:24] or text[:12])
def test_every_kind_of_secret(secret: str) -> None:
    found = scan(f"Please use {secret} for the deployment.")
    assert any(one.family == "secret" for one in found)
    assert all(secret not in one.why + one.rule for one in found)


def test_about_sixty_issuers_are_known() -> None:
    assert len({rule.id for rule in CREDENTIALS}) >= 60


NO_SECRETS = [
    "sk-learn is a library, and sk-2024 a label", "The password is required.", "password: changeme", "A key-value store; key-9f", "hf_model", "AKIA is a prefix of Amazon's",
    "commit 3f2a9c1d4e5f60718293a4b5c6d7e8f901234567", "uuid 123e4567-e89b-12d3-a456-426614174000", "-----BEGIN CERTIFICATE-----", "Bearer of bad news", "data:image/png;base64,iVBORw0KGgo=",
    "https://example.com/a@b", "SG.example", "the token count is 4096", "connect(password=db_password)", "this password exists only here", f"page_token={RANDOM[:30]}", "password = settings.db.password", "eyJ is how a JWT begins",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_SECRETS)
def test_what_only_looks_like_a_secret(text: str) -> None:
    assert not {one for one in types(text) if one.startswith("secret")}


IDENTIFIERS = [
    ("card.number", "4111 1111 1111 1111"), ("card.number", "378282246310005"), ("card.number", "paid with 5555-5555-5555-4444 today"),
    ("bank.iban", "DE89 3704 0044 0532 0130 00"), ("bank.iban", "GB82WEST12345698765432"), ("bank.us_aba", "routing 021000021"), ("bank.swift", "BIC DEUTDEFF500"),
    ("gov.us_ssn", "536-90-4399"), ("gov.us_ssn", "SSN 536904399"), ("gov.us_itin", "912-70-1234"), ("gov.us_ein", "EIN 12-3456789"), ("health.us_npi", "NPI 1234567893"),
    ("health.us_mbi", "1EG4-TE5-MK73"), ("health.us_dea", "AP5836727"), ("vehicle.vin", "1M8GDM9AXKP042788"), ("health.mrn", "MRN: 00482913"), ("health.mrn", "Patient ID 4482913"),
    ("health.uk_nhs", "943 476 5919"), ("gov.uk_nino", "AB 12 34 56 C"), ("gov.es_dni", "12345678Z"), ("gov.es_nie", "X1234567L"), ("gov.fr_nir", "2 55 08 14 168 025 38"),
    ("gov.de_steuer_id", "Steuer-ID 36574261809"), ("gov.it_codice_fiscale", "RSSMRA85T10A562S"), ("gov.nl_bsn", "BSN 111222333"), ("gov.be_rijksregister", "85.07.30-033.28"),
    ("gov.pl_pesel", "PESEL 44051401359"), ("gov.se_personnummer", "811228-9874"), ("gov.no_fodselsnummer", "fødselsnummer 29029600013"), ("gov.dk_cpr", "CPR 211062-5629"),
    ("gov.fi_hetu", "131052-308T"), ("gov.ie_pps", "PPS 1234567T"), ("gov.at_svnr", "SVNR 1237 010180"), ("gov.ch_ahv", "756.9217.0769.85"), ("gov.gr_amka", "AMKA 01013099997"),
    ("gov.cz_rodne_cislo", "710319/2745"), ("gov.ro_cnp", "CNP 1630615123457"), ("gov.bg_egn", "EGN 7523169263"), ("gov.hr_oib", "OIB 33392005961"), ("gov.tr_tckn", "TC Kimlik 17291716060"),
    ("gov.br_cpf", "390.533.447-05"), ("gov.br_cnpj", "16.727.230/0001-97"), ("gov.ar_cuit", "20-05536168-2"), ("gov.cl_rut", "12.531.909-2"), ("gov.mx_curp", "HEGG560427MVZRRL04"),
    ("gov.ca_sin", "SIN 123 456 782"), ("gov.au_tfn", "TFN 123 456 782"), ("gov.in_aadhaar", "2341 2341 2346"), ("gov.in_pan", "PAN ABCPE1234F"), ("gov.cn_resident_id", "11010519491231002X"),
    ("gov.hk_id", "A123456(3)"), ("gov.tw_id", "Taiwan ID A123456789"), ("gov.sg_nric", "S1234567D"), ("gov.kr_rrn", "971013-1019913"), ("gov.jp_my_number", "My Number 123456789018"),
    ("gov.passport", "passport C01X00T47".replace("X", "1").replace("T", "2")), ("contact.email", "anna.weber@example.com"), ("contact.phone", "+49 171 1234567"),
    ("contact.phone", "(555) 123-4567"), ("contact.phone", "call me at 555 0123 456"), ("network.ip", "10.1.2.33"), ("network.ip", "2001:db8:85a3:0:0:8a2e:370:7334"), ("network.mac", "00:1B:44:11:3A:B7"),
    ("person.birth_date", "born 12 March 1980"), ("person.birth_date", "DOB: 1980-03-12"), ("person.birth_date", "geb. 12.03.1980"), ("health.date", "admitted on 12/03/2024"),
    ("contact.address", "742 Evergreen Terrace"), ("contact.address", "Lindenstraße 12"), ("contact.address", "Calle Mayor 3, Madrid"), ("contact.address", "P.O. Box 4411"),
    ("person.name", "I spoke with Hannah Whitlock about it"), ("mark.privileged", "ATTORNEY-CLIENT PRIVILEGED"), ("mark.export_control", "ECCN 5A002 applies"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "text"), IDENTIFIERS)
def test_every_kind_of_identifier(type_: str, text: str) -> None:
    assert type_ in types(f"Note: {text}, please check.")


ORDINARY = [
    "The quarterly report shows that revenue grew by 12 percent while costs stayed flat.",
    "Order A-10423 for 3 chairs at 42.50 euros each, delivered on 12 May 2024 at 10:30.",
    "def f(x): return x[0:10] + 3.14159265358979 * 2**32  # 4294967296",
    "Version 3.11.7 of Python was released on 2023-12-04; see ISBN 978-3-16-148410-0.",
    "Call the function with 1000000 iterations and port 8080.",
    "Die Bundesregierung hat am Dienstag den Haushalt für das Jahr 2025 beschlossen.",
    "SELECT id, amount FROM orders WHERE created > '2024-01-01' LIMIT 100;",
    "The meeting is in room 4.12 from 9 to 5, and the budget is 1,234,567.89 dollars.",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert types(text) <= {"person.name"}, scan(text)
    assert not scan(text) or text.startswith("Die")


@pytest.mark.parametrize(
    "value", ["123-45-6780", "536-00-4399", "4111 1111 1111 1112", "DE89 3704 0044 0532 0130 01", "999.1.2.3"]
)
def test_what_fails_its_check_is_no_finding(value: str) -> None:
    found = types(f"The value {value} stands here.")
    assert not {one for one in found if one.startswith(("bank", "card", "network"))}


# --- spellings ---------------------------------------------------------------------------------------------------

SSN = "536-90-4399"
FULL = {ord(c): ord(c) + 0xFEE0 for c in string.digits + string.ascii_letters + "@."}
SPELLINGS = {
    "base64": base64.b64encode(SSN.encode()).decode(),
    "base64 without its end": base64.b64encode(SSN.encode()).decode().rstrip("="),
    "base64 in a sentence": base64.b64encode(f"my number is {SSN} thanks".encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(f"?>~{SSN}???".encode()).decode(),
    "base64 as a parameter": "https://a.example/x?q=" + base64.b64encode(SSN.encode()).decode(),
    "hex": SSN.encode().hex(),
    "hex in capitals": SSN.encode().hex().upper(),
    "hex apart": SSN.encode().hex(" "),
    "hex escapes": "".join(f"\\x{c:02x}" for c in SSN.encode()),
    "percent": "".join(f"%{c:02X}" for c in SSN.encode()),
    "percent in part": SSN.replace("-", quote("-").replace("-", "%2D")),
    "JSON escapes": "".join(f"\\u{ord(c):04x}" for c in SSN),
    "JSON in JSON": json.dumps(json.dumps({"ssn": SSN})),
    "HTML entities": "".join(f"&#{ord(c)};" for c in SSN),
    "zero-width": "\u200b".join(SSN),
    "soft hyphens": SSN.replace("9", "9\u00ad"),
    "bidi": f"\u202a{SSN[:4]}\u202c{SSN[4:]}",
    "full-width": SSN.translate(FULL),
    "Arabic digits": "".join(chr(0x660 + int(c)) if c.isdigit() else c for c in SSN),
    "bold digits": "".join(chr(0x1D7CE + int(c)) if c.isdigit() else c for c in SSN),
    "en dashes": SSN.replace("-", "–"),
    "minus signs": SSN.replace("-", "\u2212"),
    "no-break hyphens": SSN.replace("-", "\u2011"),
    "spaced": " ".join(SSN),
    "dotted apart": ".".join(SSN.replace("-", "")) + " ssn",
    "combining marks": "".join(c + "\u0336" for c in SSN),
    "control characters": "\x00".join(SSN),
    "hyphens with spaces": SSN.replace("-", " - "),
    "underscores": "patient_536_90_4399",
    "in a file's name": f"patient_{SSN}.pdf",
    "two spaces": SSN.replace("-", "  "),
    "across a line": SSN.replace("90-", "90-\n"),
    "behind an escaped line break": "a\\n" + SSN,
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_a_number(name: str) -> None:
    text = f"The ssn is {SPELLINGS[name]} as agreed."
    found = [one for one in scan(text) if one.type == "gov.us_ssn"]
    assert found, scan(text)
    assert all(0 <= one.start < one.end <= len(text) for one in found)


HOMOGLYPHS = str.maketrans("aeopcxyABCEHKMOPTX", "аеорсхуАВСЕНКМОРТХ")


@pytest.mark.parametrize(
    "text",
    [
        "anna.weber@example.com".translate(HOMOGLYPHS),
        "api_key = ".translate(HOMOGLYPHS) + RANDOM[:32],
        "аttоrnеy-сliеnt рrivilеgеd",
    ],
)
def test_letters_that_look_alike_are_alike(text: str) -> None:
    assert scan(f"It says {text} here")


def test_places_are_those_of_the_text_as_it_came() -> None:
    text = f"ﬁne \u200b\u200bcafé: {SSN.translate(FULL)} and 4111\u200b 1111 1111 1111!"
    found = {one.type: text[one.start : one.end] for one in scan(text)}
    assert found["gov.us_ssn"] == SSN.translate(FULL)
    assert found["card.number"] == "4111\u200b 1111 1111 1111"


def test_what_is_spread_over_two_messages_is_read_across_them() -> None:
    texts = ("my number is 536-90-", "4399, as I said")
    assert not scan(*texts)
    (found,) = scan(*texts, seams=((0, 1),))
    assert (found.type, found.text, found.end) == ("gov.us_ssn", 0, len(texts[0]))
    assert not scan("536-90-4399", "and more", seams=((0, 1),))[1:], "what stands in one message is found once"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_any_text_is_read_and_both_engines_agree(texts: list[str]) -> None:
    for one in scan(*texts):
        assert 0 <= one.start <= one.end <= len(texts[one.text])


PIECES = st.sampled_from([
    SSN, "4111 1111 1111 1111", "anna@example.com", "+49 171 1234567", "DE89370400440532013000", "password: ", "born ", "12 March 1980", " ", "-", ".", "\n", "Anna Weber",
    "%32", "\\u0031", "&#49;", "MTIzLTQ1LTY3ODk=", "1 2 3 4 5 6 7 8", "sk-", "AKIA", "ghp_", "é", "ß", "\u200b", "１", "(", "12.1.2.3", "Calle ", "Street", "12 ", "ssn ", "MRN ",
])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_both_engines_agree_on_what_is_nearly_something(text: str) -> None:
    scan(text)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_the_engines_find_the_same_places(text: str) -> None:
    data = fold(f"\n{text}\n").data
    places = [{(number, start) for number, start, _ in engine.find(data)} for engine in (FAST.engine, PLAIN.engine)]
    assert places[0] == places[1]


def test_a_stored_database_serves_only_its_own_rules() -> None:
    assert isinstance(FAST.engine, HyperscanEngine)
    again = Scanner(stored=FAST.engine.stored())
    assert again.engine.was_stored  # type: ignore[attr-defined]  # Hyperscan is here
    assert again.scan([SSN]) == FAST.scan([SSN])
    broken = Scanner(stored=b"rubbish" * 100)
    assert not broken.engine.was_stored  # type: ignore[attr-defined]  # Hyperscan is here
    assert broken.scan([SSN]) == FAST.scan([SSN])
    assert digest([b"a"]) != digest([b"b"])


def test_a_trigger_never_looks_around() -> None:
    """So that both engines can read it."""
    for trigger in (*(rule.trigger for rule in RULES), *TRIGGERS.values()):
        assert not re.search(rb"\(\?[=!<]|\\[1-9]", trigger)
        PlainEngine([trigger])


# --- the company's own ---------------------------------------------------------------------------------------------


def test_words_and_patterns_of_the_configuration(tmp_path: object) -> None:
    text = '[detection.words.projects]\nwords = ["Bluefin", "Projekt Zürich"]\nraises = "restricted"\n[detection.patterns.ticket]\npattern = "TCK-[0-9]{6}"\nraises = "internal"\n'
    custom = snapshot_of(text).detection.custom
    for scanner in (Scanner(custom), Scanner(custom, is_plain=True)):
        found = {one.type for one in scanner.scan(["about BLUEFIN, projekt zürich and TCK-123456"])}
        assert found == {"custom.projects", "custom.ticket"}
        assert not scanner.scan(["bluefinance and TCK-12345x"])


def test_a_long_text_without_end_is_read_in_time() -> None:
    for text in (
        "a" * 1_000_000,
        "1 " * 300_000,
        "A" * 500_000,
        "%20" * 200_000,
        "-" * 500_000,
        "aA1+/" * 200_000,
        "@" * 300_000,
        "Anna " * 100_000,
    ):
        FAST.scan([text])


# --- what is opened ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"see%20you%20{SSN}%20and%20more", SSN),
        ("see%20you%20536%2D90-4399%20and%20more", "536%2D90-4399"),
        (f"R&amp;D says &quot;{SSN}&quot; now", SSN),
        (f'{{\\"ssn\\": \\"{SSN}\\"}}', SSN),
        ("\\u0035\\u0033\\u0036-90-4399 it is", "\\u0035\\u0033\\u0036-90-4399"),
        ("the ssn 536 - 90 - 4399 stands", "536 - 90 - 4399"),
        ("\\u0025\\u0033\\u0035\\u0033\\u0036-90-4399", "\\u0025\\u0033\\u0035\\u0033\\u0036-90-4399"),
        ("the\u200b \u200bssn&#58;&#x20;536%2d90%2D4399!", "536%2d90%2D4399"),
    ],
)
def test_what_is_spelled_otherwise_keeps_its_place(text: str, place: str) -> None:
    found = [one for one in scan(text) if one.type == "gov.us_ssn"]
    assert [text[one.start : one.end] for one in found] == [place]


def test_nothing_hides_what_is_in_one_encoded_run_or_line_with_it() -> None:
    inside = f"mail anna.weber@example.com, key ghp_{RANDOM[:36]}, ssn {SSN}, patient id 4482913"
    wanted = {"contact.email", "secret.key", "gov.us_ssn", "health.mrn"}
    for text in (
        inside,
        base64.b64encode(inside.encode()).decode(),
        quote(inside),
        inside.replace(",", "&comma;&amp;"),
    ):
        assert wanted <= types(f"so: {text}."), text


def test_so_many_runs_hide_nothing() -> None:
    many = [base64.b64encode(f"a harmless sentence, the number {at}".encode()).decode() for at in range(2000)]
    many.insert(1000, base64.b64encode(SSN.encode()).decode())
    assert "gov.us_ssn" in types(" ".join(many))


def test_what_cannot_be_read_in_good_time_is_not_called_harmless() -> None:
    with pytest.raises(Unread):
        FAST.scan(["\n".join("%41 &amp; \\/ 1 - 2 YWJjZGVmZ2hp" for _ in range(20_000))])


@pytest.mark.parametrize(
    "unit",
    ["%", "%ff", "&#", "&amp;", "\\x", "\\\\", "\\u12", "a ", "1 - ", "1  ", "1_", "1-\n", "aa bb ", "A/", "QUJD/", "\xff", "mrn ", "password ", "-----BEGIN "],
)  # fmt: skip
def test_the_work_stays_in_proportion_to_the_text(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work, not time: twice as much text is gone through about twice as much, however often something in it looks encoded."""
    work = [0]

    def counted(name: str, data: bytes, at: int, done: int) -> tuple[int, list[Opened]]:
        end, found = open_run(name, data, at, done)
        work[-1] += max(end - at, 1) + sum(len(one.text) for one in found)
        return end, found

    monkeypatch.setattr(scanning, "open_run", counted)
    for size in (40_000, 80_000):
        work.append(0)
        data = fold("\n" + unit * (size // len(unit)) + "\n").data
        with contextlib.suppress(Unread):
            FAST._opened(data, sorted(FAST.engine.find(data)))
    assert work[2] <= 2.5 * work[1] + 200_000
    assert work[2] <= 16 * 80_000
