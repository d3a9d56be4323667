"""Differences of two groups of patients: Newcombe's printed examples, and what has no interval."""

import pytest

from cac_hpc.statistics import intervals, unpaired
from cac_hpc.statistics.results import Figure


def share(right, count):
    low, high = intervals.wilson(right, count)
    return Figure(right / count, count, low, high, intervals.WILSON, None)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [  # Newcombe 1998, Stat Med 17:873, table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_of_proportions_it_is_newcombes_hybrid_score_interval(one, other, low, high):
    found = unpaired.difference(share(*other), share(*one))
    assert found.difference == pytest.approx(one[0] / one[1] - other[0] / other[1])
    assert (found.low, found.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))
    assert (found.interval, found.note) == ("mover", None)


def test_other_figures_by_hand():
    found = unpaired.difference(
        Figure(0.7, 50, 0.6, 0.78, "bootstrap", None), Figure(0.5, 30, 0.35, 0.69, "bootstrap", None)
    )
    assert found.low == pytest.approx(-0.2 - (0.15**2 + 0.08**2) ** 0.5, abs=1e-6)
    assert found.high == pytest.approx(-0.2 + (0.19**2 + 0.1**2) ** 0.5, abs=1e-6)
    assert (found.reference, found.other) == (0.7, 0.5)


def test_without_interval_or_value_it_says_why():
    known, alone = Figure(0.7, 50, 0.6, 0.8, "bootstrap", None), Figure(0.5, 9, None, None, None, "too few patients")
    found = unpaired.difference(known, alone)
    assert (found.difference, found.low, found.note) == (pytest.approx(-0.2), None, "external: too few patients")
    undefined = Figure(None, 0, None, None, None, "nothing was tested")
    found = unpaired.difference(undefined, known)
    assert (found.difference, found.other, found.note) == (None, 0.7, "internal: nothing was tested")
