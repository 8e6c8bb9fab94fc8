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
from functools import partial

from freehold.gateway.admission import Caller
from freehold.gateway.attempts import attempt, leased, nothing_left
from freehold.gateway.bounds import capped
from freehold.gateway.caching import look, slot_of
from freehold.gateway.capturing import capture
from freehold.gateway.delivery import Headers, Reply, call_headers, deliver_again, deliver_stream, deliver_whole
from freehold.gateway.detecting import LONG, check_name, rule_on
from freehold.gateway.disguise import Fits
from freehold.gateway.filing import check_batch
from freehold.gateway.lifecycle import State
from freehold.gateway.posting import asked_later
from freehold.gateway.run import Asked, Run
from freehold.gateway.stored import choice_of, find_issued, held_by, only_holder
from freehold.gateway.world import World
from freehold.kernel.errors import Bug, CallerError, FreeholdError
from freehold.routing.plan import plan, resolve
from freehold.upstream.door import Rejected
from freehold.wire import strict
from freehold.wire.call import COUNTS, STORED, Call, Endpoint
from freehold.wire.dialects import SPOKEN


async def serve(world: World, caller: Caller, asked: Asked, raw: bytes, reply: Reply) -> Run:
    """Serve one admitted call to its end (or, if it is to be handed in with others, to where it waits for them), and return what is known of it. Errors are answered in the caller's dialect, never raised (but for cancellation)."""
    world.ledger.check()
    run = Run(world, caller, asked)
    try:
        await _steps(run, raw, reply)
    except FreeholdError as error:
        if run.life.is_over:
            raise
        run.settle("failed", status=error.status, error=error)
        await refuse(error, reply, call_headers(run), asked.dialect)
    except asyncio.CancelledError:
        if not run.life.is_over:
            run.settle("cancelled", status=499)
        raise
    except Exception as error:  # the border: whatever is wrong, the call is settled and the caller gets an answer
        if run.life.is_over:
            raise
        run.settle("failed", status=500, error=Bug(type(error).__name__, code="bug"))
        raise
    return run


async def _steps(run: Run, raw: bytes, reply: Reply) -> None:
    policy, caller = run.policy, run.caller
    bound, named = caller.key.workload, caller.named_workload
    # What is known before the body is read, in case it cannot be.
    run.ruling = policy.base_ruling(caller.declared(named))
    call = run.call = run.spoken.read_call(run.endpoint, raw, run.asked.address)
    issued = run.issued = await find_issued(run, call) if call.refers else None
    if issued is not None and call.endpoint in STORED:
        choice = choice_of(run, call, issued)
    else:
        choice = resolve(call.model, run.snapshot, policy.fleet, bound=bound, named=named)
        choice = held_by(call, issued, choice) if issued is not None else choice
        choice = only_holder(call, choice) if call.unrecorded else choice
    check_name(run, choice)
    run.workload, run.model = choice.workload, choice.name
    check_batch(run)
    referred = issued.class_ if issued is not None else None
    declared = caller.declared(choice.workload.name if choice.workload else None, referred)
    targets = [target for group in choice.groups for target in group]
    call = run.call = capped(call, choice.workload, run.budgets, map(policy.fleet.abilities.get, targets))
    run.ruling, reading = await rule_on(run, call, declared)
    run.life.to(State.RULED)
    fits = run.fits = Fits(run, call, reading)
    make = partial(plan, choice, call, run.ruling, policy.fleet, zone_of=policy.zone_of, why_unfit=fits.why_not)
    # To transform a long text takes a while, and what becomes of it is read again.
    order = await asyncio.to_thread(make) if fits.is_needed and call.size >= LONG else make()
    run.life.to(State.PLANNED)
    if not order.attempts and call.endpoint in COUNTS and not all(skip.is_forbidden for skip in order.skipped):
        await _count_here(run, call, reply)
        return
    if not order.attempts:
        raise nothing_left(call, order, run.ruling)
    await leased(run, partial(run.enter, order.attempts))
    slot = slot_of(run, call, choice.groups[0])
    if slot is not None and (again := look(run, slot)) is not None:
        await deliver_again(run, call, again, reply)
        return
    if asked_later(run, call, order):
        return
    answering = await attempt(run, call, order)
    if answering.body is not None:
        await deliver_whole(run, answering, reply, slot)
    else:
        await deliver_stream(run, call, answering, reply, slot)
    capture(run, call)


async def _count_here(run: Run, call: Call, reply: Reply) -> None:
    """Count tokens where the target has no way to: an estimate of four bytes a token, and marked as one."""
    field = "input_tokens" if call.endpoint is Endpoint.COUNT_TOKENS else "totalTokens"
    run.settle("ok", status=200)
    head = [(b"content-type", b"application/json"), (b"x-freehold-estimate", b"true"), *call_headers(run)]
    await reply.whole(200, head, strict.encode({field: -(-call.size // 4)}))


async def refuse(error: FreeholdError, reply: Reply, headers: Headers, dialect: str) -> None:
    """Answer with an error in the caller's dialect; a provider's own words about the caller's request are passed on."""
    if isinstance(error, Rejected):
        shown = error.words if error.words is not None else error.message
        body = SPOKEN[dialect].write_error(CallerError(shown, code=error.code, status=error.status))
        if error.dialect == dialect:
            body = error.body
    else:
        body = SPOKEN[dialect].write_error(error)
    head = [(b"content-type", b"application/json"), *headers]
    if error.retry_after_s is not None:
        head.append((b"retry-after", str(max(1, round(error.retry_after_s))).encode()))
    if error.code in ("budget.exhausted", "batch.ended"):
        head.append((b"x-should-retry", b"false"))  # the OpenAI SDK would try again, and be refused again
    if error.status == 401:
        head.append((b"www-authenticate", b"Bearer"))
    await reply.whole(error.status, head, body)
