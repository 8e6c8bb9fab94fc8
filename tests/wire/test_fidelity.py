"""The table of what is carried says what the writers do."""

from __future__ import annotations

from freehold.kernel.routes import PLAIN, Traits
from freehold.upstream.rows import ROWS
from freehold.wire.canonical import Feature
from freehold.wire.dialects import DIALECTS, SPOKEN
from freehold.wire.fidelity import Carried, carries, probes, says

# Features that are no part of a request's shape: they are asked for by fields of one dialect, or arise in answers.
ELSEWHERE = {
    Feature.FILE_ID,
    Feature.HOSTED_TOOLS,
    Feature.TOOL_GRAMMAR,
    Feature.AUDIO_OUT,
    Feature.IMAGE_OUT,
    Feature.SAFETY,
    Feature.CONTENT,
    Feature.UNKNOWN,
}


def test_every_feature_is_asked_about() -> None:
    assert set(probes("openai-chat", "")) | ELSEWHERE == set(Feature)


def test_what_is_plain_is_carried_by_everyone() -> None:
    for row in ROWS.values():
        for route in row.routes:
            found = carries(route.dialect, route.traits)
            assert found[Feature.MAX_OUTPUT] is Carried.YES, row.name
            assert found[Feature.TEMPERATURE] is Carried.YES, row.name
            assert found[Feature.TOOLS] is not Carried.LOST, row.name


def test_a_row_that_refuses_is_believed() -> None:
    """Every word in a row is a feature, and every setting that it refuses is left out."""
    known = {feature.value for feature in Feature}
    for row in ROWS.values():
        for route in row.routes:
            assert route.traits.refuses <= known, row.name
            assert route.dialect in DIALECTS
    found = carries("openai-chat", Traits(refuses=frozenset({"seed", "image_url", "tools"})))
    assert (found[Feature.SEED], found[Feature.IMAGE_URL], found[Feature.TOOLS]) == (
        Carried.LOST,
        Carried.REFUSED,
        Carried.REFUSED,
    )
    assert carries("openai-chat", PLAIN)[Feature.SEED] is Carried.YES


def test_each_dialect_says_what_it_has() -> None:
    assert {name: says(name)[Feature.SEED] for name in SPOKEN} == {
        "openai-chat": True,
        "openai-responses": False,
        "anthropic-messages": False,
        "gemini": True,
    }
    assert all(says(name)[Feature.SCHEMA] for name in SPOKEN)
