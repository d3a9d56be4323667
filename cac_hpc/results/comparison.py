"""Two predictions of the same units, or two runs of the same patients, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from cac_hpc.results.cohort import Digests
from cac_hpc.results.figures import Difference
from cac_hpc.results.levels import Statistics
from cac_hpc.results.matrices import Pooled
from cac_hpc.results.serialization import CategoryDifferences, Omitted

T = TypeVar("T")


@dataclass(frozen=True)
class PairedTest:
    """Whether more patients are right in the other than in the reference."""

    test: str
    unit: str
    other_better: int
    reference_better: int
    equal: int
    p_value: float | None
    note: str | None


@dataclass(frozen=True)
class LeftOut:
    """Studies, and folds, that a comparison leaves out."""

    studies: int
    folds: Annotated[list[int] | None, Omitted] = None


@dataclass(frozen=True)
class Roles(Generic[T]):
    """Of the reference, and of the other that is compared with it."""

    reference: T
    other: T


@dataclass(frozen=True)
class ComparedLevel:
    """Every figure of both at one level, and the differences; matrices: where both are of one run."""

    unit: str
    n: Roles[int]
    figures: dict[str, Difference]
    categories: list[CategoryDifferences]
    matrices: Annotated[Roles[Pooled] | None, Omitted] = None


@dataclass(frozen=True)
class Compared:
    """Two predictions of the same units, by level."""

    levels: dict[str, ComparedLevel]
    sign_test: PairedTest


@dataclass(frozen=True)
class ComparedRun:
    """One of two runs that are compared."""

    run: str
    title: str
    status: str
    folds_found: int
    digests: Digests
    split_by_slice: bool


@dataclass(frozen=True)
class Comparison:
    """Two finished runs of the same patients; settings: those that differ."""

    reference: ComparedRun
    other: ComparedRun
    status: str
    patients: int
    warnings: list[str]
    notes: list[str]
    settings: list[str]
    statistics: Statistics
    levels: dict[str, ComparedLevel]
    sign_test: PairedTest
