"""predictions.csv: one row per test slice, the only thing a fold hands to the aggregator."""

from __future__ import annotations

from collections.abc import Sequence
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


def read_predictions(path: Path, fold: int, num_categories: int) -> pd.DataFrame:
    """Read and check one fold's predictions.

    Returns: columns study, slice, fold, label, p0..pK-1.
    Raises: ValueError naming the file and what is wrong with it.
    """
    columns = ["study", "slice", "fold", "label", *(f"p{category}" for category in range(num_categories))]
    table = pd.read_csv(path, dtype={"study": str}, keep_default_na=False)
    if list(table.columns) != columns:
        raise ValueError(f"{path}: found columns {list(table.columns)}, wanted {columns}")
    if not (table["fold"] == fold).all():
        raise ValueError(f"{path}: found rows of fold {sorted(set(table['fold']) - {fold})}, wanted fold {fold} alone")
    probability = table[columns[4:]].to_numpy(dtype=float)
    if not (np.isfinite(probability).all() and np.allclose(probability.sum(axis=1), 1, atol=1e-4)):
        raise ValueError(f"{path}: the probabilities of a row do not sum to 1")
    if not table["label"].isin(range(num_categories)).all():
        raise ValueError(f"{path}: found labels {sorted(set(table['label']))}, wanted 0 to {num_categories - 1}")
    if (repeated := table.duplicated(["study", "slice"])).any():
        row = table[repeated].iloc[0]
        raise ValueError(f"{path}: study {row['study']!r} slice {row['slice']} stands there twice")
    return table


def by_patient(table: pd.DataFrame) -> pd.DataFrame:
    """Mean probability over all slices of a patient; a patient counts with the highest of the studies' labels.

    Args:
        table: columns patient, label, p0..pK-1, one row per slice.
    Returns: columns patient, label, p0..pK-1, one row per patient.
    """
    parts = {"label": "max", **dict.fromkeys(probability_columns(table), "mean")}
    return table.groupby("patient", as_index=False).agg(parts)


def predicted(table: pd.DataFrame) -> np.ndarray:
    """The category of highest probability of each row, (N,); the lower one at a tie."""
    return np.asarray(table[probability_columns(table)].to_numpy(dtype=float).argmax(axis=1))


def probability_columns(table: pd.DataFrame) -> list[str]:
    return [column for column in table.columns if column[:1] == "p" and column[1:].isdigit()]
