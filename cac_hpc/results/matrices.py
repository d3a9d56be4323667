"""Confusion matrices and what follows from them: of all folds, of one, and published ones."""

from __future__ import annotations

from dataclasses import dataclass

from cac_hpc.results.figures import Figure
from cac_hpc.results.serialization import CategoryFigures


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix (rows true, columns predicted) and all that follows from it; lists are by category."""

    n: int
    errors: int
    over_estimated: int
    under_estimated: int
    support: list[int]
    predicted: list[int]
    majority_category: int | None
    figures: dict[str, Figure]
    categories: list[CategoryFigures]
    confusion_matrix: list[list[int]]


@dataclass(frozen=True)
class SignTest:
    """Whether more patients are over- than under-estimated."""

    over: int
    under: int
    unit: str
    p_value: float | None
    note: str | None


@dataclass(frozen=True)
class Pooled(Matrix):
    """The matrix of all folds together."""

    patients: int
    sign_test: SignTest


@dataclass(frozen=True)
class _OfFold:
    """Of one fold."""

    fold: int


@dataclass(frozen=True)
class FoldMatrix(Matrix, _OfFold):  # fields of the last base come first
    """The matrix of one fold."""

    patients: int


@dataclass(frozen=True)
class _Printed:
    """Where a published matrix is from."""

    title: str
    level: str
    note: None


@dataclass(frozen=True)
class Published(Matrix, _Printed):  # fields of the last base come first
    """What follows from a published confusion matrix, shown next to the results."""
