"""Every number of the report's two levels, each with its n, its interval and why it has none. See docs/report.md.

Axes: B draw, N unit, P patient, K category.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from cac_hpc.machine import memory
from cac_hpc.results.calibration import Calibration
from cac_hpc.results.figures import Category, Figure
from cac_hpc.results.levels import Collapsed, Level, OtherRule, OverFolds
from cac_hpc.results.matrices import FoldMatrix, Matrix, Pooled
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import agreement, intervals, metrics
from cac_hpc.statistics.calibration import (
    NUM_BINS,
    CalibrationSums,
    brier,
    brier_of_frequencies,
    expected_error,
    reliability,
)
from cac_hpc.statistics.intervals import CHANCE, Interval, figure
from cac_hpc.statistics.metrics import Metric
from cac_hpc.statistics.pooling import Units, num_distinct, patient_units, pooling_rules
from cac_hpc.statistics.resampling import Sums, resample, sums_by_patient

FOLD = intervals.none("intervals are those of the pooled figures")
OF_SLICES = intervals.none("a score belongs to a study and not to a slice: see the patient level")
PUBLISHED = intervals.none("a published matrix does not tell which units are of one patient")
UNITS = {
    "mean": "patient, mean probability over the slices",
    "majority": "patient, share of the slices predicted as each category",
    "top_k": "patient, mean of each category's k highest probabilities over the slices",
}
OWN_PART = "slice, category of the part of the score that was counted on it"
OWN_SCORE = "patient, category of the predicted score"
M = TypeVar("M", bound=Matrix)


@dataclass(frozen=True)
class Tested:
    """What was tested at one level of evaluation.

    unit: what a unit is, in words. scored: whether each unit has a score of its own. others: the same units as ways
    that were not chosen predict them, by their names.
    """

    name: str
    unit: str
    units: Units
    scored: bool = False
    others: Mapping[str, Units] = field(default_factory=dict)


def pooled(of_slices: Units, cfg: ReportConfig) -> list[Tested]:
    """The levels of a model that predicts slices: these, and patients pooled from them."""
    rules = pooling_rules(cfg.top_k)
    patients = patient_units(of_slices, rules[cfg.patient_rule])
    unit = UNITS[cfg.patient_rule].replace("k highest", f"{cfg.top_k} highest")
    others = {name: patient_units(of_slices, rule) for name, rule in rules.items() if name != cfg.patient_rule}
    return [Tested("slice", "slice", of_slices), Tested("patient", unit, patients, True, others)]


def scored(of_slices: Units, patients: Units) -> list[Tested]:
    """The levels of a model that predicts each patient's score: slices by their own parts of it, and patients."""
    return [Tested("slice", OWN_PART, of_slices), Tested("patient", OWN_SCORE, patients, True)]


def units_of(tested: Sequence[Tested]) -> dict[str, Units]:
    return {level.name: level.units for level in tested}


def levels(tested: Sequence[Tested], cfg: ReportConfig, edges: Sequence[float]) -> dict[str, Level]:
    """Every number of each level.

    Args:
        edges: of the categories, as in labels.edges.
    """
    sums = {level.name: sums_by_patient(level.units) for level in tested}
    sums = resample(sums, {level.name: level.units for level in tested if level.scored}, cfg)
    memory.give_back()  # what drawing in several threads leaves is as much as slices need next
    return {level.name: _level(level, sums[level.name], edges) for level in tested}


def _level(tested: Tested, sums: Sums, edges: Sequence[float]) -> Level:
    units, interval = tested.units, None if tested.scored else OF_SLICES
    expected = units.expected_category
    pooled = _with_spearman(summary(sums), expected, units.score, interval or sums.resampled(sums.spearman_B))
    folds = [_fold(fold, units, expected) for fold in np.flatnonzero(np.bincount(units.fold)).tolist()]
    others = {name: summary(sums_by_patient(other)).figures["accuracy"] for name, other in tested.others.items()}
    return Level(
        unit=tested.unit,
        distinct=units.distinct,
        counting=_counting(len(units.label), units.distinct),
        pooled=pooled,
        folds=folds,
        over_folds=over_folds(folds),
        collapsed=[_collapsed(scheme, sums, edges, units.score) for scheme in metrics.SCHEMES],
        calibration=calibration(sums),
        other_rules=[OtherRule(name, accuracy) for name, accuracy in others.items()] or None,
    )


def _fold(fold: int, units: Units, expected: np.ndarray) -> FoldMatrix:
    here = units.fold == fold
    matrix = metrics.confusion(units.label[here], units.predicted[here], units.num_categories)
    patients = num_distinct(units.patient[here])
    found = FoldMatrix(fold=fold, patients=patients, **vars(summary_of_matrix(matrix)))
    return _with_spearman(found, expected[here], units.score[here], FOLD)


def _counting(count: int, distinct: int) -> str:
    if count == distinct:
        return "each unit was tested once"
    return (
        f"{distinct} units were tested {count} times: every test counts, "
        "and intervals resample patients with all of their tests"
    )


def summary(sums: Sums) -> Pooled:
    """All figures of a level's pooled confusion matrix, with their intervals."""
    drawn = None if sums.matrix_BKK is None else metrics.drawn(sums.matrix_BKK, sums.matrix)

    def interval(metric: Metric, index: int) -> Interval:
        if metric.part is None:
            return sums.resampled(None if drawn is None else drawn[metric.name][:, index])
        part, whole = (form(sums.matrix_PKK) for form in (metric.part, metric.whole))
        if metric.per == "matrix":
            return intervals.proportion(part, whole)
        return intervals.proportion(part[:, index], whole[:, index])

    sign = metrics.sign_test(metrics.over(sums.matrix_PKK), metrics.under(sums.matrix_PKK))
    return Pooled(**vars(_summary(sums.matrix, interval)), patients=sums.num_patients, sign_test=sign)


def summary_of_matrix(matrix: np.ndarray, interval: Interval = FOLD) -> Matrix:
    """The same of a matrix (K, K) alone, as of one fold: without intervals."""
    return _summary(matrix, lambda metric, index: interval)


def _summary(matrix: np.ndarray, interval: Callable[[Metric, int], Interval]) -> Matrix:
    values, count = metrics.values(matrix), int(matrix.sum())
    figures = {
        metric.name: [
            figure(value, int(n), metric.missing(count), interval(metric, index), left_out(metric, values))
            for index, (value, n) in enumerate(
                zip(values[metric.name], np.atleast_1d(metric.whole(matrix)), strict=True)
            )
        ]
        for metric in metrics.METRICS
    }
    per_category = [metric.name for metric in metrics.METRICS if metric.per == "category"]
    return Matrix(
        n=count,
        errors=int(count - np.trace(matrix)),
        over_estimated=int(metrics.over(matrix)),
        under_estimated=int(metrics.under(matrix)),
        support=matrix.sum(axis=1).tolist(),
        predicted=matrix.sum(axis=0).tolist(),
        majority_category=int(matrix.sum(axis=1).argmax()) if matrix.any() else None,
        figures={name: cells[0] for name, cells in figures.items() if name not in per_category},
        categories=[
            Category(index, {name: figures[name][index] for name in per_category}) for index in range(len(matrix))
        ],
        confusion_matrix=matrix.tolist(),
    )


def left_out(metric: Metric, values: Mapping[str, np.ndarray]) -> str | None:
    """Which categories a mean over categories leaves out, for their value is undefined."""
    name = "recall" if metric.name == "balanced_accuracy" else metric.name.removesuffix("_macro")
    if metric.per == "category" or name not in values or name == metric.name:
        return None
    without = np.flatnonzero(np.isnan(values[name])).tolist()
    return f"without categories {', '.join(map(str, without))}, where it is undefined" if without else None


def _with_spearman(matrix: M, expected: np.ndarray, score: np.ndarray, interval: Interval) -> M:
    """The same, and the correlation of expected categories with the scores (N,), NaN where unknown."""
    unknown = np.isnan(score)
    if unknown.any():
        expected, score = expected[~unknown], score[~unknown]
    few = f"fewer than {metrics.FEWEST} scores are known, or all of them or of the expectations are alike"
    undefined = few if len(score) else "no score is known"
    spearman = figure(metrics.rank_correlation(expected, score), len(score), undefined, interval)
    return replace(matrix, figures={**matrix.figures, "spearman": spearman})


def over_folds(folds: Sequence[Matrix]) -> dict[str, OverFolds]:
    """Mean and standard deviation (n - 1) of every figure over the folds in which it is defined; n says how many."""
    names = list(folds[0].figures) if folds else []
    return {name: _over([fold.figures[name].value for fold in folds]) for name in names}


def _over(values: Sequence[float | None]) -> OverFolds:
    known = [value for value in values if value is not None]
    undefined = len(values) - len(known)
    return OverFolds(
        mean=float(np.mean(known)) if known else None,
        sd=float(np.std(known, ddof=1)) if len(known) > 1 else None,
        n=len(known),
        note=f"undefined in {undefined} of {len(values)} folds" if undefined else None,
    )


def _collapsed(scheme: metrics.Scheme, sums: Sums, edges: Sequence[float], score: np.ndarray) -> Collapsed:
    """The figures of coarser categories, from the same matrix."""
    names = list(scheme.names)
    try:
        group_K = metrics.groups(scheme, edges)
    except ValueError as error:
        return Collapsed(scheme.key, names, groups=None, note=f"undefined: {error}", pooled=None)
    draws = None if sums.matrix_BKK is None else agreement.collapse(sums.matrix_BKK, group_K)
    coarser = Sums(agreement.collapse(sums.matrix_PKK, group_K), sums.calibration_P, draws)
    note = metrics.scheme_note(scheme, None if np.isnan(score).all() else score)
    return Collapsed(scheme.key, names, group_K.tolist(), note, summary(coarser))


def calibration(sums: Sums) -> Calibration:
    """Whether probabilities mean what they say, with intervals where there are draws."""
    by_patient, by_draw, matrix = sums.calibration_P, sums.calibration_B, sums.matrix_PKK.sum(axis=0)
    pooled = CalibrationSums.from_columns(by_patient.columns().sum(axis=0))
    chance = brier_of_frequencies(agreement.true(matrix))
    n = int(matrix.sum())

    def of(form: Callable[[CalibrationSums], np.ndarray]) -> Figure:
        drawn = sums.resampled(form(by_draw) if by_draw else None)
        return figure(float(form(pooled)), n, metrics.NOTHING, drawn)

    return Calibration(
        brier=of(brier),
        brier_of_frequencies=figure(float(chance), n, metrics.NOTHING, CHANCE),
        expected_calibration_error=of(expected_error),
        bins=NUM_BINS,
        reliability=reliability(by_patient),
    )
