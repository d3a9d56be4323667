"""Patients under two numbers: the same pixels, or nearly the same study number, in different parts of a fold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from cac_hpc.dataset import excerpts, integrity, study_folders
from cac_hpc.dataset.splits import Fold
from cac_hpc.labels import spelling
from cac_hpc.machine import workers
from cac_hpc.machine.workers import Lost, Worker
from cac_hpc.run import causes, disk
from cac_hpc.run.causes import PACK, RESUME
from cac_hpc.run.logs import log
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError

Read = Callable[[Path, int | None], Any]  # takes a shard and a row, or None for the digests of all

NAMED = 5  # pairs that a message names
PATIENCE_S = 600.0  # for one shard's digests


def finding(name: str, passed: bool | None, note: str) -> dict[str, Any]:
    """What a check of the data or the results has found, for the report; passed: None where it could not be made."""
    return {"name": name, "passed": passed, "note": note}


def check_ids(folds: Sequence[Fold], patient: Mapping[str, str], cfg: Config) -> dict[str, Any]:
    """Studies whose numbers differ in separators, zeros or case alone, of different patients, in parts of a fold."""
    # numbers of different cohorts may be alike
    sites = [study_folders.beside(cohort.name) for cohort in cfg.by_cohort()]
    own = ({study: of for study, of in patient.items() if study.startswith(site)} for site in sites)
    pairs = _apart(folds, patient, [group for part in own for group in spelling.near_equal(part)])
    if not pairs:
        return finding("ids", True, "no two patients of different parts have nearly equal study numbers")
    found = f"nearly equal study numbers of different patients are in different parts of a fold: {_named(pairs)}"
    if cfg.report.near_equal_ids == "refuse":
        advice = "give them one patient in the sheet (labels.patient_column) and start a new run, unless they are "
        raise InputError(causes.error(f"{found}; {advice}different people", f"{RESUME} --report.near_equal_ids warn"))
    log.warning("%s", found)
    return finding("ids", False, found)


def planned_ids(dataset: DatasetPaths) -> dict[str, Any]:
    """What the planner found in the study numbers, of which only it has seen more than pseudonyms."""
    try:
        count = disk.read_json(dataset.plan)["near_equal"]
    except (OSError, ValueError, KeyError, TypeError):
        note = "pseudonyms stand for the study numbers, and the dataset's plan does not say what they were like"
        return finding("ids", None, note)
    if not count:
        return finding("ids", True, "no two patients had nearly equal study numbers when pseudonyms were given")
    note = f"groups of nearly equal study numbers of different patients when pseudonyms were given: {count}"
    log.warning("%s", note)
    return finding("ids", False, note)


def check_pixels(
    dataset: DatasetPaths, folds: Sequence[Fold], patient: Mapping[str, str], whole: bool = False
) -> dict[str, Any]:
    """No slice of a patient is, pixel by pixel, a slice of another patient in another part of a fold.

    Args:
        whole: whether the shards were just found to be as they were written; else a process of its own reads them.
    Returns: what was found, for the report. Raises: InputError naming the studies.
    """
    sealed = integrity.read_checked(dataset.seal).get("shards", [])
    files = [dataset.root / shard["file"] for shard in sealed]
    if not files or not all(file.is_file() for file in files):
        return finding("pixels", None, "the dataset's shards are not there any more")
    with _reader(whole) as read:
        pairs = _apart(folds, patient, _same_pixels(files, patient, read))
    if pairs:
        raise InputError(
            f"studies of different patients share slices that are equal pixel by pixel, in different parts of a fold: "
            f"{_named(pairs)}; give them one patient in the sheet (labels.patient_column) and start a new run"
        )
    return finding("pixels", True, "no two patients of different parts share a slice")


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
    ordered_N = np.sort(first_N)
    repeated = ordered_N[1:][ordered_N[1:] == ordered_N[:-1]]
    row_M = np.flatnonzero(np.isin(first_N, repeated))  # of millions few, and only these need an order of both numbers
    order = row_M[np.lexsort((second_N[row_M], first_N[row_M]))]
    new = (np.diff(first_N[order], prepend=0) != 0) | (np.diff(second_N[order], prepend=0) != 0)
    new[:1] = True
    start = np.append(np.flatnonzero(new), len(order))
    for group in np.flatnonzero(np.diff(start) > 1):
        yield order[start[group] : start[group + 1]]


@contextmanager
def _reader(whole: bool) -> Iterator[Read]:
    """Yield what reads a shard's digests, or whether a row of it shows nothing."""
    if whole:
        yield lambda file, row: excerpts.digests((file, row), lambda said: None)
        return
    worker = Worker(
        excerpts.digests, PATIENCE_S, workers.GIB * 4, threading.Event()
    )  # damaged HDF5 may end its process

    def ask(file: Path, row: int | None) -> Any:
        try:
            return worker.run((file, row), lambda content: None)
        except Lost as error:
            raise InputError(causes.error(f"{file}: cannot be read ({error})", PACK)) from None

    try:
        yield ask
    finally:
        worker.close()


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
