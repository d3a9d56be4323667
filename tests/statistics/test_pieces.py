"""Millions of units a piece at a time: the same as all at once, to the last digit."""

import numpy as np
import pytest
from scipy import stats

from cac_hpc.statistics import calibration, metrics, pieces, pooling
from cac_hpc.statistics.pooling import Units

COUNT = 2 * pieces.AT_ONCE + 7


def test_pieces_are_all_units_in_their_order():
    parts = list(pieces.pieces(COUNT))
    assert np.concatenate([np.arange(COUNT)[part] for part in parts]).tolist() == list(range(COUNT))
    assert max(part.stop - part.start for part in parts) == pieces.AT_ONCE
    assert list(pieces.pieces(0)) == []


def test_values_and_sums_by_number_are_those_of_all_units_at_once():
    rng = np.random.default_rng(0)
    number, value = rng.integers(0, 50, COUNT).astype(np.int32), rng.normal(size=COUNT)
    table = rng.normal(size=50)
    assert np.array_equal(pieces.take(table, number), table[number])
    assert np.array_equal(pieces.combine(np.add, np.zeros(50), number, value), np.bincount(number, value))
    highest = pieces.combine(np.maximum, np.full(50, -np.inf), number, value)
    assert highest.tolist() == [value[number == one].max() for one in range(50)]
    assert np.array_equal(pieces.count(number, 50), np.bincount(number))


def slices():
    """Units in the order of memory that predictions are read in."""
    rng = np.random.default_rng(1)
    probability = np.asfortranarray(rng.dirichlet(np.ones(6), COUNT).astype(np.float32))
    patient = np.sort(rng.integers(0, 900, COUNT)).astype(np.int32)
    label = rng.integers(0, 6, COUNT).astype(np.int32)
    fold, score = np.zeros(COUNT, np.int32), np.full(COUNT, np.nan)
    return Units(label, probability.argmax(axis=1), probability, patient, fold, score, 900, COUNT)


def test_what_patients_come_from_their_slices_is_that_of_all_slices_at_once():
    units = slices()
    found = {
        name: pooling.patient_units(units, rule).probability for name, rule in pooling.pooling_rules(top_k=3).items()
    }
    count = np.bincount(units.patient)[:, None]
    columns = [np.bincount(units.patient, column) for column in units.probability.T]
    assert np.array_equal(found["mean"], np.stack(columns, axis=1) / count)
    votes = np.bincount(units.patient * 6 + units.predicted, minlength=900 * 6).reshape(900, 6)
    assert np.array_equal(found["majority"], votes / count)
    of_first = units.probability[units.patient == 0]
    highest = np.sort(of_first, axis=0)[-3:].mean(axis=0, dtype=float)
    assert found["top_k"][0] == pytest.approx(highest / highest.sum(), abs=1e-12)


def test_calibration_sums_are_those_of_all_slices_at_once():
    units = slices()
    found = calibration.calibration_by_patient(units.label, units.predicted, units.probability, units.patient, 900)
    chance = units.probability[np.arange(COUNT), units.label].astype(float)
    squares = np.einsum("nk,nk->n", units.probability, units.probability, dtype=float) - 2 * chance + 1
    assert np.array_equal(found.squares, np.bincount(units.patient, squares))
    assert np.array_equal(found.count, np.bincount(units.patient))
    confidence = units.probability.max(axis=1).astype(float)
    assert found.bin_confidence.sum() == pytest.approx(confidence.sum())
    assert found.bin_right.sum() == (units.predicted == units.label).sum()


@pytest.mark.parametrize("decimals", [1, 3, 9])
def test_rank_correlation_is_that_of_scipy_to_the_last_digit(decimals):
    rng = np.random.default_rng(2)
    y = np.round(rng.lognormal(3, 2, COUNT), 0)
    x = np.round(np.log1p(y) + rng.normal(size=COUNT), decimals)
    assert metrics.rank_correlation(x, y) == stats.spearmanr(x, y).statistic
