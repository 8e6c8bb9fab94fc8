"""One call's run: what is known of it so far, and its one receipt."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from freehold.gateway.admission import Caller
from freehold.gateway.bounds import Bounds, bounds
from freehold.gateway.fitting import Fitter
from freehold.gateway.lifecycle import Life, State
from freehold.gateway.limits import Ticket, TurnedAway
from freehold.gateway.logs import log_call
from freehold.gateway.otlp import Attempt, Told
from freehold.gateway.tracing import Trace
from freehold.gateway.tracing import begin as begin_trace
from freehold.gateway.tracing import read as read_trace
from freehold.gateway.tracing import span_id as new_span_id
from freehold.gateway.traffic import BATCH, INTERACTIVE, Passage
from freehold.gateway.world import World
from freehold.kernel.classes import Class
from freehold.kernel.errors import FreeholdError
from freehold.kernel.ids import make_id
from freehold.kernel.limits import Budget
from freehold.kernel.snapshot import Snapshot, Target, Workload
from freehold.kernel.units import USUAL, ZERO, Terms, Tokens, Usd, show_usd
from freehold.ledger.answers import ANSWER_ID, Issued
from freehold.ledger.budgets import Hold
from freehold.ledger.ledger import Receipt
from freehold.perimeter.ruling import Grant, Ruling
from freehold.perimeter.transforms import Transformed
from freehold.pricing.book import Charge, Tariff, charge, quote, told
from freehold.wire.call import COUNTS, NOWHERE, STORED, Address, Call, Endpoint
from freehold.wire.canonical import Used
from freehold.wire.dialects import SPOKEN
from freehold.wire.quiet import uses_hosted
from freehold.wire.tiers import AUTO, asked_tier, tier_of
from freehold.wire.tiers import BATCH as BATCH_TIER

_NOTHING = Tokens()
COUNT_EVERY = 64  # tokens of a stream, until its budgets are told how far it is


class Asked(msgspec.Struct, frozen=True):
    """What a path says: the dialect, the kind of work, and what stands in the path itself; is_batch: it came in a file, and nobody waits for it;
    may_be_posted: its target may get it with others, and answer within a day.
    """

    dialect: str
    endpoint: Endpoint
    address: Address = NOWHERE
    is_batch: bool = False
    may_be_posted: bool = False


class Run:
    """Collects what the receipt needs. `snapshot` is taken once: a reload does not touch a call under way."""

    __slots__ = (
        "answer",
        "answer_id",
        "asked",
        "attempt_began_s",
        "attempt_id",
        "attempts",
        "began_s",
        "cached",
        "call",
        "call_id",
        "caller",
        "counts_at",
        "degraded",
        "endpoint",
        "error",
        "first_byte_ms",
        "fits",
        "grant",
        "has_more",
        "held",
        "held_output",
        "held_tokens",
        "hold",
        "is_trying",
        "issued",
        "leaf",
        "life",
        "lost",
        "model",
        "passage",
        "policy",
        "posted_to",
        "result",
        "ruling",
        "seen_tokens",
        "snapshot",
        "span_id",
        "spoken",
        "tells_cost",
        "terms",
        "ticket",
        "tokens",
        "told",
        "trace",
        "transformed",
        "tries",
        "workload",
        "world",
    )

    def __init__(self, world: World, caller: Caller, asked: Asked) -> None:
        self.world, self.caller, self.asked = world, caller, asked
        self.endpoint = asked.endpoint
        self.spoken = SPOKEN[asked.dialect]
        self.fits: Fitter | None = None
        self.lost: set[str] = set()
        self.policy = world.policy
        self.snapshot: Snapshot = self.policy.snapshot
        self.call_id = make_id("call", world.clock.now_ms())
        self.began_s = world.clock.monotonic_s()
        self.life = Life()
        self.call: Call | None = None
        self.ruling: Ruling | None = None
        self.workload: Workload | None = None
        self.grant: Grant | None = None
        self.is_trying = False
        self.posted_to: Target | None = None  # where it is handed in with others, to be answered within a day
        self.hold: Hold | None = None
        self.held: str | None = None
        self.held_tokens = self.held_output = 0
        self.has_more = False  # whether the target will read more than the body holds
        self.ticket: Ticket | None = None
        self.passage: Passage | None = None
        self.result = ""  # of the attempt that took the passage
        self.cached: str | None = None  # the call whose answer was given again
        self.degraded: str | None = None  # the budget that is spent, so that the call went where it costs nothing
        self.leaf = ""
        self.model = ""  # as configuration knows it; what the caller wrote may be anything
        self.answer: str | None = None
        self.answer_id: str | None = None
        self.issued: Issued | None = None  # the stored answer that the call refers to
        self.tokens: Tokens | None = None
        self.seen_tokens = 0
        self.counts_at = COUNT_EVERY  # tokens seen, when they are counted next
        self.terms = USUAL
        self.tells_cost = False  # whether the dollars that its usage names are what the provider bills
        self.told: Decimal | None = None
        self.transformed: Transformed | None = None  # what was taken out for the attempt under way
        self.first_byte_ms: int | None = None
        self.attempts: list[dict[str, Any]] = []
        self.error: FreeholdError | None = None  # in which it ended
        self.span_id = self.attempt_id = ""  # for whoever is told of calls
        self.attempt_began_s = 0.0
        self.tries: list[Attempt] = []
        said = caller.values.get(b"traceparent")
        self.trace: Trace | None = read_trace(said) if said else None
        if world.telemetry.settings is not None:
            self.trace = self.trace or begin_trace(world.telemetry.settings.share)
            self.span_id = new_span_id()

    def elapsed_ms(self) -> int:
        return int((self.world.clock.monotonic_s() - self.began_s) * 1000)

    @property
    def is_sent(self) -> bool:
        return bool(self.attempts) or self.is_trying

    def sending(self, permit: Grant, transformed: Transformed | None, *, tells_cost: bool) -> None:
        """Note that an attempt is under way, and the terms on which it would be served if its provider says nothing of them."""
        self.grant, self.is_trying, self.transformed = permit, True, transformed
        if self.span_id:
            self.attempt_id, self.attempt_began_s = new_span_id(), self.world.clock.monotonic_s()
        self.tells_cost, self.told = tells_cost, None
        assert self.call is not None
        tier, rates = asked_tier(self.call.dialect, self.call.body), self.policy.prices.of(permit.target)
        tier = (
            tier if rates is not None and tier in rates.services else ""
        )  # a target may not know the word, and says nothing then
        tier = BATCH_TIER if self.posted_to is not None else tier
        self.terms = Terms(tier, permit.provider.geo, self.world.clock.now_ms())

    def tried(self, result: str) -> None:
        """Note how the attempt under way ended."""
        if self.is_trying and self.grant is not None:
            self.result = result
            self.attempts.append({"target": self.grant.target.name, "zone": self.grant.zone.value, "result": result})
            if self.span_id:
                self.tries.append(self._try(self.grant, result))
        self.is_trying = False

    def leave(self, used: int | None = 0, *, retry_after_s: float | None = None) -> None:
        """Give back the way to the provider, and say how the attempt went. used: tokens, None if that is not known."""
        if self.passage is not None:
            self.world.traffic.leave(self.passage, self.result, used=used, retry_after_s=retry_after_s)
            self.passage, self.result = None, ""

    @property
    def priority(self) -> int:
        """Batches, and workloads that are no hurry, wait behind everybody else."""
        is_batch = self.asked.is_batch or (self.workload is not None and self.workload.is_batch)
        return BATCH if is_batch else INTERACTIVE

    def used(self, used: Used | None) -> None:
        """Note what the provider says was used, and on what terms."""
        if used is None:
            self.tokens = None
            return
        self.tokens, self.told = used.tokens, used.cost if self.tells_cost else None
        if used.service_tier or used.geo:
            tier = tier_of(used.service_tier) if used.service_tier else self.terms.tier
            self.terms = msgspec.structs.replace(self.terms, tier=tier, geo=used.geo or self.terms.geo)

    def made(self, answer_id: str) -> None:
        """Note the id under which a provider keeps an answer, if it is one that can be asked for."""
        if self.answer_id is None and ANSWER_ID.fullmatch(answer_id):
            self.answer_id = answer_id

    # --- money and limits ---------------------------------------------------------------------------------------

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Every budget that this call counts in."""
        return (*self.caller.key.budgets, *self.snapshot.budgets_of(self.workload))

    def bounds(self, target: Target) -> Bounds:
        assert self.call is not None
        return bounds(self.call, self.policy.fleet.abilities.get(target), has_more=self.has_more)

    def quote(self, target: Target) -> tuple[Usd | None, Bounds]:
        """The most that an attempt at a target can cost and use."""
        most, call = self.bounds(target), self.call
        assert call is not None
        tier = asked_tier(call.dialect, call.body)
        routes = self.snapshot.providers[target.provider].routes_to(target.model)
        if not call.dialect.startswith("openai") and any(route.dialect.startswith("openai") for route in routes):
            tier = AUTO  # a translation asks for none, so the provider decides
        rates = self.policy.prices.of(target)
        if self.posted_to is not None and rates is not None:
            return rates.most(most.prompt, most.output, BATCH_TIER), most
        return quote(rates, most.prompt, most.output, tier), most

    def most_tokens(self, target: Target) -> Tokens:
        """What a call counts as whose answer comes later, until it does."""
        most = self.bounds(target)
        return Tokens(input=most.prompt, output=most.output)

    def enter(self, targets: Sequence[Target]) -> None:
        """Take a place and a share of every rate that limits this call. Raises TurnedAway `limits.*`."""
        limits = self.snapshot.limits_of(self.workload)
        if self.caller.key.limits is not None:
            limits = [(f"key:{self.caller.key.id}", self.caller.key.limits), *limits]
        if limits:
            most = max(self.bounds(target).tokens for target in targets)
            try:
                self.ticket = self.world.throttle.admit(limits, most, now_ns=self.world.clock.now_ns())
            except TurnedAway as refusal:
                self.ticket = refusal.ticket  # through no gate; the answer says what is left
                raise

    def reserve(self, target: Target) -> None:
        """Hold the worst case of an attempt at a target, giving back what an earlier attempt held. Raises Exhausted, PolicyRefusal."""
        budgets = self.budgets
        if (not budgets and self.posted_to is None) or self.endpoint in STORED:
            return  # what is handed in is charged at what it holds, with or without a budget
        self.release()
        worst, most = self.quote(target)
        self.hold = self.world.budgets.reserve(budgets, worst, most.tokens, now_ms=self.world.clock.now_ms())
        self.held, self.held_tokens, self.held_output = show_usd(self.hold.usd), most.tokens, most.output

    def count_so_far(self) -> None:
        """Let a stream's budgets know now and then what it has come to, so that alerts need not wait for its end."""
        if self.hold is None or self.grant is None or self.call is None:
            return
        self.counts_at = self.seen_tokens + COUNT_EVERY
        tokens = Tokens(input=-(-self.call.size // 4), output=self.seen_tokens)
        so_far = charge(self.policy.prices.of(self.grant.target), tokens, self.terms).amount
        self.world.budgets.count(self.hold, so_far, tokens.prompt + tokens.completion)

    def release(self) -> None:
        """Give a hold back whole: nothing was sent under it, or what was sent failed unbilled."""
        if self.hold is not None:
            self.world.budgets.settle(self.hold, ZERO, 0)
            self.hold = None

    def _give_back(self, bill: Charge, tokens: Tokens) -> None:
        """Release what was held and taken, and count what it came to."""
        used = tokens.prompt + tokens.completion
        if self.hold is not None:
            self.world.budgets.settle(self.hold, bill.amount, used)
            self.hold = None
        if self.policy is not self.world.policy and self.endpoint not in STORED:
            self._count_in_new(bill, used)
        self.leave(used)
        if self.ticket is not None:
            self.world.throttle.leave(self.ticket, used, now_ns=self.world.clock.now_ns())

    def _count_in_new(self, bill: Charge, used: int) -> None:
        """Count a call in the budgets that were configured while it was under way."""
        after = self.world.snapshot
        workload = after.workloads.get(self.workload.name) if self.workload is not None else None
        pools, now_ms = {budget.pool for budget in self.budgets}, self.world.clock.now_ms()
        fresh = [budget for budget in after.budgets_of(workload) if budget.pool not in pools]
        self.world.budgets.correct(fresh, bill.amount or ZERO, used, then_ms=now_ms, now_ms=now_ms)

    # --- the end ----------------------------------------------------------------------------------------------

    def settle(self, outcome: str, *, status: int, error: FreeholdError | None = None) -> Charge:
        """End the call: charge, release the hold, write the one receipt, count it. What Freehold counted itself or gave again was sent nowhere."""
        is_sent, self.error = self.is_sent, error
        is_own = outcome == "ok" and (self.endpoint in COUNTS or self.cached is not None)
        outcome = outcome if is_sent or is_own else "refused"
        self.tried(outcome)
        self.life.to({"refused": State.REFUSED, "ok": State.SETTLED}.get(outcome, State.FAILED))
        target = self.grant.target if self.grant is not None and is_sent else None
        bill, tokens = self._bill(outcome, target)
        self._give_back(bill, tokens)
        receipt = self._receipt(outcome, status, error.code if error is not None else None, bill, tokens)
        try:
            self.world.ledger.settle(receipt)
        finally:
            self.world.metrics.count(receipt, target is None or target in self.policy.fleet.abilities)
            if self.snapshot.server.access_log:
                log_call(receipt)
            if self.span_id and self.world.telemetry.settings is not None:
                self.world.telemetry.took(self._told(receipt))
        return bill

    def _listed(self, target: Target) -> str:
        """A model's name for whoever is told of calls: what only a caller named is `other`."""
        return target.model if target in self.policy.fleet.abilities else "other"

    def _try(self, grant: Grant, result: str) -> Attempt:
        """What is told of the attempt that has ended."""
        name, began_s = grant.provider.known_as or grant.provider.name, self.attempt_began_s
        took_s = self.world.clock.monotonic_s() - began_s
        return Attempt(
            self.attempt_id, name, self._listed(grant.target), grant.zone.value, result, began_s - self.began_s, took_s
        )

    def _told(self, receipt: Receipt) -> Told:
        """What is told of the call."""
        assert self.trace is not None
        grant = self.grant if receipt.target is not None else None
        return Told(
            trace_id=self.trace.trace_id,
            span_id=self.span_id,
            parent_id=self.trace.parent_id,
            is_kept=self.trace.is_sampled,
            call_id=self.call_id,
            endpoint=receipt.endpoint,
            ended_s=self.world.clock.now_s(),
            took_s=self.world.clock.monotonic_s() - self.began_s,
            first_byte_s=receipt.first_byte_ms / 1000 if receipt.first_byte_ms is not None else None,
            status=receipt.status,
            outcome=receipt.outcome,
            code=receipt.code,
            class_=receipt.class_,
            workload=receipt.workload or "",
            zone=receipt.zone or "",
            provider=(grant.provider.known_as or grant.provider.name) if grant is not None else "",
            model=self._listed(grant.target) if grant is not None else "",
            is_stream=receipt.is_stream,
            input_tokens=max(0, receipt.tokens.prompt),
            output_tokens=max(0, receipt.tokens.completion),
            cost_usd=receipt.cost_usd,
            attempts=tuple(self.tries),
        )

    def _bill(self, outcome: str, target: Target | None) -> tuple[Charge, Tokens]:
        if self.cached is not None:
            return Charge(ZERO, "given again"), _NOTHING
        if target is None:
            return Charge(None, "nothing was sent"), _NOTHING
        rates, call = self.policy.prices.of(target), self.call
        if self.endpoint in STORED:
            return self._correction(outcome, rates)
        is_later = self.posted_to is not None or (call is not None and call.is_background)
        if is_later and self.tokens is None and outcome != "failed":
            worst, _ = self.quote(target)
            return Charge(worst, rates.source if rates else "unknown price", is_estimate=True), self.most_tokens(target)
        tokens, is_estimate = self._used(outcome)
        if outcome == "failed" and not self.seen_tokens:
            return Charge(ZERO, "nothing was answered"), tokens
        if self.told is not None and not is_estimate:
            return told(self.told, target.provider), tokens
        bill = charge(rates, tokens, self.terms, is_estimate=is_estimate)
        if call is not None and bill.amount is not None and uses_hosted(call.dialect, call.body):
            bill = msgspec.structs.replace(bill, source=f"{bill.source}, without the fees of hosted tools")
        return bill, tokens

    def _correction(self, outcome: str, rates: Tariff | None) -> tuple[Charge, Tokens]:
        """What a stored answer cost beside what was charged for it while its usage was not known: it may be less than nothing."""
        issued = self.issued
        if outcome != "ok" or self.tokens is None or issued is None or not issued.is_estimate:
            return Charge(ZERO, "nothing was used"), _NOTHING
        assert self.call is not None
        if not self.world.pools.is_first(f"answer {self.call.refers}", 0, "counted"):
            return Charge(ZERO, "counted already"), _NOTHING  # two asked at once
        bill, tokens = charge(rates, self.tokens, self.terms), issued.missing(self.tokens)
        if bill.amount is None or issued.cost is None:
            return Charge(None, bill.source), tokens
        amount = Usd(bill.amount - issued.cost)
        more = tokens.prompt + tokens.completion
        self.world.budgets.correct(self.budgets, amount, more, then_ms=issued.at_ms, now_ms=self.world.clock.now_ms())
        return Charge(amount, bill.source), tokens

    def _used(self, outcome: str) -> tuple[Tokens, bool]:
        """What was used: as reported; else, if anything may have been generated, an estimate (four bytes a token, an event a token)."""
        if self.endpoint in COUNTS:
            return _NOTHING, False  # providers count for nothing
        if self.tokens is not None and outcome in ("cut", "cancelled"):
            # What was told before the end is not the whole: at least as much was said as was seen.
            seen = self.seen_tokens - self.tokens.reasoning
            return msgspec.structs.replace(self.tokens, output=max(self.tokens.output, seen)), True
        if self.tokens is not None:
            return self.tokens, False
        if outcome in ("refused", "failed") and not self.seen_tokens:
            return _NOTHING, False
        size = self.call.size if self.call is not None else 0
        return Tokens(input=-(-size // 4), output=self.seen_tokens), True

    def _receipt(self, outcome: str, status: int, code: str | None, bill: Charge, tokens: Tokens) -> Receipt:
        grant, ruling, is_sent = self.grant, self.ruling, self.is_sent
        return Receipt(
            call=self.call_id,
            key=self.caller.key.id,
            workload=self.workload.name if self.workload else None,
            class_=(ruling.class_ if ruling else Class.RESTRICTED).label,
            department=self.workload.department if self.workload else None,
            degraded=self.degraded,
            model=self.model,
            endpoint=self.endpoint.value,
            outcome=outcome,
            code=code,
            status=status,
            target=grant.target.name if grant and is_sent else None,
            zone=grant.zone.value if grant and is_sent else None,
            tokens=tokens,
            cached=self.cached,
            tier=self.terms.tier,
            geo=self.terms.geo,
            cost_usd=show_usd(bill.amount) if bill.amount is not None else None,
            price=bill.source,
            is_estimate=bill.is_estimate,
            is_stream=self.call.is_stream if self.call else False,
            duration_ms=self.elapsed_ms(),
            first_byte_ms=self.first_byte_ms,
            answer=self.answer,
            reasons=ruling.reasons if ruling else (),
            attempts=tuple(self.attempts),
            lost=tuple(sorted(self.lost)),
            labels=ruling.labels if ruling else (),
            answer_id=self.answer_id,
            booked_ms=self.issued.at_ms if self.issued is not None and self.endpoint in STORED else None,
        )
