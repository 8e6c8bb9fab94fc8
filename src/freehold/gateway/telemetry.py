"""Tell a collector of calls (OpenTelemetry): traces as they end, metrics every quarter of a minute.

Rules: nothing of it is on the path of a call but one look at whether somebody wants to know, and one line in a queue; it goes out through the door,
with a grant for the errand; a collector that is away costs the oldest traces of a queue that is bounded, and one line in the log.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque

from freehold import __version__
from freehold.gateway import otlp
from freehold.gateway.logs import log
from freehold.gateway.otlp import Tally, Told
from freehold.kernel.clock import Clock
from freehold.kernel.errors import FreeholdError
from freehold.kernel.snapshot import Telemetry as Settings
from freehold.perimeter.ruling import grant_errand
from freehold.upstream.transport import Request, Transport

TRACES_S, METRICS_S, ANSWER_S = 1.0, 15.0, 10.0
MOST_WAITING, AT_ONCE = 20_000, 500


class Telemetry:
    """Takes note of calls. `settings` is None where nobody wants to know."""

    def __init__(self, settings: Settings | None, transport: Transport, clock: Clock) -> None:
        self.settings, self._transport, self._clock = settings, transport, clock
        self._waiting: deque[Told] = deque(maxlen=MOST_WAITING)
        self._tally, self._since_s = Tally(), clock.now_s()
        self._dropped = 0
        self._is_away = False

    def took(self, told: Told) -> None:
        """Take note of a call that has ended."""
        assert self.settings is not None
        if self.settings.metrics:
            self._tally.count(told)
        if self.settings.traces and told.is_kept:
            self._dropped += len(self._waiting) == MOST_WAITING
            self._waiting.append(told)

    async def deliver(self) -> None:
        """Send what waits, as long as Freehold runs."""
        await asyncio.gather(self._deliver_traces(), self._deliver_metrics())

    async def _deliver_traces(self) -> None:
        while True:
            await asyncio.sleep(TRACES_S)
            for _ in range(-(-len(self._waiting) // AT_ONCE)):  # what waited when the round began
                if not await self._send_traces():
                    break

    async def _deliver_metrics(self) -> None:
        while True:
            await asyncio.sleep(METRICS_S)
            await self._send_metrics()

    async def flush(self) -> None:
        """Send what waits, once: this process ends."""
        while self._waiting and await self._send_traces():
            pass
        await self._send_metrics()

    async def _send_traces(self) -> bool:
        calls = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
        if self.settings is None or not calls:
            return False
        is_taken = False
        try:
            is_taken = await self._send("traces", otlp.traces(otlp.spans_of(calls), self._resource()))
        finally:
            if not is_taken:  # also where this process ends meanwhile: `flush` tries once more
                room = MOST_WAITING - len(self._waiting)
                self._dropped += max(0, len(calls) - room)
                self._waiting.extendleft(reversed(calls[-room:] if room else []))
        return is_taken

    async def _send_metrics(self) -> None:
        if self.settings is not None and self.settings.metrics:
            found = self._tally.metrics(self._since_s, self._clock.now_s())
            if found:
                await self._send("metrics", otlp.metrics(found, self._resource()))

    def _resource(self) -> dict[str, str]:
        assert self.settings is not None
        return {
            "service.name": self.settings.service,
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }

    async def _send(self, kind: str, body: bytes) -> bool:
        settings, why = self.settings, ""
        assert settings is not None
        headers = {name: value.value for name, value in settings.headers.items()}
        try:
            async with asyncio.timeout(ANSWER_S):
                permit = grant_errand(
                    settings.provider, body, now_s=self._clock.now_s(), at_s=self._clock.monotonic_s()
                )
                answer = await self._transport.send(
                    permit, Request("POST", f"{settings.path}/v1/{kind}", body, headers)
                )
                await answer.whole()
                answer.finish()
            why = "" if answer.status < 300 else f"status {answer.status}"
            if not why or (400 <= answer.status < 500 and answer.status not in (408, 429)):
                self._say(why)
                return True  # what it refuses it would refuse again
        except FreeholdError as error:
            why = error.code
        except TimeoutError:
            why = "no answer in time"
        self._say(why)
        return False

    def _say(self, why: str) -> None:
        """Say once that nobody takes it, and once that somebody does again."""
        if bool(why) != self._is_away:
            self._is_away = bool(why)
            log("telemetry", state="away" if why else "back", reason=why or None, dropped=self._dropped)
