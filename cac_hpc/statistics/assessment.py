"""Every number of the report's two levels, each with its n, its interval and why it has none. See docs/report.md.

Calibration is whether probabilities mean what they say. Patients are collapsed to sums first, so that a bootstrap draw
is one row of a matrix product. Axes: B draw, N unit, P patient, K category, J bin of confidence, C column of sums.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from scipy import sparse

from cac_hpc.results.calibration import Bin, Calibration
from cac_hpc.results.figures import Category, Figure
from cac_hpc.results.levels import Collapsed, Level, OtherRule, OverFolds
from cac_hpc.results.matrices import FoldMatrix, Matrix, Pooled
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import agreement, intervals, metrics
from cac_hpc.statistics.agreement import ratio
from cac_hpc.statistics.intervals import Interval
from cac_hpc.statistics.metrics import Metric, RankCorrelation
from cac_hpc.statistics.pooling import Units, num_distinct, patient_units, pooling_rules

FOLD = intervals.none("intervals are those of the pooled figures")
OF_SLICES = intervals.none("a score belongs to a study and not to a slice: see the patient level")
PUBLISHED = intervals.none("a published matrix does not tell which units are of one patient")
CHANCE = intervals.none("to compare with")
UNITS = {
    "mean": "patient, mean probability over the slices",
    "majority": "patient, share of the slices predicted as each category",
    "top_k": "patient, mean of each category's k highest probabilities over the slices",
}
OWN_PART = "slice, category of the part of the score that was counted on it"
OWN_SCORE = "patient, category of the predicted score"
Key = TypeVar("Key", bound=Hashable)
M = TypeVar("M", bound=Matrix)
NUM_BINS = 10  # of equal width; a confidence that is an edge belongs to the bin below it


@dataclass(frozen=True)
class Sums:
    """What a level comes down to: by patient, and by draw, where enough patients were tested to draw from."""

    matrix_PKK: np.ndarray
    calibration_P: CalibrationSums
    matrix_BKK: np.ndarray | None = None
    calibration_B: CalibrationSums | None = None
    spearman_B: np.ndarray | None = None

    @property
    def num_patients(self) -> int:
        return len(self.matrix_PKK)

    @property
    def matrix(self) -> np.ndarray:
        return np.asarray(self.matrix_PKK.sum(axis=0))

    def resampled(self, value: np.ndarray | None) -> Interval:
        """Interval of a figure from its value in every draw, (B,)."""
        few = np.full(1, np.nan)
        return intervals.bootstrap(few if value is None else value, self.num_patients)


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
    return {level.name: _level(level, sums[level.name], edges) for level in tested}


def sums_by_patient(units: Units) -> Sums:
    """What the units come down to, without draws."""
    num_patients, num_categories = units.num_patients, units.num_categories
    cell = (units.patient * num_categories + units.label) * num_categories + units.predicted
    matrix = np.bincount(cell, minlength=num_patients * num_categories**2)
    return Sums(
        matrix.reshape(num_patients, num_categories, num_categories),
        calibration_by_patient(units.label, units.predicted, units.probability, units.patient, num_patients),
    )


def resample(sums: Mapping[Key, Sums], of_patients: Mapping[Key, Units], cfg: ReportConfig) -> dict[Key, Sums]:
    """The same with the draws: everything is resampled by the same patients, so that it can be compared draw by draw.

    Args:
        sums: of levels, or levels of several runs; all of the same patients in the same order.
        of_patients: units of those whose correlation with the score is drawn, too.
    """
    num_patients = next(iter(sums.values())).num_patients
    if num_patients < intervals.FEWEST_PATIENTS:
        return dict(sums)
    columns = [
        np.concatenate([one.matrix_PKK.reshape(num_patients, -1), one.calibration_P.columns()], axis=1)
        for one in sums.values()
    ]
    by_patient = sparse.csc_array(np.concatenate(columns, axis=1).T)  # most patients fill few cells
    correlations = [_correlation(units) for units in of_patients.values()]

    def block(numbers: range) -> tuple[np.ndarray, list[np.ndarray]]:
        weight_BP = intervals.draw(num_patients, numbers, cfg.seed)
        drawn = (by_patient @ np.ascontiguousarray(weight_BP.T)).T
        return drawn, [correlation(weight_BP) for correlation in correlations]

    with ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0)))) as pool:
        drawn, spearman = zip(*pool.map(block, intervals.blocks(cfg.draws)), strict=True)
    parts = np.split(np.concatenate(drawn), len(columns), axis=1)
    known = {key: np.concatenate(blocks) for key, blocks in zip(of_patients, zip(*spearman, strict=True), strict=True)}
    return {key: _drawn(sums[key], part, known.get(key)) for key, part in zip(sums, parts, strict=True)}


def _correlation(units: Units) -> Callable[[np.ndarray], np.ndarray]:
    """From how often each patient is drawn, (B, P), to the correlation of expected category and score, (B,)."""
    known = ~np.isnan(units.score)
    correlation = RankCorrelation(units.expected_category[known], units.score[known])
    patient = units.patient[known]
    each_once = np.array_equal(patient, np.arange(units.num_patients))
    return lambda weight_BP: correlation.of(weight_BP if each_once else np.take(weight_BP, patient, axis=1))


def _drawn(sums: Sums, columns_BC: np.ndarray, spearman_B: np.ndarray | None) -> Sums:
    size = sums.matrix_PKK[0].size
    matrix_BKK = columns_BC[:, :size].reshape(-1, *sums.matrix_PKK.shape[1:])
    calibration_B = CalibrationSums.from_columns(columns_BC[:, size:])
    return Sums(sums.matrix_PKK, sums.calibration_P, matrix_BKK, calibration_B, spearman_B)


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


def figure(value: float, n: int, undefined: str, interval: Interval, note: str | None = None) -> Figure:
    """One number as the report gives it, with the notes of value and interval.

    Args:
        undefined: why there is no value, if it is NaN.
    """
    if np.isnan(value):
        return Figure(value=None, n=n, low=None, high=None, interval=None, note=undefined)
    interval = intervals.around(value, interval)
    notes = "; ".join(filter(None, (note, interval.note))) or None
    return Figure(float(value), n, interval.low, interval.high, interval.method, notes)


def left_out(metric: Metric, values: Mapping[str, np.ndarray]) -> str | None:
    """Which categories a mean over categories leaves out, for their value is undefined."""
    name = "recall" if metric.name == "balanced_accuracy" else metric.name.removesuffix("_macro")
    if metric.per == "category" or name not in values or name == metric.name:
        return None
    without = np.flatnonzero(np.isnan(values[name])).tolist()
    return f"without categories {', '.join(map(str, without))}, where it is undefined" if without else None


def _with_spearman(matrix: M, expected: np.ndarray, score: np.ndarray, interval: Interval) -> M:
    """The same, and the correlation of expected categories with the scores (N,), NaN where unknown."""
    known = ~np.isnan(score)
    expected, score = expected[known], score[known]
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


@dataclass(frozen=True)
class CalibrationSums:
    """What calibration needs of units, summed: (...,) and (..., J)."""

    count: np.ndarray
    squares: np.ndarray  # of the distance from the probabilities to the truth
    bin_count: np.ndarray
    bin_confidence: np.ndarray
    bin_right: np.ndarray

    def columns(self) -> np.ndarray:
        """All of it side by side, (..., 2 + 3 J)."""
        return np.concatenate(
            [self.count[..., None], self.squares[..., None], self.bin_count, self.bin_confidence, self.bin_right], -1
        )

    @classmethod
    def from_columns(cls, columns: np.ndarray) -> CalibrationSums:
        parts = np.split(columns[..., 2:], 3, axis=-1)
        return cls(columns[..., 0], columns[..., 1], *parts)


def calibration_by_patient(
    label_N: np.ndarray, category_N: np.ndarray, probability_NK: np.ndarray, patient_N: np.ndarray, num_patients: int
) -> CalibrationSums:
    """CalibrationSums over the units of each patient, (P,) and (P, J).

    Args:
        category_N: as predicted; confidence is its probability, the highest one where a model predicts that.
    """
    rows = np.arange(len(label_N))
    of_label = probability_NK[rows, label_N].astype(float)
    squares = np.einsum("nk,nk->n", probability_NK, probability_NK, dtype=float) - 2 * of_label + 1
    confidence = probability_NK[rows, category_N].astype(float)
    cell = patient_N * NUM_BINS + bins(confidence)

    def by_bin(weight: np.ndarray | None) -> np.ndarray:
        counted = np.bincount(cell, weight, num_patients * NUM_BINS)
        return counted.reshape(num_patients, NUM_BINS).astype(float)

    return CalibrationSums(
        np.bincount(patient_N, minlength=num_patients).astype(float),
        np.bincount(patient_N, squares, num_patients),
        by_bin(None),
        by_bin(confidence),
        by_bin(category_N == label_N),
    )


def bins(confidence_N: np.ndarray) -> np.ndarray:
    """The bin of each confidence, from 0."""
    return np.asarray(np.clip(np.ceil(confidence_N * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1))


def brier(sums: CalibrationSums) -> np.ndarray:
    """Mean over the units of sum_k (p_k - y_k)^2: 0 is best, 2 is worst. Source: Brier 1950, all categories."""
    return ratio(sums.squares, sums.count)


def brier_of_frequencies(true_K: np.ndarray) -> np.ndarray:
    """Brier score of always giving the true frequencies of the categories: chance, from counts (..., K)."""
    share = ratio(true_K, true_K.sum(axis=-1, keepdims=True))
    return np.asarray(1 - (share**2).sum(axis=-1))


def expected_error(sums: CalibrationSums) -> np.ndarray:
    """Expected calibration error: distance of accuracy from confidence, averaged over the bins by their units.

    Confidence is the probability of the predicted category. Source: Guo et al. 2017, ICML; ten bins of equal width.
    """
    return ratio(np.abs(sums.bin_right - sums.bin_confidence).sum(axis=-1), sums.count)


def reliability(by_patient: CalibrationSums) -> list[Bin]:
    """Of each bin its edges, units, mean confidence, and accuracy with an interval."""
    found = []
    for index in range(NUM_BINS):
        count, right = by_patient.bin_count[:, index], by_patient.bin_right[:, index]
        n, interval = int(count.sum()), intervals.proportion(right, count)
        confidence = float(by_patient.bin_confidence[:, index].sum() / n) if n else None
        accuracy = float(right.sum() / n) if n else None
        above, up_to = index / NUM_BINS, (index + 1) / NUM_BINS
        shown = (interval.low, interval.high, interval.method, interval.note)
        found.append(Bin(above, up_to, n, confidence, accuracy, *shown))
    return found
