"""What is the same for every process that serves: a configuration that was proven, what is loaded for it, and the state directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from freehold import __version__
from freehold.content.keyring import Keyring
from freehold.identity.keys import Keys
from freehold.identity.people import People
from freehold.identity.shared import SharedKeys, SharedPeople
from freehold.identity.store import PATIENCE_S
from freehold.kernel.clock import Clock
from freehold.kernel.errors import OperatorError
from freehold.kernel.snapshot import Nodes, Snapshot
from freehold.ledger.database import Database
from freehold.ledger.files import RESTORING, secret_file, write_private
from freehold.ledger.steward import Steward
from freehold.perimeter.detectors.engines import HyperscanEngine
from freehold.perimeter.detectors.scanner import Scanner, digest_of
from freehold.perimeter.proof import prove
from freehold.pricing.book import Book
from freehold.pricing.book import load as load_book
from freehold.pricing.coverage import contradicting, unpriced, without_price


def make_state(state: Path) -> None:
    """Make the state directory if it is missing. Raises OperatorError `config.state`."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (state / RESTORING).exists():
            raise OperatorError(
                f"A back-up was being brought back to {str(state)!r}, and is not whole.",
                code="backup.unfinished",
                hint="Empty it, and bring the back-up back once more.",
            )
    except OSError as error:
        raise OperatorError(
            f"The state directory {str(state)!r} cannot be made ({os.strerror(error.errno or 0).lower()}).",
            code="config.state",
            hint="Set FREEHOLD_HOME to a directory that can be written.",
        ) from None


def open_keys(state: Path, nodes: Nodes | None = None, *, patience_s: float = PATIENCE_S) -> Keys:
    """The keys of a state directory, or its copy of those of all nodes; makes what is missing. Raises OperatorError `config.state` if it cannot be made."""
    make_state(state)
    if nodes is not None:
        return Keys(state / "shared.db", nodes.pepper, patience_s=patience_s)
    return Keys(state / "store.db", secret_file(state / "pepper"), patience_s=patience_s)


def open_shared(nodes: Nodes) -> SharedKeys:
    """The keys of all nodes. Raises OperatorError `nodes.unavailable`."""
    return SharedKeys(Database(nodes.database), nodes.pepper)


def open_people(state: Path, nodes: Nodes | None) -> People | SharedPeople:
    """The people of a state directory, or of all nodes. Raises OperatorError `config.state`, `nodes.unavailable`."""
    make_state(state)
    if nodes is not None:
        return SharedPeople(Database(nodes.database))
    return People(state / "store.db")


def open_keyring(state: Path) -> Keyring:
    """The subjects' keys of a state directory; makes what is missing."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Keyring(state / "subjects.db", secret_file(state / "master.key"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is the same for every process that serves a snapshot: proven, loaded, and with the state directory taken."""

    snapshot: Snapshot
    state: Path
    clock: Clock
    book: Book
    scanner: Scanner
    steward: Steward

    @property
    def facts(self) -> dict[str, Any]:
        """The first record of every epoch."""
        facts = {"policy": self.snapshot.digest, "prices": self.book.digest, "rules": self.scanner.digest}
        return {**facts_of(self.snapshot), **facts, "build": __version__}


def prepare(
    snapshot: Snapshot, state: Path, clock: Clock | None = None, *, claim: Callable[[], int | None] = lambda: None
) -> Prepared:
    """Prove the perimeter, load what is needed, take the state directory. claim: asks whoever has it, and says which run of the log goes on.

    Raises OperatorError when the proof fails, a budget cannot be kept, or the ledger is locked or broken. Whoever prepares closes the steward.
    """
    clock, book = clock or Clock(), load_book()
    _check(snapshot, book, clock)
    make_state(state)
    scanner = load_scanner(snapshot, state)
    return Prepared(snapshot, state, clock, book, scanner, Steward(state, clock.now_ms, claim()))


def revise(prepared: Prepared, snapshot: Snapshot) -> Prepared:
    """The same with another configuration. Raises OperatorError as `prepare` does, and `config.needs_restart` for what is decided once for a process."""
    for table in ("engine", "network", "nodes"):
        if getattr(snapshot, table) != getattr(prepared.snapshot, table):
            raise OperatorError(
                f"[{table}] cannot be changed while Freehold runs, so nothing has changed.",
                code="config.needs_restart",
                hint="Restart Freehold, or start it again with --take-over, which drops no call.",
            )
    _check(snapshot, prepared.book, prepared.clock)
    return replace(prepared, snapshot=snapshot, scanner=load_scanner(snapshot, prepared.state))


def _check(snapshot: Snapshot, book: Book, clock: Clock) -> None:
    """Prove that nothing can leave its zones, and that every budget can be kept. Raises OperatorError."""
    proof = prove(snapshot, now_s=clock.now_s())
    if not proof.holds:
        listed = "\n".join(
            f"  {finding.chain}\n    why: {finding.reason}\n    mend: {finding.mend}" for finding in proof.findings
        )
        raise OperatorError(
            f"The configuration contradicts its own classes:\n{listed}",
            code="perimeter.unproven",
            hint="'freehold check' shows the whole proof.",
        )
    if contradicting(without := unpriced(snapshot, book)):
        raise without_price(without)


def facts_of(snapshot: Snapshot) -> dict[str, Any]:
    """What an auditor needs to know of a configuration: where each class may go, who runs where, and under which agreement."""
    providers = {}
    for provider in snapshot.providers.values():
        held = provider.attested
        agreed = None
        if held is not None:
            agreed = {
                "evidence": held.evidence,
                "controls": list(held.controls),
                "since_ms": int(held.since_s * 1000),
                "until_ms": int(held.until_s * 1000),
                "models": sorted(held.models),
            }
        providers[provider.name] = {"zone": provider.declared_zone.value, "host": provider.host, "attestation": agreed}
    return {
        "classes": {class_.label: sorted(zones) for class_, zones in snapshot.zones.items()},
        "providers": providers,
        "workloads": {name: workload.class_.label for name, workload in snapshot.workloads.items()},
    }


def load_scanner(snapshot: Snapshot, state: Path) -> Scanner:
    """The scanner of a snapshot. Its compiled rules are kept in the state directory, named by their digest."""
    custom = snapshot.detection.custom
    name = f"rules-{digest_of(custom)[:32]}.hsdb"
    kept = state / name
    scanner = Scanner(custom, stored=kept.read_bytes() if kept.is_file() else None)
    if isinstance(scanner.engine, HyperscanEngine) and not scanner.engine.was_stored:
        for old in state.glob("rules-*.hsdb"):
            old.unlink(missing_ok=True)
        write_private(kept, scanner.engine.stored())
    return scanner
