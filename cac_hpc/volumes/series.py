"""Which series of a study is eligible (thickness, kernel, phase ...) and chosen, and the order of its slices."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import PackConfig, SeriesRule
from cac_hpc.volumes import acquisition, checks, frame, stacks
from cac_hpc.volumes.stacks import SliceEntry, Stack

PROJECTIONS = {  # parts of ImageType
    "MIP", "MINIP", "MAX_IP", "MIN_IP", "MAXIMUM", "MINIMUM", "PROJECTION IMAGE", "VOLUME_RENDER",
}  # fmt: skip
ENERGIES = (acquisition.LIKE_120, acquisition.UNKNOWN, acquisition.OTHER)
KERNELS = (acquisition.SOFT, acquisition.UNKNOWN, acquisition.SHARP)


@dataclass(frozen=True)
class Choice:
    """The series of a study.

    slices: ascending along the normal, those at one position side by side. position_mm: of each, along the normal.
    turn: what brings each into the patient frame. spacing_mm: between rows and between columns, there.
    others: every other candidate by its index, and why it is not in the series. of_series: indices of all candidates of
    the same series, whatever their phase.
    warnings: codes of the checks that failed and were set to warn.
    """

    slices: list[SliceEntry]
    position_mm: np.ndarray
    turn: frame.Turn
    spacing_mm: tuple[float, float]
    others: dict[int, Refused]
    of_series: list[int]
    warnings: list[str] = field(default_factory=list)

    @property
    def repeated(self) -> np.ndarray:
        """Of each slice, whether it is at the position of the one before."""
        return np.concatenate([[False], np.diff(self.position_mm) < stacks.SAME_MM])


class NoSeries(Refused):
    """A study has no series to be used.

    others: why, of every candidate, by its index. chosen: the slices of a series that was chosen and failed a check.
    """

    def __init__(self, reason: str, detail: str, others: dict[int, Refused], chosen: Sequence[SliceEntry] = ()) -> None:
        super().__init__(reason, detail)
        self.others, self.chosen = others, chosen


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


def choose(candidates: Sequence[SliceEntry], cfg: PackConfig, left_out: Mapping[int, Refused]) -> Choice:
    """Choose the series by the rule of the settings, order it and check how it stands.

    The criteria: docs/data.md. First what cannot be the series is left out, then each series is reduced to one phase
    and acquisition, then the lowest of `Rank` is taken.

    Args:
        left_out: candidates that were found to be of no use before, by their index.
    Raises: NoSeries, with a reason for every candidate.
    """
    others = dict(left_out)
    every = stacks.stacks([candidate for candidate in candidates if candidate.index not in others])
    chosen = _best(_fitting(every, cfg, others), cfg, others)
    used = {candidate.index for candidate in chosen.slices}
    strays = [
        candidate
        for stack in every
        for candidate in stack.slices
        if candidate.index not in used and (len(stack) < cfg.min_slices or candidate.series == chosen.first.series)
    ]
    of_series = [candidate.index for candidate in candidates if candidate.series == chosen.first.series]
    try:
        return _in_order(chosen, others, of_series, checks.failed_checks(chosen, strays, cfg))
    except Refused as final:
        raise NoSeries(final.reason, final.detail, others | dict.fromkeys(used, final), chosen.slices) from None


def _fitting(every: list[Stack], cfg: PackConfig, others: dict[int, Refused]) -> list[Stack]:
    """One phase of each series that could be taken; why all other slices could not goes to ``others``."""
    fitting = []
    for stack in every:
        volume, phased = stacks.one_phase(stack)
        if refused := _misfit(volume, cfg):
            others |= {candidate.index: refused for candidate in stack.slices}
        else:
            others |= phased
            fitting.append(volume)
    return fitting


def _misfit(stack: Stack, cfg: PackConfig) -> Refused | None:
    """Why a series cannot be taken."""
    first, rule = stack.first.header, cfg.series
    if refused := _not_axial(stack, rule.max_lean_degrees):
        return refused
    if projection := PROJECTIONS & set(first.image_type):
        return Refused("other_series", f"ImageType says {min(projection)}")
    if rule.description is not None and not re.search(rule.description, first.description, re.IGNORECASE):
        return Refused("other_series", "SeriesDescription does not match pack.series.description")
    if refused := _wrong_thickness(stack, *rule.thickness_mm):
        return refused
    if (count := len(stack.levels)) < cfg.min_slices:
        return Refused("too_few_slices", f"a series of {count} positions, pack.min_slices is {cfg.min_slices}")
    if cfg.checks.contrast_agent == "refuse":
        said = [header.contrast_agent for header in stack.headers if header.contrast_agent]
        return Refused("contrast_agent", f"{said[0]} says so") if said else None
    return None


def _not_axial(stack: Stack, most_degrees: float) -> Refused | None:
    lean = stack.lean_degrees
    if lean > 45 or (lean > most_degrees and stack.shear_degrees < lean / 2):  # a tilt stacks upright
        return Refused("not_axial", f"the slice normal leans {lean:.1f} degrees off the body axis")
    turned = round(frame.degrees_off_axis(stack.orientation), 3)
    if turned > most_degrees:
        found = f"rows and columns are turned {turned:.1f} degrees off the patient's axes"
        return Refused("not_axial", f"{found}, pack.series.max_lean_degrees is {most_degrees:g}")
    return None


def _wrong_thickness(stack: Stack, low: float, high: float) -> Refused | None:
    """Where no header tells a thickness the distance of the slices stands for it."""
    said, asked = "SliceThickness", stack.thickness
    if math.isnan(asked):
        said, asked = "SliceThickness is not said, slices are apart by", stack.step
    if math.isnan(asked) or low <= asked <= high:
        return None
    return Refused("other_series", f"{said} {asked:.4g} mm, pack.series.thickness_mm wants {low:g} to {high:g}")


def _best(fitting: list[Stack], cfg: PackConfig, others: dict[int, Refused]) -> Stack:
    """The series of the lowest rank; why the others are not chosen goes to ``others``.

    Raises: NoSeries if there is none.
    """
    if not fitting:
        raise NoSeries("study_refused", "no file is of a series that can be used", others)
    ranks = [_rank(stack, cfg.series) for stack in fitting]
    best = min(ranks)
    for stack, rank in zip(fitting, ranks, strict=True):
        if rank != best:
            refused = Refused("other_series", _why_not(stack, rank, best))
            others |= {candidate.index: refused for candidate in stack.slices}
    return fitting[ranks.index(best)]


def _in_order(stack: Stack, others: dict[int, Refused], of_series: list[int], warnings: list[str]) -> Choice:
    order = np.argsort(stack.along, kind="stable")
    slices, turn = [stack.slices[index] for index in order], frame.turn(stack.orientation)
    return Choice(slices, stack.along[order], turn, turn.pair(stack.spacing), others, of_series, warnings)


def _rank(stack: Stack, rule: SeriesRule) -> Rank:
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


def _why_not(stack: Stack, mine: Rank, best: Rank) -> str:
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
