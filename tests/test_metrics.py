"""Metrics against the study's printed matrix and against numbers worked by hand."""

import numpy as np
import pytest

from cac_hpc import metrics

PRINTED = np.array(
    [
        [240, 3, 0, 1, 0, 0],
        [0, 142, 0, 0, 0, 0],
        [0, 0, 206, 4, 5, 1],
        [0, 0, 2, 238, 0, 12],
        [1, 0, 1, 1, 227, 0],
        [0, 2, 1, 12, 0, 286],
    ]
)


def test_the_printed_matrix_has_46_errors_and_not_32():
    found = metrics.summary(PRINTED)
    assert (found["n"], found["errors"], found["over_estimated"], found["under_estimated"]) == (1385, 46, 26, 20)


def test_the_printed_matrix_gives_its_own_accuracy_and_kappas():
    found = metrics.summary(PRINTED)
    assert round(found["accuracy"], 4) == 0.9668
    assert {name: round(value, 4) for name, value in found["kappa"].items()} == {
        "plain": 0.9598,
        "linear": 0.9671,
        "quadratic": 0.9761,
    }


def test_a_two_by_two_matrix_agrees_with_the_sums_on_paper():
    found = metrics.summary(np.array([[8, 2], [1, 9]]))
    # 17 of 20 right; expected agreement (10 * 9 + 10 * 11) / 400 = 0.5; kappa (0.85 - 0.5) / 0.5
    assert found["accuracy"] == pytest.approx(0.85)
    assert found["kappa"]["plain"] == pytest.approx(0.7)
    assert found["precision"] == pytest.approx([8 / 9, 9 / 11])
    assert found["recall"] == pytest.approx([0.8, 0.9])
    assert found["f1"] == pytest.approx([16 / 19, 18 / 21])
    assert (found["majority_accuracy"], found["gain_over_majority"]) == (0.5, pytest.approx(0.35))
    assert (found["over_estimated"], found["under_estimated"]) == (2, 1)


def test_a_missing_middle_category_keeps_its_distance_in_weighted_kappa():
    # categories 0, 1 and 3 of four: errors 0 -> 3 cost three steps, not two
    matrix = metrics.confusion(np.array([0, 0, 1, 1, 3, 3]), np.array([0, 3, 1, 1, 3, 0]), 4)
    observed = 3 + 3
    expected = sum(abs(a - b) for a in (0, 0, 1, 1, 3, 3) for b in (0, 3, 1, 1, 3, 0)) / 6
    assert metrics.summary(matrix)["kappa"]["linear"] == pytest.approx(1 - observed / expected)


def test_the_matrix_is_square_over_all_categories_whatever_occurs():
    assert metrics.confusion(np.array([2]), np.array([4]), 6).shape == (6, 6)


def test_undefined_figures_are_none_and_not_nan():
    one_category = metrics.summary(np.diag([5, 0, 0]))
    assert one_category["kappa"] == {"plain": None, "linear": None, "quadratic": None}
    assert one_category["precision"] == [1.0, None, None]
    nothing = metrics.summary(np.zeros((3, 3), dtype=int))
    assert (nothing["accuracy"], nothing["gain_over_majority"], nothing["macro"]["f1"]) == (None, None, None)
