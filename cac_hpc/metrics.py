"""Every figure of the report from one confusion matrix, through scikit-learn. The owner of sklearn.metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, precision_recall_fscore_support


def confusion(label: np.ndarray, predicted: np.ndarray, num_categories: int) -> np.ndarray:
    """Count label against prediction.

    Returns: (K, K) int64, rows true, columns predicted, whatever categories occur.
    """
    if len(label) == 0:
        return np.zeros((num_categories, num_categories), dtype=np.int64)
    return np.asarray(confusion_matrix(label, predicted, labels=range(num_categories)))


def summary(matrix: np.ndarray) -> dict[str, Any]:
    """All figures of a confusion matrix, computed from nothing else, so that they cannot contradict it.

    Args:
        matrix: (K, K) counts, rows true, columns predicted.
    Returns: plain values; a figure that is undefined is None. `majority_accuracy` is what always guessing the most
        frequent true category would have reached.
    """
    categories = range(len(matrix))
    label, predicted = (indices.repeat(matrix.ravel()) for indices in map(np.ravel, np.indices(matrix.shape)))
    count = len(label)
    accuracy = float(accuracy_score(label, predicted)) if count else None
    majority = float(matrix.sum(axis=1).max() / count) if count else None
    precision, recall, f1 = _per_category(label, predicted, categories)
    return {
        "n": count,
        "errors": int(count - np.trace(matrix)),
        "over_estimated": int(np.triu(matrix, 1).sum()),
        "under_estimated": int(np.tril(matrix, -1).sum()),
        "accuracy": accuracy,
        "majority_accuracy": majority,
        "gain_over_majority": None if accuracy is None or majority is None else accuracy - majority,
        "kappa": {
            name: _kappa(label, predicted, categories, weights)
            for name, weights in (("plain", None), ("linear", "linear"), ("quadratic", "quadratic"))
        },
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "support": matrix.sum(axis=1).tolist(),
        "macro": {"precision": _mean(precision), "recall": _mean(recall), "f1": _mean(f1)},
        "confusion_matrix": matrix.tolist(),
    }


def _per_category(label: np.ndarray, predicted: np.ndarray, categories: range) -> list[list[Any]]:
    """Precision, recall and F1 of each category; None where nothing was predicted, true, or either."""
    if not len(label):
        return [[None] * len(categories)] * 3
    scores = precision_recall_fscore_support(label, predicted, labels=categories, zero_division=np.nan)[:3]
    return [[None if np.isnan(value) else float(value) for value in column] for column in scores]


def _kappa(label: np.ndarray, predicted: np.ndarray, categories: range, weights: str | None) -> float | None:
    """Cohen's kappa; undefined when label and prediction together know only one category."""
    if len(np.union1d(label, predicted)) < 2:
        return None
    return float(cohen_kappa_score(label, predicted, labels=list(categories), weights=weights))


def _mean(values: list[float | None]) -> float | None:
    """Mean over the categories where the figure is defined; None where it is defined nowhere."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
