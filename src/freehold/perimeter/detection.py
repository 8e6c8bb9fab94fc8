"""What findings mean for a call: the class that they raise it to, and its labels. They may only raise.

Rules: the most specific entry of the table counts (`gov.us_ssn` before `gov`); a name and a birth date in one call raise as health does;
reasons name rules and how often they matched, never what or where in words of the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from freehold.kernel.classes import Class
from freehold.kernel.snapshot import Custom, Snapshot
from freehold.perimeter.detectors.identifiers import NUMBERS
from freehold.perimeter.detectors.rulebook import RULES
from freehold.perimeter.detectors.scanner import Finding

# By family or by type: what a finding raises a call to, unless the configuration says otherwise.
DEFAULT_RAISES: dict[str, Class] = {
    "secret": Class.RESTRICTED,
    "health": Class.RESTRICTED,
    "health.date": Class.CONFIDENTIAL,
    "gov": Class.RESTRICTED,
    "card": Class.RESTRICTED,
    "bank": Class.RESTRICTED,
    "mark": Class.RESTRICTED,
    "person": Class.CONFIDENTIAL,
    "contact": Class.CONFIDENTIAL,
    "vehicle": Class.CONFIDENTIAL,
    "device": Class.INTERNAL,
    "network": Class.INTERNAL,
}
NAME_AND_BIRTH = "person.name+person.birth_date"
DEFAULT_RAISES[NAME_AND_BIRTH] = Class.RESTRICTED
_LABELS = {
    "secret": "secret",
    "health": "phi",
    "mark": "privileged",
    "gov": "pii",
    "card": "pii",
    "bank": "pii",
    "person": "pii",
    "contact": "pii",
}


class Found(msgspec.Struct, frozen=True):
    """What detection adds to a ruling. class_: the floor that it sets, None for none; labels: `pii`, `phi`, `secret`, `privileged`."""

    class_: Class | None = None
    labels: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


FAMILIES = frozenset(DEFAULT_RAISES) - {NAME_AND_BIRTH} | {"custom"}
NOTHING = Found()
BLIND = Found(Class.RESTRICTED, (), ("detection failed, so restricted",))
UNREAD = Found(Class.RESTRICTED, (), ("more is encoded in it than can be read, so restricted",))


def weigh(findings: Iterable[Finding], raises: Mapping[str, Class]) -> Found:
    """Put findings together. raises: the table, complete with its defaults."""
    kinds = Counter((one.type, one.rule) for one in findings)
    if not kinds:
        return NOTHING
    types = {type_ for type_, _ in kinds}
    class_ = max((raised_to(type_, raises) for type_ in types), default=Class.PUBLIC)
    reasons = [
        f"found {type_}{f' × {count}' if count > 1 else ''} (rule {rule}), so at least {raised_to(type_, raises).label}"
        for (type_, rule), count in sorted(kinds.items())
    ]
    if {"person.name", "person.birth_date"} <= types:
        together = raised_to(NAME_AND_BIRTH, raises)
        class_ = max(class_, together)
        reasons.append(f"a name with a birth date, so at least {together.label}")
    labels = {_LABELS[family] for type_ in types if (family := type_.partition(".")[0]) in _LABELS}
    return Found(class_, tuple(sorted(labels)), tuple(reasons))


def raises_of(snapshot: Snapshot) -> dict[str, Class]:
    """The whole table of what findings raise to: the defaults, the configuration's own rules, and what it says of either."""
    own = {f"custom.{one.name}": one.raises for one in snapshot.detection.custom}
    return {**DEFAULT_RAISES, **own, **snapshot.detection.raises}


def known_types(custom: Iterable[Custom]) -> frozenset[str]:
    """Everything that a finding may be called, and its family."""
    types = {rule.type for rule in RULES} | {number.type for number in NUMBERS} | {"person.name", NAME_AND_BIRTH}
    return FAMILIES | types | {f"custom.{one.name}" for one in custom}


def raised_to(type_: str, raises: Mapping[str, Class], otherwise: Class = Class.CONFIDENTIAL) -> Class:
    """The class that a type of finding raises to."""
    found = raises.get(type_)
    return found if found is not None else raises.get(type_.partition(".")[0], otherwise)
