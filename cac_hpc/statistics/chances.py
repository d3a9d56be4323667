"""Whether the probabilities of an event mean what they say: calibration slope, intercept and curve, Brier score.

Axes: N unit, P patient, D coefficient, G point of a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from cac_hpc.results.cuts import BrierParts, ObservedShare
from cac_hpc.results.figures import Absent
from cac_hpc.statistics import intervals, metrics
from cac_hpc.statistics.intervals import Interval

NEAREST = 0.001  # to 0 or 1: log odds are no farther out
KNOTS = (0.1, 0.5, 0.9)  # quantiles; Harrell 2015, Regression Modeling Strategies, section 2.4.6
POINTS = 41
STEPS, CLOSE, FARTHEST = 50, 1e-10, 50.0  # of Newton's method; log odds beyond the last are without end
SANDWICH = "sandwich"
SEPARATED = (
    "the probabilities divide the patients with the event from those without, so neither slope nor curve can be fitted"
)
ALIKE = "all probabilities are alike"
ONE_SIDED = "all patients are on one side of the cut"


@dataclass(frozen=True)
class Fit:
    """A logistic regression: coefficients (D,), and how they vary with the patients (D, D)."""

    coefficient: np.ndarray
    covariance: np.ndarray
    patients: int

    def interval(self, at: int) -> Interval:
        """Of a coefficient, wider for few patients."""
        half = float(self._quantile * np.sqrt(self.covariance[at, at]))
        value, digits = float(self.coefficient[at]), intervals.DECIMALS
        return Interval(round(value - half, digits), round(value + half, digits), SANDWICH)

    def band(self, design_GD: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The share with the event, and its interval, at each row of a design, (G,) each."""
        middle = design_GD @ self.coefficient
        half = self._quantile * np.sqrt(np.einsum("gd,de,ge->g", design_GD, self.covariance, design_GD))
        low, value, high = (scipy.special.expit(one) for one in (middle - half, middle, middle + half))
        return value, low, high

    @property
    def _quantile(self) -> float:
        return float(scipy.stats.t.ppf((1 + intervals.CONFIDENCE) / 2, self.patients - len(self.coefficient)))


def log_odds(chance_N: np.ndarray) -> np.ndarray:
    return np.asarray(scipy.special.logit(np.clip(chance_N, NEAREST, 1 - NEAREST)))


def intercept(event_N: np.ndarray, chance_N: np.ndarray, patient_N: np.ndarray) -> Fit | Absent:
    """Calibration in the large: what is added to the log odds so that as many events are expected as there are.

    Source: Cox 1958, Biometrika 45:562; Van Calster et al. 2016, J Clin Epidemiol 74:167.
    """
    return logistic(np.ones((len(event_N), 1)), event_N, patient_N, log_odds(chance_N)) or Absent(ONE_SIDED)


def slope(event_N: np.ndarray, chance_N: np.ndarray, patient_N: np.ndarray) -> Fit | Absent:
    """Calibration slope, the second coefficient: below 1 the probabilities are too extreme. Source: as above."""
    x = log_odds(chance_N)
    return Absent(ALIKE) if np.ptp(x) == 0 else logistic(_straight(x), event_N, patient_N) or Absent(SEPARATED)


def logistic(
    design_ND: np.ndarray, event_N: np.ndarray, patient_N: np.ndarray, offset_N: np.ndarray | float = 0.0
) -> Fit | None:
    """Logistic regression of highest likelihood, by Newton's method; None where it has no end.

    Its covariance is the sandwich that lets units of one patient depend on each other, made larger for few patients.

    Args:
        patient_N: whose each unit is, an index.
    Source: Liang and Zeger 1986, Biometrika 73:13; factor P / (P - 1) as in MacKinnon and White 1985, J Econom 29:305.
    """
    beta, count = np.zeros(design_ND.shape[1]), len(np.unique(patient_N))
    for _ in range(STEPS):
        chance = scipy.special.expit(design_ND @ beta + offset_N)
        inside = (design_ND * (chance * (1 - chance))[:, None]).T @ design_ND
        if np.linalg.matrix_rank(inside) < len(beta) or np.abs(beta).max() > FARTHEST:
            return None
        step = np.linalg.solve(inside, design_ND.T @ (event_N - chance))
        beta = beta + step
        if np.abs(step).max() < CLOSE:
            break
    else:
        return None
    scores_PD = np.zeros((int(patient_N.max()) + 1, len(beta)))
    np.add.at(scores_PD, patient_N, design_ND * (event_N - scipy.special.expit(design_ND @ beta + offset_N))[:, None])
    bread = np.linalg.inv(inside)
    return Fit(beta, bread @ (scores_PD.T @ scores_PD) @ bread * count / max(count - 1, 1), count)


def curve(event_N: np.ndarray, chance_N: np.ndarray, patient_N: np.ndarray) -> list[ObservedShare] | Absent:
    """Flexible calibration curve, from the lowest probability to the highest, with a band.

    A restricted cubic spline of the log odds with three knots; a straight line where these are not three.

    Source: Harrell 2015, Regression Modeling Strategies, section 2.4.5; Van Calster et al. 2016.
    """
    x = log_odds(chance_N)
    knots = np.unique(np.quantile(x, KNOTS))
    if np.ptp(x) == 0:
        return Absent(ALIKE)
    design = _spline(x, knots) if len(knots) == len(KNOTS) else _straight(x)
    fit = logistic(design, event_N, patient_N)
    if fit is None and design.shape[1] > 2:
        fit, knots = logistic(_straight(x), event_N, patient_N), knots[:0]
    if fit is None:
        return Absent(SEPARATED)
    lowest, highest = (float(scipy.special.expit(end)) for end in (x.min(), x.max()))
    at = np.linspace(lowest, highest, POINTS)
    grid = scipy.special.logit(at)
    rows = fit.band(_spline(grid, knots) if len(knots) == len(KNOTS) else _straight(grid))
    return [ObservedShare(*map(float, row)) for row in zip(at, *rows, strict=True)]


def _straight(x: np.ndarray) -> np.ndarray:
    return np.stack([np.ones(len(x)), x], axis=1)


def _spline(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Basis of a cubic spline with three knots that is straight beyond the outer ones, (N, 3)."""
    first, middle, last = knots
    cube = [np.maximum(x - knot, 0) ** 3 for knot in knots]
    bent = cube[0] - cube[1] * (last - first) / (last - middle) + cube[2] * (middle - first) / (last - middle)
    return np.concatenate([_straight(x), (bent / (last - first) ** 2)[:, None]], axis=1)


def brier_parts(event_N: np.ndarray, chance_N: np.ndarray) -> BrierParts:
    """The Brier score as miscalibration - discrimination + uncertainty, exactly, without bins.

    Uncertainty is the score of always giving the share that has the event; the others are what is gained on it by the
    share that has it at each probability, which rises with it (isotonic regression), and lost again by not giving that.

    Source: Dimitriadis, Gneiting and Jordan 2021, PNAS 118:e2016191118; with given bins it is Murphy 1973.
    """
    whole = metrics.brier_of_event(event_N, chance_N)
    calibrated = metrics.brier_of_event(event_N, metrics.isotonic(event_N, chance_N))
    share = float(event_N.mean())
    uncertainty = share * (1 - share)
    return BrierParts(whole - calibrated, uncertainty - calibrated, uncertainty)
