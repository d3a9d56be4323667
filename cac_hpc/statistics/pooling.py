"""What was tested: slices out of the folds' predictions, patients out of slices. Axes: N unit, K category, P patient.

A unit is a slice, or a patient in one fold's test part. Repeated draws (split.scheme: holdout) test a unit more than
once; each test then is a unit of its own, and all of them belong to the same patient. So it is with patients whose
slices are divided among the folds (split.unit: slice). In pooling N is slices, and U units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from cac_hpc.labels import labels
from cac_hpc.statistics import pieces
from cac_hpc.train.lesion_results import Scores
from cac_hpc.train.predictions import Predictions

_EMPTY = pd.DataFrame(columns=["fold", "study", "label", "read", "row"])
Rule = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # probability_NK, unit_N, num_units -> probability_UK


@dataclass(frozen=True)
class Units:
    """Of each unit its truth, prediction, patient (an index below num_patients), fold and score, NaN where unknown."""

    label: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray  # (N, K)
    patient: np.ndarray
    fold: np.ndarray
    score: np.ndarray
    num_patients: int
    distinct: int  # units, each counted once however often it was tested

    @property
    def num_categories(self) -> int:
        return int(self.probability.shape[1])

    @property
    def expected_category(self) -> np.ndarray:
        """Category numbers weighed by their probabilities, (N,); rounded, so that what is equal ties in ranks."""
        category, found = np.arange(self.num_categories, dtype=float), np.empty(len(self.label))
        for part in pieces.pieces(len(found)):
            found[part] = np.round(self.probability[part] @ category, 9)
        return found


def slice_units(found: Mapping[int, Predictions], studies: pd.DataFrame, num_categories: int) -> Units:
    """All slices that the folds tested.

    Args:
        found: predictions by fold.
        studies: columns study, patient and, where it is known, score.
    """
    names = np.unique(np.concatenate([np.zeros(0, str), *(one.studies for one in found.values())]))
    rows = studies.set_index("study").loc[names]
    patients, owner = np.unique(rows["patient"].to_numpy(str), return_inverse=True)
    score = pd.to_numeric(rows["score"]).to_numpy(float) if "score" in rows else np.full(len(names), np.nan)
    place = {fold: np.searchsorted(names, one.studies).astype(np.int32) for fold, one in found.items()}
    study = [pieces.take(place[fold], one.study) for fold, one in found.items()]
    probability = _joined([one.probability for one in found.values()], np.zeros((0, num_categories), np.float32))
    fold = [np.full(len(one.label), index, np.int32) for index, one in found.items()]
    return Units(
        label=_joined([one.label for one in found.values()], np.zeros(0, int)),
        predicted=_most_probable(probability),
        probability=probability,
        patient=_joined([pieces.take(owner.astype(np.int32), one) for one in study], np.zeros(0, np.int32)),
        fold=_joined(fold, np.zeros(0, int)),
        score=_joined([pieces.take(score, one) for one in study], np.zeros(0)),
        num_patients=len(patients),
        distinct=_num_slices(study, [one.slice for one in found.values()], len(names)),
    )


def _most_probable(probability_NK: np.ndarray) -> np.ndarray:
    """The first of the categories that are most probable, (N,) int16."""
    found = np.empty(len(probability_NK), np.int16)
    for part in pieces.pieces(len(found)):
        found[part] = probability_NK[part].argmax(axis=1)
    return found


def _num_slices(study: Sequence[np.ndarray], at: Sequence[np.ndarray], num_studies: int) -> int:
    """How many slices there are, each counted once however often it was tested.

    Args:
        study, at: by fold the study and the number of each slice.
    """
    per_study = max((int(one.max(initial=0)) for one in at), default=0) + 1
    there = np.zeros(num_studies * per_study, bool)
    for of_fold, number in zip(study, at, strict=True):
        for part in pieces.pieces(len(number)):
            there[of_fold[part].astype(np.intp) * per_study + number[part]] = True
    return int(np.count_nonzero(there))


def patient_units(of_slices: Units, rule: Rule) -> Units:
    """The same patients, each once per fold that tested it: by the highest label and score of the studies tested."""
    tested, unit_N = _units(of_slices)
    label = pieces.combine(np.maximum, np.full(len(tested), -1), unit_N, of_slices.label)
    probability = rule(of_slices.probability, unit_N, len(tested))
    return Units(
        label=label,
        predicted=probability.argmax(axis=1),
        probability=probability,
        patient=tested % max(of_slices.num_patients, 1),
        fold=tested // max(of_slices.num_patients, 1),
        score=_highest_score(of_slices.score, unit_N, len(tested)),
        num_patients=of_slices.num_patients,
        distinct=of_slices.num_patients,
    )


def _units(of_slices: Units) -> tuple[np.ndarray, np.ndarray]:
    """Fold times patients plus patient of each unit, rising, (U,), and the unit of each slice, (N,)."""
    number_N = of_slices.fold * of_slices.num_patients + of_slices.patient
    there = pieces.count(number_N, int(number_N.max(initial=-1)) + 1) > 0
    return np.flatnonzero(there), pieces.take((np.cumsum(there) - 1).astype(np.int32), number_N)


def _highest_score(score_N: np.ndarray, unit_N: np.ndarray, num_units: int) -> np.ndarray:
    """Of each unit, (U,); unknown, NaN, where one is, for that one is above the last edge."""
    highest, unknown = np.full(num_units, -np.inf), np.isnan(score_N)
    pieces.combine(np.maximum, highest, unit_N, np.where(unknown, np.inf, score_N) if unknown.any() else score_N)
    highest[np.isinf(highest)] = np.nan
    return highest


def scored_patients(
    found: Mapping[int, Scores], studies: pd.DataFrame, edges: Sequence[float]
) -> tuple[Units, np.ndarray]:
    """Patients, each once per fold that tested it, by the predicted scores of their studies.

    A patient has the highest label and reported score of the studies tested, and the highest predicted score, whose
    category is predicted; the probabilities are those of the study with it.

    Args:
        found: scores by fold.
        studies: columns study, patient and, where it is known, score.
        edges: of the categories, as in labels.edges.
    Returns: the patients, in the order of `patient_units`, and their predicted scores (N,).
    """
    table = pd.concat([_EMPTY, *(_of_fold(fold, one) for fold, one in found.items())])
    rows = studies.set_index("study").loc[table["study"]]
    patients, table["patient"] = np.unique(rows["patient"].to_numpy(str), return_inverse=True)
    score = pd.to_numeric(rows["score"]).to_numpy(float) if "score" in rows else np.full(len(rows), np.nan)
    table["score"] = np.where(np.isnan(score), np.inf, score)  # unknown where one is: that one is above the last edge
    table = table.sort_values(["fold", "patient", "read", "study"], ascending=[True, True, False, True])
    of_patient = table.groupby(["fold", "patient"], sort=True)
    first, highest = of_patient.first(), of_patient[["label", "score"]].max()
    fold_N, patient_N = (first.index.get_level_values(name).to_numpy(int) for name in ("fold", "patient"))
    probability = [found[fold].probability[row] for fold, row in zip(fold_N.tolist(), first["row"], strict=True)]
    read_N = first["read"].to_numpy(float)
    reported = highest["score"].to_numpy(float)
    units = Units(
        label=highest["label"].to_numpy(int),
        predicted=labels.categories(read_N.tolist(), edges),
        probability=np.stack(probability) if probability else np.zeros((0, len(edges) + 1), np.float32),
        patient=patient_N,
        fold=fold_N,
        score=np.where(np.isinf(reported), np.nan, reported),
        num_patients=len(patients),
        distinct=len(patients),
    )
    return units, read_N


def _of_fold(fold: int, one: Scores) -> pd.DataFrame:
    rows = range(len(one.label))
    return pd.DataFrame({"fold": fold, "study": one.study, "label": one.label, "read": one.score, "row": rows})


def pooling_rules(top_k: int) -> dict[str, Rule]:
    """Every way from slices to a patient; ``report.patient_rule`` names the one that counts."""
    return {"mean": _mean, "majority": _majority, "top_k": partial(_top_k, k=top_k)}


def _mean(probability_NK: np.ndarray, unit_N: np.ndarray, num_units: int) -> np.ndarray:
    """Mean probability over the slices."""
    sums = [pieces.combine(np.add, np.zeros(num_units), unit_N, column) for column in probability_NK.T]
    return np.asarray(np.stack(sums, axis=1) / pieces.count(unit_N, num_units)[:, None])


def _majority(probability_NK: np.ndarray, unit_N: np.ndarray, num_units: int) -> np.ndarray:
    """Share of the slices that are predicted as each category."""
    num_categories = probability_NK.shape[1]
    cell = unit_N * num_categories + _most_probable(probability_NK)
    votes = pieces.count(cell, num_units * num_categories).reshape(num_units, num_categories)
    return np.asarray(votes / pieces.count(unit_N, num_units)[:, None])


def _top_k(probability_NK: np.ndarray, unit_N: np.ndarray, num_units: int, k: int) -> np.ndarray:
    """Of each category the mean of its k highest probabilities over the slices, then divided by their sum.

    Where there are fewer than k slices, all of them are taken.
    """
    order = np.argsort(unit_N, kind="stable")
    count_U = pieces.count(unit_N, num_units)
    first_U = np.cumsum(count_U) - count_U
    highest_UK = np.empty((num_units, probability_NK.shape[1]))
    for count in np.unique(count_U):  # units of as many slices are one array
        alike, taken = np.flatnonzero(count_U == count), min(k, int(count))
        for some in pieces.pieces(len(alike), max(1, pieces.AT_ONCE // int(count))):
            rows = order[first_U[alike[some]][:, None] + np.arange(count)]
            part = np.partition(probability_NK[rows], count - taken, axis=1)[:, count - taken :]
            highest_UK[alike[some]] = np.sort(part, axis=1).mean(axis=1, dtype=float)
    return np.asarray(highest_UK / highest_UK.sum(axis=1, keepdims=True))


def num_distinct(number_N: np.ndarray) -> int:
    """How many different numbers, from 0 and about as high as there are units; np.unique takes ten times as long."""
    there = np.zeros(int(number_N.max(initial=-1)) + 1, bool)
    there[number_N] = True
    return int(np.count_nonzero(there))


def _joined(parts: list[np.ndarray], empty: np.ndarray) -> np.ndarray:
    return np.concatenate(parts) if parts else empty
