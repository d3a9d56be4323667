"""What would make a report worthless is refused by name: labels, folds and results that are not of this run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.dataset import leaks, splits
from cac_hpc.dataset.held_out import Groups
from cac_hpc.dataset.splits import Fold
from cac_hpc.results.audits import Audit
from cac_hpc.results.serialization import Damaged, Json, from_json
from cac_hpc.results.training import Training
from cac_hpc.run import digests, disk
from cac_hpc.run.paths import DatasetPaths, FoldPaths
from cac_hpc.settings.checks import shown
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.train import fencing
from cac_hpc.train.lesion_results import Scores
from cac_hpc.train.predictions import Predictions

NAMED = 5  # studies that a message names
SAME_LABELS = "the folds were made from the labels that the dataset was sealed with"
BY_DESIGN = "patients of this contrast run are in several parts of a fold, by its design"


def check_cohort(
    cfg: Config,
    made: Path,
    dataset: DatasetPaths,
    folds: Sequence[Fold],
    studies: pd.DataFrame,
    groups: Groups | None = None,
) -> list[Audit]:
    """Folds and dataset belong together, and no patient is on both sides of a fold, under whatever number.

    In a contrast run (split.unit: slice) patients are, by design: each slice is in one part, and the report says so.

    Args:
        made: splits.json, which folds are from.
        studies: the dataset's, columns study, patient, ...
        groups: of patients, that the folds were made with.
    Raises: InputError naming studies or patients, and what to do.
    """
    by_slice = cfg.split.unit == "slice"
    patient = dict(zip(studies["study"].tolist(), studies["patient"].tolist(), strict=True))
    if disk.read_json(made)["studies_sha256"] != digests.file_sha256(dataset.studies):
        since = f"not the one that {made.name} was made from, so labels may have changed between the folds"
        raise InputError(f"{dataset.studies}: {since}; start a new run")
    if any(fold.by_slice != by_slice for fold in folds):
        raise InputError(f"{made}: does not divide {cfg.split.unit}s, as split.unit says; start a new run")
    if unknown := sorted({study for fold in folds for part in fold.parts.values() for study in part} - patient.keys()):
        raise InputError(f"{made}: names studies {shown(unknown[:NAMED])}, which the dataset does not have")
    if by_slice:
        slices = dict(zip(studies["study"], studies["slices"], strict=True))
        splits.check_slice_folds(folds, slices, cfg.split.scheme)
        by_design = [Audit(name, False, BY_DESIGN) for name in ("patients", "ids", "pixels")]
        return [Audit("labels", True, SAME_LABELS), *by_design, _results("each slice of the test part")]
    splits.check_folds(folds, patient, cfg.split.scheme, groups)
    ids = leaks.check_ids(folds, patient, cfg) if cfg.data.pseudonym_key is None else leaks.planned_ids(dataset)
    return [
        Audit("labels", True, SAME_LABELS),
        Audit("patients", True, "no patient is in two parts of a fold"),
        *(Audit(**found) for found in (ids, leaks.check_pixels(dataset, folds, patient))),
        _results("each slice of each test study"),
    ]


def _results(each: str) -> Audit:
    newest = "every prediction counted is of its fold's newest start, unchanged, and has"
    return Audit("results", True, f"{newest} {each} once, with its sealed label")


def check_result(files: FoldPaths, fold: int, splits_sha256: str, scored: bool = False) -> Json:
    """The predictions are those that the newest start of this fold of this run wrote.

    Args:
        scored: whether scores.csv and lesions.csv belong to them.
    Returns: its metrics.json.
    Raises: ValueError saying whose they are instead.
    """
    facts = disk.read_object(files.metrics)
    if not facts:
        raise ValueError(f"{files.metrics}: missing or damaged, so nobody knows whose predictions these are")
    newest, own = fencing.newest_number(files.attempts), digests.file_sha256(files.predictions)
    wanted = {
        "fold": (fold, "they are of another fold"),
        "splits_sha256": (splits_sha256, "they were made with another splits.json, of another run or before a change"),
        "predictions_sha256": (own, "they are not as they were written"),
        "attempt": (newest, f"they are of start {facts.get('attempt')} of the fold, the newest is {newest}"),
    }
    for key, (value, meaning) in wanted.items():
        if facts.get(key) != value:
            raise ValueError(f"{files.predictions}: {meaning} (metrics.json, {key})")
    written = facts.get("tables_sha256")
    for path in (files.scores, files.lesions) if scored else ():
        known = written.get(path.name) if isinstance(written, dict) else None
        if not path.is_file() or digests.file_sha256(path) != known:
            raise ValueError(f"{path}: not there, or not as it was written (metrics.json, tables_sha256)")
    try:
        from_json(facts, Training)
    except Damaged as error:
        raise ValueError(f"{files.metrics}: {error}") from None
    return facts


def check_rows(predictions: Predictions, fold: Fold, studies: pd.DataFrame) -> None:
    """Every slice of the fold's test part once, with the label it was sealed with.

    Args:
        studies: indexed by study.
    Raises: ValueError naming the study.
    """
    if foreign := sorted(set(predictions.studies) ^ set(fold.test)):
        raise ValueError(f"predictions and splits.json name different test studies: {shown(foreign[:NAMED])}")
    known = studies.loc[predictions.studies]
    if fold.by_slice:
        _check_some(predictions, fold)
    else:
        _check_all(predictions, known["slices"].to_numpy(int))
    category = known["category"].to_numpy(int)
    other = predictions.label != category[predictions.study]
    if other.any():
        row = int(other.argmax())
        study, label = predictions.study[row], predictions.label[row]
        name = str(predictions.studies[study])
        raise ValueError(f"study {name!r}: label {label}, the dataset says {category[study]}")


def _check_all(predictions: Predictions, wanted: np.ndarray) -> None:
    """All slices of each study, ``wanted`` by number."""
    count = np.bincount(predictions.study, minlength=len(wanted))
    outside = (predictions.slice < 0) | (predictions.slice >= wanted[predictions.study])
    wrong = (count != wanted) | (np.bincount(predictions.study, outside, len(wanted)) > 0)
    if wrong.any():
        index = int(wrong.argmax())
        raise ValueError(
            f"study {str(predictions.studies[index])!r}: {count[index]} slices predicted, the dataset has "
            f"{wanted[index]}, counted from 0"
        )


def _check_some(predictions: Predictions, fold: Fold) -> None:
    """Those slices of each study that the test part has."""
    found = zip(predictions.studies[predictions.study].tolist(), predictions.slice.tolist(), strict=True)
    if wrong := sorted(set(found) ^ set(splits.slices_of(fold.test))):
        study, at = wrong[0]
        raise ValueError(
            f"predictions and splits.json name different test slices, {len(wrong)} of them: study {study!r} slice {at}"
        )


def check_scores(scores: Scores, lesions: pd.DataFrame, fold: Fold, studies: pd.DataFrame) -> None:
    """Each test study has one score, the sum of what counted, and label and control as they were sealed.

    Args:
        studies: indexed by study.
    Raises: ValueError naming the study.
    """
    if sorted(scores.study.tolist()) != sorted(fold.test):
        raise ValueError("scores.csv and splits.json do not name the same test studies, each once")
    category = studies.loc[scores.study, "category"].to_numpy(int)
    if (wrong := category != scores.label).any():
        row = int(wrong.argmax())
        name = str(scores.study[row])
        raise ValueError(f"study {name!r}: label {scores.label[row]} in scores.csv, the dataset says {category[row]}")
    if foreign := sorted(set(lesions["study"]) - set(fold.test)):
        raise ValueError(f"lesions.csv names studies that the fold did not test: {shown(foreign[:NAMED])}")
    counted = lesions[lesions["counted"].astype(int) == 1].groupby("study")["agatston"].sum()
    total = counted.reindex(scores.study, fill_value=0.0).to_numpy(float)
    _check_equal(scores, scores.score, total, "score", "what counted in lesions.csv adds up to")
    if "agatston_control" in studies:
        control = studies.loc[scores.study, "agatston_control"].to_numpy(float)
        _check_equal(scores, scores.control, control, "control", "studies.csv has")


def _check_equal(scores: Scores, found: np.ndarray, wanted: np.ndarray, what: str, wanted_by: str) -> None:
    """Each study's number is what another file makes of it."""
    if (wrong := ~np.isclose(found, wanted, rtol=1e-3, atol=0.01)).any():
        row = int(wrong.argmax())
        study = str(scores.study[row])
        raise ValueError(f"study {study!r}: {what} {found[row]:g} in scores.csv, {wanted_by} {wanted[row]:g}")
