"""Calls that refer to a stored answer: by `previous_response_id`, or by asking for it, cancelling it, deleting it.

Rules: only the key that made an answer may refer to it, and whoever else asks is told nothing of it; the call goes to the one target that
holds the answer and nowhere else, under the class that the answer was made under, or a higher one.
"""

from __future__ import annotations

from freehold.gateway.run import Run
from freehold.kernel.errors import CallerError
from freehold.kernel.snapshot import Target
from freehold.ledger.answers import Issued
from freehold.routing.plan import Choice
from freehold.wire.call import STORED, Call


async def find_issued(run: Run, call: Call) -> Issued:
    """The stored answer that a call refers to. Raises CallerError 404 for one that is not this key's (400 if the call only goes on from it)."""
    issued = await run.world.ledger.answers.find(call.refers)
    if issued is None or issued.key != run.caller.key.id:
        raise CallerError(
            f"No stored response {call.refers[:200]!r} was made with this key.",
            code="request.unknown_response",
            status=404 if call.endpoint in STORED else 400,
            hint="It was made elsewhere or with another key, or its target keeps none.",
        )
    return issued


def choice_of(run: Run, call: Call, issued: Issued) -> Choice:
    """Where to ask for a stored answer: at its own target. Raises CallerError 404 if that is not configured any more."""
    provider, _, model = issued.target.partition("/")
    if provider not in run.snapshot.providers:
        raise CallerError(
            f"The provider that holds {call.refers!r} is not configured any more.",
            code="request.unknown_response",
            status=404,
        )
    if call.endpoint in STORED:
        run.made(call.refers)
    return Choice(((Target(provider, model),),), issued.model, run.snapshot.workloads.get(issued.workload or ""))


def only_holder(call: Call, choice: Choice) -> Choice:
    """For what a provider keeps and no receipt names: the first target alone, and only where the workload allows it. Raises CallerError 400."""
    if choice.workload is None or not choice.workload.shares_state:
        raise CallerError(
            f"{call.unrecorded!r} refers to something that a provider keeps and that was not made through this Freehold, so nobody knows whose it is.",
            code="request.stateful",
            hint="Use previous_response_id, send the whole conversation, or let an administrator set shares_state on the workload.",
        )
    return Choice((choice.groups[0][:1],), choice.name, choice.workload)


def held_by(call: Call, issued: Issued, choice: Choice) -> Choice:
    """A choice without the targets that do not hold the answer from which the call goes on. Raises CallerError 400 if none is left."""
    held = tuple(target for group in choice.groups for target in group if target.name == issued.target)
    if not held:
        raise CallerError(
            f"The response {call.refers!r} is held by a target that {choice.name!r} does not have.",
            code="request.stateful",
            hint="Send the whole conversation, or name the model that made the response.",
        )
    return Choice((held[:1],), choice.name, choice.workload)
