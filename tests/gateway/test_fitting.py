"""A call fitted to a target of each dialect: what is held for it covers what is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import snapshot_of
from freehold.gateway.fitting import Fitting
from freehold.gateway.run import bounds
from freehold.kernel.classes import Zone
from freehold.kernel.schema import Abilities
from freehold.kernel.snapshot import Target
from freehold.wire.call import Address
from freehold.wire.dialects import DIALECTS, SPOKEN
from wire.laws import ENDPOINT
from wire.test_losses import PLAINLY

LIMITS: dict[str, dict[str, Any]] = {
    "openai-chat": {"max_completion_tokens": 700, "n": 3},
    "openai-responses": {"max_output_tokens": 700},
    "anthropic-messages": {"max_tokens": 700},
    "gemini": {"generationConfig": {"maxOutputTokens": 700, "candidateCount": 3}},
}


def most(body: dict[str, Any]) -> int | None:
    """The tokens that a target may write for a body, over all its choices; None where the body sets no limit."""
    config = body.get("generationConfig", {})
    limit = next(
        (
            found
            for found in (
                body.get("max_completion_tokens"),
                body.get("max_tokens"),
                body.get("max_output_tokens"),
                config.get("maxOutputTokens"),
                body.get("inferenceConfig", {}).get("maxTokens"),
            )
            if found is not None
        ),
        None,
    )
    return None if limit is None else limit * (body.get("n") or config.get("candidateCount") or 1)


@pytest.mark.parametrize("known", [None, Abilities(max_output=900)], ids=["a model that nobody knows", "a known limit"])
@pytest.mark.parametrize("is_limited", [True, False], ids=["limited", "open-ended"])
@pytest.mark.parametrize("to", DIALECTS)
@pytest.mark.parametrize("source", PLAINLY)
def test_a_hold_covers_the_limit_that_is_sent(source: str, to: str, is_limited: bool, known: Abilities | None) -> None:
    provider = snapshot_of(
        f'[providers.rack]\ndialect = "{to}"\nbase_url = "http://127.0.0.1:1"\nzone = "inside"\n'
    ).providers["rack"]
    body = {**PLAINLY[source], **(LIMITS[source] if is_limited else {})}
    call = SPOKEN[source].read_call(ENDPOINT[source], json.dumps(body).encode(), Address("m"))
    sent = most(
        Fitting(call, lambda _: known, lambda _: Zone.INSIDE, is_lossless=False).to(Target("rack", "m"), provider).body
    )
    held = bounds(call, known, has_more=False).output
    assert sent is None or sent <= held
    if is_limited:
        assert sent is not None, "a limit that the caller sets is never left out"
        assert sent in (700, held)
