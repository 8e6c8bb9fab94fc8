"""Time as an argument."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds since 1970, and monotonic seconds for durations."""

    now_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic

    def now_ms(self) -> int:
        return int(self.now_s() * 1000)

    def now_ns(self) -> int:
        """Nanoseconds of the clock that never steps; all processes of a machine have the same."""
        return int(self.monotonic_s() * 1e9)
