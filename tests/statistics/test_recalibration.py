"""One intercept for the probabilities of ordered categories: by hand, by plain loops, and by Newton's method."""

import math

import numpy as np
import pytest

from cac_hpc.statistics import recalibration
from cac_hpc.train import ordinal

EDGES = (0.0, 10.0, 100.0, 400.0, 1000.0)


def logistic(x):
    return 1 / (1 + math.exp(-x))


def newton(label, probability):
    """The intercept of a logistic regression with the log odds of the probabilities as offset."""
    offset, intercept = [math.log(p / (1 - p)) for p in probability], 0.0
    for _ in range(50):
        fitted = [logistic(one + intercept) for one in offset]
        slope = sum(p * (1 - p) for p in fitted)
        intercept += sum(y - p for y, p in zip(label, fitted, strict=True)) / slope
    return intercept


def test_of_two_categories_of_equal_chance_it_is_the_log_odds_of_what_happened():
    label = np.array([1] * 5 + [0] * 15)
    found = recalibration.recalibrate(label, np.full((20, 2), 0.5), seed=0)
    assert found.intercept == pytest.approx(math.log(5 / 15), abs=1e-6)
    best = 5 * math.log(0.25) + 15 * math.log(0.75)
    for end in (found.interval.low, found.interval.high):  # of the profile likelihood
        share = logistic(end)
        assert best - 5 * math.log(share) - 15 * math.log(1 - share) == pytest.approx(3.841459 / 2, abs=1e-5)
    assert found.interval.low < found.intercept < found.interval.high


def test_of_two_categories_it_is_the_intercept_of_a_logistic_regression_with_offset():
    rng = np.random.default_rng(4)
    chance = rng.uniform(0.05, 0.95, 200)
    label = (rng.random(200) < chance**2).astype(int)
    found = recalibration.recalibrate(label, np.stack([1 - chance, chance], axis=1), seed=1)
    assert found.intercept == pytest.approx(newton(label.tolist(), chance.tolist()), abs=1e-5)


def test_every_higher_category_gets_the_same_log_odds_more():
    probability = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
    moved = recalibration.move(probability, 0.7)
    for before, after in zip(probability.tolist(), moved.tolist(), strict=True):
        assert sum(after) == pytest.approx(1)
        for above in range(1, 4):
            wanted = logistic(math.log(sum(before[above:]) / sum(before[:above])) + 0.7)
            assert sum(after[above:]) == pytest.approx(wanted)
    assert recalibration.move(probability, 0.0) == pytest.approx(probability)


def test_it_finds_by_how_much_the_categories_of_a_model_were_too_low():
    found, before, after = [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        said = ordinal.probabilities(np.expm1(rng.gamma(2.0, 1.5, 200)), 0.5, EDGES)
        chance = np.cumsum(recalibration.move(said, 1.3), axis=1)
        label = (chance[:, :-1] < rng.random((200, 1))).sum(axis=1)
        found.append(recalibration.recalibrate(label, said, seed=0))
        observed = np.bincount(label, minlength=6) / len(label)
        before.append(np.abs(said.mean(axis=0) - observed).max())
        after.append(np.abs(found[-1].probability.mean(axis=0) - observed).max())
    assert np.mean([one.intercept for one in found]) == pytest.approx(1.3, abs=0.06)
    assert 54 <= sum(one.interval.low < 1.3 < one.interval.high for one in found) <= 60  # 95 % of 60 is 57
    assert np.mean(after) < np.mean(before) / 2


def test_nobody_is_moved_by_his_own_category():
    rng = np.random.default_rng(2)
    said = rng.dirichlet(np.ones(4), 40)
    label = rng.integers(4, size=40)
    before = recalibration.recalibrate(label, said, seed=3).probability
    label[7] = (label[7] + 2) % 4
    after = recalibration.recalibrate(label, said, seed=3).probability
    assert after[7].tolist() == before[7].tolist()
    assert (after != before).any()


def test_what_is_certain_is_not_moved():
    label = np.array([0, 1, 2] * 5)
    found = recalibration.recalibrate(label, np.eye(3)[label], seed=0)
    assert (found.intercept, found.interval.low) == (0.0, None)
    assert found.interval.note
    assert found.probability == pytest.approx(np.eye(3)[label])
    wrong = recalibration.recalibrate(label, np.eye(3)[(label + 1) % 3], seed=0)
    assert np.isfinite(wrong.probability).all()
