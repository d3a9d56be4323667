"""What a level of evaluation comes down to: sums by patient, so that a bootstrap draw is one row of a matrix product.

Axes: B draw, P patient, K category, C column of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import scipy

from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import intervals, pieces
from cac_hpc.statistics.calibration import CalibrationSums, calibration_by_patient
from cac_hpc.statistics.intervals import Interval
from cac_hpc.statistics.pooling import Units
from cac_hpc.statistics.ranking import RankCorrelation

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Sums:
    """What a level comes down to: by patient, and by draw, where enough patients were tested to draw from."""

    matrix_PKK: np.ndarray
    calibration_P: CalibrationSums
    matrix_BKK: np.ndarray | None = None
    calibration_B: CalibrationSums | None = None
    spearman_B: np.ndarray | None = None

    @property
    def num_patients(self) -> int:
        return len(self.matrix_PKK)

    @property
    def matrix(self) -> np.ndarray:
        return np.asarray(self.matrix_PKK.sum(axis=0))

    def resampled(self, value: np.ndarray | None) -> Interval:
        """Interval of a figure from its value in every draw, (B,)."""
        few = np.full(1, np.nan)
        return intervals.bootstrap(few if value is None else value, self.num_patients)


def sums_by_patient(units: Units) -> Sums:
    """What the units come down to, without draws."""
    num_patients, num_categories = units.num_patients, units.num_categories
    cell = (units.patient * num_categories + units.label) * num_categories + units.predicted
    matrix = pieces.count(cell, num_patients * num_categories**2)
    return Sums(
        matrix.reshape(num_patients, num_categories, num_categories),
        calibration_by_patient(units.label, units.predicted, units.probability, units.patient, num_patients),
    )


def resample(sums: Mapping[Key, Sums], of_patients: Mapping[Key, Units], cfg: ReportConfig) -> dict[Key, Sums]:
    """The same with the draws: everything is resampled by the same patients, so that it can be compared draw by draw.

    Args:
        sums: of levels, or levels of several runs; all of the same patients in the same order.
        of_patients: units of those whose correlation with the score is drawn, too.
    """
    num_patients = next(iter(sums.values())).num_patients
    if num_patients < intervals.FEWEST_PATIENTS:
        return dict(sums)
    columns = [scipy.sparse.csc_array(_columns(one).T) for one in sums.values()]
    by_patient = scipy.sparse.vstack(columns, format="csc")  # most patients fill few cells
    correlations = [_correlation(units) for units in of_patients.values()]

    def of(weight_BP: np.ndarray) -> list[np.ndarray]:
        drawn = (by_patient @ np.ascontiguousarray(weight_BP.T)).T
        return [drawn, *(correlation(weight_BP) for correlation in correlations)]

    drawn, *spearman = intervals.in_draws([(np.arange(num_patients), of)], cfg.draws, cfg.seed)
    parts = np.split(drawn, len(columns), axis=1)
    known = dict(zip(of_patients, spearman, strict=True))
    return {key: _drawn(sums[key], part, known.get(key)) for key, part in zip(sums, parts, strict=True)}


def _columns(sums: Sums) -> np.ndarray:
    """All sums of each patient side by side, (P, C)."""
    matrix_PC = sums.matrix_PKK.reshape(sums.num_patients, -1)
    return np.concatenate([matrix_PC, sums.calibration_P.columns()], axis=1)


def _correlation(units: Units) -> Callable[[np.ndarray], np.ndarray]:
    """From how often each patient is drawn, (B, P), to the correlation of expected category and score, (B,)."""
    known = ~np.isnan(units.score)
    return RankCorrelation(units.expected_category[known], units.score[known], units.patient[known]).of


def _drawn(sums: Sums, columns_BC: np.ndarray, spearman_B: np.ndarray | None) -> Sums:
    size = sums.matrix_PKK[0].size
    matrix_BKK = columns_BC[:, :size].reshape(-1, *sums.matrix_PKK.shape[1:])
    calibration_B = CalibrationSums.from_columns(columns_BC[:, size:])
    return Sums(sums.matrix_PKK, sums.calibration_P, matrix_BKK, calibration_B, spearman_B)
