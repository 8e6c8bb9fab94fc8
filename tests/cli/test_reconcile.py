"""`freehold prices reconcile` over real receipts and statements in the providers' own forms."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from conftest import NO_ENGINE, Freehold, running
from flow.batches import begin, jsonl, line, sdk_of, wait
from freehold.testing.standin import Standin

D = Decimal


@pytest.fixture(scope="module")
def freehold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    """Ten calls to one model and four to another, of seven tokens in and five out."""
    with Standin() as provider:
        text = (
            NO_ENGINE
            + f'[providers.openai]\nbase_url = "{provider.base_url}"\nzone = "inside"\nprices = {{ gpt-5-mini = {{ input = 1.0, output = 2.0, tiers = {{ priority = {{ input = 2.0, output = 4.0 }} }} }}, gpt-5 = {{ input = 10.0, output = 20.0 }} }}\n'
        )
        with running(tmp_path_factory.mktemp("reconcile"), text) as one:
            with OpenAI(base_url=one.base_url, api_key=one.key(), max_retries=0) as sdk:
                for model in ["gpt-5-mini"] * 10 + ["gpt-5"] * 4:
                    sdk.chat.completions.create(model=f"openai/{model}", messages=[{"role": "user", "content": "x"}])
            one.settled(14)
            yield one


def usage(mini: tuple[int, int] = (70, 50), large: tuple[int, int] = (28, 20), more: str = "") -> str:
    day = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start, end = int(day.timestamp()), int((day + datetime.timedelta(days=2)).timestamp())
    head = "start_time,end_time,num_model_requests,model,batch,service_tier,input_tokens,output_tokens,input_cached_tokens\n"
    rows = [f"{start},{end},10,gpt-5-mini-2025-08-07,FALSE,default,{mini[0]},{mini[1]},0\n", f"{start},{end},4,gpt-5-2025-08-07,FALSE,default,{large[0]},{large[1]},0\n"]  # fmt: skip
    return head + "".join(rows) + more.format(start=start, end=end)


def costs(*items: tuple[str, str]) -> str:
    day = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    bucket = {"start_time": int(day.timestamp()), "end_time": int((day + datetime.timedelta(days=2)).timestamp())}
    results = [{"object": "organization.costs.result", "amount": {"value": value, "currency": "usd"}, "line_item": item} for item, value in items]  # fmt: skip
    return json.dumps({"object": "page", "data": [{**bucket, "results": results}], "has_more": False})


def run(freehold: Freehold, *texts: str) -> tuple[int, dict[str, Any], str]:
    files = []
    for number, text in enumerate(texts):
        path = Path(freehold.folder) / f"statement{number}.txt"
        path.write_text(text)
        files.append(str(path))
    told = freehold.run("prices", "reconcile", *files, "--json", check=False)
    words = freehold.run("prices", "reconcile", *files, check=False)
    return told.returncode, json.loads(told.stdout), words.stdout


ALL = (("gpt-5-mini-2025-08-07, input", "0.00007"), ("gpt-5-mini-2025-08-07, output", "0.0001"), ("gpt-5-2025-08-07, input", "0.00028"), ("gpt-5-2025-08-07, output", "0.0004"))  # fmt: skip


def test_a_statement_that_agrees(freehold: Freehold) -> None:
    """Tokens alone, money alone, both: nothing to explain, exit code 0."""
    for texts in ((usage(),), (costs(*ALL),), (usage(), costs(*ALL))):
        code, found, words = run(freehold, *texts)
        assert (code, found["total"]) == (0, {"here_usd": "0.00085", "there_usd": "0.00085", "difference_usd": "0"})
        assert all(row["is_matched"] for row in found["rows"])
        assert words.count("matched") == 2


def test_every_cent_has_its_reason(freehold: Freehold) -> None:
    """Another key's model, a search, tokens that differ, and a price that is another tier's: the reasons add up."""
    items = (("gpt-5-mini-2025-08-07, input", "0.00014"), ("gpt-5-mini-2025-08-07, output", "0.0002"), ("gpt-5-2025-08-07, input", "0.0003"), ("gpt-5-2025-08-07, output", "0.0004"), ("o3-2025-04-16, input", "0.5"), ("web search tool calls", "0.07"))  # fmt: skip
    code, found, words = run(freehold, usage(large=(30, 20)), costs(*items))
    assert code == 1
    assert found["total"]["difference_usd"] == "0.57019"
    rows = {row["model"]: row for row in found["rows"]}
    assert [(one["kind"], one["usd"]) for one in rows["o3"]["reasons"]] == [("unknown_here", "0.5")]
    assert [(one["kind"], one["usd"]) for one in rows["web search tool calls"]["reasons"]] == [("not_tokens", "0.07")]
    assert [(one["kind"], one["usd"]) for one in rows["gpt-5"]["reasons"]] == [("counted", "0.00002")]
    assert {one["kind"] for one in rows["gpt-5-mini"]["reasons"]} == {"priced"}
    assert "the price of priority" in words
    total = sum(D(one["usd"]) for row in found["rows"] for one in row["reasons"])
    assert total == D(found["total"]["difference_usd"])


def test_calls_that_the_provider_does_not_have(freehold: Freehold) -> None:
    code, found, _ = run(freehold, costs(*ALL[:2]))
    assert code == 1
    assert {row["model"]: [one["kind"] for one in row["reasons"]] for row in found["rows"]} == {
        "gpt-5": ["unknown_there"],
        "gpt-5-mini": [],
    }


def test_a_table_of_ones_own_needs_a_provider(freehold: Freehold, tmp_path: Path) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    path = tmp_path / "own.csv"
    path.write_text(
        f"date,model,input_tokens,output_tokens,cost_usd\n{today},gpt-5-mini,70,50,0.00017\n{today},gpt-5,28,20,0.00068\n"
    )
    assert "--provider" in freehold.run("prices", "reconcile", str(path), check=False).stderr
    assert freehold.run("prices", "reconcile", str(path), "--provider", "openai", check=False).returncode == 0
    assert freehold.run("prices", "reconcile", str(path), "--provider", "nobody", check=False).returncode == 2


@pytest.mark.parametrize("text", ["", "{}", "a,b,c\n1,2,3\n", "\x00\x01", "[" * 100_000])
def test_what_is_no_statement_is_said(freehold: Freehold, tmp_path: Path, text: str) -> None:
    path = tmp_path / "statement"
    path.write_text(text)
    told = freehold.run("prices", "reconcile", str(path), check=False)
    assert (told.returncode, "code: prices.statement" in told.stderr) == (2, True), told.stderr


def test_lines_of_a_batch_match_what_their_provider_bills(make_freehold: Callable[..., Freehold]) -> None:
    """Charged at the most when they were handed in, corrected when they were answered: together they are what the provider's export says, to the cent."""
    with Standin() as provider:
        prices = "gpt-5-mini = { input = 1.0, output = 2.0, tiers = { batch = { input = 0.5, output = 1.0 } } }"
        text = f'[providers.openai]\nbase_url = "{provider.base_url}"\nbatches = "openai"\nprices = {{ {prices} }}\n'
        more = '[workloads.w]\nclass = "public"\ntargets = ["openai/gpt-5-mini"]\nbatch = true\n'
        freehold = make_freehold(NO_ENGINE + text + more).start()
        with sdk_of(freehold) as sdk:
            assert wait(sdk, begin(sdk, jsonl(*map(line, range(10))))).status == "completed"
        freehold.settled(20)
    usage_ = usage((0, 0), (0, 0)).splitlines()[0] + "\n"
    day = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start, end = int(day.timestamp()), int((day + datetime.timedelta(days=2)).timestamp())
    code, found, words = run(freehold, usage_ + f"{start},{end},10,gpt-5-mini-2025-08-07,TRUE,default,70,50,0\n")
    (row,) = found["rows"]
    assert (row["calls"], D(row["here_usd"]), D(row["there_usd"])) == (10, D("0.000085"), D("0.000085"))
    assert (code, row["reasons"]) == (0, []), words
