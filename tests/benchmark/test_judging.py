"""What is concluded from numbers that are known."""

import numpy as np
import pytest

from cac_hpc.benchmark import judging
from cac_hpc.benchmark.costs import Cost
from cac_hpc.benchmark.judging import VERDICTS, Goal, Term, judge
from cac_hpc.benchmark.targets import MEASUREMENTS


def rounds_of(**seconds):
    """Rounds in which programs took so long, at size 1."""
    names, columns = list(seconds), zip(*seconds.values(), strict=True)
    return [{(name, 1): Cost(took, took / 2, 10**6) for name, took in zip(names, row, strict=True)} for row in columns]


def ratio(limit, **terms):
    return Goal(what="a against b", of=Term("a", **terms), against=Term("b", **terms), limit=limit)


def test_a_median_is_enclosed_as_often_as_is_said():
    rng = np.random.default_rng(0)
    found = [judging.bounds(rng.lognormal(0, 1, 5).tolist()) for _ in range(4000)]  # whose median is 1
    covered = np.mean([one.low <= 1 <= one.high for one in found])
    assert found[0].confidence == 1 - 2 / 32
    assert abs(covered - found[0].confidence) < 0.015


@pytest.mark.parametrize(
    ("count", "first", "confidence"), [(1, 1, 0), (4, 1, 7 / 8), (7, 1, 63 / 64), (8, 2, 119 / 128)]
)
def test_an_interval_is_as_narrow_as_its_confidence_allows(count, first, confidence):
    found = judging.bounds(list(range(1, count + 1)))
    assert (found.low, found.high) == (first, count + 1 - first)
    assert found.confidence == pytest.approx(confidence)


def test_ratios_are_those_within_a_round_whatever_the_machine_did_meanwhile():
    slower = [1.0, 3.0, 9.0, 2.0, 5.0]
    found = judge(ratio(2.0), rounds_of(a=[2.0 * one for one in slower], b=slower), [1])
    assert (found.bounds.median, found.bounds.low, found.bounds.high) == (2.0, 2.0, 2.0)
    assert found.verdict == "reached"
    assert (found.of.median, found.against.lowest, found.against.highest) == (6.0, 1.0, 9.0)


@pytest.mark.parametrize(
    ("took", "verdict"),
    [
        ([1.0, 1.1, 1.0, 1.1, 1.19], "reached"),
        ([1.21, 1.3, 1.4, 1.3, 9.0], "missed"),
        ([1.0, 1.3, 1.1, 1.1, 1.1], "spread"),
        ([1.0, 1.0, 1.0, 1.0], "rounds"),
        ([1.0, 0.0, 1.0, 1.0, 1.0], "noise"),
    ],
)
def test_nothing_is_concluded_where_ratios_lie_on_both_sides(took, verdict):
    assert judge(ratio(1.2), rounds_of(a=took, b=[1.0] * len(took)), [1]).verdict == VERDICTS[verdict]


def test_who_was_not_measured_is_named():
    rounds = rounds_of(b=[1.0] * 5)
    assert judge(ratio(1.0), rounds, [1]).verdict == "not measured: a is not there"
    goal = Goal(what="since", of=Term("b"), against=Term("before"), limit=1.0)
    assert judge(goal, rounds, [1]).verdict == "not measured: it needs --against COMMIT"


def test_a_study_costs_what_the_line_through_three_sizes_says():
    """2 s to start and 0.5 s a study against 1 s and 0.25 s, in rounds that are up to three times as slow."""
    sizes = [4, 8, 16]
    rounds = [
        {
            (name, size): Cost(slow * (start + each * size), 1.0, 1)
            for name, start, each in (("a", 2.0, 0.5), ("b", 1.0, 0.25))
            for size in sizes
        }
        for slow in (1.0, 2.0, 3.0, 1.5, 1.0)
    ]
    slopes = judge(ratio(2.0, at="slope"), rounds, sizes)
    assert slopes.bounds.median == pytest.approx(2.0)
    assert (slopes.of.lowest, slopes.of.highest) == pytest.approx((0.5, 1.5))
    start = judge(Goal(what="start", of=Term("a", at="start"), how="value", limit=1.9), rounds, sizes)
    assert (start.bounds.low, start.of.median, start.verdict) == (pytest.approx(2.0), pytest.approx(3.0), "not reached")


def test_a_cost_that_falls_with_the_size_says_nothing():
    rounds = [{(name, size): Cost(10.0 - size, 1.0, 1) for name in "ab" for size in (1, 2, 3)} for _ in range(5)]
    assert judge(ratio(2.0, at="slope"), rounds, [1, 2, 3]).verdict == VERDICTS["noise"]


def test_what_comes_on_top_is_a_difference_within_a_round_per_size():
    goal = Goal(what="on top", of=Term("a"), against=Term("b"), how="difference", limit=0.3, per_size=True)
    rounds = [{("a", 6): Cost(base + 1.2, 1.0, 1), ("b", 6): Cost(base, 1.0, 1)} for base in (1.0, 5.0, 2.0, 9.0, 1.0)]
    found = judge(goal, rounds, [6])
    assert (found.bounds.low, found.bounds.high) == pytest.approx((0.2, 0.2))
    assert found.verdict == VERDICTS["reached"]


def test_every_measurement_has_a_name_of_its_own_and_sizes_that_its_goals_need():
    names = [one.name for one in MEASUREMENTS]
    assert len(names) == len(set(names))
    for one in MEASUREMENTS:
        assert one.goals
        for goal in one.goals:
            for term in (goal.of, goal.against or goal.of):
                needed = 3 if isinstance(term.at, str) else term.at + 1
                assert needed <= len(one.sizes) == len(one.tiny), (one.name, goal.what)
            assert (goal.how == "value") == (goal.against is None), goal.what
