"""Masks that other programs drew, brought to the voxels of a study: by their own geometry, never by array order.

A further format is a reader and a line of `READERS`. Axes: Z slice, H row, W column of the study, in the patient frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cac_hpc.run.config import Frame, InputError
from cac_hpc.volumes import nifti, nrrd, placement
from cac_hpc.volumes.frame import Turn
from cac_hpc.volumes.placement import Placement

MOST_PARTS, MOST_VALUE = 255, 65535
NEARLY_WHOLE = 1e-3  # so far from a whole number a label may be


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
    "parts_overlap": "voxels are in several parts: the one that was named first, or is first in the file, has them",
    "empty_mask": "the mask has no part",
    "part_without_calcium": "a part holds no voxel at the threshold",
}
# gives a mask for each layer of a file: parts of one layer have no voxel in common, those of two may; mostly one
Reader = Callable[[Path, Target], Sequence[Mask]]  # raises InputError: the file, what was found and what was wanted
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
    return merge(READERS[ending](path, target), chosen, path)


def merge(layers: Sequence[Mask], chosen: Sequence[str], path: Path) -> Mask:
    """One mask of the parts of all layers, numbered from 1 in the order in which they were asked for.

    Args:
        chosen: parts by number or name, each of them one; () for all, in the order of the file.
    Returns: the mask; a voxel that is in several parts is of the first.
    Raises: InputError naming the file and the parts that it has.
    """
    parts = [(layer, number) for layer in layers for number in range(1, len(layer.names) + 1)]
    known = [(layer.names[number - 1], layer.values[number - 1]) for layer, number in parts]
    if chosen:
        parts = [parts[_index(wanted, known, path)] for wanted in chosen]
    elif len(layers) == 1:
        return layers[0]
    part_ZHW, warnings = np.zeros_like(layers[0].part_ZHW), [code for layer in layers for code in layer.warnings]
    for number, (layer, of_layer) in enumerate(parts, start=1):
        inside_ZHW = layer.part_ZHW == of_layer
        if part_ZHW[inside_ZHW].any():
            warnings.append("parts_overlap")
        part_ZHW[inside_ZHW & (part_ZHW == 0)] = number
    names = tuple(layer.names[number - 1] for layer, number in parts)
    values = tuple(layer.values[number - 1] for layer, number in parts)
    return Mask(part_ZHW, names, values, tuple(dict.fromkeys(warnings)))


def _index(wanted: str, known: Sequence[tuple[str, int]], path: Path) -> int:
    """Which of the parts, by their names and numbers, is meant."""
    fitting = [index for index, (name, value) in enumerate(known) if wanted in (name, str(value))]
    if len(fitting) != 1:
        listed = ", ".join(f"{value} {name}" for name, value in known)
        raise InputError(f"{path}: found {len(fitting)} parts {wanted!r}, wanted one of {listed or 'none'}")
    return fitting[0]


def place(
    label: np.ndarray, at: Placement, target: Target, path: Path, names: Mapping[int, str], cut: bool = False
) -> Mask:
    """A mask out of an array of whole numbers with its own geometry.

    Args:
        label: (A, B, C) of any type, 0 outside.
        at: where its voxels are.
        path: of the file, for what is raised.
        names: of the values; others are called ``part`` and their value.
        cut: whether the format leaves out what is 0, so that some of the study's grid will do.
    Raises: InputError with both geometries if it does not cover the study.
    """
    if target.placement is None:
        raise InputError(f"{path}: the study's files do not say where its voxels are, wanted a mask of {WITHOUT}")
    study = target.placement
    fits = at.is_regular and (at.covers(study) or (cut and at.has_grid_of(study) and study.covers(at)))
    if not fits:
        raise InputError(f"{path}: the mask does not cover the study: it has {at}; the study has {study}; wanted a "
                         "mask that was drawn on this series")  # fmt: skip
    numbered, values = _numbered(whole_numbers(label, path), path)
    part_ZHW = placement.resample(numbered, at, study)
    warnings = () if at.has_grid_of(study) else ("mask_resampled",)
    return Mask(part_ZHW, tuple(names.get(value, f"part {value}") for value in values), values, warnings)


def whole_numbers(label: np.ndarray, path: Path) -> np.ndarray:
    """Labels as integers; floats may miss them by a rounding, as where slope and intercept were made for a scan.

    Raises: InputError if values lie between whole numbers.
    """
    if label.dtype.kind in "biu":
        return label
    rounded: np.ndarray = np.rint(label)
    with np.errstate(invalid="ignore"):
        off = np.abs(label - rounded)
    if not (off <= NEARLY_WHOLE).all():
        found = label[~(off <= NEARLY_WHOLE)][0]
        raise InputError(f"{path}: found the value {found:.6g}, wanted whole numbers, 0 outside: save it as integers")
    return rounded


def _numbered(label: np.ndarray, path: Path) -> tuple[np.ndarray, tuple[int, ...]]:
    """The labels numbered from 1 on as int16, 0 outside, and what each was; in the order of their values.

    Raises: InputError if there are negative ones, or too many.
    """
    low, high = label.min(), label.max()
    if low < 0 or high > MOST_VALUE:
        raise InputError(f"{path}: found values {low:g} to {high:g}, wanted 0 outside and 1 to {MOST_VALUE} inside")
    there = np.zeros(int(high) + 1, bool)
    label = label.astype(np.uint16)
    there[label] = True
    values = tuple(value for value in np.flatnonzero(there).tolist() if value)
    if len(values) > MOST_PARTS:
        raise InputError(f"{path}: found {len(values)} values other than 0, wanted at most {MOST_PARTS} parts")
    return np.searchsorted(np.array([0, *values]), np.arange(int(high) + 1)).astype(np.int16)[label], values


def _nifti(path: Path, target: Target) -> list[Mask]:
    return [place(*nifti.read_nifti(path), target, path, {})]


def _nrrd(path: Path, target: Target) -> list[Mask]:
    """As 3D Slicer writes segmentations: names, values and layers of the parts in the header, the array cut to them."""
    layers, at, texts = nrrd.read_layers(path)
    cut = any(key.endswith("ReferenceImageExtentOffset") for key in texts)
    return [place(layer, at, target, path, _names(texts, number), cut) for number, layer in enumerate(layers)]


def _names(texts: Mapping[str, str], layer: int) -> dict[int, str]:
    """The names of the parts of a layer by their values, as 3D Slicer writes them."""
    names = {}
    for key, value in texts.items():
        segment, _, what = key.partition("_")
        if what == "LabelValue" and value.isdecimal() and texts.get(f"{segment}_Layer", "0") == str(layer):
            names[int(value)] = texts.get(f"{segment}_Name", f"part {value}")
    return names


WITHOUT = "a format without geometry: .npy, .npz or .yaml"
READERS |= {".nii": _nifti, ".nii.gz": _nifti, ".nrrd": _nrrd, ".nhdr": _nrrd}
