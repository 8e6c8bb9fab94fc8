"""The command line as a newcomer meets it: real processes, exit codes, JSON on stdout and words on stderr."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

from openai import OpenAI

from conftest import NO_ENGINE, Freehold
from freehold.testing.standin import Standin


def test_the_first_run_shows_keys_and_makes_a_real_call(make_freehold: Callable[..., Freehold]) -> None:
    freehold = make_freehold(None)
    freehold.start("--hello")
    until = time.monotonic() + 20
    while "Serving on" not in freehold.output and time.monotonic() < until:
        time.sleep(0.05)
    text = freehold.output
    for words in (
        "builtin",
        "inside",
        freehold.base_url,
        "restricted key  fh-",
        "public key      fh-",
        "curl -i",
        "from openai import OpenAI",
        "First call (real",
        "class    restricted",
        "zone     inside",
        "receipt  call_",
    ):
        assert words in text
    assert freehold.stop() == 0
    (receipt,) = freehold.settled()
    assert receipt["call"] in text
    freehold.start()
    assert "keys            as before" in freehold.output.partition("stopped")[2], "secrets are shown once"


def test_a_busy_port_names_the_flag(make_freehold: Callable[..., Freehold]) -> None:
    freehold = make_freehold()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", freehold.port))
        taken.listen()
        found = freehold.run(
            "up", "--no-hello", "--port", str(freehold.port), "--admin-port", str(freehold.admin_port), check=False
        )
    assert found.returncode == 2
    assert "--port" in found.stderr
    assert "server.port_busy" in found.stderr


def test_keys_hold_at_once_and_end_within_a_second(make_freehold: Callable[..., Freehold], two_zones: str) -> None:
    freehold = make_freehold(two_zones, CLOUD="k").start()
    made = json.loads(freehold.run("keys", "create", "--name", "n", "--workload", "closed", "--json").stdout)
    assert set(made) >= {"id", "key"}
    with OpenAI(base_url=freehold.base_url, api_key=made["key"], max_retries=0) as sdk:
        assert [model.id for model in sdk.models.list()] == ["closed"]
    listed = freehold.run("keys", "list").stdout
    assert made["id"] in listed
    assert made["key"] not in listed
    assert freehold.run("keys", "revoke", made["id"]).returncode == 0
    assert freehold.run("keys", "revoke", made["id"], check=False).returncode == 1
    time.sleep(1)
    assert freehold.run("chat", "hello", "--key", made["key"], "--url", freehold.base_url, check=False).returncode == 1
    assert freehold.run("keys", "create", "--name", "n", "--workload", "nowhere", check=False).returncode == 2


def test_a_budget_holds_across_restarts(make_freehold: Callable[..., Freehold], two_zones: str) -> None:
    """A call that may cost more than is left is refused before it is sent, also after a restart."""
    freehold = make_freehold(two_zones, CLOUD="k").start()
    key = freehold.key("--class", "public", "--budget", "0.003 USD/total")
    statuses = []
    for round_ in range(2):
        with OpenAI(base_url=freehold.base_url, api_key=key, max_retries=0) as sdk:
            for _ in range(60):
                answer = sdk.chat.completions.with_streaming_response.create(
                    model="cloud/m", messages=[{"role": "user", "content": "x"}], max_tokens=900
                )
                try:
                    with answer as response:
                        statuses.append(response.status_code)
                except Exception as error:
                    statuses.append(getattr(error, "status_code", 0))
        if round_ == 0:
            freehold.stop()
            freehold.start()
    assert statuses.count(200) > 2
    assert statuses[-1] == 429
    assert statuses[60] == 429, "what was spent is known after a restart"
    total = freehold.usage()["total"]
    assert 0 < float(total["cost_usd"]) <= 0.003


def test_usage_adds_up(make_freehold: Callable[..., Freehold], two_zones: str) -> None:
    freehold = make_freehold(two_zones, CLOUD="k").start()
    key = freehold.key("--class", "public")
    for _ in range(3):
        assert (
            freehold.run("chat", "hi", "--key", key, "--url", freehold.base_url, "--model", "cloud/m").stdout.strip()
            == "Hello from the stand-in."
        )
    found = freehold.usage("model,zone")
    assert found["rows"] == [
        {
            "model": "cloud/m",
            "zone": "outside",
            "calls": 3,
            "input_tokens": 21,
            "output_tokens": 15,
            "cost_usd": "0.000051",
            "unpriced_calls": 0,
        }
    ]
    assert found["total"]["cost_usd"] == "0.000051"
    again = json.loads(freehold.run("usage", "--by", "model,zone", "--json", "--rebuild").stdout)
    assert again == found
    assert freehold.run("usage", "--by", "nonsense", check=False).returncode == 2


def test_init_writes_what_is_there_and_check_accepts_it(make_freehold: Callable[..., Freehold]) -> None:
    freehold = make_freehold(None, OPENAI_API_KEY="sk-1", DEEPINFRA_TOKEN="t")
    assert freehold.run("init").returncode == 0
    text = (freehold.folder / "freehold.toml").read_text()
    assert 'key  = "env:OPENAI_API_KEY"' in text
    assert "sk-1" not in text
    assert freehold.run("init", check=False).returncode == 2, "a file that is there is not replaced"
    checked = json.loads(freehold.run("check", "--json").stdout)
    assert checked["holds"] is True
    models = json.loads(freehold.run("models", "gpt-5", "--json").stdout)["targets"]
    assert {row["zone"] for row in models} == {"outside"}


def test_an_impostor_on_a_local_port_is_not_taken_for_inside(make_freehold: Callable[..., Freehold]) -> None:
    """A server on vLLM's port that does not say that it runs its models itself may well send everything out."""
    from freehold.gateway.discover import is_own
    from freehold.upstream.door import ServedModel

    assert is_own("vllm", ServedModel("m", "vllm"))
    assert not is_own("vllm", ServedModel("m", "openai"))
    assert not is_own("ollama", ServedModel("gpt-oss:120b-cloud", "library"))


def test_wrong_use_is_2_and_says_so(make_freehold: Callable[..., Freehold]) -> None:
    freehold = make_freehold(NO_ENGINE + "[provders]\n")
    found = freehold.run("check", check=False)
    assert found.returncode == 2
    assert "line 3" in found.stderr
    assert "providers" in found.stderr
    for arguments in (
        ["nonsense"],
        ["up", "--nonsense"],
        ["chat"],
        ["keys", "create"],
        ["check", "--config", "nowhere.toml"],
    ):
        assert freehold.run(*arguments, check=False, text="").returncode == 2, arguments


def test_metrics_and_health(make_freehold: Callable[..., Freehold], two_zones: str, inside: Standin) -> None:
    from urllib.request import urlopen

    freehold = make_freehold(two_zones, CLOUD="k").start()
    key = freehold.key()
    freehold.run("chat", "hi", "--key", key, "--url", freehold.base_url, "--model", "open")
    with urlopen(f"http://127.0.0.1:{freehold.admin_port}/metrics") as answer:
        text = answer.read().decode()
    assert (
        'freehold_calls_total{class="restricted",outcome="ok",target="rack/m",workload="open",zone="inside"} 1.0'
        in text
    )
    assert 'freehold_tokens_total{direction="output",target="rack/m",zone="inside"} 5.0' in text
    with urlopen(f"http://127.0.0.1:{freehold.admin_port}/api/targets") as answer:
        assert {row["target"] for row in json.load(answer)["targets"]} == {"rack/m", "cloud/m"}


def test_the_example_that_is_shown_works(make_freehold: Callable[..., Freehold], two_zones: str) -> None:
    """Without the built-in model too: what a first run offers to paste is a call that is answered."""
    freehold = make_freehold(two_zones, CLOUD="k").start()
    until = time.monotonic() + 10
    while "Serving on" not in freehold.output and time.monotonic() < until:
        time.sleep(0.05)
    _, _, shown = freehold.output.partition("Try it:")
    in_shell, python = shown.partition("Serving")[0].split("  from openai", 1)
    ran = subprocess.run(["bash", "-c", in_shell.strip()], capture_output=True, text=True, timeout=30)
    assert "Hello from the stand-in." in ran.stdout, ran
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(f"  from openai{python}")], capture_output=True, text=True, timeout=30
    )
    assert ran.stdout.strip() == "Hello from the stand-in.", ran
