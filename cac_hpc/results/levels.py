"""Everything at slice level, or at patient level, and how it is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cac_hpc.results.calibration import Calibration
from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.matrices import FoldMatrix, Pooled
from cac_hpc.results.serialization import Omitted


@dataclass(frozen=True)
class Statistics:
    """How a report counts."""

    patient_rule: str
    top_k: int
    draws: int
    seed: int
    confidence: float


@dataclass(frozen=True)
class OverFolds:
    """Mean and standard deviation (n - 1) of a figure over the folds in which it is defined."""

    mean: float | None
    sd: float | None
    n: int
    note: str | None


@dataclass(frozen=True)
class Collapsed:
    """Coarser categories; groups: which of them each category is in; None, with a note, where the edges do not fit."""

    key: str
    names: list[str]
    groups: list[int] | None
    note: str | None
    pooled: Pooled | None


@dataclass(frozen=True)
class OtherRule:
    """The accuracy of patients by a way from slices to patients that was not chosen."""

    rule: str
    accuracy: Figure


@dataclass(frozen=True)
class Level:
    """Everything at slice level or at patient level; distinct: units, each counted once however often it was tested."""

    unit: str
    distinct: int
    counting: str
    pooled: Pooled
    folds: list[FoldMatrix]
    over_folds: dict[str, OverFolds]
    collapsed: list[Collapsed]
    calibration: Calibration | Absent
    other_rules: Annotated[list[OtherRule] | None, Omitted] = None
