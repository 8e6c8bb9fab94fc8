"""Delete at providers what nobody needs there any more: parcels whose answers are here, or whose batch was cancelled, erased or given up.

Rules: what lies at a provider has a row in the records from before it leaves, so that no crash forgets it; the row goes when the provider has deleted
it; what has not ended there is cancelled first. Nothing waits for this, and nothing is lost when it fails: it is tried again, ever more rarely.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec

from freehold.jobs.parcels import Post
from freehold.jobs.records import Lying, Records
from freehold.kernel.clock import Clock
from freehold.kernel.errors import FreeholdError

AT_ONCE = 3  # of one provider, so that one that does not answer holds up nobody else's
SURE_AFTER_S = 60  # a provider may still be working on what was handed in, and list it only then
GONE_AFTER_S = 600  # it may be there although a provider says for a while that it is not
FORGOTTEN_AFTER_S = 30 * 86_400  # providers delete it themselves by then
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 600.0


class Clearing:
    """Clears what lies at providers and is done with, a few at once."""

    def __init__(self, records: Records, post: Post, clock: Clock, tell: Callable[..., None]) -> None:
        self._records, self._post, self._clock, self._tell = records, post, clock, tell
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._at = Counter[str]()  # provider → how many are being cleared there
        self._due: dict[str, tuple[float, float]] = {}  # by name: when it is tried again, and after how long it was

    def step(self) -> None:
        """Begin with what is due."""
        now_s = self._clock.monotonic_s()
        for lying in self._records.lying():
            provider = lying.way.partition(" ")[0]
            is_due = self._due.get(lying.name, (0.0, 0.0))[0] <= now_s
            if is_due and lying.name not in self._tasks and self._at[provider] < AT_ONCE:
                self._at[provider] += 1
                self._tasks[lying.name] = asyncio.ensure_future(self._clear(lying, provider))

    async def close(self) -> None:
        """Stop; what is left is cleared by whoever comes next."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _clear(self, lying: Lying, provider: str) -> None:
        try:
            if self._clock.now_s() - lying.handed_s > FORGOTTEN_AFTER_S or await self._cleared(lying):
                self._records.lift(lying.name)
                self._due.pop(lying.name, None)
            else:
                self._later(lying)
        except Exception as error:  # the border: whatever is wrong now may not be later
            self._tell("clearing", parcel=lying.name, reason=getattr(error, "code", type(error).__name__))
            self._later(lying)
        finally:
            self._at[provider] -= 1
            del self._tasks[lying.name]

    def _later(self, lying: Lying) -> None:
        pause = min(max(_FIRST_PAUSE_S, self._due.get(lying.name, (0.0, 0.0))[1] * 2), _LONGEST_PAUSE_S)
        self._due[lying.name] = self._clock.monotonic_s() + pause, pause

    async def _cleared(self, lying: Lying) -> bool:
        """Do what can be done now; whether nothing is left. Raises FreeholdError."""
        post, way = self._post, lying.way
        if not lying.about:
            about = await post.find(way, lying.name)
            if about is None:
                await post.clear(way, lying.name)
                return not post.finds(way) or self._clock.now_s() - lying.handed_s > SURE_AFTER_S
            lying = msgspec.structs.replace(lying, about=about)
            self._records.lay(lying)
        try:
            progress = await post.look(way, lying.about)
        except FreeholdError as error:
            if error.code != "upstream.not_found" or self._clock.now_s() - lying.handed_s < GONE_AFTER_S:
                raise
            await post.clear(way, lying.name)
            return True
        if not progress.is_ended:
            await post.cancel(way, lying.about)
            return False
        await post.drop(way, lying.about, progress)
        return True
