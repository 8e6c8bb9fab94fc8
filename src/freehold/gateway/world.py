"""What a call sees of the running system: the policy that holds now, and the parts that keep state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from freehold.content.answers import AnswerCache
from freehold.content.keyring import Keyring
from freehold.content.sealed import SealedStore
from freehold.gateway.alerts import Alerts
from freehold.gateway.limits import Throttle
from freehold.gateway.machines import Machines
from freehold.gateway.metrics import Metrics
from freehold.gateway.policy import Policy
from freehold.gateway.registry import Registry
from freehold.gateway.sign_in import SignIns
from freehold.gateway.telemetry import Telemetry
from freehold.gateway.traffic import Traffic
from freehold.identity.keys import Keys
from freehold.jobs.records import Records
from freehold.kernel.clock import Clock
from freehold.kernel.snapshot import Snapshot
from freehold.ledger.budgets import Budgets
from freehold.ledger.ledger import Ledger
from freehold.ledger.pools import Lack, Lull, Pools
from freehold.ledger.steward import Steward
from freehold.upstream.health import Health
from freehold.upstream.transport import Transport


@dataclass(slots=True)
class World:
    """Everything that the pipeline is handed. `policy` is swapped whole by a reload; a call keeps the one that it began under."""

    policy: Policy
    keys: Keys
    ledger: Ledger
    pools: Pools
    budgets: Budgets
    throttle: Throttle
    alerts: Alerts
    transport: Transport
    metrics: Metrics
    keyring: Keyring
    subject_key: Callable[[str], bytes]
    content: SealedStore
    cache: AnswerCache
    records: Records
    state: Path
    health: Health
    traffic: Traffic
    registry: Registry
    machines: Machines
    sign_ins: SignIns
    operator_token: str
    telemetry: Telemetry
    clock: Clock = field(default_factory=Clock)
    is_draining: bool = False
    has_successor: bool = False  # another process serves in this one's place
    steward: Steward | None = None  # where this process has the state directory itself
    reload: Callable[[str], Awaitable[tuple[str, bool]]] | None = (
        None  # reads the configuration anew, where that can be done: by whom; the digest, and whether it is another
    )
    more: Callable[[Lack | Lull], Awaitable[bool]] | None = (
        None  # takes more of a budget or limit, where several nodes share it
    )
    engine_ready: Callable[[], bool] = lambda: True

    @property
    def snapshot(self) -> Snapshot:
        """The configuration that holds now."""
        return self.policy.snapshot
