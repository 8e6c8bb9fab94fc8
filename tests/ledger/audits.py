"""Export what a state directory holds and have it verified, as an auditor would."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from freehold.ledger.export import Wanted, export
from freehold.ledger.signing import load_signer
from freehold.ledger.steward import Steward
from freehold_audit import Expected, Report, verify

FACTS: dict[str, Any] = {
    "classes": {"public": ["attested", "inside", "outside"], "internal": ["attested", "inside", "outside"], "confidential": ["attested", "inside"], "restricted": ["inside"]},
    "providers": {"a": {"zone": "inside", "host": "10.0.0.1", "attestation": None}, "cloud": {"zone": "outside", "host": "cloud.example", "attestation": None}},
    "workloads": {"left": "public", "right": "public"},
}  # fmt: skip


class Alone:
    """A ledger in a process of its own, as `freehold up` has it; `kill` ends it as kill -9 does: no flush, no close."""

    def __init__(self, state: Path, now_ms: Callable[[], int], **facts: Any) -> None:
        self._steward = Steward(state, now_ms)
        self.ledger = self._steward.open({"policy": "sha256:p", "prices": "sha256:b", **FACTS, **facts})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)

    def close(self) -> None:
        self.ledger.close()
        self._steward.close()

    def kill(self) -> None:
        fcntl.flock(self.ledger._log._fd, fcntl.LOCK_UN)  # as the system does when a process is gone
        self._steward.close()


def audit(state: Path, *, expected: Expected | None = None) -> Report:
    """The report on a fresh bundle."""
    signer = load_signer(state)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bundle"
        export(state / "log", out, signer, Wanted(), 1)
        return verify(out, trust=signer.public, expected=expected or Expected())
