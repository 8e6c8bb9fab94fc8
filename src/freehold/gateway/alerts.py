"""Tell whoever should know that a budget is nearly spent: in the log, and at the organisation's webhook.

Rules: the log first; what is told holds names and amounts, never content; a webhook that fails is tried again for half a minute, and its
address, which may be a secret, is in no log and no error. A queue that is full drops the oldest, which the log still has.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import deque
from collections.abc import Iterable

from freehold.gateway.logs import log
from freehold.kernel.clock import Clock
from freehold.kernel.errors import FreeholdError
from freehold.kernel.ids import make_id
from freehold.kernel.snapshot import Organisation
from freehold.ledger.budgets import Crossing
from freehold.ledger.ledger import Ledger
from freehold.perimeter.ruling import grant_errand
from freehold.upstream.transport import Request, Transport
from freehold.wire import strict

TRIES = 6
_MOST_WAITING = 1_000


class Alerts:
    """Writes alerts down and delivers them. `deliver` runs as long as Freehold does."""

    def __init__(self, organisation: Organisation, transport: Transport, clock: Clock) -> None:
        self.organisation, self._transport, self._clock = organisation, transport, clock
        self._unwritten: deque[Crossing] = deque()
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._news = asyncio.Event()
        self.first_wait_s = 1.0

    def tell(self, ledger: Ledger, crossings: Iterable[Crossing]) -> None:
        """Write alerts down, and put them in the queue. Raises OperatorError while the log cannot be written; they are kept for the next time."""
        self._unwritten.extend(crossings)
        while self._unwritten:
            self._write(ledger, self._unwritten[0])
            self._unwritten.popleft()

    def _write(self, ledger: Ledger, crossing: Crossing) -> None:
        budget = crossing.budget
        ledger.note(
            "budget",
            {
                "scope": budget.scope,
                "budget": budget.words,
                "share": f"{crossing.at:f}",
                "spent": f"{crossing.spent:f}",
                "period_ms": crossing.start_ms,
            },
        )
        log("budget", scope=budget.scope, budget=budget.words, share=f"{crossing.at:f}", spent=f"{crossing.spent:f}")
        if self.organisation.webhook is not None:
            self._waiting.append(strict.encode(self._told(crossing)))
            self._news.set()

    def _told(self, crossing: Crossing) -> dict[str, object]:
        budget, now_s = crossing.budget, self._clock.now_s()
        kind, _, name = budget.scope.partition(":")
        whose = f"{kind} {name}" if name else self.organisation.name or kind
        percent = f"{(crossing.at * 100).normalize():f}"
        return {
            "event": "budget.alert",
            "id": make_id("alert", int(now_s * 1000)),
            "at": _iso(now_s),
            "text": f"{whose}: {crossing.spent:f} of {budget.words} is spent, which is over {percent} %.",
            "scope": budget.scope,
            "budget": budget.words,
            "limit": f"{budget.limit:f}",
            "unit": budget.unit,
            "spent": f"{crossing.spent:f}",
            "share": f"{crossing.at:f}",
            "period_began": _iso(crossing.start_ms / 1000),
            "is_hard": budget.is_hard,
        }

    async def deliver(self) -> None:
        """Send what waits, in order, one at a time."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                await self._send(self._waiting.popleft())

    async def _send(self, body: bytes) -> None:
        errand = self.organisation.webhook
        assert errand is not None
        why = ""
        for tries in range(TRIES):
            if tries:
                await asyncio.sleep(self.first_wait_s * 2 ** (tries - 1))
            try:
                permit = grant_errand(errand.provider, body, now_s=self._clock.now_s(), at_s=self._clock.monotonic_s())
                response = await self._transport.send(permit, Request("POST", errand.path.value, body))
                await response.whole()
                response.finish()
            except FreeholdError as error:
                why = error.code
                continue
            if response.status < 300:
                return
            why = f"status {response.status}"
        log("alert_undelivered", reason=why)


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
