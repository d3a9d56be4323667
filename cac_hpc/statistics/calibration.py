"""Whether probabilities mean what they say: Brier score, expected calibration error, reliability, from sums over units.

Axes: N unit, P patient, K category, J bin of confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cac_hpc.results.calibration import Bin
from cac_hpc.statistics import intervals
from cac_hpc.statistics.agreement import ratio
from cac_hpc.statistics.pieces import pieces

NUM_BINS = 10  # of equal width; a confidence that is an edge belongs to the bin below it


@dataclass(frozen=True)
class CalibrationSums:
    """What calibration needs of units, summed: (...,) and (..., J)."""

    count: np.ndarray
    squares: np.ndarray  # of the distance from the probabilities to the truth
    bin_count: np.ndarray
    bin_confidence: np.ndarray
    bin_right: np.ndarray

    def columns(self) -> np.ndarray:
        """All of it side by side, (..., 2 + 3 J)."""
        return np.concatenate(
            [self.count[..., None], self.squares[..., None], self.bin_count, self.bin_confidence, self.bin_right], -1
        )

    @classmethod
    def from_columns(cls, columns: np.ndarray) -> CalibrationSums:
        parts = np.split(columns[..., 2:], 3, axis=-1)
        return cls(columns[..., 0], columns[..., 1], *parts)


def calibration_by_patient(
    label_N: np.ndarray, category_N: np.ndarray, probability_NK: np.ndarray, patient_N: np.ndarray, num_patients: int
) -> CalibrationSums:
    """CalibrationSums over the units of each patient, (P,) and (P, J).

    Args:
        category_N: as predicted; confidence is its probability, the highest one where a model predicts that.
    """
    squares, confidences = np.zeros(num_patients), np.zeros(num_patients * NUM_BINS)
    counts = np.zeros(num_patients * NUM_BINS * 2)  # of wrong and right ones
    for part in pieces(len(label_N)):
        label, category, probability = label_N[part], category_N[part], probability_NK[part]
        rows, patient = np.arange(len(label)), patient_N[part].astype(np.intp)
        confidence = probability[rows, category].astype(float)
        cell = patient * NUM_BINS + bins(confidence)
        np.add.at(squares, patient, _squares(probability, probability[rows, label]))
        np.add.at(confidences, cell, confidence)
        np.add.at(counts, 2 * cell + (category == label), 1)
    count_PJ2, confidence_PJ = counts.reshape(num_patients, NUM_BINS, 2), confidences.reshape(num_patients, NUM_BINS)
    count_PJ = count_PJ2.sum(axis=2)
    return CalibrationSums(count_PJ.sum(axis=1), squares, count_PJ, confidence_PJ, count_PJ2[..., 1].copy())


def _squares(probability_NK: np.ndarray, of_label_N: np.ndarray) -> np.ndarray:
    """Squared distance of each unit's probabilities from the truth, (N,)."""
    return np.asarray(
        np.einsum("nk,nk->n", probability_NK, probability_NK, dtype=float) - 2 * of_label_N.astype(float) + 1
    )


def bins(confidence_N: np.ndarray) -> np.ndarray:
    """The bin of each confidence, from 0."""
    return np.asarray(np.clip(np.ceil(confidence_N * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1))


def brier(sums: CalibrationSums) -> np.ndarray:
    """Mean over the units of sum_k (p_k - y_k)^2: 0 is best, 2 is worst. Source: Brier 1950, all categories."""
    return ratio(sums.squares, sums.count)


def brier_of_frequencies(true_K: np.ndarray) -> np.ndarray:
    """Brier score of always giving the true frequencies of the categories: chance, from counts (..., K)."""
    share = ratio(true_K, true_K.sum(axis=-1, keepdims=True))
    return np.asarray(1 - (share**2).sum(axis=-1))


def expected_error(sums: CalibrationSums) -> np.ndarray:
    """Expected calibration error: distance of accuracy from confidence, averaged over the bins by their units.

    Confidence is the probability of the predicted category. Source: Guo et al. 2017, ICML; ten bins of equal width.
    """
    return ratio(np.abs(sums.bin_right - sums.bin_confidence).sum(axis=-1), sums.count)


def reliability(by_patient: CalibrationSums) -> list[Bin]:
    """Of each bin its edges, units, mean confidence, and accuracy with an interval."""
    found = []
    for index in range(NUM_BINS):
        count, right = by_patient.bin_count[:, index], by_patient.bin_right[:, index]
        n, interval = int(count.sum()), intervals.proportion(right, count)
        confidence = float(by_patient.bin_confidence[:, index].sum() / n) if n else None
        accuracy = float(right.sum() / n) if n else None
        above, up_to = index / NUM_BINS, (index + 1) / NUM_BINS
        shown = (interval.low, interval.high, interval.method, interval.note)
        found.append(Bin(above, up_to, n, confidence, accuracy, *shown))
    return found
