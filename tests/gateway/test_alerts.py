"""An alert is told once, and not lost while the log cannot be written."""

from __future__ import annotations

import errno
import itertools
import os
from decimal import Decimal
from pathlib import Path

import pytest

from freehold.gateway.alerts import Alerts
from freehold.kernel.clock import Clock
from freehold.kernel.errors import OperatorError
from freehold.kernel.limits import parse_budget
from freehold.kernel.snapshot import Organisation
from freehold.ledger.budgets import Crossing
from freehold.testing.transport import FakeTransport
from ledger.audits import Alone


async def test_an_alert_waits_for_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when it is crossed: it is written as soon as there is room, before what came later, and once."""
    clock = itertools.count(1_700_000_000_000)
    ledger = Alone(tmp_path, lambda: next(clock))
    alerts = Alerts(Organisation(), FakeTransport(), Clock(now_s=lambda: 1_700_000_000.0))
    one, other = (Crossing(parse_budget("5 USD/day", f"key:{name}"), Decimal("0.8"), Decimal(4), 0) for name in "ab")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OperatorError):
            alerts.tell(ledger.ledger, [one])
    alerts.tell(ledger.ledger, [other])
    alerts.tell(ledger.ledger, [])
    ledger.close()
    written = (tmp_path / "log/00000001.jsonl").read_text()
    assert [written.count(f'"scope":"key:{name}"') for name in "ab"] == [1, 1]
    assert written.index("key:a") < written.index("key:b")
