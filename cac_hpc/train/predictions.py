"""predictions.csv: one row per test slice, the only thing a fold hands to the aggregator. Axes: N row, K category.

A fold is tested again with all but the heart blank, and with the heart blank: a box of a study, the same on all slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.settings.checks import shown

VIEWS = ("heart", "rim")  # what is left to be seen
NOWHERE = (0, 0, 0, 0)
AT_ONCE = 2**16  # rows that are read together


def to_csv(
    study: Sequence[str], slice_index: np.ndarray, fold: int, label: np.ndarray, probability: np.ndarray
) -> bytes:
    """The file's content, rows in the order of study and slice.

    Args:
        study, slice_index, label: (N,); the slice is counted from 0 in ascending z.
        probability: (N, K) float32, rows sum to 1; nine digits bring every float32 back.
    """
    table = pd.DataFrame({"study": study, "slice": slice_index, "fold": fold, "label": label})
    for category in range(probability.shape[1]):
        table[f"p{category}"] = probability[:, category]
    table = table.sort_values(["study", "slice"], kind="stable")
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode("utf-8")


@dataclass(frozen=True)
class Predictions:
    """One fold's predictions as read: the names of its studies (S,), and of each row its study as an index into them,
    slice and label (N,), and the probabilities (N, K) float32."""

    studies: np.ndarray
    study: np.ndarray
    slice: np.ndarray
    label: np.ndarray
    probability: np.ndarray


def read_predictions(path: Path, fold: int, num_categories: int) -> Predictions:
    """Read and check one fold's predictions.

    Raises: ValueError naming the file and what is wrong with it.
    """
    names = [f"p{category}" for category in range(num_categories)]
    columns = ["study", "slice", "fold", "label", *names]
    try:
        if (found := list(pd.read_csv(path, nrows=0).columns)) != columns:
            raise ValueError(f"found columns {shown(found)}, wanted {shown(columns)}")
        return _checked(_read(path, names), fold)
    except (ValueError, OverflowError) as error:  # a number of more than 64 bits
        raise ValueError(f"{path}: {error}") from None


def _read(path: Path, names: list[str]) -> tuple[Predictions, set[int]]:
    """The rows, so many at a time, for text takes more memory than what it says; and the folds that they name."""
    kinds = {"study": "str", "slice": "int64", "fold": "int64", "label": "int64"} | dict.fromkeys(names, "float32")
    number: dict[str, int] = {}
    columns: dict[str, list[np.ndarray]] = {"study": [], "slice": [], "label": [], "probability": []}
    folds: set[int] = set()
    for rows in pd.read_csv(path, dtype=kinds, keep_default_na=False, chunksize=AT_ONCE):
        code_N, studies = pd.factorize(rows["study"])
        number_S = np.array([number.setdefault(study, len(number)) for study in studies], np.int32)
        columns["study"].append(number_S[code_N])
        for name in ("slice", "label"):
            columns[name].append(_narrow(rows[name].to_numpy()))
        columns["probability"].append(rows[names].to_numpy())
        folds |= set(rows["fold"].unique().tolist())
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Predictions(np.array(list(number), str), **joined), folds


def _narrow(value_N: np.ndarray) -> np.ndarray:
    """The same in 32 bits, where it fits."""
    found_N = value_N.astype(np.int32)
    return found_N if np.array_equal(found_N, value_N) else value_N


def _checked(read: tuple[Predictions, set[int]], fold: int) -> Predictions:
    found, folds = read
    num_categories = found.probability.shape[1]
    if folds - {fold}:
        raise ValueError(f"found rows of fold {shown(sorted(folds - {fold}))}, wanted fold {fold} alone")
    if not (np.isfinite(found.probability).all() and np.allclose(found.probability.sum(axis=1), 1, atol=1e-4)):
        raise ValueError("the probabilities of a row do not sum to 1")
    if found.probability.size and not 0 <= found.probability.min() <= found.probability.max() <= 1:
        raise ValueError("found a probability outside 0 to 1")
    if not np.isin(found.label, range(num_categories)).all():
        raise ValueError(f"found labels {shown(sorted(set(found.label.tolist())))}, wanted 0 to {num_categories - 1}")
    if (row := _repeated(found.study, found.slice)) is not None:
        study = str(found.studies[found.study[row]])
        raise ValueError(f"study {study!r} slice {found.slice[row]} stands there twice")
    return found


def _repeated(study: np.ndarray, at: np.ndarray) -> int | None:
    """A row whose study and slice another row has, too; None if there is none."""
    if ((np.diff(study) > 0) | ((np.diff(study) == 0) & (np.diff(at) > 0))).all():
        return None  # in order, as they are written
    order = np.lexsort((at, study))
    same = (np.diff(study[order]) == 0) & (np.diff(at[order]) == 0)
    return int(order[1:][same][0]) if same.any() else None


def heart_boxes(studies: pd.DataFrame, size: int) -> dict[str, tuple[int, int, int, int]]:
    """The heart's box on the packed slices of each study in which it was found.

    Args:
        studies: studies.csv. size: pixels per side of a packed slice.
    Returns: by study first row, row after the last, first column, column after the last: the pixels whose middle is in
    the heart's box; empty if no heart was looked for.
    """
    if "heart_row" not in studies:
        return {}
    found = studies[pd.to_numeric(studies["heart_row"]).notna()]
    if "crop_row" not in found:
        found = found.assign(crop_row=0, crop_column=0, crop_rows=found["rows"], crop_columns=found["columns"])
    box_N4 = np.concatenate([_pixels(found, axis, size) for axis in ("row", "column")], axis=1)
    return dict(zip(found["study"].astype(str), map(tuple, box_N4.tolist()), strict=True))


def _pixels(studies: pd.DataFrame, axis: str, size: int) -> np.ndarray:
    """First packed pixel of the box and the one after its last, (N, 2), along an axis."""
    first_N, count_N, packed_first_N, packed_N = (
        studies[f"{part}_{axis}{plural}"].to_numpy(float) for part in ("heart", "crop") for plural in ("", "s")
    )
    ends_N2 = np.stack([first_N, first_N + count_N], axis=1) - packed_first_N[:, None]
    return np.asarray(np.clip(np.ceil(ends_N2 * size / packed_N[:, None] - 0.5), 0, size), int)


def restrict(one: Predictions, studies: set[str]) -> Predictions:
    """The predictions of these studies alone."""
    kept = np.isin(one.studies, list(studies))
    if kept.all():
        return one
    rows, number = kept[one.study], np.cumsum(kept) - 1
    return replace(
        one, studies=one.studies[kept], study=number[one.study[rows]], slice=one.slice[rows], label=one.label[rows],
        probability=one.probability[rows],
    )  # fmt: skip
