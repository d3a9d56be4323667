"""Every figure of a confusion matrix: a new metric is a line of METRICS, another category scheme of SCHEMES.

Single values come from scikit-learn, which this module owns, where it has them, always over all K categories;
bootstraps use the forms of ``agreement``. Undefined is NaN in here, and None with a reason where a figure is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cac_hpc.results.matrices import SignTest
from cac_hpc.statistics import agreement, pieces

Form = Callable[[np.ndarray], np.ndarray]
FEWEST = 3  # units that a correlation or a spread is worked out from: two tell nothing of any others


@dataclass(frozen=True)
class Metric:
    """A figure of a confusion matrix.

    form: from counts (..., K, K) to (...), or to (..., K) where it is one per category. undefined: why there may be
    no value. part, whole: what is counted of what; a metric without part is no proportion. mean: over categories, so
    that draws without one of them do not count. fewest: units below which it follows from their number, not from them.
    """

    name: str
    form: Form
    undefined: str
    per: Literal["matrix", "category"] = "matrix"
    part: Form | None = None
    whole: Form = agreement.total
    mean: bool = False
    fewest: int = 1

    def of(self, matrix: np.ndarray, known: float | np.ndarray | None = None) -> np.ndarray:
        """Its value, or the one that is known from elsewhere; NaN where there are fewer than `fewest` units."""
        value = np.asarray(self.form(matrix) if known is None else known, float)
        few = agreement.total(matrix) < self.fewest
        return np.where(few[..., None] if self.per == "category" else few, np.nan, value)

    def missing(self, count: int) -> str:
        """Why there is no value, of so many units."""
        return f"fewer than {self.fewest} units" if 0 < count < self.fewest else self.undefined


def far_off(matrix: np.ndarray) -> np.ndarray:
    """Errors by two or more categories."""
    return np.asarray((matrix * (np.abs(agreement.distance(matrix.shape[-1])) >= 2)).sum(axis=(-2, -1)))


def over(matrix: np.ndarray) -> np.ndarray:
    """Units whose predicted category is too high."""
    return np.asarray((matrix * (agreement.distance(matrix.shape[-1]) > 0)).sum(axis=(-2, -1)))


def under(matrix: np.ndarray) -> np.ndarray:
    """Units whose predicted category is too low."""
    return np.asarray((matrix * (agreement.distance(matrix.shape[-1]) < 0)).sum(axis=(-2, -1)))


def _right(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(agreement.right(matrix).sum(axis=-1))


def _share(part: Form) -> Form:
    return lambda matrix: agreement.ratio(part(matrix), agreement.total(matrix))


def _weighted(of: Form) -> Form:
    return lambda matrix: agreement.mean_defined(of(matrix), agreement.true(matrix))


def _macro(of: Form) -> Form:
    return lambda matrix: agreement.mean_defined(of(matrix))


def _kappa(power: int) -> Form:
    return lambda matrix: agreement.kappa(matrix, power)


NOTHING = "nothing was tested"
NEVER = "no category that occurs was ever predicted"
ONE_CATEGORY = "truth and prediction together know only one category"
NO_ICC = "only one category, or units so few that the estimate is outside of -1 to 1"

METRICS = (
    Metric("accuracy", agreement.accuracy, NOTHING, part=_right),
    Metric("majority_accuracy", agreement.majority_accuracy, NOTHING, part=agreement.largest),
    Metric("gain_over_majority", agreement.gain_over_majority, NOTHING),
    Metric("balanced_accuracy", agreement.balanced_accuracy, NOTHING, mean=True),
    Metric("kappa_plain", _kappa(0), ONE_CATEGORY, fewest=2),
    Metric("kappa_linear", _kappa(1), ONE_CATEGORY, fewest=2),
    Metric("kappa_quadratic", _kappa(2), ONE_CATEGORY, fewest=2),
    Metric("icc", agreement.icc, NO_ICC, fewest=FEWEST),
    Metric("precision_macro", _macro(agreement.precision), NOTHING, mean=True),
    Metric("recall_macro", _macro(agreement.recall), NOTHING, mean=True),
    Metric("f1_macro", _macro(agreement.f1), NOTHING, mean=True),
    Metric("precision_weighted", _weighted(agreement.precision), NEVER),
    Metric("recall_weighted", _weighted(agreement.recall), NOTHING, part=_right),  # it is the accuracy
    Metric("f1_weighted", _weighted(agreement.f1), NOTHING),
    Metric("two_or_more_off", _share(far_off), NOTHING, part=far_off),
    Metric("over_estimated_share", _share(over), NOTHING, part=over),
    Metric("under_estimated_share", _share(under), NOTHING, part=under),
    Metric("precision", agreement.precision, "the category was never predicted", "category",
           part=agreement.right, whole=agreement.predicted),
    Metric("recall", agreement.recall, "the category does not occur", "category",
           part=agreement.right, whole=agreement.true),
    Metric("f1", agreement.f1, "the category neither occurs nor was predicted", "category",
           whole=lambda matrix: agreement.true(matrix) + agreement.predicted(matrix)),
)  # fmt: skip


def confusion(label: np.ndarray, predicted: np.ndarray, num_categories: int) -> np.ndarray:
    """Count label against prediction.

    Returns: (K, K) int64, rows true, columns predicted, whatever categories occur.
    """
    cell = np.asarray(label, np.intp) * num_categories + predicted
    return np.bincount(cell, minlength=num_categories**2).reshape(num_categories, num_categories)


def values(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric of one confusion matrix (K, K): (1,) or (K,) float64, NaN where undefined.

    Computed from nothing else, so that the figures cannot contradict their matrix.
    """
    known = _from_sklearn(matrix) if matrix.any() else {}
    return {metric.name: np.atleast_1d(metric.of(matrix, known.get(metric.name))) for metric in METRICS}


def _from_sklearn(matrix: np.ndarray) -> dict[str, float | np.ndarray]:
    """What scikit-learn has, and the means over categories of what it has."""
    from sklearn.metrics import accuracy_score, cohen_kappa_score, precision_recall_fscore_support

    label, predicted = np.nonzero(matrix)
    count, labels = matrix[label, predicted], list(range(len(matrix)))
    scores = {"accuracy": accuracy_score(label, predicted, sample_weight=count)}
    found = precision_recall_fscore_support(label, predicted, labels=labels, sample_weight=count, zero_division=np.nan)
    for name, value in zip(("precision", "recall", "f1"), found, strict=False):
        macro, weighted = agreement.mean_defined(value), agreement.mean_defined(value, agreement.true(matrix))
        scores |= {name: value, f"{name}_macro": macro, f"{name}_weighted": weighted}
    for name, weights in (("plain", None), ("linear", "linear"), ("quadratic", "quadratic")):
        varies = len(np.union1d(label, predicted)) > 1
        options = {"labels": labels, "weights": weights, "sample_weight": count}
        scores[f"kappa_{name}"] = cohen_kappa_score(label, predicted, **options) if varies else np.nan
    return scores | {"balanced_accuracy": scores["recall_macro"]}


def forms(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """The same of many matrices (B, K, K) at once: (B, 1) or (B, K)."""
    found = {metric.name: metric.of(matrix) for metric in METRICS}
    return {name: value if value.ndim == 2 else value[:, None] for name, value in found.items()}


def drawn(matrix_BKK: np.ndarray, matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Forms of the draws of a bootstrap; NaN where a draw has lost a category, to the figures that need it.

    Without its patients, what was predicted as a category is all wrong, and a mean over categories is another one. The
    largest category is that of what is drawn from, also where several are as large and the draws have more of another.

    Args:
        matrix: what is drawn from, (K, K).
    """
    true_K, true_BK = agreement.true(matrix), agreement.true(matrix_BKK)
    found, lost_BK = forms(matrix_BKK), (true_K > 0) & (true_BK == 0)
    found["majority_accuracy"] = agreement.ratio(true_BK[:, [true_K.argmax()]], true_BK.sum(axis=1, keepdims=True))
    found["gain_over_majority"] = found["accuracy"] - found["majority_accuracy"]
    for metric in METRICS:
        if metric.mean or metric.per == "category":
            lost = lost_BK.any(axis=1, keepdims=True) if metric.mean else lost_BK
            found[metric.name] = np.where(lost, np.nan, found[metric.name])
    return found


def sign_test(over_P: np.ndarray, under_P: np.ndarray) -> SignTest:
    """Whether more patients are over- than under-estimated, exactly: a fair coin, patients without direction left out.

    Args:
        over_P, under_P: units of each patient whose category was predicted too high, too low. Units of one patient
            are no separate witnesses, so each patient speaks once, for the larger of the two.
    Source: Dixon and Mood 1946; scipy.stats.binomtest, two-sided.
    """
    higher, lower = int((over_P > under_P).sum()), int((over_P < under_P).sum())
    note = None if higher + lower else "no patient is over- or under-estimated"
    return SignTest(over=higher, under=lower, unit="patients", p_value=fair_coin(higher, lower), note=note)


def fair_coin(heads: int, tails: int) -> float | None:
    """How often a fair coin falls as unevenly, exactly and two-sided; None if it was never thrown."""
    from scipy import stats

    return float(stats.binomtest(heads, heads + tails).pvalue) if heads + tails else None


def auroc(event_N: np.ndarray, value_N: np.ndarray) -> float:
    """Area under the ROC curve: how often a unit with the event has the higher value; NaN where all are alike in it."""
    if len(np.unique(event_N)) < 2:
        return np.nan
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(event_N, value_N))


def average_precision(event_N: np.ndarray, value_N: np.ndarray) -> float:
    """Precision at every distinct value, weighed by the gain of sensitivity there; NaN where nobody has the event."""
    if not event_N.any():
        return np.nan
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(event_N, value_N))


def brier_of_event(event_N: np.ndarray, chance_N: np.ndarray) -> float:
    """Mean squared distance of a probability from what happened, 0 to 1; NaN where there is no unit."""
    if not len(event_N):
        return np.nan
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(event_N, chance_N, pos_label=True))


def isotonic(event_N: np.ndarray, chance_N: np.ndarray) -> np.ndarray:
    """The share with the event, rising with the probability, that is nearest to what happened, (N,)."""
    from sklearn.isotonic import IsotonicRegression

    found = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit_transform(chance_N, event_N.astype(float))
    return np.asarray(found)


def rank_correlation(x_N: np.ndarray, y_N: np.ndarray) -> float:
    """Spearman's rho, ties at their mean rank; NaN below `FEWEST` units, or where either does not vary.

    Equals scipy.stats.spearmanr to the last digit, which takes longer and three times the memory.
    """
    if len(x_N) < FEWEST or np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return np.nan
    rank_2N = np.empty((2, len(x_N)))
    for rank_N, value_N in zip(rank_2N, (x_N, y_N), strict=True):
        _rank(value_N, rank_N)
    return float(np.asarray(np.corrcoef(rank_2N))[1, 0])


def _rank(value_N: np.ndarray, rank_N: np.ndarray) -> None:
    """Write the rank of each value, from 1, equal values at their mean rank."""
    order_N = np.argsort(value_N, kind="stable")  # fast where neighbours are alike, as the slices of a patient
    ordered_N = value_N[order_N]
    for part in pieces.pieces(len(ordered_N)):
        some = ordered_N[part]
        new = np.flatnonzero(some[1:] != some[:-1]) + 1  # where another value begins
        first, end = np.searchsorted(ordered_N, some[0]), np.searchsorted(ordered_N, some[-1], "right")
        start_G = np.concatenate([[first], new + part.start, [end]])  # the last value's end is the start of a next one
        rank_G = (start_G[:-1] + start_G[1:] + 1) / 2
        rank_N[order_N[part]] = np.repeat(rank_G, np.diff(new, prepend=0, append=len(some)))


@dataclass(frozen=True)
class Scheme:
    """A coarser division of the score, each category ending at its edge, the edge included."""

    key: str
    edges: tuple[float, ...]
    names: tuple[str, ...]


SCHEMES = (
    Scheme("usual", (0, 10, 100, 400), ("0", "1-10", "11-100", "101-400", ">400")),
    Scheme("any", (0,), ("0", ">0")),
    Scheme("at_100", (100,), ("<=100", ">100")),
)


def groups(scheme: Scheme, edges: Sequence[float]) -> np.ndarray:
    """The coarser category of each of the categories that the edges make, (K,).

    Raises: ValueError naming the edges of the scheme that are missing.
    """
    if missing := [edge for edge in scheme.edges if edge not in edges]:
        raise ValueError(f"labels.edges have no {' and no '.join(f'{edge:g}' for edge in missing)}")
    return np.searchsorted(scheme.edges, (-math.inf, *edges), side="right")


def scheme_note(scheme: Scheme, scores: np.ndarray | None) -> str | None:
    """How "up to 100" relates to others' "below 100", by the scores (N,) of the units, NaN where unknown."""
    if scheme.key != "at_100":
        return None
    if scores is None:
        return "a score of exactly 100 counts as <=100"
    exactly = int((scores == 100).sum())
    return (
        f"{exactly} units have a score of exactly 100 and count as <=100"
        if exactly
        else "the same as <100 against >=100, for no score is exactly 100"
    )
