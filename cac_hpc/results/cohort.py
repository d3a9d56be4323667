"""What was found and used, and how it was divided into folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cac_hpc.results.serialization import Json, Omitted


@dataclass(frozen=True)
class CategoryRange:
    """A category of the score: above one edge, up to and with the next."""

    category: int
    name: str
    score_above: float | None
    score_up_to: float | None


@dataclass(frozen=True)
class Cohort:
    """What was found and used; folds: of each, by category, patients to train, validate and test on.

    intake: as the seal stage wrote it to intake.json. pseudonyms: whether they stand for study numbers.
    """

    studies_found: int
    studies: int
    patients: int
    slices: int
    rejected_files: int
    studies_per_category: list[int]
    folds: list[list[list[int]]]
    intake: Json
    pseudonyms: Annotated[bool | None, Omitted] = None


@dataclass(frozen=True)
class Split:
    """How patients, or slices, were divided into folds."""

    scheme: str
    folds: int
    test_fraction: float
    val_fraction: float
    seed: int
    unit: str
    group: Annotated[str | None, Omitted] = None
    smallest_group: Annotated[int | None, Omitted] = None


@dataclass(frozen=True)
class Digests:
    """Of what a report is made from."""

    studies_sha256: str
    plan_sha256: str
    splits_sha256: str
