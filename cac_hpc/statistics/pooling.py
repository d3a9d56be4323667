"""From the slices of a patient to one probability per category. Axes: N slice, U unit (a patient in a test part), K."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Rule = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # probability_NK, unit_N, num_units -> probability_UK


def mean(probability_NK: np.ndarray, unit_N: np.ndarray, num_units: int) -> np.ndarray:
    """Mean probability over the slices."""
    sums = [np.bincount(unit_N, column, num_units) for column in probability_NK.T]
    return np.asarray(np.stack(sums, axis=1) / _counts(unit_N, num_units)[:, None])


def majority(probability_NK: np.ndarray, unit_N: np.ndarray, num_units: int) -> np.ndarray:
    """Share of the slices that are predicted as each category."""
    num_categories = probability_NK.shape[1]
    cell = unit_N * num_categories + probability_NK.argmax(axis=1)
    votes = np.bincount(cell, minlength=num_units * num_categories).reshape(num_units, num_categories)
    return np.asarray(votes / _counts(unit_N, num_units)[:, None])


def top_k(probability_NK: np.ndarray, unit_N: np.ndarray, num_units: int, k: int) -> np.ndarray:
    """Of each category the mean of its k highest probabilities over the slices, then divided by their sum.

    Where there are fewer than k slices, all of them are taken.
    """
    order = np.argsort(unit_N, kind="stable")
    count_U = _counts(unit_N, num_units)
    first_U = np.cumsum(count_U) - count_U
    highest_UK = np.empty((num_units, probability_NK.shape[1]))
    for count in np.unique(count_U):  # units of as many slices are one array
        units = np.flatnonzero(count_U == count)
        rows = order[first_U[units][:, None] + np.arange(count)]
        taken = min(k, int(count))
        part = np.partition(probability_NK[rows], count - taken, axis=1)[:, count - taken :]
        highest_UK[units] = np.sort(part, axis=1).mean(axis=1, dtype=float)
    return np.asarray(highest_UK / highest_UK.sum(axis=1, keepdims=True))


def _counts(unit_N: np.ndarray, num_units: int) -> np.ndarray:
    return np.bincount(unit_N, minlength=num_units)
