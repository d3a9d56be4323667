"""Section trials: other settings that are tried, and how each fold chooses among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from cac_hpc.settings.checks import require, within


@dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """Successive halving: a trial goes on beyond an epoch only if it is among the best so far at this epoch."""

    first_epoch: int | None = None  # where it is looked at first; null: every trial is trained to its end
    factor: int = 3  # the best 1 / factor go on, to factor times as many epochs

    def __post_init__(self) -> None:
        first = self.first_epoch
        require(first is None or first >= 1, "trials.pruning.first_epoch", first, "1 or more, or null")
        within(self, "trials.pruning.", factor=(2, 100))


@dataclass(frozen=True, kw_only=True)
class TrialsConfig:
    """Trials: other settings of model and training, from which each fold chooses by its validation patients alone."""

    # values to try of settings below model and train, by dotted name: a list of values, or {uniform: [low, high]},
    # {log_uniform: [low, high]}, {choice: [...]}, with step where only whole steps are wanted
    settings: dict[str, Any] = field(default_factory=dict)
    configurations: tuple[dict[str, Any], ...] = ()  # trials that are written out, each as setting: value
    sampler: Literal["grid", "random", "tpe"] = "grid"  # how trials are drawn from `settings`; grid takes lists alone
    number: int | None = None  # of trials drawn for each fold; null: all of the grid
    gpu_hours: float | None = None  # no further trial begins when the ones before have taken so long in a fold
    select_by: str = "kappa_quadratic"  # figure of the validation patients, see docs/trials.md; highest is best
    inner_folds: int | None = None  # null: the fold's own validation part; or divisions of training and validation
    seeds: int = 1  # trainings of each trial that differ in train.seed alone; their figures are averaged
    seed: int = 0  # of the sampler and of the inner divisions
    pruning: PruningConfig = PruningConfig()
    workers: int | None = None  # processes that train trials; null: one for each fold
    # test leaks on purpose: it measures how much choosing by the test patients inflates the figures of a finished run
    select_on: Literal["validation", "test"] = "validation"
    contrast_to: str | None = None  # folder of that finished run; only where select_on is test

    def __post_init__(self) -> None:
        number, inner, hours = self.number, self.inner_folds, self.gpu_hours
        require(number is None or number >= 1, "trials.number", number, "1 or more, or null")
        require(inner is None or inner >= 2, "trials.inner_folds", inner, "2 or more, or null")
        require(hours is None or hours > 0, "trials.gpu_hours", hours, "above 0, or null")
        require(self.workers is None or self.workers >= 1, "trials.workers", self.workers, "1 or more, or null")
        within(self, "trials.", seeds=(1, 100), seed=(0, None))
        leaks = self.select_on == "test"
        of_run = "the folder of the finished run of trials that it is contrasted with, as trials.select_on is test"
        wanted = of_run if leaks else "null, as trials.select_on is validation"
        require(bool(self.contrast_to) == leaks, "trials.contrast_to", self.contrast_to, wanted)

    @property
    def active(self) -> bool:
        """Whether anything is tried."""
        return bool(self.settings or self.configurations)
