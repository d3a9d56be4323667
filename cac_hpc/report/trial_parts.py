"""What a report says of the trials from which each fold chose its settings: sentences, tables, figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.report import plots, wording
from cac_hpc.report.rows import Section, TextTable
from cac_hpc.statistics.results import Absent, FoldChoice, Importance, Json, Report, TrialRow, Trials
from cac_hpc.train import trained_settings

HEADING = "How the settings were chosen"
OWN_TRIALS = (
    "Each fold drew trials of its own (trials.sampler tpe), which follow from the figures of the trials before: the "
    "trials of two folds are not the same, and how often one was chosen cannot be counted."
)
IMPORTANCE = (
    "What importance cannot say: it is a share of how much the validation figures of these trials differ, noise "
    "included, which on few patients is most of it. It does not say which value is better, nothing of values that were "
    "not tried, nothing of settings that only matter together with others, and nothing of test patients. Of few trials "
    "it says little."
)
MOST = 12  # trials that the page lists of those that were chosen
"""


def sections(report: Report) -> list[Section]:
