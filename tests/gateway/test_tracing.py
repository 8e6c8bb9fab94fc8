"""Trace context: what the standard says counts, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.gateway.otlp import SECONDS, TOKENS, Histogram
from freehold.gateway.tracing import Trace, begin, read, span_id

ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_trace_goes_on() -> None:
    found = read(f"00-{ID}-{PARENT}-01")
    assert found == Trace(ID, PARENT, True)
    assert found.header("") == f"00-{ID}-{PARENT}-01"
    assert found.header("b" * 16) == f"00-{ID}-{'b' * 16}-01"
    assert read(f"00-{ID}-{PARENT}-00") == Trace(ID, PARENT, False)
    assert read(f"cc-{ID}-{PARENT}-01-what-the-future-will-be-like") == Trace(ID, PARENT, True), "a later version"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"00-{ID}-{PARENT}",
        f"00-{ID}-{PARENT}-01-more",
        f"00-{ID}-{PARENT}-1",
        f"ff-{ID}-{PARENT}-01",
        f"00-{ID.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID[:-1]}g-{PARENT}-01",
        f" 00-{ID}-{PARENT}-01",
        f"00-{ID}-{PARENT}-01\n",
        f"00-{ID}-{PARENT}-０1",
    ],
)
def test_anything_else_is_no_trace(text: str) -> None:
    assert read(text) is None


@given(st.text(alphabet="0123456789abcdef-fF \r\n", max_size=70))
def test_what_goes_on_is_never_what_somebody_wrote(text: str) -> None:
    found = read(text)
    assert found is None or read(found.header(span_id())) is not None


def test_a_share_of_the_traces_that_begin_here_is_kept() -> None:
    assert all(begin(1.0).is_sampled for _ in range(200))
    assert not any(begin(0.0).is_sampled for _ in range(200))
    kept = sum(begin(0.25).is_sampled for _ in range(4_000))
    assert 800 < kept < 1_200
    assert len({begin(1.0).trace_id for _ in range(200)}) == 200


@pytest.mark.parametrize("bounds", [TOKENS, SECONDS])
def test_a_distribution_counts_each_value_once(bounds: tuple[float, ...]) -> None:
    """A value on a bound belongs to the bucket that ends there."""
    one = Histogram.over(bounds)
    for value in (*bounds, 0.0, bounds[-1] * 2):
        one.add(value)
    assert one.counts == [2, *[1] * (len(bounds) - 1), 1]
