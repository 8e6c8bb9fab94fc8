"""`python faulty.py FAULTS freehold-arguments…`: a Freehold whose clock and disk do what a file says while it runs.

The file holds JSON: `clock_s`, by how much the wall clock is off; `sync_s`, how long the disk takes to sync. It is read at every look at the clock and
every sync, so a fault comes and goes at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path(sys.argv[1])
_real_time, _known = time.time, [(0, {})]


def faults() -> dict[str, float]:
    at = os.stat(FILE).st_mtime_ns
    if at != _known[0][0]:
        try:
            _known[0] = at, json.loads(FILE.read_text())
        except ValueError:  # half written
            return {}
    return _known[0][1]


def slow(sync: Callable[[int], None]) -> Callable[[int], None]:
    def synced(fd: int) -> None:
        time.sleep(faults().get("sync_s", 0.0))
        sync(fd)

    return synced


def main() -> None:
    time.time = lambda: _real_time() + faults().get("clock_s", 0.0)
    module: Any = os
    for name in ("fsync", "fdatasync"):
        setattr(module, name, slow(getattr(os, name)))
    from freehold.cli import main as cli

    sys.argv = ["freehold", *sys.argv[2:]]
    cli.main()


if __name__ == "__main__":
    main()
