"""Patients above and below cuts of the score: figures, probabilities, decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.sample_size import NeededPatients


@dataclass(frozen=True)
class OperatingPoint:
    """Every patient whose probability is at least so high counts as positive."""

    at_least: float
    sensitivity: float
    specificity: float
    precision: float


@dataclass(frozen=True)
class ObservedShare:
    """A point of a calibration curve: of patients with that probability, the share with the event, by a flexible fit.

    low, high: of the 95 % band, at this probability alone.
    """

    probability: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class BrierParts:
    """The Brier score as miscalibration - discrimination + uncertainty."""

    miscalibration: float
    discrimination: float
    uncertainty: float


@dataclass(frozen=True)
class ChanceSpread:
    """Probabilities of the event in the patients of a true category: 5th, 25th, 50th, 75th and 95th percentile."""

    category: int
    n: int
    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float


@dataclass(frozen=True)
class NetBenefit:
    """Of one way to decide: its net benefit at each threshold, with intervals.

    by: what it decides by: its probabilities, a cut of its own, or nothing (all, none). more: the model's net benefit
    less this one, in the same draws; None of the model itself. decisions: figures of its own cut. true_positives,
    false_positives: at each threshold, of whom it treats.
    """

    key: str
    name: str
    by: Literal["probability", "own_cut", "nothing"]
    values: list[float]
    low: list[float | None]
    high: list[float | None]
    more: list[float] | None
    more_low: list[float | None] | None
    more_high: list[float | None] | None
    decisions: dict[str, Figure]
    true_positives: list[int]
    false_positives: list[int]


@dataclass(frozen=True)
class DecisionCurves:
    """Net benefit over thresholds of probability, of ways to decide of the same patients."""

    n: int
    positives: int
    thresholds: list[float]
    ways: list[NetBenefit]
    absent: list[str]


@dataclass(frozen=True)
class AtCut:
    """Everything of one cut of the score; event: what is predicted, as text; exactly: units whose score is the cut.

    note: what of the labels cannot be decided, or is decided otherwise. chance_note: why there is no probability.
    """

    cut: float
    event: str
    n: int
    positives: int
    negatives: int
    exactly: int
    note: str | None
    chance_note: str | None
    figures: dict[str, Figure]
    brier_parts: BrierParts | Absent
    points: list[OperatingPoint]
    calibration: list[ObservedShare] | Absent
    spreads: list[ChanceSpread]
    decisions: DecisionCurves | Absent
    needed: list[NeededPatients]


@dataclass(frozen=True)
class Cuts:
    """Patients at cuts of the score, and figures of the order of the categories."""

    unit: str
    n: int
    at: list[AtCut]
    ordinal: dict[str, Figure]
