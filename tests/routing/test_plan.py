"""What a model name means, and in which order targets are tried."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import snapshot_of
from freehold.gateway.world import build_fleet
from freehold.kernel.classes import Class
from freehold.kernel.errors import CallerError, PolicyRefusal
from freehold.kernel.snapshot import Snapshot
from freehold.perimeter.ruling import Declared, rule
from freehold.pricing.book import load
from freehold.routing.plan import Fleet, Plan, plan, resolve
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


def setting(unwell: str = "", spread: float = 0.0) -> tuple[Snapshot, Fleet]:
    snapshot = snapshot_of(CONFIG)
    fleet = build_fleet(snapshot, BOOK, lambda provider: provider == unwell)
    return snapshot, Fleet(fleet.abilities, fleet.serves, fleet.is_unwell, lambda: spread)


def planned(model: str, *, key: Class = Class.PUBLIC, unwell: str = "", spread: float = 0.0, **body: Any) -> Plan:
    snapshot, fleet = setting(unwell, spread)
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
    assert names(planned("w", spread=0.9)) == ["rack/small", "other/third", "rack/big", "cloud/x"]


def test_the_unwell_go_last_not_away() -> None:
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
