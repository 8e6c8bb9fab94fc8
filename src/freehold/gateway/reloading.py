"""Change the configuration while Freehold runs: read the file anew, prove it, and only then swap the whole policy.

Rules (DESIGN §3, law 10): a file that cannot be served changes nothing, and it is said why; a call goes on under the policy that it began
with; the log says which policy holds from where on, and who asked for it. A file is read once it has stayed as it is for a look, because half
of one may be a valid file too. Calls that are under way when a budget is added count in it where they end.
What it does not know: how many processes serve (`workers` does).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from freehold.gateway.app import policy_of
from freehold.gateway.line import Line, Message
from freehold.gateway.logs import log, log_bug
from freehold.gateway.preparing import Prepared, open_keys, revise
from freehold.gateway.seeding import Spent, spent_before
from freehold.gateway.world import World
from freehold.kernel.config import Surroundings, read
from freehold.kernel.errors import Bug, FreeholdError, OperatorError
from freehold.kernel.snapshot import Snapshot
from freehold.kernel.units import Usd
from freehold.ledger.pools import Pools

LOOK_EVERY_S = 1.0


class Reloaded(NamedTuple):
    """What came of it: the digest of the policy that holds now, and whether it is another than before."""

    policy: str
    is_changed: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where the configuration comes from (None: nowhere, so Freehold looked around), and what it may refer to. seen: how the file was before it was read."""

    file: Path | None
    around: Surroundings
    seen: Seen

    @classmethod
    def of(cls, file: Path | None, around: Surroundings) -> Source:
        """Ask before the file is read, so that what is saved while it is read is noticed."""
        return cls(file, around, seen_at(file))

    def text(self) -> str:
        """What the file says now. Raises OperatorError `config.unreadable`, `config.no_file`."""
        if self.file is None:
            raise OperatorError(
                "Freehold was started without a freehold.toml, so there is nothing to read anew.",
                code="config.no_file",
                hint="Write one with 'freehold init', and start again.",
            )
        try:
            return self.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(
                f"{str(self.file)!r} cannot be read ({type(error).__name__}).",
                code="config.unreadable",
                hint="Nothing has changed. Check the path, and that it is UTF-8 text.",
            ) from None

    def read(self, text: str) -> Snapshot:
        """Raises ConfigError with every problem that was found."""
        folder = self.file.parent if self.file is not None else Path()
        return read(text, replace(self.around, folder=folder), source=str(self.file))


Seen = tuple[int, int, int] | None


def seen_at(file: Path | None) -> Seen:
    """How a file is now: when it was written, which one it is, how long; None if there is none."""
    try:
        found = os.stat(file) if file is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size) if found is not None else None


class Watch:
    """Notices that a file has become another. Look about once a second."""

    def __init__(self, source: Source) -> None:
        self._file = source.file
        self._known = self._last = source.seen

    def is_changed(self) -> bool:
        """True once for each change, when the file is as it was at the look before."""
        now, before = seen_at(self._file), self._last
        self._last = now
        if now is None or now != before or now == self._known:
            return False  # gone (an editor may be putting another in its place), still being written, or the same
        self._known = now
        return True


class Reloading:
    """Reloads one process. adopt: swaps the policy of its world."""

    def __init__(self, world: World, prepared: Prepared, source: Source) -> None:
        self.world, self._prepared, self._source = world, prepared, source
        self._turn = asyncio.Lock()

    async def reload(self, by: str) -> Reloaded:
        """Read the file and serve with it. Raises FreeholdError; nothing has changed then."""
        try:
            check_place(self._prepared)
            return await self.adopt(await asyncio.to_thread(self._source.text), by)
        except FreeholdError as error:
            tell_refusal(error, by)
            raise

    async def adopt(self, text: str, by: str, *, seeds: bool = True) -> Reloaded:
        """Serve with this configuration. seeds: count what new budgets have spent before, because nobody else does."""
        async with self._turn:
            world, before = self.world, self.world.snapshot
            with refusing():
                revised = await asyncio.to_thread(lambda: revise(self._prepared, self._source.read(text)))
                spent = await asyncio.to_thread(spent_in, revised) if seeds else []
                if spent:
                    world.ledger.flush()
                    spent = spent_in(revised)  # with what has ended since: only little is read
            is_changed = swap(world, revised, by)
            now_ms = world.clock.now_ms()
            for budget, start_ms, missing in missing_of(world.pools, before, revised, spent):
                world.budgets.correct([budget], Usd(missing), int(missing), then_ms=start_ms, now_ms=now_ms)
            self._prepared = revised
            return Reloaded(revised.snapshot.digest, is_changed)

    async def watch(self) -> None:
        """Reload whenever the file has changed."""
        look = Watch(self._source)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.world.snapshot.server.watch and look.is_changed():
                await self._quietly("file")

    def on_hangup(self, stop: asyncio.Event) -> None:
        """Reload on SIGHUP; where the terminal has gone away, end in order."""
        had_terminal, tasks = os.isatty(2), set[asyncio.Task[None]]()

        def hung_up() -> None:
            if had_terminal and not os.isatty(2):
                stop.set()
                return
            task = asyncio.ensure_future(self._quietly("signal"))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)

    async def _quietly(self, by: str) -> None:
        try:
            await self.reload(by)
        except FreeholdError:
            return  # it was told
        except Exception as bug:  # the border: whatever a file does to its reader, what serves goes on
            log_bug(bug)


class Asking:
    """Reloads one of several processes: asks the supervisor, and does what it says."""

    def __init__(self, reloading: Reloading, line: Line) -> None:
        self._reloading, self._line = reloading, line
        self._waiting: list[asyncio.Future[Message]] = []
        self.may_serve = asyncio.Event()  # the one before has stopped accepting, where there is one
        self._tasks = set[asyncio.Task[None]]()

    async def reload(self, by: str) -> Reloaded:
        """Have the file read anew, for all. Raises FreeholdError; nothing has changed then."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._line.say({"reload": by})
        match await answer:
            case {"reloaded": str(digest), "changed": bool(is_changed)}:
                return Reloaded(digest, is_changed)
            case {"error": dict(error)}:
                raise OperatorError(error["message"], code=error["code"], hint=error["hint"])
            case other:
                raise Bug(f"the supervisor said {sorted(other)}", code="bug")

    def hear(self, message: Message) -> None:
        """Take in what the supervisor says."""
        if "go" in message:
            self.may_serve.set()
        elif "leave" in message:
            self._reloading.world.has_successor = True
        elif "adopt" in message:
            task = asyncio.ensure_future(self._adopt(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif self._waiting and not (answer := self._waiting.pop(0)).done():
            answer.set_result(message)

    async def _adopt(self, message: Message) -> None:
        try:
            await self._reloading.adopt(message["adopt"], message["by"], seeds=False)
        except FreeholdError as error:
            tell_refusal(error, message["by"])
            return
        self._line.say({"adopted": message["number"]})


def check_place(prepared: Prepared) -> None:
    """Raises OperatorError `takeover.under_way` while another takes this one's place: it has read the file itself."""
    if prepared.steward.is_lent:
        raise OperatorError(
            "Another Freehold is taking this one's place, so nothing has changed here.",
            code="takeover.under_way",
            hint="Ask again in a moment: the other one answers then.",
        )


@contextmanager
def refusing() -> Iterator[None]:
    """What the disk or a store says is a reason not to reload, and no reason to end."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise OperatorError(
            f"What the new configuration needs cannot be read or written ({type(error).__name__}).",
            code="config.not_reloaded",
            hint="Nothing has changed. Check the disk of the state directory.",
        ) from None


def spent_in(prepared: Prepared) -> list[Spent]:
    """What every budget of a configuration has spent, from the receipts."""
    with closing(open_keys(prepared.state, prepared.snapshot.nodes)) as keys:
        return spent_before(prepared, keys)


def swap(world: World, revised: Prepared, by: str) -> bool:
    """Let new calls begin under another policy; returns whether it differs. Raises OperatorError while the log cannot be written, and then nothing has changed."""
    before, snapshot = world.snapshot, revised.snapshot
    is_changed = before.digest != snapshot.digest
    if is_changed:
        world.ledger.note("policy", {**revised.facts, "before": before.digest, "by": by})
    world.budgets.zone = snapshot.organisation.zone
    world.alerts.organisation = snapshot.organisation
    world.telemetry.settings = snapshot.telemetry
    world.policy = policy_of(revised, world.health)
    log("reloaded", policy=snapshot.digest, by=by, changed=str(is_changed).lower())
    return is_changed


def missing_of(pools: Pools, before: Snapshot, revised: Prepared, spent: Sequence[Spent]) -> list[Spent]:
    """What budgets that are new have spent in their running period, beyond what is counted already."""
    is_same_day = before.organisation.zone == revised.snapshot.organisation.zone
    known = {budget.pool for budget in before.budgets}
    found = []
    for budget, start_ms, amount in spent:
        is_known = budget.pool in known or budget.scope.startswith("key:")
        if is_known and (is_same_day or budget.period == "total"):
            continue
        missing = amount - pools.use(budget.pool, start_ms).spent
        if missing > 0:
            found.append((budget, start_ms, missing))
    return found


def tell_refusal(error: FreeholdError, by: str) -> None:
    """Say why nothing has changed."""
    log("reload_refused", by=by, code=error.code, why=error.text)
