"""Cuts of the score that treatment depends on: who is above one by the labels, and how likely by a model.

A cut belongs to what is above it, as in guidelines: a score of 100 counts as >= 100; but nobody is above 0 who has 0.
An edge of labels.edges belongs to the category below it. So truth is decided by scores, and by a category only where
all scores in it are on one side. Axes: N unit, K category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cac_hpc.statistics.intervals import FEWEST_PATIENTS
from cac_hpc.statistics.pooling import Units, num_distinct


@dataclass(frozen=True)
class Cut:
    """A score, and whether it is itself below the cut."""

    score: float
    beyond: bool

    @property
    def event(self) -> str:
        return f"> {self.score:g}" if self.beyond else f">= {self.score:g}"

    def reached(self, score_N: np.ndarray) -> np.ndarray:
        """Which of these scores are above the cut."""
        return np.asarray(score_N > self.score if self.beyond else score_N >= self.score)


@dataclass(frozen=True)
class Truth:
    """Which units have the event by their labels, (N,) bool; None where labels do not tell, and note says why."""

    cut: Cut
    event: np.ndarray | None
    exactly: int  # units whose score is the cut
    note: str | None


@dataclass(frozen=True)
class Judge:
    """What one reader says of patients.

    probabilities: whether those of the units mean anything. score: its own of each unit. chances: by cut, probabilities
    of being above it, where it is no edge of the categories.
    """

    key: str
    name: str
    units: Units
    probabilities: bool = True
    score: np.ndarray | None = None
    chances: Mapping[float, np.ndarray] = field(default_factory=dict)

    def chance(self, cut: float, edges: Sequence[float]) -> np.ndarray | None:
        """Probability of being above the cut, (N,); None where it has none."""
        if not self.probabilities:
            return None
        found = chance(self.units.probability, edges, cut)
        return self.chances.get(cut) if found is None else found

    def decides(self, cut: Cut, edges: Sequence[float]) -> np.ndarray | None:
        """Whom it says to be above the cut, (N,) bool: by its score, or its category where the cut is an edge."""
        if self.score is not None:
            return cut.reached(self.score)
        return self.units.predicted > list(edges).index(cut.score) if cut.score in edges else None


def cut_at(score: float) -> Cut:
    return Cut(score, beyond=score == 0)


def truth(score: float, label_N: np.ndarray, score_N: np.ndarray, edges: Sequence[float]) -> Truth:
    """Decide who is above a cut by his label.

    Where scores are unknown and their category ends at the cut, a score of exactly that much cannot be told from one
    below: nobody who has it counts as above the cut, then, also where scores are known.

    Args:
        label_N: true category. score_N: reported score, NaN where it is unknown, as of a label ">1000".
        edges: of the categories, as in labels.edges.
    """
    cut, unknown = cut_at(score), np.isnan(score_N)
    exactly = int((score_N == score).sum())
    above, up_to = np.array([-np.inf, *edges])[label_N], np.array([*edges, np.inf])[label_N]
    open_N = unknown & (above < score) & ~((up_to < score) | (cut.beyond & (up_to <= score)))
    if not open_N.any():
        return Truth(cut, decided(cut, label_N, score_N, edges), exactly, _of_unknown(unknown))
    if not (up_to[open_N] == score).all():
        why = f"{int(open_N.sum())} units are known by their category alone, which {score:g} divides"
        return Truth(cut, None, exactly, f"{why}: labels do not tell who is {cut.event}")
    cut = Cut(score, beyond=True)
    why = f"{int(open_N.sum())} units are known by their category alone, which ends at {score:g}"
    return Truth(cut, decided(cut, label_N, score_N, edges), exactly, f"{why} and with it")


def decided(cut: Cut, label_N: np.ndarray, score_N: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Who is above a cut, (N,) bool, where `truth` has found that labels tell."""
    lowest = np.array([-np.inf, *edges])[label_N]
    return np.where(np.isnan(score_N), lowest >= cut.score, cut.reached(score_N))


def few(event_N: np.ndarray, units: Units) -> bool:
    """Whether too few patients have an event, or have it not, for anything to be judged."""
    return min(num_distinct(units.patient[here]) for here in (event_N, ~event_N)) < FEWEST_PATIENTS


def _of_unknown(unknown_N: np.ndarray) -> str | None:
    count = int(unknown_N.sum())
    return f"{count} units are known by their category alone, which lies on one side of the cut" if count else None


def chance(probability_NK: np.ndarray, edges: Sequence[float], score: float) -> np.ndarray | None:
    """Probability of a score above the cut, (N,), from those of the categories; None where it is not an edge of them.

    Rounded, so that what is equal ties in ranks.
    """
    if score not in edges:
        return None
    above = np.asarray(probability_NK, float)[:, list(edges).index(score) + 1 :].sum(axis=1)
    return np.asarray(np.clip(np.round(above, 9), 0, 1))
