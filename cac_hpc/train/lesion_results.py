"""What a fold of a lesion model hands on: predictions.csv, scores.csv (of each study), lesions.csv (of each candidate).

Imports no torch. Axes: N candidate, U study, K category.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cac_hpc.calcium import candidates
from cac_hpc.settings.checks import shown
from cac_hpc.train import ordinal, predictions
from cac_hpc.train.ordinal import Errors

if TYPE_CHECKING:
    from cac_hpc.train.bags import BagData, StudyBag

TOLERANCE = 1e-4  # of sums of probabilities, and of scores
LESION_COLUMNS = {
    "study": "str",
    "fold": "int64",
    "candidate": "int64",
    "first_slice": "int64",
    "last_slice": "int64",
    "row": "float64",
    "column": "float64",
    "agatston": "float64",
    "volume_mm3": "float64",
    "max_hu": "float64",
    "region_share": "float64",
    "probability": "float64",
    "counted": "int64",
}


@dataclass(frozen=True)
class Scores:
    """One fold's scores: of each study its name, label and the Agatston scores that the model and the untrained model,
    its control, give it, all (U,); and the probabilities of the categories (U, K) float64."""

    study: np.ndarray
    label: np.ndarray
    score: np.ndarray
    control: np.ndarray
    probability: np.ndarray


def counted(probability_N: np.ndarray) -> np.ndarray:
    """Which candidates count."""
    return probability_N > 0.5


def tables(data: BagData, unit_U: np.ndarray, fold: int, probability_N: np.ndarray, errors: Errors) -> dict[str, bytes]:
    """The files of a fold's test studies, by name; the same numbers give the same bytes.

    Args:
        unit_U: the test studies. probability_N: of their candidates, study by study. errors: of their scores.
    """
    return {
        "scores.csv": _scores(data, unit_U, fold, probability_N, errors),
        "lesions.csv": _lesions(data, unit_U, fold, probability_N),
        "predictions.csv": _predictions(data, unit_U, fold, probability_N),
    }


def _scores(data: BagData, unit_U: np.ndarray, fold: int, probability_N: np.ndarray, errors: Errors) -> bytes:
    score_U, units = data.scores(counted(probability_N), unit_U), data.units
    columns = {"study": units.study[unit_U], "fold": fold, "label": units.label[unit_U], "score": score_U}
    table = pd.DataFrame(columns | {"control": data.control(unit_U)})
    chance_UK = ordinal.probabilities(score_U, errors.scale, data.edges, errors.gross)
    for category, chance_U in enumerate(chance_UK.T):
        table[f"p{category}"] = chance_U
    return _csv(table.sort_values("study", kind="stable"))


def _lesions(data: BagData, unit_U: np.ndarray, fold: int, probability_N: np.ndarray) -> bytes:
    count_U, row_N = data.units.counts(unit_U), data.units.rows(unit_U)
    columns = {
        "study": np.repeat(data.units.study[unit_U], count_U),
        "fold": fold,
        "candidate": 1 + np.arange(len(row_N)) - np.repeat(np.cumsum(count_U) - count_U, count_U),
        **candidate_columns(data.bag, row_N, probability_N),
    }
    return _csv(pd.DataFrame(columns)[list(LESION_COLUMNS)].sort_values(["study", "candidate"], kind="stable"))


def candidate_columns(bag: StudyBag, row_N: np.ndarray, probability_N: np.ndarray) -> dict[str, np.ndarray]:
    """What lesions.csv says of candidates, by column.

    Args:
        row_N: their rows in the bag.
    """
    names = {name: candidates.NAMES.index(name) for name in ("log_volume", "max_hu", "region_share")}
    feature = {name: bag.feature_NF[row_N, place].astype(np.float64) for name, place in names.items()}
    return {
        "first_slice": bag.first_slice_N[row_N],
        "last_slice": bag.last_slice_N[row_N],
        "row": np.round(bag.middle_N2[row_N, 0], 2),
        "column": np.round(bag.middle_N2[row_N, 1], 2),
        "agatston": np.round(bag.agatston_N[row_N], 4),
        "volume_mm3": np.round(np.expm1(feature["log_volume"]), 4),
        "max_hu": feature["max_hu"],
        "region_share": np.round(feature["region_share"], 6),
        "probability": probability_N,
        "counted": counted(probability_N).astype(np.int64),
    }


def _predictions(data: BagData, unit_U: np.ndarray, fold: int, probability_N: np.ndarray) -> bytes:
    """predictions.csv: a slice is of the category of what counts on it, without doubt."""
    slice_scores = data.slice_scores(counted(probability_N), unit_U)
    count_U = np.array(list(map(len, slice_scores)), np.int64)
    category = data.category(np.concatenate([np.zeros(0), *slice_scores]))
    certain = np.eye(len(data.edges) + 1, dtype=np.float32)[category]
    number = np.concatenate([np.zeros(0, np.int64), *map(np.arange, count_U)])
    study, label = (np.repeat(column[unit_U], count_U) for column in (data.units.study, data.units.label))
    return predictions.to_csv(study.tolist(), number, fold, label, certain)


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode("utf-8")


def read_scores(path: Path, fold: int, num_categories: int) -> Scores:
    """Read and check one fold's scores.csv.

    Raises: ValueError naming the file and what is wrong with it.
    """
    names = [f"p{category}" for category in range(num_categories)]
    kinds = {"study": "str", "fold": "int64", "label": "int64", "score": "float64", "control": "float64"}
    try:
        table = _read(path, fold, kinds | dict.fromkeys(names, "float64"))
        score, control, probability = (table[column].to_numpy() for column in ("score", "control", names))
        if table["study"].duplicated().any():
            raise ValueError(f"study {table['study'][table['study'].duplicated()].iloc[0]!r} stands there twice")
        if not np.isin(table["label"], range(num_categories)).all():
            raise ValueError(f"found labels {shown(sorted(set(table['label'])))}, wanted 0 to {num_categories - 1}")
        if not all(np.isfinite(column).all() and (column >= 0).all() for column in (score, control)):
            raise ValueError("found a score that is no number of 0 or more")
        _check_chances(probability)
        if not np.allclose(probability.sum(axis=1), 1, atol=TOLERANCE):
            raise ValueError("the probabilities of a row do not sum to 1")
        return Scores(table["study"].to_numpy(str), table["label"].to_numpy(), score, control, probability)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_lesions(path: Path, fold: int) -> pd.DataFrame:
    """Read and check one fold's lesions.csv: its columns are those of LESION_COLUMNS, of these types.

    Raises: ValueError naming the file and what is wrong with it.
    """
    try:
        table = _read(path, fold, LESION_COLUMNS)
        _check_chances(table["probability"].to_numpy())
        if not np.array_equal(table["counted"], counted(table["probability"].to_numpy())):
            raise ValueError("found a candidate that counts at a probability of 0.5 or less, or does not above it")
        if table.duplicated(["study", "candidate"]).any():
            raise ValueError("found a candidate twice")
        if not (np.isfinite(table["agatston"]).all() and (table["agatston"] > 0).all()):
            raise ValueError("found an Agatston score that is no number above 0")
        return table
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(path: Path, fold: int, kinds: dict[str, str]) -> pd.DataFrame:
    if (found := list(pd.read_csv(path, nrows=0).columns)) != list(kinds):
        raise ValueError(f"found columns {shown(found)}, wanted {shown(list(kinds))}")
    table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values={})
    if not (table["fold"] == fold).all():
        raise ValueError(f"found rows of fold {shown(sorted(set(table['fold']) - {fold}))}, wanted fold {fold} alone")
    return table


def _check_chances(probability: np.ndarray) -> None:
    if probability.size and not (np.isfinite(probability).all() and 0 <= probability.min() <= probability.max() <= 1):
        raise ValueError("found a probability outside 0 to 1")
