"""The two spellings that protobuf's JSON allows for one name."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(4096)
def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: "_" + found.group().lower(), name)


@lru_cache(4096)
def camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found.group(1).upper(), name)
