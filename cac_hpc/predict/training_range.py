"""What the training studies were like, attribute by attribute, and in which of them another study lies outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

TOLERANCE = 0.1  # of the training range, or of its nearer end where that is more: so far beyond is still inside
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
UNKNOWN = "not known"
NUMBERS = {  # name: (words, unit)
    "slice_spacing_mm": ("slice spacing", "mm"),
    "slice_thickness_mm": ("slice thickness", "mm"),
    "row_spacing_mm": ("pixel spacing", "mm"),
    "field_of_view_mm": ("field of view", "mm"),
    "kvp": ("tube voltage", "kVp"),
    "slices": ("number of slices", ""),
    "noise_hu": ("noise in the heart", "HU"),
    "heart_height_mm": ("height of the heart on its slices", "mm"),
    "heart_width_mm": ("width of the heart on its slices", "mm"),
    "score": ("reported Agatston score", ""),
}
CODES = {
    "energy_class": "energy",
    "kernel_class": "class of the kernel",
    "gating": "gating",
    "kernel": "kernel",
}
LISTED = ("score", "kernel")  # described, but no reason to warn: a study has no score yet, names of kernels are many


@dataclass(frozen=True)
class Numbers:
    """A number over the training studies; quantiles: at QUANTILES. All are None or empty where no study has it."""

    n: int
    unknown: int
    low: float | None
    high: float | None
    quantiles: list[float]


@dataclass(frozen=True)
class Codes:
    """How many training studies have each code; NaN and None count as UNKNOWN."""

    counts: dict[str, int]


@dataclass(frozen=True)
class TrainingRange:
    """What the training studies were like: by the names of NUMBERS and CODES, those that were measured."""

    studies: int
    numbers: dict[str, Numbers] = field(default_factory=dict)
    codes: dict[str, Codes] = field(default_factory=dict)


def of_studies(studies: pd.DataFrame) -> TrainingRange:
    """The range of the studies of a sealed dataset.

    Args:
        studies: studies.csv; attributes whose column it lacks are left out.
    """
    table = _derived(studies)
    return TrainingRange(
        studies=len(table),
        numbers={name: _numbers(table[name]) for name in NUMBERS if name in table},
        codes={name: _codes(table[name]) for name in CODES if name in table},
    )


def outside(training: TrainingRange, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each attribute in which a study is outside of the training range: what it has, what they had.

    A number is outside if it is beyond the lowest or highest of the training studies by more than TOLERANCE of their
    range or of that end, whichever is more; a code, if none of them had it. What is not known is outside where it was
    known of each of them.

    Args:
        facts: of the study, as `intake.read_study` gives them.
    """
    row = _derived(pd.DataFrame([dict(facts)])).iloc[0]
    found = [
        *(_number_outside(name, numbers, row.get(name)) for name, numbers in training.numbers.items()),
        *(_code_outside(name, codes, row.get(name)) for name, codes in training.codes.items()),
    ]
    return tuple(filter(None, found))


def _derived(studies: pd.DataFrame) -> pd.DataFrame:
    """The studies with the attributes that follow from several columns."""
    table = studies.copy()
    for side, count, spacing in (
        ("height", "heart_rows", "row_spacing_mm"),
        ("width", "heart_columns", "column_spacing_mm"),
    ):
        if count in table and spacing in table:
            table[f"heart_{side}_mm"] = pd.to_numeric(table[count]) * pd.to_numeric(table[spacing])
    return table


def _numbers(column: pd.Series) -> Numbers:
    value_N = pd.to_numeric(column).to_numpy(float, na_value=np.nan)
    known_N = value_N[np.isfinite(value_N)]
    if not len(known_N):
        return Numbers(0, len(value_N), None, None, [])
    quantiles = [round(float(value), 6) for value in np.quantile(known_N, QUANTILES)]
    return Numbers(len(known_N), len(value_N) - len(known_N), float(known_N.min()), float(known_N.max()), quantiles)


def _codes(column: pd.Series) -> Codes:
    counts = column.map(_code).value_counts()
    return Codes({str(code): int(counts[code]) for code in sorted(counts.index)})


def _code(value: Any) -> str:
    return value if isinstance(value, str) and value else UNKNOWN


def _number_outside(name: str, training: Numbers, value: Any) -> str | None:
    words, unit = NUMBERS[name]
    if name in LISTED or training.low is None or training.high is None:
        return None
    had = (
        f"{_shown(training.low, unit)}"
        if training.low == training.high
        else f"{training.low:.4g} to {_shown(training.high, unit)}"
    )
    number = math.nan if value is None else float(value)
    if not math.isfinite(number):
        return f"{words} is {UNKNOWN}, the training studies had {had}" if not training.unknown else None
    spread = training.high - training.low
    low = training.low - TOLERANCE * max(spread, abs(training.low))
    high = training.high + TOLERANCE * max(spread, abs(training.high))
    return None if low <= number <= high else f"{words} is {_shown(number, unit)}, the training studies had {had}"


def _code_outside(name: str, training: Codes, value: Any) -> str | None:
    code = _code(value)
    if name in LISTED or code in training.counts or set(training.counts) <= {UNKNOWN}:
        return None
    had = ", ".join(f"{known} ({count})" for known, count in training.counts.items())
    return f"{CODES[name]} is {code}, the training studies had {had}"


def _shown(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()
