"""Two finished runs of the same patients: every figure of both, and the difference in the same draws of patients.

Runs are compared only if they tested the same patients with the same labels. The values are
those of the two reports; differences are the other run's less the reference's. See docs/comparing.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cac_hpc.evaluation import pairing, report_json
from cac_hpc.evaluation.pairing import Finished
from cac_hpc.results.calibration import Calibration
from cac_hpc.results.comparison import Compared, ComparedLevel, ComparedRun, Comparison, PairedTest, Roles
from cac_hpc.results.figures import Category, Difference, Figure
from cac_hpc.results.levels import Level
from cac_hpc.results.matrices import Pooled
from cac_hpc.run import looks
from cac_hpc.settings import config
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import agreement, assessment, calibration, intervals, metrics, resampling
from cac_hpc.statistics.intervals import Interval
from cac_hpc.statistics.pooling import Units
from cac_hpc.statistics.resampling import Sums

UNKNOWN = intervals.none("this version of cac_hpc does not know the figure")
LEVELS = ("slice", "patient")
ROLES = ("reference", "other")
CALIBRATION = ("brier", "expected_calibration_error")
Name = tuple[str, int | None]  # of a figure, and its category, None where it is of all


def compare_all(runs: Sequence[Path]) -> list[Comparison]:
    """Compare the first run with each of the others, however their patients were divided into folds.

    Raises: InputError naming what is missing, or where the runs are not of the same patients and labels.
    """
    reference, *others = pairing.read(runs)
    found = []
    for run, other in zip(runs[1:], others, strict=True):
        with report_json.sound(runs[0], run):
            found.append(compare(reference, other))
    return found


@dataclass(frozen=True)
class Read:
    """All figures of a reader by level, and it compared with the model; compared: None of the model itself."""

    pooled: dict[str, Pooled]
    compared: Compared | None


def compare_readers(said: Mapping[str, Mapping[str, Units]], model: str, cfg: ReportConfig) -> dict[str, Read]:
    """Compare several predictions of the same patients with one of them, in the same draws.

    Args:
        said: by reader and level, of the same patients in the same order. model: the other of every comparison.
    """
    levels_of = [level for level in LEVELS if level in said[model]]
    sums = {
        (key, level): resampling.sums_by_patient(units[level]) for key, units in said.items() for level in levels_of
    }
    sums = resampling.resample(sums, {}, cfg)
    pooled = {at: assessment.summary(one) for at, one in sums.items()}
    found = {}
    for key in said:
        levels = {}
        for level in levels_of:
            pair = [(at, level) for at in (key, model)]
            levels[level] = _level(level, [(pooled[at], None) for at in pair], [sums[at] for at in pair])
        compared = Compared(levels, sign_test(*(sums[at, "patient"].matrix_PKK for at in (key, model))))
        found[key] = Read({level: pooled[key, level] for level in levels_of}, None if key == model else compared)
    return found


def compare_units(reference: Mapping[str, Units], other: Mapping[str, Units], cfg: ReportConfig) -> Compared:
    """Compare two predictions of the same units: every figure of a confusion matrix, and its difference.

    Args:
        reference, other: by level, of the same patients in the same order.
    """
    found = compare_readers({ROLES[0]: reference, ROLES[1]: other}, ROLES[1], cfg)
    one, two = (found[role].pooled for role in ROLES)
    compared = found[ROLES[0]].compared
    assert compared
    levels = {level: replace(of, matrices=Roles(one[level], two[level])) for level, of in compared.levels.items()}
    return replace(compared, levels=levels)


def compare(reference: Finished, other: Finished) -> Comparison:
    """Compare two finished runs.

    Raises: InputError where they are not of the same patients and labels.
    """
    other = pairing.align(reference, other)
    pair, cfg = (reference, other), reference.statistics
    units = [assessment.units_of(run.tested()) for run in pair]
    sums = {(at, level): resampling.sums_by_patient(units[at][level]) for at in (0, 1) for level in LEVELS}
    sums = resampling.resample(sums, {(at, "patient"): units[at]["patient"] for at in (0, 1)}, cfg)
    levels = {}
    for level in LEVELS:
        reported = [run.report.levels[level] for run in pair]
        results = [(one.pooled, _calibrated(one)) for one in reported]
        levels[level] = _level(reported[0].unit, results, [sums[at, level] for at in (0, 1)])
    return Comparison(
        reference=_facts(reference),
        other=_facts(other),
        status="COMPLETE" if all(run.report.status == "COMPLETE" for run in pair) else "PARTIAL",
        patients=units[0]["slice"].num_patients,
        warnings=[line for run in pair for line in _leaks(run)],
        notes=list(_notes(reference, other)),
        settings=config.differences(reference.report.settings, other.report.settings),
        statistics=reference.report.statistics,
        levels=levels,
        sign_test=sign_test(*(sums[at, "patient"].matrix_PKK for at in (0, 1))),
    )


def _calibrated(level: Level) -> Calibration | None:
    return level.calibration if isinstance(level.calibration, Calibration) else None


def _facts(run: Finished) -> ComparedRun:
    report = run.report
    assert report.digests
    return ComparedRun(run.name, report.title, report.status, report.folds_found, report.digests, run.split_by_slice)


def _leaks(run: Finished) -> Iterator[str]:
    if run.split_by_slice:
        yield f"LEAKS: {run.name} was split by slice: slices of one patient are in its training and test parts"
    if run.chose_on_test:
        yield f"LEAKS: {run.name} chose its settings by the test patients, whose figures are too high for it"


def _notes(reference: Finished, other: Finished) -> Iterator[str]:
    """What the runs do not share, and what had been seen before they were set up."""
    for run in (reference, other):
        if before := run.report.shown_before:
            yield looks.told(before.times, before.runs, f"the configuration of {run.name}")
    if set(reference.studies.index) != set(other.studies.index):
        yield "the runs tested the same patients, but not by the same studies"
    elif not reference.slice_counts().equals(other.slice_counts()):
        yield "the runs tested the same patients, but not by the same slices of them"
    if reference.divided() != other.divided():
        yield "the patients were divided into other folds: part of every difference comes from that"
    if "score" in reference.studies and "score" in other.studies:
        scores = [run.studies["score"].reindex(reference.studies.index) for run in (reference, other)]
        if not scores[0].equals(scores[1]):
            yield "the runs have other scores of the same categories: spearman is with those of each run"


def _level(unit: str, results: Sequence[tuple[Pooled, Calibration | None]], sums: Sequence[Sums]) -> ComparedLevel:
    """Every figure that both have, and its difference; a report made before a metric was added has fewer."""
    drawn, left_out = [_drawn(one) for one in sums], [_left_out(one.matrix) for one in sums]
    of_all: dict[str, Difference] = {}
    categories: list[Category[Difference]] = [Category(number, {}) for number in range(len(sums[0].matrix))]
    one, other = (_figures(*each) for each in results)
    for (name, category), figure in one.items():
        if (name, category) in other:
            interval = _interval(name, category or 0, drawn, sums[0].num_patients)
            pair = (figure, other[name, category])
            figures = of_all if category is None else categories[category].figures
            figures[name] = _difference(pair, interval, [each.get(name) for each in left_out])
    return ComparedLevel(
        unit=unit,
        n=Roles(*(pooled.n for pooled, _ in results)),
        figures=of_all,
        categories=categories,
    )


def _figures(pooled: Pooled, calibrated: Calibration | None) -> dict[Name, Figure]:
    known = {name: calibrated.figures[name] for name in CALIBRATION} if calibrated else {}
    of_all = {(name, None): figure for name, figure in (pooled.figures | known).items()}
    return of_all | {
        (name, category.category): figure for category in pooled.categories for name, figure in category.figures.items()
    }


def _drawn(sums: Sums) -> dict[str, np.ndarray]:
    """Every figure in every draw, (B, 1) or (B, K); empty where there are too few patients to draw from."""
    if sums.matrix_BKK is None or sums.calibration_B is None:
        return {}
    others = {
        "brier": calibration.brier(sums.calibration_B),
        "expected_calibration_error": calibration.expected_error(sums.calibration_B),
        **({} if sums.spearman_B is None else {"spearman": sums.spearman_B}),
    }
    of_matrix = metrics.drawn(sums.matrix_BKK, sums.matrix)
    return of_matrix | {name: value_B[:, None] for name, value_B in others.items()}


def _interval(name: str, index: int, drawn: Sequence[Mapping[str, np.ndarray]], num_patients: int) -> Interval:
    """Of the difference, from both values in every draw."""
    if num_patients < intervals.FEWEST_PATIENTS:
        return intervals.bootstrap(np.full(1, np.nan), num_patients)
    if name == "spearman" and name not in drawn[0]:
        return assessment.OF_SLICES
    if name not in drawn[0]:
        return UNKNOWN
    one, other = (of_run[name][:, index] for of_run in drawn)
    return intervals.bootstrap(other - one, num_patients)


def _left_out(matrix: np.ndarray) -> dict[str, str]:
    """By figure, the categories that it leaves out."""
    values = {metric.name: metric.of(matrix) for metric in metrics.METRICS if metric.per == "category"}
    found = {metric.name: assessment.left_out(metric, values) for metric in metrics.METRICS}
    return {name: text for name, text in found.items() if text}


def _difference(figures: Sequence[Figure], interval: Interval, left_out: Sequence[str | None]) -> Difference:
    """Both values, the other's less the reference's, and its interval; undefined where one of them is."""
    one, other = (figure.value for figure in figures)
    if one is None or other is None:
        undefined = [f"{role}: {of.note}" for role, of in zip(ROLES, figures, strict=True) if of.value is None]
        return Difference(one, other, None, None, None, None, note="; ".join(undefined))
    interval = intervals.around(other - one, interval)
    without = [f"{role}: {text}" for role, text in zip(ROLES, left_out, strict=True) if text]
    note = "; ".join([*without, *filter(None, [interval.note])]) or None
    return Difference(one, other, float(other - one), interval.low, interval.high, interval.method, note)


def sign_test(reference_PKK: np.ndarray, other_PKK: np.ndarray) -> PairedTest:
    """Whether more patients are right in one run than in the other, exactly; who is right as often in both is left out.

    Where each patient was tested once this is McNemar's test in its exact form; where tests were repeated, a patient
    speaks for the run with the larger share of right ones.

    Args:
        reference_PKK, other_PKK: confusion matrix of each patient's tests.
    Source: McNemar 1947; Dixon and Mood 1946; scipy.stats.binomtest, two-sided.
    """
    (right, count), (other_right, other_count) = (
        (agreement.right(matrix).sum(axis=-1), agreement.total(matrix)) for matrix in (reference_PKK, other_PKK)
    )
    gained, lost = other_right * count > right * other_count, other_right * count < right * other_count
    better, worse = int(gained.sum()), int(lost.sum())
    once = bool((count == 1).all() and (other_count == 1).all())
    return PairedTest(
        test="exact McNemar test" if once else "exact sign test of each patient's share of right tests",
        unit="patients",
        other_better=better,
        reference_better=worse,
        equal=len(count) - better - worse,
        p_value=metrics.fair_coin(better, worse),
        note=None if better + worse else "no patient is right more often in one run than in the other",
    )
