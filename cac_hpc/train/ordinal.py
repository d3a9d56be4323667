"""Probabilities of the categories of a study, from its predicted score.

An ordinal regression with known cut points and slope (McCullagh, Regression models for ordinal data, J R Stat Soc B
1980): log(1 + true score) is the predicted one plus an error of a logistic distribution around 0. Its scale is fitted
to the categories of the validation studies by maximum likelihood. Axes: U study, C cut point, K category.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

METHOD = "ordinal logistic regression with known cut points, scale by maximum likelihood on the validation studies"
LEAST_SCALE, MOST_SCALE = 0.2, 5.0  # of the errors: a dozen studies without any do not show that there are none
NUM_SCALES = 200  # tried, their logarithms evenly spread
NO_SCORE = 0.5  # lies between 0 and the least that a lesion can score


def cut_points(edges: Sequence[float]) -> np.ndarray:
    """Where on the scale of log(1 + score) one category ends and the next begins, (K - 1,) float64, rising.

    A lesion cannot score next to nothing: an edge at 0 is cut between 0 and the least score.
    """
    cuts = [min(NO_SCORE, edges[1] / 2 if len(edges) > 1 else NO_SCORE) if edge == 0 else edge for edge in edges]
    return np.log1p(np.maximum(cuts, 0.0))


def probabilities(score_U: np.ndarray, scale: float, edges: Sequence[float]) -> np.ndarray:
    """Of each category (U, K), float64; rows sum to 1.

    Args:
        score_U: predicted Agatston scores. scale: of the logistic distribution, in units of log(1 + score).
    """
    below_UC = expit((cut_points(edges) - np.log1p(score_U)[:, None]) / scale)
    zero_U1, one_U1 = np.zeros((len(score_U), 1)), np.ones((len(score_U), 1))
    return np.diff(np.concatenate([zero_U1, below_UC, one_U1], axis=1), axis=1)


def fit_scale(score_U: np.ndarray, category_U: np.ndarray, edges: Sequence[float]) -> float:
    """The scale under which these categories are most likely, of those from LEAST_SCALE to MOST_SCALE.

    Args:
        score_U: predicted scores of the validation studies. category_U: their categories by the labels, integers.
    """
    scales = np.geomspace(LEAST_SCALE, MOST_SCALE, NUM_SCALES)

    def log_likelihood(scale: float) -> float:
        own_U = np.take_along_axis(probabilities(score_U, scale, edges), category_U[:, None], axis=1)
        return float(np.log(np.maximum(own_U, 1e-300)).sum())

    return float(scales[int(np.argmax([log_likelihood(scale) for scale in scales]))])
