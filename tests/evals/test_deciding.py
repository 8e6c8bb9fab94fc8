"""The verdict: six words, in their order, on outcomes made to deserve each."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest

from conftest import SHARED
from freehold.evals.deciding import decide
from freehold.evals.outcomes import read
from freehold.evals.telling import data
from freehold.evals.verdicts import Rule, Verdict
from freehold.kernel.errors import CallerError


def rows(open_: int, closed: int, both: int, neither: int = 0, **more: Any) -> list[dict[str, Any]]:
    """So many cases that only one side, both, or neither got right."""
    kinds = [(True, False)] * open_ + [(False, True)] * closed + [(True, True)] * both + [(False, False)] * neither
    return [{"open": first, "closed": second, **more} for first, second in kinds]


def judged(cases: list[dict[str, Any]], margin: float = 0.05, **rule: Any) -> Verdict:
    numbered = [{"id": f"case {at} of all", **case} for at, case in enumerate(cases)]
    return decide(read(json.dumps(case).encode() for case in numbered), Rule(margin, **rule))


@pytest.mark.parametrize(
    ("cases", "word"),
    [
        pytest.param(rows(60, 10, 330), "OPEN_BETTER", id="more often right"),
        pytest.param(rows(10, 11, 379), "OPEN", id="as often"),
        pytest.param(rows(10, 90, 300), "CLOSED", id="less often"),
        pytest.param(rows(5, 9, 60), "INCONCLUSIVE", id="too few"),
        pytest.param(rows(0, 0, 10), "INCONCLUSIVE", id="ten alike prove nothing"),
        pytest.param(rows(0, 0, 500), "OPEN", id="five hundred alike do"),
        pytest.param(rows(2, 2, 300, stratum="a") + rows(2, 60, 60, stratum="b"), "ROUTE", id="good in one stratum, bad in another"),
        pytest.param(rows(2, 2, 30, stratum="a") + rows(2, 260, 60, stratum="b"), "CLOSED", id="good in less than a fifth"),
    ],
)  # fmt: skip
def test_each_word(cases: list[dict[str, Any]], word: str) -> None:
    assert judged(cases).whole.verdict == word


def test_inconclusive_says_how_many_more() -> None:
    """And so many more of the same kind decide it."""
    few = rows(3, 3, 60)
    found = judged(few).whole
    assert found.verdict == "INCONCLUSIVE"
    assert found.needed_n is not None
    times = 1 + found.needed_n / len(few)
    assert judged(rows(round(3 * times), round(3 * times), round(60 * times))).whole.verdict == "OPEN"


def test_nothing_is_needed_where_no_number_would_do() -> None:
    found = judged(rows(5, 10, 85), margin=0.05)
    assert found.whole.needed_n is None
    assert "no number of cases" in found.reasons[0]


def test_route_says_what_goes_where_and_what_that_would_be() -> None:
    cheap = {"open_cost_usd": 0.001, "closed_cost_usd": 0.01}
    cases = rows(2, 2, 296, stratum="letters", **cheap) + rows(2, 60, 138, stratum="contracts", **cheap)
    found = judged(cases)
    route = found.route
    assert route is not None
    assert route.open == ("letters",)
    assert route.closed == ("contracts",)
    assert route.share_open == pytest.approx(0.6)
    assert route.lower_bound > -0.05
    quality = {name: way.quality[0] for name, way in found.ways.items()}
    assert quality == pytest.approx({"closed": 496 / 500, "split": 496 / 500, "open": 438 / 500})
    costs = {name: way.cost_usd[0] for name, way in found.ways.items() if way.cost_usd is not None}
    assert costs == pytest.approx({"closed": 0.01, "split": 0.6 * 0.001 + 0.4 * 0.01, "open": 0.001})


def test_turning_the_sides_round_turns_the_numbers_round() -> None:
    draw = np.random.default_rng(1)
    for kind in ("binary", "numbers", "clusters"):
        cases = [
            {
                "open": bool(draw.random() < 0.7) if kind == "binary" else float(draw.beta(2, 5)),
                "closed": bool(draw.random() < 0.8) if kind == "binary" else float(draw.beta(3, 5)),
                **({"cluster": int(draw.integers(12))} if kind == "clusters" else {}),
            }
            for _ in range(150)
        ]
        turned = [{**case, "open": case["closed"], "closed": case["open"]} for case in cases]
        one, other = judged(cases).whole, judged(turned).whole
        assert one.difference == pytest.approx(-(other.difference or 0), abs=1e-12)
        assert one.lower_bound == pytest.approx(-(other.upper_bound or 0), abs=1e-12)
        assert one.interval == pytest.approx(tuple(-end for end in reversed(other.interval or ())), abs=1e-12)
        assert one.standard_error == pytest.approx(other.standard_error, rel=1e-12)


def test_the_order_of_rows_changes_nothing() -> None:
    draw = np.random.default_rng(2)
    cases = [
        {"id": at, "open": float(draw.random()), "closed": float(draw.random()), "cluster": at // 3, "stratum": f"s{at % 4}"}
        for at in range(200)
    ]  # fmt: skip
    mixed = [cases[at] for at in draw.permutation(200)]
    first, second = (decide(read(json.dumps(case).encode() for case in each), Rule(0.1)) for each in (cases, mixed))
    assert first.whole.verdict == second.whole.verdict
    assert first.whole.lower_bound == pytest.approx(second.whole.lower_bound, abs=1e-9)
    by_name = [{one.stratum: one.finding.lower_bound for one in found.strata} for found in (first, second)]
    assert by_name[0] == pytest.approx(by_name[1], abs=1e-9)


def test_strata_hold_together() -> None:
    """Forty strata in which nothing differs: one of them always looks bad, and none is called so."""
    draw = np.random.default_rng(4)
    cases = [
        {"open": bool(draw.random() < 0.8), "closed": bool(draw.random() < 0.8), "stratum": f"s{at % 40}"} for at in range(2_400)
    ]  # fmt: skip
    found = judged(cases)
    assert min(one.finding.p_worse or 1 for one in found.strata) < 0.25
    assert not [one for one in found.strata if one.finding.verdict == "CLOSED"]


def test_shares_of_the_traffic_weigh() -> None:
    cases = rows(0, 50, 50, stratum="rare") + rows(0, 0, 100, stratum="usual")
    seen, told = judged(cases).whole, judged(cases, shares={"rare": 0.02, "usual": 0.98}).whole
    assert seen.difference == pytest.approx(-0.25)
    assert told.difference == pytest.approx(-0.01)
    for wrong in ({"rare": 1.0}, {"rare": 0.5, "usual": 0.6}, {"rare": 0.0, "usual": 1.0}):
        with pytest.raises(CallerError) as refused:
            judged(cases, shares=wrong)
        assert refused.value.code == "verdict.shares"


def test_clusters_make_it_less_sure() -> None:
    cases = [{"open": at // 10 % 3 != 0, "closed": True, "cluster": at // 10} for at in range(200)]
    found = judged(cases).whole
    assert found.clusters == 20
    assert (found.standard_error or 0) > 2.5 * (found.standard_error_unclustered or 1)
    assert any("20" in caution or "clusters" in caution for caution in judged(cases[:50]).cautions)


def test_ids_that_look_grouped_are_told() -> None:
    cases = [{"id": f"letters/{at // 10}/{at}", "open": at // 10 % 2 == 0, "closed": True} for at in range(200)]
    found = decide(read(json.dumps(case).encode() for case in cases), Rule(0.05))
    assert any("belong together" in caution for caution in found.cautions)


def test_numbers_that_hardly_ever_differ_are_not_sure() -> None:
    """One difference of a hair in forty numbers has no standard error worth its name."""
    cases = [{"open": 0.5, "closed": 0.5 + (0.01 if at == 0 else 0.0)} for at in range(40)]
    found = judged(cases, margin=0.03, span=1.0).whole
    assert found.method == "score"
    assert found.lower_bound is not None
    assert found.lower_bound < -0.05


def test_watched_is_wider() -> None:
    cases = rows(20, 20, 360)
    once, watched = judged(cases).whole, judged(cases, is_watched=True).whole
    assert watched.method == "bets"
    assert (watched.lower_bound or 0) < (once.lower_bound or 0)
    assert judged(rows(50, 50, 1900), is_watched=True).whole.verdict == "OPEN"


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.0, 3.0, float("nan"), float("inf")])
def test_a_margin_is_above_zero(margin: float) -> None:
    with pytest.raises(CallerError) as refused:
        judged(rows(1, 1, 10), margin=margin)
    assert refused.value.code == "verdict.margin"


# --- judges ---------------------------------------------------------------------------------------------------------


def _with_judge(labels: int, bias: float, n: int = 600) -> list[dict[str, Any]]:
    """The two sides are alike; the judge passes the open one too easily."""
    draw, cases = np.random.default_rng(6), []
    for at in range(n):
        first, second = bool(draw.random() < 0.8), bool(draw.random() < 0.8)
        case = {"judge_open": first or bool(draw.random() < bias), "judge_closed": second}
        cases.append({**case, **({"human_open": first, "human_closed": second} if at < labels else {})})
    return cases


def test_a_judge_nobody_checked_cannot_say_open() -> None:
    found = judged(_with_judge(0, 0.9))
    assert found.whole.difference is not None
    assert found.whole.difference > 0.1
    assert found.whole.verdict == "INCONCLUSIVE"
    assert "uncorrected judge" in found.reasons[0]


def test_labels_take_the_bias_out() -> None:
    found = judged(_with_judge(300, 0.9))
    assert found.judge is not None
    assert found.judge.bias is not None
    assert found.judge.bias > 0.1
    assert abs(found.whole.difference or 1) < 0.06
    assert found.whole.method == "t"


def test_a_judge_the_wrong_way_round_is_found() -> None:
    cases = _with_judge(300, 0.0)
    for case in cases:
        case["judge_open"], case["judge_closed"] = case["judge_closed"], case["judge_open"]
    found = judged(cases)
    assert found.whole.verdict == "INVALID"
    assert "swapped" in found.reasons[0]


# --- what is not the model's fault --------------------------------------------------------------------------------


def test_duplicated_ids_are_named() -> None:
    cases = [{"id": at if at != 7 else 6, **case} for at, case in enumerate(rows(5, 5, 90))]
    found = decide(read(json.dumps(case).encode() for case in cases), Rule(0.05))
    assert found.whole.verdict == "INVALID"
    assert "'6'" in found.reasons[0]


@pytest.mark.parametrize("status", ["truncated", "unparseable", "refused"])
@pytest.mark.parametrize("side", ["open", "closed"])
def test_bad_endings_make_it_invalid(side: str, status: str) -> None:
    cases = rows(5, 5, 90)
    for at, case in enumerate(cases):
        case[f"{side}_status"] = status if at % 10 == 0 else "ok"
    found = judged(cases)
    assert found.whole.verdict == "INVALID"
    assert status in found.reasons[0]
    for case in cases[1:]:
        case[f"{side}_status"] = "ok"
    assert judged(cases).whole.verdict != "INVALID"  # one in a hundred is life


def test_errors_that_differ_make_it_invalid() -> None:
    cases = rows(20, 20, 760)
    for case in cases[:30]:
        case |= {"open_status": "error", "open": None}
    assert "errors on the way" in judged(cases).reasons[0]
    for case in cases[:30]:
        case |= {"closed_status": "error", "closed": None}
    found = judged(cases)
    assert found.whole.verdict != "INVALID"
    assert found.left_out == 30


def test_what_was_cut_off_counts_as_wrong() -> None:
    cases = rows(0, 0, 96) + [{"open": None, "open_status": "truncated", "closed": True}] * 4
    found = judged(cases)
    assert found.left_out == 0
    assert found.whole.difference == pytest.approx(-0.04)


def test_half_of_the_cases_without_an_outcome_is_no_sample() -> None:
    cases = rows(5, 5, 90)
    for case in cases[50:]:
        case["open"] = None
    assert "no outcome on the open side" in judged(cases).reasons[0]


def test_format_collapse_in_one_stratum() -> None:
    """Where the closed side, usually right, is nearly always wrong, somebody failed to read its answers."""
    good = rows(10, 20, 170, stratum="a") + rows(10, 20, 170, stratum="b")
    broken = rows(70, 3, 2, 125, stratum="c")
    found = judged(good + broken)
    assert found.whole.verdict == "INVALID"
    assert "'c'" in found.reasons[0]
    assert {one.stratum: one.finding.verdict for one in found.strata}["c"] == "INVALID"
    assert judged(good).whole.verdict != "INVALID"


def test_an_open_model_that_cannot_do_one_thing_is_no_collapse() -> None:
    """That is what a split is for."""
    found = judged(rows(5, 5, 190, stratum="english") + rows(0, 170, 2, 28, stratum="finnish"))
    assert found.whole.verdict == "ROUTE"


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "Line 1"),
        (b'{"open": true, "closed": true}', "id"),
        (b'{"id": 1, "open": "yes", "closed": true}', "Line 1"),
        (b'{"id": 1, "open": true, "closed": true, "open_status": "odd"}', "odd"),
        (b'{"id": 1, "open": true}', "closed"),
        (b'{"id": 1, "open": 1e999, "closed": 0}', "Line 1"),
        (b'{"id": 1, "open": true, "closed": true, "open_cost_usd": -1}', "below zero"),
        (b'{"id": 1, "open": {"a": 1, "b": 0}, "closed": {"a": 1, "b": 0}}', "--metric"),
        (b"\xff", "Line 1"),
        (b"", "no outcome"),
    ],
)
def test_what_cannot_be_read_is_named(line: bytes, says: str) -> None:
    with pytest.raises(CallerError) as refused:
        read([line])
    assert refused.value.code == "verdict.outcomes"
    assert says in refused.value.text


def test_one_metric_of_several() -> None:
    line = b'{"id": 1, "open": {"a": 1, "b": 0.5}, "closed": {"a": 0, "b": 0.25}}'
    found = read([line], "b")
    assert found.numbers["open"].tolist() == [0.5]
    assert not found.is_binary


def test_strange_fields_are_told() -> None:
    found = decide(read([b'{"id": 1, "open": true, "closed": true, "opne_status": "ok"}']), Rule(0.05))
    assert any("opne_status" in caution for caution in found.cautions)


@pytest.mark.skipif(not (SHARED / "data/routing").is_dir(), reason="needs ../shared/data/routing")
def test_real_outcomes() -> None:
    """MMLU and GSM8K, an open and a closed model: the closed one is better; by subject, the one that was read wrongly is found."""

    def lines(name: str, **columns: str) -> list[bytes]:
        found = []
        with gzip.open(SHARED / f"data/routing/{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for row in map(json.loads, file):
                case = {"id": row["id"], "open": row["weak_ok"], "closed": row["strong_ok"]}
                found.append(json.dumps({**case, **{name: row[of] for name, of in columns.items()}}).encode())
        return found

    for name, difference in (("gsm8k", -0.2204), ("mmlu", -0.1250)):
        found = decide(read(lines(name)), Rule(0.03)).whole
        assert found.verdict == "CLOSED"
        assert found.difference == pytest.approx(difference, abs=1e-4)
    clustered = decide(read(lines("mmlu", cluster="subject")), Rule(0.03)).whole
    assert clustered.standard_error == pytest.approx(0.02098, abs=1e-5)
    assert clustered.verdict == "CLOSED"
    by_subject = decide(read(lines("mmlu", stratum="subject")), Rule(0.03))
    assert by_subject.whole.verdict == "INVALID"
    assert "high_school_mathematics" in by_subject.reasons[0]
    assert len(by_subject.reasons) == 1


# --- holes that a review found --------------------------------------------------------------------------------------


def test_one_cluster_proves_nothing() -> None:
    """Of the whole as of a stratum: nobody knows how clusters differ."""
    found = judged([{**case, "cluster": "only"} for case in rows(2, 2, 496)])
    assert found.whole.verdict == "INCONCLUSIVE"
    assert found.whole.standard_error is None
    assert any("one cluster" in caution for caution in found.cautions)
    strata = [{**case, "stratum": f"s{at % 5}", "cluster": f"k{at % 5}"} for at, case in enumerate(rows(0, 100, 400))]
    assert not [one for one in judged(strata).strata if one.finding.verdict == "CLOSED"]


def test_a_stratum_that_is_the_cluster_stands_for_itself() -> None:
    """Named alike, they are the same thing: its cases are a sample of it."""
    cases = [
        {**case, "stratum": name, "cluster": name}
        for name in ("a", "b", "c")
        for case in rows(2, 60 if name == "c" else 2, 400)
    ]
    found = judged(cases)
    assert {one.stratum: one.finding.verdict for one in found.strata} == {"a": "OPEN", "b": "OPEN", "c": "CLOSED"}


def test_a_stratum_that_shares_its_clusters_does_not() -> None:
    """The same names in both columns, but not in every row: then clusters are clusters."""
    cases = [
        {**case, "stratum": "ab"[at % 2], "cluster": "ab"[at % 2 if at < 2 else 0]}
        for at, case in enumerate(rows(0, 60, 140))
    ]
    assert not [one for one in judged(cases).strata if one.finding.verdict != "INCONCLUSIVE"]


def test_what_cannot_be_watched_is_refused() -> None:
    numbers = [{"open": 0.5, "closed": 0.5 + at % 2 / 10} for at in range(40)]
    for cases, rule, code in (
        (numbers, {}, "verdict.span"),
        (_with_judge(100, 0.5), {}, "verdict.watched"),
        (
            rows(1, 1, 20, stratum="a") + rows(1, 1, 20, stratum="b"),
            {"shares": {"a": 0.5, "b": 0.5}},
            "verdict.watched",
        ),
    ):
        with pytest.raises(CallerError) as refused:
            judged(cases, is_watched=True, **rule)
        assert refused.value.code == code
    assert judged(numbers, is_watched=True, span=1.0).whole.method == "bets"


def test_watched_clusters_are_bet_on_by_their_cases() -> None:
    """Many small good clusters do not outvote a few large bad ones: the mean is of cases."""
    cases = [{"open": True, "closed": True, "cluster": f"a{at}"} for at in range(200)]
    cases += [{"open": at % 5 != 0, "closed": True, "cluster": f"b{at // 20}"} for at in range(600)]
    found = judged(cases, is_watched=True).whole
    assert found.difference == pytest.approx(-0.15)
    assert (found.lower_bound or 0) < -0.15 < (found.upper_bound or 0)


def test_shares_reach_judged_cases() -> None:
    """And every stratum needs labels of its own."""
    bad, good = ([{**case, "stratum": name} for case in _with_judge(120, 0.0, 300)] for name in ("rare", "usual"))
    for case in good:
        case |= {"judge_open": False, "human_open": False} if "human_open" in case else {"judge_open": False}
    found = judged(bad + good, shares={"rare": 0.05, "usual": 0.95}).whole
    assert (found.difference or 0) < -0.6
    with pytest.raises(CallerError):
        judged(
            [{key: value for key, value in case.items() if "human" not in key} for case in bad] + good,
            shares={"rare": 0.5, "usual": 0.5},
        )


def test_a_stratum_of_a_few_cases_with_a_large_share_is_not_sure() -> None:
    cases = rows(0, 0, 2, stratum="few") + rows(2, 2, 396, stratum="many")
    assert judged(cases, shares={"few": 0.7, "many": 0.3}).whole.verdict == "INCONCLUSIVE"
    with pytest.raises(CallerError):
        judged(cases[1:], shares={"few": 0.7, "many": 0.3})


def test_strata_that_nobody_labelled_decide_nothing() -> None:
    """A judge that is biased in one stratum makes no split."""
    cases = [{**case, "stratum": f"s{at % 5}"} for at, case in enumerate(_with_judge(45, 0.0, 1_000))]
    for case in cases:
        if case["stratum"] == "s0":
            case["judge_open"] = False
    found = judged(cases)
    assert found.route is None
    assert {one.finding.verdict for one in found.strata} == {"INCONCLUSIVE"}


def test_labels_of_one_stratum_are_not_labels_of_all() -> None:
    cases = [{**case, "stratum": "a" if at < 60 else "b"} for at, case in enumerate(_with_judge(50, 0.9, 1_000))]
    found = judged(cases)
    assert found.whole.verdict == "INCONCLUSIVE"
    assert "not of cases drawn by chance" in found.reasons[0]


@pytest.mark.parametrize(("labels", "margin"), [(60, 0.03), (80, 0.03), (100, 0.02)])
def test_people_who_see_no_difference_in_a_few_cases_prove_little(labels: int, margin: float) -> None:
    """No difference in n labels: what is above 3 / n is not ruled out."""
    cases = [
        {
            "judge_open": True,
            "judge_closed": True,
            **({"human_open": True, "human_closed": True} if at < labels else {}),
        }
        for at in range(1_000)
    ]
    found = judged(cases, margin=margin).whole
    assert found.verdict == "INCONCLUSIVE"
    assert (found.lower_bound or 0) < -2.9 / labels


def test_one_noisy_pair_does_not_make_clusters_independent() -> None:
    """Twenty clusters that are all alike are twenty units; one pair more that differs makes them no more."""
    alike = [{"open": True, "closed": True, "cluster": at // 50} for at in range(1_000)]
    noisy = [*alike[:-1], {**alike[-1], "open": False}]
    assert judged(alike).whole.verdict == "INCONCLUSIVE"
    assert judged(noisy).whole.verdict == "INCONCLUSIVE"


def test_numbers_that_are_all_apart_by_the_same_are_not_certain() -> None:
    found = judged([{"open": 0.5, "closed": 0.529} for _ in range(12)], margin=0.03).whole
    assert found.verdict == "INCONCLUSIVE"
    assert (found.lower_bound or 0) < -0.1


def test_outcomes_that_are_missing_on_one_side_alone() -> None:
    cases = rows(0, 0, 1_000)
    for case in cases[:40]:
        case["open"] = None
    assert judged(cases).whole.verdict == "INVALID"
    for case in cases[:40]:
        case["closed"] = None
    assert judged(cases).whole.verdict == "OPEN"
    assert judged(cases, margin=0.03).whole.verdict == "INVALID"  # more is missing than the margin has room for


def test_nobody_ever_right_is_no_result() -> None:
    assert judged(rows(0, 0, 0, 500)).whole.verdict == "INVALID"


def test_needed_cases_are_believable() -> None:
    """Where nothing differs, so many more that do not differ decide it."""
    found = judged(rows(0, 0, 100), margin=0.03).whole
    assert found.needed_n is not None
    assert 50 < found.needed_n < 300
    assert judged(rows(0, 0, 100 + found.needed_n), margin=0.03).whole.verdict == "OPEN"
    labelled = judged(_with_judge(40, 0.9, 2_000), margin=0.06).whole
    assert labelled.needed_n is None
    assert labelled.needed_labels is not None


def test_deep_and_odd_rows_are_refused() -> None:
    deep = b'{"id": 1, "open": true, "closed": true, "x": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}"
    for line in (deep, b'{"id": 1, "open": 1e300, "closed": 0}', b'{"id": 1, "open": {"a": 1}, "closed": {"b": 1}}'):
        with pytest.raises(CallerError) as refused:
            decide(read([line]), Rule(0.05))
        assert refused.value.code == "verdict.outcomes"


def test_costs_are_never_endless() -> None:
    found = judged([{**case, "open_cost_usd": 0.1, "closed_cost_usd": 1e-320} for case in rows(1, 1, 40)])
    assert found.costs is not None
    assert found.costs.ratio is None
    json.loads(json.dumps([one for each in found.costs.per_call.values() for one in each], allow_nan=False))


def test_clusters_of_unequal_sizes_turn_round_too() -> None:
    draw = np.random.default_rng(8)
    sizes = [1, 2, 3, 7, 7, 9, 12, 20]
    cases = [
        {"open": float(draw.normal(at % 3, 0.5)), "closed": 0.0, "cluster": at}
        for at, size in enumerate(sizes)
        for _ in range(size)
    ]
    turned = [{**case, "open": 0.0, "closed": case["open"]} for case in cases]
    one, other = judged(cases, margin=0.5).whole, judged(turned, margin=0.5).whole
    assert one.interval == pytest.approx(tuple(-end for end in reversed(other.interval or ())), abs=1e-9)


def test_shares_and_skewed_numbers() -> None:
    """Strata of known shares are resampled in themselves: rare losses are not lost in Student's t."""
    draw, wrong, runs = np.random.default_rng(5), 0, 150
    for _ in range(runs):
        cases = []
        for name, count in (("a", 60), ("b", 60)):
            values = np.where(draw.random(count) < 0.08, 0.0, 0.999)
            cases += [{"open": float(value), "closed": 0.999, "stratum": name} for value in values]
        wrong += judged(cases, margin=0.08 * 0.999, shares={"a": 0.8, "b": 0.2}, span=1.0).whole.verdict == "OPEN"
    assert wrong / runs < 0.09


def test_a_noisy_judge_does_not_hide_that_people_saw_little() -> None:
    """Three losses in a hundred labels, and a judge that errs in a fifth of its answers."""
    draw, wrong, runs = np.random.default_rng(6), 0, 200
    for _ in range(runs):
        loses = draw.random(1_000) < 0.03
        cases = []
        for at in range(1_000):
            first, second = not loses[at], True
            case = {
                "judge_open": bool(first ^ (draw.random() < 0.2)),
                "judge_closed": bool(second ^ (draw.random() < 0.2)),
            }
            cases.append({**case, **({"human_open": bool(first), "human_closed": second} if at < 100 else {})})
        wrong += judged(cases, margin=0.03).whole.verdict == "OPEN"
    assert wrong / runs < 0.08


def test_json_never_holds_what_is_none() -> None:
    cases = [{**case, "cluster": "only", "open_cost_usd": 0.1, "closed_cost_usd": 0.2} for case in rows(2, 2, 96)]
    json.dumps(data(judged(cases), None), allow_nan=False)


def test_many_clusters_may_still_hide_one_that_fails() -> None:
    cases = [{"open": True, "closed": at % 100 != 0, "cluster": at // 50} for at in range(1_000)]
    assert any("failing wholly" in caution for caution in judged(cases).cautions)


def test_columns_that_are_not_used_are_told() -> None:
    judged_too = [{**case, "open": True, "closed": True} for case in _with_judge(100, 0.5)]
    assert any("open and closed are not used" in caution for caution in judged(judged_too).cautions)
    people = [{**case, "human_open": True, "human_closed": True} for case in rows(1, 1, 50)]
    assert any("are not used" in caution for caution in judged(people).cautions)
