"""One phase of the heart, or one acquisition, where a series holds several of the same part of the patient."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np

from cac_hpc.data import stacks
from cac_hpc.data.stacks import GAP, Candidate, Stack
from cac_hpc.run.reasons import Refused

TELLING: dict[str, Callable[[Candidate], float | str]] = {  # what tells phases and acquisitions apart, in this order
    "NominalPercentageOfCardiacPhase": lambda candidate: candidate.header.phase_percent,
    "NominalCardiacTriggerDelayTime": lambda candidate: candidate.header.trigger_delay_ms,
    "TemporalPositionIndex": lambda candidate: candidate.header.temporal_position,
    "TriggerTime": lambda candidate: candidate.header.trigger_ms,
    "AcquisitionNumber": lambda candidate: candidate.header.acquisition,
    "IrradiationEventUID": lambda candidate: candidate.header.event,
    "AcquisitionTime": lambda candidate: candidate.own.acquired,
}
LEAST = 3  # slices that make a part a volume of its own
MOST_RUNS, NUMBERED = 4, 6  # acquisitions that only InstanceNumber tells apart, and slices in each that show it


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
    if _numbers_alternate(stack):
        return "InstanceNumber runs through the positions several times, between each other"
    return None


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


def _numbers_alternate(stack: Stack) -> bool:
    """Whether slices that overlap are numbered in order only if every second, third or fourth is taken."""
    if GAP * stack.step > stack.thickness:
        return False
    at = dict(zip(stack.along.tolist(), stack.slices, strict=True))  # copies are at one position
    number = np.array([at[position].own.instance for position in sorted(at)])
    if np.isnan(number).any() or _in_order(number):
        return False
    runs = range(2, min(MOST_RUNS, len(number) // NUMBERED) + 1)
    return any(all(_in_order(number[first::count]) for first in range(count)) for count in runs)


def _in_order(number: np.ndarray) -> bool:
    steps = np.diff(number)
    return bool((steps > 0).all() or (steps < 0).all())
