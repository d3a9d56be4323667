"""What would make a report worthless is refused by name: results of others, counted twice, patients on both sides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc import digests, fencing, labels, paths, shards, splits, workers
from cac_hpc.config import Config, InputError
from cac_hpc.logs import log
from cac_hpc.paths import DatasetPaths, FoldPaths, RunPaths
from cac_hpc.predictions import Predictions
from cac_hpc.splits import Fold
from cac_hpc.workers import Lost, Worker

Read = Callable[[Path, int | None], Any]  # takes a shard and a row, or None for the digests of all

NAMED = 5  # pairs that a message names
PATIENCE_S = 600.0  # for one shard's digests
SAME_LABELS = "the folds were made from the labels that the dataset was sealed with"
BY_DESIGN = "patients of this contrast run are in several parts of a fold, by its design"


def check_cohort(run: RunPaths, cfg: Config, folds: Sequence[Fold], studies: pd.DataFrame) -> list[dict[str, Any]]:
    """Folds and dataset belong together, and no patient is on both sides of a fold, under whatever number.

    In a contrast run (split.unit: slice) patients are, by design: each slice is in one part, and the report says so.

    Args:
        studies: the dataset's, columns study, patient, ...
    Returns: for the report, what was checked: name, whether it passed (None: it could not be checked), and how.
    Raises: InputError naming studies or patients, and what to do.
    """
    dataset = run.dataset(cfg.data.packed_dir)
    patient = dict(zip(studies["study"], studies["patient"], strict=True))
    _check_studies(run, dataset, cfg, folds, patient)
    if cfg.split.unit == "slice":
        slices = dict(zip(studies["study"], studies["slices"], strict=True))
        splits.check_slice_folds(folds, slices, cfg.split.scheme)
        leaks = [{"name": name, "passed": False, "note": BY_DESIGN} for name in ("patients", "ids", "pixels")]
        return [_passed("labels", SAME_LABELS), *leaks, _results("each slice of the test part")]
    splits.check_folds(folds, patient, cfg.split.scheme)
    return [
        _passed("labels", SAME_LABELS),
        _passed("patients", "no patient is in two parts of a fold"),
        _check_ids(folds, patient, cfg) if cfg.data.pseudonym_key is None else _planned_ids(dataset),
        check_pixels(dataset, folds, patient),
        _results("each slice of each test study"),
    ]


def _passed(name: str, note: str) -> dict[str, Any]:
    return {"name": name, "passed": True, "note": note}


def _results(each: str) -> dict[str, Any]:
    newest = "every prediction counted is of its fold's newest start, unchanged, and has"
    return _passed("results", f"{newest} {each} once, with its sealed label")


def check_result(files: FoldPaths, fold: int, splits_sha256: str) -> None:
    """The predictions are those that the newest start of this fold of this run wrote.

    Raises: ValueError saying whose they are instead.
    """
    try:
        facts = paths.read_json(files.metrics)
    except (OSError, ValueError):
        facts = None
    if not isinstance(facts, dict):
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


def check_rows(predictions: Predictions, fold: Fold, studies: pd.DataFrame) -> None:
    """Every slice of the fold's test part once, with the label it was sealed with.

    Args:
        studies: indexed by study.
    Raises: ValueError naming the study.
    """
    if foreign := sorted(set(predictions.studies) ^ set(fold.test)):
        raise ValueError(f"predictions and splits.json name different test studies: {list(map(str, foreign[:NAMED]))}")
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


def _check_studies(
    run: RunPaths, dataset: DatasetPaths, cfg: Config, folds: Sequence[Fold], patient: Mapping[str, str]
) -> None:
    made_from, is_now = paths.read_json(run.splits)["studies_sha256"], digests.file_sha256(dataset.studies)
    if made_from != is_now:
        raise InputError(
            f"{dataset.studies}: not the one that {run.splits.name} was made from, so labels may have changed between "
            "the folds; start a new run"
        )
    if any(fold.by_slice != (cfg.split.unit == "slice") for fold in folds):
        raise InputError(f"{run.splits}: does not divide {cfg.split.unit}s, as split.unit says; start a new run")
    named = {study for fold in folds for part in fold.parts.values() for study in part}
    if unknown := sorted(named - patient.keys()):
        raise InputError(f"{run.splits}: names studies {unknown[:NAMED]}, which the dataset does not have")


def _check_ids(folds: Sequence[Fold], patient: Mapping[str, str], cfg: Config) -> dict[str, Any]:
    """Studies whose numbers differ in separators, zeros or case alone, of different patients, in parts of a fold."""
    pairs = _apart(folds, patient, labels.near_equal(patient))
    if not pairs:
        return _passed("ids", "no two patients of different parts have nearly equal study numbers")
    found = f"nearly equal study numbers of different patients are in different parts of a fold: {_named(pairs)}"
    if cfg.report.near_equal_ids == "refuse":
        raise InputError(
            f"{found}; give them one patient in the sheet (labels.patient_column) and start a new run, or, if they "
            "are different people, go on: python jobs/launch_cv.py --resume RUN --report.near_equal_ids warn"
        )
    log.warning("%s", found)
    return {"name": "ids", "passed": False, "note": found}


def _planned_ids(dataset: DatasetPaths) -> dict[str, Any]:
    """What the planner found in the study numbers, of which only it has seen more than pseudonyms."""
    try:
        count = paths.read_json(dataset.plan)["near_equal"]
    except (OSError, ValueError, KeyError, TypeError):
        note = "pseudonyms stand for the study numbers, and the dataset's plan does not say what they were like"
        return {"name": "ids", "passed": None, "note": note}
    if not count:
        return _passed("ids", "no two patients had nearly equal study numbers when pseudonyms were given")
    note = f"groups of nearly equal study numbers of different patients when pseudonyms were given: {count}"
    log.warning("%s", note)
    return {"name": "ids", "passed": False, "note": note}


def check_pixels(
    dataset: DatasetPaths, folds: Sequence[Fold], patient: Mapping[str, str], whole: bool = False
) -> dict[str, Any]:
    """No slice of a patient is, pixel by pixel, a slice of another patient in another part of a fold.

    Args:
        whole: whether the shards were just found to be as they were written; else a process of its own reads them.
    Returns: what was found, for the report. Raises: InputError naming the studies.
    """
    sealed = shards.read_checked(dataset.seal).get("shards", [])
    files = [dataset.root / shard["file"] for shard in sealed]
    if not files or not all(file.is_file() for file in files):
        return {"name": "pixels", "passed": None, "note": "the dataset's shards are not there any more"}
    with _reader(whole) as read:
        pairs = _apart(folds, patient, _same_pixels(files, patient, read))
    if pairs:
        raise InputError(
            f"studies of different patients share slices that are equal pixel by pixel, in different parts of a fold: "
            f"{_named(pairs)}; give them one patient in the sheet (labels.patient_column) and start a new run"
        )
    return _passed("pixels", "no two patients of different parts share a slice")


def _same_pixels(files: Sequence[Path], patient: Mapping[str, str], read: Read) -> Iterator[list[str]]:
    """Studies that share a slice which shows anything; each group once."""
    found = [read(file, None) for file in files]
    names = np.concatenate([studies for studies, _, _ in found])
    study_N = np.repeat(np.arange(len(names)), np.concatenate([count for _, count, _ in found]))
    first_N, second_N = np.concatenate([digest for _, _, digest in found]).view("<u8").reshape(-1, 2).T
    start = np.concatenate([[0], np.cumsum([len(digest) for _, _, digest in found])])
    seen: set[frozenset[str]] = set()
    for rows in _equal_rows(first_N, second_N):
        group = frozenset(map(str, names[study_N[rows]]))
        if len({patient.get(study, study) for study in group}) < 2 or group in seen:
            continue
        shard = int(np.searchsorted(start, rows[0], side="right") - 1)
        if not read(files[shard], int(rows[0] - start[shard])):
            seen.add(group)
            yield sorted(group)


def _equal_rows(first_N: np.ndarray, second_N: np.ndarray) -> Iterator[np.ndarray]:
    """Rows whose pairs of numbers are equal, group by group; a row that is like no other is in none."""
    order = np.lexsort((second_N, first_N))
    new = (np.diff(first_N[order], prepend=0) != 0) | (np.diff(second_N[order], prepend=0) != 0)
    new[:1] = True
    start = np.append(np.flatnonzero(new), len(order))
    for group in np.flatnonzero(np.diff(start) > 1):
        yield order[start[group] : start[group + 1]]


@contextmanager
def _reader(whole: bool) -> Iterator[Read]:
    """Yield what reads a shard's digests, or whether a row of it shows nothing."""
    if whole:
        yield _read
        return
    worker = Worker(_read_for, PATIENCE_S, workers.GIB * 4, threading.Event())  # damaged HDF5 may end its process

    def ask(file: Path, row: int | None) -> Any:
        try:
            return worker.run((file, row), lambda content: None)
        except Lost as error:
            raise InputError(f"{file}: cannot be read ({error}); python jobs/pack.py --run RUN mends it") from None

    try:
        yield ask
    finally:
        worker.close()


def _read_for(task: tuple[Path, int | None], say: workers.Say) -> Any:
    """In the worker."""
    return _read(*task)


def _read(file: Path, row: int | None) -> Any:
    return shards.read_digests(file) if row is None else shards.is_blank(file, row)


def _apart(folds: Sequence[Fold], patient: Mapping[str, str], groups: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
    """Pairs out of the groups that are different patients and in different parts of at least one fold."""
    parts = [{study: part for part, members in fold.parts.items() for study in members} for fold in folds]
    return [
        (one, other)
        for group in groups
        for one, other in combinations(group, 2)
        if patient.get(one) != patient.get(other)
        and any(one in part and other in part and part[one] != part[other] for part in parts)
    ]


def _named(pairs: Sequence[tuple[str, str]]) -> str:
    more = f" and {len(pairs) - NAMED} more pairs" if len(pairs) > NAMED else ""
    return ", ".join(f"{one!r} and {other!r}" for one, other in pairs[:NAMED]) + more
