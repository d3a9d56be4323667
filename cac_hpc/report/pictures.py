"""Every picture of a report, by the name of its file: a new one goes here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.machine import workers
from cac_hpc.machine.workers import Piece
from cac_hpc.plots import learning, performance
from cac_hpc.report import lesion_pictures, slice_pictures
from cac_hpc.results.calibration import Calibration
from cac_hpc.results.figures import Absent
from cac_hpc.results.levels import Level
from cac_hpc.results.report import Report
from cac_hpc.results.trials import Importance, TrialRow, Trials
from cac_hpc.run.logs import log
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.sections import (
    cut_curves,
    external_parts,
    formatting,
    group_parts,
    set_parts,
    subgroup_parts,
    trained,
    wording,
)
from cac_hpc.settings.report import ReportConfig

CURVES = ("epoch", "train_loss", "val_loss", "learning_rate")


@dataclass(frozen=True)
class Picture:
    """A figure at the end of a section of the page, below which its caption stands."""

    section: str  # its id in page/page.html
    caption: str
    draw: Callable[[Path, Report, str, int], None]  # stem of its files, what it is of in words, dots per inch


def before_counting(
    folder: Path, report: Report, histories: Mapping[int, Path], dataset: DatasetPaths, shown: ReportConfig
) -> list[Piece]:
    """What draws scans of patients and the training of the folds, the slowest first, from a report without figures.

    Args:
        histories: history.csv of each fold. dataset: that the scans are of. shown: dots per inch, and the window.
    """
    dpi, marks = shown.figure_dpi, _marks(report)
    curves = {fold.fold: _history(histories[fold.fold]) for fold in trained.of_folds(report)}
    known = {fold: table for fold, table in curves.items() if table}
    title = f"Loss and learning rate by epoch, {_where(report)}"
    return [
        partial(lesion_pictures.draw, folder, report, dataset, dpi, marks),
        partial(slice_pictures.draw, folder, report, dataset, shown, marks),
        *([partial(learning.draw_history, folder / "history", known, title, dpi)] if known else []),
        partial(_draw_networks, folder, report, dpi, marks),
    ]


def draw(folder: Path, report: Report, dpi: int) -> None:
    """Draw the figures of what the report has counted."""
    workers.each(list(_pieces(folder, report, dpi)))


def _pieces(folder: Path, report: Report, dpi: int) -> Iterator[Piece]:
    """What is to be drawn, the slowest first: confusion matrices have the most letters."""
    names, where = wording.category_names(report), _where(report)
    for level, of_level in report.levels.items():
        title = f"{level.capitalize()} level, {where}, {wording.counted(level, of_level)}"
        yield partial(_draw_level, folder, level, of_level, names, title, dpi)
    yield from _matrices_of_readers(folder, report, names, where, dpi)
    for stem, picture in PICTURES.items():
        yield partial(picture.draw, folder / stem, report, where, dpi)
    yield partial(external_parts.draw, folder, report, where, dpi)


def _where(report: Report) -> str:
    """What figures are of, in words."""
    return ", ".join([wording.extent(report), *_marks(report)])


def _marks(report: Report) -> list[str]:
    """What stands in every title."""
    mark = wording.status_mark(report)
    return [mark] if mark and not report.external else []  # of which the extent is that already


def _draw_networks(folder: Path, report: Report, dpi: int, marks: Sequence[str]) -> None:
    """Those that the folds have trained."""
    found = trained.networks(report)
    for one in (one for one in found if one.layers):
        parameters = f"The {wording.model(report)}: {sum(layer.parameters for layer in one.layers):,} parameters"
        whose = [wording.of_folds(one.folds)] if len(found) > 1 else []
        learning.draw_network(folder / one.stem, one.layers, ", ".join([parameters, *whose, *marks]), dpi)


def _draw_level(folder: Path, level: str, of_level: Level, names: Sequence[str], title: str, dpi: int) -> None:
    matrix, unit = np.array(of_level.pooled.confusion_matrix), wording.units(level, of_level)
    performance.draw_confusion(folder / f"confusion_{level}", matrix, names, title, unit, dpi)
    if isinstance(of_level.calibration, Calibration):
        bins = of_level.calibration.reliability
        performance.draw_reliability(folder / f"reliability_{level}", bins, title, unit, dpi)


def _draw_folds(stem: Path, report: Report, where: str, dpi: int) -> None:
    wanted = ("patient",) if wording.of_lesions(report) else tuple(report.levels)
    if levels := {level: found for level, found in report.levels.items() if found.folds and level in wanted}:
        groups = report.unseen.groups if report.unseen else []
        names = {group.fold: group.name for group in groups if group.fold is not None}
        performance.draw_folds(stem, levels, names, f"Accuracy by fold, {where}", dpi)


def _matrices_of_readers(folder: Path, report: Report, names: Sequence[str], where: str, dpi: int) -> Iterator[Piece]:
    """The confusion matrices of the readers, as files of their own."""
    if isinstance(found := report.readers, Absent):
        return
    for reader in (reader for reader in found.readers if reader.compared and reader.key != "largest"):
        for level, pooled in reader.levels.items():
            unit = wording.units(level, report.levels[level])
            title = f"{reader.name[0].upper()}{reader.name[1:]}, {level} level, {where}, {pooled.n} {unit}"
            matrix, stem = np.array(pooled.confusion_matrix), folder / f"confusion_{level}_{reader.key}"
            yield partial(performance.draw_confusion, stem, matrix, names, title, unit, dpi)


def _draw_readers(stem: Path, report: Report, where: str, dpi: int) -> None:
    if isinstance(found := report.readers, Absent):
        return
    n = found.readers[0].levels["patient"].n
    performance.draw_readers(stem, found.readers, f"Readers of the same {n} tests of patients, {where}", dpi)


def _draw_scores(stem: Path, report: Report, where: str, dpi: int) -> None:
    """The scores of readers that have any, over the reported ones."""
    if isinstance(found := report.readers, Absent):
        return
    patients, edges = found.patients, [one.score_up_to for one in report.categories if one.score_up_to is not None]
    reported = np.array([np.nan if score is None else score for score in patients.score], float)
    known = ~np.isnan(reported)
    name_of = {reader.key: reader.name for reader in found.readers}
    read = {name_of[key]: np.array(scores, float)[known] for key, scores in patients.scores_of.items()}
    if not read or not known.any():
        return
    performance.draw_scores(stem, reported[known], read, edges, f"Agatston scores, {where}, n = {known.sum()}", dpi)


def _draw_trials(stem: Path, report: Report, where: str, dpi: int) -> None:
    if (found := report.trials) and found.choices:
        title = f"Trials in their order, {where}"
        learning.draw_trials(stem, *_trials_by_fold(found), _figure_of_trials(found), title, dpi)


def _draw_rungs(stem: Path, report: Report, where: str, dpi: int) -> None:
    if (found := report.trials) and found.choices and found.rungs > 1:
        title = f"Trials over their training, {where}"
        learning.draw_rungs(stem, *_trials_by_fold(found), _figure_of_trials(found), title, dpi)


def _draw_importance(stem: Path, report: Report, where: str, dpi: int) -> None:
    if report.trials and isinstance(found := report.trials.importance, Importance):
        title = f"Importance of settings for the figure of a trial, {where}"
        learning.draw_importance(stem, found.settings, title, dpi)


def _trials_by_fold(found: Trials) -> tuple[dict[str, list[TrialRow]], dict[str, int]]:
    """The trials of each fold by its name, and the number of the chosen one."""
    by_fold: dict[str, list[TrialRow]] = {}
    for row in found.trials:
        by_fold.setdefault(_panel(row.fold), []).append(row)
    return by_fold, {_panel(one.fold): one.trial for one in found.choices}


def _panel(fold: int | None) -> str:
    return "all folds" if fold is None else f"fold {fold}"


def _figure_of_trials(found: Trials) -> str:
    return f"{formatting.figure_name(found.select_by)}, {found.select_on} patients"


PICTURES = {  # by the stems of their files
    "groups": Picture(
        "unseen",
        "Quadratic kappa of the patients of each group with 95 % intervals, in patient folds and where it was never "
        "seen.",
        group_parts.draw,
    ),
    "roc": Picture(
        "cuts", "ROC curve of the probabilities at each cut; a diamond is the model's own cut.", cut_curves.draw_roc
    ),
    "precision_recall": Picture(
        "cuts", "Precision over sensitivity at each cut; the dashed line is the prevalence.", cut_curves.draw_precision
    ),
    "calibration_cuts": Picture(
        "cuts",
        "Share of patients with the event over its probability, a flexible curve with its 95 % band, from the lowest "
        "probability to the highest.",
        cut_curves.draw_calibration,
    ),
    "decision_curves": Picture(
        "cuts", "Net benefit over thresholds of probability; treating nobody has 0.", cut_curves.draw_decisions
    ),
    "probabilities": Picture(
        "cuts",
        "Probabilities of the event by true category: median, quarters, 5th and 95th percentile.",
        cut_curves.draw_probabilities,
    ),
    "prediction_sets": Picture("sets", "How many categories prediction sets name, by true category.", set_parts.draw),
    "subgroups": Picture(
        "subgroups",
        "Differences of each group of patients from all others of its fact; a diamond: the interval excludes 0.",
        subgroup_parts.draw,
    ),
    "folds": Picture(
        "verdict",
        "Accuracy of every fold, pooled with its 95 % interval, and what always guessing the largest category reaches.",
        _draw_folds,
    ),
    "readers": Picture(
        "readers",
        "Accuracy of patients of every reader with its 95 % interval; a diamond is the model that is tested.",
        _draw_readers,
    ),
    "scores": Picture(
        "readers",
        "Scores of readers over the reported ones, a point for each test of a patient; the grid is the categories'.",
        _draw_scores,
    ),
    "trials": Picture(
        "trials", "The figure of every trial in the order of their numbers, and the highest so far.", _draw_trials
    ),
    "trials_epochs": Picture(
        "trials", "The figure of every trial at each look at it, over the epochs that it was trained.", _draw_rungs
    ),
    "trials_importance": Picture(
        "trials", "Importance of settings; what it cannot say is written above.", _draw_importance
    ),
}


def _history(path: Path) -> dict[str, np.ndarray]:
    """Columns of history.csv; empty where it is not there, or damaged, which is said."""
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path)
        columns = {name: table[name].to_numpy(float) for name in CURVES}
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s: cannot be read, its fold is left out of the curves (%s)", path, error)
        return {}
    return columns if len(table) else {}
