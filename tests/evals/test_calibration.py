"""The promises of `make calibrate`, at a size that a test suite can bear."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

from conftest import ROOT, SHARED


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibrate", ROOT / "tools/calibrate.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["calibrate"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


calibrate = _tool()
PROMISES = {promise.__name__: promise for promise in calibrate.ALL}


@pytest.mark.parametrize("name", list(PROMISES))
def test_promise(name: str) -> None:
    """Each holds, within what chance does to so few simulations."""
    runs = 40 if PROMISES[name] in calibrate.SLOW else 80
    for row in PROMISES[name](np.random.default_rng(11), runs):
        assert row.holds, row


def test_no_false_open_is_likelier_than_one_in_nineteen() -> None:
    """Counted out over every outcome, not drawn."""
    assert calibrate.false_open_enumerated() < 1 / 19


@pytest.mark.skipif(not (SHARED / "data/judging").is_dir(), reason="needs ../shared/data/judging")
def test_judges_on_real_pairs() -> None:
    for row in calibrate.judges(np.random.default_rng(12), 600, SHARED / "data/judging/pandalm_500.jsonl.gz"):
        assert row.holds, row
        assert float(row.what.split("(")[1].split(" times")[0]) < 0.95
