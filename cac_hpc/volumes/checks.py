"""Checks of the chosen series: whether its slices stand as a scanner leaves them. A fault refuses the study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cac_hpc.run.logs import amount
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import stacks
from cac_hpc.volumes.header import Header
from cac_hpc.volumes.stacks import GAP, SliceEntry, Stack

PRINTED = 0.01 + 1e-9  # numbers that differ by less are the same, printed otherwise
DRIFT = 3.0  # times the tolerance between neighbours
SHEAR_DEGREES = 0.1  # between the slices' normal and the direction in which they are stacked, at most
SAME = ("kvp", "energy_kev", "kernel", "bits_stored", "signed", "padding", "field_of_view_mm", "phase_percent",
        "gating")  # fmt: skip


def refuse_or_warn(refused: Refused, cfg: PackConfig) -> str:
    """Raise what the settings do not forgive; the code of what they do."""
    if getattr(cfg.checks, refused.reason, "refuse") == "refuse":
        raise refused
    return refused.reason


def note(warnings: list[str], refused: Refused, cfg: PackConfig) -> None:
    """Put the code of a fault into the warnings of a series, once.

    Raises: Refused if the settings do not forgive it.
    """
    code = refuse_or_warn(refused, cfg)
    warnings.extend([code] if code not in warnings else [])


def failed_checks(stack: Stack, strays: Sequence[SliceEntry], cfg: PackConfig) -> list[str]:
    """Codes of the failed checks that are set to warn.

    Args:
        stack: the chosen slices. strays: slices that name the same series but are not among them, or are of no series.
    Raises: Refused for the first that is set to refuse.
    """
    failed = (
        *_of_number(stack, cfg),
        *_of_equality(stack.headers),
        *_of_geometry(stack),
        *_of_acquisitions(stack, strays),
        *_of_spacing(stack, strays, cfg),
    )
    return [refuse_or_warn(refused, cfg) for refused in failed]


def _of_number(stack: Stack, cfg: PackConfig) -> Iterator[Refused]:
    if (count := len(stack.levels)) < cfg.min_slices:
        yield Refused("too_few_slices", f"{amount(count, 'slice')}, pack.min_slices is {cfg.min_slices}")
    if count > cfg.max_slices:
        yield Refused("too_many_slices", f"{count} slices, pack.max_slices is {cfg.max_slices}")


def _of_equality(headers: Sequence[Header]) -> Iterator[Refused]:
    """What must be the same on all slices of a series."""
    if said := next((header.contrast_agent for header in headers if header.contrast_agent), None):
        yield Refused("contrast_agent", f"{said} says so")
    if any(header.lossy for header in headers):
        yield Refused("lossy_compression", "the header or its transfer syntax says so")
    if any(_differ([getattr(header, name) for header in headers], 1e-6) for name in ("slope", "intercept")):
        rescales = {(header.slope, header.intercept) for header in headers}
        yield Refused("mixed_rescale", f"{len(rescales)} pairs of RescaleSlope and RescaleIntercept")
    if _differ(thicknesses := [header.thickness_mm for header in headers]):
        yield Refused("mixed_thickness", f"{len(set(thicknesses))} slice thicknesses")
    for name in SAME:
        if _differ(values := [getattr(header, name) for header in headers]):
            yield Refused("mixed_acquisition", f"{len(set(values))} values of {name}")
            return


def _differ(values: Sequence[Any], tolerance: float = PRINTED) -> bool:
    """Whether values are not the same, as numbers are that differ by the tolerance at the most."""
    if not isinstance(values[0], float):
        return len(set(values)) > 1
    unknown = np.isnan(values)
    return bool(not unknown.all() if unknown.any() else np.ptp(values) > tolerance)


def _of_geometry(stack: Stack) -> Iterator[Refused]:
    """Slices that are the same as their neighbours, but not as those at the other end."""
    turned = np.ptp([header.orientation for header in stack.headers], axis=0).max() / stacks.SAME_COSINE
    stretched = np.ptp([header.spacing for header in stack.headers], axis=0).max() / stacks.SAME_SPACING_MM
    if max(turned, stretched) > DRIFT:
        yield Refused("mixed_acquisition", "orientation or PixelSpacing drifts from slice to slice")


def _of_acquisitions(stack: Stack, strays: Sequence[SliceEntry]) -> Iterator[Refused]:
    """One acquisition, and all of it; phases that are not taken are of it too, copies are not."""
    if why := stacks.interleaved(stack):
        yield Refused("mixed_acquisition", why)
    of_series = [*stack.slices, *(stray for stray in strays if stray.series == stack.first.series)]
    each = {(candidate.own.position, stacks.told(candidate)): candidate.header for candidate in of_series}
    there = Counter(str(header.acquisition) for header in each.values())
    for header in stack.headers:
        if header.images_in_acquisition > (found := there[str(header.acquisition)]):
            said = f"ImagesInAcquisition is {header.images_in_acquisition:g}, {found} slices are there"
            yield Refused("incomplete_acquisition", said)
            return


def _of_spacing(stack: Stack, strays: Sequence[SliceEntry], cfg: PackConfig) -> Iterator[Refused]:
    """Steps between neighbours: all the same, along the normal, and none further beyond the ends."""
    along, position = stack.along, stack.position
    order = np.argsort(along, kind="stable")
    order = order[np.concatenate([[True], np.diff(along[order]) >= stacks.SAME_MM])]
    if len(order) < 2:
        return
    steps, lengths = np.diff(position[order], axis=0), np.diff(along[order])
    usual, usual_mm = np.median(steps, axis=0), float(np.median(lengths))
    unbroken_mm = GAP * stack.slab + cfg.spacing_tolerance_mm
    ends = (stack.slices[order[0]].centre - usual, stack.slices[order[-1]].centre + usual)
    yield from _of_strays(stack, along[order], ends, strays, cfg)
    if gaps := int((lengths > unbroken_mm).sum()):
        yield Refused(
            "missing_slices", f"{amount(gaps, 'gap')}, up to {lengths.max():.2f} mm, wanted {unbroken_mm:.2f} at most"
        )
    elif (off := float(np.linalg.norm(steps - usual, axis=1).max())) > cfg.spacing_tolerance_mm:
        yield Refused("uneven_spacing", f"steps depart by up to {off:.2f} mm from the usual {usual_mm:.2f} mm")
    if (shear := stack.shear_degrees) > SHEAR_DEGREES:
        yield Refused("gantry_tilt", f"slices are stacked {shear:.1f} degrees off their normal")


def _of_strays(
    stack: Stack, along_mm: np.ndarray, ends: Sequence[np.ndarray], strays: Sequence[SliceEntry], cfg: PackConfig
) -> Iterator[Refused]:
    """No slice that is left out belongs where one is missing: behind the ends, or in a gap if it is of the same series.

    Args:
        along_mm: positions of the series, ascending. ends: where the middle of a slice before and behind it would be.
    """
    for stray in strays:
        place, same = float(stray.own.position @ stack.normal), stray.series == stack.first.series
        off = [abs(place - end @ stack.normal) if same else math.dist(stray.centre, end) for end in ends]
        if min(off) <= cfg.spacing_tolerance_mm + stacks.SAME_MM:
            yield Refused("mixed_acquisition", "the slice that continues the series is of another")
            return
        if same and along_mm[0] < place < along_mm[-1] and np.abs(along_mm - place).min() > stack.step / 2:
            found = "a slice of the series where one is missing differs in size, orientation or PixelSpacing"
            yield Refused("mixed_acquisition", found)
            return
