"""What a run will cost, before it does: an upper bound out of the calls' sizes and answers' limits, retries left out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import msgspec

from freehold.evals.datasets import Case
from freehold.evals.running import body_of, in_order
from freehold.evals.tasks import Judged, Similar, Task
from freehold.kernel.units import Usd
from freehold.pricing.book import Tariff, quote

_BYTES, _USUAL = 4, 512  # of a token; tokens of an answer where no limit is set
_RUBRIC = 200  # tokens of what a judge is told beside the answers


class Estimate(msgspec.Struct, frozen=True):
    """calls: how many; usd: the most, by target, None where its price is not known."""

    calls: int
    usd: dict[str, Decimal | None]

    @property
    def total(self) -> Decimal:
        return sum((one for one in self.usd.values() if one is not None), Decimal(0))


def estimate(task: Task, cases: Sequence[Case], rates: Callable[[str], Tariff | None]) -> Estimate:
    """The most that a run can cost, if nothing was answered before."""
    taken = in_order(cases)[: task.stopping.cases]
    sizes = [len(msgspec.json.encode(body_of(task, case, ""))) // _BYTES + 1 for case in taken]
    answer = task.ask.max_tokens or _USUAL
    usd: dict[str, Decimal | None] = {}
    calls = 0
    for target in task.sides:
        calls += len(taken) * task.ask.samples
        usd[target] = _most(rates(target), [(size, answer) for size in sizes for _ in range(task.ask.samples)])
    for metric in task.metrics:
        if isinstance(metric, Judged):
            asked = 2 * len(task.opens) if metric.mode == "pair" else 1 + len(task.opens)
            calls += asked * len(taken)
            good = [len(msgspec.json.encode(case.expected)) // _BYTES + 1 for case in taken]
            shown = [
                (size + also + 2 * answer + _RUBRIC, metric.max_tokens)
                for size, also in zip(sizes, good, strict=True)
                for _ in range(asked)
            ]
            usd[metric.target] = _most(rates(metric.target), shown)
        elif isinstance(metric, Similar):
            each = 2 * len(task.sides) * task.ask.samples
            calls += each * len(taken)
            usd[metric.target] = _most(rates(metric.target), [(answer, 0)] * (each * len(taken)))
    return Estimate(calls, usd)


def _most(tariff: Tariff | None, asked: Sequence[tuple[int, int]]) -> Decimal | None:
    if tariff is None:
        return None
    known: Mapping[tuple[int, int], Usd | None] = {one: quote(tariff, *one) for one in set(asked)}
    prices = [known[one] for one in asked]
    return None if None in prices else sum((price for price in prices if price is not None), Decimal(0))
