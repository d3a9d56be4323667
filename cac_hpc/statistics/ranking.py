"""How well values put units in order, in many draws: rank correlation, concordance, AUROC, average precision.

Values of one sample come from scikit-learn, by ``metrics``; these forms are for the thousands of samples of a
bootstrap, and equal them. Axes: B draw, N unit, G distinct value, K category.
"""

from __future__ import annotations

import numpy as np
import scipy

from cac_hpc.results.cuts import OperatingPoint
from cac_hpc.statistics import intervals
from cac_hpc.statistics.agreement import ratio
from cac_hpc.statistics.intervals import Interval

DELONG = "delong"
POINTS = 100  # of a curve: more are not seen
AT_ONCE = 2**15  # weights whose ranks fit into a processor's memory


class Ranked:
    """Units in the order of their values, the highest first, and which values are equal."""

    def __init__(self, value_N: np.ndarray) -> None:
        distinct, self.group_N = np.unique(-value_N, return_inverse=True)
        self.order_N = np.argsort(self.group_N, kind="stable")
        self.first_G = np.flatnonzero(np.diff(self.group_N[self.order_N], prepend=-1))
        self.last_G = np.append(self.first_G, len(value_N))[1:] - 1
        self.ties = len(distinct) < len(value_N)

    def by_value(self, weight_BN: np.ndarray) -> np.ndarray:
        """How often units of each value occur, from the highest value to the lowest, (B, G)."""
        return self.sums(np.take(weight_BN, self.order_N, axis=1))

    def sums(self, found_BN: np.ndarray) -> np.ndarray:
        """Over the units of each value, (B, G), of what they have in this order."""
        return np.add.reduceat(found_BN, self.first_G, axis=1) if self.ties else found_BN

    def ends(self, found_BN: np.ndarray) -> np.ndarray:
        """The same cumulated, 0 first, (B, G + 1); of integers, which add up ten times as fast as floating numbers."""
        ends_BG = np.zeros((len(found_BN), len(self.first_G) + 1), found_BN.dtype)
        cumulated_BN = np.cumsum(found_BN, axis=1)
        ends_BG[:, 1:] = np.take(cumulated_BN, self.last_G, axis=1) if self.ties else cumulated_BN
        return ends_BG


class RankCorrelation:
    """Spearman's rho of many samples of the same units, ties at their mean rank.

    Ranks are counted twice and less the mean of all, so that they and their sums are whole numbers, exact in any order.
    """

    def __init__(self, x_N: np.ndarray, y_N: np.ndarray, patient_N: np.ndarray | None = None) -> None:
        """patient_N: whose each unit is, where samples are of patients."""
        self._x, self._y = Ranked(x_N), Ranked(y_N)
        whose_N = np.arange(len(x_N)) if patient_N is None else patient_N
        self._by_x, self._by_y = whose_N[self._x.order_N], whose_N[self._y.order_N]
        self._x_by_y = self._x.group_N[self._y.order_N]

    def of(self, weight_BP: np.ndarray) -> np.ndarray:
        """Rho of the samples in which each patient or unit occurs as often as its weight says, (B,); NaN where nothing
        varies."""
        count, num_columns = weight_BP.shape
        rows = max(1, AT_ONCE // max(1, num_columns))
        blocks = (weight_BP[first : first + rows] for first in range(0, max(1, count), rows))
        return np.concatenate([self._of(block.astype(np.int64)) for block in blocks])

    def _of(self, weight_BP: np.ndarray) -> np.ndarray:
        weight_BN = np.take(weight_BP, self._by_y, axis=1)
        x_BG, x_spread = _ranks(self._x.ends(np.take(weight_BP, self._by_x, axis=1)))
        y_BG, y_spread = _ranks(self._y.ends(weight_BN))
        together = np.einsum("bg,bg->b", self._y.sums(weight_BN * np.take(x_BG, self._x_by_y, axis=1)), y_BG)
        varies = (x_spread > 0) & (y_spread > 0)
        return np.where(varies, ratio(together, np.sqrt(x_spread * y_spread)), np.nan)


def _ranks(ends_BG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Twice the mean ranks less the middle one, (B, G), and the sum of their squares over all that occurs, (B,)."""
    first_BG, last_BG = ends_BG[:, :-1], ends_BG[:, 1:]
    rank_BG = (first_BG + last_BG - ends_BG[:, -1:]).astype(float)
    return rank_BG, np.einsum("bg,bg,bg->b", last_BG - first_BG, rank_BG, rank_BG)


def concordance(ranked: Ranked, category_N: np.ndarray, weight_BN: np.ndarray) -> np.ndarray:
    """C-index: of all pairs of units of different true categories, the share in which the higher one has the higher
    value, equal values as half. Of two categories it is AUROC.

    Args:
        weight_BN: how often each unit occurs in each sample.
    Returns: (B,), NaN where a sample has one category alone.
    Source: Harrell et al. 1982, JAMA 247:2543.
    """
    lower_BG, right, pairs = np.zeros((len(weight_BN), 1)), np.zeros(len(weight_BN)), np.zeros(len(weight_BN))
    for category in np.unique(category_N):
        here_BG = ranked.by_value(weight_BN * (category_N == category))
        below_BG = lower_BG.sum(axis=1, keepdims=True) - np.cumsum(lower_BG, axis=1) + lower_BG / 2
        right = right + (here_BG * below_BG).sum(axis=1)
        pairs = pairs + here_BG.sum(axis=1) * lower_BG.sum(axis=1)
        lower_BG = lower_BG + here_BG
    return ratio(right, pairs)


def average_precision(ranked: Ranked, event_N: np.ndarray, weight_BN: np.ndarray) -> np.ndarray:
    """Average precision of samples, as above; NaN where a sample has only units with the event, or without."""
    with_BG, all_BG = ranked.by_value(weight_BN * event_N), ranked.by_value(weight_BN)
    with_B, seen_BG = with_BG.sum(axis=1), np.cumsum(all_BG, axis=1)
    precision_BG = np.divide(np.cumsum(with_BG, axis=1), seen_BG, out=np.zeros_like(seen_BG), where=seen_BG > 0)
    found = ratio((with_BG * precision_BG).sum(axis=1), with_B)
    return np.where(with_B < all_BG.sum(axis=1), found, np.nan)


def concordance_by_unit(ranked: Ranked, category_N: np.ndarray) -> np.ndarray:
    """How much the C-index changes with how often a unit occurs, (N,): its derivative where each occurs once."""
    there = np.unique(category_N)
    count_KG = ranked.by_value((category_N == there[:, None]).astype(float))
    below_KG = count_KG.sum(axis=1, keepdims=True) - np.cumsum(count_KG, axis=1) + count_KG / 2
    above_KG = np.cumsum(count_KG, axis=1) - count_KG / 2
    right_N, pairs_N = np.zeros(len(category_N)), np.zeros(len(category_N))
    for at, category in enumerate(there):
        here = category_N == category
        right_G = below_KG[:at].sum(axis=0) + above_KG[at + 1 :].sum(axis=0)
        right_N[here] = right_G[ranked.group_N[here]]
        pairs_N[here] = (~here).sum()
    change_N: np.ndarray = 2 * (right_N - right_N.sum() / pairs_N.sum() * pairs_N) / pairs_N.sum()
    return change_N  # each pair was counted twice


def average_precision_by_unit(ranked: Ranked, event_N: np.ndarray) -> np.ndarray:
    """The same of average precision."""
    with_G, all_G = ranked.by_value(np.stack([event_N, np.ones(len(event_N))]).astype(float))
    seen_G, share_G = np.cumsum(all_G), with_G / with_G.sum()
    precision_G = np.cumsum(with_G) / seen_G
    here_G = (precision_G - share_G @ precision_G) / with_G.sum()
    of_event_G, of_all_G = (np.cumsum(part[::-1])[::-1] for part in (share_G / seen_G, share_G * precision_G / seen_G))
    return np.asarray((event_N * (here_G + of_event_G)[ranked.group_N]) - of_all_G[ranked.group_N])


def delong(event_N: np.ndarray, value_N: np.ndarray) -> Interval:
    """Interval of an AUROC of independent units, by DeLong's variance, on the scale of log odds.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837; ranks in place of pairs as in Sun and Xu 2014,
    IEEE Signal Process Lett 21:1389; log odds as in Pepe 2003, The Statistical Evaluation of Medical Tests, 5.2.
    """
    x, y = value_N[event_N], value_N[~event_N]
    if min(len(x), len(y)) < 2:
        return intervals.none("fewer than two units with the event, or without")
    rank = scipy.stats.rankdata(np.concatenate([x, y]))
    with_event = (rank[: len(x)] - scipy.stats.rankdata(x)) / len(y)
    without = 1 - (rank[len(x) :] - scipy.stats.rankdata(y)) / len(x)
    variance = with_event.var(ddof=1) / len(x) + without.var(ddof=1) / len(y)
    if variance <= 0:
        return intervals.none("all units with the event are above all without, or none, so it cannot tell")
    half = float(scipy.stats.norm.ppf((1 + intervals.CONFIDENCE) / 2) * np.sqrt(variance))
    return intervals.on_logit(float(with_event.mean()), half, DELONG)


def operating_points(event_N: np.ndarray, chance_N: np.ndarray) -> list[OperatingPoint]:
    """The points of ROC and precision-recall curve, from the highest probability to the lowest; at most `POINTS`."""
    ranked, one = Ranked(chance_N), np.ones((1, len(chance_N)))
    with_G, all_G = (np.cumsum(ranked.by_value(weight)[0]) for weight in (one * event_N, one))
    without_G = all_G - with_G
    chance_G = np.unique(chance_N)[::-1]
    wanted = np.unique(np.linspace(0, len(chance_G) - 1, min(POINTS, len(chance_G))).round().astype(int))
    return [
        OperatingPoint(
            at_least=float(chance_G[at]),
            sensitivity=float(with_G[at] / with_G[-1]),
            specificity=float(1 - without_G[at] / without_G[-1]),
            precision=float(with_G[at] / all_G[at]),
        )
        for at in wanted
    ]
