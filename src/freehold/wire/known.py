"""What of a request is read at all: a tree of field names for each dialect. Whatever a body holds beside it is named as lost, at any depth.

Rules: a name with None below it is carried whole; names with something below are looked into. Objects whose `type` is none of `TYPES` are kept
whole by their readers, and are not looked into. What is set to nothing (null, an empty list) asks for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

TYPES = ""  # the key under which a tree says which types its objects are read as
Known = Mapping[str, Any]
_NOTHING: tuple[Any, ...] = (None, [], {}, "")


def leaves(names: str) -> dict[str, Any]:
    """Names that are carried whole."""
    return dict.fromkeys(names.split())


def is_read(value: Any, known: Known, spelled: Callable[[str], str] | None = None, *, is_strict: bool = False) -> bool:
    """Whether everything in a value is known. spelled: the one spelling of a name, for a dialect that takes several.

    is_strict: an object of a type that is none of `TYPES` is not known, though it is carried.
    """
    if type(value) is list:
        return all(
            is_read(one, known, spelled, is_strict=is_strict) for one in value if type(one) is dict or type(one) is list
        )
    if type(value) is not dict:
        return True
    types = known.get(TYPES)
    kind = value.get("type")
    if types is not None and ((kind is not None and type(kind) is not str) or kind not in types):
        return not is_strict
    for name, below in value.items():
        field = name if spelled is None else spelled(name)
        if field not in known or field == TYPES:
            if below not in _NOTHING:
                return False
            continue
        tree = known[field]
        is_deep = type(below) is dict or type(below) is list
        if tree is not None and is_deep and not is_read(below, tree, spelled, is_strict=is_strict):
            return False
    return True
