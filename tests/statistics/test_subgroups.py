"""Figures of groups of patients, against scikit-learn, by hand, and over simulated cohorts."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from cac_hpc.statistics import agreement
from cac_hpc.statistics.cuts import Judge
from cac_hpc.statistics.pooling import Units
from cac_hpc.statistics.subgroups import Grouping, subgroups

EDGES, CUTS = (0.0, 10.0, 100.0, 400.0, 1000.0), (0.0, 100.0, 400.0)
SCORES = np.array([0, 5, 50, 200, 700, 2000.0])  # of each category


def judge(label, predicted, patient=None):
    label, predicted = np.asarray(label), np.asarray(predicted)
    patient = np.arange(len(label)) if patient is None else np.asarray(patient)
    num_patients = int(patient.max()) + 1
    probability = np.eye(6, dtype=np.float32)[predicted]
    units = Units(label, predicted, probability, patient, np.zeros(len(label), int), SCORES[label], num_patients,
                  num_patients)  # fmt: skip
    return Judge("model", "model", units)


def two_groups(model, size):
    """The first `size` patients, and the others."""
    group = (np.arange(model.units.num_patients) >= size).astype(int)
    return subgroups(model, [Grouping("sex", ["female", "male"], group, 0, 0, 0)], EDGES, CUTS, "patient")


def drawn(seed, num, right):
    """Labels and predictions that are right with that probability, else one category off."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 6, num)
    off = np.where(rng.random(num) < right, 0, rng.choice([-1, 1], num))
    return label, np.abs(np.where(label + off > 5, 4, label + off))


def test_figures_of_a_group_are_those_of_its_patients_alone():
    label, predicted = drawn(1, 60, 0.7)
    female = two_groups(judge(label, predicted), 25).facts[0].groups[0]
    own, said = label[:25], predicted[:25]
    assert female.patients == 25
    assert female.figures["accuracy"].value == pytest.approx((own == said).mean())
    kappa = cohen_kappa_score(own, said, labels=range(6), weights="quadratic")
    assert female.figures["kappa_quadratic"].value == pytest.approx(kappa)
    assert female.figures["category_error"].value == pytest.approx((said - own).mean())
    above, told = own >= 3, said >= 3
    assert female.figures["sensitivity_100"].value == pytest.approx((told & above).sum() / above.sum())
    assert female.figures["specificity_100"].value == pytest.approx((~told & ~above).sum() / (~above).sum())


def test_the_interval_of_kappa_is_that_of_leaving_out_each_patient_on_fishers_scale():
    label, predicted = drawn(2, 40, 0.6)
    found = two_groups(judge(label, predicted), 18).facts[0].groups[0].figures["kappa_quadratic"]
    kappa = [cohen_kappa_score(np.delete(label[:18], at), np.delete(predicted[:18], at), labels=range(6),
                               weights="quadratic") for at in range(18)]  # fmt: skip
    error = np.sqrt(17 / 18 * ((np.array(kappa) - np.mean(kappa)) ** 2).sum())
    half = stats.t.ppf(0.975, 17) * error / (1 - found.value**2)
    assert (found.low, found.high) == pytest.approx(
        np.tanh(np.arctanh(found.value) + np.array([-half, half])), abs=1e-5
    )


def test_kappa_of_patients_who_are_all_put_in_one_category_is_not_sure():
    label, predicted = drawn(2, 40, 0.6)
    predicted[:18] = 5
    model = two_groups(judge(label, predicted), 18)
    found = model.facts[0].groups[0]
    kappa, less = found.figures["kappa_quadratic"], found.differences["kappa_quadratic"]
    assert (kappa.value, kappa.low, kappa.interval) == (0, None, None)
    assert kappa.note == "the same without any one of the patients, so there is no interval"
    assert less.difference is not None
    assert less.low is None


def test_the_interval_of_the_mean_error_adds_half_a_patient_either_way():
    """By hand: 20 patients, one of them 2 too high; with half a patient at +1 and half at -1 the weights are 21."""
    predicted = np.full(40, 2)
    predicted[0] = 4
    found = two_groups(judge(np.full(40, 2), predicted), 20).facts[0].groups[0].figures["category_error"]
    middle = 2 / 21
    variance = ((2 - middle) ** 2 + 19 * middle**2 + 0.5 * (1 - middle) ** 2 + 0.5 * (1 + middle) ** 2) / 21
    half = stats.t.ppf(0.975, 19) * np.sqrt(variance / 20)
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-5)


def test_a_difference_of_shares_is_newcombes():
    """Newcombe 1998, Stat Med 17:873, table II, example (a): 56/70 less 48/80 is 0.2, 0.0524 to 0.3339."""
    right = np.r_[np.ones(56), np.zeros(14), np.ones(48), np.zeros(32)].astype(bool)
    label = np.full(150, 2)
    group = two_groups(judge(label, np.where(right, 2, 3)), 70).facts[0].groups[0]
    found = group.differences["accuracy"]
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_tests_of_one_patient_are_no_independent_witnesses():
    label, predicted = drawn(3, 30, 0.6)
    once = two_groups(judge(label, predicted), 15).facts[0].groups[0]
    again = judge(np.tile(label, 3), np.tile(predicted, 3), np.tile(np.arange(30), 3))
    thrice = two_groups(again, 15).facts[0].groups[0]
    for name in ("kappa_quadratic", "category_error"):
        one, three = once.figures[name], thrice.figures[name]
        assert (three.value, three.low, three.high) == pytest.approx((one.value, one.low, one.high))
    one, three = once.figures["accuracy"], thrice.figures["accuracy"]
    assert three.high - three.low > 0.9 * (one.high - one.low)


def test_groups_of_fewer_than_10_are_counted_and_not_judged_and_belong_to_the_others():
    label, predicted = drawn(4, 50, 0.7)
    group = np.repeat([0, 1, 2, -1], [9, 20, 18, 3])
    found = subgroups(judge(label, predicted), [Grouping("site", list("abc"), group, 1, 1, 1)], EDGES, CUTS, "patient")
    few, second, _ = found.facts[0].groups
    assert (few.patients, few.judged, few.figures, few.differences) == (9, False, {}, {})
    others = np.r_[0:9, 29:47]  # without the three of no group
    assert second.differences["accuracy"].reference == pytest.approx((label == predicted)[others].mean())
    assert found.facts[0].several == 1


def test_a_cut_that_few_of_a_group_are_above_is_not_judged_in_it():
    label = np.r_[np.full(9, 5), np.full(31, 1), np.full(20, 5), np.full(20, 1)]
    found = two_groups(judge(label, label), 40).facts[0].groups[0]
    assert found.figures["sensitivity_100"].value is None
    assert "fewer than 10" in found.figures["sensitivity_100"].note
    assert found.figures["specificity_100"].value == 1
    assert found.differences["sensitivity_100"].low is None


def test_comparisons_are_counted_and_two_groups_of_a_fact_are_compared_once():
    label, predicted = drawn(5, 60, 0.7)
    found = two_groups(judge(label, predicted), 30)
    with_interval = [one for one in found.facts[0].groups[0].differences.values() if one.low is not None]
    assert found.comparisons == len(with_interval)
    assert found.by_chance == pytest.approx(0.05 * found.comparisons, abs=0.005)


@pytest.mark.parametrize("size", [10, 20])
def test_intervals_of_small_groups_cover(size):
    """Both sides are drawn from one world, so that every true difference is 0."""
    hits, known = {}, {}
    for seed in range(250):
        label, predicted = drawn([seed, size], 68, 0.75)
        for name, one in two_groups(judge(label, predicted), size).facts[0].groups[0].differences.items():
            if one.low is not None:
                known[name] = known.get(name, 0) + 1
                hits[name] = hits.get(name, 0) + (one.low <= 0 <= one.high)
    for name in ("accuracy", "kappa_quadratic", "category_error"):
        assert known[name] > 150
        assert hits[name] / known[name] > 0.91, name


def test_quadratic_kappa_of_the_cells_is_that_of_the_patients():
    label, predicted = drawn(6, 40, 0.5)
    matrix = np.zeros((6, 6))
    np.add.at(matrix, (label, predicted), 1)
    found = two_groups(judge(label, predicted), 39).facts[0].groups[0].figures["kappa_quadratic"]
    np.subtract.at(matrix, (label[39:], predicted[39:]), 1)
    assert found.value == pytest.approx(float(agreement.kappa(matrix, 2)))
