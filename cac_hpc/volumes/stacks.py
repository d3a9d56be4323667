"""Slices that stand on each other: their geometry, which can be of one series, one phase of several."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes.header import Header
from cac_hpc.volumes.images import Own

SAME_MM = 0.01  # two slices nearer to each other are at one position
SAME_COSINE, SAME_SPACING_MM = 0.001, 0.001  # what differs less is as printed, or as a matrix product left it
GAP = 1.5  # a step that is so many times as long as others, or as the slices are thick, leaves something out
WHEN = ("AcquisitionTime", "ContentTime")
LEAST = 3  # slices that make a part a volume of its own
MOST_RUNS, NUMBERED = 4, 5  # acquisitions that only the order of slices tells apart, and slices in each that show it


@dataclass(frozen=True)
class SliceEntry:
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

    slices: Sequence[SliceEntry]

    def __len__(self) -> int:
        return len(self.slices)

    @cached_property
    def first(self) -> SliceEntry:
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


def stacks(candidates: Sequence[SliceEntry]) -> list[Stack]:
    """Slices of one series and size whose orientation and spacing are the same.

    Two slices that differ by less than SAME_COSINE and SAME_SPACING_MM are of one stack, whatever others there are.
    """
    alike: dict[object, list[SliceEntry]] = defaultdict(list)  # slices of a series share few header objects, often one
    for candidate in candidates:
        alike[id(candidate.header), candidate.folder].append(candidate)
    named: dict[object, list[list[SliceEntry]]] = defaultdict(list)
    for same in alike.values():
        header = same[0].header
        named[same[0].series, str(header.series_number), header.rows, header.columns].append(same)
    found = [slices for parts in named.values() for slices in _near(parts)]
    return [Stack(sorted(slices, key=lambda candidate: candidate.index)) for slices in found]


def _near(parts: list[list[SliceEntry]]) -> list[list[SliceEntry]]:
    """Parts of one series, joined where their geometry is the same within the tolerance, directly or over others."""
    if len(parts) == 1:
        return parts
    tolerance = np.array([SAME_COSINE] * 6 + [SAME_SPACING_MM] * 2)
    geometry = np.array([(*part[0].header.orientation, *part[0].header.spacing) for part in parts]) / tolerance
    left, joined = np.arange(len(parts)), list[list[SliceEntry]]()
    while len(left):
        waiting, left, slices = [left[0]], left[1:], list[SliceEntry]()
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


TELLING: dict[str, Callable[[SliceEntry], float | str]] = {  # what tells phases and acquisitions apart, in this order
    "NominalPercentageOfCardiacPhase": lambda candidate: candidate.header.phase_percent,
    "NominalCardiacTriggerDelayTime": lambda candidate: candidate.header.trigger_delay_ms,
    "TemporalPositionIndex": lambda candidate: candidate.header.temporal_position,
    "TriggerTime": lambda candidate: candidate.header.trigger_ms,
    "AcquisitionNumber": lambda candidate: candidate.header.acquisition,
    "IrradiationEventUID": lambda candidate: candidate.header.event,
    "FrameOfReferenceUID": lambda candidate: candidate.header.frame_of_reference,
    "AcquisitionTime": lambda candidate: candidate.own.acquired,
    "ContentTime": lambda candidate: candidate.own.made,
}
RISING: dict[str, Callable[[SliceEntry], float]] = {  # what rises or falls along the patient within an acquisition
    "InstanceNumber": lambda candidate: candidate.own.instance,
    "AcquisitionTime": lambda candidate: _number(candidate.own.acquired),
    "AcquisitionNumber": lambda candidate: candidate.header.acquisition,
    "TriggerTime": lambda candidate: candidate.header.trigger_ms,
}


def one_phase(stack: Stack) -> tuple[Stack, dict[int, Refused]]:
    """The slices of one phase and acquisition, and why the others are not used, by index.

    By each attribute of TELLING: where slices repeat positions, the part that is at every position; where two parts lie
    between each other, each a volume by itself, the one with most slices, if it is as long as all together. Of equal
    ones the lowest value. Slabs that follow one another stay together.
    """
    others: dict[int, Refused] = {}
    for attribute, value in TELLING.items():
        parts = _parts(stack, value)
        if not parts or not (volumes := _same_place(stack, list(parts.values()))):
            continue
        chosen = max(volumes, key=lambda volume: len(volume.levels))  # of equal ones the lowest value
        refused = Refused("other_phase", f"of {len(parts)} phases or acquisitions, by {attribute}")
        kept = {candidate.index for candidate in chosen.slices}
        others |= {candidate.index: refused for candidate in stack.slices if candidate.index not in kept}
        stack = chosen
    return stack, others


def interleaved(stack: Stack) -> str | None:
    """What tells that a stack is two acquisitions between each other, of which none is to be chosen; or None."""
    for attribute, value in TELLING.items():
        if (parts := list(_parts(stack, value).values())) and _between_each_other(parts):
            return f"acquisitions of several values of {attribute} lie between each other"
    for attribute, rising in RISING.items():
        if _alternates(stack, rising, strictly=attribute != "AcquisitionNumber"):
            return f"{attribute} runs through the positions several times, between each other"
    return None


def told(candidate: SliceEntry) -> str:
    """What is said of a slice's phase, apart from when it was acquired or made."""
    return " ".join(str(value(candidate)) for name, value in TELLING.items() if name not in WHEN)


def _parts(stack: Stack, value: Callable[[SliceEntry], float | str]) -> dict[float | str, Stack]:
    """Slices by a value, ascending, those without one last; empty where all have the same."""
    parts: dict[float | str, list[SliceEntry]] = defaultdict(list)
    for candidate in stack.slices:
        found = value(candidate)
        parts["" if found != found else found].append(candidate)  # NaN differs from itself
    ascending = sorted(parts.items(), key=lambda item: (item[0] == "", item[0]))
    return {found: Stack(slices) for found, slices in ascending} if len(parts) > 1 else {}


def _same_place(stack: Stack, parts: list[Stack]) -> list[Stack]:
    """Of the parts, those of which each is the whole place by itself; none if the parts are slabs of one volume."""
    if len(stack.levels) < len(stack) and (whole := [part for part in parts if len(part.levels) == len(stack.levels)]):
        return whole
    if not _between_each_other(parts):
        return []
    return [part for part in parts if _is_volume(part) and _reaches(part, stack)]


def _between_each_other(parts: list[Stack]) -> bool:
    """Whether two of the parts, each a volume by itself, share more than a step of the patient, at other positions."""
    volumes = sorted((part.levels for part in parts if _is_volume(part)), key=lambda levels: levels[0])
    seen = np.zeros(0)
    for levels in volumes:
        shared = levels[levels <= seen.max(initial=-math.inf)]
        if len(shared) > 1 and (np.abs(shared[:, None] - seen).min(1) >= SAME_MM).any():
            return True
        seen = np.concatenate([seen, levels])
    return False


def _is_volume(part: Stack) -> bool:
    """Whether positions are even and, for all that is known of the slices' thickness, without gaps."""
    if len(part) < LEAST or len(part.levels) < LEAST:
        return False
    steps = np.diff(part.levels)
    even = steps.max() <= GAP * part.step and steps.min() >= part.step / GAP
    return bool(even and (math.isnan(part.thickness) or part.step <= GAP * part.thickness))


def _reaches(part: Stack, whole: Stack) -> bool:
    """Whether a part is as long as all, up to one of its steps at each end."""
    missing = part.levels[0] - whole.levels[0], whole.levels[-1] - part.levels[-1]
    return bool(max(missing) < part.step + SAME_MM)


def _alternates(stack: Stack, rising: Callable[[SliceEntry], float], strictly: bool) -> bool:
    """Whether a number rises or falls along the patient only if every second, third or fourth slice is taken.

    Slices must be so close that those taken overlap, or touch; a number that is missing may be any.
    """
    at = dict(zip(stack.along.tolist(), stack.slices, strict=True))  # copies are at one position
    numbers = np.array([rising(at[position]) for position in sorted(at)])
    if _in_order(numbers, strictly):
        return False
    runs = [
        count
        for count in range(2, min(MOST_RUNS, len(numbers) // NUMBERED) + 1)
        if not count * stack.step > GAP * stack.thickness + SAME_MM
    ]
    return any(all(_in_order(numbers[first::count], strictly) for first in range(count)) for count in runs)


def _in_order(numbers: np.ndarray, strictly: bool) -> bool:
    """Whether the numbers that are known only rise, or only fall; three of them at least."""
    steps = np.diff(numbers[~np.isnan(numbers)])
    if strictly:
        return len(steps) > 1 and bool((steps > 0).all() or (steps < 0).all())
    return len(steps) > 1 and bool((steps >= 0).all() or (steps <= 0).all())


def _number(text: str) -> float:
    """A time of day as a number that rises with it; NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
