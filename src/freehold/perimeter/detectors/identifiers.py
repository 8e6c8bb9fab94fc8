"""Identifiers that somebody issued: of people, accounts, cards and cars. Numbers go by the shape of their groups, the others by their form."""

from __future__ import annotations

import re

from freehold.perimeter.detectors import checks
from freehold.perimeter.detectors.rules import Check, Number, Rule, words

# --- identifiers made of digits ---------------------------------------------------------------------------------
# type, shapes that are enough, shapes that need a word near them, the check, the words. In a shape `s` is any of hyphen, point and space.
_DIGITS: tuple[tuple[str, str, str, Check | None, str], ...] = (
    (
        "card.number",
        "13 14 15 16 17 18 19 4s4s4s4 4s6s5 4s6s4 4s4s4s4s3 5s4s5s2 4s3s3s3 4s4s5",
        "12",
        checks.card,
        "card visa maestro master",
    ),
    ("gov.us_ssn", "3-2-4", "3s2s4 9", checks.ssn, "ssn social_sec soc_sec tax_id"),
    ("gov.us_itin", "3-2-4", "3s2s4 9", checks.itin, "itin taxpayer tax_id"),
    ("gov.us_ein", "", "2-7 9", checks.ein, "ein employer_id federal_tax fein tax_id"),
    ("bank.us_aba", "", "9 4-4-1", checks.aba, "aba routing rtn transit"),
    ("health.us_npi", "", "10", checks.npi, "npi provider_id national_provider"),
    ("health.uk_nhs", "3s3s4", "10", checks.nhs, "nhs health_service"),
    ("gov.de_steuer_id", "2_3_3_3", "11", checks.steuer_id, "steuer tax_id idnr tin"),
    ("gov.be_rijksregister", "2.2.2-3.2", "11 2.2.2s3s2", checks.rijksregister, "rijksreg registre national insz niss"),
    ("gov.nl_bsn", "", "9 3s3s3 4.2.3", checks.bsn, "bsn burgerservice sofi"),
    ("gov.pl_pesel", "", "11", checks.pesel, "pesel"),
    ("gov.se_personnummer", "6-4 8-4", "10 12 6s4", checks.personnummer, "person samordning pnr"),
    ("gov.no_fodselsnummer", "6_5", "11", checks.fodselsnummer, "f.dsel personnummer national"),
    ("gov.dk_cpr", "", "6-4 10 6s4", checks.cpr, "cpr person"),
    ("gov.at_svnr", "", "10 4s6", checks.svnr, "svnr sozialvers versicherungsn svn"),
    ("gov.ch_ahv", "3.4.4.2", "13 3s4s4s2", checks.ahv, "ahv avs sozialvers"),
    ("gov.gr_amka", "", "11", checks.amka, "amka insurance"),
    ("gov.cz_rodne_cislo", "6/4", "9 10 6/3", checks.rodne_cislo, "rodn birth_n"),
    ("gov.ro_cnp", "", "13", checks.cnp, "cnp cod_numeric"),
    ("gov.bg_egn", "", "10", checks.egn, "egn"),
    ("gov.hr_oib", "", "11", checks.oib, "oib"),
    ("gov.si_emso", "", "13", checks.emso, "emso em.o jmbg"),
    ("gov.ee_isikukood", "", "11", checks.isikukood, "isikukood asmens personal_code"),
    ("gov.pt_nif", "", "9 3s3s3", checks.nif_pt, "nif contribuinte"),
    ("gov.tr_tckn", "", "11", checks.tckn, "kimlik tckn t.?c.? tc"),
    ("gov.il_teudat_zehut", "", "9 8-1", checks.teudat_zehut, "teudat israeli_id zehut"),
    ("gov.za_id", "", "13 6s4s3 6s4s2s1", checks.za_id, "south_african id_n sa_id rsa identity"),
    ("gov.br_cpf", "3.3.3-2", "11 9-2", checks.cpf, "cpf"),
    ("gov.br_cnpj", "2.3.3/4-2", "14", checks.cnpj, "cnpj"),
    ("gov.ar_cuit", "2-8-1", "11", checks.cuit, "cuit cuil"),
    ("gov.ca_sin", "", "9 3s3s3", checks.sin, "sin social_ins nas assurance"),
    ("gov.au_tfn", "", "9 3s3s3", checks.tfn, "tfn tax_file"),
    ("health.au_medicare", "", "10 4s5s1", checks.medicare_au, "medicare"),
    ("gov.nz_ird", "", "8 9 2s3s3 3s3s3", checks.ird, "ird inland"),
    ("gov.in_aadhaar", "4_4_4 4-4-4", "12", checks.aadhaar, "aadhaar aadhar uid"),
    ("gov.cn_resident_id", "18", "", checks.resident_id_cn, ""),
    ("gov.kr_rrn", "6-7", "13 6s7", checks.rrn, "resident rrn jumin"),
    ("gov.jp_my_number", "", "12 4s4s4", checks.my_number, "my_number individual_number"),
    ("gov.th_id", "1-4-5-2-1", "13 1s4s5s2s1", checks.thai_id, "thai national_id citizen"),
    ("gov.fr_nir", "1s2s2s2s3s3s2", "15", checks.nir, "s.curit nir insee sociale secu"),
    (
        "health.mrn",
        "",
        "4 5 6 7 8 9 10 11 12 3s3s3 3s4 2s2s2 3s2s3 2s2s2s2 4s4 4s5 4s6 2s6 2s5",
        None,
        "mrn medical_rec patient_id patient_n chart_n hospital_n hosp_n case_n nhc historia_cl patientenn fallnummer dossier_n record_n",
    ),
    (
        "health.insurance",
        "",
        "8 9 10 11 12 3s3s3 2s8 2s8s2",
        None,
        "member_id insurance_id insurance_n subscriber nass health_plan versichertenn beneficiary_n",
    ),
    (
        "bank.account",
        "",
        "6 7 8 9 10 11 12 13 14 4s4s4 3s3s4",
        None,
        "account_n account_# acct konto compte bank_account a/c cuenta",
    ),
    ("device.imei", "", "15 2s6s6s1", checks.luhn, "imei"),
)


def _shapes(text: str) -> frozenset[str]:
    return frozenset(shape.replace("s", sep).replace("_", " ") for shape in text.split() for sep in "-. ")


NUMBERS = tuple(
    Number(type_.partition(".")[2], type_, _shapes(sure), _shapes(weak), check, words(near) if near else None)
    for type_, sure, weak, check, near in _DIGITS
)
NUMBER_TRIGGER = rb"[^A-Za-z0-9][0-9](?:[ ./-]?[0-9]){3}"
NUMBER = re.compile(rb"[0-9]+(?:[ ./-][0-9]+){0,7}(?![0-9])")

# --- identifiers of letters and digits ---------------------------------------------------------------------------


def _made(type_: str, trigger: bytes, pattern: bytes, check: Check | None = None, near: str = "") -> Rule:
    """An identifier that stands between characters that are no letters or digits. Small letters count as capitals where the trigger says so."""
    whole = re.compile(pattern + rb"(?![A-Za-z0-9])")
    return Rule(
        type_.partition(".")[2],
        type_,
        rb"[^A-Za-z0-9]" + trigger,
        whole,
        0.95 if check and not near else 0.85,
        check,
        words(near) if near else None,
        skip=1,
    )


IDENTIFIERS = (
    _made(
        "bank.iban",
        rb"[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]",
        rb"[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}?(?![ -]?[A-Z0-9]{2})",
        checks.iban,
    ),
    _made(
        "bank.iban",
        rb"[a-z]{2}[0-9]{2}[ -]?[a-z0-9]{4}",
        rb"[a-z]{2}[0-9]{2}(?:[ -]?[a-z0-9]){11,30}?(?![ -]?[a-z0-9]{2})",
        checks.iban,
        "iban",
    ),
    _made("bank.swift", rb"[A-Z]{4}[A-Z]{2}[A-Z0-9]{2}", rb"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", None, "swift bic"),
    _made(
        "gov.uk_nino",
        rb"[A-Za-z]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}",
        rb"[A-Za-z]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[A-Da-d]",
        checks.nino,
    ),
    _made("gov.es_dni", rb"[0-9]{8}[ -]?[A-Za-z]", rb"[0-9]{8}[ -]?[A-Za-z]", checks.dni),
    _made("gov.es_nie", rb"[XYZxyz][ -]?[0-9]{7}[ -]?[A-Za-z]", rb"[XYZxyz][ -]?[0-9]{7}[ -]?[A-Za-z]", checks.dni),
    _made(
        "gov.it_codice_fiscale",
        rb"[A-Za-z]{6}[0-9]{2}[A-Za-z]",
        rb"[A-Za-z]{6}[0-9]{2}[A-Za-z][0-9]{2}[A-Za-z][0-9]{3}[A-Za-z]",
        checks.codice_fiscale,
    ),
    _made(
        "gov.fr_nir",
        rb"[12][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?2[AB]",
        rb"[12][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?2[AB](?:[ ]?[0-9]){8}",
        checks.nir,
    ),
    _made("gov.fi_hetu", rb"[0-9]{6}[+A-FU-Y-][0-9]{3}[0-9A-Y]", rb"[0-9]{6}[+A-FU-Y-][0-9]{3}[0-9A-Y]", checks.hetu),
    _made("gov.ie_pps", rb"[0-9]{7}[A-Za-z]", rb"[0-9]{7}[A-Wa-w][A-IWa-iw]?", checks.pps, "pps ppsn rsi"),
    _made(
        "gov.cl_rut", rb"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9Kk]", rb"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9Kk]", checks.rut
    ),
    _made("gov.cl_rut", rb"[0-9]{7,8}-[0-9Kk]", rb"[0-9]{7,8}-[0-9Kk]", checks.rut, "rut run"),
    _made(
        "gov.mx_curp", rb"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}", rb"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[A-Z0-9][0-9]", checks.curp
    ),
    _made("gov.cn_resident_id", rb"[0-9]{17}[Xx]", rb"[0-9]{17}[Xx]", checks.resident_id_cn),
    _made("gov.hk_id", rb"[A-Z]{1,2}[0-9]{6}\([0-9A]", rb"[A-Z]{1,2}[0-9]{6}\([0-9A]\)", checks.hkid),
    _made("gov.tw_id", rb"[A-Z][1289][0-9]{8}", rb"[A-Z][1289][0-9]{8}", checks.tw_id, "taiwan id identity"),
    _made("gov.sg_nric", rb"[STFGM][0-9]{7}[A-Z]", rb"[STFGM][0-9]{7}[A-Z]", checks.nric),
    _made(
        "gov.in_pan",
        rb"[A-Z]{3}[PCHFATBLJG][A-Z][0-9]{4}[A-Z]",
        rb"[A-Z]{5}[0-9]{4}[A-Z]",
        None,
        "pan permanent_account tax",
    ),
    _made(
        "health.us_mbi",
        rb"[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y][0-9]-?[AC-HJKMNP-RT-Y]",
        rb"[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y][0-9]-?[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y][0-9]-?[AC-HJKMNP-RT-Y]{2}[0-9]{2}",
    ),
    _made("health.us_dea", rb"[ABCDEFGHJKLMPRSTUX][A-Z9][0-9]{7}", rb"[ABCDEFGHJKLMPRSTUX][A-Z9][0-9]{7}", checks.dea),
    _made("vehicle.vin", rb"[A-HJ-NPR-Z0-9]{17}", rb"[A-HJ-NPR-Z0-9]{17}", checks.vin),
    _made(
        "gov.passport",
        rb"[A-Z]{1,2}[0-9]{6}",
        rb"[A-Z]{1,2}[0-9]{6,8}[A-Z]?",
        None,
        "passport reisepass passeport pasaporte passaporto",
    ),
    _made("gov.passport", rb"[0-9]{9}", rb"[0-9]{9}", None, "passport"),
    _made(
        "gov.driver_licence",
        rb"[A-Z]{1,3}[ -]?[0-9]{3}",
        rb"[A-Z]{1,3}[ -]?[0-9]{3}(?:[ -]?[0-9]){2,11}",
        None,
        "driver_lic driver.s_lic driving_lic dl licen[sc]e_n f.hrerschein",
    ),
    _made("gov.driver_licence", rb"[0-9]{7,9}", rb"[0-9]{7,9}", None, "driver_lic driver.s_lic driving_lic"),
    _made(
        "health.mrn",
        rb"[A-Z]{1,4}-?[0-9]{4}",
        rb"[A-Z]{1,4}-?[0-9]{4,12}",
        None,
        "mrn medical_rec patient_id patient_n chart_n hospital_n hosp_n case_n nhc",
    ),
    _made(
        "health.de_kvnr",
        rb"[A-Z][0-9]{9}",
        rb"[A-Z][0-9]{9}",
        checks.kvnr,
        "versicherten krankenvers krankenkass kvnr kv",
    ),
)
