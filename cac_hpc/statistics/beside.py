"""What a report sets beside the network on the same units: the Agatston rule, and itself half blind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.run import digests, paths
from cac_hpc.run.config import Config
from cac_hpc.run.paths import RunPaths
from cac_hpc.statistics import assessment, comparison, rule, tested
from cac_hpc.statistics.tested import Tested
from cac_hpc.train import occlusion, predictions
from cac_hpc.train.predictions import Predictions

NO_BASELINE = "the dataset was packed without pack.baseline, so that the rule was not applied"
NOTHING = "no fold has been tested"
NO_HEART = "in no patient that was tested was the heart found in all studies"
NO_BOX = "the dataset was packed without pack.baseline, so that nobody knows where the heart is"
OFF = "train.occlusion is false"


def of_rule(found: Mapping[int, Predictions], studies: pd.DataFrame, cfg: Config) -> dict[str, Any]:
    """The rule beside the network, on the patients that it has a score of.

    Args:
        found: predictions by fold. studies: studies.csv.
    Returns: plain values: what `comparison.compare_units` gives, the rule as the reference and the network as the
    other; what both said of each patient; the slices that show nothing. Without levels, and with a note, if the rule
    said nothing.
    """
    judged = rule.judged(studies)
    both, left_out = _restricted(found, set(judged["study"]))
    if not both:
        return {"note": NO_BASELINE if "agatston_score" not in studies else NO_HEART if found else NOTHING}
    judged = judged[judged["study"].isin(_studies(both))]
    of_slices = tested.slices(both, judged, len(cfg.labels.names))
    network = assessment.units_by_level(of_slices, cfg.report)
    rules = rule.predict(both, of_slices, judged, cfg.report, cfg.labels.edges)
    return {
        "note": None,
        "left_out": left_out,
        **comparison.compare_units(rules, network, cfg.report),
        "scores": rule.agreement_of_scores(network["patient"], rules["patient"].score),
        "patients": _patients(network["patient"], rules["patient"], judged),
        "empty_slices": rule.empty_slices(judged, len(cfg.labels.names)),
    }


def of_views(run: RunPaths, found: Mapping[int, Predictions], studies: pd.DataFrame, cfg: Config) -> dict[str, Any]:
    """The network that sees the heart alone, or all but the heart, beside itself, by the predictions that folds left.

    Args:
        found: predictions by fold, of whole slices. studies: studies.csv.
    Returns: plain values: by view what `comparison.compare_units` gives, the network that sees everything as the
    reference; accuracies of each fold. Without views, and with a note, if there are none.
    """
    box = occlusion.boxes(studies, cfg.pack.size)
    whole, left_out = _restricted(found, set(box))
    if not whole:
        return {"note": NO_BOX if "heart_row" not in studies else NO_HEART if found else NOTHING}
    seen, faults = _read_views(run, whole)
    if not seen:
        return {"note": OFF if not cfg.train.occlusion else next(iter(faults.values()))}
    whole = {fold: whole[fold] for fold in seen}
    views = {view: {fold: of_fold[view] for fold, of_fold in seen.items()} for view in occlusion.VIEWS}
    units = {
        view: assessment.units_by_level(tested.slices(seen, studies, len(cfg.labels.names)), cfg.report)
        for view, seen in {"everything": whole, **views}.items()
    }
    return {
        "note": None,
        "left_out": left_out | {"folds": list(faults)},
        "share": _share(box, whole, cfg.pack.size),
        "blank_hu": float(round(cfg.train.window_hu[0])),
        "views": {
            view: comparison.compare_units(units["everything"], units[view], cfg.report) for view in occlusion.VIEWS
        },
        "folds": [_fold(fold, units) for fold in whole],
    }


def _restricted(found: Mapping[int, Predictions], studies: set[str]) -> tuple[dict[int, Predictions], dict[str, int]]:
    """Predictions of these studies alone, of the folds that have any; and how many studies that leaves out."""
    restricted = {fold: occlusion.restrict(one, studies) for fold, one in found.items()}
    left_out = {"studies": len(_studies(found) - studies)}
    return {fold: one for fold, one in restricted.items() if len(one.study)}, left_out


def _studies(found: Mapping[int, Predictions]) -> set[str]:
    return {study for one in found.values() for study in one.studies.tolist()}


def _patients(network: Tested, rules: Tested, studies: pd.DataFrame) -> dict[str, Any]:
    """What was said of each patient, as columns.

    Args:
        studies: those that were tested.
    """
    names = np.unique(studies["patient"].to_numpy(str))
    return {
        "patient": names[network.patient].tolist(),
        "fold": network.fold.tolist(),
        "score": [None if np.isnan(score) else float(score) for score in network.score],
        "rule_score": rules.score.tolist(),
        "category": network.label.tolist(),
        "rule": rules.predicted.tolist(),
        "network": network.predicted.tolist(),
    }


def _read_views(
    run: RunPaths, whole: Mapping[int, Predictions]
) -> tuple[dict[int, dict[str, Predictions]], dict[int, str]]:
    """The views of every fold that has them, by fold and view; what is wrong with those of the others."""
    seen: dict[int, dict[str, Predictions]] = {}
    faults: dict[int, str] = {}
    for fold, one in whole.items():
        try:
            seen[fold] = {view: _read_view(run, fold, view, one) for view in occlusion.VIEWS}
        except ValueError as error:
            faults[fold] = str(error)
    return seen, faults


def _read_view(run: RunPaths, fold: int, view: str, whole: Predictions) -> Predictions:
    """What a fold predicted where it saw that part of each slice alone.

    Raises: ValueError saying what is not there, or not as it was written.
    """
    path = run.fold(fold).view(view)
    wanted = paths.read_json(run.fold(fold).metrics).get("views_sha256", {}).get(view)
    if not path.is_file() or digests.file_sha256(path) != wanted:
        raise ValueError(f"{path.name} of fold {fold} is not there, or not as it was written")
    seen = predictions.read_predictions(path, fold, whole.probability.shape[1])
    same = np.array_equal(seen.studies[seen.study], whole.studies[whole.study])
    if not (same and np.array_equal(seen.slice, whole.slice) and np.array_equal(seen.label, whole.label)):
        raise ValueError(f"{path.name} of fold {fold} is not of the slices of predictions.csv")
    return seen


def _share(box: Mapping[str, tuple[int, int, int, int]], whole: Mapping[int, Predictions], size: int) -> float:
    """Mean share of the slices' pixels that are the heart's box."""
    areas = []
    for one in whole.values():
        top, bottom, left, right = np.array([box[study] for study in one.studies.tolist()]).T
        areas.append(((bottom - top) * (right - left))[one.study])
    return float(np.concatenate(areas).mean()) / size**2


def _fold(fold: int, units: Mapping[str, Mapping[str, Tested]]) -> dict[str, Any]:
    """Accuracies of a fold, by level and what is seen."""
    return {
        "fold": fold,
        **{
            level: {view: _accuracy(of_view[level], fold) for view, of_view in units.items()}
            for level in comparison.LEVELS
        },
    }


def _accuracy(units: Tested, fold: int) -> float:
    here = units.fold == fold
    return float((units.predicted[here] == units.label[here]).mean())
