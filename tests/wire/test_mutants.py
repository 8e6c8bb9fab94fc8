"""Requests and answers that are JSON but nonsense: read, they are either understood or refused in one clear way, never a crash."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from freehold.kernel.errors import CallerError
from freehold.kernel.routes import PLAIN
from freehold.wire import canonical as c
from freehold.wire.call import Address
from freehold.wire.dialect import MISSHAPEN, guarded
from freehold.wire.dialects import DIALECTS, SPOKEN
from freehold.wire.sse import Event
from wire import golden, laws

ODD: list[Any] = [
    None,
    0,
    -1,
    1e308,
    "",
    "x",
    [],
    {},
    [None],
    [[]],
    {"type": "x"},
    {"type": None},
    True,
    "\u0000",
    "💥" * 3,
    {"a": {"b": []}},
]


def mutants(value: Any, seed: int, count: int) -> list[Any]:
    """Copies of a value, each with a few places replaced, removed or doubled."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        mutant = copy.deepcopy(value)
        for _ in range(rng.randint(1, 3)):
            place: Any = mutant
            for _ in range(rng.randint(0, 6)):
                inner = [
                    one
                    for one in (place.values() if isinstance(place, dict) else place)
                    if isinstance(one, dict | list) and one
                ]
                if not inner:
                    break
                place = rng.choice(inner)
            if not place:
                continue
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            if rng.random() < 0.2:
                del place[key]
            else:
                place[key] = rng.choice(ODD)
        made.append(mutant)
    return made


@pytest.mark.parametrize("dialect", golden.REQUESTS)
def test_odd_requests(dialect: str) -> None:
    read = 0
    for mutant in mutants(golden.REQUESTS[dialect], 7, 1500):
        try:
            call = SPOKEN[dialect].read_call(laws.ENDPOINT[dialect], json.dumps(mutant).encode(), Address("m"))
            passed = {**call.body}
            SPOKEN[dialect].pass_on(call, passed, PLAIN)
            talk = guarded(SPOKEN[dialect], call)
        except CallerError as error:
            assert error.status == 400
            continue
        read += 1
        for target in DIALECTS.values():
            try:
                json.dumps(target.write_request(talk, "m", PLAIN, set()))
            except (c.Unable, *MISSHAPEN):
                continue  # the target is unfit, and another may do
    assert read > 100, "most are refused, some are understood"


@pytest.mark.parametrize("pair", [pytest.param(pair, id=f"{pair.dialect}: {pair.name}") for pair in golden.PAIRS])
def test_odd_answers(pair: golden.Pair) -> None:
    dialect = DIALECTS[pair.dialect]
    for mutant in mutants(pair.whole, 7, 200):
        raw = json.dumps(mutant).encode()
        try:
            dialect.used_of(raw)
        except MISSHAPEN:
            pass
        try:
            answer = dialect.read_answer(raw, pair.dialect)
        except MISSHAPEN:
            continue
        for name, spoken in SPOKEN.items():
            try:
                spoken.write_answer(answer, laws.call_for(name), set())
            except MISSHAPEN:
                continue  # told as an answer that is none


@pytest.mark.parametrize("pair", [pytest.param(pair, id=f"{pair.dialect}: {pair.name}") for pair in golden.PAIRS])
def test_odd_events(pair: golden.Pair) -> None:
    frames = DIALECTS[pair.dialect].frames()
    framed = frames.feed(pair.stream) + frames.close()
    for seed in range(40):
        reader = DIALECTS[pair.dialect].stream_reader(pair.dialect)
        writers = [spoken.stream_writer(laws.call_for(name), set()) for name, spoken in SPOKEN.items()]
        rng = random.Random(seed)
        for writer in writers:
            writer.take([c.Begin("1", "m")])  # the gateway sees to it that a stream begins once
        try:
            for event in framed:
                data = event.data
                if data.startswith(b"{") and rng.random() < 0.3:
                    data = json.dumps(mutants(json.loads(data), rng.randrange(10**6), 1)[0]).encode()
                found = reader.take(Event(data, event.raw, event.name))
                for writer in writers:
                    writer.take([one for one in found if not isinstance(one, c.Begin)])
        except c.InvalidAnswer:
            continue
