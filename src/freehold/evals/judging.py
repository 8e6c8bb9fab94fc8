"""A model as judge: blind, in both orders, of a family of its own; what it says is a claim until people have checked a part of it.

Sources: Zheng et al. 2023 (arXiv 2306.05685) on the bias of position, length and of a model's own kind; Dubois et al. 2024 (arXiv 2404.04475) on length.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from freehold.evals.answers import Ask, Asked, read
from freehold.evals.datasets import Case
from freehold.evals.scorers import json_of
from freehold.evals.tasks import Judged
from freehold.kernel.errors import CallerError

_PAIR = """You compare two answers to the same request, by this rubric:

{rubric}

Which of the two came first, how long they are and how they are laid out does not count. If neither is better by the rubric, say so.
Answer with JSON and nothing else: {{"better": "first"}}, {{"better": "second"}} or {{"better": "neither"}}."""
_GRADE = """You say whether an answer to a request passes, by this rubric:

{rubric}

How long it is and how it is laid out does not count. Answer with JSON and nothing else: {{"passes": true}} or {{"passes": false}}."""


def family_of(name: str) -> str | None:
    """Who made a model, as far as its name tells."""
    parts = [part for part in re.split(r"[/:]", name.lower()) if part]
    for part in reversed(parts):
        found = max(
            ((stem, maker) for stem, maker in _stems() if part.startswith(stem)),
            key=lambda one: len(one[0]),
            default=None,
        )
        if found is not None:
            return found[1]
    return None


@cache
def _stems() -> tuple[tuple[str, str], ...]:
    data = json.loads((Path(__file__).parent / "families.json").read_text(encoding="utf-8"))
    return tuple((stem, maker) for maker, stems in data.items() if maker != "_" for stem in stems)


def check_family(judge: str, candidates: tuple[str, ...]) -> None:
    """Raises CallerError where a judge would judge its own kind."""
    own = family_of(judge)
    for candidate in candidates:
        if judge == candidate or (own is not None and own == family_of(candidate)):
            raise CallerError(f"The judge {judge!r} is of the same family as {candidate!r}, and models favour their own.", code="verdict.judge", hint="Choose a judge by another maker.")  # fmt: skip


Order = Literal["first", "second"]


def prefers(
    metric: Judged, ask: Ask, case: Case, one: str, other: str
) -> tuple[float | None, tuple[float | None, float | None]]:
    """How far a judge prefers one answer to the other, 0 to 1, over both orders; and what it said in each order. None where it could not be read."""
    said = [_asked(metric, ask, case, one, other), _asked(metric, ask, case, other, one)]
    turned = (said[0], None if said[1] is None else 1.0 - said[1])
    heard = [value for value in turned if value is not None]
    return (sum(heard) / len(heard) if len(heard) == len(turned) else None), turned


def _asked(metric: Judged, ask: Ask, case: Case, first: str, second: str) -> float | None:
    """What a judge says of answers in this order: 1 for the first, 0 for the second."""
    if first == second:
        return 0.5
    shown = (
        f"{_request(case)}\n\n<first_answer>\n{first}\n</first_answer>\n\n<second_answer>\n{second}\n</second_answer>"
    )
    found = _said(metric, ask, case, _PAIR, shown)
    word = found.get("better") if isinstance(found, dict) else None
    return {"first": 1.0, "second": 0.0, "neither": 0.5}.get(word) if isinstance(word, str) else None


def passes(metric: Judged, ask: Ask, case: Case, answer: str) -> float | None:
    """Whether a judge passes an answer, None where it could not be read."""
    found = _said(metric, ask, case, _GRADE, f"{_request(case)}\n\n<answer>\n{answer}\n</answer>")
    word = found.get("passes") if isinstance(found, dict) else None
    return float(word) if isinstance(word, bool) else None


def _said(metric: Judged, ask: Ask, case: Case, system: str, shown: str) -> Any:
    body = {
        "model": metric.target,
        "temperature": 0,
        "max_tokens": metric.max_tokens,
        "messages": [
            {"role": "system", "content": system.format(rubric=metric.rubric)},
            {"role": "user", "content": shown},
        ],
    }
    answer = read(ask(Asked(body, case.class_)))
    return json_of(answer.text) if answer.status == "ok" else None


def _request(case: Case) -> str:
    """What was asked, and what a good answer is where that is known."""
    lines = [f"<{one['role']}>\n{_text(one.get('content'))}\n</{one['role']}>" for one in case.messages]
    shown = "<request>\n" + "\n".join(lines) + "\n</request>"
    if case.expected is not None:
        meant = case.expected if isinstance(case.expected, str) else json.dumps(case.expected, ensure_ascii=False)
        shown += f"\n\n<good_answer>\n{meant}\n</good_answer>"
    return shown


def _text(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(part.get("text", f"[{part.get('type', 'part')}]") for part in content if isinstance(part, dict))
