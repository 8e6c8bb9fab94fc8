"""What one process knows of the embedded engine, for others: a line in memory that they share.

Rules: the keeper's process alone writes; a reader sees the whole of what was written last, or of what was written before.
"""

from __future__ import annotations

import asyncio
import mmap
import time
from pathlib import Path

from freehold.kernel.schema import Engine

_SIZE = 2048


class Bulletin:
    """Make it before forking. It reads like the engine itself, for whoever only asks how it is."""

    def __init__(self, settings: Engine, model: Path) -> None:
        self.settings, self.model = settings, model
        self._memory = mmap.mmap(-1, _SIZE)

    def write(self, *, is_ready: bool, failure: str | None) -> None:
        said = (b"\1" if is_ready else b"\0") + (failure or "").encode()[: _SIZE - 8]
        if self._memory[: len(said) + 3] != len(said).to_bytes(2, "big") + said + b"\0":
            self._memory[: len(said) + 3] = len(said).to_bytes(2, "big") + said + b"\0"

    def _read(self) -> bytes:
        return self._memory[2 : 2 + int.from_bytes(self._memory[:2], "big")]

    @property
    def is_ready(self) -> bool:
        return self._read()[:1] == b"\1"

    @property
    def failure(self) -> str | None:
        return self._read()[1:].decode("utf-8", "replace") or None

    async def wait(self, deadline_s: float) -> bool:
        """Wait until the engine is ready or has failed; returns whether it is ready."""
        until = time.monotonic() + deadline_s
        while not self.is_ready and self.failure is None and time.monotonic() < until:  # noqa: ASYNC110 - nobody in this process could set an event
            await asyncio.sleep(0.05)
        return self.is_ready
