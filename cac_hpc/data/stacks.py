"""Slices that stand on each other: their geometry, and which of them can be of one series at all."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cac_hpc.data.header import Header
from cac_hpc.data.images import Own

SAME_MM = 0.01  # two slices nearer to each other are at one position
SAME_COSINE, SAME_SPACING_MM = 0.001, 0.001  # what differs less is as printed, or as a matrix product left it
GAP = 1.5  # a step that is so many times as long as others, or as the slices are thick, leaves something out


@dataclass(frozen=True)
class Candidate:
    """A slice that could be of the series.

    index: its place among all. own: its position, and what else it has for itself. folder: stands, with the series
    number, for a series whose header names none.
    """

    index: int
    header: Header
    own: Own
    folder: bytes

    @property
    def series(self) -> object:
        """What names its series."""
        return self.header.series or self.folder


Stack = list[Candidate]  # never empty


def stacks(candidates: Sequence[Candidate]) -> list[Stack]:
    """Slices of one series and size whose orientation and spacing are the same.

    Two slices that differ by less than SAME_COSINE and SAME_SPACING_MM are of one stack, whatever others there are.
    """
    alike: dict[object, Stack] = defaultdict(list)  # the slices of a series share few header objects, often one
    for candidate in candidates:
        alike[id(candidate.header), candidate.folder].append(candidate)
    named: dict[object, list[Stack]] = defaultdict(list)
    for same in alike.values():
        header = same[0].header
        named[same[0].series, str(header.series_number), header.rows, header.columns].append(same)
    found = [stack for parts in named.values() for stack in _near(parts)]
    return [sorted(stack, key=lambda candidate: candidate.index) for stack in found]


def _near(parts: list[Stack]) -> list[Stack]:
    """Parts of one series, joined where their geometry is the same within the tolerance, directly or over others."""
    if len(parts) == 1:
        return parts
    tolerance = np.array([SAME_COSINE] * 6 + [SAME_SPACING_MM] * 2)
    geometry = np.array([(*part[0].header.orientation, *part[0].header.spacing) for part in parts]) / tolerance
    left, joined = np.arange(len(parts)), list[Stack]()
    while len(left):
        waiting, left, stack = [left[0]], left[1:], Stack()
        while waiting:
            this = waiting.pop()
            stack += parts[this]
            near = np.abs(geometry[left] - geometry[this]).max(axis=1, initial=0) <= 1 + 1e-6
            waiting += left[near].tolist()
            left = left[~near]
        joined.append(stack)
    return joined


def geometry(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """ImageOrientationPatient (6,) and PixelSpacing (2,) of a stack: the medians of its slices."""
    if len({id(candidate.header) for candidate in stack}) == 1:
        return np.array(stack[0].header.orientation), np.array(stack[0].header.spacing)
    headers = [candidate.header for candidate in stack]
    return np.median([header.orientation for header in headers], axis=0), np.median(
        [header.spacing for header in headers], axis=0
    )


def normal(stack: Stack) -> np.ndarray:
    """Unit normal of the slices, pointing to ascending z."""
    orientation, _ = geometry(stack)
    across = np.cross(orientation[:3], orientation[3:])
    return np.asarray(across / np.linalg.norm(across) * (-1 if across[2] < 0 else 1))


def positions(stack: Stack) -> np.ndarray:
    """(N, 3) mm."""
    return np.array([candidate.own.position for candidate in stack])


def along_mm(stack: Stack) -> np.ndarray:
    """(N,) position of each slice along the normal, in mm; it is the same whichever corner is stored first."""
    return np.asarray(np.round(positions(stack) @ normal(stack), 4))


def levels_mm(stack: Stack) -> np.ndarray:
    """The positions along the normal, ascending, each once."""
    ascending = np.sort(along_mm(stack))
    return np.asarray(ascending[np.concatenate([[True], np.diff(ascending) >= SAME_MM])])


def step_mm(stack: Stack) -> float:
    """Usual distance of two neighbouring positions; NaN if there is one position only."""
    levels = levels_mm(stack)
    return float(np.median(np.diff(levels))) if len(levels) > 1 else math.nan


def thickness_mm(stack: Stack) -> float:
    """SliceThickness, the median where slices differ; NaN where no header tells a thickness above 0."""
    known = [candidate.header.thickness_mm for candidate in stack if candidate.header.thickness_mm > 0]
    return float(np.median(known)) if known else math.nan


def slab_mm(stack: Stack) -> float:
    """How much of the patient a slice stands for, at the most: its thickness, or the step where that is shorter."""
    known = [value for value in (thickness_mm(stack), step_mm(stack)) if not math.isnan(value)]
    return min(known, default=math.nan)


def lean_degrees(stack: Stack) -> float:
    """Angle between the slices' normal and the body axis."""
    return _degrees(normal(stack), np.array([0.0, 0.0, 1.0]))


def shear_degrees(stack: Stack) -> float:
    """Angle between the normal and the direction in which the slices are stacked; 0 where that cannot be told."""
    position, along = positions(stack), along_mm(stack)
    direction = position[along.argmax()] - position[along.argmin()]
    return _degrees(normal(stack), direction) if np.linalg.norm(direction) >= SAME_MM else 0.0


def _degrees(one: np.ndarray, other: np.ndarray) -> float:
    """Angle between two directions, whichever way they point."""
    cosine = abs(float(one @ other)) / float(np.linalg.norm(one) * np.linalg.norm(other))
    return math.degrees(math.acos(min(1.0, cosine)))
