"""`freehold forecast` in a real process: tables to read, JSON to use, errors with a way out."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from openai import APIStatusError, OpenAI

from conftest import NO_ENGINE, PROGRAM, Freehold, clean_env
from freehold.testing.standin import Standin


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], cwd=folder, env=clean_env(), capture_output=True, text=True, check=False, timeout=60)  # fmt: skip


def test_forecast_capacity(tmp_path: Path) -> None:
    """A table to read, JSON to use, a whole table of points; what cannot be is an error with a way out."""
    asked = ("forecast", "capacity", "--model", "llama-3.1-70b", "--gpu", "h100", "--count", "2")
    told = run(tmp_path, *asked, "--concurrency", "16", "--gpu-hour", "2.5")
    assert told.returncode == 0
    assert all(word in told.stdout for word in ("TTFT", "TPOT", "8 of 10 lie between", "USD/M output tokens"))
    assert "NVIDIA datasheet" in told.stderr
    data = json.loads(run(tmp_path, *asked, "--rate", "1", "--gpu-hour", "2.5", "--json").stdout)
    assert data["tpot_s"]["low"] < data["tpot_s"]["value"] < data["tpot_s"]["high"]
    assert data["usd_per_million_output_tokens"]["value"] == pytest.approx(5 / 3600 * 1e6 / 1024)
    assert len(data["sources"]) == 3
    for more, code in (
        (("--rate", "1e6"), "forecast.saturated"),
        (("--concurrency", "4", "--count", "1", "--precision", "bf16"), "forecast.does_not_fit"),
        (("--concurrency", "4", "--gpu", "h1000"), "forecast.unknown_gpu"),
        (("--concurrency", "4", "--gpu-hour", "-1"), "forecast.price"),
        (("--concurrency", "4", "--input", "-5"), "forecast.tokens"),
    ):
        wrong = run(tmp_path, *asked, *more)
        assert (wrong.returncode, f"code: {code}" in wrong.stderr) == (2, True), wrong.stderr
    assert run(tmp_path, *asked).returncode == 2, "neither a concurrency nor a rate"
    head = "id,backend,model_path,system,mode,isl,osl,moe_quant_mode,batch_size,tp_size"
    rows = "a,vllm,meta-llama/Llama-3.1-70B,h100_sxm,agg,1024,1024,fp8,8,2\nb,vllm,nobody/knows,h100_sxm,agg,1,1,fp8,8,2\nc,vllm\n"
    (tmp_path / "points.csv").write_text(f"{head}\n{rows}")
    table = run(tmp_path, "forecast", "capacity", "--points", "points.csv")
    first, unknown, torn = csv.DictReader(io.StringIO(table.stdout))
    assert (
        float(first["predicted_tpot_ms_low"])
        < float(first["predicted_tpot_ms"])
        < float(first["predicted_tpot_ms_high"])
    )
    assert "is no model of the table" in unknown["note"]
    assert unknown["predicted_tpot_ms"] == torn["predicted_tpot_ms"] == ""
    assert torn["note"]
    assert "1 of 3 rows predicted" in table.stderr
    listed = json.loads(run(tmp_path, "forecast", "capacity", "--points", "points.csv", "--json").stdout)
    assert set(listed[0]) == {"id", "ttft_ms", "tpot_ms", "tpot_low_ms", "tpot_high_ms", "note"}


def test_forecast_compares_plans(tmp_path: Path) -> None:
    """A scenario to begin with, a table that says which workloads a sum is of, crossings, and what a class forbids."""
    assert run(tmp_path, "forecast", "init").returncode == 0
    again = run(tmp_path, "forecast", "init")
    assert (again.returncode, "code: forecast.scenario" in again.stderr) == (2, True), "nothing is overwritten"
    told = run(tmp_path, "forecast", "--scenario", "scenario.toml")
    assert told.returncode == 0
    for words in (
        "× 100",
        "marketing alone",
        "where it goes",
        "Which costs least, and how sure that is",
        "Where plans cost the same",
        "What if",
        "Not in closed: contracts is restricted, and closed runs outside.",
        "Undecided at",
        "To decide it, ask for quotes for h100",
        "What moves the cost of rented most",
    ):
        assert words in told.stdout
    assert "genai-prices" in told.stderr
    assert "clouds (" in told.stderr, "where the price of a GPU is from"
    data = json.loads(run(tmp_path, "forecast", "--scenario", "scenario.toml", "--json").stdout)
    assert data["volumes"] == [1, 3, 10, 100]
    assert set(data["costs"]) == {"closed", "hosted", "rented", "owned", "hybrid", "cheapest host of llama-3.3-70b"}
    assert data["costs"]["closed"][0]["barred"].keys() == {"support", "contracts"}
    assert all(one["usd"]["low"] <= one["usd"]["value"] <= one["usd"]["high"] for each in data["costs"].values() for one in each)  # fmt: skip
    text = (tmp_path / "scenario.toml").read_text()
    (tmp_path / "scenario.toml").write_text(text.replace('gpu    = "h100"', 'gpu    = "rtx-4090"'))
    some = run(tmp_path, "forecast", "--scenario", "scenario.toml")
    assert some.returncode == 0
    assert "rented cannot be: llama-3.3-70b in fp8" in some.stdout
    nothing = run(tmp_path, "forecast")
    assert (nothing.returncode, "'freehold forecast init' writes one" in nothing.stderr) == (2, True)
    missing = run(tmp_path, "forecast", "--scenario", "nowhere.toml", "--json")
    assert (missing.returncode, json.loads(missing.stdout)["error"]["code"]) == (2, "forecast.scenario")


def test_forecast_writes_a_report(tmp_path: Path) -> None:
    """A page and its plots in a folder; what cannot be written is an error with a way out."""
    run(tmp_path, "forecast", "init")
    told = run(tmp_path, "forecast", "--scenario", "scenario.toml", "--report", "out/report", "--json")
    assert (told.returncode, json.loads(told.stdout)["title"]) == (0, "Example: three departments")
    assert {path.name for path in (tmp_path / "out/report").iterdir()} == {"index.html", "cost.svg", "composition.svg", "break-even.svg", "tornado.svg", "growth.svg"}  # fmt: skip
    (tmp_path / "file").write_text("")
    barred = run(tmp_path, "forecast", "--scenario", "scenario.toml", "--report", "file/below")
    assert (barred.returncode, "code: forecast.report" in barred.stderr) == (2, True)


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """Brackets in a name are no mark-up of the terminal, nor of the page."""
    text = """title = "[bold]t[/red]"
    [demand."[/x] <b>"]
    calls_per_day = 10
    input = 10
    output = 10
    data_class = "public"
    [plans."[/red]x"]
    kind = "api"
    target = "openai/gpt-5.4"
    [plans."y & <z>"]
    kind = "api"
    target = "openai/gpt-5.4"
    discount = 0.1
    """
    (tmp_path / "s.toml").write_text(text)
    told = run(tmp_path, "forecast", "--scenario", "s.toml", "--report", "out")
    assert told.returncode == 0, told.stderr
    for name in ("[bold]t[/red]", "[/red]x", "y & <z>"):
        assert name in told.stdout
    assert "<z>" not in (tmp_path / "out/index.html").read_text()


def test_demand_from_the_ledger(make_freehold: Callable[..., Freehold], inside: Standin) -> None:
    """What was called is what is forecast: every answered call, its tokens, its class; refused ones are no demand."""
    freehold = make_freehold(
        NO_ENGINE
        + f'[providers.rack]\nbase_url = "{inside.base_url}"\nzone = "inside"\n'
        + '[departments.service]\n[workloads.w]\nclass = "confidential"\ndepartment = "service"\ntargets = ["rack/m"]\n'
    )
    assert "code: usage.no_log" in freehold.run("forecast", "init", "--from-ledger", check=False).stderr
    freehold.start()
    with OpenAI(base_url=freehold.base_url, api_key=freehold.key("--class", "public"), max_retries=0) as sdk:
        for _ in range(6):
            sdk.chat.completions.create(model="w", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(APIStatusError):
            sdk.chat.completions.create(model="nobody/knows", messages=[{"role": "user", "content": "x"}])
    freehold.settled(7)
    freehold.run("forecast", "init", "--from-ledger")
    found = tomllib.loads((freehold.folder / "scenario.toml").read_text())
    (receipt, *_) = freehold.settled()
    tokens = receipt["tokens"]
    assert found["demand"] == {
        "w": {
            "department": "service",
            "calls_per_day": 6.0,
            "input": tokens["input"],
            "output": tokens["output"],
            "data_class": "confidential",
            "lengths": [[float(tokens["input"]), float(tokens["output"]), 6]],
            "shape": "business",
        }
    }
    told = freehold.run("forecast", "--scenario", "scenario.toml")
    assert "closed cannot be: w is confidential, and closed runs outside." in told.stdout
    assert "hosted" in told.stdout
    straight = json.loads(freehold.run("forecast", "--json").stdout)
    assert straight["title"].startswith("From the ledger: 1 day, ")
    assert straight["calls"] == pytest.approx(6 * 730.5 / 24)
