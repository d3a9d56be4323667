"""Probabilities of the categories of a study, from its predicted score.

An ordinal regression with known cut points and slope (McCullagh, Regression models for ordinal data, J R Stat Soc B
1980): log(1 + true score) is the predicted one plus an error of a logistic distribution around 0. A share of the scores
is grossly wrong instead (Huber, Robust estimation of a location parameter, Ann Math Stat 1964): such a study is of any
category. Both are fitted to the categories of the validation studies. Axes: U study, C cut point, K category, S scale,
G share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

METHOD = (
    "ordinal logistic regression with known cut points and a share of gross errors, of the highest likelihood on the "
    "validation studies and on one grossly wrong and one right study more"
)
SCALES = np.geomspace(0.2, 5.0, 100)  # that are tried: a dozen studies without errors do not show that there are none
SHARES = np.geomspace(0.001, 0.9, 100)
NO_SCORE = 0.5  # lies between 0 and the least that a lesion can score


@dataclass(frozen=True)
class Errors:
    """Of predicted scores. scale: of the logistic distribution, in units of log(1 + score). gross: share of others."""

    scale: float
    gross: float


def cut_points(edges: Sequence[float]) -> np.ndarray:
    """Where on the scale of log(1 + score) one category ends and the next begins, (K - 1,) float64, rising.

    A lesion cannot score next to nothing: an edge at 0 is cut between 0 and the least score.
    """
    cuts = [min(NO_SCORE, edges[1] / 2 if len(edges) > 1 else NO_SCORE) if edge == 0 else edge for edge in edges]
    return np.log1p(np.maximum(cuts, 0.0))


def probabilities(score_U: np.ndarray, scale: float, edges: Sequence[float], gross: float = 0.0) -> np.ndarray:
    """Of each category (U, K), float64; rows sum to 1.

    Args:
        score_U: predicted Agatston scores. scale, gross: see `Errors`.
    """
    below_UC = scipy.special.expit((cut_points(edges) - np.log1p(score_U)[:, None]) / scale)
    zero_U1, one_U1 = np.zeros((len(score_U), 1)), np.ones((len(score_U), 1))
    chance_UK = np.diff(np.concatenate([zero_U1, below_UC, one_U1], axis=1), axis=1)
    mixed_UK: np.ndarray = (1 - gross) * chance_UK + gross / chance_UK.shape[1]
    return mixed_UK


def exceeding(
    score_U: np.ndarray, scale: np.ndarray | float, edges: Sequence[float], cut: float, gross: np.ndarray | float = 0.0
) -> np.ndarray:
    """Probability of a score above a cut that is no edge, (U,): the two parts of its category share gross errors.

    Args:
        score_U: predicted Agatston scores. scale, gross: see `Errors`; of all, or of each.
    """
    above_U = scipy.special.expit((np.log1p(score_U) - np.log1p(cut)) / scale)
    of_gross = (sum(edge > cut for edge in edges) + 0.5) / (len(edges) + 1)
    mixed_U: np.ndarray = (1 - gross) * above_U + gross * of_gross
    return mixed_U


def other_is_likelier(scale: float, edges: Sequence[float]) -> list[tuple[int, int]]:
    """Whole scores from 1 to the last edge, first and last of each run, whose category is not the most probable one.

    Near an edge the wider category may be, on a logarithmic scale, or the first or last one, which have no end. A share
    of gross errors changes nothing of it.
    """
    score_U = np.arange(1, int(edges[-1]) + 1)
    own_U = np.searchsorted(np.asarray(edges, float), score_U)
    other_U = probabilities(score_U.astype(float), scale, edges).argmax(axis=1) != own_U
    change_U = np.diff(other_U.astype(int), prepend=0, append=0)
    return list(zip(score_U[change_U[:-1] == 1].tolist(), score_U[change_U[1:] == -1].tolist(), strict=True))


def fit(score_U: np.ndarray, category_U: np.ndarray, edges: Sequence[float]) -> Errors:
    """The errors under which these categories are most likely, of those with SCALES and SHARES.

    Two studies more, one grossly wrong and one right, keep the share away from 0 and 1 (a Beta(2, 2) prior).

    Args:
        score_U: predicted scores of the validation studies. category_U: their categories by the labels, integers.
    """
    own_SU = np.stack(
        [
            np.take_along_axis(probabilities(score_U, scale, edges), category_U[:, None], axis=1)[:, 0]
            for scale in SCALES
        ]
    )
    likelihood_SGU = (1 - SHARES)[:, None] * own_SU[:, None, :] + SHARES[:, None] / (len(edges) + 1)
    log_SG = np.log(likelihood_SGU).sum(axis=2) + np.log(SHARES * (1 - SHARES))
    scale, share = np.unravel_index(int(np.argmax(log_SG)), log_SG.shape)
    return Errors(float(SCALES[scale]), float(SHARES[share]))
