"""One phase of the heart, or one acquisition, where a series holds several of the same part of the patient."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from cac_hpc.run.reasons import Refused
from cac_hpc.volumes import stacks
from cac_hpc.volumes.stacks import GAP, Candidate, Stack

TELLING: dict[str, Callable[[Candidate], float | str]] = {  # what tells phases and acquisitions apart, in this order
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
RISING: dict[str, Callable[[Candidate], float]] = {  # what rises or falls along the patient within an acquisition
    "InstanceNumber": lambda candidate: candidate.own.instance,
    "AcquisitionTime": lambda candidate: _number(candidate.own.acquired),
    "AcquisitionNumber": lambda candidate: candidate.header.acquisition,
    "TriggerTime": lambda candidate: candidate.header.trigger_ms,
}
WHEN = ("AcquisitionTime", "ContentTime")
LEAST = 3  # slices that make a part a volume of its own
MOST_RUNS, NUMBERED = 4, 5  # acquisitions that only the order of slices tells apart, and slices in each that show it


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


def told(candidate: Candidate) -> str:
    """What is said of a slice's phase, apart from when it was acquired or made."""
    return " ".join(str(value(candidate)) for name, value in TELLING.items() if name not in WHEN)


def _parts(stack: Stack, value: Callable[[Candidate], float | str]) -> dict[float | str, Stack]:
    """Slices by a value, ascending, those without one last; empty where all have the same."""
    parts: dict[float | str, list[Candidate]] = defaultdict(list)
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
        if len(shared) > 1 and (np.abs(shared[:, None] - seen).min(1) >= stacks.SAME_MM).any():
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
    return bool(max(missing) < part.step + stacks.SAME_MM)


def _alternates(stack: Stack, rising: Callable[[Candidate], float], strictly: bool) -> bool:
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
        if not count * stack.step > GAP * stack.thickness + stacks.SAME_MM
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
