"""Metrics against the study's printed matrix and against numbers worked by hand."""

import numpy as np
import pytest
import sklearn.metrics

from cac_hpc.statistics import assessment, metrics
from tests.support import oracle
from tests.support.reports import PRINTED


def value_of(matrix):
    found = assessment.summary_of_matrix(np.array(matrix))
    single = {name: figure.value for name, figure in found.figures.items()}
    names = ("precision", "recall", "f1")
    return found, single | {name: [category.figures[name].value for category in found.categories] for name in names}


def test_the_printed_matrix_has_46_errors_and_not_32():
    found, _ = value_of(PRINTED)
    assert (found.n, found.errors, found.over_estimated, found.under_estimated) == (1385, 46, 26, 20)


def test_the_printed_matrix_gives_its_own_accuracy_and_kappas():
    _, value = value_of(PRINTED)
    names = ("accuracy", "kappa_plain", "kappa_linear", "kappa_quadratic")
    assert [round(value[name], 4) for name in names] == [0.9668, 0.9598, 0.9671, 0.9761]
    # of the 46, those next to the diagonal are 3, 4, 2 and 1
    assert value["two_or_more_off"] == pytest.approx(36 / 1385)


def test_a_two_by_two_matrix_agrees_with_the_sums_on_paper():
    found, value = value_of([[8, 2], [1, 9]])
    # 17 of 20 right; expected agreement (10 * 9 + 10 * 11) / 400 = 0.5; kappa (0.85 - 0.5) / 0.5
    assert value["accuracy"] == pytest.approx(0.85)
    assert value["kappa_plain"] == pytest.approx(0.7)
    assert value["precision"] == pytest.approx([8 / 9, 9 / 11])
    assert value["recall"] == pytest.approx([0.8, 0.9])
    assert value["f1"] == pytest.approx([16 / 19, 18 / 21])
    assert (value["majority_accuracy"], value["gain_over_majority"]) == (0.5, pytest.approx(0.35))
    assert (found.over_estimated, found.under_estimated) == (2, 1)


def test_icc_is_that_of_shrout_and_fleiss():
    # Shrout and Fleiss 1979, table 2, judges 1 and 4 of the six targets: mean squares 7.5333 between targets, 3 between
    # judges, 1.4 rest; (7.5333 - 1.4) / (7.5333 + 1.4 + 2 (3 - 1.4) / 6)
    label, predicted = np.array([9, 6, 8, 7, 10, 6]), np.array([8, 2, 8, 6, 9, 7])
    found = metrics.forms(metrics.confusion(label, predicted, 11)[None])["icc"][0, 0]
    assert found == pytest.approx(6.13333333333 / 9.46666666667)
    assert found == pytest.approx(oracle.icc(list(zip(label.tolist(), predicted.tolist(), strict=True))), abs=1e-12)


def test_a_missing_middle_category_keeps_its_distance_in_weighted_kappa():
    # categories 0, 1 and 3 of four: errors 0 -> 3 cost three steps, not two
    matrix = metrics.confusion(np.array([0, 0, 1, 1, 3, 3]), np.array([0, 3, 1, 1, 3, 0]), 4)
    observed = 3 + 3
    expected = sum(abs(a - b) for a in (0, 0, 1, 1, 3, 3) for b in (0, 3, 1, 1, 3, 0)) / 6
    assert metrics.values(matrix)["kappa_linear"] == pytest.approx(1 - observed / expected)


def test_the_matrix_is_square_over_all_categories_whatever_occurs():
    assert metrics.confusion(np.array([2]), np.array([4]), 6).shape == (6, 6)


def test_the_forms_for_draws_equal_scikit_learn_with_zero_division_left_out():
    rng = np.random.default_rng(0)
    for number in range(60):
        matrix = rng.integers(0, 5, (5, 5)) * (rng.random((5, 5)) < 0.6)
        matrix[number % 5] *= number % 2
        label, predicted = np.nonzero(matrix)
        weights = matrix[label, predicted]
        forms = {name: value[0] for name, value in metrics.forms(matrix[None]).items()}
        options = {"labels": range(5), "sample_weight": weights, "zero_division": np.nan}
        for average in ("macro", "weighted"):
            scores = sklearn.metrics.precision_recall_fscore_support(label, predicted, average=average, **options)
            for name, value in zip(("precision", "recall", "f1"), scores, strict=False):
                assert forms[f"{name}_{average}"] == pytest.approx(value, abs=1e-12, nan_ok=True)
        for name, value in metrics.values(matrix).items():
            np.testing.assert_allclose(forms[name], value, rtol=0, atol=1e-12)


def test_each_patient_speaks_once_in_the_sign_test():
    # a: two too high, one too low; b: one too high; c: none; d: three too low
    found = metrics.sign_test(np.array([2, 1, 0, 0]), np.array([1, 0, 0, 3]))
    assert (found.over, found.under, found.p_value) == (2, 1, 1.0)
    assert metrics.sign_test(np.full(10, 1), np.zeros(10)).p_value == pytest.approx(2 / 2**10)
    assert metrics.sign_test(np.zeros(3), np.zeros(3)).note == "no patient is over- or under-estimated"


@pytest.mark.parametrize("matrix", [np.eye(3, dtype=int), np.diag([2, 0, 1]), [[1, 0, 1], [0, 0, 0], [0, 0, 2]]])
def test_the_forms_are_undefined_where_single_values_are(matrix):
    matrix = np.array(matrix)
    values = metrics.values(matrix)
    for metric in (metric for metric in metrics.METRICS if metric.per == "category"):
        assert np.array_equal(np.isnan(metric.of(matrix)), np.isnan(values[metric.name])), metric.name
