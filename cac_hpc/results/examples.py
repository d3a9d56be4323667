"""Slices, patients and lesions that a report shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Example:
    """A slice that the report shows."""

    study: str
    slice: int
    fold: int
    true: int
    predicted: int
    probability: float
    probability_of_true: float


@dataclass(frozen=True)
class Examples:
    """Slices that were picked, and by which rule."""

    rule: str
    slices: list[Example]


@dataclass(frozen=True)
class MistakenPatient:
    """A patient whose category was predicted wrong in a fold."""

    patient: str
    fold: int
    score: float | None
    true: int
    predicted: int
    probability: float
    probability_of_true: float


@dataclass(frozen=True)
class MistakenPatients:
    """The worst of them; by_distance: how many are that many categories off."""

    rule: str
    wrong: int
    by_distance: list[int]
    worst: list[MistakenPatient]


@dataclass(frozen=True)
class Shown:
    """The slices and patients that a report shows."""

    samples: Examples
    misclassified: Examples
    patients: MistakenPatients


@dataclass(frozen=True)
class Lesion:
    """A candidate of a study that is shown: where it is, what it would add to the score, and whether it counted."""

    candidate: int
    first_slice: int
    last_slice: int
    agatston: float
    volume_mm3: float
    max_hu: float
    region_share: float
    probability: float
    counted: bool


@dataclass(frozen=True)
class ShownPatient:
    """A patient whose candidates are shown, of the study with his highest predicted score; why: he was picked for.

    lesions: what counted, and of what was rejected that which came nearest to it; rejected: how many all of these are.
    """

    patient: str
    study: str
    fold: int
    why: Literal["misclassified", "sample"]
    reported: float | None
    true: int
    score: float
    predicted: int
    probability: float
    control: float
    lesions: list[Lesion]
    rejected: int
    rejected_agatston: float


@dataclass(frozen=True)
class ShownLesions:
    """Patients whose candidates are shown, and by which rule; candidates and counted: of all tested studies."""

    note: None
    rule: str
    patients: list[ShownPatient]
    candidates: int
    counted: int
