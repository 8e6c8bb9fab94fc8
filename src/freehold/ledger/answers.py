"""Answers that a provider keeps under an id: who made them, where, of what class, and what was charged for them.

Why it exists: an id alone says none of this, and a call that refers to one is ruled by it. Receipts hold it all, so nothing is kept
twice: what was made lately stands in memory, everything else is found through the index.
Rules: an id that two keys or two targets have given out belongs to nobody; the highest class counts.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from freehold.kernel.classes import Class
from freehold.kernel.units import Tokens
from freehold.ledger.store import SqliteStore, catch_up

ANSWER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")
_REMEMBERED = 10_000


class Issued:
    """One answer. cost, tokens: charged so far, None for an unknown price; is_estimate: its true usage has not been told yet."""

    __slots__ = ("at_ms", "class_", "cost", "is_estimate", "key", "model", "target", "tokens", "workload")

    def __init__(self, receipt: dict[str, Any]) -> None:
        self.key, self.target = receipt["key"], receipt["target"]
        self.workload, self.model = receipt["workload"], receipt["model"]
        self.class_ = Class.parse(receipt["class"])
        self.at_ms: int = receipt["at_ms"]
        self.cost: Decimal | None = Decimal(0)
        self.tokens = Tokens()
        self.is_estimate: bool = receipt["is_estimate"]
        self._charge(receipt)

    @classmethod
    def of(cls, receipts: Iterable[dict[str, Any]]) -> Issued | None:
        """Put together what receipts say, in the order of the calls."""
        found: Issued | None = None
        for receipt in receipts:
            if found is None:
                found = cls(receipt)
            else:
                found.add(receipt)
        return found

    def add(self, receipt: dict[str, Any]) -> None:
        """Take a later receipt in: of a call that asked for this answer, or of another that came by the same id."""
        self.class_ = max(self.class_, Class.parse(receipt["class"]))
        if receipt["key"] != self.key or receipt["target"] != self.target:
            self.key = self.target = ""
        if receipt["booked_ms"] is None:
            self.is_estimate = (
                False  # made anew under the same id: what either of them used can no longer be told apart
            )
        elif receipt["cost_usd"] != "0" or Tokens(**receipt["tokens"]) != Tokens():
            self.is_estimate = False
            self._charge(receipt)

    def missing(self, tokens: Tokens) -> Tokens:
        """What is not yet counted of these tokens, class by class; less than nothing where too many were."""
        counted = self.tokens
        return Tokens(**{name: getattr(tokens, name) - getattr(counted, name) for name in Tokens.__struct_fields__})

    def _charge(self, receipt: dict[str, Any]) -> None:
        cost, tokens = receipt["cost_usd"], receipt["tokens"]
        self.cost = None if self.cost is None or cost is None else self.cost + Decimal(cost)
        self.tokens = Tokens(
            **{name: getattr(self.tokens, name) + tokens.get(name, 0) for name in Tokens.__struct_fields__}
        )


class Answers:
    """Finds answers by their ids. state: the folder of the log and the index."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._recent: OrderedDict[str, Issued] = OrderedDict()
        self.elsewhere: Callable[[str], list[dict[str, Any]]] | None = (
            None  # what other nodes' receipts say of an answer
        )
        self.is_shared = False  # whether other processes make answers too: then only the index knows

    def note(self, receipt: dict[str, Any]) -> None:
        """Take in a receipt that names an answer."""
        if self.is_shared:
            return
        about = receipt["answer_id"]
        found = self._recent.get(about)
        if found is not None:
            found.add(receipt)
        elif receipt["booked_ms"] is None:
            self._keep(about, Issued(receipt))

    async def find(self, about: str) -> Issued | None:
        """The answer of this id, None if no receipt names it."""
        if self.is_shared:
            return await asyncio.to_thread(self._load, about)
        found = self._recent.get(about)
        if found is None:
            loaded = await asyncio.to_thread(self._load, about)
            found = self._recent.get(about)  # another call may have found it meanwhile, and noted more
            if found is None and loaded is not None:
                found = self._keep(about, loaded)
        return found

    def _keep(self, about: str, issued: Issued) -> Issued:
        self._recent[about] = issued
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return issued

    def _load(self, about: str) -> Issued | None:
        store = SqliteStore(self._state / "index.db")
        try:
            catch_up(store, self._state / "log")
            here = store.answers(about)
            if self.elsewhere is not None:  # which knows what this node had a moment ago, too
                others = self.elsewhere(about)
                here = sorted([*others, *(one for one in here if one not in others)], key=lambda one: int(one["at_ms"]))
            return Issued.of(here)
        finally:
            store.close()
