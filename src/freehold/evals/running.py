"""Run a task: ask every side about every case, score what comes back, and stop when it is decided, spent or over.

Rules: cases are taken in an order that depends on their ids alone, so that stopping early stops on a sample; what was answered is never asked again; a case
that the perimeter keeps from one side is in no side; nobody is asked while another call says that every call would be refused.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from freehold.evals import judging
from freehold.evals.answers import STOPPING, Answer, Ask, Asked, Replied, highest, read
from freehold.evals.datasets import Case
from freehold.evals.memory import Memory
from freehold.evals.scorers import Scorer, Unscored, Withheld, check, normal, scorer_of
from freehold.evals.tasks import Judged, Task, name_of
from freehold.kernel.errors import OperatorError

_SHORT = 60  # characters of an answer that may be one of few


class Side(msgspec.Struct, frozen=True):
    """What one side did with a case. scores: by metric, of each sample; codes: of errors; cost_usd: of a sample, on average, None if one is not known; said: a
    short answer, normalised.
    """

    scores: dict[str, list[float | None]]
    statuses: list[str]
    codes: list[str]
    cost_usd: float | None
    seconds: float
    calls: list[str]
    targets: list[str]
    classes: list[str]
    length: int
    digest: str
    said: str | None = None


class Scored(msgspec.Struct, frozen=True):
    """A case on every side. judged: by metric and open side, how far the judge prefers it, and what it said in each order."""

    id: str
    stratum: str
    cluster: str | None
    inputs: str
    sides: dict[str, Side]
    judged: dict[str, dict[str, tuple[float | None, tuple[float | None, float | None]]]] = {}
    is_withheld: bool = False  # from whoever was to score it
    usd: float = 0.0  # of every call for it, judges and all
    has_unknown: bool = False

    @property
    def is_forbidden(self) -> bool:
        return self.is_withheld or any("forbidden" in side.statuses for side in self.sides.values())

    @property
    def has_failed(self) -> bool:
        """Whether something went wrong on the way, so that the next run tries again."""
        return any("error" in side.statuses for side in self.sides.values())


@dataclass
class Progress:
    """How far a run is. usd: what it cost, now and before, judges and all; has_unknown: whether some calls have no price."""

    cases: int
    done: int = 0
    usd: float = 0.0
    has_unknown: bool = False


@dataclass
class Runner:
    """One run. where: which targets a workload has; owner_of: whose a case is, so
    that what is kept of it goes with whose key is destroyed; tell: told after every case; decided: whether what there is decides it, asked at every look of a watched run."""

    task: Task
    seal: str
    folder: Path
    ask: Ask
    memory: Memory
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    owner_of: Callable[[Case], str] = lambda _case: ""
    tell: Callable[[Progress], None] = lambda _progress: None
    decided: Callable[[Sequence[Scored]], bool] = lambda _scored: False
    stopped: str = ""
    progress: Progress = field(default_factory=lambda: Progress(0))
    _scorers: dict[str, Scorer] = field(default_factory=dict)
    _judges: dict[str, Judged] = field(default_factory=dict)
    _case_has: threading.local = field(default_factory=threading.local)
    _refusal: Replied | None = None

    def run(self, cases: Sequence[Case]) -> list[Scored]:
        """Every case, in the order in which they are taken. Raises OperatorError when every further call would be refused; what was done is kept."""
        chosen = in_order(cases)[: self.task.stopping.cases]
        for metric in self.task.metrics:
            check(metric, chosen)
            if isinstance(metric, Judged):
                judging.check_family(metric.target, self.task.sides, self.where)
                self._judges[name_of(metric)] = metric
            elif (scorer := scorer_of(metric, self.folder, self._asked)) is not None:
                self._scorers[name_of(metric)] = scorer
        self.progress, found = Progress(len(chosen)), list[Scored]()
        pool = ThreadPoolExecutor(self.task.ask.concurrency)
        try:
            for block in self._blocks(chosen):
                for future in [pool.submit(self._case, case) for case in block]:
                    found.append(self._result(future))
                    self.progress.done += 1
                    self.progress.usd += found[-1].usd
                    self.progress.has_unknown |= found[-1].has_unknown
                    self.tell(self.progress)
                if self._is_over(found):
                    break
        except BaseException:
            self._refusal = self._refusal or Replied(0, "", "stopped")
            pool.shutdown(wait=False, cancel_futures=True)  # nobody who wants to stop waits for a slow provider
            raise
        pool.shutdown()
        return found

    def _blocks(self, cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
        size = self.task.stopping.every if self.task.stopping.watched or self.task.stopping.usd else max(1, len(cases))
        for start in range(0, len(cases), size):
            yield cases[start : start + size]

    def _result(self, future: Future[Scored]) -> Scored:
        found = future.result()
        if self._refusal is not None:
            why = self._refusal
            raise OperatorError(f"The run stopped: {why.code}. What was answered is kept.", code="verdict.stopped", hint="Mend it, and run the same command again: nothing is asked twice.")  # fmt: skip
        return found

    def _is_over(self, found: Sequence[Scored]) -> bool:
        stopping, progress = self.task.stopping, self.progress
        if stopping.usd is not None and progress.usd >= stopping.usd:
            self.stopped = f"stopped after {progress.usd:.4g} USD, as the task says"
        elif stopping.watched and progress.done < progress.cases and self.decided(found):
            self.stopped = f"stopped after {progress.done:,} of {progress.cases:,} cases, because it is decided"
        return bool(self.stopped)

    # --- one case -----------------------------------------------------------------------------------------------

    def _case(self, case: Case) -> Scored:
        key = hashlib.sha256(f"{self.seal} {case.id}".encode()).hexdigest()
        if (raw := self.memory.scored(key)) is not None:
            return msgspec.json.decode(raw, type=Scored)
        self._case_has.failed = self._case_has.withheld = self._case_has.unknown = False
        self._case_has.usd, self._case_has.owner = 0.0, self.owner_of(case)
        replies = {}
        for target in sorted(self.task.sides, key=lambda name: hashlib.sha256(f"{case.id} {name}".encode()).digest()):
            where = ",".join(self.where.get(target, ()))
            body = body_of(self.task, case, target)
            replies[target] = [
                self._asked(Asked(body, case.class_, sample=at, where=where)) for at in range(self.task.ask.samples)
            ]
        texts = {target: [read(reply) for reply in each] for target, each in replies.items()}
        # Whoever is shown any of it to score it is asked as the highest that any side was ruled to be: it is all of one case.
        class_ = highest(answer.class_ for each in texts.values() for answer in each)
        texts = {
            target: [msgspec.structs.replace(one, class_=class_) for one in each] for target, each in texts.items()
        }
        sides = {target: self._side(case, replies[target], texts[target]) for target in texts}
        judged = {name: self._judge(judge, case, texts) for name, judge in self._judges.items()}
        inputs = hashlib.sha256(msgspec.json.encode([case.messages, case.tools], order="sorted")).hexdigest()
        scored = Scored(
            case.id,
            case.stratum,
            case.cluster,
            inputs,
            sides,
            judged,
            self._case_has.withheld,
            self._case_has.usd,
            self._case_has.unknown,
        )
        if self._refusal is None and not (scored.has_failed or scored.is_forbidden or self._case_has.failed):
            self.memory.keep_scored(
                key, msgspec.json.encode(scored), self._case_has.owner
            )  # anything else may be mended, and is tried again
        return scored

    def _side(self, case: Case, replies: Sequence[Replied], answers: Sequence[Answer]) -> Side:
        statuses, scores = [answer.status for answer in answers], {name: list[float | None]() for name in self._scorers}
        for at, answer in enumerate(answers):
            for name, scorer in self._scorers.items():
                value = self._score(scorer, case, answer)
                scores[name].append(value)
                if (
                    value is None
                    and answer.status == "ok"
                    and name == name_of(self.task.metrics[0])
                    and not self._case_has.failed
                ):
                    statuses[at] = "unparseable"
        costs = [reply.cost_usd for reply in replies]
        text = "\n".join(answer.text for answer in answers)
        short = normal(answers[0].text)
        return Side(
            scores=scores,
            statuses=statuses,
            codes=[reply.code for reply in replies if reply.code],
            cost_usd=sum(cost for cost in costs if cost is not None) / len(costs) if None not in costs else None,
            seconds=sum(reply.seconds for reply in replies) / len(replies),
            calls=[reply.call for reply in replies],
            targets=[reply.target for reply in replies],
            classes=[answer.class_ for answer in answers],
            length=sum(len(answer.text) for answer in answers) // len(answers),
            digest=hashlib.sha256(
                (text + repr([answer.tool_calls for answer in answers])).encode("utf-8", "replace")
            ).hexdigest(),
            said=short if len(short) <= _SHORT else None,
        )

    def _score(self, scorer: Scorer, case: Case, answer: Answer) -> float | None:
        if answer.status != "ok":
            return None
        try:
            return scorer(case, answer)
        except Withheld:
            self._case_has.withheld = True
        except Unscored:
            self._case_has.failed = True
        return None

    def _judge(self, metric: Judged, case: Case, texts: dict[str, list[Answer]]) -> dict[str, Any]:
        """What a judge says of each open side's first answer, beside the closed one's. Of what failed on the way or was kept in, nothing."""
        closed, found = texts[self.task.targets.closed][0], {}
        try:
            of_closed = (
                judging.passes(metric, self._asked, case, closed)
                if metric.mode == "grade" and _is_told(closed)
                else None
            )
            for name in self.task.opens:
                answer = texts[name][0]
                if not _is_told(answer) or not _is_told(closed):
                    continue
                if metric.mode == "pair":
                    found[name] = judging.prefers(metric, self._asked, case, answer, closed)
                else:
                    found[name] = None, (judging.passes(metric, self._asked, case, answer), of_closed)
        except Withheld:
            self._case_has.withheld = True
        except Unscored:
            self._case_has.failed = True
        return found

    def _asked(self, asked: Asked) -> Replied:
        """Ask, unless it was asked before, or nothing more is to be."""
        key = asked.key
        replied = self.memory.reply(key)
        if replied is None:
            if self._refusal is not None:
                return self._refusal
            replied = self.ask(asked)
            if replied.code in STOPPING:
                self._refusal = replied
            elif _is_worth_keeping(asked, replied):
                self.memory.keep_reply(key, replied, self._case_has.owner)
        self._case_has.usd += replied.cost_usd or 0.0
        self._case_has.unknown |= replied.cost_usd is None and replied.status == 200
        return replied


def _is_worth_keeping(asked: Asked, replied: Replied) -> bool:
    """What came back whole: an answer, a refusal, a vector. Anything else may come back better the next time."""
    if asked.path == "/chat/completions":
        return read(replied).status not in ("error", "forbidden")
    return replied.status == 200 and '"embedding"' in replied.body


def _is_told(answer: Answer) -> bool:
    """Whether an answer, good or bad, is the model's own."""
    return answer.status not in ("error", "forbidden")


def in_order(cases: Sequence[Case]) -> list[Case]:
    """An order that depends on the ids alone, and on nothing that they mean."""
    return sorted(cases, key=lambda case: hashlib.sha256(f"order {case.id}".encode()).digest())


def body_of(task: Task, case: Case, target: str) -> dict[str, Any]:
    """The call that asks a target about a case."""
    body: dict[str, Any] = {"model": target, "messages": case.messages, **task.ask.body}
    if task.ask.temperature is not None:
        body["temperature"] = task.ask.temperature
    if task.ask.max_tokens is not None:
        body["max_tokens"] = task.ask.max_tokens
    if case.tools:
        body["tools"] = case.tools
    if "response_format" in case.fields:
        body["response_format"] = case.fields["response_format"]
    return body
