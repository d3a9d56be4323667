"""Recalibration in the large: probabilities of ordered categories, moved by one intercept. Axes: N unit, K category.

The log odds of a higher category, log P(Y > k) / P(Y <= k), are raised by the same intercept for every k. Of two
categories it is the intercept of logistic recalibration. G group.

Source: Steyerberg et al. 2004, Stat Med 23:2567 (method 1, update of the intercept); Edlinger et al. 2022, Stat Med
41:1334 (ordered categories).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from cac_hpc.statistics import intervals
from cac_hpc.statistics.intervals import Interval

LARGEST = 10.0  # intercept, either way
DECIMALS = 6
GROUPS = 5  # of patients: each is moved by the intercept of the others
SMALLEST = 1e-12  # probability of what happened and was said to be impossible
PROFILE = "profile_likelihood"
FLAT = intervals.none("these predictions hardly depend on it")


@dataclass(frozen=True)
class Moved:
    """Recalibrated probabilities (N, K), each by the intercept of the other groups; the intercept of all units."""

    probability: np.ndarray
    intercept: float
    interval: Interval


def move(probability_NK: np.ndarray, intercept: np.ndarray | float) -> np.ndarray:
    """The probabilities with the log odds of every higher category raised, (N, K) float64; rows sum to 1.

    Args:
        intercept: one, or one of each unit (N, 1).
    """
    at_least = _raised(_at_least(probability_NK), intercept)
    return np.asarray(at_least[:, :-1] - at_least[:, 1:])


def recalibrate(label_N: np.ndarray, probability_NK: np.ndarray, seed: int) -> Moved:
    """Fit the intercept of highest likelihood, and move each unit by that of the units in other groups.

    Args:
        label_N: true category of each unit. seed: of the division into groups.
    """
    group_N = np.random.default_rng([seed, len(label_N)]).permutation(len(label_N)) % GROUPS
    at_least = _at_least(probability_NK)
    ends_N2 = np.take_along_axis(at_least, label_N[:, None] + np.arange(2), axis=1)  # P(Y >= label), P(Y > label)
    intercept_G = np.array([_highest(ends_N2[group_N != group]) for group in range(GROUPS)])
    moved_NK = move(probability_NK, intercept_G[group_N][:, None])
    best = _highest(ends_N2)
    return Moved(moved_NK, round(best, DECIMALS), _profile(ends_N2, best))


def _at_least(probability_NK: np.ndarray) -> np.ndarray:
    """P(Y >= k), (N, K + 1): from 1 down to 0."""
    above_NK = np.cumsum(np.asarray(probability_NK, float)[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([np.clip(above_NK / above_NK[:, :1], 0, 1), np.zeros((len(above_NK), 1))], axis=1)


def _raised(chance: np.ndarray, intercept: np.ndarray | float) -> np.ndarray:
    """Probabilities with their log odds raised; 0 and 1 stay."""
    odds = np.exp(intercept)
    return np.asarray(chance * odds / (1 - chance + chance * odds))


def _log_likelihood(ends_N2: np.ndarray, intercept: float) -> float:
    return float(np.log(np.maximum(-np.diff(_raised(ends_N2, intercept), axis=1), SMALLEST)).sum())


def _highest(ends_N2: np.ndarray) -> float:
    """The intercept of highest likelihood, which has one hill; 0 where all are alike."""
    found = scipy.optimize.minimize_scalar(
        lambda one: -_log_likelihood(ends_N2, one), bounds=(-LARGEST, LARGEST), options={"xatol": 1e-7}
    )
    gained = -float(found.fun) - _log_likelihood(ends_N2, 0.0)
    return 0.0 if gained < 1e-9 else float(found.x)


def _profile(ends_N2: np.ndarray, best: float) -> Interval:
    """Intercepts that are not significantly less likely than the best one. Source: Wilks 1938, Ann Math Stat 9:60."""
    wanted = _log_likelihood(ends_N2, best) - float(scipy.stats.chi2.ppf(intervals.CONFIDENCE, 1)) / 2

    def excess(intercept: float) -> float:
        return _log_likelihood(ends_N2, intercept) - wanted

    if max(excess(-LARGEST), excess(LARGEST)) >= 0:
        return FLAT
    low, high = (scipy.optimize.brentq(excess, best, end, xtol=1e-7) for end in (-LARGEST, LARGEST))
    return Interval(round(low, DECIMALS), round(high, DECIMALS), PROFILE)
