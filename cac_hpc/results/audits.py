"""Checks of the data and the results: audits, labels that are contradicted, looks at test figures before."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Audit:
    """A check of the data or the results; passed: None where it could not be made."""

    name: str
    passed: bool | None
    note: str


@dataclass(frozen=True)
class ShownBefore:
    """How often test figures of the patients had been shown when the run's configuration was set, and of which runs."""

    times: int
    runs: list[str]


@dataclass(frozen=True)
class ContradictedLabel:
    """A study whose reported score its scan contradicts; counted: what each reader, by its key, makes of it."""

    study: str
    reported: float | None
    counted: dict[str, float]


@dataclass(frozen=True)
class LabelToCheck:
    """A patient whose readers agree on another category than the label's; probability: that it is any other one.

    expected_change: categories by which the label would move, each weighed by its probability.
    """

    patient: str
    score: float | None
    category: int
    read: int
    probability: float
    expected_change: float


@dataclass(frozen=True)
class LabelsToCheck:
    """Labels that readers, by their keys, contradict in agreement, the greatest expected change first.

    patients: of whom all of these readers know the category.
    """

    readers: list[str]
    patients: int
    labels: list[LabelToCheck]
