"""Follow a stream, whatever its dialect: what was seen, what it used, whether it ended as it should."""

from __future__ import annotations

from collections.abc import Sequence

from freehold.wire import canonical as c

_KINDS = frozenset(c.SPOKEN)


class Progress:
    """Feed it every event of the answer.

    id: the answer's own; spoken: how many events carried something of it; used: what the provider said last; trouble: it broke off with an error.
    """

    __slots__ = ("_choices", "_needs_done", "_stopped", "id", "is_done", "spoken", "trouble", "used")

    def __init__(self, choices: int, *, needs_done: bool) -> None:
        self._choices, self._needs_done = choices, needs_done
        self._stopped: set[int] = set()
        self.used: c.Used | None = None
        self.id = ""
        self.spoken = 0
        self.is_done = False
        self.trouble: c.Trouble | None = None

    def take(self, events: Sequence[c.Event]) -> None:
        for event in events:
            kind = type(event)
            if kind in _KINDS:
                self.spoken += 1
            elif isinstance(event, c.End):
                self._stopped.add(event.choice)
            elif isinstance(event, c.Used):
                self.used = event
            elif isinstance(event, c.Begin):
                self.id = self.id or event.id
            elif kind is c.Done:
                self.is_done = True
            elif isinstance(event, c.Fail):
                self.trouble = event.trouble

    @property
    def is_complete(self) -> bool:
        """True when the provider said that it was finished: by its last mark, or by a reason for every choice where marks are often missing."""
        return self.is_done or (not self._needs_done and len(self._stopped) >= self._choices)
