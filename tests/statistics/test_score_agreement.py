"""Agreement of scores with the reported ones: by hand, by pingouin's definitions, and each patient once."""

import dataclasses

import numpy as np
import pytest

from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import agreement, metrics, score_agreement
from cac_hpc.statistics.pooling import Units

CFG = ReportConfig(draws=200)


def patients(score, patient=None):
    patient = np.arange(len(score)) if patient is None else np.array(patient)
    count = 1 + int(patient.max())
    label = np.zeros(len(score), int)
    return Units(label, label, np.eye(3)[label], patient, np.arange(len(score)), np.array(score, float), count, count)


def icc_by_anova(x, y):
    """ICC(2,1) from the mean squares of a two-way table, Shrout and Fleiss 1979."""
    table = np.stack([x, y], axis=1)
    n, k = table.shape
    rows = k * ((table.mean(axis=1) - table.mean()) ** 2).sum() / (n - 1)
    columns = n * ((table.mean(axis=0) - table.mean()) ** 2).sum() / (k - 1)
    rest = (table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()) ** 2
    error = rest.sum() / ((n - 1) * (k - 1))
    return (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)


def test_limits_of_agreement_count_a_patient_once_however_often_it_was_tested():
    units = patients([10.0, 50.0, 50.0, 50.0, 70.0], [0, 1, 1, 1, 2])
    read = np.array([10.0, 90.0, 90.0, 90.0, 90.0])
    found = score_agreement.agree(units, read, CFG)
    spread = 1.96 * np.std([0, 40, 20], ddof=1)
    assert found.n == 3
    assert [found.bias, found.low, found.high] == pytest.approx([20, 20 - spread, 20 + spread])
    size = np.log([1, 91 / 51, 91 / 71])
    assert found.log_bias == pytest.approx(size.mean())
    assert found.log_mean_absolute.value == pytest.approx(size.mean())
    assert found.log_mean_absolute.low is None
    two = dataclasses.replace(units, score=np.array([10.0, 50.0, 50.0, 50.0, np.nan]))
    few = score_agreement.agree(two, read, CFG)
    assert (few.n, few.bias, few.log_bias, few.log_icc.value) == (2, None, None, None)
    assert few.note == "fewer than 3 patients with both scores"


def test_icc_of_log_scores_is_that_of_an_analysis_of_variance_and_has_an_interval():
    rng = np.random.default_rng(4)
    reported = np.round(rng.gamma(0.7, 300, 40))
    read = np.round(reported * np.exp(rng.normal(0.1, 0.3, 40)))
    found = score_agreement.agree(patients(reported), read, CFG)
    wanted = icc_by_anova(np.log1p(read), np.log1p(reported))
    assert found.log_icc.value == pytest.approx(wanted)
    assert found.log_icc.low < wanted < found.log_icc.high
    assert found.log_mean_absolute.low < found.log_mean_absolute.value < found.log_mean_absolute.high
    assert found == score_agreement.agree(patients(reported), read, CFG)


def test_icc_of_sums_is_icc_of_the_matrix():
    rng = np.random.default_rng(1)
    label, predicted = rng.integers(0, 6, (2, 50))
    matrix = metrics.confusion(label, predicted, 6)
    assert float(agreement.icc(matrix)) == pytest.approx(icc_by_anova(label.astype(float), predicted.astype(float)))
