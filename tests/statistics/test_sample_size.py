"""How many patients would settle it: against pmvalsampsize, and against intervals of more patients."""

import numpy as np
import pytest

from cac_hpc.statistics import chances, intervals, sample_size


def test_criteria_are_those_of_pmvalsampsize():
    """pmvalsampsize 0.2.1 of Python, which rounds standard errors to three digits and takes 1.96."""
    log_odds = np.random.RandomState(1).normal(-1.2, 1.8, 1000)
    assert sample_size.of_observed_expected(0.3, 0.2) == pytest.approx(898, rel=0.01)
    assert sample_size.of_slope(log_odds, 0.2) == pytest.approx(1860, rel=0.001)
    assert sample_size.of_area(0.85, 0.3, 0.1) == pytest.approx(277, rel=0.005)
    assert sample_size.of_net_benefit(0.8, 0.8, 0.3, 0.2, 0.2) == pytest.approx(260, rel=0.005)
    assert sample_size.of_slope(np.zeros(10), 0.2) is None
    assert sample_size.of_slope(np.linspace(-1, 1, 10) * 1e-7 - 1, 0.2) is None  # alike but for rounding
    assert sample_size.of_area(1.0, 0.3, 0.1) is None


def test_so_many_patients_have_intervals_of_that_width():
    rng = np.random.default_rng(0)
    chance = rng.beta(1, 2, 400_000)
    event = rng.random(400_000) < chance
    found = {one.figure: one for one in sample_size.needed(event, chance, 0.79)}
    assert list(found) == list(sample_size.WIDTHS)
    n = found["calibration_slope"].patients
    widths = []
    for start in range(0, 20 * n, n):
        interval = chances.slope(event[start : start + n], chance[start : start + n], np.arange(n)).interval(1)
        widths.append(interval.high - interval.low)
    assert np.mean(widths) == pytest.approx(0.2, rel=0.05)
    treated, n = chance >= 0.2, found["net_benefit"].patients
    parts = slice(0, n * (400_000 // n))
    worth, events = (one[parts].reshape(-1, n).mean(axis=1) for one in ((event - 0.25 * ~event) * treated, event))
    assert 2 * 1.96 * (worth / events).std() == pytest.approx(0.2, rel=0.1)


def test_widths_of_more_patients_are_those_of_the_same_method():
    low, high = intervals.wilson(400, 500)
    assert sample_size.width(0.8, intervals.wilson(40, 50), 50, "wilson", 10) == pytest.approx(high - low)
    assert sample_size.width(1.0, (0.6, 1.4), 50, "sandwich", 4) == pytest.approx(0.4)
    whole, half = (intervals.on_logit(0.9, one, "bootstrap_logit") for one in (0.04, 0.02))
    found = sample_size.width(0.9, (whole.low, whole.high), 50, "bootstrap_logit", 4)
    assert found == pytest.approx(half.high - half.low, abs=1e-5)
