"""Calibration of probabilities of an event: against statsmodels and scikit-learn, and by hand."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cac_hpc.statistics import chances
from tests.support import binary

P, E = binary.CHANCE, binary.EVENT


def test_intercept_and_slope_are_those_of_statsmodels():
    """statsmodels 0.15.0: GLM(Binomial), cov_type cluster without its correction; ours is larger by P / (P - 1)."""
    each, pairs = np.arange(40), np.repeat(np.arange(20), 2)
    moved, bent, paired = chances.intercept(E, P, each), chances.slope(E, P, each), chances.slope(E, P, pairs)
    assert moved.coefficient == pytest.approx([-0.23969268], abs=1e-7)
    assert bent.coefficient == pytest.approx([-0.27624387, 1.42655602], abs=1e-7)
    assert np.sqrt(moved.covariance[0, 0] * 39 / 40) == pytest.approx(0.34488523, abs=1e-7)
    assert np.sqrt(np.diag(bent.covariance) * 39 / 40) == pytest.approx([0.41233915, 0.48109022], abs=1e-7)
    assert np.sqrt(np.diag(paired.covariance) * 19 / 20) == pytest.approx([0.35800473, 0.45448899], abs=1e-7)
    interval = bent.interval(1)
    half = 2.0243941639 * 0.48109022 * np.sqrt(40 / 39)  # Student's t, 38 degrees of freedom
    assert [interval.low, interval.high] == pytest.approx([1.42655602 - half, 1.42655602 + half], abs=2e-6)


def test_probabilities_that_mean_what_they_say_have_slope_one_and_intercept_zero():
    rng = np.random.default_rng(0)
    p = rng.beta(1, 2, 4000)
    e = rng.random(4000) < p
    bent, moved = chances.slope(e, p, np.arange(4000)), chances.intercept(e, p, np.arange(4000))
    assert [bent.coefficient[1], moved.coefficient[0]] == pytest.approx([1, 0], abs=0.1)
    assert max(abs(one.observed - one.probability) for one in chances.curve(e, p, np.arange(4000))) < 0.05
    steep = np.clip(2 * p - 0.5, 0.01, 0.99)
    assert chances.slope(e, steep, np.arange(4000)).interval(1).high < 1


def test_the_curve_is_a_logistic_regression_on_a_spline_with_three_knots():
    x = chances.log_odds(P)
    first, middle, last = np.quantile(x, [0.1, 0.5, 0.9])

    def bent(at):
        cube = [np.maximum(at - knot, 0) ** 3 for knot in (first, middle, last)]
        return cube[0] - cube[1] * (last - first) / (last - middle) + cube[2] * (middle - first) / (last - middle)

    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    scale = (last - first) ** 2
    model.fit(np.stack([x, bent(x) / scale], axis=1), E)
    found = chances.curve(E, P, np.arange(40))
    at = np.array([one.probability for one in found])
    grid = np.log(at / (1 - at))
    wanted = model.predict_proba(np.stack([grid, bent(grid) / scale], axis=1))[:, 1]
    assert [one.observed for one in found] == pytest.approx(wanted, abs=1e-4)
    assert (len(found), at[0], at[-1]) == (41, pytest.approx(P.min()), pytest.approx(P.max()))
    assert all(one.low < one.observed < one.high for one in found)


def test_what_cannot_be_fitted_is_not():
    apart, low = np.repeat([False, True], 15), np.linspace(0.1, 0.9, 30)
    assert chances.slope(apart, low, np.arange(30)).note == chances.SEPARATED
    assert isinstance(chances.intercept(apart, low, np.arange(30)), chances.Fit)
    assert chances.curve(apart, low, np.arange(30)).note == chances.SEPARATED
    assert chances.slope(apart, np.full(30, 0.3), np.arange(30)).note == chances.ALIKE
    assert chances.curve(apart, np.full(30, 0.3), np.arange(30)).note == "all probabilities are alike"
    certain = np.repeat([0.0, 1.0], 15)  # votes of slices: log odds without end are taken as those of 0.001
    event = certain.astype(bool) ^ (np.arange(30) % 5 == 0)
    assert chances.slope(event, certain, np.arange(30)).coefficient[1] == pytest.approx(np.log(4) / np.log(999))
    assert len(chances.curve(event, certain, np.arange(30))) == 41


def test_brier_parts_are_murphys_where_the_shares_rise_and_add_up_exactly():
    chance, event = np.array([0.2, 0.2, 0.6, 0.6]), np.array([False, True, True, True])
    found = chances.brier_parts(event, chance)
    assert [found.miscalibration, found.discrimination, found.uncertainty] == pytest.approx([0.125, 0.0625, 0.1875])
    parts = chances.brier_parts(E, P)
    assert parts.miscalibration - parts.discrimination + parts.uncertainty == pytest.approx(
        ((P - E) ** 2).mean(), abs=1e-15
    )
    assert min(parts.miscalibration, parts.discrimination) >= 0
