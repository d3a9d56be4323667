"""Two finished runs of the same patients: every figure of both, and the difference in the same draws of patients.

Runs are compared only if they tested the same patients with the same labels. The values are
those of the two reports; differences are the other run's less the reference's. See docs/comparing.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.dataset import sealed
from cac_hpc.evaluation import report_json
from cac_hpc.run import config, digests, settings
from cac_hpc.run.config import InputError, ReportConfig
from cac_hpc.run.paths import RunPaths
from cac_hpc.statistics import agreement, assessment, intervals, metrics, results
from cac_hpc.statistics.assessment import Sums
from cac_hpc.statistics.intervals import Interval
from cac_hpc.statistics.results import (
    FORMAT_VERSION,
    Calibration,
    Category,
    CategoryRange,
    Compared,
    ComparedLevel,
    ComparedRun,
    Comparison,
    Difference,
    Figure,
    PairedTest,
    Pooled,
    Report,
    Roles,
)
from cac_hpc.statistics.units import Units, slice_units
from cac_hpc.train import predictions
from cac_hpc.train.predictions import Predictions

UNKNOWN = intervals.none("this version of cac_hpc does not know the figure")
LEVELS = ("slice", "patient")
ROLES = ("reference", "other")
CALIBRATION = ("brier", "expected_calibration_error")
Name = tuple[str, int | None]  # of a figure, and its category, None where it is of all
NAMED = 5  # studies that a message names
ARCHIVED = (
    "found a report without its run, wanted the run folder: an archive of a report has no studies.csv, which says "
    "whose slices are whose"
)


def compare_all(runs: Sequence[Path]) -> list[Comparison]:
    """Compare the first run with each of the others, however their patients were divided into folds.

    Raises: InputError naming what is missing, or where the runs are not of the same patients and labels.
    """
    reference, *others = read(runs)
    found = []
    for run, other in zip(runs[1:], others, strict=True):
        with report_json.sound(runs[0], run):
            found.append(compare(reference, other))
    return found


def compare_units(reference: Mapping[str, Units], other: Mapping[str, Units], cfg: ReportConfig) -> Compared:
    """Compare two predictions of the same units: every figure of a confusion matrix, and its difference.

    Args:
        reference, other: by level, of the same patients in the same order.
    """
    sums = _resampled((reference, other), cfg, correlations=False)
    levels = {}
    for level in LEVELS:
        mine = [sums[at, level] for at in (0, 1)]
        one, two = (assessment.summary(each) for each in mine)
        levels[level] = replace(_level(level, [(one, None), (two, None)], mine), matrices=Roles(one, two))
    return Compared(levels, sign_test(*(sums[at, "patient"].matrix_PKK for at in (0, 1))))


def _resampled(
    pair: Sequence[Mapping[str, Units]], cfg: ReportConfig, correlations: bool = True
) -> dict[tuple[int, str], Sums]:
    """What both come down to, in the same draws of patients.

    Args:
        correlations: whether those of patients with their scores are drawn, too.
    """
    sums = {(at, level): assessment.sums_by_patient(pair[at][level]) for at in (0, 1) for level in LEVELS}
    of_patients = {(at, "patient"): pair[at]["patient"] for at in (0, 1) if correlations}
    return assessment.resample(sums, of_patients, cfg)


def compare(reference: Finished, other: Finished) -> Comparison:
    """Compare two finished runs.

    Raises: InputError where they are not of the same patients and labels.
    """
    other = align(reference, other)
    pair, cfg = (reference, other), reference.statistics
    units = [assessment.units_by_level(run.slices(), cfg) for run in pair]
    sums = _resampled(units, cfg)
    levels = {}
    for level in LEVELS:
        reported = [run.report.levels[level] for run in pair]
        results = [(one.pooled, one.calibration) for one in reported]
        levels[level] = _level(reported[0].unit, results, [sums[at, level] for at in (0, 1)])
    return Comparison(
        reference=_facts(reference),
        other=_facts(other),
        status="COMPLETE" if all(run.report.status == "COMPLETE" for run in pair) else "PARTIAL",
        patients=units[0]["slice"].num_patients,
        warnings=[
            f"LEAKS: {run.name} was split by slice: slices of one patient are in its training and test parts"
            for run in pair
            if run.split_by_slice
        ],
        notes=list(_notes(reference, other)),
        settings=config.differences(reference.report.settings, other.report.settings),
        statistics=reference.report.statistics,
        levels=levels,
        sign_test=sign_test(*(sums[at, "patient"].matrix_PKK for at in (0, 1))),
    )


def _facts(run: Finished) -> ComparedRun:
    report = run.report
    return ComparedRun(run.name, report.title, report.status, report.folds_found, report.digests, run.split_by_slice)


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
        "brier": assessment.brier(sums.calibration_B),
        "expected_calibration_error": assessment.expected_error(sums.calibration_B),
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


@dataclass(frozen=True)
class Finished:
    """A run with its report."""

    name: str  # of its folder
    report: Report
    studies: pd.DataFrame  # that were tested, indexed by study: patient, category, slices and, where it is known, score
    predictions: dict[int, Predictions]  # that the report was made from, by fold

    @property
    def split_by_slice(self) -> bool:
        return self.report.split.unit == "slice"

    @property
    def rule(self) -> str:
        """From slices to a patient."""
        statistics = self.report.statistics
        of = f" of {statistics.top_k} slices" if statistics.patient_rule == "top_k" else ""
        return f"{statistics.patient_rule}{of}"

    @property
    def statistics(self) -> ReportConfig:
        """How the report counted."""
        keys = ("patient_rule", "top_k", "draws", "seed")
        return ReportConfig(**{key: getattr(self.report.statistics, key) for key in keys})

    def slices(self) -> Units:
        return slice_units(self.predictions, self.studies.reset_index(), len(self.report.categories))

    def slice_counts(self) -> pd.Series:
        """How many slices of each study were tested, those tested twice counted twice."""
        counts = [pd.Series(np.bincount(one.study), one.studies) for one in self.predictions.values()]
        total: pd.Series = pd.concat(counts).groupby(level=0).sum()
        return total

    def divided(self) -> set[tuple[int, str]]:
        """Which fold tested which study."""
        return {(fold, study) for fold, one in self.predictions.items() for study in one.studies.tolist()}


def read(runs: Sequence[Path]) -> list[Finished]:
    """Read finished runs, named by their folders, and the folders above where names are the same.

    Raises: InputError naming the file that is missing, or not the one that the report was made from.
    """
    roots = [run.resolve() for run in runs]
    if len(set(roots)) < len(roots):
        raise InputError(f"{runs[-1]}: found one run twice, wanted different runs")
    found = []
    for run, root in zip(runs, roots, strict=True):
        with report_json.sound(run):
            found.append(_read(run, _name(root, set(roots) - {root})))
    return found


def _name(root: Path, others: set[Path]) -> str:
    """The end of the path that no other has."""
    ends = (root.parts[at:] for at in reversed(range(len(root.parts))))
    return "/".join(next(end for end in ends if all(other.parts[-len(end) :] != end for other in others)))


def _read(root: Path, name: str) -> Finished:
    run = RunPaths(root)
    archived = run.root.is_file() or run.report_json.is_file()
    if archived and not run.config.is_file():
        raise InputError(f"{run.root}: {ARCHIVED}")
    content, again = report_json.read(settings.run_folder(str(run.root))), report_json.remake(run.root)
    if version := report_json.other_version(content):
        raise InputError(f"{run.report_json}: found {version}, wanted {FORMAT_VERSION}; {again} makes it again")
    report = results.from_json(content, Report)
    found = {}
    for facts in report.training:
        path = run.fold(int(facts["fold"])).predictions
        if not path.is_file() or digests.file_sha256(path) != facts.get("predictions_sha256"):
            state = "not the predictions that the report was made from" if path.is_file() else "not there any more"
            raise InputError(f"{path}: {state}; {again} makes the report again")
        found[int(facts["fold"])] = predictions.read_predictions(path, facts["fold"], len(report.categories))
    there = sorted({study for one in found.values() for study in one.studies.tolist()})
    if not there:
        raise InputError(f"{run.root}: its report is of no patient, wanted a run that tested some")
    dataset = run.dataset(settings.load(run.config).data.packed_dir)
    if not dataset.studies.is_file():
        raise InputError(
            f"{dataset.studies}: not there, wanted the studies of the dataset that {run.root} was made from"
        )
    if digests.file_sha256(dataset.studies) != report.digests.studies_sha256:
        raise InputError(f"{dataset.studies}: not the studies that the report of {run.root} was made from; run it anew")
    return Finished(name, report, sealed.read_studies(dataset).set_index("study").loc[there], found)


def align(one: Finished, other: Finished) -> Finished:
    """The other run with its patients named as in the first one; they are found by the studies that both tested, for
    numbers of patients mean nothing outside their sheet.

    Raises: InputError naming where categories, rule, patients or labels are not the same.
    """
    _check_counting(one, other)
    links = pd.DataFrame({"one": one.studies["patient"], "other": other.studies["patient"]}).dropna().drop_duplicates()
    _check_owners(one, other, links)
    _check_patients(one, other, links)
    named = other.studies.assign(patient=other.studies["patient"].map(links.set_index("other")["one"]))
    _check_labels(one, other, "study", one.studies["category"], named["category"])
    first = _first_study(one.studies).to_dict()
    highest = [table.groupby("patient")["category"].max().rename(index=first) for table in (one.studies, named)]
    _check_labels(one, other, "patient of study", *highest)
    return replace(other, studies=named)


def _check_counting(one: Finished, other: Finished) -> None:
    """Categories and rule from slices to patients."""
    texts = [_categories(run.report.categories) for run in (one, other)]
    if texts[0] != texts[1]:
        raise InputError(f"{other.name}: found the categories {texts[1]}, wanted those of {one.name}: {texts[0]}")
    if one.rule != other.rule:
        raise InputError(
            f"{other.name}: found report.patient_rule {other.rule}, wanted that of {one.name}: {one.rule}; "
            "a run of the same folds under the same rule can be compared"
        )


def _categories(categories: Sequence[CategoryRange]) -> str:
    edges = [f"{category.score_up_to:g}" for category in categories[:-1]]
    return f"{', '.join(category.name for category in categories)} (labels.edges {', '.join(edges)})"


def _check_owners(one: Finished, other: Finished, links: pd.DataFrame) -> None:
    """No patient of a run is several patients of the other."""
    for run, unlike, column in ((one, other, "one"), (other, one, "other")):
        several = links.loc[links[column].duplicated(), column]
        if len(several):
            studies = run.studies.index[run.studies["patient"] == several.iloc[0]]
            shared = [repr(study) for study in studies if study in unlike.studies.index]
            raise InputError(
                f"studies {_some(shared)} are of one patient in {run.name} and of several in {unlike.name}; wanted "
                "runs of the same patients (labels.patient_column)"
            )


def _check_patients(one: Finished, other: Finished, links: pd.DataFrame) -> None:
    """Each tested every patient of the other."""
    lines = []
    for run, lacking, column in ((one, other, "one"), (other, one, "other")):
        if alone := _first_study(run.studies[~run.studies["patient"].isin(links[column])]).map(repr).tolist():
            partial = "" if lacking.report.status == "COMPLETE" else f", which is {lacking.report.status},"
            lines.append(f"{lacking.name}{partial} has not tested the patients of {run.name} with study {_some(alone)}")
    if lines:
        raise InputError(f"{'; '.join(lines)}; wanted runs that tested the same patients")


def _first_study(studies: pd.DataFrame) -> pd.Series:
    """Of each patient the first study number."""
    return studies.reset_index().groupby("patient")["study"].min()


def _check_labels(one: Finished, other: Finished, what: str, label: pd.Series, other_label: pd.Series) -> None:
    """The same categories, where both have one."""
    both = pd.DataFrame({"one": label, "other": other_label}).dropna().astype(int)
    unequal = both[both["one"] != both["other"]]
    if len(unequal):
        found = [f"{row.Index!r} ({row.one}, {row.other})" for row in unequal.itertuples()]
        raise InputError(
            f"found other categories in {one.name} than in {other.name}: {what} {_some(found)}; wanted runs of the "
            "same labels"
        )


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more
