"""A parcel's law: nothing of it leaves before every call's intent is on the disk, and what cannot be written down does not leave."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from freehold.gateway import posting
from freehold.gateway.posting import Post
from freehold.kernel.errors import OperatorError


class _Run:
    """A call that was set aside, as far as packing is concerned."""

    def __init__(self, told: list[str]) -> None:
        self._told, self.life = told, SimpleNamespace(is_over=False)
        self.world = SimpleNamespace(more=None)  # it is the only node

    def tried(self, _result: str) -> None: ...

    def settle(self, outcome: str, **_how: Any) -> None:
        self.life.is_over = True
        self._told.append(outcome)


def _post(told: list[str], monkeypatch: pytest.MonkeyPatch, *, is_full: bool = False) -> Post:
    async def durable() -> None:
        told.append("disk")
        if is_full:
            raise OperatorError("full", code="ledger.unwritable")

    def part(_run: _Run) -> str:
        told.append("intent")
        return "part"

    monkeypatch.setattr(posting, "_part", part)
    return Post(SimpleNamespace(ledger=SimpleNamespace(durable=durable)))  # type: ignore[arg-type]  # all of a world that packing knows


async def test_every_intent_is_on_the_disk_before_anything_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    runs: Any = [_Run(told) for _ in range(70)]
    packed = await _post(told, monkeypatch).pack(runs)
    assert packed.parts == ["part"] * 70
    assert told == ["intent"] * 70 + ["disk"]


async def test_what_cannot_be_written_down_does_not_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    runs: Any = [_Run(told) for _ in range(3)]
    with pytest.raises(OperatorError):
        await _post(told, monkeypatch, is_full=True).pack(runs)
    assert told == ["intent"] * 3 + ["disk"] + ["failed"] * 3
