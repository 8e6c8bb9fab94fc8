"""`freehold prices` and the forms of `freehold usage`, over real calls."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from openai import OpenAI

from conftest import NO_ENGINE, Freehold, running
from freehold.report.bars import bars
from freehold.testing.standin import Standin


@pytest.fixture(scope="module")
def freehold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Freehold]:
    """Three calls of one department and two of another, at two prices."""
    with Standin() as provider:
        text = (
            NO_ENGINE
            + f'[providers.rack]\nbase_url = "{provider.base_url}"\nzone = "inside"\nprices = {{ m = {{ input = 1.0, output = 2.0 }}, free = {{ input = 0.0, output = 0.0 }} }}\n'
            + '[providers.openai]\nkey = "env:KEY"\n[organisation]\ntime_zone = "Asia/Kolkata"\n'
            + '[workloads.w]\ndepartment = "care"\ntargets = ["rack/m"]\n[workloads.v]\ndepartment = "law"\ntargets = ["rack/free"]\n'
            + '[workloads.x]\nclass = "public"\ntargets = ["openai/gpt-5", "rack/other"]\n'
        )
        with running(tmp_path_factory.mktemp("prices"), text, KEY="sk-test") as one:
            with OpenAI(base_url=one.base_url, api_key=one.key(), max_retries=0) as sdk:
                for name in ("w", "w", "w", "v", "v"):
                    sdk.chat.completions.create(model=name, messages=[{"role": "user", "content": "x"}])
            one.settled(5)
            yield one


def test_a_price_says_where_it_is_from(freehold: Freehold) -> None:
    shown = freehold.run("prices", "show", "--json", check=False)
    assert shown.returncode == 1, "one is not known"
    rows = {row["target"]: row for row in json.loads(shown.stdout)["targets"]}
    assert rows["rack/m"] == {
        "target": "rack/m",
        "source": "configuration",
        "rates": [{"input": "1", "output": "2"}],
        "hourly": None,
        "retires": None,
        "also": None,
        "services": {},
        "uplifts": {},
        "off_peak": None,
    }
    assert rows["rack/other"]["rates"] == []
    assert rows["openai/gpt-5"]["source"].startswith("genai-prices 20")
    assert Decimal(rows["openai/gpt-5"]["rates"][0]["output"]) > 0
    words = freehold.run("prices", "show", "openai/gpt-5").stdout
    assert "genai-prices" in words
    assert "USD per million tokens" in words
    assert freehold.run("prices", "show", "nowhere/m", check=False).returncode == 2


def test_other_prices_for_what_was_spent(freehold: Freehold) -> None:
    same = freehold.run("prices", "diff", "--json")
    assert all(row["difference_usd"] == "0" for row in json.loads(same.stdout)["rows"])
    found = freehold.run("prices", "diff", "--json", "--set", "rack/m:output=4", "--set", "rack/m:input=1", check=False)
    assert found.returncode == 1
    row = json.loads(found.stdout)["rows"][0]
    total = freehold.usage("model")["total"]
    assert (row["target"], row["calls"], row["charged_usd"]) == ("rack/m", 3, total["cost_usd"])
    assert Decimal(row["difference_usd"]) == Decimal(3 * 5 * 2) / 1_000_000, (
        "five tokens of an answer, two dollars a million more"
    )
    assert "would be" in freehold.run("prices", "diff", "--set", "rack/m:output=4", check=False).stdout
    assert (
        json.loads(freehold.run("prices", "diff", "--json", "--until", "2020-01-01", "--since", "2019-01-01").stdout)[
            "rows"
        ]
        == []
    )
    for wrong in (
        "rack/m:output",
        "rack/m=4",
        "rack/m:colour=4",
        "rack/m:output=-1",
        "rack/m:output=NaN",
        "m:output=1",
    ):
        assert freehold.run("prices", "diff", "--set", wrong, check=False).returncode == 2


def test_a_book_can_be_compared(freehold: Freehold, tmp_path: Path) -> None:
    (tmp_path / "rubbish.json").write_text("{}")
    assert freehold.run("prices", "diff", "--book", str(tmp_path / "rubbish.json"), check=False).returncode == 2
    book = {"date": "2030-01-01", "sources": {}, "providers": {"openai": []}}
    (tmp_path / "book.json").write_text(json.dumps(book))
    assert freehold.run("prices", "diff", "--book", str(tmp_path / "book.json")).returncode == 0


def test_usage_as_csv_and_as_a_plot(freehold: Freehold) -> None:
    rows = list(csv.DictReader(io.StringIO(freehold.run("usage", "--by", "department,workload", "--csv").stdout)))
    assert [(row["department"], row["workload"], row["calls"]) for row in rows] == [
        ("care", "w", "3"),
        ("law", "v", "2"),
    ]
    assert Decimal(rows[0]["cost_usd"]) == Decimal(freehold.usage("model")["total"]["cost_usd"])
    drawn = freehold.run("usage", "--by", "department", "--plot").stdout.splitlines()
    assert drawn[0].startswith("care  ████")
    assert drawn[1].startswith("law ")
    assert "█" not in drawn[1]
    assert freehold.run("usage", "--by", "day", "--plot", "--until", "2020-01-01").stdout == "nothing to show\n"
    assert freehold.run("usage", "--by", "colour", check=False).returncode == 2


def test_bars_are_as_long_as_their_values() -> None:
    drawn = bars(
        [("a", Decimal(8), "x"), ("bb", Decimal(4), "y"), ("c", Decimal("0.001"), "z"), ("d", Decimal(-1), "n")],
        width=8,
    ).splitlines()
    assert [line.count("█") for line in drawn] == [8, 4, 0, 0]
    assert drawn[2].startswith("c   ▏"), "what is there is seen"
    assert bars([("a", Decimal(0), "0")]) == f"a  {'':<48}  0\n"
