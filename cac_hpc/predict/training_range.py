"""What the training studies were like, attribute by attribute, and in which of them another study lies outside.

The gate: a study that lies outside in any attribute is warned of, or refused. What that costs is measured on the
training studies themselves: each, or all with one kernel, are left out of the range and then asked about.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.results.figures import Figure
from cac_hpc.statistics import intervals

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
HEART = (("height", "heart_rows", "row_spacing_mm"), ("width", "heart_columns", "column_spacing_mm"))
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
class LeftOut:
    """What the gate says of training studies when the range is that of the others: shares with intervals.

    by: study, each left out alone; kernel, all that have it together. flagged: of all. false_alarms: flagged, of those
    whose patient the run predicted right. misses: not flagged, of those whose patient it predicted wrong. attributes:
    how many studies were flagged for each. groups: how many times studies were left out.
    """

    by: str
    groups: int
    flagged: Figure
    false_alarms: Figure
    misses: Figure
    attributes: dict[str, int]


@dataclass(frozen=True)
class TrainingRange:
    """What the training studies were like, by the names of NUMBERS and CODES that were measured; and the gate."""

    studies: int
    numbers: dict[str, Numbers] = field(default_factory=dict)
    codes: dict[str, Codes] = field(default_factory=dict)
    gate: list[LeftOut] = field(default_factory=list)


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


def with_gate(training: TrainingRange, studies: pd.DataFrame, right: Mapping[str, bool]) -> TrainingRange:
    """The range with what its gate does to studies that were left out.

    Args:
        studies: studies.csv. right: by study, whether its patient was predicted right each time that it was tested.
    """
    alone = pd.Series(np.arange(len(studies)), index=studies.index)
    found = [_left_out("study", studies, alone, right)] if len(studies) > 1 else []
    if "kernel" in studies and (kernel := studies["kernel"].map(_code)).nunique() > 1:
        found.append(_left_out("kernel", studies, kernel, right))
    return replace(training, gate=found)


def outside(training: TrainingRange, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each attribute in which a study is outside of the training range: what it has, what they had.

    A number is outside if it is beyond the lowest or highest of the training studies by more than TOLERANCE of their
    range or of that end, whichever is more; a code, if none of them had it. What is not known is outside where it was
    known of each of them.

    Args:
        facts: of the study, as `intake.read_study` gives them.
    """
    return tuple(sentence for _, sentence in _outside(training, facts))


def _outside(training: TrainingRange, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The name of each attribute in which a study is outside, and the sentence."""
    row = _derived_of_one(facts)
    for name, numbers in training.numbers.items():
        if name not in LISTED and (sentence := _number_outside(name, numbers, row.get(name))):
            yield name, sentence
    for name, codes in training.codes.items():
        if name not in LISTED and (sentence := _code_outside(name, codes, row.get(name))):
            yield name, sentence


def _left_out(by: str, studies: pd.DataFrame, group: pd.Series, right: Mapping[str, bool]) -> LeftOut:
    """What the gate says of each group of studies when the range is that of the others."""
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()} for row in studies.to_dict("records")
    ]
    names, number_N = np.unique(group, return_inverse=True)
    table, flagged_N, counts = _derived(studies), np.zeros(len(studies), bool), Counter[str]()
    for number in _worth_asking(table, number_N, len(names)):
        others = of_studies(studies[number_N != number])
        for row in np.flatnonzero(number_N == number):
            reasons = [name for name, _ in _outside(others, rows[row])]
            flagged_N[row] = bool(reasons)
            counts.update(reasons)
    known = studies["study"].map(right)
    right_N, wrong_N = (known.eq(value).fillna(False).to_numpy(bool) for value in (True, False))
    return LeftOut(
        by=by,
        groups=len(names),
        flagged=_share(flagged_N, np.ones(len(studies), bool), number_N),
        false_alarms=_share(flagged_N, right_N, number_N),
        misses=_share(~flagged_N, wrong_N, number_N),
        attributes=dict(sorted(counts.items())),
    )


def _worth_asking(table: pd.DataFrame, number_N: np.ndarray, count: int) -> list[int]:
    """The groups without which the range is another; a study that is its own group is inside of the range else."""
    if count < len(table):
        return list(range(count))
    only: list[np.ndarray] = []  # rows that alone have what they have
    for name in table.columns.intersection([*NUMBERS, *CODES]):
        if name in CODES:
            only.append(~table[name].map(_code).duplicated(keep=False).to_numpy())
            continue
        value_N = table[name].to_numpy()
        found = [
            np.isnan(value_N),
            value_N == np.nanmin(value_N, initial=np.inf),
            value_N == np.nanmax(value_N, initial=-np.inf),
        ]
        only += [one_N for one_N in found if one_N.sum() == 1]
    return sorted(set(number_N[np.any(only, axis=0)].tolist())) if only else []


def _share(hit_N: np.ndarray, of_N: np.ndarray, group_N: np.ndarray) -> Figure:
    """Of these studies those that were hit; the interval is wider where studies of one group are alike."""
    n = int(of_N.sum())
    if not n:
        return Figure(None, 0, None, None, None, "there are no such studies")
    hits, counts = np.bincount(group_N, hit_N & of_N), np.bincount(group_N, of_N)
    return intervals.figure(float(hits.sum() / n), n, "", intervals.proportion(hits, counts))


def _derived(studies: pd.DataFrame) -> pd.DataFrame:
    """The studies with the attributes that follow from several columns; numbers as float64, NaN where unknown."""
    table = studies.copy()
    for side, count, spacing in HEART:
        if count in table and spacing in table:
            table[f"heart_{side}_mm"] = _floats(table[count]) * _floats(table[spacing])
    return table.assign(**{name: _floats(table[name]) for name in NUMBERS if name in table})


def _derived_of_one(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same of one study; a table of one row takes some milliseconds."""
    row = dict(facts)
    for side, count, spacing in HEART:
        if count in row and spacing in row:
            row[f"heart_{side}_mm"] = _float(row[count]) * _float(row[spacing])
    return row | {name: _float(row[name]) for name in NUMBERS if name in row}


def _float(value: Any) -> float:
    return math.nan if pd.isna(value) else float(pd.to_numeric(value))


def _floats(column: pd.Series) -> np.ndarray:
    return np.asarray(pd.to_numeric(column.astype(object).where(column.notna(), np.nan)).to_numpy(float))


def _numbers(column: pd.Series) -> Numbers:
    value_N = column.to_numpy(float)
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
    if training.low is None or training.high is None:
        return None
    had = (
        f"{_shown(training.low, unit)}"
        if training.low == training.high
        else f"{training.low:.4g} to {_shown(training.high, unit)}"
    )
    number = math.nan if value is None else float(value)
    if math.isnan(number):
        return f"{words} is {UNKNOWN}, the training studies had {had}" if not training.unknown else None
    spread = training.high - training.low
    low = training.low - TOLERANCE * max(spread, abs(training.low))
    high = training.high + TOLERANCE * max(spread, abs(training.high))
    return None if low <= number <= high else f"{words} is {_shown(number, unit)}, the training studies had {had}"


def _code_outside(name: str, training: Codes, value: Any) -> str | None:
    code = _code(value)
    if code in training.counts or set(training.counts) <= {UNKNOWN}:
        return None
    had = ", ".join(f"{known} ({count})" for known, count in training.counts.items())
    return f"{CODES[name]} is {code}, the training studies had {had}"


def _shown(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()
