"""Masks that other programs drew, brought to the voxels of a study: by their own geometry, never by array order.

`mask_formats` has the readers. Axes: A, B, C of an array as its file has it; Z slice, H row, W column of the study, in
the patient frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cac_hpc.run import logs
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import Frame
from cac_hpc.volumes import placement
from cac_hpc.volumes.frame import Turn
from cac_hpc.volumes.placement import Placement

MOST_PARTS, MOST_VALUE, MOST_LETTERS = 255, 65535, 64
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
    chosen: the parts that are wanted, by number or name, () for all: others need not be read.
    """

    placement: Placement | None
    spacing_mm: tuple[float, float, float]
    hu_ZHW: np.ndarray
    turn: Turn
    frame: Frame | None = None
    series: str = ""
    frame_of_reference: str = ""
    chosen: tuple[str, ...] = ()


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


class Elsewhere(InputError):
    """A mask is where the study is not; ``found`` has both geometries, in numbers only."""

    def __init__(self, path: Path, found: str) -> None:
        self.path, self.found = path, found
        wanted = "a mask that was drawn on this series"
        super().__init__(f"{path}: the mask does not cover the study: {found}; wanted {wanted}")

    def __reduce__(self) -> tuple[type[Elsewhere], tuple[Path, str]]:
        return type(self), (self.path, self.found)


WARNINGS = {  # code to what it means; codes stand in scores.csv
    "mask_resampled": "the mask's grid is another one: the nearest voxel was taken",
    "mask_of_other_series": "the mask was drawn on another series of the same frame of reference",
    "parts_overlap": "voxels are in several parts: the one that was named first, or is first in the file, has them",
    "empty_mask": "the mask holds no voxel",
    "part_without_calcium": "a part holds no voxel at the threshold",
    "mask_beyond_study": "some of the mask lies outside of the study",
    "lines_left_out": "points and open lines are left out: they hold nothing",
    "slices_between_contours": "a part is drawn on every second slice at most: what lies between is outside of it",
    "contour_max_differs": "some contours have another highest HU than their file says",
}


def merge(layers: Sequence[Mask], chosen: Sequence[str], path: Path) -> Mask:
    """One mask of the parts of all layers, numbered from 1 in the order in which they were asked for.

    Args:
        chosen: parts by number or name, each of them one; () for all, in the order of the file.
    Returns: the mask; a voxel that is in several parts is of the first.
    Raises: InputError naming the file and the parts that it has.
    """
    if len(layers) == 1 and not chosen:
        return layers[0]
    parts = [(value, name, layer, number) for layer, mask in enumerate(layers)
             for number, (name, value) in enumerate(zip(mask.names, mask.values, strict=True), start=1)]  # fmt: skip
    parts.sort(key=lambda part: part[0])
    if chosen:
        known = [(name, value) for value, name, *_ in parts]
        parts = [parts[index] for index in dict.fromkeys(index_of(wanted, known, path) for wanted in chosen)]
    part_ZHW, warnings = np.zeros_like(layers[0].part_ZHW), [code for layer in layers for code in layer.warnings]
    for layer, mask in enumerate(layers):
        renumbered = np.zeros(len(mask.names) + 1, np.int16)
        for new, (_, _, of_layer, number) in enumerate(parts, start=1):
            if of_layer == layer:
                renumbered[number] = new
        more_ZHW = renumbered[mask.part_ZHW]
        if ((more_ZHW > 0) & (part_ZHW > 0)).any():
            warnings.append("parts_overlap")
        free_ZHW = (part_ZHW == 0) | ((more_ZHW > 0) & (more_ZHW < part_ZHW))
        part_ZHW[free_ZHW] = more_ZHW[free_ZHW]
    names, values = tuple(name for _, name, *_ in parts), tuple(value for value, *_ in parts)
    return Mask(part_ZHW, names, values, tuple(dict.fromkeys(warnings)))


def index_of(wanted: str, known: Sequence[tuple[str, int]], path: Path) -> int:
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
    Raises: Elsewhere, with both geometries, if it does not cover the study; InputError if its values are no parts.
    """
    if target.placement is None:
        found = "the study's slices are uneven, or its files do not say where its voxels are"
        raise InputError(f"{path}: {found}, wanted a mask of {WITHOUT}")
    study = target.placement
    fits = at.is_regular and (at.covers(study) or (cut and at.has_grid_of(study) and study.covers(at)))
    if not fits:
        raise Elsewhere(path, f"it has {at}; the study has {study}")
    part_ABC, parts = numbered(whole_numbers(label, path), names, path)
    part_ZHW = placement.resample(part_ABC, at, study)
    warnings = [] if at.has_grid_of(study) else ["mask_resampled"]
    return Mask(part_ZHW, tuple(parts.values()), tuple(parts), tuple(warnings))


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


def numbered(label: np.ndarray, names: Mapping[int, str], path: Path) -> tuple[np.ndarray, Mapping[int, str]]:
    """Labels numbered from 1 on as int16, 0 outside, in the order of their values; and the parts by these.

    Args:
        label: integers, or floats that are whole.
        names: of values, whether they occur or not; others are called ``part`` and their value.
    Raises: InputError if there are negative ones, or too many.
    """
    low, high = label.min(), label.max()
    if low < 0 or high > MOST_VALUE:
        raise InputError(f"{path}: found values {low:g} to {high:g}, wanted 0 outside and 1 to {MOST_VALUE} inside")
    label, there = label.astype(np.uint16), np.zeros(MOST_VALUE + 1, bool)
    there[label] = True
    parts = {value: names.get(value, f"part {value}") for value in sorted({*np.flatnonzero(there).tolist(), *names})}
    parts = {value: " ".join(logs.line(name).split())[:MOST_LETTERS] for value, name in parts.items() if value}
    if len(parts) > MOST_PARTS:
        raise InputError(f"{path}: found {len(parts)} values other than 0, wanted at most {MOST_PARTS} parts")
    return np.searchsorted([0, *parts], np.arange(MOST_VALUE + 1)).astype(np.int16)[label], parts


def without_geometry(path: Path, target: Target, stated: object) -> tuple[Frame, tuple[int, int, int]]:
    """Whose rows and columns a file counts that does not say where it is, and the shape that it must have.

    Args:
        stated: by the file; None if it does not.
    Raises: InputError if neither file nor command says it.
    """
    frame = stated if stated is not None else target.frame
    if frame not in ("patient", "stored"):
        found = "does not say whose rows and columns it counts" if frame is None else f"frame is {frame!r}"
        wanted = ("--region_frame patient (from front to back, from the patient's right to his left) or stored (as in "
                  "the DICOM files, as viewers show them), or the same as frame in a .npz or .yaml file")  # fmt: skip
        raise InputError(f"{path}: {found}, wanted {wanted}")
    num_slices, *size = target.hu_ZHW.shape
    rows, columns = target.turn.pair(size) if frame == "stored" else size
    return frame, (num_slices, rows, columns)


def of_frame(part_ZHW: np.ndarray, frame: Frame, target: Target) -> np.ndarray:
    """Slices of a file without geometry in the patient frame."""
    return target.turn.of(part_ZHW) if frame == "stored" else part_ZHW


WITHOUT = "a format without geometry: .npy, .npz or .yaml"
