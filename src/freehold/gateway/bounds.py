"""How much a call may use at the most: what a budget holds and a rate takes before it is sent.

Rules: a byte-level tokenizer never makes more tokens than there are bytes, so the body is the bound of a prompt, and what a provider adds for
tools beside it; what a target reads without its being in the body (a picture behind an address, a stored conversation) is bounded by its
context alone; an answer by the caller's limit, the workload's, or the target's.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from freehold.kernel.errors import CallerError
from freehold.kernel.limits import Budget
from freehold.kernel.schema import Abilities
from freehold.kernel.snapshot import Workload
from freehold.wire.call import COUNTS, STORED, Call, Endpoint
from freehold.wire.limiting import limited
from freehold.wire.quiet import uses_hosted

UNBOUNDED_OUTPUT = 16_384  # tokens for each choice, where neither the caller nor anything known limits the answer
UNKNOWN_CONTEXT = 200_000  # tokens, for a target whose context nobody knows
ADDED = 256  # tokens that providers put before any prompt (of recorded calls: up to 44 more than there are bytes)
TOOLS = 1_500  # tokens that providers put before a prompt with tools (of recorded calls: up to 188 more than there are bytes)
_ANSWERLESS = frozenset({Endpoint.EMBEDDINGS, Endpoint.RERANK, Endpoint.MODERATIONS})


class Bounds(msgspec.Struct, frozen=True):
    """Upper bounds of one call at one target, in tokens."""

    prompt: int
    output: int

    @property
    def tokens(self) -> int:
        return self.prompt + self.output


def bounds(call: Call, abilities: Abilities | None, *, has_more: bool) -> Bounds:
    """has_more: whether the target will read more than the body holds."""
    if call.endpoint in COUNTS or call.endpoint in STORED:
        return Bounds(0, 0)
    prompt = call.size + ADDED + (TOOLS if "tools" in call.needs else 0)
    if has_more or uses_hosted(call.dialect, call.body):
        prompt = max(prompt, (abilities.context if abilities else None) or UNKNOWN_CONTEXT)
    if call.endpoint in _ANSWERLESS:
        return Bounds(prompt, 0)
    if call.max_output is not None:
        return Bounds(prompt, call.max_output)
    limit = (abilities.max_output if abilities else None) or UNBOUNDED_OUTPUT
    return Bounds(prompt, limit * call.choices)


def capped(call: Call, workload: Workload | None, budgets: Iterable[Budget], known: Iterable[Abilities | None]) -> Call:
    """The call with a limit on its answer: the workload's, or, where a hard budget counts and a target's own is not known, one that can be held.

    Raises CallerError for a call that asks for more than its workload allows.
    """
    most = workload.max_output if workload is not None else None
    if most is not None and call.max_output is not None and call.max_output > most * call.choices:
        raise CallerError(
            f"This call asks for answers of up to {call.max_output // call.choices} tokens, and its workload allows {most}.",
            code="limits.max_output",
            hint="Lower the limit of the answer, or leave it out.",
        )
    if most is None and any(budget.is_hard for budget in budgets):
        limits = [one.max_output if one is not None else None for one in known]
        if None in limits:
            most = min(UNBOUNDED_OUTPUT, *(limit for limit in limits if limit is not None), UNBOUNDED_OUTPUT)
    return limited(call, most) if most is not None else call
