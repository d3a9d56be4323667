"""Which slices and patients a report shows: some that are drawn by its seed, and those that are most wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from cac_hpc.evaluation.outcome import Outcome
from cac_hpc.results.examples import Example, Examples, MistakenPatient, MistakenPatients, Shown
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics.pooling import Units
from cac_hpc.train.predictions import Predictions

SAMPLES = 2  # studies of each category
MISTAKES = 12  # slices
PATIENTS = 15
SAMPLED = (
    f"{SAMPLES} studies of each category, drawn by the report's seed; of each the slice in the middle of those that "
    "its fold tested"
)
MISTAKEN = f"the {MISTAKES} worst: most categories off, then highest probability of the wrong one, one slice of a study"
WORST = f"at most {PATIENTS}: most categories off, then highest probability of the wrong one"


def pick(outcome: Outcome, patients: Units, studies: pd.DataFrame, cfg: ReportConfig) -> Shown:
    """Sample slices, misclassified slices and misclassified patients, with the rules that picked them.

    Args:
        patients: that were tested. studies: columns study and patient.
    """
    found = outcome.predictions if outcome.scores is None else {}  # of lesions those are shown that counted
    return Shown(
        samples=Examples(SAMPLED, _samples(found, cfg.seed)),
        misclassified=Examples(MISTAKEN, _mistakes(found)),
        patients=mistaken(patients, outcome.patient_names(studies)),
    )


def _samples(found: Mapping[int, Predictions], seed: int) -> list[Example]:
    """Slices of studies drawn by seed, in the order of their categories."""
    where: dict[int, dict[str, tuple[int, int]]] = {}  # by category and study: the fold that tests it, and its index
    for fold, one in found.items():
        category = np.zeros(len(one.studies), int)
        category[one.study] = one.label
        for index, study in enumerate(map(str, one.studies)):
            where.setdefault(int(category[index]), {}).setdefault(study, (fold, index))
    examples = []
    for number in sorted(where):
        names, rng = sorted(where[number]), np.random.default_rng([seed, number])
        for at in sorted(rng.permutation(len(names))[:SAMPLES]):
            fold, index = where[number][names[at]]
            rows = np.flatnonzero(found[fold].study == index)
            rows = rows[np.argsort(found[fold].slice[rows], kind="stable")]
            examples.append(_example(found[fold], fold, int(rows[len(rows) // 2])))
    return examples


def _mistakes(found: Mapping[int, Predictions]) -> list[Example]:
    """The worst slices of all folds, one of each study."""
    candidates = sorted((-bad, fold, row) for fold, one in found.items() for bad, row in _worst_rows(one))
    best: dict[str, Example] = {}
    for _, fold, row in candidates:
        example = _example(found[fold], fold, row)
        best.setdefault(example.study, example)
    return list(best.values())[:MISTAKES]


def _worst_rows(one: Predictions) -> Iterator[tuple[float, int]]:
    """Badness and row of a fold's worst slices, one of each study."""
    predicted = one.probability.argmax(axis=1)
    bad_N = np.abs(predicted - one.label) + np.take_along_axis(one.probability, predicted[:, None], axis=1)[:, 0] / 2
    bad_N[predicted == one.label] = 0
    for _ in range(MISTAKES):
        row = int(bad_N.argmax()) if len(bad_N) else 0
        if not len(bad_N) or bad_N[row] == 0:
            return
        yield float(bad_N[row]), row
        bad_N[one.study == one.study[row]] = 0


def _example(one: Predictions, fold: int, row: int) -> Example:
    predicted = int(one.probability[row].argmax())
    return Example(
        study=str(one.studies[one.study[row]]),
        slice=int(one.slice[row]),
        fold=fold,
        true=int(one.label[row]),
        predicted=predicted,
        probability=float(one.probability[row, predicted]),
        probability_of_true=float(one.probability[row, one.label[row]]),
    )


def mistaken(units: Units, names: np.ndarray) -> MistakenPatients:
    """The patients that are most wrong, and how many are wrong at all."""
    wrong = worst_first(units)
    worst = [
        MistakenPatient(
            patient=str(names[units.patient[row]]),
            fold=int(units.fold[row]),
            score=None if np.isnan(units.score[row]) else float(units.score[row]),
            true=int(units.label[row]),
            predicted=int(units.predicted[row]),
            probability=float(units.probability[row, units.predicted[row]]),
            probability_of_true=float(units.probability[row, units.label[row]]),
        )
        for row in wrong[:PATIENTS]
    ]
    off = np.abs(units.predicted - units.label)[wrong]
    return MistakenPatients(WORST, len(wrong), np.bincount(off).tolist(), worst)


def worst_first(units: Units) -> np.ndarray:
    """Rows of those predicted wrong: most categories off, then highest probability of the wrong one, first."""
    off = np.abs(units.predicted - units.label)
    wrong = np.flatnonzero(off)
    probability = units.probability[wrong, units.predicted[wrong]]
    return wrong[np.lexsort((units.fold[wrong], units.patient[wrong], -probability, -off[wrong]))]
