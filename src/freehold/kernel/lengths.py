"""How long calls were."""

from __future__ import annotations

import msgspec


class Length(msgspec.Struct, frozen=True):
    """Calls of a workload that were about as long. input, output, cached: their tokens together; cached: those of the input that were read from a cache."""

    workload: str
    calls: int
    input: int
    output: int
    cached: int
