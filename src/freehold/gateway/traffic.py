"""The way to a provider: how many may go there at once and how fast, and who waits for how long until it is free.

Rules: an attempt takes a place at its provider, or waits for one in a bounded queue, interactive calls before batches, each in the order in which
it came; who has waited too long, or finds the queue full, is told so at once and goes on to the next target. What the provider said of a model's
own limits keeps only that model's calls back. A target that rests is not waited for. Whoever waits holds no money, and whoever was never sent
takes nothing of a rate.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from dataclasses import dataclass, field

import msgspec

from freehold.gateway.limits import Throttle, Ticket
from freehold.gateway.metrics import Metrics
from freehold.kernel.clock import Clock
from freehold.kernel.errors import PolicyRefusal, UpstreamError
from freehold.kernel.snapshot import Provider, Target
from freehold.upstream.health import Health

INTERACTIVE, BATCH = 0, 1
_LOOK_AGAIN_S = 0.05  # where other processes may have given a place back


class Need(msgspec.Struct, frozen=True):
    """What an attempt takes. most: tokens at the worst, by which it is limited here; likely: by which its provider is expected to count it."""

    most: int
    likely: int
    priority: int = INTERACTIVE


class Passage(msgspec.Struct, frozen=True):
    """What an attempt took on its way. `Traffic.leave` takes it back, once."""

    target: Target
    ticket: Ticket | None


@dataclass(slots=True, order=True)
class _Waiting:
    priority: int
    number: int
    target: Target = field(compare=False)
    need: Need = field(compare=False)
    turn: asyncio.Future[Ticket | None] = field(compare=False)


class _Lane:
    """The queue before one provider, in the order in which they may go."""

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

    async def enter(self, provider: Provider, target: Target, need: Need, *, is_last: bool) -> Passage:
        """Go to a target, now or when its turn comes. is_last: there is no other target.

        Raises UpstreamError: `upstream.resting` for a target that failed lately, `upstream.busy` for one that is not free in time.
        """
        self._check_rest(target, is_last=is_last)
        ticket = None
        pause_s = self._health.wait_s(target, need.likely, self._clock.monotonic_s())
        if pause_s > 0 or provider.limits is not None:
            ticket = await self._take(provider, target, need, pause_s)
            try:
                self._check_rest(target, is_last=is_last)  # it may have failed meanwhile
            except UpstreamError:
                self._give_back(provider.name, ticket, 0, is_sent=False)
                raise
        else:
            self._health.take(target, need.likely)
        self._health.begin(target)
        return Passage(target, ticket)

    def leave(
        self, passage: Passage, code: str, *, used: int | None = None, retry_after_s: float | None = None
    ) -> None:
        """An attempt is over. code: `ok`, its error's, another word for one that says nothing of the target, "" for one that was never sent;
        used: tokens, None if not known.
        """
        self._health.end(passage.target, code, self._clock.monotonic_s(), retry_after_s)
        self._give_back(
            passage.target.provider, passage.ticket, used if code == "ok" else used or 0, is_sent=bool(code)
        )

    def _give_back(self, name: str, ticket: Ticket | None, used: int | None, *, is_sent: bool) -> None:
        if ticket is not None:
            self._throttle.leave(ticket, used, now_ns=self._clock.now_ns(), is_made=is_sent)
        lane = self._lanes.get(name)
        if lane is not None and lane.waiting:
            self._let_in(lane)

    def _check_rest(self, target: Target, *, is_last: bool) -> None:
        rest = self._health.rest_s(target, self._clock.monotonic_s(), is_last=is_last)
        if rest > 0:
            raise _at_once(f"{target.name!r} failed lately and is given a rest.", "upstream.resting", "", rest)

    async def _take(self, provider: Provider, target: Target, need: Need, pause_s: float) -> Ticket | None:
        """A place at a provider, at once if nobody waits before it and there is one, else when its turn comes."""
        if pause_s > provider.wait_s:
            raise _busy(provider, "has said that it takes no more for now", pause_s)
        lane = self._lanes.get(provider.name)
        if lane is None or lane.provider is not provider:
            lane = self._lanes[provider.name] = _Lane(provider)
        if not pause_s and (not lane.waiting or lane.waiting[0].priority > need.priority):
            found = self._admit(lane, target, need)
            if not isinstance(found, float):
                return found
        if len(lane.waiting) >= provider.queue or provider.wait_s <= 0:
            raise _busy(provider, "is busy, and so many wait for it already" if provider.queue else "is busy", 1.0)
        one = _Waiting(need.priority, next(self._numbers), target, need, asyncio.get_running_loop().create_future())
        bisect.insort(lane.waiting, one)
        self._metrics.waited(provider.name)
        self._let_in(lane)
        try:
            async with asyncio.timeout(provider.wait_s):
                return await one.turn
        except TimeoutError:
            self._forget(lane, one)
            raise _busy(provider, f"was not free within {provider.wait_s:g} seconds", 1.0) from None
        except BaseException:
            self._forget(lane, one)
            raise

    def _forget(self, lane: _Lane, one: _Waiting) -> None:
        """Take out who waits no more; what it was given in that moment goes to the next."""
        if one.turn.done() and not one.turn.cancelled():
            self._health.take(one.target, -one.need.likely)
            self._give_back(lane.provider.name, one.turn.result(), 0, is_sent=False)
            return
        one.turn.cancel()
        self._let_in(lane)

    def _let_in(self, lane: _Lane) -> None:
        """Let in as many as there is room for, in their order; who must wait for its own model's limits does not keep others back."""
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        left: list[_Waiting] = []
        is_full = False
        for one in lane.waiting:
            if one.turn.done():
                continue  # its caller has just left
            if is_full or self._health.wait_s(one.target, one.need.likely, self._clock.monotonic_s()) > 0:
                left.append(one)
                continue
            found = self._admit(lane, one.target, one.need)
            if isinstance(found, float):
                is_full = True
                left.append(one)
            else:
                one.turn.set_result(found)
        lane.waiting = left
        if left:
            lane.timer = asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._let_in, lane)

    def _admit(self, lane: _Lane, target: Target, need: Need) -> Ticket | float | None:
        """A place (None where there is nothing to take), or how long there is none for certain (seconds)."""
        limits, ticket = lane.provider.limits, None
        if limits is not None:
            scoped = [(f"provider:{lane.provider.name}", limits)]
            try:
                ticket = self._throttle.admit(scoped, need.most, now_ns=self._clock.now_ns())
            except PolicyRefusal as full:
                return full.retry_after_s or 1.0
        self._health.take(target, need.likely)
        return ticket


def _busy(provider: Provider, why: str, retry_after_s: float) -> UpstreamError:
    hint = "Try again later; an administrator can raise its limits, its queue or its wait."
    return _at_once(f"{provider.name!r} {why}.", "upstream.busy", hint, retry_after_s)


def _at_once(message: str, code: str, hint: str, retry_after_s: float) -> UpstreamError:
    """A failure for which nothing was sent: the next target, if there is one, is tried at once."""
    error = UpstreamError(message, code=code, status=503, hint=hint, retry_after_s=retry_after_s)
    error.is_retryable = False
    return error
