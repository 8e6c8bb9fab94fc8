"""Small files of the state directory, when several processes want them at once."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

from freehold.ledger.files import written_once


def _ask(path: str, number: int, ready: str) -> bytes:
    while not Path(ready).exists():
        pass
    return written_once(Path(path), str(number).encode() * 1000)


def test_a_file_is_made_once_by_whoever_comes_first(tmp_path: Path) -> None:
    """Two workers of a node that each made up a name for it were two nodes, and what one had leased was lost to the other."""
    with get_context("spawn").Pool(4) as pool:
        for turn in range(20):
            path, ready = tmp_path / f"f{turn}", tmp_path / f"go{turn}"
            asked = [pool.apply_async(_ask, (str(path), number, str(ready))) for number in range(4)]
            ready.touch()
            assert len({one.get(30) for one in asked}) == 1
            assert sorted(one.name for one in tmp_path.glob(f"f{turn}*")) == [f"f{turn}"]
