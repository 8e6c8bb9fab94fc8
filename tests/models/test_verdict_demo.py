"""`make verdict`: two real models behind a real Freehold, from nothing to a report, without a key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, clean_env

DEMO = ROOT / "models/hearth"
HEARTH = ROOT / "src/freehold/engines/hearth.gguf"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the embedded engine has no wheel there")


def test_from_nothing_to_a_report(tmp_path: Path) -> None:
    command = [sys.executable, "demo.py", "--out", str(tmp_path / "out"), "--cases", "24"]
    told = subprocess.run(command, cwd=DEMO, env=clean_env(), capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode in (0, 1), told.stderr
    assert "rack/sibling against builtin/hearth" in told.stdout
    page = (tmp_path / "out/report/index.html").read_text()
    assert "Open against closed" in page
    assert "Where the two differ" in page
    (found,) = (tmp_path / "out/state/verdicts").glob("*/verdict.json")
    verdict = json.loads(found.read_bytes())
    assert verdict["n"] == 24
    assert verdict["closed"] > verdict["open"]  # one layer's knowledge is missed


def test_a_handicap_touches_nothing_else(tmp_path: Path) -> None:
    name = "blk.4.ffn_down.weight"
    command = [
        sys.executable,
        "handicap.py",
        "--model",
        str(HEARTH),
        "--to",
        str(tmp_path / "s.gguf"),
        "--tensors",
        name,
    ]
    subprocess.run(command, cwd=DEMO, timeout=60, check=True)
    whole, worse = HEARTH.read_bytes(), (tmp_path / "s.gguf").read_bytes()
    changed = [at for at, (one, other) in enumerate(zip(whole, worse, strict=True)) if one != other]
    assert changed
    assert not any(worse[changed[0] : changed[-1] + 1])
    assert changed[-1] - changed[0] < 512 * 1024
