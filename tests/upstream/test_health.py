"""Who is given a rest, when it ends, and what is made of a provider's own limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.kernel.snapshot import Target
from freehold.upstream.health import IN_A_ROW, LONGEST_REST_S, REST_S, WINDOW_S, Health

A, B = Target("p", "a"), Target("p", "b")
FAILED = "upstream.failed"


class Ward:
    """A health whose clock is a number."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.told: list[tuple[str, bool]] = []
        self.health = Health(lambda name, rests: self.told.append((name, rests)))

    def call(self, target: Target = A, code: str = "ok", **more: float) -> None:
        self.health.take(target, 10)
        self.health.begin(target)
        self.health.end(target, code, self.now_s, **more)

    def rests(self, target: Target = A) -> bool:
        return self.health.rest_s(target, self.now_s) > 0

    def fail_until_rest(self, target: Target = A) -> None:
        while not self.rests(target):
            self.call(target, FAILED)


@pytest.fixture
def ward() -> Ward:
    return Ward()


def test_three_failures_in_a_row_are_a_rest(ward: Ward) -> None:
    for _ in range(IN_A_ROW - 1):
        ward.call(code=FAILED)
    assert not ward.rests()
    ward.call()
    for _ in range(IN_A_ROW - 1):
        ward.call(code=FAILED)
    assert not ward.rests(), "a success in between"
    ward.call(code=FAILED)
    assert ward.rests()
    assert ward.told == [("p/a", True)]
    assert not ward.rests(B), "another model of the provider may well do"
    assert ward.health.vital(A, ward.now_s).is_resting


def test_half_of_all_calls_failing_is_a_rest_too(ward: Ward) -> None:
    """Never three in a row, but every second one."""
    for _ in range(9):
        ward.call()
        ward.call(code=FAILED)
    assert not ward.rests(), "too few to tell"
    ward.call()
    ward.call(code=FAILED)
    assert ward.rests()


def test_after_a_rest_one_call_finds_out(ward: Ward) -> None:
    """While it is under way all others are kept back; a failure doubles the rest, a success ends it."""
    ward.fail_until_rest()
    ward.now_s += REST_S
    assert not ward.rests()
    ward.health.begin(A)
    assert ward.rests(), "one is enough"
    assert ward.health.vital(A, ward.now_s).is_resting
    ward.health.end(A, FAILED, ward.now_s)
    assert ward.health.rest_s(A, ward.now_s) == 2 * REST_S
    ward.now_s += 2 * REST_S
    ward.call()
    assert not ward.rests()
    assert ward.told == [("p/a", True), ("p/a", True), ("p/a", False)]
    ward.call(code=FAILED)
    assert not ward.rests(), "what was before the rest is forgotten"


def test_where_there_is_no_other_one_call_at_a_time_may_go(ward: Ward) -> None:
    """The only target of a call is never given up, and never overrun either."""
    ward.fail_until_rest()
    assert ward.health.rest_s(A, ward.now_s, is_last=True) == 0
    ward.health.begin(A)
    assert ward.health.rest_s(A, ward.now_s, is_last=True) > 0
    ward.health.end(A, "ok", ward.now_s)
    assert not ward.rests(), "it is well again, whatever its rest was"


def test_a_rest_never_grows_beyond_its_limit(ward: Ward) -> None:
    ward.fail_until_rest()
    for _ in range(40):
        ward.now_s += ward.health.rest_s(A, ward.now_s)
        ward.call(code=FAILED)
    assert ward.health.rest_s(A, ward.now_s) == LONGEST_REST_S


@pytest.mark.parametrize("code", ["", "cancelled", "failed", "upstream.busy", "upstream.resting", "budget.exhausted"])
def test_what_says_nothing_of_a_target_changes_nothing(ward: Ward, code: str) -> None:
    """A caller that leaves, a request that was wrong, a call that was never sent; the probe's place is free again."""
    for _ in range(10):
        ward.call(code=code)
    assert not ward.rests()
    ward.fail_until_rest()
    ward.now_s += REST_S
    ward.call(code=code)
    assert not ward.rests(), "the next one finds out"


def test_who_cannot_be_reached_rests_with_all_its_models(ward: Ward) -> None:
    for _ in range(IN_A_ROW):
        ward.call(A, "upstream.unreachable")
    assert ward.rests(B)
    ward.now_s += REST_S
    ward.call(B)
    assert not ward.rests(B), "one model that answers is a provider that answers"


@pytest.mark.parametrize(
    "code", ["upstream.failed", "upstream.overloaded", "upstream.timeout", "upstream.invalid_answer"]
)
def test_who_answers_badly_can_be_reached(ward: Ward, code: str) -> None:
    """The provider as a whole is back with the first answer, however bad; what fails now is the model's own."""
    for _ in range(IN_A_ROW):
        ward.call(A, "upstream.unreachable")
    ward.now_s += REST_S
    ward.call(B, code)
    assert not ward.rests(B)
    ward.call(B)
    assert not ward.rests(B)


def test_a_refusal_for_the_rate_is_no_failure_but_a_pause(ward: Ward) -> None:
    for _ in range(20):
        ward.call(code="upstream.rate_limited", retry_after_s=7.0)
    assert not ward.rests()
    assert ward.health.wait_s(A, 10, ward.now_s) == 7.0
    assert ward.health.vital(A, ward.now_s).is_resting, "others are tried before it"
    assert ward.health.wait_s(B, 10, ward.now_s) == 0
    ward.now_s += 7
    assert ward.health.wait_s(A, 10, ward.now_s) == 0


def test_a_refusal_without_a_time_is_a_longer_pause_each_time(ward: Ward) -> None:
    waits = []
    for _ in range(8):
        ward.call(code="upstream.rate_limited")
        waits.append(ward.health.wait_s(A, 10, ward.now_s))
        ward.now_s += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    ward.call()
    ward.call(code="upstream.rate_limited")
    assert ward.health.wait_s(A, 10, ward.now_s) == 1


def test_a_pause_is_never_endless(ward: Ward) -> None:
    ward.call(code="upstream.rate_limited", retry_after_s=float("inf"))
    assert ward.health.wait_s(A, 10, ward.now_s) == 3600


def test_limits_that_a_provider_tells_are_kept_before_it_refuses(ward: Ward) -> None:
    """Two calls are left of sixty a minute: two go, the third waits the second until there is one again."""
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "58s",
    }
    ward.health.heard(A, headers, 0.1, now_s=ward.now_s, wall_s=ward.now_s)
    for _ in range(2):
        assert ward.health.wait_s(A, 10, ward.now_s) == 0
        ward.call()
    assert ward.health.wait_s(A, 10, ward.now_s) == pytest.approx(1.0)
    ward.now_s += 1.01
    assert ward.health.wait_s(A, 10, ward.now_s) == 0
    ward.now_s += 1e6
    for _ in range(60):
        assert ward.health.wait_s(A, 10, ward.now_s) == 0
        ward.call()
    assert ward.health.wait_s(A, 10, ward.now_s) > 0, "never more than the whole"


def test_tokens_are_kept_too(ward: Ward) -> None:
    headers = {"anthropic-ratelimit-input-tokens-limit": "1000", "anthropic-ratelimit-input-tokens-remaining": "100", "anthropic-ratelimit-input-tokens-reset": "1970-01-01T00:17:10Z"}  # fmt: skip
    ward.health.heard(A, headers, 0.1, now_s=ward.now_s, wall_s=ward.now_s)
    assert ward.health.wait_s(A, 100, ward.now_s) == 0
    assert ward.health.wait_s(A, 190, ward.now_s) == pytest.approx(3.0), "900 in 30 seconds"
    assert ward.health.wait_s(A, 10**9, ward.now_s) == pytest.approx(40 / 3), "half of the whole is enough for any call"


def test_a_limit_without_a_size_is_back_at_its_reset(ward: Ward) -> None:
    """How much comes back by when is not told, so nobody goes before the reset, and everybody after it."""
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6s"}
    ward.health.heard(A, headers, 0.1, now_s=ward.now_s, wall_s=ward.now_s)
    assert ward.health.wait_s(A, 2000, ward.now_s) == pytest.approx(6.0)
    ward.now_s += 6.1
    assert ward.health.wait_s(A, 10**9, ward.now_s) == 0


def test_a_stream_that_has_begun_well_ends_the_rest(ward: Ward) -> None:
    """Nobody waits for the end of a long answer to learn that its target is back; if it breaks off, that counts as ever."""
    ward.fail_until_rest()
    ward.now_s += REST_S
    ward.health.begin(A)
    assert ward.rests()
    ward.health.speaks(A)
    assert not ward.rests()
    ward.health.end(A, "upstream.cut", ward.now_s)
    assert not ward.rests(), "one failure"


def test_a_slower_answer_counts_at_once_and_is_forgotten_by_and_by(ward: Ward) -> None:
    def latency() -> float:
        return ward.health.vital(A, ward.now_s).latency_s or 0.0

    ward.health.heard(A, {}, 0.1, now_s=ward.now_s, wall_s=ward.now_s)
    ward.health.heard(A, {}, 2.1, now_s=ward.now_s, wall_s=ward.now_s)
    assert latency() == pytest.approx(1.1)
    ward.now_s += 10
    ward.health.heard(A, {}, 0.1, now_s=ward.now_s, wall_s=ward.now_s)
    assert 0.4 < latency() < 0.6


def test_the_hour_of_the_day_is_of_no_account(ward: Ward) -> None:
    """A clock that steps changes no rest and no pause: only a reset that is told as a moment is read by it."""
    headers = {"anthropic-ratelimit-requests-limit": "60", "anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2026-11-25T12:00:30Z"}  # fmt: skip
    ward.health.heard(A, headers, 0.1, now_s=ward.now_s, wall_s=1_795_608_000.0)
    assert ward.health.wait_s(A, 1, ward.now_s) == pytest.approx(0.5), "one of sixty in thirty seconds"


def test_callers_do_not_choose_our_memory(ward: Ward) -> None:
    for number in range(10_000):
        ward.call(Target("p", f"model {number}"))
    assert len(ward.health._targets) <= 4_096


@given(
    st.lists(
        st.sampled_from(["ok", FAILED, "cancelled", "upstream.rate_limited", "upstream.unreachable", "wait"]),
        max_size=80,
    )
)
def test_nobody_rests_for_ever(events: list[str]) -> None:
    """Whatever happened, when the longest rest is over a call may go, and if it succeeds all is well."""
    ward = Ward()
    for event in events:
        if event == "wait":
            ward.now_s += WINDOW_S
        else:
            ward.call(code=event)
    ward.now_s += LONGEST_REST_S
    assert not ward.rests()
    ward.call()
    assert not ward.rests()
    assert ward.health.vital(A, ward.now_s).in_flight == 0
