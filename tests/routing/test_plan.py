"""What a model name means, and in which order targets are tried."""

from __future__ import annotations

import heapq
import itertools
import json
import random
from typing import Any

import pytest

from conftest import snapshot_of
from freehold.gateway.policy import build_fleet
from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError, PolicyRefusal
from freehold.kernel.snapshot import Snapshot, Target
from freehold.perimeter.ruling import Declared, rule
from freehold.pricing.book import load
from freehold.routing.plan import Fleet, Plan, Vital, plan, resolve, shared
from freehold.wire.call import Endpoint
from freehold.wire.openai_chat.calls import read_call

CONFIG = """
[providers.rack]
base_url = "http://10.0.0.5/v1"
zone = "inside"
models = { small = { context = 100, tools = false, images = false }, big = {}, both = {} }
[providers.other]
base_url = "http://10.0.0.6/v1"
zone = "inside"
models = ["both", "third"]
[providers.cloud]
base_url = "https://cloud.example/v1"
[workloads.w]
class = "public"
targets = ["rack/small", ["rack/big", "other/third"], "cloud/x"]
[workloads.v]
class = "internal"
targets = ["rack/big"]
"""
BOOK = load()


def setting(unwell: str = "", draw: float = 0.0) -> tuple[Snapshot, Fleet]:
    snapshot = snapshot_of(CONFIG)
    fleet = build_fleet(snapshot, BOOK, lambda target: Vital(is_resting=target.provider == unwell))
    return snapshot, Fleet(fleet.abilities, fleet.serves, fleet.vital, lambda: draw)


def planned(model: str, *, key: Class = Class.PUBLIC, unwell: str = "", draw: float = 0.0, **body: Any) -> Plan:
    snapshot, fleet = setting(unwell, draw)
    call = read_call(
        Endpoint.CHAT, json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}], **body}).encode()
    )
    choice = resolve(model, snapshot, fleet)
    ruling = rule(Declared(key=key, workload=choice.workload.name if choice.workload else None), snapshot)
    return plan(
        choice, call, ruling, fleet, zone_of=lambda target: snapshot.providers[target.provider].zone_at(0, target.model)
    )


def names(found: Plan) -> list[str]:
    return [target.name for target in found.attempts]


def test_a_workload_tries_its_targets_in_order() -> None:
    assert names(planned("w")) == ["rack/small", "rack/big", "other/third", "cloud/x"]


def test_equals_share_the_load() -> None:
    assert names(planned("w", draw=0.9)) == ["rack/small", "other/third", "rack/big", "cloud/x"]


def test_who_rests_goes_last_not_away() -> None:
    assert names(planned("w", unwell="rack")) == ["other/third", "cloud/x", "rack/small", "rack/big"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param({"tools": [{"type": "function"}]}, "cannot take tools", id="tools"),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "cannot take images", id="images"
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": "y" * 900}]}, "context of 100 tokens is too short", id="context"
        ),
    ],
)
def test_what_a_target_cannot_do_is_skipped_with_the_reason(body: dict[str, Any], reason: str) -> None:
    found = planned("w", **body)
    assert names(found)[0] == "rack/big"
    assert [(skip.target.name, skip.reason) for skip in found.skipped] == [("rack/small", reason)]


def test_what_may_not_leave_is_skipped_with_the_reason() -> None:
    found = planned("w", key=Class.RESTRICTED)
    assert "cloud/x" not in names(found)
    assert [(skip.target.name, skip.is_forbidden) for skip in found.skipped] == [("cloud/x", True)]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("rack/big", ["rack/big"]),
        ("third", ["other/third"]),
        ("cloud/anything/at/all", ["cloud/anything/at/all"]),
        ("hearth", ["builtin/hearth"]),
    ],
)
def test_names(model: str, expected: list[str]) -> None:
    assert names(planned(model)) == expected


@pytest.mark.parametrize(
    ("model", "code", "hint"),
    [
        pytest.param("both", "routing.ambiguous_model", "'rack/both' or 'other/both'", id="two providers serve it"),
        pytest.param("thirt", "routing.unknown_model", "'third'", id="a near name"),
        pytest.param("rack/smal", "routing.unknown_model", "'rack/small'", id="a near target"),
        pytest.param("zzzz", "routing.unknown_model", "/v1/models", id="nothing near"),
    ],
)
def test_unknown_names_are_404_with_near_names(model: str, code: str, hint: str) -> None:
    snapshot, fleet = setting()
    with pytest.raises(CallerError) as caught:
        resolve(model, snapshot, fleet)
    assert (caught.value.status, caught.value.code) == (404, code)
    assert hint in caught.value.hint


def test_a_bound_key_stays_in_its_workload() -> None:
    snapshot, fleet = setting()
    assert resolve("w", snapshot, fleet, bound="w").workload is snapshot.workloads["w"]
    assert resolve("gpt-4o-of-some-app", snapshot, fleet, bound="w").name == "w", "an unknown name means the workload"
    assert [t.name for group in resolve("rack/big", snapshot, fleet, bound="w").groups for t in group] == ["rack/big"]
    for model, named in (("v", None), ("other/both", None), ("w", "v")):
        with pytest.raises(PolicyRefusal) as caught:
            resolve(model, snapshot, fleet, bound="w", named=named)
        assert caught.value.status == 403


def test_a_named_workload_must_exist() -> None:
    snapshot, fleet = setting()
    with pytest.raises(CallerError) as caught:
        resolve("rack/big", snapshot, fleet, named="gone")
    assert caught.value.code == "routing.unknown_workload"


GROUP = tuple(Target("p", name) for name in "abcd")


def order(vitals: dict[str, Vital], *draws: float, group: tuple[Target, ...] = GROUP) -> str:
    """The order in which equals are tried, by their models' names."""
    drawn = itertools.cycle(draws or (0.0,))
    fleet = Fleet({}, {}, lambda target: vitals.get(target.model, Vital()), lambda: next(drawn))
    return "".join(target.model for target in shared(group, fleet))


def test_of_two_that_are_drawn_the_one_with_less_to_do_goes_first() -> None:
    """What it has to do: calls under way, times how long it takes to begin an answer. The others follow by the same."""
    busy = {"a": Vital(9, 0.1), "b": Vital(1, 0.1), "c": Vital(0, 0.1), "d": Vital(0, 5.0)}
    assert order(busy, 0.0, 0.0) == "bcad", "a and b are drawn: b has less to do"
    assert order(busy, 0.0, 0.99)[0] == "a", "a and d are drawn: one slow call is more than ten quick ones"
    assert order({"a": Vital(0, 0.2)}, 0.0, 0.0) == "abcd", (
        "who was never asked is taken to be as quick as the quickest"
    )


def test_who_rests_is_not_drawn_among_equals() -> None:
    assert order({"a": Vital(is_resting=True)}, 0.0, 0.0)[0] == "b"
    assert order({name: Vital(is_resting=True) for name in "abcd"}, 0.0, 0.0)[0] == "a", "unless all of them rest"


@pytest.mark.parametrize(
    ("failing", "expected", "out"),
    [
        pytest.param({"a": 0.3}, "bcda", "a", id="far above its equals"),
        pytest.param({"a": 0.19}, "abcd", "", id="too little to be told from chance"),
        pytest.param(
            {"a": 0.5, "b": 0.4, "c": 0.35, "d": 0.3}, "abcd", "", id="all of them fail: the cause lies elsewhere"
        ),
        pytest.param({"a": 0.9, "b": 0.8}, "cdab", "ab", id="half of them, and never more"),
    ],
)
def test_who_fails_far_more_often_than_its_equals_waits_behind_them(
    failing: dict[str, float], expected: str, out: str
) -> None:
    """Whatever is drawn, an outlier is not the first; the rest go by what they have to do."""
    vitals = {
        name: Vital(in_flight=at, latency_s=1.0, failing=failing.get(name, 0.0)) for at, name in enumerate("abcd")
    }
    assert order(vitals, 0.0, 0.0) == expected
    drawn = {order(vitals, first / 4, second / 3)[0] for first in range(4) for second in range(3)}
    assert not drawn & set(out)


def test_the_load_of_equals_evens_out() -> None:
    """Ten thousand calls over four targets, one of them four times slower: nobody waits much longer than the others."""
    chance = random.Random(7)
    in_flight, done = dict.fromkeys("abcd", 0), dict.fromkeys("abcd", 0)
    slow = {"a": 4.0, "b": 1.0, "c": 1.0, "d": 1.0}
    ends: list[tuple[float, str]] = []
    for call in range(10_000):
        now = call * 0.05
        while ends and ends[0][0] <= now:
            in_flight[heapq.heappop(ends)[1]] -= 1
        fleet = Fleet({}, {}, lambda t: Vital(in_flight[t.model], slow[t.model]), chance.random)
        chosen = shared(GROUP, fleet)[0].model
        in_flight[chosen] += 1
        done[chosen] += 1
        heapq.heappush(ends, (now + slow[chosen], chosen))
    assert done["a"] < min(done[name] for name in "bcd") / 2
    assert max(done[name] for name in "bcd") < 1.2 * min(done[name] for name in "bcd")
