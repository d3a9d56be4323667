"""Trials of other settings, and what each fold has chosen by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cac_hpc.results.figures import Absent, Difference
from cac_hpc.results.serialization import Json


@dataclass(frozen=True)
class TrialRow:
    """Settings that a fold has tried, and their figures of its validation patients.

    fold: None where the trials are those of all folds together (select_on test). settings: tried, by dotted name.
    epochs: at which it was looked at; figures: at each of these. of_seeds: of its last figure, by seed. seconds: of all
    its parts. ended: trained to its end, left off before it, failed, or never begun (trials.gpu_hours).
    """

    fold: int | None
    trial: int
    settings: Json
    ended: Literal["trained", "pruned", "failed", "not_begun"]
    epochs: list[int]
    figures: list[float | None]
    of_seeds: list[float | None]
    parameters: int | None
    seconds: float


@dataclass(frozen=True)
class FoldChoice:
    """Which trial a fold has chosen, and how surely; by its validation patients, of whom there are so many.

    figure: of the chosen trial, and too high, as it was chosen by it. runner_up: None if there was no other.
    over_runner_up: chosen (the other) less runner-up (the reference), in the same draws of patients. again: share of
    these draws in which the same trial is best. tied: other trials whose figure is the same. seed_sd: standard
    deviation over the seeds of one trial, None of a single seed.
    """

    fold: int | None
    patients: int
    trial: int
    settings: Json
    figure: float | None
    runner_up: int | None
    over_runner_up: Difference
    again: float
    tied: int
    seed_sd: float | None


@dataclass(frozen=True)
class ChosenSettings:
    """Settings that so many folds have chosen."""

    settings: Json
    folds: list[int]


@dataclass(frozen=True)
class SettingImportance:
    """A setting's share in how much the figures of a fold's trials differ, by fold, and the mean of these."""

    setting: str
    mean: float
    of_folds: dict[str, float]


@dataclass(frozen=True)
class Importance:
    """Of all settings that were tried; trials: on which it rests."""

    method: str
    trials: int
    settings: list[SettingImportance]


@dataclass(frozen=True)
class Trials:
    """Trials of other settings, from which each fold has chosen those that it was trained and tested with.

    number: planned in each fold. rungs: how often a trial is looked at, at most. seconds: of all trainings. chosen: how
    often which, None where each fold has drawn trials of its own, or all have chosen together.
    """

    select_by: str
    select_on: Literal["validation", "test"]
    sampler: Literal["grid", "random", "tpe"]
    number: int
    rungs: int
    seeds: int
    inner_folds: int | None
    seconds: float
    choices: list[FoldChoice]
    chosen: list[ChosenSettings] | None
    importance: Importance | Absent
    trials: list[TrialRow]
