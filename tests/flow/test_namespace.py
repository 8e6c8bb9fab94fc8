"""No byte leaves: shown on the wire itself, in a network namespace where every packet is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import clean_env


def test_every_packet_of_a_namespace() -> None:
    """A restricted key: not one packet to the outside address. A public key: packets, and no canary in any of them. Nothing to anywhere else."""
    script = Path(__file__).parent / "in_namespace.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, env=clean_env())
    if done.returncode == 77:
        pytest.skip("this machine lets nobody make a network namespace")
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    assert seen["to_outside_for_restricted"] == 0
    assert set(seen["statuses"]["restricted"]) <= {"200", "400", "503"}
    assert seen["statuses"]["restricted"]["503"] > 100, "the inside target failed often enough to tempt it"
    assert set(seen["statuses"]["public"]) == {"403"}
    assert seen["statuses"]["masked"]["200"] > 500
    assert seen["leaked"] == []
    assert seen["bytes_outside"] > 100_000, "the recorder saw what was allowed to leave"
    assert set(seen["addresses"]) == {"127.0.0.1", "127.0.0.5", "127.0.0.99"}, (
        "nothing else was spoken to, not even a name server"
    )
