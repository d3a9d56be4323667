"""Whose candidates a report shows: which calcium counted, and which did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.evaluation import example_choice
from cac_hpc.evaluation.inputs import Inputs
from cac_hpc.results.examples import Lesion, ShownLesions, ShownPatient
from cac_hpc.results.figures import Absent
from cac_hpc.statistics import assessment
from cac_hpc.statistics.assessment import Tested
from cac_hpc.statistics.pooling import Units

WORST, SAMPLES = 6, 1  # patients that are most wrong, and of each category
REJECTED = 12  # of a study
PICKED = (
    f"at most {WORST} patients predicted wrong (most categories off, then highest probability of the wrong one), and "
    f"{SAMPLES} more of each category, drawn by the report's seed"
)
NOTHING = "no fold has been tested"
COLUMNS = ("candidate", "first_slice", "last_slice", "agatston", "volume_mm3", "max_hu", "region_share", "probability")


def pick(inputs: Inputs, tested: Sequence[Tested]) -> ShownLesions | Absent | None:
    """The patients that are shown; None if the model is not of lesions."""
    table = inputs.lesions
    if table is None:
        return None
    if inputs.outcome.scores is None or not inputs.results:
        return Absent(NOTHING)
    patients = assessment.units_of(tested)["patient"]
    counted = table["counted"].astype(int) if len(table) else pd.Series(dtype=int)
    return ShownLesions(
        note=None,
        rule=PICKED,
        patients=[_shown(inputs, patients, row, wrong, table) for row, wrong in _picked(patients, inputs.report.seed)],
        candidates=len(table),
        counted=int(counted.sum()),
    )


def _picked(units: Units, seed: int) -> list[tuple[int, bool]]:
    """Rows of the patients that are shown, and whether for being wrong."""
    worst = example_choice.worst_first(units)[:WORST].tolist()
    drawn: list[int] = []
    for category in range(units.num_categories):
        rows = np.setdiff1d(np.flatnonzero(units.label == category), worst)
        order = np.random.default_rng([seed, category]).permutation(len(rows))
        drawn += rows[order[:SAMPLES]].tolist()
    return [(row, True) for row in worst] + [(row, False) for row in drawn]


def _shown(inputs: Inputs, units: Units, row: int, wrong: bool, table: pd.DataFrame) -> ShownPatient:
    """What was said of a patient, and the candidates of his study with the highest predicted score."""
    outcome, fold = inputs.outcome, int(units.fold[row])
    assert outcome.scores is not None
    patient = str(outcome.patient_names(inputs.studies)[units.patient[row]])
    owner, scores = inputs.studies.set_index("study")["patient"], outcome.scores[fold]
    own = np.flatnonzero(owner.loc[scores.study].to_numpy(str) == patient)
    at = min(own, key=lambda number: (-scores.score[number], scores.study[number]))
    study = str(scores.study[at])
    mine = table[(table["study"] == study) & (table["fold"] == fold)] if len(table) else table
    lesions = [_lesion(one) for one in mine.to_dict("records")]
    rejected = sorted((one for one in lesions if not one.counted), key=lambda one: (-near(one), -one.agatston))
    shown = [one for one in lesions if one.counted] + rejected[:REJECTED]
    return ShownPatient(
        patient=patient,
        study=study,
        fold=fold,
        why="misclassified" if wrong else "sample",
        reported=None if np.isnan(units.score[row]) else float(units.score[row]),
        true=int(units.label[row]),
        score=float(scores.score[at]),
        predicted=int(units.predicted[row]),
        probability=float(units.probability[row, units.predicted[row]]),
        control=float(scores.control[at]),
        lesions=sorted(shown, key=lambda one: (not one.counted, -one.agatston, one.candidate)),
        rejected=len(rejected),
        rejected_agatston=float(sum(one.agatston for one in rejected)),
    )


def near(one: Lesion) -> float:
    """How near a rejected candidate came to the score: its own times p, or times its share in the heart's region."""
    return one.agatston * max(one.probability, one.region_share)


def _lesion(row: Mapping[Any, Any]) -> Lesion:
    kinds = (int, int, int, float, float, float, float, float)
    values = {name: kind(row[name]) for name, kind in zip(COLUMNS, kinds, strict=True)}
    return Lesion(**values, counted=bool(int(row["counted"])))
