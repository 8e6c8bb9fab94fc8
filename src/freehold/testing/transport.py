"""A transport that touches no network: answers are scripted, requests are kept. It passes the same contract suite as the real ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from freehold.kernel.errors import UpstreamError
from freehold.perimeter.ruling import Grant, honour
from freehold.upstream.transport import Request


@dataclass(slots=True)
class Scripted:
    """One answer: its parts arrive one after the other; failure is raised after them, or at once if there are no parts and no status."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    parts: tuple[bytes, ...] = ()
    failure: UpstreamError | None = None
    is_closed: bool = False
    is_finished: bool = False

    async def chunks(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part
        if self.failure is not None:
            raise self.failure

    async def whole(self) -> bytes:
        return b"".join([part async for part in self.chunks()])

    def finish(self) -> None:
        self.is_finished = True

    def close(self) -> None:
        self.is_closed = self.is_closed or not self.is_finished


class FakeTransport:
    """Gives out scripted answers in order; `sent` keeps every (grant, request). at_s: the clock by which grants expire."""

    def __init__(self, *answers: Scripted | UpstreamError, at_s: Callable[[], float] = time.monotonic) -> None:
        self._at_s = at_s
        self._answers = deque(answers)
        self.sent: list[tuple[Grant, Request]] = []

    async def send(self, grant: Grant, request: Request) -> Scripted:
        honour(grant, request.body, at_s=self._at_s())
        self.sent.append((grant, request))
        if not self._answers:
            raise UpstreamError("The script has no answer left.", code="upstream.unreachable")
        answer = self._answers.popleft()
        if isinstance(answer, UpstreamError):
            raise answer
        return answer
