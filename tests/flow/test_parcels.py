"""Parcels under attack: whatever a provider does with one, and whenever Freehold ends, the batch goes on, nothing is paid for twice or forgotten, and
nothing is left lying there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from conftest import Freehold
from flow.batches import (
    PRICES,
    begin,
    config,
    counts_of,
    jsonl,
    line,
    lines_of,
    money,
    net_of,
    nothing_is_left,
    receipts,
    sdk_of,
    until,
    wait,
)
from freehold.testing.standin import Behaviour, Standin


def is_at_the_most(freehold: Freehold) -> int:
    """How many calls of parcels were never corrected."""
    _, corrections = receipts(freehold)
    return len(net_of(freehold).keys() - {one["corrects"] for one in corrections})


# --- results ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["openai", "anthropic"])
def test_lines_that_cannot_be_read_hold_nobody_up(
    make_freehold: Callable[..., Freehold], outside: Standin, style: str
) -> None:
    """What came of them nobody knows, so they stay charged at the most, and are asked on their own; the others are answered from the parcel."""
    outside.batching.spoiled = {
        1: b'{"custom_id": "\\ud800',
        2: b"\xff\xfe no JSON",
        3: b"[" * 200_000,
        4: b'{"custom_id": 1e400}',
        5: b"null",
    }
    freehold = make_freehold(config(outside, style), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(12)))))
        assert counts_of(batch) == (12, 0)
    assert len(outside.batching.handed_in) == 1
    calls, corrections = receipts(freehold)
    assert (len(calls), len(corrections)) == (12 + 5, 12 - 5)
    assert is_at_the_most(freehold) == 5
    assert nothing_is_left(outside)


def test_answers_that_are_no_answers_are_refused_line_by_line(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    """A line that can be read, with a body that cannot: that line is an error, and the parcel goes on."""
    outside.batching.looks = 1
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(4))))
        until(lambda: outside.batching.batches)
        (made,) = outside.batching.batches.values()
        bodies = [b'{"a":"\xff"}', b'{"choices":1e400}', b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", b'"words"']
        for one, body in zip(made["results"], bodies, strict=True):
            raw = b'{"custom_id":"%b","response":{"status_code":200,"body":%b}}'
            made["spoiled"][one["custom_id"]] = raw % (one["custom_id"].encode(), body)
        batch = wait(sdk, batch)
    assert batch.status == "completed"
    assert len(outside.batching.handed_in) == 1


@pytest.mark.parametrize("fails", [[500, 500], [404, 404], [401, 401]], ids=["failed", "gone", "key"])
def test_results_that_are_not_to_be_had_at_once(
    make_freehold: Callable[..., Freehold], outside: Standin, fails: list[int]
) -> None:
    """They are read again."""
    outside.batching.fails["results"] = fails
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(6)))))
        assert counts_of(batch) == (6, 0)
    assert len(outside.batching.handed_in) == 1
    assert len(receipts(freehold)[0]) == 6
    assert is_at_the_most(freehold) == 0
    assert nothing_is_left(outside)


def test_one_that_its_provider_forgets_for_a_moment(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """404 for what was taken, as behind a proxy that is being replaced: it is neither handed in again nor left there."""
    outside.batching.fails["look"] = [404] * 3
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(4)))))
        assert counts_of(batch) == (4, 0)
    assert len(outside.batching.handed_in) == 1
    assert is_at_the_most(freehold) == 0
    assert nothing_is_left(outside)


def test_files_that_are_not_named_are_not_taken_for_none(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    """Done, and no word of where the answers are: that is not for nothing, so it stays charged, and lines are asked on their own."""
    outside.batching.looks = 1
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(4))))
        until(lambda: outside.batching.batches)
        next(iter(outside.batching.batches.values()))["files"] = (None, None)
        assert counts_of(wait(sdk, batch)) == (4, 0)
    assert is_at_the_most(freehold) == 4


def test_an_error_that_is_no_text_leaves_the_error_file_readable(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    outside.batching.looks = 1
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(2))))
        until(lambda: outside.batching.batches)
        (made,) = outside.batching.batches.values()
        name = made["results"][0]["custom_id"]
        raw = b'{"custom_id":"%b","response":{"status_code":400,"body":{"error":{"message":"\xff\xfe"}}}}'
        made["spoiled"][name] = raw % name.encode()
        batch = wait(sdk, batch)
        (bad,) = lines_of(sdk, batch.error_file_id).values()
        assert bad["response"]["status_code"] == 400


# --- handing in ---------------------------------------------------------------------------------------------------


def test_one_that_is_listed_late_is_not_handed_in_twice(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    outside.batching.keeps_quiet, outside.batching.lists_late = 1, 1
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(5)))))
        assert counts_of(batch) == (5, 0)
    assert len(outside.batching.handed_in) == 1
    assert (len(receipts(freehold)[0]), is_at_the_most(freehold)) == (5, 0)


@pytest.mark.parametrize("style", ["openai", "mistral", "gemini"])
def test_one_is_found_among_many(make_freehold: Callable[..., Freehold], outside: Standin, style: str) -> None:
    """Whatever pages a provider's list has."""
    freehold = make_freehold(config(outside, style), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        wait(sdk, begin(sdk, jsonl(line("first"))))
        outside.batching.page = 2
        for number in range(5):
            others = f"batch_other{number}"
            kind, key = {"gemini": ("inline", "displayName")}.get(style, ("files", ""))
            said = {"batch": {key: "other"}, "input_file_id": "f", "input_files": ["f"], "metadata": {"a": "b"}}
            found = {"kind": "jobs" if style == "mistral" else kind, "said": said, "results": [], "looks": 10**9}
            outside.batching.batches[others] = {**found, "text": "", "spoiled": {}, "files": (None, None)}
        outside.batching.keeps_quiet = 1
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(3)))))
        assert counts_of(batch) == (3, 0)
    assert len(outside.batching.handed_in) == 2
    assert is_at_the_most(freehold) == 0


def test_what_was_uploaded_and_never_ordered_is_deleted(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    outside.batching.fails = {"make": [401], "delete": [500]}
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(3)))))
        assert counts_of(batch) == (3, 0)
    assert outside.batching.asked.count("upload") == 2
    assert nothing_is_left(outside)
    assert sorted(map(bool, net_of(freehold).values())) == [False] * 3 + [True] * 3


def test_what_is_wrong_in_one_line_does_not_cost_the_others_their_discount(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    """A parcel that is refused as it is goes again in parts, until what is wrong stands alone."""
    outside.batching.refuses = "poison"
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        lines = [line(at, "poison" if at == 7 else "x") for at in range(40)]
        batch = wait(sdk, begin(sdk, jsonl(*lines)))
        assert counts_of(batch) == (40, 0)
    alone = [one for one in receipts(freehold)[0] if not one["tier"]]
    assert 1 <= len(alone) <= 5
    assert sum(map(len, outside.batching.handed_in)) == 40 - len(alone)
    assert nothing_is_left(outside)


def test_a_file_is_for_one_model(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    prices = PRICES.replace("{ m = ", "{ n = { input = 2.0, output = 4.0, tiers = { batch = { input = 1.0, output = 2.0 } } }, m = ")  # fmt: skip
    text = config(outside).replace(PRICES, prices)
    text += '[workloads.v]\nclass = "public"\ntargets = ["cloud/n"]\nbatch = true\n'
    freehold = make_freehold(text, CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*(line(at, model="vw"[at % 2]) for at in range(10))))
        assert counts_of(wait(sdk, batch)) == (10, 0)
    assert sorted(map(len, outside.batching.handed_in)) == [5, 5]


def test_intents_are_written_before_the_first_byte_leaves(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    """When a provider hears of a parcel, each of its calls stands in the log with what it holds, and none has its end."""
    outside.batching.slow = {"upload": 2.0}
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(10))))
        until(lambda: any(one.path.endswith("/files") for one in outside.requests))
        records = freehold.records()
        intents = [one for one in records if one["kind"] == "intent"]
        assert len(intents) == 10
        assert all(Decimal(one["held_usd"]) > 0 for one in intents)
        assert not [one for one in records if one["kind"] == "settled"]
        assert counts_of(wait(sdk, batch)) == (10, 0)


# --- whoever ends it ----------------------------------------------------------------------------------------------


def test_erasure_reaches_what_is_being_handed_in(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """Every call that was on its way has its end, and what arrived is taken back, although the provider is slow and fails."""
    outside.batching.slow, outside.batching.looks = {"make": 2.0}, 10**6
    outside.batching.fails = {"cancel": [500]}
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    about = freehold.run("keys", "create", "--name", "k", "--class", "public", "--json").stdout
    made = json.loads(about)
    with sdk_of(freehold) as sdk:
        sdk.api_key = made["key"]
        begin(sdk, jsonl(*map(line, range(20))))
        until(lambda: outside.batching.files)
        freehold.run("audit", "erase", made["id"], "--yes")
        until(lambda: outside.batching.batches)
    assert nothing_is_left(outside)
    assert outside.batching.cancelled
    assert len(freehold.settled(20)) == 20


def test_stopping_while_a_parcel_leaves(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """Whoever does not wait for it any more has settled its calls, and the next finds it."""
    outside.batching.slow = {"make": 2.5}
    text = config(outside, top="[server]\ndrain = 1\n")
    freehold = make_freehold(text, CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(10))))
        until(lambda: outside.batching.files)
        began = time.monotonic()
        assert freehold.stop() == 0
        assert time.monotonic() - began < 2.5 + 1
        assert len(freehold.settled(10)) == 10
        freehold.start()
        assert counts_of(wait(sdk, batch)) == (10, 0)
    assert len(outside.batching.handed_in) == 1
    assert is_at_the_most(freehold) == 0
    assert nothing_is_left(outside)


def test_what_is_out_is_fetched_although_no_more_is_handed_in(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    """`batches = "none"`, set while a parcel is out, is for those to come."""
    outside.batching.looks = 10**6
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(5))))
        until(lambda: outside.batching.batches)
        freehold.stop()
        path = freehold.folder / "freehold.toml"
        path.write_text(path.read_text().replace('batches = "openai"', 'batches = "none"'))
        outside.batching.looks = 0
        freehold.start()
        assert counts_of(wait(sdk, batch)) == (5, 0)
    assert len(receipts(freehold)[0]) == 5
    assert is_at_the_most(freehold) == 0
    assert nothing_is_left(outside)


def test_a_cancellation_is_heard_while_there_is_no_room(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    """More parcels than may be out, none of which ends: cancelled and erased batches take back what is out, and hand in no more."""
    outside.batching.refuses, outside.batching.looks = "poison", 10**6
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    made = json.loads(freehold.run("keys", "create", "--name", "k", "--class", "public", "--json").stdout)
    lines = jsonl(line(0, "poison"), *map(line, range(1, 160)))  # refused once, and then in parcels of 20, of 2, …
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, lines)
        until(lambda: len(outside.batching.batches) >= 7)
        sdk.batches.cancel(batch.id)
        assert wait(sdk, batch, 20).status == "cancelled"
        assert nothing_is_left(outside)
        sdk.api_key = made["key"]
        before = len(outside.batching.batches)
        batch = begin(sdk, lines)
        until(lambda: len(outside.batching.batches) >= before + 7)
        freehold.run("audit", "erase", made["id"], "--yes")
        assert wait(sdk, batch, 20).status == "failed"
    assert nothing_is_left(outside)


def test_money_that_is_out_is_waited_for(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """A budget that holds half of the lines at the most that they can cost holds all of them at what they do cost."""
    lines = [line(at, max_tokens=2_000) for at in range(20)]
    each = (len(json.dumps(lines[0]["body"])) + 200) * 1 + 2_000 * 2
    budget = f'budget = "{each * 10 / 1_000_000:.6f} USD/month"\n'
    freehold = make_freehold(config(outside, workload=budget), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*lines)))
        assert counts_of(batch) == (20, 0)
    assert len(outside.batching.handed_in) > 1
    assert {one["tier"] for one in freehold.settled() if one["outcome"] == "ok"} == {"batch"}


def test_one_that_waits_holds_up_no_other(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    outside.batching.stuck = "forever"
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        for at in range(2):
            begin(sdk, jsonl(line(at, "forever")))
        until(lambda: len(outside.batching.batches) == 2)
        assert wait(sdk, begin(sdk, jsonl(line(9)))).status == "completed"


def test_what_is_left_there_is_deleted_by_whoever_comes_next(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    """Killed after the answers came and before they were deleted there: nothing is asked for again but to delete it."""
    outside.batching.fails["delete"] = [500] * 10**6
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(4)))))
        assert batch.status == "completed"
        freehold.kill()
        assert outside.batching.files
        outside.batching.fails.clear()
        freehold.start()
        assert nothing_is_left(outside)
        assert len(lines_of(sdk, batch.output_file_id)) == 4
    assert len(receipts(freehold)[0]) == 4


def test_a_key_that_is_revoked_while_lines_wait(
    make_freehold: Callable[..., Freehold], outside: Standin, inside: Standin
) -> None:
    """What was set aside and may not be sent any more is let go, and refused; none of it leaves."""
    inside.usual = Behaviour(delay_s=8.0)
    text = config(outside) + (
        f'[providers.rack]\nbase_url = "{inside.base_url}"\n[workloads.v]\nclass = "public"\ntargets = ["rack/r"]\nbatch = true\n'
    )
    freehold = make_freehold(text, CLOUD="sk-cloud-secret").start()
    made = json.loads(freehold.run("keys", "create", "--name", "k", "--class", "public", "--json").stdout)
    with sdk_of(freehold) as sdk:
        sdk.api_key = made["key"]
        begin(sdk, jsonl(*map(line, range(20)), line("slow", model="v")))
        until(lambda: inside.at_once)
        freehold.run("keys", "revoke", made["id"])
        until(lambda: any(one["kind"] == "settled" and one["target"] for one in freehold.records()))
    time.sleep(2)
    assert not outside.batching.handed_in
    assert {one["outcome"] for one in freehold.settled() if one["model"] == "w"} == {"refused"}
    assert not outside.requests


# --- while it is out ----------------------------------------------------------------------------------------------


def test_lines_that_fell_out_do_not_wait_for_other_parcels(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    prices = PRICES.replace("{ m = ", "{ n = { input = 2.0, output = 4.0, tiers = { batch = { input = 1.0, output = 2.0 } } }, m = ")  # fmt: skip
    text = config(outside).replace(PRICES, prices)
    text += '[workloads.v]\nclass = "public"\ntargets = ["cloud/n"]\nbatch = true\n'
    outside.batching.stuck, outside.batching.outcomes = "forever", {1: "expired"}
    freehold = make_freehold(text, CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(4)), *(line(f"v{at}", "forever", model="v") for at in range(3))))

        def counts() -> tuple[int, int]:
            found = sdk.batches.retrieve(batch.id)
            return counts_of(found)[0], found.to_dict()["handed_in"]  # type: ignore[return-value]

        until(lambda: counts() == (4, 3))
        assert sum(1 for one in outside.requests if one.path.endswith("chat/completions")) == 1
        sdk.batches.cancel(batch.id)
        wait(sdk, batch)


def test_looking_costs_no_sockets_and_little_else(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """Each look gives its connection back; after a cancellation that a provider does not heed, looks are as rare as before."""
    outside.batching.looks = 10**6
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(3))))
        until(lambda: outside.batching.asked.count("look") >= 4)
        assert outside.connections <= 3
        assert _sockets_to(outside.port) <= 2
        outside.batching.fails["cancel"] = [500] * 10**6
        sdk.batches.cancel(batch.id)
        until(lambda: "cancel" in outside.batching.asked)
        outside.batching.asked.clear()
        time.sleep(3)
        assert outside.batching.asked.count("look") <= 5


def _sockets_to(port: int) -> int:
    found = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(1 for row in found if row.split()[2].endswith(f":{port:04X}"))


def test_many_parcels_are_all_paid_once(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """More than may be out at once, each refused in parts, in any order, with a kill in between: the sum is right."""
    outside.batching.refuses, outside.batching.looks = "poison", 2
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*(line(at, "poison" if at % 97 == 5 else "x") for at in range(400))))
        for pause in (0.8, 1.1):
            time.sleep(pause)
            freehold.kill()
            freehold.start()
        batch = wait(sdk, batch, 120)
        assert counts_of(batch) == (400, 0)
        usage = lines_of(sdk, batch.output_file_id)["r0"]["response"]["body"]["usage"]
    calls, corrections = receipts(freehold)
    each = (usage["prompt_tokens"] * Decimal(1) + usage["completion_tokens"] * Decimal(2)) / 1_000_000
    corrected = {
        one["corrects"] for one in corrections
    }  # also those that were killed between their intent and their parcel
    alone = money([one for one in calls if not one["tier"] and one["call"] not in corrected])
    paid = sum(map(len, outside.batching.handed_in)) * each
    assert money(calls) + money(corrections) == paid + alone


def test_a_workload_without_money_does_not_hold_up_another(
    make_freehold: Callable[..., Freehold], outside: Standin, inside: Standin
) -> None:
    """Lines whose budget is spent stand between others: those go in one parcel all the same, and soon."""
    text = config(outside) + (
        f'[providers.rack]\nbase_url = "{inside.base_url}"\nprices = {PRICES}\n'
        '[workloads.v]\nclass = "public"\ntargets = ["rack/m"]\nbatch = true\nbudget = "0.000001 USD/month"\n'
    )
    outside.batching.looks = 1
    freehold = make_freehold(text, CLOUD="sk-cloud-secret").start()
    lines = [line(at, model="v" if at % 20 == 5 else "w") for at in range(200)]
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*lines)))
        assert counts_of(batch) == (190, 10)
    assert [len(one) for one in outside.batching.handed_in] == [190]
