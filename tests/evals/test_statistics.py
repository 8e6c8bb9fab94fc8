"""The maths of the verdict, each part against something that was made another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import statsmodels.api
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as other_mcnemar
from statsmodels.stats.multitest import multipletests

from freehold.evals.bets import Bets
from freehold.evals.bounds import Score, Student, mcnemar, score, stretch
from freehold.evals.effects import Layers, layered, mean_of, worth
from freehold.evals.judged import Corrected, Labelled, corrected, judge_of, plugged_in
from freehold.evals.planning import Aim, labels_for, plan, power_of
from freehold.evals.selection import covariance, holm, lower_of_kept
from freehold.kernel.errors import CallerError


def _restricted(better: int, worse: int, n: int, at: float) -> float:
    """The share of 'only the closed side' that is likeliest if the difference is `at`, by maximising the likelihood."""

    def unlikely(share: float) -> float:
        first, rest = share + at, 1 - 2 * share - at
        return -(
            better * math.log(max(first, 1e-300))
            + worse * math.log(max(share, 1e-300))
            + (n - better - worse) * math.log(max(rest, 1e-300))
        )

    low, high = max(0.0, -at), (1 - at) / 2
    return float(
        scipy.optimize.minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    )


@pytest.mark.parametrize(
    ("better", "worse", "n", "at"), [(5, 9, 44, -0.1), (1, 12, 60, 0.03), (20, 21, 200, -0.05), (3, 3, 12, 0.2)]
)
def test_score_is_the_difference_over_its_error_under_the_null(better: int, worse: int, n: int, at: float) -> None:
    """Tango's closed form, against the likelihood maximised by a search."""
    share = _restricted(better, worse, n, at)
    error = math.sqrt(n * (2 * share + at * (1 - at)))
    assert float(score(better, worse, n, at)) == pytest.approx((better - worse - n * at) / error, rel=1e-5)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 400), st.sampled_from([0.005, 0.025, 0.05, 0.2]))
def test_score_bound_and_p_value_agree_and_turn_round(better: int, worse: int, more: int, level: float) -> None:
    n = better + worse + more
    bounds, turned = Score(better, worse, n), Score(worse, better, n)
    assert bounds.lower(level) == pytest.approx(-turned.upper(level), abs=1e-12)
    assert bounds.p_above(bounds.lower(level)) == pytest.approx(level, rel=1e-5)
    assert bounds.p_below(bounds.upper(level)) == pytest.approx(level, rel=1e-5)
    assert bounds.lower(level) <= (better - worse) / n <= bounds.upper(level)


def test_score_is_never_sure_of_what_never_differed() -> None:
    """Forty cases that are all the same do not prove a difference of zero."""
    assert Score(0, 0, 40).lower(0.05) < -0.05
    assert Score(0, 0, 4_000).lower(0.05) > -0.002


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 12), (40, 41), (742, 2496)])
def test_mcnemar_is_exact(better: int, worse: int) -> None:
    assert mcnemar(better, worse) == pytest.approx(
        other_mcnemar([[0, better], [worse, 0]], exact=True).pvalue, rel=1e-9
    )


def _draw(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_error_over_clusters_is_that_of_a_regression_on_nothing() -> None:
    draw = _draw()
    groups = np.sort(draw.integers(0, 30, 400))
    values = draw.normal(0, 1, 30)[groups] + draw.normal(0, 1, 400)
    effect = mean_of(values, None, groups)
    fit = statsmodels.api.OLS(values, np.ones(400)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert effect.error == pytest.approx(float(fit.bse[0]), rel=1e-9)
    assert effect.plain_error == pytest.approx(values.std(ddof=1) / 20, rel=1e-12)


def test_layers_leave_out_what_varies_between_them() -> None:
    """The stratified mean and its error, by the textbook's formula."""
    draw, strata = _draw(), np.repeat([0, 1, 2], [40, 60, 100])
    values, shares = draw.normal(0, 1, 200) + 3.0 * strata, np.array([0.5, 0.3, 0.2])
    effect, freedom = layered(values, Layers(strata, shares, 1.0), None)
    parts = [values[strata == code] for code in range(3)]
    assert effect.value == pytest.approx(sum(w * p.mean() for w, p in zip(shares, parts, strict=True)))
    meant = math.sqrt(sum(w**2 * p.var(ddof=1) / len(p) for w, p in zip(shares, parts, strict=True)))
    assert effect.plain_error == pytest.approx(meant, rel=0.005)
    assert 39 <= freedom <= 197


def test_units_are_worth_less_where_sizes_differ() -> None:
    assert worth(None, np.ones(50)) == pytest.approx(50)
    assert worth(np.repeat(np.arange(5), 10), np.ones(50)) == pytest.approx(5)
    assert worth(np.repeat([0, 1, 2], [98, 1, 1]), np.ones(100)) < 1.1


def test_student_is_student() -> None:
    low, high = scipy.stats.t.interval(0.9, 11, loc=0.3, scale=0.1)
    bounds = Student(0.3, 0.1, 11.0)
    assert (bounds.lower(0.05), bounds.upper(0.05)) == pytest.approx((low, high))
    assert bounds.p_above(0.1) == pytest.approx(float(scipy.stats.t.sf(2.0, 11)))


def test_bootstrap_stretches_the_side_of_the_tail_and_turns_round() -> None:
    values = np.concatenate([np.full(38, 0.1), [-1.5, -2.0]])
    ones = np.ones(40)
    below, above = stretch(values, ones, 39.0)
    assert below > 2.0  # a resample without the two is far above what was seen, and sure of it
    assert above == 1.0
    assert stretch(-values, ones, 39.0) == (above, below)
    assert stretch(values[::-1].copy(), ones, 39.0) == (below, above)


# --- bets -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=300), st.sampled_from([0.01, 0.05]))
def test_bets_agree_with_themselves_and_turn_round(values: list[float], level: float) -> None:
    seen = np.array(values)
    bets, turned = Bets(seen, 1.0), Bets(-seen, 1.0)
    lower = bets.lower(level)
    assert lower == pytest.approx(-turned.upper(level), abs=1e-9)
    assert lower <= seen.mean() + 1e-9
    if lower > -0.999:
        assert bets.p_above(lower - 1e-6) <= level * 1.001
        assert bets.p_above(lower + 1e-4) > level * 0.999


def test_bets_own_nothing_more_on_average() -> None:
    """What the bettors own is a fair game's: its mean is 1 where the tested value is the truth (counted out, not drawn)."""
    share = 0.3
    whole = sum(
        math.comb(12, k) * share**k * (1 - share) ** (12 - k)
        / max(Bets(np.repeat([1.0, -1.0], [k, 12 - k]), 1.0).p_above(2 * share - 1), 1e-300)
        for k in range(13)
    )  # fmt: skip
    # A p-value above 1 is written as 1, so capital below 1 counts as 1: the sum is between the game's 1 and 1 plus what was rounded up.
    owned = 0.0
    for k in range(13):
        p = Bets(np.repeat([1.0, -1.0], [k, 12 - k]), 1.0).p_above(2 * share - 1)
        owned += math.comb(12, k) * share**k * (1 - share) ** (12 - k) * (1 / p if p < 1 else 0)
    assert owned <= 1.0 + 1e-9 <= whole + 1e-9


# --- several at once ------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_holm(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])


def test_what_is_kept_is_corrected_for_having_been_kept() -> None:
    """Far from being left out the bound is the plain one; close to it, it is much lower."""
    shares, errors = np.array([0.5, 0.5]), np.array([0.02, 0.02])
    spread, means = np.diag(errors**2), np.array([0.0, 0.0])
    plain = 0.0 - 1.6449 * 0.02 / math.sqrt(2)
    far = lower_of_kept(shares, means, spread, np.array([-0.3, -0.3]), 0.05)
    near = lower_of_kept(shares, means, spread, np.array([-0.3, -0.001]), 0.05)
    assert far == pytest.approx(plain, rel=1e-3)
    assert near < plain - 0.02


def test_kept_bound_holds_given_that_it_was_kept() -> None:
    """Two strata, one of them left out unless it looks better than its cut: how often the bound is above the truth."""
    draw, wrong, kept = _draw(), 0, 0
    shares, spread, cuts = np.array([0.5, 0.5]), np.diag([1.0, 1.0]), np.array([-10.0, 0.5])
    for _ in range(4_000):
        means = draw.normal(0, 1, 2)
        if means[1] > cuts[1]:
            kept += 1
            wrong += lower_of_kept(shares, means, spread, cuts, 0.05) > 0.0
    assert kept > 1_000
    assert wrong / kept == pytest.approx(0.05, abs=0.02)


def test_covariance_of_strata_that_share_clusters() -> None:
    pulls, strata, groups = np.array([1.0, -1.0, 2.0, -2.0]), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert covariance(pulls, strata, groups, 2) == pytest.approx(np.array([[2.0, 4.0], [4.0, 8.0]]) * 2)


# --- judges ---------------------------------------------------------------------------------------------------------


def _judged(agreement: float, labels: int = 80, n: int = 1_000) -> tuple[Labelled, np.ndarray]:
    draw = _draw(3)
    human = draw.choice([-1.0, 0.0, 1.0], n, p=[0.3, 0.3, 0.4])
    judge = np.where(draw.random(n) < agreement, human, draw.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.1, 0.8]))
    return Labelled(judge, np.where(np.arange(n) < labels, human, np.nan), None, 2.0), human


def test_a_good_judge_is_worth_many_labels() -> None:
    data, human = _judged(0.7, labels=150)
    judge, (effect, _) = judge_of(data), corrected(data)
    assert judge.is_of_use
    assert judge.worth_labels > 1.5 * judge.labels
    assert abs(effect.value - human.mean()) < 3 * effect.error
    assert judge.bias_interval is not None
    assert judge.bias_interval[0] > 0  # it favours the open model, and says so


def test_a_judge_that_guesses_is_said_to_be_of_no_use() -> None:
    judge = judge_of(_judged(0.0)[0])
    assert not judge.is_of_use
    assert judge.weight < 0.2


def test_ppi_is_its_formula() -> None:
    """PPI++'s estimate and variance, written out."""
    data, _ = _judged(0.7)
    y, f, rest = data.human[:80], data.judge[:80], data.judge[80:]
    weight = np.cov(y, f)[0, 1] / (np.var(data.judge) * (1 + 80 / 920))
    effect, used = corrected(data)
    assert used == pytest.approx(weight)
    assert effect.value == pytest.approx(y.mean() + weight * (rest.mean() - f.mean()))
    assert effect.error**2 == pytest.approx(np.var(y - weight * f) / 80 + weight**2 * np.var(rest) / 920, rel=0.05)


def test_a_judge_that_always_agreed_is_not_thought_perfect() -> None:
    draw = _draw(5)
    human = draw.choice([-1.0, 1.0], 2_000)
    data = Labelled(human, np.where(np.arange(2_000) < 20, human, np.nan), None, 2.0)
    effect, weight = corrected(data)
    bounds = Corrected(data, effect, weight).bounds()
    assert bounds.upper(0.025) - bounds.lower(0.025) > 0.2  # the next label may be the first that it gets wrong


def test_plugged_in_takes_the_judges_errors_out() -> None:
    draw, runs, held = _draw(9), 400, 0
    for _ in range(runs):
        human = (draw.random(1_500) < 0.7).astype(float)
        judge = np.where(human == 1, draw.random(1_500) < 0.95, draw.random(1_500) < 0.3).astype(float)
        # Labels of the failed are wanted more than of the passed: sensitivity and specificity bear that.
        wanted = draw.random(1_500) < np.where(human == 0, 0.3, 0.1)
        found = plugged_in(judge, np.where(wanted, human, np.nan))
        assert found is not None
        held += abs(found[0].corrected - 0.7) < 1.96 * found[0].error
    assert held / runs > 0.92


# --- planning -------------------------------------------------------------------------------------------------------


def test_power_is_counted_out() -> None:
    """The chance over all outcomes of 30 cases, one by one."""
    aim, whole = Aim(0.15, difference=0.0, discordance=0.2), 0.0
    for better in range(31):
        for worse in range(31 - better):
            chance = scipy.stats.multinomial.pmf([better, worse, 30 - better - worse], 30, [0.1, 0.1, 0.8])
            whole += chance * (Score(better, worse, 30).p_above(-0.15) <= 0.05)
    assert power_of(aim, 30) == pytest.approx(whole, abs=1e-6)


def test_counted_out_and_normal_meet() -> None:
    aim = Aim(0.03, difference=0.0, discordance=0.1)
    assert power_of(aim, 4_000) == pytest.approx(power_of(aim, 4_001), abs=0.005)


def test_a_plan_says_no_where_nothing_would_do() -> None:
    for aim in (
        Aim(0.03, difference=-0.03, discordance=0.1),
        Aim(0.0, discordance=0.1),
        Aim(0.03, discordance=0.0),
        Aim(0.03),
    ):
        with pytest.raises(CallerError) as refused:
            plan(aim)
        assert refused.value.code == "verdict.plan"


@pytest.mark.parametrize("aim", [Aim(0.2, spread=0.3), Aim(0.05, spread=0.3), Aim(0.1, 0.9, 0.05, spread=0.4)])
def test_a_plan_for_numbers_holds(aim: Aim) -> None:
    """Against the method itself, on drawn numbers."""
    draw, n, shown = _draw(2), plan(aim).needed_n, 0
    for _ in range(1_500):
        values = draw.normal(aim.difference, aim.spread or 0, n)
        bounds = Student(values.mean(), values.std(ddof=1) / math.sqrt(n), n - 1.0)
        shown += bounds.p_above(-aim.margin) <= 0.05
    assert shown / 1_500 > aim.power - 0.03


def test_odd_plans_are_refused() -> None:
    for odd in (float("nan"), float("inf"), -1.0, 1e300):
        for name in ("margin", "spread", "cluster_size", "power"):
            fields = {"margin": 0.05, "spread": 0.3, name: odd}
            with pytest.raises(CallerError):
                plan(Aim(**fields))
    with pytest.raises(CallerError):
        plan(Aim(3.0, discordance=0.1))


def test_labels_are_fewer_the_better_the_judge() -> None:
    aim = Aim(0.05, discordance=0.1)
    needed = plan(aim).needed_n
    found = [labels_for(aim, 5_000, correlation) for correlation in (0.0, 0.5, 0.8, 0.95)]
    assert found == sorted(found, reverse=True)
    assert 0.7 * needed < found[0] < 1.1 * needed
    assert found[-1] < needed / 3
