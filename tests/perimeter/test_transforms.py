"""What overlaps goes as one, and nothing of a secret is kept to be put back."""

from __future__ import annotations

import base64
import random
import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.kernel.classes import Class
from freehold.perimeter.detection import DEFAULT_RAISES
from freehold.perimeter.detectors.scanner import Finding, Scanner
from freehold.perimeter.transforms import Kind, Reading, Transformed, transform
from freehold.wire.strings import strings_of

SCANNER = Scanner()
SECRET = "ghp_" + "".join(random.Random(3).choices(string.ascii_letters + string.digits, k=36))


def made(text: str, kind: Kind = "pseudonymise") -> Transformed | None:
    strings = strings_of({"text": text})
    reading = Reading(strings, tuple(SCANNER.scan(strings.texts, strings.seams)))
    return transform(kind, {"text": text}, reading, key=b"k" * 32, raises=DEFAULT_RAISES, floor=Class.PUBLIC)


@pytest.mark.parametrize(
    "text",
    [
        f"mail%20anna.weber%40example.com%20{SECRET}%20536-90-4399",
        f'{{\\"mail\\": \\"anna.weber@example.com\\", \\"key\\": \\"{SECRET}\\", \\"ssn\\": \\"536-90-4399\\"}}',
        f"R&amp;D: anna.weber@example.com &quot;{SECRET}&quot; 536-90-4399",
        base64.b64encode(f"anna.weber@example.com {SECRET} 536-90-4399".encode()).decode(),
    ],
)
def test_a_secret_is_never_among_what_is_put_back(text: str) -> None:
    one = made(text)
    assert one is not None
    sent = one.body["text"]
    assert "[secret removed]" in sent
    for hidden in (SECRET, "anna.weber", "536-90-4399"):
        assert hidden not in sent
    assert SECRET not in "".join(one.originals.values())
    assert base64.b64encode(SECRET.encode()).decode()[:20] not in "".join(one.originals.values())


def test_escaped_arguments_stay_as_they_are_around_what_is_taken_out() -> None:
    one = made('{\\"note\\": \\"ssn 536-90-4399, please\\", \\"n\\": 1}')
    assert one is not None
    assert re.fullmatch(r'\{\\"note\\": \\"ssn \[id_[a-z]+\], please\\", \\"n\\": 1\}', one.body["text"])


def finding(start: int, end: int, type_: str, **more: Any) -> Finding:
    return Finding(1, start, end, type_, 0.9, "r", "w", **more)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), st.sampled_from(["secret.key", "gov.us_ssn", "contact.email"])), max_size=8))  # fmt: skip
def test_whatever_overlaps_nothing_that_was_found_stays(spans: list[tuple[int, int, str]]) -> None:
    text = "".join(chr(0x4E00 + at) for at in range(100))
    reading = Reading(strings_of({"text": text}), tuple(finding(a, a + n, type_) for a, n, type_ in spans))
    one = transform("pseudonymise", {"text": text}, reading, key=b"k", raises=DEFAULT_RAISES, floor=Class.PUBLIC)
    assert one is not None
    covered = {at for a, n, _ in spans for at in range(a, a + n)}
    assert [char for char in one.body["text"] if ord(char) >= 0x4E00] == [
        text[at] for at in range(100) if at not in covered
    ]
    secret = {text[at] for a, n, type_ in spans if type_ == "secret.key" for at in range(a, a + n)}
    assert not secret & set("".join(one.originals.values()))


def test_what_stands_beside_the_body_cannot_be_taken_out() -> None:
    strings = strings_of({"text": "hello"}, "models/536-90-4399")
    reading = Reading(strings, tuple(SCANNER.scan(strings.texts)))
    assert transform("redact", {"text": "hello"}, reading, key=b"k", raises=DEFAULT_RAISES, floor=Class.PUBLIC) is None
