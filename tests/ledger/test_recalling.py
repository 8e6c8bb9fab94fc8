"""What was charged for calls of a dead process: every receipt counts, and who has none yet is named."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from freehold.kernel.units import Tokens
from freehold.ledger.recalling import Charged, recall

NONE = dict.fromkeys(Tokens.__struct_fields__, 0)


def settled(call: str, cost: str | None, output: int, corrects: str | None = None, at_ms: int = 5) -> dict[str, Any]:
    return {"at_ms": at_ms, "call": call, "corrects": corrects, "cost_usd": cost, "kind": "settled", "outcome": "ok", "tokens": {**NONE, "output": output}}  # fmt: skip


def test_receipts_and_corrections_add_up_over_epochs(tmp_path: Path) -> None:
    first = [{"call": call, "kind": "intent"} for call in ("a", "b", "c", "other")] + [settled("a", "0.5", 100)]
    second = [settled("b", None, 10), settled("x", "-0.4", -93, "a", at_ms=9), settled("other", "9", 9)]
    for name, records in (("00000001", first), ("00000002", second)):
        lines = (json.dumps(one, sort_keys=True, separators=(",", ":")) + "\n" for one in records)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    found = recall(tmp_path, {"a", "b", "c", "never"}, 0)
    assert found.charged == {
        "a": Charged(Decimal("0.1"), Tokens(output=7), at_ms=5),
        "b": Charged(None, Tokens(output=10), at_ms=5),
    }
    assert found.under_way == {"c"}, "it was begun and has no end yet; what was never begun never will"
    assert recall(tmp_path, {"a"}, 2**62).charged == {}, "older segments cannot hold it"
