"""Several ways to a patient's category, side by side, and which of them the figures speak for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cac_hpc.results.comparison import Compared, LeftOut
from cac_hpc.results.figures import Figure
from cac_hpc.results.matrices import Pooled
from cac_hpc.results.serialization import Omitted


@dataclass(frozen=True)
class ScoreAgreement:
    """A reader's less the reported score, a patient counted once: mean and 95 % limits of agreement, ICC(2,1).

    log_: of log(1 + score); log_mean_absolute: mean size of that difference.
    """

    n: int
    bias: float | None
    low: float | None
    high: float | None
    log_bias: float | None
    log_low: float | None
    log_high: float | None
    log_mean_absolute: Figure
    log_icc: Figure
    note: Annotated[str | None, Omitted] = None


@dataclass(frozen=True)
class JudgedPatients:
    """What each reader, by its key, said of each test of a patient, as columns."""

    patient: list[str]
    fold: list[int]
    score: list[float | None]
    category: list[int]
    scores_of: dict[str, list[float]]
    categories_of: dict[str, list[int]]


@dataclass(frozen=True)
class Reader:
    """One way to a patient's category; compared: it (the reference) and the run's model (the other), None of itself."""

    key: str
    name: str
    levels: dict[str, Pooled]
    compared: Compared | None
    scores: ScoreAgreement | None


@dataclass(frozen=True)
class Trust:
    """Which reader the figures speak for at patient level, and by which rule; rivals: perhaps no worse."""

    reader: str | None
    reason: Literal["better", "simpler", "model_worse", "chance", "few"]
    rivals: list[str]


@dataclass(frozen=True)
class EmptySlices:
    """Of a category, the slices without any voxel of 130 HU or more where the rule counts."""

    category: int
    studies: int
    slices: int
    empty: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Readers:
    """Several readers of the same patients, side by side; absent: why others are not among them."""

    note: None
    left_out: LeftOut
    readers: list[Reader]
    trust: Trust
    absent: list[str]
    patients: JudgedPatients
    empty_slices: list[EmptySlices]
