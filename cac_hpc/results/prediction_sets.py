"""Neighbouring categories that name the true one of so many patients."""

from __future__ import annotations

from dataclasses import dataclass

from cac_hpc.results.figures import Figure


@dataclass(frozen=True)
class PromisedCoverage:
    """Share of new patients whose category is named by sets that so many patients calibrated: mean and 95 % limits."""

    calibrated_by: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SetsOfCategory:
    """Prediction sets of the tests of a true category; sizes: how many of them name one category, two, and so on."""

    category: int
    n: int
    sizes: list[int]
    figures: dict[str, Figure]


@dataclass(frozen=True)
class SetsOfFold:
    """Of a fold's tests, how many sets name the true category; calibrated_by: patients of other folds."""

    fold: int
    n: int
    named: int
    calibrated_by: int


@dataclass(frozen=True)
class SetsOfPatients:
    """The set of each test of a patient, as columns: its lowest and its highest category."""

    patient: list[str]
    fold: list[int]
    category: list[int]
    predicted: list[int]
    low: list[int]
    high: list[int]


@dataclass(frozen=True)
class PredictionSets:
    """Neighbouring categories that are to name the true one of so many patients.

    wanted: share of patients, None if nothing tells it. full: tests whose sets name every category, since patients who
    calibrate them are too few. promised: None if that is so, if folds are groups that were never seen, or nothing tells
    how many patients calibrated them. sizes: how many sets name one category, two, and so on. folds: none of an
    external test.
    """

    wanted: float | None
    n: int
    full: int
    promised: PromisedCoverage | None
    figures: dict[str, Figure]
    sizes: list[int]
    categories: list[SetsOfCategory]
    folds: list[SetsOfFold]
    tests: SetsOfPatients
