"""Finished runs that are to be compared: what each tested, and that it is the same patients with the same labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.dataset import sealed
from cac_hpc.evaluation import report_json
from cac_hpc.evaluation.outcome import Outcome, predicts_scores
from cac_hpc.results.cohort import CategoryRange
from cac_hpc.results.report import FORMAT_VERSION, Report
from cac_hpc.results.serialization import from_json
from cac_hpc.run import digests
from cac_hpc.run.paths import FoldPaths, RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics.assessment import Tested
from cac_hpc.train import lesion_results, predictions

NAMED = 5  # studies that a message names
ARCHIVED = (
    "found a report without its run, wanted the run folder: an archive of a report has no studies.csv, which says "
    "whose slices are whose"
)


@dataclass(frozen=True)
class Finished:
    """A run with its report."""

    name: str  # of its folder
    report: Report
    studies: pd.DataFrame  # that were tested, indexed by study: patient, category, slices and, where it is known, score
    outcome: Outcome  # that the report was made from

    @property
    def split_by_slice(self) -> bool:
        return self.report.split is not None and self.report.split.unit == "slice"

    @property
    def chose_on_test(self) -> bool:
        return self.report.trials is not None and self.report.trials.select_on == "test"

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

    def tested(self) -> list[Tested]:
        """The levels of evaluation."""
        edges = [one.score_up_to for one in self.report.categories if one.score_up_to is not None]
        return self.outcome.tested(self.studies.reset_index(), edges, self.statistics)

    def slice_counts(self) -> pd.Series:
        """How many slices of each study were tested, those tested twice counted twice."""
        counts = [pd.Series(np.bincount(one.study), one.studies) for one in self.outcome.predictions.values()]
        total: pd.Series = pd.concat(counts).groupby(level=0).sum()
        return total

    def divided(self) -> set[tuple[int, str]]:
        """Which fold tested which study."""
        return {(fold, study) for fold, one in self.outcome.predictions.items() for study in one.studies.tolist()}


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
    content, again = report_json.read(stored_settings.run_folder(str(run.root))), report_json.remake(run.root)
    if version := report_json.other_version(content):
        raise InputError(f"{run.report_json}: found {version}, wanted {FORMAT_VERSION}; {again} makes it again")
    report = from_json(content, Report)
    outcome = _read_outcome(run.fold, report, again)
    there = sorted(outcome.studies)
    if not there:
        raise InputError(f"{run.root}: its report is of no patient, wanted a run that tested some")
    dataset = run.dataset(stored_settings.load(run.config).data.packed_dir)
    if not dataset.studies.is_file():
        raise InputError(
            f"{dataset.studies}: not there, wanted the studies of the dataset that {run.root} was made from"
        )
    if report.digests is None or digests.file_sha256(dataset.studies) != report.digests.studies_sha256:
        raise InputError(f"{dataset.studies}: not the studies that the report of {run.root} was made from; run it anew")
    return Finished(name, report, sealed.read_studies(dataset).set_index("study").loc[there], outcome)


def _read_outcome(files_of: Callable[[int], FoldPaths], report: Report, again: str) -> Outcome:
    """What the report was made from, by fold."""
    found, of_studies, num_categories = {}, {}, len(report.categories)
    for facts in report.training:
        files = files_of(fold := int(facts["fold"]))
        _check_kept(files.predictions, facts.get("predictions_sha256"), again)
        found[fold] = predictions.read_predictions(files.predictions, fold, num_categories)
        if predicts_scores(report.settings):
            written = facts.get("tables_sha256")
            _check_kept(files.scores, written.get(files.scores.name) if isinstance(written, dict) else None, again)
            of_studies[fold] = lesion_results.read_scores(files.scores, fold, num_categories)
    return Outcome(found, of_studies if predicts_scores(report.settings) else None)


def _check_kept(path: Path, sha256: object, again: str) -> None:
    """A file is as it was when the report was made."""
    if not path.is_file() or digests.file_sha256(path) != sha256:
        state = "not the predictions that the report was made from" if path.is_file() else "not there any more"
        raise InputError(f"{path}: {state}; {again} makes the report again")


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
    """Categories, and the rule from slices to patients, which a model that predicts scores has no use for."""
    texts = [_categories(run.report.categories) for run in (one, other)]
    if texts[0] != texts[1]:
        raise InputError(f"{other.name}: found the categories {texts[1]}, wanted those of {one.name}: {texts[0]}")
    if one.rule != other.rule and not any(predicts_scores(run.report.settings) for run in (one, other)):
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
