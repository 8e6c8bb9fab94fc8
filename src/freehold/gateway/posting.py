"""Lines of a batch whose target takes them together, for less: set aside by the spine, handed in as one parcel, charged when their answers come.

Each line is a call of its own: ruled on, held, with an intent and a grant of its own; only the way there is shared. It is settled when its provider
has taken the parcel, at the most that it can cost; what it really cost comes as a correction with its answer.
Rules: an attested target never gets a call so, because batch endpoints keep what they are given; a call that asks for a tier of its own, refers to what
a provider holds, or would not cost less goes the ordinary way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from freehold.gateway.attempts import check_utf8, intend, leased
from freehold.gateway.fitting import Unfit
from freehold.gateway.lifecycle import State
from freehold.gateway.run import Run
from freehold.gateway.world import World
from freehold.jobs.parcels import Described, Packed, Seen
from freehold.jobs.questions import Answer
from freehold.kernel.classes import Zone
from freehold.kernel.errors import Bug, FreeholdError, UpstreamError
from freehold.kernel.ids import make_id
from freehold.kernel.progress import Progress
from freehold.kernel.routes import Route
from freehold.kernel.snapshot import Target
from freehold.kernel.units import ZERO, Terms, Tokens, Usd, show_usd
from freehold.ledger.budgets import Exhausted
from freehold.ledger.ledger import Receipt
from freehold.ledger.recalling import Charged, recall
from freehold.pricing.book import Charge, charge, told
from freehold.routing.plan import Plan
from freehold.upstream import posting
from freehold.upstream.door import CALLERS_STATUS, Rejected
from freehold.upstream.posting import STYLES, Courier, Outcome, Part, Style
from freehold.wire import canonical, failures
from freehold.wire.call import NOWHERE, Call, Endpoint
from freehold.wire.dialect import MISSHAPEN
from freehold.wire.dialects import DIALECTS, SPOKEN
from freehold.wire.restoring import Restorer
from freehold.wire.tiers import AUTO, BATCH, asked_tier

_MAY_GROW = 2  # so many times may a body become longer when it is written in another dialect
_TOGETHER_S = 0.05  # so long others may join who have to read the log
_SETTLED_WITHIN = 60  # seconds, in which calls of a dead process get their end
_IN_BATCH = Terms(BATCH)


class Sent(msgspec.Struct, frozen=True):
    """What must be known of a line to read its answer and charge it, by whichever process. asked: the caller's own body, where the answer has to be
    written in its dialect; at_ms: when the call began; zone, geo: where it went.
    """

    call: str
    key: str
    workload: str | None
    department: str | None
    class_: str
    model: str
    spoken: str
    endpoint: str
    target: str
    zone: str
    dialect: str
    family: str
    tells_cost: bool
    geo: str
    at_ms: int
    asked: bytes | None = None
    originals: dict[str, str] = {}
    lost: tuple[str, ...] = ()


_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Sent).decode


def asked_later(run: Run, call: Call, plan: Plan) -> bool:
    """Set a call aside, if its first target takes it together with others, for less. It keeps no place among those that are served at once."""
    if not run.asked.may_be_posted or not way_of(run, call, plan.attempts[0]):
        return False
    run.posted_to = plan.attempts[0]
    if run.ticket is not None:
        run.world.throttle.leave(run.ticket, None, now_ns=run.world.clock.now_ns())
        run.ticket = None
    return True


def way_of(run: Run, call: Call, target: Target) -> str:
    """With which others a call can be handed in: those of the same word; "" for none."""
    provider = run.snapshot.providers[target.provider]
    if (
        not provider.batches
        or call.refers
        or call.needs_state
        or call.unrecorded
        or call.is_background
        or call.is_stream
    ):
        return ""
    rates, zone = run.policy.prices.of(target), run.policy.zone_of(target)
    if zone is Zone.ATTESTED or rates is None or not rates.saves(BATCH):
        return ""
    if asked_tier(call.dialect, call.body) not in ("", AUTO) or rates.cost(run.most_tokens(target), _IN_BATCH) is None:
        return ""
    assert run.fits is not None
    style = STYLES[provider.batches]
    try:
        fitted = run.fits.to(target)
    except Unfit:  # its zone is another now
        return ""
    if fitted.body is None or not style.takes(fitted.dialect.name, fitted.path):
        return ""
    if call.size * _MAY_GROW > style.most_bytes:
        return ""
    parts = (target.provider, provider.batches, zone.value, fitted.path, target.model if style.is_of_one_model else "")
    return " ".join(parts).strip()


class Post:
    """Hands parcels in and fetches what came of them; the runner of batches is handed one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._charged: dict[str, dict[str, Charged]] = {}  # by parcel: what was charged for its calls so far
        self._asked: dict[str, tuple[set[str], int]] = {}  # by parcel: calls to be recalled, and since when
        self._recalling = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "recall")

    def most(self, way: str) -> tuple[int, int]:
        """How many lines a parcel may have, and how many bytes. Raises UpstreamError when its provider takes none any more."""
        style, courier = self._courier(way)
        if not courier.provider.batches:
            raise UpstreamError(f"{courier.provider.name!r} takes no batches any more.", code="upstream.gone")
        return style.most, style.most_bytes

    def is_current(self, way: str, run: Run) -> bool:
        """Whether a call that was set aside would be set aside so still: the configuration, its key and its target's zone may be others by now."""
        world, (call, target), key = self._world, _call_of(run), run.caller.key
        world.keys.refresh(world.clock.monotonic_s())
        is_same = run.snapshot is world.snapshot and world.keys.get(key.id) == key
        return is_same and way_of(run, call, target) == way

    async def describe(self, way: str, runs: Sequence[Run]) -> Described:
        """Name a parcel, and say what must be known of each of its calls to open their answers."""
        sent = [_encode(_described(run)) async for run in _gently(runs)]
        return Described(make_id("parcel", self._world.clock.now_ms()), way, sent)

    async def pack(self, runs: Sequence[Run]) -> Packed:
        """Rule on each call as it is now, hold its money and write its intent; what is refused has its receipt, and is no part. Raises FreeholdError
        where nothing can be written down; every call has ended then.
        """
        parts: list[Part | None] = []
        short: set[int] = set()
        failure, is_whole = None, False
        try:
            async for run in _gently(runs):
                try:
                    parts.append(await leased(run, partial(_part, run)))
                except FreeholdError as error:
                    _ended(run, error)
                    if isinstance(error, Exhausted):
                        short.add(len(parts))
                    parts.append(None)
                except MISSHAPEN as bug:  # one line's trouble, not everybody's
                    _ended(run, Bug(type(bug).__name__, code="bug"))
                    parts.append(None)
            await self._world.ledger.durable()
            is_whole = True
        except FreeholdError as error:
            failure = error
            raise
        finally:  # also when this was cancelled: nothing has left, so nothing is held
            if not is_whole:
                for run in runs:
                    _ended(run, failure)
        return Packed(parts, short)

    async def hand_in(self, parcel: Described, packed: Packed, runs: Sequence[Run]) -> str:
        """Hand a parcel in, and settle its calls: at the most that they can cost, or as failed. Returns the provider's id of it, "" when nobody knows
        whether it was taken. Raises FreeholdError when it was not, Rejected when it was refused as it is.
        """
        parts = [part for part in packed.parts if part is not None]
        live = [run for run, part in zip(runs, packed.parts, strict=True) if part is not None]
        about, outcome, failure = "", "cut", None
        try:
            style, courier = self._courier(parcel.way)
            for run in live:
                run.life.to(State.SENT)
            about = await style.hand_in(courier, parcel.parcel, parts)
            outcome = "ok"
        except FreeholdError as error:
            failure = error
            if not posting.is_unsure(error):
                outcome = "failed"
                raise
        finally:  # also when this was cancelled, and it may be there or not
            await self._settle(parcel.parcel, live, outcome, failure)
        return about

    async def _settle(self, parcel: str, runs: Sequence[Run], outcome: str, failure: FreeholdError | None) -> None:
        charged, rest = self._charged.setdefault(parcel, {}), iter(runs)
        status = 202 if outcome == "ok" else failure.status if failure is not None else 499

        def settle(run: Run) -> None:
            run.tried(failure.code if failure is not None else outcome)
            bill = run.settle(outcome, status=status, error=failure)
            used = run.most_tokens(_call_of(run)[1]) if outcome != "failed" else Tokens()
            charged[run.call_id] = Charged(bill.amount, used, outcome, self._world.clock.now_ms())

        try:
            async for run in _gently(rest):
                settle(run)
        finally:
            for run in rest:
                settle(run)
            self._world.ledger.flush()

    async def find(self, way: str, parcel: str) -> str | None:
        """A parcel of which nobody knows whether it was taken. Raises FreeholdError while that cannot be told."""
        style, courier = self._courier(way)
        return await style.find(courier, parcel)

    async def clear(self, way: str, parcel: str) -> None:
        """Delete what was uploaded for a parcel that was never taken."""
        style, courier = self._courier(way)
        await style.clear(courier, parcel)

    def finds(self, way: str) -> bool:
        """Whether a parcel that is not found was not taken. Raises FreeholdError."""
        return self._courier(way)[0].finds

    async def look(self, way: str, about: str) -> Progress:
        style, courier = self._courier(way)
        return await style.look(courier, about)

    async def cancel(self, way: str, about: str) -> None:
        style, courier = self._courier(way)
        await style.cancel(courier, about)

    async def drop(self, way: str, about: str, progress: Progress) -> None:
        style, courier = self._courier(way)
        await style.drop(courier, about, progress)

    async def recall(self, parcel: str, sent: Sequence[bytes]) -> None:
        """Learn what was charged for a parcel's calls, if another process handed it in. The log is read once for all parcels that ask at the time."""
        if parcel in self._charged:
            return
        known = [_decode(one) for one in sent]
        self._asked[parcel] = {one.call for one in known}, min((one.at_ms for one in known), default=0)
        await asyncio.sleep(_TOGETHER_S)
        async with self._recalling:
            if parcel in self._asked:
                await self._recall_all()

    async def _recall_all(self) -> None:
        asked = dict(self._asked)
        calls = set[str]().union(*(one for one, _ in asked.values()))
        folder, since = self._world.state / "log", min(at_ms for _, at_ms in asked.values())
        loop = asyncio.get_running_loop()
        for _ in range(_SETTLED_WITHIN):
            found = await loop.run_in_executor(self._thread, recall, folder, calls, since)
            if not found.under_way:  # a dead worker's calls are ended by its supervisor, which may take a moment
                break
            await asyncio.sleep(1.0)
        for parcel, (own, _) in asked.items():
            self._charged[parcel] = {call: found.charged[call] for call in own & found.charged.keys()}
            self._asked.pop(parcel, None)

    async def settled(self) -> None:
        """Bring on the disk what was corrected so far. Raises OperatorError."""
        await self._world.ledger.durable()

    def forget(self, parcel: str) -> None:
        self._charged.pop(parcel, None)

    async def open(
        self, way: str, parcel: str, about: str, progress: Progress, sent: Sequence[bytes]
    ) -> AsyncIterator[Seen]:
        """Read what came of a parcel, and correct what was charged for each call. Raises FreeholdError where it cannot be read to its end."""
        style, courier = self._courier(way)
        known = {_decode(one).call: place for place, one in enumerate(sent)}
        async for outcome in style.results(courier, about, progress):
            place = known.pop(outcome.call, None)
            if place is not None:
                yield Seen(place, self._opened(parcel, _decode(sent[place]), outcome))
                self._world.ledger.flush()
            elif not outcome.call:
                yield Seen(None, None)

    def void(self, parcel: str, sent: bytes) -> None:
        """Nothing came of a call, and nothing is to be paid for it."""
        self._correct(parcel, _decode(sent), Charge(ZERO, "nothing was answered"), Tokens())

    def let_go(self, runs: Sequence[Run]) -> None:
        """End calls that were set aside and never handed in."""
        for run in runs:
            _ended(run, None)

    def _opened(self, parcel: str, sent: Sent, outcome: Outcome) -> Answer | None:
        if outcome.status != 200:
            self._correct(parcel, sent, Charge(ZERO, "nothing was answered"), Tokens())
            if outcome.status not in CALLERS_STATUS:  # on its own, another try or another target may do
                return None
            return _refused(sent, outcome)
        try:
            body, used = _read(sent, outcome.body)
        except (canonical.InvalidAnswer, canonical.FailedAnswer, *MISSHAPEN):
            invalid = UpstreamError(
                f"{sent.target!r} sent something that is not an answer.", code="upstream.invalid_answer"
            )
            return _refusal(sent.spoken, invalid, sent.call)
        tokens = used.tokens if used is not None else None
        if tokens is None:
            return Answer(200, body, sent.call)  # what it used is not known, so it stays at the most that it could
        rates = self._world.policy.prices.of(_target(sent.target))
        if sent.tells_cost and used is not None and used.cost is not None:
            bill = told(used.cost, sent.target.partition("/")[0])
        else:
            bill = charge(rates, tokens, Terms(BATCH, sent.geo, sent.at_ms))
        self._correct(parcel, sent, bill, tokens)
        return Answer(200, body, sent.call, tokens=tokens)

    def _correct(self, parcel: str, sent: Sent, bill: Charge, tokens: Tokens) -> None:
        """Write the difference to what was charged, once."""
        world, so_far = self._world, self._charged.get(parcel, {}).get(sent.call)
        if so_far is None or bill.amount is None:
            return
        amount = Usd(bill.amount - (so_far.cost or ZERO))
        each = {name: getattr(tokens, name) - getattr(so_far.tokens, name) for name in Tokens.__struct_fields__}
        missing = Tokens(**each)
        if not amount and missing == Tokens():
            return
        receipt = Receipt(
            call=make_id("call", world.clock.now_ms()),
            corrects=sent.call,
            key=sent.key,
            workload=sent.workload,
            department=sent.department,
            class_=sent.class_,
            model=sent.model,
            endpoint=sent.endpoint,
            outcome=so_far.outcome,
            code=None,
            status=200,
            target=sent.target,
            zone=sent.zone,
            tokens=missing,
            cost_usd=show_usd(amount),
            price=bill.source,
            is_estimate=False,
            is_stream=False,
            duration_ms=world.clock.now_ms() - sent.at_ms,
            first_byte_ms=None,
            answer=None,
            reasons=(),
            attempts=(),
            lost=sent.lost,
            booked_ms=so_far.at_ms,
            tier=BATCH,
            geo=sent.geo,
        )
        world.ledger.settle(receipt)
        self._charged[parcel][sent.call] = Charged(bill.amount, tokens, so_far.outcome, so_far.at_ms)
        key = world.keys.get(sent.key)
        workload = world.snapshot.workloads.get(sent.workload or "")
        budgets = (*(key.budgets if key is not None else ()), *world.snapshot.budgets_of(workload))
        now_ms, more = world.clock.now_ms(), missing.prompt + missing.completion
        world.budgets.correct(budgets, amount, more, then_ms=so_far.at_ms, now_ms=now_ms)
        world.metrics.count(receipt, _target(sent.target) in world.policy.fleet.abilities)

    def _courier(self, way: str) -> tuple[Style, Courier]:
        """Whoever speaks with a way's provider, in the style in which it was begun. Raises UpstreamError if that is configured no more."""
        world, (name, style_name, *_) = self._world, way.split(" ")
        provider, style = world.snapshot.providers.get(name), STYLES.get(style_name)
        if provider is None or style is None:
            raise UpstreamError(f"{name!r} takes no batches any more.", code="upstream.gone")
        return style, Courier(world.transport, provider, _route_of(style, provider.routes), world.clock)


async def _gently(runs: Iterable[Run]) -> AsyncIterator[Run]:
    """One after the other, with others served in between."""
    for place, run in enumerate(runs):
        yield run
        if place % 32 == 31:
            await asyncio.sleep(0)


def _ended(run: Run, error: FreeholdError | None) -> None:
    """End a call of which nothing has left."""
    if not run.life.is_over:
        run.tried(error.code if error is not None else "cancelled")
        run.settle("failed", status=error.status if error is not None else 499, error=error)


def _call_of(run: Run) -> tuple[Call, Target]:
    """What was set aside, and for where."""
    assert run.call is not None
    assert run.posted_to is not None
    return run.call, run.posted_to


def _described(run: Run) -> Sent:
    call, target = _call_of(run)
    assert run.fits is not None
    assert run.ruling is not None
    fitted = run.fits.to(target)
    made = fitted.transformed
    return Sent(
        call=run.call_id,
        key=run.caller.key.id,
        workload=run.workload.name if run.workload else None,
        department=run.workload.department if run.workload else None,
        class_=run.ruling.class_.label,
        model=run.model,
        spoken=run.asked.dialect,
        endpoint=run.endpoint.value,
        target=target.name,
        zone=run.policy.zone_of(target).value,
        dialect=fitted.dialect.name,
        family=fitted.route.traits.family,
        tells_cost=fitted.route.traits.tells_cost,
        geo=run.snapshot.providers[target.provider].geo,
        at_ms=run.world.clock.now_ms() - run.elapsed_ms(),  # when the call began, as its own receipt has it
        asked=None if fitted.is_same else _encode(call.body),
        originals=made.originals if made is not None else {},
        lost=tuple(sorted(fitted.lost)),
    )


def _part(run: Run) -> Part:
    """One call's part of a parcel, with its money held and its intent in the log. Raises FreeholdError."""
    call, target = _call_of(run)
    fitted, permit, body = intend(run, call, target)
    assert body is not None
    run.lost |= fitted.lost
    return Part(run.call_id, permit, fitted.path, body)


def _read(sent: Sent, raw: bytes) -> tuple[bytes, canonical.Used | None]:
    """An answer as its caller gets it, and what was used for it."""
    dialect = DIALECTS[sent.dialect]
    check_utf8(raw)
    if sent.asked is None:
        body, used = raw, dialect.used_of(raw)
    else:
        spoken = SPOKEN[sent.spoken]
        call = spoken.read_call(Endpoint(sent.endpoint), sent.asked, NOWHERE)
        answer = dialect.read_answer(raw, sent.family)
        answer.id, answer.created = answer.id or sent.call, answer.created or sent.at_ms // 1000
        answer.model = answer.model or sent.target.partition("/")[2]
        body, used = spoken.write_answer(answer, call, set()), answer.used
    return Restorer(sent.originals).whole(body) if sent.originals else body, used


def _refused(sent: Sent, outcome: Outcome) -> Answer:
    """What is wrong with a call, as its provider said it if its caller speaks that dialect."""
    error = Rejected(outcome.status, outcome.body, failures.read(outcome.status, outcome.body))
    shown = UpstreamError(error.words or error.message, code=error.code, status=outcome.status)
    body = outcome.body if sent.dialect == sent.spoken and outcome.body else b""
    try:
        check_utf8(body)
    except MISSHAPEN:
        body = b""
    return Answer(outcome.status, body or SPOKEN[sent.spoken].write_error(shown), sent.call, error.code)


def _target(name: str) -> Target:
    provider, _, model = name.partition("/")
    return Target(provider, model)


def _route_of(style: Style, routes: Sequence[Route]) -> Route:
    """The route whose headers and key a style's requests carry."""
    paths = (("openai-chat", "chat/completions"), ("anthropic-messages", "messages"), ("gemini", ":generateContent"))
    spoken = [dialect for dialect, path in paths if style.takes(dialect, path)]
    return next((route for route in routes if route.dialect in spoken), routes[0])


def _refusal(dialect: str, error: FreeholdError, call: str = "") -> Answer:
    return Answer(error.status, SPOKEN[dialect].write_error(error), call, error.code, retry_after_s=error.retry_after_s)
