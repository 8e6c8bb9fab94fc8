"""The spine. One call, seven rooms:

| step | room            | call                  | in → out                                                        |
|-----:|-----------------|-----------------------|-----------------------------------------------------------------|
|    1 | gateway         | `admit`               | HTTP → `Caller` (key, workload, class floor)                    |
|    2 | wire            | `read`                | bytes → `Call` (strict decode)                                  |
|    3 | perimeter       | `rule`                | → `Ruling` (class, zones, reasons)                              |
|    4 | routing         | `resolve`, `plan`     | → `Plan` (ordered targets, what was skipped and why)            |
|    5 | ledger          | `reserve`, `intend`   | budget held, intent written (on disk when leaving `inside`)     |
|    6 | upstream        | `send(grant)`         | → byte stream, folded by wire into events and usage             |
|    7 | pricing, ledger | `charge`, `settle`    | exactly one receipt                                             |

Rules: whatever happens after step 1, one receipt is written: `Run.settle` is called exactly once on every way out.
"""

from __future__ import annotations

import asyncio

from freehold.gateway.admission import Caller
from freehold.gateway.attempts import attempt
from freehold.gateway.delivery import Headers, Reply, call_headers, deliver_stream, deliver_whole
from freehold.gateway.lifecycle import State
from freehold.gateway.run import Run
from freehold.gateway.world import World
from freehold.kernel.errors import Bug, FreeholdError
from freehold.perimeter.ruling import rule
from freehold.routing.plan import plan, resolve
from freehold.upstream.door import Rejected
from freehold.wire import openai_chat as wire
from freehold.wire.call import Endpoint


async def serve(world: World, caller: Caller, endpoint: Endpoint, raw: bytes, reply: Reply) -> None:
    """Serve one admitted call to its end. Errors are answered in the caller's dialect, never raised (but for cancellation)."""
    world.ledger.check()
    run = Run(world, caller, endpoint)
    try:
        await _steps(run, raw, reply)
    except FreeholdError as error:
        if run.life.is_over:
            raise
        run.settle("failed", status=error.status, error=error)
        await refuse(error, reply, call_headers(run))
    except asyncio.CancelledError:
        if not run.life.is_over:
            run.settle("cancelled", status=499)
        raise
    except Exception as error:  # the border: whatever is wrong, the call is settled and the caller gets an answer
        if run.life.is_over:
            raise
        run.settle("failed", status=500, error=Bug(type(error).__name__, code="bug"))
        raise


async def _steps(run: Run, raw: bytes, reply: Reply) -> None:
    world, caller = run.world, run.caller
    bound, named = caller.key.workload, caller.named_workload
    run.ruling = rule(
        caller.declared(named), run.snapshot
    )  # what is known before the body is read, in case it cannot be
    call = run.call = wire.read(run.endpoint, raw)
    choice = resolve(call.model, run.snapshot, world.fleet, bound=bound, named=named)
    run.workload, run.model = choice.workload, choice.name
    run.ruling = rule(caller.declared(choice.workload.name if choice.workload else None), run.snapshot)
    run.life.to(State.RULED)
    order = plan(choice, call, run.ruling, run.snapshot, world.fleet, zone_of=world.zone_of)
    run.life.to(State.PLANNED)
    answering = await attempt(run, call, order)
    if answering.body is not None:
        await deliver_whole(run, answering, reply)
    else:
        await deliver_stream(run, call, answering, reply)


async def refuse(error: FreeholdError, reply: Reply, headers: Headers) -> None:
    """Answer with an error in the caller's dialect; a provider's own words about the caller's request are passed on."""
    body = error.body if isinstance(error, Rejected) else wire.write_error(error)
    head = [(b"content-type", b"application/json"), *headers]
    if error.retry_after_s is not None:
        head.append((b"retry-after", str(max(1, round(error.retry_after_s))).encode()))
    if error.code == "budget.exhausted":
        head.append((b"x-should-retry", b"false"))  # the OpenAI SDK would try again, and be refused again
    if error.status == 401:
        head.append((b"www-authenticate", b"Bearer"))
    await reply.whole(error.status, head, body)
