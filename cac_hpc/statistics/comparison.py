"""Two finished runs of the same patients: every figure of both, and the difference in the same draws of patients.

docs/comparing.md. The values are those of the two reports; differences are the other run's less the reference's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cac_hpc.run import config
from cac_hpc.run.config import ReportConfig
from cac_hpc.run.paths import RunPaths
from cac_hpc.statistics import agreement, assessment, calibration, intervals, metrics, pairing, report_json
from cac_hpc.statistics.assessment import Sums
from cac_hpc.statistics.intervals import Interval
from cac_hpc.statistics.pairing import Finished
from cac_hpc.statistics.tested import Tested

UNKNOWN = intervals.none("this version of cac_hpc does not know the figure")
LEVELS = ("slice", "patient")
ROLES = ("reference", "other")
CALIBRATION = ("brier", "expected_calibration_error")
Units = Mapping[str, Tested]  # by level
Name = tuple[str, int | None]  # of a figure, and its category, None where it is of all


def compare(reference: RunPaths, other: RunPaths) -> dict[str, Any]:
    """Compare a run with another one that tested the same patients, however they were divided into folds.

    Returns: plain values; what is undefined is None with a note.
    Raises: InputError naming what is missing, or where the runs are not of the same patients and labels.
    """
    return compare_all([reference, other])[0]


def compare_all(runs: Sequence[RunPaths]) -> list[dict[str, Any]]:
    """Compare the first run with each of the others."""
    reference, *others = pairing.read(runs)
    found = []
    for run, other in zip(runs[1:], others, strict=True):
        with report_json.sound(runs[0], run):
            found.append(_compare(reference, pairing.align(reference, other)))
    return found


def compare_with(reference: RunPaths, other: Finished) -> dict[str, Any]:
    """The same with a run whose report is being made."""
    (read,) = pairing.read([reference])
    with report_json.sound(reference):
        return _compare(read, pairing.align(read, other))


def compare_units(reference: Units, other: Units, cfg: ReportConfig) -> dict[str, Any]:
    """Compare two predictions of the same units: every figure of a confusion matrix, and its difference.

    Args:
        reference, other: by level, of the same patients in the same order.
    Returns: plain values: levels, each with both matrices and their figures (`assessment.summary`), and sign_test.
    """
    sums = _resampled((reference, other), cfg, correlations=False)
    levels = {}
    for level in LEVELS:
        mine = [sums[at, level] for at in (0, 1)]
        summaries = [assessment.summary(one) for one in mine]
        levels[level] = _level([{"unit": level, "pooled": one} for one in summaries], mine) | {
            "matrices": dict(zip(ROLES, summaries, strict=True))
        }
    return {"levels": levels, "sign_test": sign_test(*(sums[at, "patient"].matrix_PKK for at in (0, 1)))}


def _resampled(pair: Sequence[Units], cfg: ReportConfig, correlations: bool = True) -> dict[tuple[int, str], Sums]:
    """What both come down to, in the same draws of patients.

    Args:
        correlations: whether those of patients with their scores are drawn, too.
    """
    sums = {(at, level): assessment.sums_by_patient(pair[at][level]) for at in (0, 1) for level in LEVELS}
    of_patients = {(at, "patient"): pair[at]["patient"] for at in (0, 1) if correlations}
    return assessment.resample(sums, of_patients, cfg)


def _compare(reference: Finished, other: Finished) -> dict[str, Any]:
    pair, cfg = (reference, other), reference.statistics
    units = [assessment.units_by_level(run.slices(), cfg) for run in pair]
    sums = _resampled(units, cfg)
    complete = all(run.summary["status"] == "COMPLETE" for run in pair)
    return {
        "reference": _facts(reference),
        "other": _facts(other),
        "status": "COMPLETE" if complete else "PARTIAL",
        "patients": units[0]["slice"].num_patients,
        "warnings": [
            f"LEAKS: {run.name} was split by slice: slices of one patient are in its training and test parts"
            for run in pair
            if run.split_by_slice
        ],
        "notes": list(_notes(reference, other)),
        "settings": config.differences(reference.summary["settings"], other.summary["settings"]),
        "statistics": reference.summary["statistics"],
        "levels": {
            level: _level([run.summary["levels"][level] for run in pair], [sums[at, level] for at in (0, 1)])
            for level in LEVELS
        },
        "sign_test": sign_test(*(sums[at, "patient"].matrix_PKK for at in (0, 1))),
    }


def _facts(run: Finished) -> dict[str, Any]:
    shown = {key: run.summary[key] for key in ("title", "status", "folds_found", "digests")}
    return {"run": run.name, **shown, "split_by_slice": run.split_by_slice}


def _notes(reference: Finished, other: Finished) -> Iterator[str]:
    """What the runs do not share."""
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


def _level(results: Sequence[Mapping[str, Any]], sums: Sequence[Sums]) -> dict[str, Any]:
    drawn = [_drawn(one) for one in sums]
    left_out = [_left_out(one.matrix) for one in sums]
    found: dict[int | None, dict[str, Any]] = {None: {}} | {number: {} for number in range(len(sums[0].matrix))}
    for (name, category), *figures in _both(*results):
        interval = _interval(name, category or 0, drawn, sums[0].num_patients)
        found[category][name] = _difference(figures, interval, [one.get(name) for one in left_out])
    of_all = found.pop(None)
    return {
        "unit": results[0]["unit"],
        "n": dict(zip(ROLES, (one["pooled"]["n"] for one in results), strict=True)),
        "figures": of_all,
        "categories": [{"category": number, **figures} for number, figures in found.items()],
    }


def _both(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[tuple[Name, Mapping[str, Any], Mapping[str, Any]]]:
    """Every figure that both reports give; one made before a metric was added has fewer."""
    figures, other_figures = _figures(one), _figures(other)
    for name, figure in figures.items():
        if name in other_figures:
            yield name, figure, other_figures[name]


def _figures(results: Mapping[str, Any]) -> dict[Name, Mapping[str, Any]]:
    pooled = results["pooled"]
    of_all = pooled["figures"] | {
        name: results["calibration"][name] for name in CALIBRATION if "calibration" in results
    }
    return {(name, None): figure for name, figure in of_all.items()} | {
        (name, category["category"]): figure
        for category in pooled["categories"]
        for name, figure in category.items()
        if name != "category"
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
    of_matrix = metrics.drawn(sums.matrix_BKK, agreement.true(sums.matrix) > 0)
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
    values = metrics.values(matrix)
    found = {metric.name: assessment.left_out(metric, values) for metric in metrics.METRICS}
    return {name: text for name, text in found.items() if text}


def _difference(
    figures: Sequence[Mapping[str, Any]], interval: Interval, left_out: Sequence[str | None]
) -> dict[str, Any]:
    """Both values, the other's less the reference's, and its interval; undefined where one of them is."""
    values = [figure["value"] for figure in figures]
    undefined = {role: figure["note"] for role, figure in zip(ROLES, figures, strict=True) if figure["value"] is None}
    shown = dict(zip(ROLES, values, strict=True))
    if undefined:
        note = "; ".join(f"{role}: {reason}" for role, reason in undefined.items())
        return {**shown, "difference": None, "low": None, "high": None, "interval": None, "note": note}
    difference = values[1] - values[0]
    interval = intervals.around(difference, interval)
    without = [f"{role}: {text}" for role, text in zip(ROLES, left_out, strict=True) if text]
    return {
        **shown,
        "difference": float(difference),
        "low": interval.low,
        "high": interval.high,
        "interval": interval.method,
        "note": "; ".join([*without, *filter(None, [interval.note])]) or None,
    }


def sign_test(reference_PKK: np.ndarray, other_PKK: np.ndarray) -> dict[str, Any]:
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
    return {
        "test": "exact McNemar test" if once else "exact sign test of each patient's share of right tests",
        "unit": "patients",
        "other_better": better,
        "reference_better": worse,
        "equal": len(count) - better - worse,
        "p_value": metrics.fair_coin(better, worse),
        "note": None if better + worse else "no patient is right more often in one run than in the other",
    }
