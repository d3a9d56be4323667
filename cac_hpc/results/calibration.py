"""Whether probabilities mean what they say, and what a recalibration changes."""

from __future__ import annotations

from dataclasses import dataclass

from cac_hpc.results.figures import Figure


@dataclass(frozen=True)
class Bin:
    """Predictions whose highest probability is above one edge, up to and with the other."""

    above: float
    up_to: float
    n: int
    confidence: float | None
    accuracy: float | None
    low: float | None
    high: float | None
    interval: str | None
    note: str | None


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities mean what they say."""

    brier: Figure
    brier_of_frequencies: Figure
    expected_calibration_error: Figure
    bins: int
    reliability: list[Bin]

    @property
    def figures(self) -> dict[str, Figure]:
        names = ("brier", "brier_of_frequencies", "expected_calibration_error")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class CategoryShare:
    """Of a category the share of the patients, and the mean of its probabilities before and after recalibration."""

    category: int
    observed: float
    before: float
    after: float


@dataclass(frozen=True)
class Recalibration:
    """Calibration as predicted, and after recalibration in the large: one intercept, fitted to other patients.

    intercept: fitted to all patients, in units of the log odds of a higher category; above 0: predicted too low.
    """

    method: str
    intercept: Figure
    before: Calibration
    after: Calibration
    shares: list[CategoryShare]
