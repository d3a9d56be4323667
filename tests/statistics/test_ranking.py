"""AUROC, average precision, concordance and rank correlation: against other programs, pair by pair, and in draws."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cac_hpc.statistics import intervals, metrics, ranking
from cac_hpc.statistics.ranking import Ranked


def sample(n=60, seed=0):
    """Categories, events and values with ties."""
    rng = np.random.default_rng(seed)
    category = rng.integers(0, 4, n)
    return category, category >= 2, np.round(category + rng.normal(0, 1.5, n), 1)


def concordance_by_pairs(category, value):
    pairs = [(i, j) for i in range(len(value)) for j in range(len(value)) if category[i] < category[j]]
    return np.mean([(value[i] < value[j]) + (value[i] == value[j]) / 2 for i, j in pairs])


def test_forms_of_draws_are_those_of_the_drawn_units():
    category, event, value = sample()
    rng = np.random.default_rng(1)
    drawn = rng.integers(len(value), size=(20, len(value)))
    weight = np.stack([np.bincount(one, minlength=len(value)) for one in drawn]).astype(float)
    ranked = Ranked(value)
    area, precise = ranking.concordance(ranked, event, weight), ranking.average_precision(ranked, event, weight)
    index = ranking.concordance(ranked, category, weight)
    for at, rows in enumerate(drawn):
        assert area[at] == pytest.approx(roc_auc_score(event[rows], value[rows]))
        assert precise[at] == pytest.approx(average_precision_score(event[rows], value[rows]))
        assert index[at] == pytest.approx(concordance_by_pairs(category[rows], value[rows]))


def test_single_values_are_those_of_the_textbook_and_undefined_without_both_kinds():
    event, value = np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8])
    assert metrics.auroc(event, value) == pytest.approx(3 / 4)
    assert metrics.average_precision(event, value) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(metrics.auroc(event[:2], value[:2]))
    assert np.isnan(metrics.average_precision(event[:2], value[:2]))
    one_kind = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    assert np.isnan(ranking.concordance(Ranked(value), event, one_kind)).all()
    assert np.isnan(ranking.average_precision(Ranked(value), event, one_kind)).all()


def test_delong_is_the_variance_of_how_often_each_unit_is_above_the_others():
    _, event, value = sample(seed=3)
    x, y = value[event], value[~event]
    above = np.array([[(a > b) + (a == b) / 2 for b in y] for a in x])  # pair by pair
    variance = above.mean(axis=1).var(ddof=1) / len(x) + above.mean(axis=0).var(ddof=1) / len(y)
    found = ranking.delong(event, value)
    area = above.mean()
    half = 1.959963985 * np.sqrt(variance) / (area * (1 - area))  # of log odds
    wanted = [1 / (1 + np.exp(-np.log(area / (1 - area)) + sign * half)) for sign in (1, -1)]
    assert [found.low, found.high] == pytest.approx(wanted, abs=1e-6)
    assert found.method == "delong"


def test_delong_says_why_it_has_no_interval():
    apart = ranking.delong(np.array([False, False, True, True]), np.arange(4.0))
    assert (apart.low, apart.note) == (
        None,
        "all units with the event are above all without, or none, so it cannot tell",
    )
    assert ranking.delong(np.array([False, False, True]), np.arange(3.0)).low is None


def test_changes_by_unit_are_derivatives():
    category, event, value = sample(30, seed=5)
    ranked, once, step = Ranked(value), np.ones((1, 30)), 1e-6
    moved = once + step * np.eye(30)
    for form, by_unit, of in (
        (ranking.concordance, ranking.concordance_by_unit, category),
        (ranking.concordance, ranking.concordance_by_unit, event),
        (ranking.average_precision, ranking.average_precision_by_unit, event),
    ):
        slopes = (form(ranked, of, moved) - form(ranked, of, once)) / step
        assert by_unit(ranked, of) == pytest.approx(slopes, abs=1e-4)
        assert by_unit(ranked, of).sum() == pytest.approx(0, abs=1e-12)  # twice everybody is the same


def test_operating_points_are_counts_at_each_probability():
    event = np.array([True, False, True, False, False])
    chance = np.array([0.9, 0.8, 0.8, 0.2, 0.1])
    found = ranking.operating_points(event, chance)
    assert [(one.at_least, one.sensitivity, one.specificity, one.precision) for one in found] == [
        (0.9, 0.5, 1.0, 1.0),
        (0.8, 1.0, pytest.approx(2 / 3), pytest.approx(2 / 3)),
        (0.2, 1.0, pytest.approx(1 / 3), 0.5),
        (0.1, 1.0, 0.0, 0.4),
    ]
    many = np.random.default_rng(0).random(1000)
    thinned = ranking.operating_points(many > 0.5, many)
    assert (len(thinned), thinned[0].at_least, thinned[-1].specificity) == (100, many.max(), 0.0)


def test_rank_correlations_of_draws_are_those_of_the_drawn_units():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=40).round(1), rng.integers(0, 6, 40).astype(float)
    weight = intervals.draw(40, range(50), seed=0)
    found = ranking.RankCorrelation(x, y).of(weight)
    for row, value in zip(weight.astype(int), found, strict=True):
        assert value == pytest.approx(metrics.rank_correlation(x.repeat(row), y.repeat(row)), abs=1e-12)
    assert np.isnan(ranking.RankCorrelation(x, np.ones(40)).of(weight)).all()


def test_rank_correlations_of_draws_of_patients_are_those_of_all_their_units():
    rng = np.random.default_rng(6)
    patient, x = rng.integers(0, 20, 60), rng.normal(size=60).round(1)
    y, weight = rng.integers(0, 6, 60).astype(float), intervals.draw(20, range(30), seed=0)
    found = ranking.RankCorrelation(x, y, patient).of(weight)
    assert np.array_equal(found, ranking.RankCorrelation(x, y).of(weight[:, patient]))
    one_by_one = [ranking.RankCorrelation(x, y, patient).of(row[None])[0] for row in weight]
    assert np.array_equal(found, one_by_one)  # whatever is worked out together
    assert np.isnan(ranking.RankCorrelation(x[:0], y[:0], patient[:0]).of(weight)).all()
    assert ranking.RankCorrelation(x, y, patient).of(weight[:0]).shape == (0,)
