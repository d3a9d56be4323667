"""Coarser categories that readers compare with: which of ours make up each, as far as the edges allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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


def note(scheme: Scheme, scores: np.ndarray | None) -> str | None:
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
