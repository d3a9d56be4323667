"""Labels to check: patients whose readers agree with each other and not with the sheet. Nothing is changed by itself.

The order is that of the expected change: the probability, by a model that was trained without the patient, that the
label is another category, times the categories by which it would move, summed over these. cleanlab ranks by the
probability of the label alone, unless told otherwise, so that a neighbour may come before a patient who is four
categories off, and it asks one model, not whether others see the same. Axes: N test of a patient, P patient, R reader.

Source: Northcutt, Jiang and Chuang 2021, J Artif Intell Res 70:1373, of labels held against out-of-fold probabilities.
"""

from __future__ import annotations

import numpy as np

from cac_hpc.evaluation.readers import CONTROL, MODEL, RULE, Heard
from cac_hpc.results.audits import LabelsToCheck, LabelToCheck
from cac_hpc.results.figures import Absent

READERS = (RULE, CONTROL, MODEL)  # that know a category without the sheet
FEWEST = 2  # readers that can agree
DECIMALS = 9  # what is equal ties


def find(heard: Heard | Absent) -> LabelsToCheck | None:
    """Labels that all readers contradict in every test of the patient; None where fewer than two say anything."""
    readers = [] if isinstance(heard, Absent) else [key for key in READERS if key in heard.said]
    if isinstance(heard, Absent) or len(readers) < FEWEST:
        return None
    names = np.unique(heard.studies["patient"].to_numpy(str))
    units = heard.said[MODEL].units["patient"]
    read_NR = np.stack([heard.said[key].units["patient"].predicted for key in readers], axis=1)
    agreed_N = (read_NR == read_NR[:, :1]).all(axis=1) & (read_NR[:, 0] != units.label)
    tests_P = np.bincount(units.patient, minlength=len(names))
    agreed_P = np.bincount(units.patient, agreed_N, len(names)) == np.maximum(tests_P, 1)
    moved_N = (units.probability * np.abs(np.arange(units.num_categories) - units.label[:, None])).sum(axis=1)
    other_N = 1 - units.probability[np.arange(len(units.label)), units.label]
    moved_P, other_P = (
        np.bincount(units.patient, of_N, len(names)) / np.maximum(tests_P, 1) for of_N in (moved_N, other_N)
    )
    first_P = np.full(len(names), -1)
    first_P[units.patient[::-1]] = np.arange(len(units.label))[::-1]
    listed = np.flatnonzero(agreed_P)
    order = listed[np.lexsort((listed, -np.round(moved_P[listed], DECIMALS)))]
    found = [
        LabelToCheck(
            patient=str(names[patient]),
            score=None if np.isnan(units.score[row]) else float(units.score[row]),
            category=int(units.label[row]),
            read=int(read_NR[row, 0]),
            probability=float(other_P[patient]),
            expected_change=float(moved_P[patient]),
        )
        for patient, row in zip(order.tolist(), first_P[order].tolist(), strict=True)
    ]
    return LabelsToCheck(readers, int(np.count_nonzero(tests_P)), found)
