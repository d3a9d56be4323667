"""Which of several series of a study is taken: what counts, in this order, and how a person is told what decided."""

from __future__ import annotations

import math
from typing import NamedTuple

from cac_hpc.run.config import SeriesRule
from cac_hpc.volumes import acquisition
from cac_hpc.volumes.stacks import Stack

ENERGIES = (acquisition.LIKE_120, acquisition.UNKNOWN, acquisition.OTHER)
KERNELS = (acquisition.SOFT, acquisition.UNKNOWN, acquisition.SHARP)


class Rank(NamedTuple):
    """The lowest is taken. Each number is what `WORDS` says of the series where it is what decides."""

    tilted: bool
    contrast_agent: bool
    energy: int
    kernel: int
    derived: bool
    fewer_positions: int
    number: float
    listed: int


WORDS = {
    "tilted": "its slices are tilted",
    "contrast_agent": "a contrast agent was given",
    "energy": "{its_energy}, the other is of about 120 kVp",
    "kernel": "ConvolutionKernel is {its_kernel}, that of the other {kernel}",
    "derived": "ImageType does not say ORIGINAL",
    "fewer_positions": "it has {its_positions} positions, the other {positions}",
    "number": "SeriesNumber is higher",
    "listed": "its files are listed later",
}


def rank(stack: Stack, rule: SeriesRule) -> Rank:
    """How a series is ranked among the others of its study."""
    headers, first = stack.headers, stack.first.header
    original = any("ORIGINAL" in header.image_type for header in headers)
    return Rank(
        tilted=stack.lean_degrees > rule.max_lean_degrees,
        contrast_agent=any(header.contrast_agent for header in headers),
        energy=ENERGIES.index(acquisition.energy_class(first.kvp, first.energy_kev)),
        kernel=KERNELS.index(acquisition.kernel_class(first.kernel)),
        derived=rule.prefer_original and not original,
        fewer_positions=-len(stack.levels),
        number=math.inf if math.isnan(first.series_number) else first.series_number,
        listed=stack.first.index,
    )


def why_not(stack: Stack, mine: Rank, best: Rank) -> str:
    """What decided against a series."""
    decisive = next(name for name, its, other in zip(Rank._fields, mine, best, strict=True) if its != other)
    return WORDS[decisive].format(
        its_energy=_energy(stack),
        its_kernel=KERNELS[mine.kernel],
        kernel=KERNELS[best.kernel],
        its_positions=-mine.fewer_positions,
        positions=-best.fewer_positions,
    )


def _energy(stack: Stack) -> str:
    header = stack.first.header
    if not math.isnan(header.energy_kev):
        return f"it is an image of {header.energy_kev:g} keV"
    return "KVP is not said" if math.isnan(header.kvp) else f"KVP is {header.kvp:g}"
