"""Prediction sets: neighbouring categories that name the true one as often as wanted. Axes: N test, K category, F fold.

A set grows from the predicted category to the likelier of its two neighbours, and a category's score is the probability
that was named before it: 0 of the predicted one. What the true categories of other patients scored, by models that were
trained without them, says how far to grow. Every such set is contiguous, and holds the predicted category.

- A patient of a fold (`of_folds`): by its model; the limit is that of the patients of the other folds.
- A new patient (`of_new`): all folds say how far, each of its own patients: cross-conformal sets, CV+. They name the
  true category with a probability of 1 - 2 a less a term of few patients, where 1 - a is wanted; mostly 1 - a.

Both hold over all patients like these, not in each category.

Source: Lu, Angelopoulos and Pomerantz 2022, MICCAI, of sets that grow from the likeliest category; Vovk 2015, Ann Math
Artif Intell 74:9, cross-conformal; Romano, Sesia and Candes 2020, NeurIPS, CV+; Vovk 2012, ACML, beta law.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from cac_hpc.results.prediction_sets import PromisedCoverage
from cac_hpc.statistics import intervals
from cac_hpc.statistics.pooling import Units

DECIMALS = 6  # what is equal ties, also where it was written in between, in nine digits


@dataclass(frozen=True)
class Sets:
    """Lowest and highest category of each test's set, (N,); calibrated_by: by how many patients, (N,)."""

    low: np.ndarray
    high: np.ndarray
    calibrated_by: np.ndarray

    @property
    def size(self) -> np.ndarray:
        return np.asarray(self.high - self.low + 1)


@dataclass(frozen=True)
class Calibration:
    """What sets of new patients follow from. coverage: share of patients that is wanted.

    scores: of each fold the scores of its patients' true categories, rising, so that they say nothing of their order.
    """

    coverage: float
    scores: tuple[tuple[float, ...], ...]

    @property
    def patients(self) -> int:
        return sum(map(len, self.scores))


def named_before(probability_NK: np.ndarray, predicted_N: np.ndarray) -> np.ndarray:
    """Of each category the probability of those that a growing set names before it, (N, K) float64.

    Of two neighbours that are as likely the lower one is named first.
    """
    count, num_categories = probability_NK.shape
    row_N, low_N, high_N = np.arange(count), predicted_N.copy(), predicted_N.copy()
    beyond = np.full((count, 1), -1.0)  # no category there
    chance_NK = np.concatenate([beyond, probability_NK, beyond], axis=1)
    before_NK, mass_N = np.zeros((count, num_categories)), probability_NK[row_N, predicted_N].astype(float)
    for _ in range(num_categories - 1):
        lower_N = chance_NK[row_N, low_N] >= chance_NK[row_N, high_N + 2]
        low_N, high_N = low_N - lower_N, high_N + ~lower_N
        added_N = np.where(lower_N, low_N, high_N)
        before_NK[row_N, added_N] = mass_N
        mass_N = mass_N + probability_NK[row_N, added_N]
    return np.asarray(np.round(before_NK, DECIMALS))


def own_scores(units: Units) -> np.ndarray:
    """What the true category of each test scores, (N,)."""
    before_NK = named_before(units.probability, units.predicted)
    return np.asarray(before_NK[np.arange(len(units.label)), units.label])


def rank(count: int, coverage: float) -> int:
    """Which score is the limit, counted from the lowest; above the count: there are too few, and a set is full."""
    return int(np.ceil(np.round(coverage * (count + 1), 9)))


def limit(score_P: np.ndarray, coverage: float) -> float:
    """How far sets grow by the scores of calibration patients; infinite where these are too few."""
    place = rank(len(score_P), coverage)
    return float(np.partition(score_P, place - 1)[place - 1]) if place <= len(score_P) else np.inf


def promised(count: int, coverage: float) -> PromisedCoverage | None:
    """What sets promise that so many patients calibrate; None where sets are full.

    Which patients they are is chance, and the share that sets name has a beta distribution over that.
    """
    place = rank(count, coverage)
    if place > count:
        return None
    law, tail = scipy.stats.beta(place, count + 1 - place), (1 - intervals.CONFIDENCE) / 2
    return PromisedCoverage(count, float(law.mean()), float(law.ppf(tail)), float(law.ppf(1 - tail)))


def of_folds(units: Units, coverage: float) -> Sets:
    """The set of each test by the model of its fold, whose limit comes from patients of other folds, each once."""
    count, num_categories = len(units.label), units.num_categories
    before_NK = named_before(units.probability, units.predicted)
    own_N = before_NK[np.arange(count), units.label]
    first_N = np.zeros(count, bool)
    first_N[np.unique(units.patient, return_index=True)[1]] = True
    limit_N, by_N = np.full(count, np.inf), np.zeros(count, int)
    for fold in np.flatnonzero(np.bincount(units.fold)).tolist():
        here_N = units.fold == fold
        there_P = np.bincount(units.patient[here_N], minlength=units.num_patients) > 0
        others = own_N[first_N & ~there_P[units.patient]]
        limit_N[here_N], by_N[here_N] = limit(others, coverage), len(others)
    named_NK = before_NK <= limit_N[:, None]
    return Sets(named_NK.argmax(axis=1), num_categories - 1 - named_NK[:, ::-1].argmax(axis=1), by_N)


def calibrate(units: Units, coverage: float, num_folds: int) -> Calibration:
    """What sets of new patients follow from; a patient whom several folds tested counts in the first of them."""
    once = np.unique(units.patient, return_index=True)[1]
    own, fold = own_scores(units)[once], units.fold[once]
    return Calibration(coverage, tuple(tuple(np.sort(own[fold == one]).tolist()) for one in range(num_folds)))


def of_new(
    probability_FK: np.ndarray, predicted_F: np.ndarray, predicted: int, calibration: Calibration
) -> tuple[int, int]:
    """Lowest and highest category of a new patient's set.

    A category is named unless too many patients scored lower in their fold than it does by that fold's model.

    Args:
        probability_FK, predicted_F: of each fold's model. predicted: of all together, which is always named.
    """
    before_FK = named_before(probability_FK, predicted_F)
    both = zip(calibration.scores, before_FK, strict=True)
    lower_K = np.sum([np.searchsorted(np.array(scores), before_K) for scores, before_K in both], axis=0)
    named = np.flatnonzero(lower_K < rank(calibration.patients, calibration.coverage)).tolist()
    return min([predicted, *named]), max([predicted, *named])
