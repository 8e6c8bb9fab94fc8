"""A place that is lent comes back, whenever it is free; and nobody writes the parent log beside whoever has it."""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

import pytest

from freehold.gateway.handover import Offer, take
from freehold.kernel.errors import OperatorError
from freehold.ledger.files import take_lock
from freehold.ledger.steward import Steward
from ledger.audits import FACTS, audit


def test_a_place_that_is_lent_is_had_back_when_it_is_free(tmp_path: Path) -> None:
    """The successor has died and its children, which have the lock, have not: until they end nothing is written here, and nothing fails."""
    clock = itertools.count(1_700_000_000_000)
    steward = Steward(tmp_path, lambda: next(clock))
    ledger = steward.open({"policy": "sha256:p", "prices": "sha256:b", **FACTS})
    sockets = [socket.socket() for _ in range(2)]
    offer = Offer(tmp_path, sockets, steward.lend, steward.regain)
    with pytest.MonkeyPatch.context() as patch:
        asked = socket.socket(socket.AF_UNIX)
        patch.chdir(tmp_path)
        asked.connect("handover.sock")
    asked.sendall(b"take")
    assert not offer.is_taken()
    while not steward.is_lent:
        assert not offer.is_taken()
    children = take_lock(tmp_path)
    asked.close()
    for _ in range(3):
        assert not offer.is_taken(), "it is tried again"
        with pytest.raises(OperatorError, match="taking this one's place"):
            steward.open({**FACTS}, after=())
    with pytest.raises(OperatorError):
        steward.regain()
    os.close(children)
    assert not offer.is_taken()
    assert not steward.is_lent
    steward.open({"policy": "sha256:p", "prices": "sha256:b", **FACTS}, after=()).close()
    ledger.close()
    offer.close()
    steward.close()
    for one in sockets:
        one.close()
    assert audit(tmp_path).findings == []
    with pytest.raises(OperatorError, match="Nobody serves"):
        take(tmp_path)
