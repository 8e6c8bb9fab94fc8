"""Play troubles one after the other against one Freehold, under load, and look at what is left.

python -m chaos.rounds ROUNDS [SEED]   (what `make chaos` runs)
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos.site import Callers, Site, check, check_weight, site_of, wait
from chaos.troubles import Trouble, possible, unlock
from conftest import free_port
from servers import Postgres

A_SITE = 12  # rounds, then another takes its place


def play(site: Site, troubles: Sequence[Trouble], chance: random.Random) -> int:
    """Each trouble while callers ask; returns how many receipts there are at the end, when all of them were held against what callers saw."""
    told: dict[str, tuple[int, bool]] = {}
    for trouble in troubles:
        callers = Callers(site)
        try:
            time.sleep(chance.uniform(0.1, 0.5))
            trouble.make(site, chance)
            wait(site.is_well, 30, f"it is well after: {trouble.name}")
        except AssertionError as error:
            raise AssertionError(f"{trouble.name} (seed {site.seed}): {error}\n{site.output[-2000:]}") from error
        finally:
            callers.end()
            unlock(site)
        told |= callers.told
        assert callers.seen["200"] > 0, (trouble.name, callers.seen)
        strange = set(callers.seen) - {"200", "429", "502", "503", "504", "cut", *_BROKEN}
        assert not strange, (trouble.name, site.seed, callers.seen, callers.strange, site.output[-2000:])
    check_weight(site)
    assert site.stop() == 0
    site.begin()  # what a worker could not end within its drain is settled at the next start
    assert site.stop() == 0
    return check(site, told)


_BROKEN = (
    "ConnectionRefusedError",
    "ConnectionResetError",
    "RemoteDisconnected",
    "BrokenPipeError",
    "IncompleteRead",
    "BadStatusLine",
    "CannotSendRequest",
    "TimeoutError",
)


def main(rounds: int, seed: int) -> None:
    done, receipts, began = 0, 0, time.monotonic()
    made: Counter[str] = Counter()
    postgres = Postgres(Path(tempfile.gettempdir()), free_port())
    try:
        while done < rounds:
            chance = random.Random(f"{seed}/{done}")
            workers, database = chance.choice((1, 2, 3)), postgres if chance.random() < 0.2 else None
            with site_of(workers, seed, engine=chance.random() < 0.2, database=database, is_long=True) as site:
                wanted = [chance.choice(possible(site)) for _ in range(min(A_SITE, rounds - done))]
                receipts += play(site, wanted, chance)
            done += len(wanted)
            made.update(one.name for one in wanted)
            print(f"{done:>4} rounds, {receipts:,} receipts, each held; {time.monotonic() - began:,.0f} s", flush=True)
    finally:
        postgres.stop()
    for name, count in sorted(made.items()):
        print(f"{count:>5}  {name}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
