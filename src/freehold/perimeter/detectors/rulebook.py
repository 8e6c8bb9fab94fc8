"""All built-in rules, and the words that count when they stand near a candidate."""

from __future__ import annotations

from freehold.perimeter.detectors.context import CONTEXT
from freehold.perimeter.detectors.credentials import CREDENTIALS
from freehold.perimeter.detectors.identifiers import IDENTIFIERS, NUMBERS
from freehold.perimeter.detectors.rules import Rule

RULES: tuple[Rule, ...] = (*CREDENTIALS, *IDENTIFIERS, *CONTEXT)
# One trigger for each set of words.
_NEAR = [*(rule.near for rule in RULES), *(number.near for number in NUMBERS)]
WORDS = tuple(dict.fromkeys(near for near in _NEAR if near is not None))
