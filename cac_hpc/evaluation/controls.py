"""Two controls of the network: the Agatston rule as a baseline, and slices with the heart or all but it blank.

Of a patient the rule predicts the category of the score in studies.csv; of a slice, which the network sees alone, too,
the category of the slice's own share of the score. Axes: N slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.dataset import labels
from cac_hpc.evaluation import comparison
from cac_hpc.run import digests
from cac_hpc.run.config import ReportConfig
from cac_hpc.run.paths import FoldPaths
from cac_hpc.statistics import assessment, intervals
from cac_hpc.statistics.metrics import FEWEST
from cac_hpc.statistics.results import (
    Absent,
    Baseline,
    EmptySlices,
    FoldAccuracies,
    JudgedPatients,
    LeftOut,
    Occlusion,
    ScoreAgreement,
)
from cac_hpc.statistics.units import Units, patient_units, pooling_rules, slice_units
from cac_hpc.train import predictions
from cac_hpc.train.predictions import VIEWS, Predictions, heart_boxes, restrict

NO_BASELINE = "the dataset was packed without pack.baseline, so that the rule was not applied"
NOTHING = "no fold has been tested"
NO_HEART = "in no patient that was tested was the heart found in all studies"
NO_BOX = "the dataset was packed without pack.baseline, so that nobody knows where the heart is"
OFF = "train.occlusion is false"

Views = dict[str, Predictions]  # of the same slices, by what the network was shown of them


def compare_with_rule(
    found: Mapping[int, Predictions], studies: pd.DataFrame, edges: Sequence[float], cfg: ReportConfig
) -> Baseline | Absent:
    """The rule, as the reference, and the network, as the other, on the patients that the rule has a score of.

    Args:
        found: predictions by fold.
        studies: studies.csv.
        edges: of the categories, as in labels.edges.
    """
    scored, num_categories = with_scores(studies), len(edges) + 1
    both, left_out = restrict_all(found, set(scored["study"]))
    if not both:
        return Absent(NO_BASELINE if "agatston_score" not in studies else NO_HEART if found else NOTHING)
    scored = scored[scored["study"].isin(studies_of(both))]
    of_slices = slice_units(both, scored, num_categories)
    network = assessment.units_by_level(of_slices, cfg)
    rule = predict(both, of_slices, scored, cfg, edges)
    compared = comparison.compare_units(rule, network, cfg)
    return Baseline(
        note=None,
        left_out=left_out,
        levels=compared.levels,
        sign_test=compared.sign_test,
        scores=agreement_of_scores(network["patient"], rule["patient"].score),
        patients=_patients(network["patient"], rule["patient"], scored),
        empty_slices=empty_slices(scored, num_categories),
    )


def with_scores(studies: pd.DataFrame) -> pd.DataFrame:
    """The studies of patients that the rule has all scores of; none if packing did not look.

    Args:
        studies: studies.csv.
    """
    if "agatston_score" not in studies:
        return studies.iloc[:0]
    unknown = studies.loc[pd.to_numeric(studies["agatston_score"]).isna(), "patient"]
    return studies[~studies["patient"].isin(unknown)]


def restrict_all(found: Mapping[int, Predictions], studies: set[str]) -> tuple[dict[int, Predictions], LeftOut]:
    """Predictions of these studies alone, of the folds that have any; and how many studies that leaves out."""
    restricted = {fold: restrict(one, studies) for fold, one in found.items()}
    left_out = LeftOut(studies=len(studies_of(found) - studies))
    return {fold: one for fold, one in restricted.items() if len(one.study)}, left_out


def studies_of(found: Mapping[int, Predictions]) -> set[str]:
    """The studies that folds tested."""
    return {study for one in found.values() for study in one.studies.tolist()}


def predict(
    found: Mapping[int, Predictions],
    of_slices: Units,
    studies: pd.DataFrame,
    cfg: ReportConfig,
    edges: Sequence[float],
) -> dict[str, Units]:
    """What the rule says of the same units, by level; its score in place of the reported one.

    Args:
        found: predictions, by fold, of studies with scores alone.
        of_slices: what was tested in them.
        studies: those studies.
        edges: of the categories, as in labels.edges.
    """
    slices_of = {
        str(study): np.array(str(scores).split(), float)
        for study, scores in zip(studies["study"], studies["agatston_slices"], strict=True)
    }
    score_of = dict(zip(studies["study"].astype(str), pd.to_numeric(studies["agatston_score"]), strict=True))
    own, whole = [np.zeros(0)], [np.zeros(0)]
    for one in found.values():
        whole.append(np.array([score_of[study] for study in one.studies], float)[one.study])
        of_study = [slices_of[study] for study in one.studies]
        first = np.cumsum([0, *map(len, of_study)])[:-1]
        own.append(np.concatenate([np.zeros(0), *of_study])[first[one.study] + one.slice])
    scored = replace(of_slices, score=np.concatenate(whole))
    return {
        "slice": _predicted(replace(of_slices, score=np.concatenate(own)), edges),
        "patient": _predicted(patient_units(scored, pooling_rules(cfg.top_k)[cfg.patient_rule]), edges),
    }


def _predicted(units: Units, edges: Sequence[float]) -> Units:
    """The same units, predicted as the category of their score."""
    predicted = labels.categories(units.score.tolist(), edges)
    return replace(units, predicted=predicted, probability=np.eye(units.num_categories, dtype=np.float32)[predicted])


def empty_slices(studies: pd.DataFrame, num_categories: int) -> list[EmptySlices]:
    """Of each category, how many slices of studies with a score have no voxel of 130 HU or more where the heart is.

    What a slice does not show nobody can read from it: the share bounds what can be expected at slice level.

    Args:
        studies: those studies, columns of studies.csv.
    """
    rows = []
    for category in range(num_categories):
        mine = studies[studies["category"].astype(int) == category]
        slices = mine["slices"].to_numpy(int)
        empty = np.rint(pd.to_numeric(mine["agatston_empty_slices"]).to_numpy(float) * slices).astype(int)
        by_patient = (
            pd.DataFrame({"patient": mine["patient"], "slices": slices, "empty": empty}).groupby("patient").sum()
        )
        interval = intervals.proportion(by_patient["empty"].to_numpy(), by_patient["slices"].to_numpy())
        total = int(slices.sum())
        share = float(empty.sum() / total) if total else None
        rows.append(EmptySlices(category, len(mine), total, int(empty.sum()), share, interval.low, interval.high))
    return rows


def agreement_of_scores(units: Units, rule_N: np.ndarray) -> ScoreAgreement:
    """Rule's less reported score: mean and 95 % limits of agreement; None where too few patients are known.

    Args:
        units: patients as they were tested, each counted once however often that was.
        rule_N: the rule's scores.
    Source: Bland and Altman 1986, Lancet 327:307.
    """
    known = ~np.isnan(units.score)
    each = pd.Series((rule_N - units.score)[known]).groupby(units.patient[known]).mean()
    difference = each.to_numpy(float)
    if len(difference) < FEWEST:
        note = f"fewer than {FEWEST} patients with both scores"
        return ScoreAgreement(n=len(difference), bias=None, low=None, high=None, note=note)
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return ScoreAgreement(n=len(difference), bias=bias, low=bias - 1.96 * sd, high=bias + 1.96 * sd)


def _patients(network: Units, rule: Units, studies: pd.DataFrame) -> JudgedPatients:
    """What was said of each patient, as columns.

    Args:
        studies: those that were tested.
    """
    names = np.unique(studies["patient"].to_numpy(str))
    return JudgedPatients(
        patient=names[network.patient].tolist(),
        fold=network.fold.tolist(),
        score=[None if np.isnan(score) else float(score) for score in network.score],
        rule_score=rule.score.tolist(),
        category=network.label.tolist(),
        rule=rule.predicted.tolist(),
        network=network.predicted.tolist(),
    )


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


def compare_occluded(
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
        views: of each of these folds.
        studies: studies.csv.
    """
    box = heart_boxes(studies, blanking.size)
    whole, left_out = restrict_all(found, set(box))
    if not whole:
        return Absent(NO_BOX if "heart_row" not in studies else NO_HEART if found else NOTHING)
    checked = {fold: _checked(views[fold], one, fold) for fold, one in whole.items()}
    seen = {fold: one for fold, one in checked.items() if not isinstance(one, str)}
    faults = {fold: one for fold, one in checked.items() if isinstance(one, str)}
    if not seen:
        return Absent(next(iter(faults.values())) if blanking.wanted else OFF)
    whole = {fold: whole[fold] for fold in seen}
    of_views = {"everything": whole, **{view: {fold: one[view] for fold, one in seen.items()} for view in VIEWS}}
    units = {
        view: assessment.units_by_level(slice_units(of_view, studies, num_categories), cfg)
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
