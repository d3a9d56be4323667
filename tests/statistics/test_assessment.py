"""The report's figures against an independent oracle on random cohorts, and what happens where they are undefined."""

import math

import numpy as np
import pandas as pd
import pytest

from cac_hpc.results.figures import Figure
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import agreement, assessment, calibration, metrics, resampling
from cac_hpc.statistics.pooling import Units, patient_units, pooling_rules, slice_units
from cac_hpc.train.predictions import Predictions
from tests.support import oracle

EDGES = (0, 10, 100, 400, 1000)
FEW_DRAWS = ReportConfig(draws=200, top_k=3)


def levels_of(slices, cfg, edges):
    return assessment.levels(assessment.pooled(slices, cfg), cfg, edges)


def cohort(seed):
    """Random predictions of 1 to 60 patients in one to five folds, as slices and as rows for the oracle."""
    rng = np.random.default_rng([6, seed])
    num_categories, num_folds = int(rng.integers(2, 7)), int(rng.integers(1, 6))
    num_patients = max(num_folds, int(rng.integers(1, 61)))
    allowed = rng.permutation(num_categories)[: rng.integers(1, num_categories + 1)]  # others are missing
    found, rows, studies = {}, [], []
    for fold in range(num_folds):
        names, study, label, probability = [], [], [], []
        for patient in range(fold, num_patients, num_folds):
            category = int(rng.choice(allowed))
            score = None if rng.random() < 0.1 else float(rng.integers(0, 8))
            names.append(f"S{patient:03d}")
            count = int(rng.integers(1, 6))
            studies.append({"study": names[-1], "patient": f"P{patient}", "slices": count, "score": score})
            for _ in range(count):
                share = rng.dirichlet(np.full(num_categories, 0.5)) + 1e-3
                share[category] += rng.random() * 0.7
                share = (share / share.sum()).astype(np.float32)
                study.append(len(names) - 1)
                label.append(category)
                probability.append(share)
                rows.append((fold, patient, category, [float(value) for value in share], score))
        at = np.concatenate([np.arange(study.count(index)) for index in range(len(names))])
        found[fold] = Predictions(
            np.array(names), np.array(study), at, np.array(label), np.array(probability, dtype=np.float32)
        )
    return slice_units(found, pd.DataFrame(studies), num_categories), rows


def agrees(found, wanted):
    """To 1e-12, undefined against undefined."""
    if isinstance(wanted, list):
        return all(agrees(one, other) for one, other in zip(found, wanted, strict=True))
    missing = found is None or math.isnan(found)
    return missing if wanted is None else not missing and math.isclose(found, wanted, rel_tol=1e-12, abs_tol=1e-12)


def check_units(units, rows, sklearn):
    """Everything of one level that needs no interval, against the oracle."""
    num_categories = units.num_categories
    pairs = [(label, oracle.best(probability)) for _, _, label, probability, _ in rows]
    matrix = metrics.confusion(units.label, units.predicted, num_categories)
    wanted = oracle.figures(pairs, num_categories)
    for found in (metrics.values(matrix),) if sklearn else ():
        for name, value in wanted.items():
            assert agrees(list(found[name]), value if isinstance(value, list) else [value]), name
    for name, value in metrics.forms(matrix[None]).items():
        assert agrees(list(value[0]), wanted[name] if isinstance(wanted[name], list) else [wanted[name]]), name
    columns = (units.label, units.predicted, units.probability, units.patient, units.num_patients)
    sums = calibration.calibration_by_patient(*columns)
    total = calibration.CalibrationSums.from_columns(sums.columns().sum(axis=0))
    labels, probabilities = [row[2] for row in rows], [row[3] for row in rows]
    assert agrees(float(calibration.brier(total)), oracle.brier(labels, probabilities))
    assert agrees(float(calibration.expected_error(total)), oracle.calibration_error(labels, probabilities))


def in_order(units, rows):
    """The oracle's rows in the order of the units: fold by fold, then by patient's number."""
    assert units.fold.tolist() == [row[0] for row in rows]
    return rows


@pytest.mark.parametrize("seeds", [range(400), pytest.param(range(400, 2000), marks=pytest.mark.drill)])
def test_random_cohorts_agree_with_the_oracle(seeds):
    for seed in seeds:
        slices, rows = cohort(seed)
        check_units(slices, in_order(slices, rows), sklearn=seed % 16 == 0)
        rules = pooling_rules(FEW_DRAWS.top_k)
        rule = ("mean", "majority", "top_k")[seed % 3]
        patients, of_patients = patient_units(slices, rules[rule]), oracle.pooled(rows, rule, FEW_DRAWS.top_k)
        by_number = sorted(range(len(of_patients)), key=lambda at: (of_patients[at][0], f"P{of_patients[at][1]}"))
        of_patients = [of_patients[at] for at in by_number]
        wanted = np.array([probability for _, _, _, probability, _ in of_patients])
        np.testing.assert_allclose(patients.probability, wanted, rtol=1e-12, atol=1e-12)
        check_units(patients, in_order(patients, of_patients), sklearn=seed % 16 == 0)
        scored = [row for row in of_patients if row[4] is not None]
        known = ~np.isnan(patients.score)
        expected = [sum(k * p for k, p in enumerate(row[3])) for row in scored]
        found = metrics.rank_correlation(patients.expected_category[known], patients.score[known])
        assert agrees(found, oracle.spearman([round(value, 9) for value in expected], [row[4] for row in scored]))
        units = [(row[1], row[2], oracle.best(row[3])) for row in rows]
        sums = resampling.sums_by_patient(slices)
        sign = metrics.sign_test(metrics.over(sums.matrix_PKK), metrics.under(sums.matrix_PKK))
        assert agrees(sign.p_value, oracle.sign_test(units))


@pytest.mark.parametrize("seed", range(0, 2000, 80))
def test_the_levels_put_the_same_figures_where_the_report_looks_for_them(seed):
    slices, rows = cohort(seed)
    edges = EDGES[: slices.num_categories - 1]
    level = levels_of(slices, FEW_DRAWS, edges)["slice"]
    pairs = [(row[0], row[2], oracle.best(row[3])) for row in rows]
    wanted = oracle.figures([pair[1:] for pair in pairs], slices.num_categories)
    for name, figure in level.pooled.figures.items():
        if name != "spearman":
            assert agrees(figure.value, wanted[name]), name
            assert (figure.note is not None) or figure.value is not None
    of_folds = [
        oracle.figures([pair[1:] for pair in pairs if pair[0] == fold.fold], slices.num_categories)
        for fold in level.folds
    ]
    for name in ("accuracy", "kappa_quadratic", "f1_macro"):
        values = [fold[name] for fold in of_folds if fold[name] is not None]
        over = level.over_folds[name]
        assert over.n == len(values)
        assert agrees(over.mean, sum(values) / len(values) if values else None)
        variance = sum((value - sum(values) / len(values)) ** 2 for value in values)
        assert agrees(over.sd, math.sqrt(variance / (len(values) - 1)) if len(values) > 1 else None)


def test_what_is_undefined_is_none_with_its_reason():
    found = assessment.summary_of_matrix(np.diag([5, 0, 0]))
    for name in ("plain", "linear", "quadratic"):
        kappa = found.figures[f"kappa_{name}"]
        assert (kappa.value, kappa.n) == (None, 5)
        assert kappa.note == "truth and prediction together know only one category"
    precision = found.categories[1].figures["precision"]
    assert precision == Figure(None, 0, None, None, None, "the category was never predicted")
    assert found.figures["f1_macro"].value == 1
    assert "without categories 1, 2, where it is undefined" in found.figures["f1_macro"].note
    nothing = assessment.summary_of_matrix(np.zeros((3, 3), dtype=int))
    assert {figure.note for figure in nothing.figures.values() if figure.value is None} >= {metrics.NOTHING}
    assert all(figure.value is None for figure in nothing.figures.values())


@pytest.mark.parametrize(
    ("pairs", "without", "note"),
    [
        ([(0, 3)], ["icc"], "fewer than 3 units"),
        ([(0, 3)], ["kappa_plain", "kappa_linear", "kappa_quadratic"], "fewer than 2 units"),
        ([(2, 3), (3, 2)], ["icc"], "fewer than 3 units"),  # the formula gives -1
        ([(0, 4), (1, 1)], ["icc"], "fewer than 3 units"),
        ([(0, 4), (4, 0), (2, 2)], ["icc"], metrics.NO_ICC),  # the formula gives -3
        ([(0, 5), (5, 0), (0, 5), (5, 0)], ["icc"], metrics.NO_ICC),  # the formula gives -2
    ],
)
def test_agreement_of_too_few_units_or_outside_of_its_range_is_not_given(pairs, without, note):
    label, predicted = np.array(pairs).T
    matrix = metrics.confusion(label, predicted, 6)
    figures = assessment.summary_of_matrix(matrix).figures
    for name in without:
        assert (figures[name].value, figures[name].note) == (None, note)
        assert np.isnan(metrics.forms(matrix[None])[name]).all(), "what checks the report says the same"
    known = [figure.value for figure in figures.values() if figure.value is not None]
    assert all(-1 - 1e-9 <= value <= 1 + 1e-9 for value in known)


def test_no_figure_of_few_units_is_outside_of_its_range():
    rng, seen = np.random.default_rng(7), 0
    for _ in range(400):
        label, predicted = rng.integers(0, 6, (2, rng.integers(1, 6)))
        for figure in assessment.summary_of_matrix(metrics.confusion(label, predicted, 6)).figures.values():
            assert figure.value is None or -1 - 1e-12 <= figure.value <= 1 + 1e-12
            seen += figure.value is None
    assert seen


def test_a_rank_correlation_of_two_is_not_given():
    assert np.isnan(metrics.rank_correlation(np.array([1.0, 2.0]), np.array([3.0, 5.0])))
    assert metrics.rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 9.0])) == pytest.approx(1)


def test_a_draw_that_lost_a_category_does_not_count_for_means_over_categories():
    draws = np.array([[[4, 0], [0, 2]], [[5, 1], [0, 0]]])
    found = metrics.drawn(draws, np.array([[9, 1], [0, 2]]))
    assert np.isnan(found["f1_macro"][1, 0])
    assert np.isnan(found["f1"][1]).tolist() == [False, True]
    assert not np.isnan(found["accuracy"]).any()
    assert not np.isnan(metrics.drawn(draws, np.array([[9, 1], [0, 0]]))["f1_macro"]).any()


def test_the_majority_category_is_the_same_one_in_every_draw():
    draws = np.array([[[8, 0], [0, 3]], [[4, 0], [0, 5]]])
    assert agreement.majority_accuracy(draws).tolist() == [8 / 11, 4 / 9]


def test_of_two_largest_categories_the_draws_keep_the_one_that_is_named():
    draws = np.array([[[5, 0], [0, 7]], [[5, 0], [0, 7]]])
    found = metrics.drawn(draws, np.array([[6, 0], [1, 5]]))
    assert found["majority_accuracy"][:, 0].tolist() == [5 / 12, 5 / 12]
    assert found["gain_over_majority"][:, 0] == pytest.approx(7 / 12)


def test_categories_that_the_edges_do_not_allow_are_undefined_with_the_edges_that_are_missing():
    slices, _ = cohort(4)
    assert slices.num_categories == 3
    found = {scheme.key: scheme for scheme in levels_of(slices, FEW_DRAWS, (0, 100))["slice"].collapsed}
    assert found["usual"].pooled is None
    assert found["usual"].note == "undefined: labels.edges have no 10 and no 400"
    assert found["any"].groups == [0, 1, 1]
    assert found["at_100"].groups == [0, 0, 1]
    assert found["any"].pooled.n == len(slices.label)


def test_the_study_collapses_to_the_usual_categories_exactly():
    from tests.support.reports import PRINTED

    five = agreement.collapse(PRINTED, np.array([0, 1, 2, 3, 4, 4]))
    assert five[4].tolist() == [1, 2, 2, 13, 513]
    two = agreement.collapse(PRINTED, np.array([0, 1, 1, 1, 1, 1]))
    assert two.tolist() == [[240, 4], [1, 1140]]
    assert agreement.collapse(PRINTED, np.array([0, 0, 0, 1, 1, 1])).tolist() == [[591, 11], [7, 776]]


def test_a_score_of_exactly_100_is_said_to_count_as_low():
    slices, _ = cohort(4)
    slices = Units(**{**vars(slices), "score": np.where(np.arange(len(slices.label)) < 2, 100.0, 0.0)})
    level = levels_of(slices, FEW_DRAWS, (0, 100))["slice"]
    assert level.collapsed[2].note == "2 units have a score of exactly 100 and count as <=100"


def test_weighted_recall_is_the_accuracy_and_has_its_interval():
    slices, _ = cohort(18)
    for level in levels_of(slices, FEW_DRAWS, EDGES[: slices.num_categories - 1]).values():
        accuracy, recall = (level.pooled.figures[name] for name in ("accuracy", "recall_weighted"))
        assert recall.value == pytest.approx(accuracy.value, abs=1e-12)
        assert (recall.low, recall.high, recall.interval) == (accuracy.low, accuracy.high, accuracy.interval)


def test_levels_are_the_same_every_time_and_change_with_the_seed_in_drawn_intervals_alone():
    slices, _ = cohort(18)
    assert slices.num_patients > 20
    edges = EDGES[: slices.num_categories - 1]
    one, again = (levels_of(slices, FEW_DRAWS, edges) for _ in range(2))
    other = levels_of(slices, ReportConfig(draws=200, top_k=3, seed=1), edges)
    assert one == again
    level, same = other["slice"], one["slice"]
    assert level.pooled.figures["accuracy"] == same.pooled.figures["accuracy"]
    brier = level.calibration.brier
    assert brier.value == same.calibration.brier.value
    assert brier.low != same.calibration.brier.low
    assert (level.pooled.figures["accuracy"].interval, brier.interval) == ("wilson_cluster", "bootstrap")
