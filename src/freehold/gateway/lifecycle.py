"""The life of a call, as a table of legal transitions. The diagram in the docs is generated from it (`diagram`)."""

from __future__ import annotations

from enum import StrEnum

from freehold.kernel.errors import Bug


class State(StrEnum):
    """Where a call is; the last three are terminal, and each writes exactly one settled record."""

    RECEIVED = "received"
    RULED = "ruled"
    PLANNED = "planned"
    INTENDED = "intended"
    SENT = "sent"
    STREAMING = "streaming"
    SETTLED = "settled"
    REFUSED = "refused"
    FAILED = "failed"


S = State
TRANSITIONS: dict[State, frozenset[State]] = {
    S.RECEIVED: frozenset({S.RULED, S.REFUSED}),
    S.RULED: frozenset({S.PLANNED, S.REFUSED}),
    S.PLANNED: frozenset({S.INTENDED, S.SETTLED, S.REFUSED}),  # settled at once: what Freehold answers itself
    S.INTENDED: frozenset({S.SENT, S.FAILED}),
    S.SENT: frozenset({S.INTENDED, S.STREAMING, S.SETTLED, S.FAILED}),  # back to INTENDED: the next attempt
    S.STREAMING: frozenset({S.SETTLED, S.FAILED}),
    S.SETTLED: frozenset(),
    S.REFUSED: frozenset(),
    S.FAILED: frozenset(),
}
TERMINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)


class Life:
    """The state of one call. `to` is the only way to change it."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.RECEIVED

    def to(self, state: State) -> None:
        """Move on. Raises Bug for a transition that is not in the table."""
        if state not in TRANSITIONS[self.state]:
            raise Bug(f"A call cannot go from {self.state} to {state}.", code="lifecycle.illegal")
        self.state = state

    @property
    def is_over(self) -> bool:
        return self.state in TERMINAL


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.RECEIVED}"]
    lines += [
        f"    {state} --> {following}"
        for state, all_following in TRANSITIONS.items()
        for following in sorted(all_following)
    ]
    return "\n".join(lines + [f"    {state} --> [*]" for state in State if state in TERMINAL])
