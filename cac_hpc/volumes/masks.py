"""Masks that other programs drew, brought to the voxels of a study: by their own geometry, never by array order.

A further format is a reader and a line of `READERS`. Axes: Z slice, H row, W column of the study, in the patient frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cac_hpc.run.config import Frame, InputError
from cac_hpc.volumes import placement
from cac_hpc.volumes.frame import Turn
from cac_hpc.volumes.placement import Placement

MOST_PARTS = 255


@dataclass(frozen=True)
class Target:
    """The volume of a study that a mask is brought to.

    placement: where its voxels are; None where that is not known, and only masks without geometry can be used.
    spacing_mm: between slices, rows and columns.
    hu_ZHW: (Z, H, W) int16.
    turn: how its slices are stored, for masks that count stored rows and columns.
    frame: whose rows and columns a mask without geometry counts, where it does not say so itself.
    series, frame_of_reference: SeriesInstanceUID and FrameOfReferenceUID, "" where unknown; never to be written.
    """

    placement: Placement | None
    spacing_mm: tuple[float, float, float]
    hu_ZHW: np.ndarray
    turn: Turn
    frame: Frame | None = None
    series: str = ""
    frame_of_reference: str = ""


@dataclass(frozen=True)
class Mask:
    """A region in parts, at the voxels of a study.

    part_ZHW: (Z, H, W) int16, 0 outside. names: of the parts from 1 on. values: how the file numbers each of them.
    warnings: codes of `WARNINGS`, what a person should look at.
    """

    part_ZHW: np.ndarray
    names: tuple[str, ...]
    values: tuple[int, ...]
    warnings: tuple[str, ...] = ()


WARNINGS = {  # code to what it means; codes stand in scores.csv
    "mask_resampled": "the mask's grid is another one: the nearest voxel was taken",
    "mask_of_other_series": "the mask was drawn on another series of the same frame of reference",
    "part_without_calcium": "a part holds no voxel at the threshold",
}
Reader = Callable[[Path, Target], Mask]  # raises InputError naming the file, what was found and what was wanted
READERS: dict[str, Reader] = {}  # by the ending of the file's name, the longest that fits; "" for DICOM of any name


def split_choice(text: str) -> tuple[str, tuple[str, ...]]:
    """A path and the parts that are chosen behind a colon: ``heart.nii.gz:51`` or ``regions.nrrd:LAD,RCA``."""
    path, colon, parts = text.rpartition(":")
    if not colon or Path(text).exists() or "/" in parts:
        return text, ()
    return path, tuple(part.strip() for part in parts.split(","))


def read(path: Path, target: Target, chosen: Sequence[str] = ()) -> Mask:
    """Read a mask.

    Args:
        path: a file whose ending, or content, is one of `READERS`.
        target: the study's volume.
        chosen: parts by number or name; () for all.
    Raises: InputError if it cannot be read, does not cover the study or has no such part.
    """
    name = path.name.lower()
    ending = max((ending for ending in READERS if name.endswith(ending)), key=len, default=None)
    if ending is None:
        raise InputError(f"{path}: found a mask of no known format, wanted one of {', '.join(filter(None, READERS))}")
    mask = READERS[ending](path, target)
    return choose(mask, chosen, path) if chosen else mask


def choose(mask: Mask, chosen: Sequence[str], path: Path) -> Mask:
    """The chosen parts of a mask alone, numbered anew in the order in which they were asked for.

    Raises: InputError naming the file and the parts that it has.
    """
    part_ZHW, names, values = np.zeros_like(mask.part_ZHW), list[str](), list[int]()
    for number, wanted in enumerate(chosen, start=1):
        fitting = [
            index
            for index, (name, value) in enumerate(zip(mask.names, mask.values, strict=True))
            if wanted in (name, str(value))
        ]
        if len(fitting) != 1:
            known = ", ".join(f"{value} {name}" for value, name in zip(mask.values, mask.names, strict=True))
            raise InputError(f"{path}: found {len(fitting)} parts {wanted!r}, wanted one of {known or 'none'}")
        part_ZHW[mask.part_ZHW == fitting[0] + 1] = number
        names.append(mask.names[fitting[0]])
        values.append(mask.values[fitting[0]])
    return replace(mask, part_ZHW=part_ZHW, names=tuple(names), values=tuple(values))


def place(label: np.ndarray, at: Placement, target: Target, path: Path, names: dict[int, str]) -> Mask:
    """A mask out of an array of whole numbers with its own geometry.

    Args:
        label: (A, B, C) integers, 0 outside.
        at: where its voxels are.
        path: of the file, for what is raised.
        names: of the values; others are called ``part`` and their value.
    Raises: InputError with both geometries if it does not cover the study.
    """
    if target.placement is None:
        raise InputError(f"{path}: the study's files do not say where its voxels are, wanted a mask of {WITHOUT}")
    if not at.is_regular or not at.covers(target.placement):
        raise InputError(f"{path}: the mask does not cover the study: it has {at}; the study has {target.placement}; "
                         "wanted a mask that was drawn on this series")  # fmt: skip
    values = [int(value) for value in np.unique(label) if value != 0]
    if values and (values[0] < 0 or len(values) > MOST_PARTS):
        raise InputError(f"{path}: found {len(values)} values from {values[0]}, wanted 0 outside and at most "
                         f"{MOST_PARTS} parts above 0")  # fmt: skip
    numbered = np.searchsorted(np.array([0, *values]), label).astype(np.int16)
    part_ZHW = placement.resample(numbered, at, target.placement)
    warnings = () if at.has_grid_of(target.placement) else ("mask_resampled",)
    return Mask(part_ZHW, tuple(names.get(value, f"part {value}") for value in values), tuple(values), warnings)


WITHOUT = "a format without geometry: .npy, .npz or .yaml"
