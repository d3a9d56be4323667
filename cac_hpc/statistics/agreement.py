"""Agreement of prediction with truth, for many confusion matrices at once. Axes: K category, ... any number before.

Every function takes counts (..., K, K), rows true, columns predicted, and gives (...) or (..., K) float64; what is
undefined is NaN in here and nowhere else. ``metrics`` takes single values from scikit-learn where it has them; these
forms are for the thousands of matrices of a bootstrap, and equal them.
"""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-9


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part / whole; NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0))


def total(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(matrix.sum(axis=(-2, -1)))


def right(matrix: np.ndarray) -> np.ndarray:
    """How many of each category were predicted right, (..., K)."""
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def true(matrix: np.ndarray) -> np.ndarray:
    """How many there are of each category, (..., K)."""
    return np.asarray(matrix.sum(axis=-1))


def predicted(matrix: np.ndarray) -> np.ndarray:
    """How often each category was predicted, (..., K)."""
    return np.asarray(matrix.sum(axis=-2))


def distance(num_categories: int) -> np.ndarray:
    """Predicted minus true category of each cell, (K, K)."""
    category = np.arange(num_categories)
    return np.asarray(category[None, :] - category[:, None])


def accuracy(matrix: np.ndarray) -> np.ndarray:
    return ratio(right(matrix).sum(axis=-1), total(matrix))


def largest(matrix: np.ndarray) -> np.ndarray:
    """Units of the most frequent true category of all matrices together: one category, whatever a draw holds."""
    true_K = true(matrix)
    return np.asarray(true_K[..., true_K.reshape(-1, true_K.shape[-1]).sum(axis=0).argmax()])


def majority_accuracy(matrix: np.ndarray) -> np.ndarray:
    """What always guessing the most frequent true category would reach: chance, as far as it can be known."""
    return ratio(largest(matrix), total(matrix))


def gain_over_majority(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(accuracy(matrix) - majority_accuracy(matrix))


def recall(matrix: np.ndarray) -> np.ndarray:
    """(..., K); NaN for a category that does not occur."""
    return ratio(right(matrix), true(matrix))


def precision(matrix: np.ndarray) -> np.ndarray:
    """(..., K); NaN for a category that is never predicted."""
    return ratio(right(matrix), predicted(matrix))


def f1(matrix: np.ndarray) -> np.ndarray:
    """(..., K): 2 right / (true + predicted); NaN for a category that is neither true nor predicted."""
    return ratio(2 * right(matrix), true(matrix) + predicted(matrix))


def mean_defined(value: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Mean over the categories (..., K) where the value is defined; NaN where it is defined nowhere."""
    weight = np.ones(value.shape) if weight is None else weight
    known = ~np.isnan(value)
    return ratio(np.where(known, value * weight, 0).sum(axis=-1), np.where(known, weight, 0).sum(axis=-1))


def balanced_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Mean recall of the categories that occur."""
    return mean_defined(recall(matrix))


def kappa(matrix: np.ndarray, power: int) -> np.ndarray:
    """Cohen's kappa: 1 - observed / expected disagreement, a disagreement by d categories weighing |d| ** power.

    Args:
        power: 0 plain, 1 linear, 2 quadratic.
    Returns: NaN where truth and prediction together know only one category.
    Source: Cohen 1960, 1968.
    """
    weight = np.abs(distance(matrix.shape[-1]).astype(float))
    weight = (weight > 0).astype(float) if power == 0 else weight**power
    expected = np.einsum("...i,ij,...j->...", true(matrix), weight, predicted(matrix))
    return 1 - ratio(np.einsum("...ij,ij->...", matrix, weight) * total(matrix), expected)


def icc(matrix: np.ndarray) -> np.ndarray:
    """Intraclass correlation of the category number, ICC(2,1): two-way random, absolute agreement, single measure.

    Truth and prediction are the two raters. Returns: NaN below two units, where nothing varies, or where the estimate
    is outside of -1 to 1, which its denominator, not bounded by 0, allows where units are few.
    Source: Shrout and Fleiss 1979, form (2,1); McGraw and Wong 1996, ICC(A,1).
    """
    category = np.arange(matrix.shape[-1], dtype=float)
    return icc_of_sums(
        total(matrix).astype(float),
        true(matrix) @ category,
        predicted(matrix) @ category,
        true(matrix) @ category**2 + predicted(matrix) @ category**2,
        np.einsum("...ij,ij->...", matrix, np.multiply.outer(category, category)),
    )


def icc_of_sums(
    n: np.ndarray, sum_x: np.ndarray, sum_y: np.ndarray, squares: np.ndarray, products: np.ndarray
) -> np.ndarray:
    """The same of any two raters x and y, from sums over the units, (...).

    Args:
        n: units. squares: sum of x^2 + y^2. products: sum of x y.
    """
    correction = ratio((sum_x + sum_y) ** 2, 2 * n)
    between_units = squares / 2 + products - correction
    between_raters = ratio(sum_x**2 + sum_y**2, n) - correction
    rest = squares - correction - between_units - between_raters
    units_mean, rest_mean = ratio(between_units, n - 1), ratio(rest, n - 1)
    value = ratio(units_mean - rest_mean, units_mean + rest_mean + 2 * ratio(between_raters - rest_mean, n))
    return np.where(np.abs(value) > 1 + ROUNDING, np.nan, value)


def collapse(matrix: np.ndarray, group_K: np.ndarray) -> np.ndarray:
    """Confusion matrix of coarser categories, (..., G, G).

    Args:
        group_K: the coarser category of each category, from 0.
    """
    member_KG = np.equal.outer(group_K, np.arange(group_K.max() + 1)).astype(matrix.dtype)
    return np.asarray(member_KG.T @ matrix @ member_KG)
