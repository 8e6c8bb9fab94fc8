"""Lines of a batch that their provider takes together, for less: each still a call with a ruling, an intent, money held and one true charge."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from openai import OpenAI

from conftest import Freehold
from flow.batches import (
    PRICES,
    STYLES,
    begin,
    config,
    counts_of,
    holder_of,
    jsonl,
    line,
    lines_of,
    money,
    nothing_is_left,
    receipts,
    sdk_of,
    wait,
)
from freehold.testing.standin import Behaviour, Standin


@pytest.mark.parametrize("style", STYLES)
def test_lines_go_together_where_that_costs_less(
    make_freehold: Callable[..., Freehold], outside: Standin, style: str
) -> None:
    """One parcel; every line answered, in the caller's dialect; charged at the batch rate; one receipt for each call, and one that corrects it; nothing left there."""
    outside.batching.looks = 1
    freehold = make_freehold(config(outside, style), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(60)))))
        assert batch.status == "completed"
        assert counts_of(batch) == (60, 0)
        answers = lines_of(sdk, batch.output_file_id)
    assert {one["response"]["body"]["choices"][0]["message"]["content"] for one in answers.values()} == {
        "Hello from the stand-in."
    }
    assert len(outside.batching.handed_in) == 1
    assert len(outside.batching.handed_in[0]) == 60
    assert len({one["custom_id"] for one in answers.values()}) == 60
    calls, corrections = receipts(freehold)
    assert {one["call"] for one in calls} == {one["corrects"] for one in corrections}
    assert len(calls) == len(corrections) == 60
    assert {(one["outcome"], one["status"], one["tier"], one["is_estimate"]) for one in calls} == {
        ("ok", 202, "batch", True)
    }
    usage = answers["r0"]["response"]["body"]["usage"]
    each = (usage["prompt_tokens"] * Decimal(1) + usage["completion_tokens"] * Decimal(2)) / 1_000_000
    assert money(calls) + money(corrections) == 60 * each, "at half the price"
    (row,) = freehold.usage("workload")["rows"]
    assert (row["calls"], row["input_tokens"], row["output_tokens"], Decimal(row["cost_usd"])) == (
        60,
        60 * usage["prompt_tokens"],
        60 * usage["completion_tokens"],
        60 * each,
    )
    assert nothing_is_left(outside)
    assert freehold.run("audit", "verify", str(_bundle(freehold))).returncode == 0
    assert "sk-cloud-secret" not in freehold.output


def _bundle(freehold: Freehold) -> Any:
    folder = freehold.folder / "bundle"
    assert freehold.run("audit", "export", "--out", str(folder)).returncode == 0
    return folder


def test_what_is_missing_is_asked_again_and_nothing_is_paid_for_it(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    """A line that expired there is asked on its own, at the ordinary price; one that was refused there is refused; neither costs anything there."""
    outside.batching.outcomes = {3: "expired", 4: 400, 5: 404}
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(10)))))
        assert counts_of(batch) == (9, 1)
        (bad,) = lines_of(sdk, batch.error_file_id).values()
        assert bad["response"]["status_code"] == 400
        assert "refused by the stand-in" in json.dumps(bad["response"]["body"])
    calls, corrections = receipts(freehold)
    assert sorted(one["tier"] for one in calls) == [""] * 2 + ["batch"] * 10
    true = {one["call"]: Decimal(one["cost_usd"]) for one in calls}
    for one in corrections:
        true[one["corrects"]] += Decimal(one["cost_usd"])
    costs = sorted(true.values())
    assert costs[:3] == [0, 0, 0]
    assert set(costs[3:10]) == {costs[3]}
    assert costs[10:] == [2 * costs[3]] * 2, "on their own they cost twice as much"


def test_a_parcel_that_comes_to_nothing_is_tried_again_and_then_taken_apart(
    make_freehold: Callable[..., Freehold], outside: Standin
) -> None:
    outside.batching.failure = "token_limit_exceeded"
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(8)))))
        assert counts_of(batch) == (8, 0)
    assert len(outside.batching.handed_in) == 3
    calls, corrections = receipts(freehold)
    assert len(calls) == 3 * 8 + 8
    assert money(calls) + money(corrections) == money([one for one in calls if not one["tier"]])
    assert "token_limit_exceeded" in freehold.output
    assert nothing_is_left(outside)


def test_what_would_be_kept_there_does_not_go_there(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """A batch endpoint keeps what it is given: under an agreement to keep nothing, lines go one by one."""
    agreed = (
        'zone = "attested"\nattestation = { control = "zero-retention", evidence = "sha256:'
        + "a" * 64
        + f'", expires = 2099-01-01, endpoint = "{outside.base_url}" }}\n'
    )
    freehold = make_freehold(config(outside, provider=agreed), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        assert counts_of(wait(sdk, begin(sdk, jsonl(*map(line, range(5)))))) == (5, 0)
    assert not outside.batching.handed_in


@pytest.mark.parametrize(
    ("more", "prices"),
    [
        pytest.param({"service_tier": "flex"}, PRICES, id="a-tier-of-its-own"),
        pytest.param({}, "{ m = { input = 2.0, output = 4.0 } }", id="no-price-for-batches"),
        pytest.param(
            {},
            "{ m = { input = 2.0, output = 4.0, tiers = { batch = { input = 1.0, output = 5.0 } } } }",
            id="not-cheaper",
        ),
    ],
)
def test_what_would_not_cost_less_goes_as_ever(
    make_freehold: Callable[..., Freehold], outside: Standin, more: dict[str, Any], prices: str
) -> None:
    text = config(outside).replace(PRICES, prices)
    freehold = make_freehold(text, CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        assert wait(sdk, begin(sdk, jsonl(*(line(at, **more) for at in range(3))))).status == "completed"
    assert not outside.batching.handed_in


def test_money_is_held_until_the_answers_come(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """A hard budget holds for parcels too: what does not fit waits until what is out needs less than it could, and never leaves before."""
    outside.batching.looks = 1
    one = line(0)
    size = len(json.dumps(one["body"]).encode()) + 300
    budget = f'budget = "{(size * 1 + 5 * 2) * 20 / 1_000_000:.6f} USD/month"\n'
    freehold = make_freehold(config(outside, workload=budget), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(100)))))
        assert counts_of(batch) == (100, 0)
    assert len(outside.batching.handed_in) > 3
    assert len(outside.batching.handed_in[0]) < 60
    limit = Decimal(budget.split('"')[1].split()[0])
    running = Decimal(0)
    for receipt in freehold.settled():
        running += Decimal(receipt["cost_usd"] or 0)
        assert running <= limit


def test_a_cancelled_batch_cancels_what_is_out(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    outside.batching.looks, outside.batching.until_cancelled = 10**6, 12
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(20))))
        until = time.monotonic() + 20
        while not outside.batching.batches and time.monotonic() < until:
            time.sleep(0.02)
        while sdk.batches.retrieve(batch.id).to_dict()["handed_in"] != 20:
            assert time.monotonic() < until
            time.sleep(0.05)
        sdk.batches.cancel(batch.id)
        batch = wait(sdk, batch)
        assert (batch.status, batch.to_dict()["handed_in"]) == ("cancelled", 0)
        assert len(outside.batching.cancelled) == 1
        assert len(lines_of(sdk, batch.output_file_id)) == 12, "what was answered before it was cancelled is given out"
        assert {one["error"]["code"] for one in lines_of(sdk, batch.error_file_id).values()} == {"batch_cancelled"}
    calls, corrections = receipts(freehold)
    net = {one["call"]: Decimal(one["cost_usd"]) for one in calls}
    for one in corrections:
        net[one["corrects"]] += Decimal(one["cost_usd"])
    assert sorted(map(bool, net.values())) == [False] * 8 + [True] * 12
    assert nothing_is_left(outside)


def test_originals_come_back_from_a_parcel(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """What was taken out of a line is not in the parcel, and is in its answer."""
    outside.usual = Behaviour(echo=r"\[[a-z]+_[a-z]+\]")
    outside.batching.looks = 2
    freehold = make_freehold(config(outside, workload='transform = "pseudonymise"\n'), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        lines = [line(at, f"SSN 536-90-4399, born 12 March 1980, write to anna{at}@example.com") for at in range(4)]
        batch = begin(sdk, jsonl(*lines))
        until = time.monotonic() + 20
        while not outside.batching.batches and time.monotonic() < until:
            time.sleep(0.02)
        freehold.kill()
        freehold.start()
        batch = wait(sdk, batch)
        answers = lines_of(sdk, batch.output_file_id)
    for at in range(4):
        assert f"anna{at}@example.com" in json.dumps(answers[f"r{at}"]["response"]["body"])
    assert len(outside.batching.handed_in) == 1
    arrived = b"".join(request.body for request in outside.requests)
    assert b"536-90-4399" not in arrived
    assert b"@example.com" not in arrived


@pytest.mark.parametrize("style", ["openai", "mistral", "gemini"])
def test_a_killed_freehold_finds_its_parcels_again(
    make_freehold: Callable[..., Freehold], outside: Standin, style: str
) -> None:
    """kill -9 again and again: nothing is handed in twice, every line has one answer, and what it cost is counted once."""
    outside.batching.looks = 4
    freehold = make_freehold(config(outside, style), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(300))))
        for pause in (0.3, 0.45, 0.6, 0.75):
            time.sleep(pause)
            freehold.kill()
            freehold.start()
        batch = wait(sdk, batch, 150)  # killed before anything was sent, it looks a minute for what may be there
        assert counts_of(batch) == (300, 0)
        answers = lines_of(sdk, batch.output_file_id)
    asked = [json.dumps(body) for bodies in outside.batching.handed_in for body in bodies]
    assert len(asked) == len(set(asked)) == 300, "nothing twice"
    calls, corrections = receipts(freehold)
    assert len({one["corrects"] for one in corrections}) == len(corrections), "each is corrected once"
    net = {one["call"]: Decimal(one["cost_usd"]) for one in calls}
    for one in corrections:
        net[one["corrects"]] += Decimal(one["cost_usd"])
    assert sum(map(bool, net.values())) == 300, "what was killed before it was handed in costs nothing"
    usage = answers["r0"]["response"]["body"]["usage"]
    each = (usage["prompt_tokens"] * Decimal(1) + usage["completion_tokens"] * Decimal(2)) / 1_000_000
    assert money(calls) + money(corrections) == 300 * each
    assert freehold.run("audit", "verify", str(_bundle(freehold))).returncode == 0


def test_one_that_was_taken_without_a_word_is_found(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """The provider made the batch and failed to say so: it is found by its name instead of being made again."""
    outside.batching.keeps_quiet = 1
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = wait(sdk, begin(sdk, jsonl(*map(line, range(5)))))
        assert counts_of(batch) == (5, 0)
    assert len(outside.batching.handed_in) == 1
    assert len(receipts(freehold)[0]) == 5


def test_another_worker_goes_on_with_what_is_out(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """The worker that handed a parcel in is killed: another finds it, and what it really cost comes off the budget once."""
    outside.batching.looks = 4
    text = config(outside, workload='budget = "5 USD/month"\n')
    freehold = make_freehold(text, CLOUD="sk-cloud-secret").start("--workers", "3")
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(200))))
        while not outside.batching.batches:
            time.sleep(0.01)
        os.kill(holder_of(freehold), signal.SIGKILL)
        batch = wait(sdk, batch)
        assert counts_of(batch) == (200, 0)
    assert sum(map(len, outside.batching.handed_in)) == 200
    calls, corrections = receipts(freehold)
    net = {one["call"]: Decimal(one["cost_usd"]) for one in calls}
    for one in corrections:
        net[one["corrects"]] += Decimal(one["cost_usd"])
    assert len(set(net.values()) - {Decimal(0)}) == 1
    assert sum(map(bool, net.values())) == 200


def test_an_erased_key_takes_its_parcels_back(make_freehold: Callable[..., Freehold], outside: Standin) -> None:
    """Erasure reaches what lies at a provider: it is cancelled and deleted there, and nobody gets an answer."""
    outside.batching.looks = 10**6
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    made = json.loads(freehold.run("keys", "create", "--name", "k", "--class", "public", "--json").stdout)
    with OpenAI(base_url=freehold.base_url, api_key=made["key"], max_retries=0) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(20))))
        until = time.monotonic() + 20
        while not outside.batching.batches:
            assert time.monotonic() < until
            time.sleep(0.02)
        freehold.run("audit", "erase", made["id"], "--yes")
        batch = wait(sdk, batch)
        assert (batch.status, batch.output_file_id) == ("failed", None)
    assert nothing_is_left(outside)
    assert outside.batching.cancelled


def test_a_provider_that_is_configured_no_more_holds_nobody_up(
    make_freehold: Callable[..., Freehold], outside: Standin, inside: Standin
) -> None:
    """What lies where nobody may go any more stays charged at the most, and its lines go where the workload goes now."""
    outside.batching.looks = 10**6
    freehold = make_freehold(config(outside), CLOUD="sk-cloud-secret").start()
    with sdk_of(freehold) as sdk:
        batch = begin(sdk, jsonl(*map(line, range(5))))
        until = time.monotonic() + 20
        while sdk.batches.retrieve(batch.id).to_dict()["handed_in"] != 5 or not outside.batching.batches:
            assert time.monotonic() < until
            time.sleep(0.05)
        freehold.stop()
        text = (freehold.folder / "freehold.toml").read_text()
        (freehold.folder / "freehold.toml").write_text(
            text.replace("[providers.cloud]", "[providers.rack]")
            .replace(outside.base_url, inside.base_url)
            .replace('batches = "openai"\n', "")
            .replace("cloud/m", "rack/m")
        )
        freehold.start()
        batch = wait(sdk, batch)
        assert counts_of(batch) == (5, 0)
    assert len(inside.requests) == 5
    calls, corrections = receipts(freehold)
    assert (len(calls), corrections) == (10, [])
