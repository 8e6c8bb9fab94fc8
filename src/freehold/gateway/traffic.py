"""The way to a provider: how many may go there at once and how fast, and who waits for how long until it is free.

Rules: an attempt takes a place at its provider, or waits for one in a bounded queue, interactive calls before batches, each in the order in which
it came; who has waited too long, or finds the queue full, is told so at once and goes on to the next target. A target that rests is not waited
for. Whoever waits holds no money.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from dataclasses import dataclass, field

from freehold.gateway.limits import Throttle, Ticket
from freehold.gateway.metrics import Metrics
from freehold.kernel.clock import Clock
from freehold.kernel.errors import PolicyRefusal, UpstreamError
from freehold.kernel.snapshot import Provider, Target
from freehold.upstream.health import Health

INTERACTIVE, BATCH = 0, 1
_LOOK_AGAIN_S = 0.05  # where other processes may have given a place back


@dataclass(frozen=True, slots=True)
class Passage:
    """What an attempt took on its way. `Traffic.leave` takes it back, once."""

    target: Target
    ticket: Ticket | None
    began_s: float


@dataclass(slots=True, order=True)
class _Waiting:
    priority: int
    number: int
    tokens: int = field(compare=False)
    turn: asyncio.Future[Ticket] = field(compare=False)


class _Lane:
    """The queue before one provider."""

    __slots__ = ("provider", "timer", "waiting")

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.waiting: list[_Waiting] = []
        self.timer: asyncio.TimerHandle | None = None


class Traffic:
    """Lets attempts through to providers."""

    def __init__(self, throttle: Throttle, health: Health, metrics: Metrics, clock: Clock) -> None:
        self._throttle, self._health, self._metrics, self._clock = throttle, health, metrics, clock
        self._lanes: dict[str, _Lane] = {}
        self._numbers = itertools.count()

    async def enter(self, provider: Provider, target: Target, tokens: int, priority: int, *, is_last: bool) -> Passage:
        """Go to a target with a call of at most so many tokens, now or when its turn comes. is_last: there is no other target.

        Raises UpstreamError: `upstream.resting` for a target that failed lately, `upstream.busy` for one that is not free in time.
        """
        self._check_rest(target, is_last)
        wait = self._health.wait_s(target, tokens, self._clock.now_s())
        ticket = None
        if wait > 0 or provider.limits is not None:
            ticket = await self._wait(provider, target, tokens, priority)
            try:
                self._check_rest(target, is_last)  # it may have failed meanwhile
            except UpstreamError:
                self._give_back(provider.name, ticket, 0)
                raise
        self._health.begin(target, tokens, self._clock.now_s())
        return Passage(target, ticket, self._clock.monotonic_s())

    def leave(
        self, passage: Passage, code: str, *, used: int | None = None, retry_after_s: float | None = None
    ) -> None:
        """An attempt is over. code: `ok`, its error's, or another word for one that says nothing of the target; used: tokens, None if not known."""
        self._health.end(passage.target, code, self._clock.now_s(), retry_after_s)
        self._give_back(passage.target.provider, passage.ticket, used if code == "ok" else used or 0)

    def _give_back(self, name: str, ticket: Ticket | None, used: int | None) -> None:
        if ticket is not None:
            self._throttle.leave(ticket, used, now_ns=self._clock.now_ns())
            lane = self._lanes.get(name)
            if lane is not None and lane.waiting:
                self._let_in(lane)

    def _check_rest(self, target: Target, is_last: bool) -> None:
        rest = self._health.rest_s(target, self._clock.now_s(), is_last=is_last)
        if rest > 0:
            raise _at_once(f"{target.name!r} failed lately and is given a rest.", "upstream.resting", "", rest)

    async def _wait(self, provider: Provider, target: Target, tokens: int, priority: int) -> Ticket | None:
        """Wait for what the provider said of itself, then for what the configuration allows it, no longer than it may take together."""
        until = self._clock.monotonic_s() + provider.wait_s
        while (pause := self._health.wait_s(target, tokens, self._clock.now_s())) > 0:
            if self._clock.monotonic_s() + pause > until:
                raise _busy(provider, "has said that it takes no more for now", pause)
            await asyncio.sleep(pause)
        if provider.limits is None:
            return None
        lane = self._lanes.get(provider.name)
        if lane is None or lane.provider is not provider:
            lane = self._lanes[provider.name] = _Lane(provider)
        if not lane.waiting or lane.waiting[0].priority > priority:
            found = self._admit(lane, tokens)
            if isinstance(found, Ticket):
                return found
        if len(lane.waiting) >= provider.queue or provider.wait_s <= 0:
            raise _busy(provider, "is busy, and so many wait for it already" if provider.queue else "is busy", 1.0)
        return await self._queue(lane, tokens, priority, until)

    async def _queue(self, lane: _Lane, tokens: int, priority: int, until: float) -> Ticket:
        one = _Waiting(priority, next(self._numbers), tokens, asyncio.get_running_loop().create_future())
        heapq.heappush(lane.waiting, one)
        self._metrics.waited(lane.provider.name)
        self._let_in(lane)
        try:
            async with asyncio.timeout(max(until - self._clock.monotonic_s(), 0.0)):
                return await one.turn
        except TimeoutError:
            self._forget(lane, one)
            raise _busy(lane.provider, f"was not free within {lane.provider.wait_s:g} seconds", 1.0) from None
        except BaseException:
            self._forget(lane, one)
            raise

    def _forget(self, lane: _Lane, one: _Waiting) -> None:
        """Take out who waits no more; what it was given in that moment goes to the next."""
        if one.turn.done() and not one.turn.cancelled():
            self._give_back(lane.provider.name, one.turn.result(), 0)
            return
        one.turn.cancel()
        if one in lane.waiting:
            lane.waiting.remove(one)
            heapq.heapify(lane.waiting)
            self._let_in(lane)

    def _let_in(self, lane: _Lane) -> None:
        """Let in as many as there is room for, in their order."""
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        while lane.waiting:
            if lane.waiting[0].turn.done():  # its caller has just left
                heapq.heappop(lane.waiting)
                continue
            found = self._admit(lane, lane.waiting[0].tokens)
            if not isinstance(found, Ticket):
                lane.timer = asyncio.get_running_loop().call_later(min(found, _LOOK_AGAIN_S), self._let_in, lane)
                return
            heapq.heappop(lane.waiting).turn.set_result(found)

    def _admit(self, lane: _Lane, tokens: int) -> Ticket | float:
        """A place, or how long there is none for certain (seconds)."""
        limits = lane.provider.limits
        assert limits is not None
        try:
            return self._throttle.admit(
                [(f"provider:{lane.provider.name}", limits)], tokens, now_ns=self._clock.now_ns()
            )
        except PolicyRefusal as full:
            return full.retry_after_s if full.retry_after_s is not None else math.inf


def _busy(provider: Provider, why: str, retry_after_s: float) -> UpstreamError:
    hint = "Try again later; an administrator can raise its limits, its queue or its wait."
    return _at_once(f"{provider.name!r} {why}.", "upstream.busy", hint, retry_after_s)


def _at_once(message: str, code: str, hint: str, retry_after_s: float) -> UpstreamError:
    """A failure for which nothing was sent: the next target, if there is one, is tried at once."""
    error = UpstreamError(message, code=code, status=503, hint=hint, retry_after_s=retry_after_s)
    error.is_retryable = False
    return error
