"""Where the network looks: shown the heart alone, or all but the heart, compared with itself shown everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.evaluation import comparison
from cac_hpc.evaluation.outcome import Outcome
from cac_hpc.evaluation.readers import NO_HEART, NOTHING
from cac_hpc.results.comparison import LeftOut
from cac_hpc.results.figures import Absent
from cac_hpc.results.occlusion import FoldAccuracies, Occlusion
from cac_hpc.run import digests
from cac_hpc.run.paths import FoldPaths
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import assessment
from cac_hpc.statistics.pooling import Units, slice_units
from cac_hpc.train import predictions
from cac_hpc.train.predictions import VIEWS, Predictions, heart_boxes

NO_BOX = "the dataset was packed without pack.baseline, so that nobody knows where the heart is"
OFF = "train.occlusion is false"
OF_LESIONS = "a lesion model is given candidates, which are in the heart or near it, and no slices"

Views = dict[str, Predictions]  # of the same slices, by what the network was shown of them


@dataclass(frozen=True)
class Blanking:
    """How slices were occluded: pixels per side of a slice, what blank ones hold, and whether it was asked for."""

    size: int
    blank_hu: float
    wanted: bool


def read_views(files: FoldPaths, fold: int, sha256: Mapping[str, str], num_categories: int) -> Views | str:
    """What a fold predicted where it saw a part of each slice alone, or which file is not there or damaged.

    Args:
        sha256: of each file as it was written.
    """
    try:
        return {view: _read_view(files.view(view), fold, sha256.get(view), num_categories) for view in VIEWS}
    except ValueError as error:
        return str(error)


def _read_view(path: Path, fold: int, digest: str | None, num_categories: int) -> Predictions:
    if not path.is_file() or digests.file_sha256(path) != digest:
        raise ValueError(f"{path.name} of fold {fold} is not there, or not as it was written")
    return predictions.read_predictions(path, fold, num_categories)


def compare(
    found: Mapping[int, Predictions],
    views: Mapping[int, Views | str],
    studies: pd.DataFrame,
    blanking: Blanking,
    num_categories: int,
    cfg: ReportConfig,
) -> Occlusion | Absent:
    """The network shown everything, as the reference, and what it was shown parts of, on the same slices.

    Args:
        found: predictions by fold, of whole slices.
        views: of each of these folds, or why there are none.
        studies: studies.csv.
    """
    box = heart_boxes(studies, blanking.size)
    whole = Outcome(found).of(set(box)).predictions
    left_out = LeftOut(studies=len(Outcome(found).studies - set(box)))
    if not whole:
        return Absent(NO_BOX if "heart_row" not in studies else NO_HEART if found else NOTHING)
    checked = {fold: _checked(views[fold], one, fold) for fold, one in whole.items()}
    seen = {fold: one for fold, one in checked.items() if not isinstance(one, str)}
    faults = {fold: one for fold, one in checked.items() if isinstance(one, str)}
    if not seen:
        fault = next(iter(faults.values()))
        return Absent(fault if blanking.wanted or fault == OF_LESIONS else OFF)
    whole = {fold: whole[fold] for fold in seen}
    of_views = {"everything": whole, **{view: {fold: one[view] for fold, one in seen.items()} for view in VIEWS}}
    units = {
        view: assessment.units_of(assessment.pooled(slice_units(of_view, studies, num_categories), cfg))
        for view, of_view in of_views.items()
    }
    return Occlusion(
        note=None,
        left_out=replace(left_out, folds=list(faults)),
        share=_share(box, whole, blanking.size),
        blank_hu=blanking.blank_hu,
        views={view: comparison.compare_units(units["everything"], units[view], cfg) for view in VIEWS},
        folds=[_fold(fold, units) for fold in whole],
    )


def _checked(views: Views | str, whole: Predictions, fold: int) -> Views | str:
    """The views, if they are of the same slices as the whole ones, or what is wrong with them."""
    for view, seen in views.items() if not isinstance(views, str) else ():
        same = np.array_equal(seen.studies[seen.study], whole.studies[whole.study])
        if not (same and np.array_equal(seen.slice, whole.slice) and np.array_equal(seen.label, whole.label)):
            return f"{FoldPaths(Path()).view(view).name} of fold {fold} is not of the slices of predictions.csv"
    return views


def _share(box: Mapping[str, tuple[int, int, int, int]], whole: Mapping[int, Predictions], size: int) -> float:
    """Mean share of the slices' pixels that are the heart's box."""
    areas = []
    for one in whole.values():
        top, bottom, left, right = np.array([box[study] for study in one.studies.tolist()]).T
        areas.append(((bottom - top) * (right - left))[one.study])
    return float(np.concatenate(areas).mean()) / size**2


def _fold(fold: int, units: Mapping[str, Mapping[str, Units]]) -> FoldAccuracies:
    """Accuracies of a fold, by level and what is seen."""
    accuracies = {
        level: {view: _accuracy(of_view[level], fold) for view, of_view in units.items()} for level in comparison.LEVELS
    }
    return FoldAccuracies(fold, **accuracies)


def _accuracy(units: Units, fold: int) -> float:
    here = units.fold == fold
    return float((units.predicted[here] == units.label[here]).mean())
