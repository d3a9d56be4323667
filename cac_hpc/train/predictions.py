"""predictions.csv: one row per test slice, the only thing a fold hands to the aggregator. Axes: N row, K category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


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
            raise ValueError(f"found columns {found}, wanted {columns}")
        kinds = {"study": "str", "slice": "int64", "fold": "int64", "label": "int64"}
        table = pd.read_csv(path, dtype=kinds | dict.fromkeys(names, "float32"), keep_default_na=False)
        return _checked(table, fold, names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _checked(table: pd.DataFrame, fold: int, names: list[str]) -> Predictions:
    study, names_of = pd.factorize(table["study"])
    at, label = table["slice"].to_numpy(), table["label"].to_numpy()
    probability = table[names].to_numpy()
    studies = names_of.to_numpy().astype(str)
    if not (table["fold"] == fold).all():
        raise ValueError(f"found rows of fold {sorted(set(table['fold']) - {fold})}, wanted fold {fold} alone")
    if not (np.isfinite(probability).all() and np.allclose(probability.sum(axis=1), 1, atol=1e-4)):
        raise ValueError("the probabilities of a row do not sum to 1")
    if probability.size and not 0 <= probability.min() <= probability.max() <= 1:
        raise ValueError("found a probability outside 0 to 1")
    if not np.isin(label, range(len(names))).all():
        raise ValueError(f"found labels {sorted(map(int, set(label)))}, wanted 0 to {len(names) - 1}")
    if (row := _repeated(study, at)) is not None:
        raise ValueError(f"study {str(studies[study[row]])!r} slice {at[row]} stands there twice")
    return Predictions(studies, study, at, label, probability)


def _repeated(study: np.ndarray, at: np.ndarray) -> int | None:
    """A row whose study and slice another row has, too; None if there is none."""
    if ((np.diff(study) > 0) | ((np.diff(study) == 0) & (np.diff(at) > 0))).all():
        return None  # in order, as they are written
    order = np.lexsort((at, study))
    same = (np.diff(study[order]) == 0) & (np.diff(at[order]) == 0)
    return int(order[1:][same][0]) if same.any() else None
