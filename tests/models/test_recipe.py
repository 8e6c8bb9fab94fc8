"""The recipe of the built-in model, run for real at a tiny budget: train, resume, convert, parity, evaluate, compare, describe. It needs PyTorch, in an environment of its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT

RECIPE = ROOT / "models/hearth"
PYTHON = ROOT / "build/hearth-venv/bin/python"
SMALL = ("--width", "64", "--layers", "2", "--heads", "2", "--kv-heads", "2", "--hidden", "96", "--threads", "1")

pytestmark = pytest.mark.skipif(
    not (PYTHON.parent.parent / ".installed").exists(),
    reason="PyTorch is not installed for the recipe: make -C models/hearth venv",
)


def ran(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [PYTHON, RECIPE / script, *map(str, arguments)]
    return subprocess.run(command, cwd=RECIPE, capture_output=True, text=True, timeout=600)


def run(script: str, *arguments: str | Path) -> str:
    done = ran(script, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def trained(out: Path, *stops: int) -> str:
    """Train for four steps, stopped and taken up again where asked; gives the digest of the file."""
    for until in (*stops, 4):
        run("train.py", "--out", out, "--steps", "4", "--until", str(until), "--every", "4", *SMALL)
    run("gguf_file.py", "--from", out, "--to", out / "hearth.gguf")
    return hashlib.sha256((out / "hearth.gguf").read_bytes()).hexdigest()


def test_one_seed_makes_one_file(tmp_path: Path) -> None:
    """Twice from nothing, the second time stopped in the middle and resumed: the same bytes. And what was made is what llama.cpp runs, evaluated, on its card."""
    assert trained(tmp_path / "a") == trained(tmp_path / "b", 2)
    longer = ran("train.py", "--out", tmp_path / "b", "--steps", "8", *SMALL)  # its rate has come down already
    assert longer.returncode != 0
    assert "is of another run" in longer.stderr
    model = tmp_path / "a/hearth.gguf"
    told = run("parity.py", "--from", tmp_path / "a", "--model", model, "--golden", tmp_path / "parity.json")
    assert "tokens equal" in told
    assert len(json.loads((tmp_path / "parity.json").read_text())) == 40
    run("evaluate.py", "--model", model, "--cases", "3", "--handwritten", "3", "--out", tmp_path / "a/evaluation.json")
    found = json.loads((tmp_path / "a/evaluation.json").read_text())
    for where in ("test", "handwritten"):
        assert found[where]["count"] == 3
        assert found[where]["shares"]["all twelve"][1] == 3
    run("baselines.py", "--cases", "3", "--train", "300", "--out", tmp_path / "a/baselines.json")
    run("card.py", "--from", tmp_path / "a", "--to", tmp_path)
    assert hashlib.sha256(model.read_bytes()).hexdigest() in (tmp_path / "CARD.md").read_text()
    assert (tmp_path / "training-curve.svg").exists()


def test_a_run_resumed_at_a_stage_boundary_sees_the_same_text(tmp_path: Path) -> None:
    """A chunk is all of the stage that it began in, wherever in it the run goes on."""
    claim = (
        "import sys; from pathlib import Path; import torch, train; from model import Shape\n"
        "train.STAGES = (train.Stage(2, 1.0, 0.0, 0.0), train.Stage(1e9, 0.0, 0.0, 0.0))\n"
        "run = train.Run(Path(sys.argv[1]), Shape(6144, 64, 2, 2, 2, 96), 1)\n"
        "whole, run.step = run.chunk(), 3\n"
        "rest = run.chunk()\n"
        "assert len(rest) == len(whole) - 3\n"
        "assert all(torch.equal(one[0], other[0]) for one, other in zip(whole[3:], rest, strict=True))\n"
    )
    done = subprocess.run(
        [PYTHON, "-c", claim, tmp_path / "run"], cwd=RECIPE, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
