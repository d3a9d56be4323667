"""Figures of prediction sets: how many name the true category, and how many categories they name. Axes: N test.

The share of a run's own patients whose category is named comes near the wanted one whatever the model is, as they
calibrate each other; what a model is worth shows in how few categories are named. Of other patients it is a finding.
"""

from __future__ import annotations

import numpy as np

from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.prediction_sets import PredictionSets, PromisedCoverage, SetsOfCategory, SetsOfFold, SetsOfPatients
from cac_hpc.statistics import intervals, prediction_sets
from cac_hpc.statistics.intervals import Interval, figure, without_value
from cac_hpc.statistics.metrics import NOTHING
from cac_hpc.statistics.pooling import Units
from cac_hpc.statistics.prediction_sets import Sets

ALONE = "prediction sets need patients of two folds at least, none of whom is tested by both"
FEW = f"fewer than {intervals.FEWEST_PATIENTS} patients: counted, not judged"
ALIKE = f"no interval, as fewer than {intervals.FEWEST_PATIENTS} sets differ in size from the others"


def of_run(units: Units, names: np.ndarray, coverage: float) -> PredictionSets | Absent | None:
    """The sets of a run's own patients.

    Args:
        names: of the patients. coverage: share of patients that is wanted.
    """
    if not len(units.label):
        return None
    sets = prediction_sets.of_folds(units, coverage)
    if not sets.calibrated_by.any():
        return Absent(ALONE)
    counts = zip(*np.unique(sets.calibrated_by, return_counts=True), strict=True)
    full = int(sum(tests for count, tests in counts if prediction_sets.rank(count, coverage) > count))
    promise = prediction_sets.promised(len(np.unique(units.patient)), coverage)
    return of_sets(units, sets, names, coverage, promise, full)


def of_sets(
    units: Units,
    sets: Sets,
    names: np.ndarray,
    coverage: float | None,
    promise: PromisedCoverage | None,
    full: int = 0,
) -> PredictionSets:
    """The figures of sets.

    Args:
        names: of the patients. coverage: share of patients that is wanted, None if nothing tells. full: how many sets
            name every category, since patients who calibrate them are too few.
    """
    num_categories, everyone = units.num_categories, np.ones(len(units.label), bool)
    return PredictionSets(
        wanted=coverage,
        n=len(units.label),
        full=full,
        promised=promise,
        figures=_figures(units, sets, everyone, None),
        sizes=_sizes(sets, everyone, num_categories),
        categories=[_of_category(units, sets, category) for category in range(num_categories)],
        folds=[_of_fold(units, sets, fold) for fold in np.unique(units.fold).tolist() if sets.calibrated_by.any()],
        tests=SetsOfPatients(
            patient=names[units.patient].tolist(),
            fold=units.fold.tolist(),
            category=units.label.tolist(),
            predicted=units.predicted.tolist(),
            low=sets.low.tolist(),
            high=sets.high.tolist(),
        ),
    )


def _named(units: Units, sets: Sets) -> np.ndarray:
    """Whether each set names the true category."""
    return np.asarray((sets.low <= units.label) & (units.label <= sets.high))


def _sizes(sets: Sets, here_N: np.ndarray, num_categories: int) -> list[int]:
    counts: list[int] = np.bincount(sets.size[here_N], minlength=num_categories + 1)[1:].tolist()
    return counts


def _figures(units: Units, sets: Sets, here_N: np.ndarray, why: str | None) -> dict[str, Figure]:
    """Args:
    here_N: tests that are counted. why: they are not judged, if they are not.
    """
    patient, n = units.patient[here_N], int(here_N.sum())
    count_P = np.bincount(patient)
    there = count_P > 0

    def of(value_N: np.ndarray, interval: Interval | None = None) -> Figure:
        if why or not n:
            return without_value(n, why or NOTHING)
        total_P = np.bincount(patient, value_N[here_N])[there]
        return figure(float(value_N[here_N].mean()), n, "", interval or intervals.proportion(total_P, count_P[there]))

    size_N = sets.size
    others = n - max(np.bincount(size_N[here_N], minlength=1))
    sums_P = np.bincount(patient, size_N[here_N])[there]
    few = others < intervals.FEWEST_PATIENTS
    return {
        "coverage": of(_named(units, sets)),
        "mean_size": of(size_N, intervals.none(ALIKE) if few else intervals.mean(sums_P, count_P[there])),
        "one_category": of(size_N == 1),
    }


def _of_category(units: Units, sets: Sets, category: int) -> SetsOfCategory:
    here_N = units.label == category
    few = len(np.unique(units.patient[here_N])) < intervals.FEWEST_PATIENTS
    figures = _figures(units, sets, here_N, FEW if few else None)
    return SetsOfCategory(category, int(here_N.sum()), _sizes(sets, here_N, units.num_categories), figures)


def _of_fold(units: Units, sets: Sets, fold: int) -> SetsOfFold:
    here_N = units.fold == fold
    named = int(_named(units, sets)[here_N].sum())
    return SetsOfFold(fold, int(here_N.sum()), named, int(sets.calibrated_by[here_N].max()))
