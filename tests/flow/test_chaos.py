"""The short version of the chaos suite: every trouble once, under load, alone and with workers; `make chaos` makes them by the hundred."""

from __future__ import annotations

import random

import pytest

from chaos.rounds import play
from chaos.site import site_of
from chaos.troubles import TROUBLES, possible
from servers import Postgres


@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "several"])
@pytest.mark.parametrize("part", range(3))
def test_whatever_happens_receipts_and_budgets_are_exact(workers: int, part: int) -> None:
    """One Freehold goes through a third of all troubles, in an order that the seed decides."""
    with site_of(workers, part) as site:
        wanted = [one for one in possible(site) if TROUBLES.index(one) % 3 == part]
        random.Random(part).shuffle(wanted)
        assert play(site, wanted, random.Random(part)) > 20


@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "several"])
def test_a_model_or_a_database_that_dies_takes_nothing_with_it(workers: int, postgres: Postgres) -> None:
    with site_of(workers, 7, engine=True, database=postgres) as site:
        wanted = [one for one in possible(site) if one.needs in ("engine", "database")]
        assert len(wanted) == 2
        assert play(site, wanted, random.Random(7)) > 20
