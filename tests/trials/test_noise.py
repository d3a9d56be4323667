"""A planted case: forty configurations that are all equally good, on simulated cohorts of which the truth is known.

Axes: C configuration, P patient, K category.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from cac_hpc.dataset import splits, stratification
from cac_hpc.settings.split import SplitConfig
from cac_hpc.statistics import assessment, metrics, resampling
from cac_hpc.statistics.pooling import Units
from cac_hpc.trials import choice
from cac_hpc.trials.choice import TrialResult
from cac_hpc.trials.plan import Rung
from tests.support.trials import lesions

CONFIGURATIONS, PATIENTS, FOLDS, CATEGORIES = 40, 68, 5, 6
RIGHT = 0.6  # of every configuration, for every patient
FIGURES = ("accuracy", "kappa_quadratic")
WRITTEN = "[" + ", ".join(f"{{train.steps: {50 + c}}}" for c in range(CONFIGURATIONS)) + "]"
FEW_DRAWS = ("--report.draws", "200")  # they change no choice
NESTED = lesions(*FEW_DRAWS, "--trials.configurations", WRITTEN)
ON_TEST = lesions(
    *FEW_DRAWS, "--trials.configurations", WRITTEN, "--trials.select_on", "test", "--trials.contrast_to", "nested"
)


def cell_probability():
    """Of each cell of the confusion matrix of all patients there could be: a wrong answer is any other category."""
    wrong = (1 - RIGHT) / (CATEGORIES - 1)
    return (np.full((CATEGORIES, CATEGORIES), wrong) + np.eye(CATEGORIES) * (RIGHT - wrong)) / CATEGORIES


@dataclass
class Cohort:
    label_P: np.ndarray
    predicted_CP: np.ndarray  # when tested
    looked_at_CP: np.ndarray  # in the folds' validation parts; that of one fold is independent of its test
    folds: list[splits.Fold]


def cohort(number):
    rng = np.random.default_rng([number, 21])
    label_P = rng.integers(CATEGORIES, size=PATIENTS)

    def predicted():
        other = (label_P + rng.integers(1, CATEGORIES, (CONFIGURATIONS, PATIENTS))) % CATEGORIES
        return np.where(rng.random((CONFIGURATIONS, PATIENTS)) < RIGHT, label_P, other)

    names = [f"{p:02d}" for p in range(PATIENTS)]
    of_patient = dict(zip(names, names, strict=True))
    folds = stratification.make_folds(
        of_patient, dict(zip(names, label_P.tolist(), strict=True)), SplitConfig(seed=number)
    )
    return Cohort(label_P, predicted(), predicted(), folds)


def results(label_P, predicted_CP, parts):
    """What the trials leave behind in these parts of folds."""
    where = {fold: np.array([int(name) for name in part]) for fold, part in parts.items()}
    return [
        TrialResult(
            c, {}, False,
            tuple(Rung(fold, c, 0, 0, {}, 1, 1, tuple(f"{p:02d}" for p in at), tuple(label_P[at].tolist()),
                       tuple(predicted_CP[c, at].tolist()), 100, 1.0) for fold, at in where.items()),
        )
        for c in range(CONFIGURATIONS)
    ]  # fmt: skip


def estimate(label_P, predicted_P, fold_P, draws):
    """The figures of the report, with their intervals."""
    units = Units(label_P, predicted_P, np.eye(CATEGORIES)[predicted_P], np.arange(PATIENTS), fold_P,
                  np.full(PATIENTS, np.nan), PATIENTS, PATIENTS)  # fmt: skip
    sums = {"patient": resampling.sums_by_patient(units)}
    cfg = lesions("--report.draws", str(draws)).report
    return assessment.summary(resampling.resample(sums, {}, cfg)["patient"]).figures


def simulate(number, draws):
    """Figures of one cohort: the nested estimate, and that of the configuration that is best on test."""
    one = cohort(number)
    nested_P, fold_P = np.zeros(PATIENTS, int), np.zeros(PATIENTS, int)
    for k, fold in enumerate(one.folds):
        chosen = choice.choose(NESTED, CATEGORIES, results(one.label_P, one.looked_at_CP, {k: fold.val})).trial
        at = [int(name) for name in fold.test]
        nested_P[at], fold_P[at] = one.predicted_CP[chosen, at], k
    on_test = results(one.label_P, one.predicted_CP, {k: fold.test for k, fold in enumerate(one.folds)})
    best_P = one.predicted_CP[choice.choose(ON_TEST, CATEGORIES, on_test).trial]
    return [estimate(one.label_P, predicted_P, fold_P, draws) for predicted_P in (nested_P, best_P)]


def summarised(num_cohorts, draws):
    """Of the nested estimate and of the best on test: bias, spread and coverage of each figure."""
    of_all = metrics.forms(cell_probability()[None] * 1e6)
    truth = {name: float(of_all[name].item()) for name in FIGURES}
    found = [simulate(number, draws) for number in range(num_cohorts)]
    table = {}
    for which, way in enumerate(("nested", "best on test")):
        for name in FIGURES:
            of = [one[which][name] for one in found]
            off = np.array([figure.value - truth[name] for figure in of])
            covered = np.mean([figure.low <= truth[name] <= figure.high for figure in of])
            table[way, name] = (off.mean(), off.std(ddof=1), covered)
            print(f"{way:13} {name:16} truth {truth[name]:.3f}  off by {off.mean():+.3f}"
                  f"  sd {off.std(ddof=1):.3f}  covered {covered:.3f}")  # fmt: skip
    return table


def check(table, lowest_coverage):
    for name, inflated in (("accuracy", 0.05), ("kappa_quadratic", 0.15)):
        bias, _, covered = table["nested", name]
        assert abs(bias) < 0.03, name
        assert covered >= lowest_coverage, name
        bias, _, covered = table["best on test", name]
        assert bias > inflated, name
        assert covered < 0.8, name


def test_the_best_of_noise_on_test_is_inflated_and_the_nested_estimate_is_not():
    check(summarised(40, 200), 0.85)


@pytest.mark.drill
def test_the_nested_estimates_interval_covers_the_truth_in_two_hundred_cohorts():
    """Its lines are the table of docs/trials.md."""
    check(summarised(200, 2000), 0.9)
