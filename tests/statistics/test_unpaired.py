"""Differences of two groups of patients: Newcombe's examples, Wilson's equation by hand, and what has no interval."""

import numpy as np
import pytest
import scipy.stats

from cac_hpc.results.figures import Figure
from cac_hpc.statistics import intervals, unpaired


def share(right, count):
    low, high = intervals.wilson(right, count)
    return Figure(right / count, count, low, high, intervals.WILSON, None)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [  # Newcombe 1998, Stat Med 17:873, table II, method 10, examples (a) to (h). Not copied from the paper, but each
        # the same as confint_proportions_2indep(method="newcomb") of statsmodels 0.15.0 gives to four decimals
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


@pytest.mark.parametrize(("one", "other"), [((56, 70), (48, 80)), ((5, 56), (0, 29)), ((10, 10), (0, 20))])
def test_it_follows_from_the_roots_of_wilsons_equation(one, other):
    # a limit p of r of n is where (r/n - p)^2 = z^2 p (1 - p) / n, solved here without the code that is tested
    z = scipy.stats.norm.ppf(0.975)
    limits = [sorted(np.roots([1 + z**2 / n, -2 * r / n - z**2 / n, (r / n) ** 2]).real) for r, n in (one, other)]
    (low_1, high_1), (low_2, high_2) = limits
    share_1, share_2 = one[0] / one[1], other[0] / other[1]
    low = share_1 - share_2 - ((share_1 - low_1) ** 2 + (high_2 - share_2) ** 2) ** 0.5
    high = share_1 - share_2 + ((high_1 - share_1) ** 2 + (share_2 - low_2) ** 2) ** 0.5
    found = unpaired.difference(share(*other), share(*one))
    assert (found.low, found.high) == (pytest.approx(low, abs=2e-6), pytest.approx(high, abs=2e-6))


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
