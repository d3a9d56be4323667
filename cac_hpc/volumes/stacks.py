"""Slices that stand on each other: their geometry, and which of them can be of one series at all."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cac_hpc.volumes.header import Header
from cac_hpc.volumes.images import Own

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

    @property
    def centre(self) -> np.ndarray:
        """Middle of the slice (3,), in mm; it is the same whichever corner is stored first."""
        row, column = np.array(self.header.orientation).reshape(2, 3)
        row_mm, column_mm = self.header.spacing
        half = row * column_mm * (self.header.columns - 1) / 2 + column * row_mm * (self.header.rows - 1) / 2
        return np.asarray(self.own.position + half)


@dataclass(frozen=True)
class Stack:
    """Slices that stand on each other, one or more, in the order of their index. Lengths in mm; axes: N slice."""

    slices: Sequence[Candidate]

    def __len__(self) -> int:
        return len(self.slices)

    @cached_property
    def first(self) -> Candidate:
        return self.slices[0]

    @cached_property
    def headers(self) -> list[Header]:
        """Each once: slices that say the same share one."""
        return list({id(candidate.header): candidate.header for candidate in self.slices}.values())

    @cached_property
    def orientation(self) -> tuple[float, ...]:
        """ImageOrientationPatient, the median where slices differ."""
        return self._median([candidate.header.orientation for candidate in self.slices])

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """PixelSpacing, the median where slices differ."""
        return self._median([candidate.header.spacing for candidate in self.slices])

    def _median(self, values: list[tuple[float, ...]]) -> tuple[float, ...]:
        return values[0] if len(self.headers) == 1 else tuple(np.median(values, axis=0).tolist())

    @cached_property
    def normal(self) -> np.ndarray:
        """Unit normal of the slices (3,), pointing to ascending z."""
        (a, b, c), (d, e, f) = self.orientation[:3], self.orientation[3:]
        across = b * f - c * e, c * d - a * f, a * e - b * d
        return np.array(across) / math.hypot(*across) * (-1 if across[2] < 0 else 1)

    @cached_property
    def position(self) -> np.ndarray:
        """Of the first stored pixel of each slice (N, 3)."""
        return np.array([candidate.own.position for candidate in self.slices])

    @cached_property
    def along(self) -> np.ndarray:
        """Position of each slice along the normal (N,); it is the same whichever corner is stored first."""
        return np.asarray((self.position @ self.normal).round(4))

    @cached_property
    def levels(self) -> np.ndarray:
        """The positions along the normal, ascending, each once."""
        ascending = np.sort(self.along)
        return np.asarray(ascending[np.concatenate([[True], ascending[1:] - ascending[:-1] >= SAME_MM])])

    @cached_property
    def step(self) -> float:
        """Usual distance of two neighbouring positions; NaN if there is one position only."""
        return float(np.median(np.diff(self.levels))) if len(self.levels) > 1 else math.nan

    @cached_property
    def thickness(self) -> float:
        """SliceThickness, the median where slices differ; NaN where most headers tell no thickness above 0."""
        known = [thick for candidate in self.slices if (thick := candidate.header.thickness_mm) > 0]
        return float(np.median(known)) if 2 * len(known) > len(self.slices) else math.nan

    @property
    def slab(self) -> float:
        """How much of the patient a slice stands for: its thickness, or the step where that is shorter."""
        return min((value for value in (self.thickness, self.step) if not math.isnan(value)), default=math.nan)

    @property
    def lean_degrees(self) -> float:
        """Angle between the slices' normal and the body axis."""
        return _degrees(self.normal, np.array([0.0, 0.0, 1.0]))

    @property
    def shear_degrees(self) -> float:
        """Angle between the normal and the direction in which the slices are stacked; 0 where that cannot be told."""
        direction = self.position[self.along.argmax()] - self.position[self.along.argmin()]
        return _degrees(self.normal, direction) if math.hypot(*direction) >= SAME_MM else 0.0


def stacks(candidates: Sequence[Candidate]) -> list[Stack]:
    """Slices of one series and size whose orientation and spacing are the same.

    Two slices that differ by less than SAME_COSINE and SAME_SPACING_MM are of one stack, whatever others there are.
    """
    alike: dict[object, list[Candidate]] = defaultdict(list)  # slices of a series share few header objects, often one
    for candidate in candidates:
        alike[id(candidate.header), candidate.folder].append(candidate)
    named: dict[object, list[list[Candidate]]] = defaultdict(list)
    for same in alike.values():
        header = same[0].header
        named[same[0].series, str(header.series_number), header.rows, header.columns].append(same)
    found = [slices for parts in named.values() for slices in _near(parts)]
    return [Stack(sorted(slices, key=lambda candidate: candidate.index)) for slices in found]


def _near(parts: list[list[Candidate]]) -> list[list[Candidate]]:
    """Parts of one series, joined where their geometry is the same within the tolerance, directly or over others."""
    if len(parts) == 1:
        return parts
    tolerance = np.array([SAME_COSINE] * 6 + [SAME_SPACING_MM] * 2)
    geometry = np.array([(*part[0].header.orientation, *part[0].header.spacing) for part in parts]) / tolerance
    left, joined = np.arange(len(parts)), list[list[Candidate]]()
    while len(left):
        waiting, left, slices = [left[0]], left[1:], list[Candidate]()
        while waiting:
            this = waiting.pop()
            slices += parts[this]
            near = np.abs(geometry[left] - geometry[this]).max(axis=1, initial=0) <= 1 + 1e-6
            waiting += left[near].tolist()
            left = left[~near]
        joined.append(slices)
    return joined


def _degrees(one: np.ndarray, other: np.ndarray) -> float:
    """Angle between two directions, whichever way they point."""
    cosine = abs(float(one @ other)) / (math.hypot(*one) * math.hypot(*other))
    return math.degrees(math.acos(min(1.0, cosine)))
