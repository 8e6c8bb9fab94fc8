"""What a company looks for beside the built-in rules: words as they stand, and patterns of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable

from freehold.kernel.snapshot import Custom
from freehold.perimeter.detectors.folding import fold
from freehold.perimeter.detectors.rules import Rule


def rules_of(custom: Iterable[Custom]) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """(rules with a trigger for the engine, rules that are searched for by `re` alone)."""
    triggered, searched = [], []
    for one in custom:
        name = f"custom.{one.name}"
        if one.pattern:
            searched.append(Rule(name, name, b"", re.compile(one.pattern.encode()), 0.9))
        for word in one.words:
            literal = re.escape(fold(word).data)
            pattern = re.compile(rb"(?i)" + literal + rb"(?![A-Za-z0-9])")
            triggered.append(Rule(name, name, rb"(?i)[^A-Za-z0-9]" + literal, pattern, 0.95, skip=1))
    return tuple(triggered), tuple(searched)
