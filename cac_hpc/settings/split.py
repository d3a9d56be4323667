"""Section split: how patients are divided into folds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cac_hpc.settings.checks import ADDED, require, within


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How patients are divided into folds."""

    # holdout: repeated random division; leave_one_out: each group of patients is tested by a model that never saw it
    scheme: Literal["kfold", "holdout", "leave_one_out"] = "kfold"
    folds: int = 5  # or repetitions, in `holdout`; in `leave_one_out` set by the launch: one for each group
    test_fraction: float = 0.30  # of all patients, in `holdout`; `kfold` tests each patient once
    val_fraction: float = 0.21  # of all patients; in `leave_one_out` of those of other groups
    seed: int = 0  # of the division into folds
    # slice leaks on purpose: it measures how much a split by slice inflates the figures of a finished run
    unit: Literal["patient", "slice"] = "patient"
    contrast_to: str | None = None  # folder of that finished run; or of one by patient folds, in `leave_one_out`
    # by what patients form groups: scanner (maker and model), site (the cohort, of data.cohorts), or a column of
    # labels.group_columns; kfold and holdout give each fold its share of every group
    group: str | None = field(default=None, metadata=ADDED)
    smallest_group: int = field(default=10, metadata=ADDED)  # patients; smaller ones are not tested in `leave_one_out`

    def __post_init__(self) -> None:
        of_run = "the folder of the finished run by patient that it is contrasted with, as split.unit is slice"
        no_run = f"null, as split.unit is patient and split.scheme {self.scheme}, not leave_one_out"
        wanted = of_run if self.unit == "slice" else no_run
        held_out = self.scheme == "leave_one_out"
        fits = bool(self.contrast_to) == (self.unit == "slice") or (held_out and self.unit == "patient")
        require(fits, "split.contrast_to", self.contrast_to, wanted)
        by_patient = self.unit == "patient" or self.group is None
        require(by_patient, "split.group", self.group, "null, as split.unit is slice")
        wanted = "scanner, site, or a column of labels.group_columns, as split.scheme is leave_one_out"
        require(self.group is not None or not held_out, "split.group", self.group, wanted)
        within(self, "split.", folds=(2, None), seed=(0, None), smallest_group=(2, None))
        require(0 < self.val_fraction < 1, "split.val_fraction", self.val_fraction, "between 0 and 1")
        require(0 < self.test_fraction < 1, "split.test_fraction", self.test_fraction, "between 0 and 1")
        if held_out:  # parts are as large as the groups
            return
        test = self.test_fraction if self.scheme == "holdout" else 1 / self.folds
        left = f"less than {1 - test:.2f}, so that patients are left for training"
        require(test + self.val_fraction < 1, "split.val_fraction", self.val_fraction, left)
