"""Figures by groups of patients: of those that the model never saw, and of subgroups by a fact."""

from __future__ import annotations

from dataclasses import dataclass

from cac_hpc.results.figures import Difference, Figure


@dataclass(frozen=True)
class UnseenGroup:
    """A group of patients; fold: whose model never saw it and tested it, None: it is not tested. trained: patients that
    the model learned from. figures: of its patients, none where the fold is missing.
    """

    name: str
    patients: int
    fold: int | None
    trained: int | None
    figures: dict[str, Figure]


@dataclass(frozen=True)
class UnseenGroups:
    """Patients by groups, each tested by a model that never saw it; fact: by what they form groups. smallest: patients
    of a group that is tested, at least, when the run was launched.
    """

    fact: str
    smallest: int
    groups: list[UnseenGroup]


@dataclass(frozen=True)
class GroupDrop:
    """The same patients by a model that had seen others of their group, and by one that had not; name: None of all
    groups together. differences: unseen less seen, in the same draws of patients.
    """

    name: str | None
    patients: int
    seen: dict[str, Figure]
    unseen: dict[str, Figure]
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Drops:
    """What is lost where a group was never seen; run: by patient folds. trained: patients of its folds, on average."""

    run: str
    trained: float
    groups: list[GroupDrop]


@dataclass(frozen=True)
class Subgroup:
    """Patients of one group; differences: from all others of the fact, none where either side has too few patients."""

    group: str
    patients: int
    judged: bool
    figures: dict[str, Figure]
    differences: dict[str, Difference]


@dataclass(frozen=True)
class SubgroupFact:
    """Groups by one fact. several, withheld, unknown: patients of no group.

    They are those whose studies differ in the fact, those of whom it is not told as too few are like them, and those of
    whom nobody knows it.
    """

    fact: str
    groups: list[Subgroup]
    several: int
    withheld: int
    unknown: int


@dataclass(frozen=True)
class Subgroups:
    """Figures by groups of patients. comparisons: differences with an interval, and how many of them exclude 0.

    fewest: patients of a group that is judged. by_chance: how many would exclude 0 if no group differed.
    """

    unit: str
    fewest: int
    facts: list[SubgroupFact]
    comparisons: int
    excluding_0: int
    by_chance: float
