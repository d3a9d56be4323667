"""An external test: predictions of studies that no fold has seen, beside the cross-validation of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cac_hpc.results.calibration import Calibration, Recalibration
from cac_hpc.results.comparison import ComparedLevel
from cac_hpc.results.figures import Absent, Difference, Figure
from cac_hpc.results.serialization import Omitted


@dataclass(frozen=True)
class LeftOutStudy:
    """A study, or a row of the sheet, that an external test leaves out."""

    study: str
    why: Literal["no_prediction", "no_label", "no_study", "known"]
    detail: str


@dataclass(frozen=True)
class Distribution:
    """An attribute over studies: of numbers lowest, median and highest, of codes how many have each; n: of how many."""

    n: int
    unknown: int
    low: float | None
    median: float | None
    high: float | None
    counts: Annotated[dict[str, int] | None, Omitted] = None


@dataclass(frozen=True)
class CohortFact:
    """An attribute of the studies that a model was trained on, and of those of an external test."""

    name: str
    unit: str
    internal: Distribution | Absent
    external: Distribution | Absent


@dataclass(frozen=True)
class InternalTest:
    """The cross-validation of the model (the reference) beside the external test (the other), unpaired.

    calibration: of the cross-validation.
    """

    source: str
    method: str
    compared: ComparedLevel
    calibration: Calibration | Absent


@dataclass(frozen=True)
class RangeGroup:
    """The patients of an external test inside of the training range, or those outside: one of whose studies is.

    right: patients whose category was predicted. figures: empty below the fewest patients that have intervals.
    """

    studies: int
    patients: int
    right: int
    figures: dict[str, Figure]


@dataclass(frozen=True)
class RangeSplit:
    """An external test by whether the patients lie in the training range; differences: outside (other) less inside."""

    inside: RangeGroup
    outside: RangeGroup
    differences: dict[str, Difference]


@dataclass(frozen=True)
class External:
    """Predictions of studies that no fold has seen, held against a sheet.

    source: whose predictions these are. known: whether patients of the training studies are left out, or counted, of
    how many studies. out_of_range: studies that were tested and lie outside of the training range, None: not known.
    """

    source: str
    left_out: list[LeftOutStudy]
    known: Literal["left_out", "counted", "unknown"]
    known_studies: int
    out_of_range: int | None
    internal: InternalTest | Absent
    recalibration: Recalibration | Absent
    by_range: RangeSplit | Absent
    cohorts: list[CohortFact]
    digests: dict[str, str]
