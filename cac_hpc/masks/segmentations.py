"""Masks in DICOM Segmentations: binary ones, label maps, and fractional ones that hold all or nothing.

Each frame says where it is, so frames come in any order, and one that is not there holds nothing. They lie on the
slices of the study, or evenly on each other. Source: DICOM PS3.3 A.51 and C.8.20 Segmentation, C.7.6.16.2 functional
groups.

Axes: A frames' places, H rows, W columns, as the frames are stored; N frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

from cac_hpc.masks import contours, mask_parts
from cac_hpc.masks.mask_parts import Description, OpenMask
from cac_hpc.masks.masks import MOST_VALUE, Mask, Target
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import dicom, placement
from cac_hpc.volumes.frame import AS_STORED
from cac_hpc.volumes.header import MAX_PIXELS
from cac_hpc.volumes.placement import EDGE, SAME_GRID, Placement
from cac_hpc.volumes.streams import MAX_VOXELS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

WANTED = {  # of the pixels of each type of segmentation
    "BINARY": "0 or 1",
    "FRACTIONAL": "all or nothing, 0 or MaximumFractionalValue: apply a threshold in the program that made it",
    "LABELMAP": "numbers of its segments",
}
AT_PLACE = 0.1  # of a slice, of a pixel: a frame that is farther from its place is not in the stack
THICKER = 1.5  # times the distance of the study's slices
SAME = 1e-4  # direction cosines, and mm between pixels, that differ by less are the same


class Segments(NamedTuple):
    """What a segmentation says of its frames.

    numbers, names: of the segments. segment_N: the segment of each frame, 0 where its pixels tell. position_N3: mm, of
    the centre of each frame's first pixel. orientation: of rows and columns. spacing_mm: between rows, and columns.
    between_mm: between frames, NaN if it does not say so. whole: the pixel value that is all of a voxel. background:
    of a label map.
    """

    kind: str
    numbers: tuple[int, ...]
    names: tuple[str, ...]
    segment_N: np.ndarray
    position_N3: np.ndarray
    orientation: tuple[float, ...]
    size: tuple[int, int]
    spacing_mm: tuple[float, ...]
    between_mm: float
    whole: int
    background: int


def describe(ds: Dataset, path: Path) -> Description:
    """What is in a segmentation, without its pixels.

    Args:
        ds: the content of the file.
        path: of the file, for what is raised.
    Raises: InputError.
    """
    numbers, names = _segments(ds, path)
    frame = str(ds.get("FrameOfReferenceUID") or "")
    return Description("Segmentation", numbers, names, frozenset(_series(ds)), frozenset({frame} - {""}))


def open_mask(ds: Dataset, path: Path) -> OpenMask:
    """Read all of a segmentation but its pixels, which are read when it is brought to a study.

    Args:
        ds: the content of the file.
        path: of the file, for what is raised.
    Raises: InputError naming the file, what was found and what was wanted; both geometries where they do not fit.
    """
    return partial(_place, describe(ds, path), _parsed(ds, path), _frames(ds, path), path)


def _frames(ds: Dataset, path: Path) -> Iterator[np.ndarray]:
    with mask_parts.reading(path, "pixels of a Segmentation"):
        yield from dicom.stored_frames(ds)


def _place(described: Description, found: Segments, frames: Iterator[np.ndarray], path: Path, target: Target) -> Mask:
    study = mask_parts.placed(target, path)
    warnings = [*mask_parts.check_references(described.frames_of_reference, described.series, target, path)]
    at, place_N = _stacked(found, study, path)
    _check_covers(at, study, path)
    chosen = mask_parts.select(described, target, path)
    numbers = tuple(found.numbers[index] for index in chosen)
    label_AHW, overlap = _label(found, numbers, at, place_N, frames, path)
    part_ZHW = placement.resample(label_AHW, at, study)
    if label_AHW.any() and not part_ZHW.any():
        raise InputError(f"{path}: the mask lies outside of the study: it has {at}; the study has {study}; wanted a "
                         "mask that was drawn on this series")  # fmt: skip
    warnings += ["parts_overlap"] if overlap else []
    warnings += [] if at.has_grid_of(study) else ["mask_resampled"]
    warnings += ["slices_between_contours"] if _has_gaps(found, numbers, place_N) else []
    warnings += ["mask_beyond_study"] if _beyond(label_AHW, at, study) else []
    return Mask(part_ZHW, tuple(found.names[index] for index in chosen), numbers, tuple(warnings))


def _segments(ds: Dataset, path: Path) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Numbers and names of the segments; that of number 0 is the background of a label map."""
    items = {int(item.SegmentNumber): str(item.get("SegmentLabel") or "").strip() for item in ds.SegmentSequence}
    if len(items) != len(ds.SegmentSequence) or not set(items) - {0}:
        raise InputError(f"{path}: found {len(ds.SegmentSequence)} segments of {len(items)} numbers, wanted one or "
                         "more with numbers of their own")  # fmt: skip
    named = {number: name or f"part {number}" for number, name in sorted(items.items()) if number}
    return tuple(named), tuple(named.values())


def _series(ds: Dataset) -> set[str]:
    return {str(item.get("SeriesInstanceUID") or "") for item in ds.get("ReferencedSeriesSequence") or []}


def _parsed(ds: Dataset, path: Path) -> Segments:
    kind, size, count = str(ds.SegmentationType)[:20], (int(ds.Rows), int(ds.Columns)), int(ds.NumberOfFrames)
    frames = ds.PerFrameFunctionalGroupsSequence
    if kind not in WANTED or len(frames) != count or not count or not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise InputError(f"{path}: found type {kind!r}, {count} frames of {size[0]} x {size[1]} pixels and "
                         f"{len(frames)} functional groups, wanted one of {', '.join(WANTED)}, and a group for each "
                         "frame")  # fmt: skip
    shared = (ds.get("SharedFunctionalGroupsSequence") or [{}])[0]
    numbers, names = _segments(ds, path)
    position_N3 = np.array([_group(frame, shared, "PlanePosition").ImagePositionPatient for frame in frames], float)
    lying = {tuple(map(float, _group(frame, shared, "PlaneOrientation").ImageOrientationPatient)) for frame in frames}
    measured = [_group(frame, shared, "PixelMeasures") for frame in frames]
    spacings = {tuple(map(float, item.PixelSpacing)) for item in measured}
    between = float(measured[0].get("SpacingBetweenSlices") or "nan")
    if np.ptp(list(lying), axis=0).max() > SAME or np.ptp(list(spacings), axis=0).max() > SAME:
        raise InputError(f"{path}: found frames of {len(lying)} orientations and {len(spacings)} pixel spacings, "
                         "wanted one of each")  # fmt: skip
    segment_N = np.array([0 if kind == "LABELMAP" else _segment_of(frame, shared) for frame in frames])
    if unknown := set(segment_N.tolist()) - {0 if kind == "LABELMAP" else numbers[0], *numbers}:
        raise InputError(f"{path}: found frames of segment {max(unknown)}, wanted those of segments "
                         f"{', '.join(map(str, numbers))}")  # fmt: skip
    whole = int(ds.MaximumFractionalValue) if kind == "FRACTIONAL" else 1
    found = Segments(kind, numbers, names, segment_N, position_N3, lying.pop(), size, spacings.pop(), between, whole,
                     int(ds.get("PixelPaddingValue") or 0))  # fmt: skip
    return _checked(found, path)


def _checked(found: Segments, path: Path) -> Segments:
    """What was read, if its numbers are those of positions and of pixels.

    Raises: InputError.
    """
    values, lengths = [*found.numbers, found.whole, found.background], (len(found.orientation), len(found.spacing_mm))
    positions = found.position_N3.ndim == 2 and found.position_N3.shape[1] == 3 and lengths == (6, 2)
    if not positions or min(found.spacing_mm) <= 0 or min(values) < 0 or max(values) > MOST_VALUE:
        raise InputError(f"{path}: found frames without position, orientation or pixel spacing, or values outside of 0 "
                         f"to {MOST_VALUE}, wanted those of a volume")  # fmt: skip
    return found


def _group(frame: Dataset, shared: Dataset, name: str) -> Dataset:
    """A functional group of a frame, or that which all frames share."""
    items: Sequence[Dataset] = frame.get(f"{name}Sequence") or shared.get(f"{name}Sequence")
    return items[0]


def _segment_of(frame: Dataset, shared: Dataset) -> int:
    return int(_group(frame, shared, "SegmentIdentification").ReferencedSegmentNumber)


def _stacked(found: Segments, study: Placement, path: Path) -> tuple[Placement, np.ndarray]:
    """Where an array of all frames is, one behind the other, and the place of each in it.

    Raises: InputError if they are neither on the study's slices nor evenly apart.
    """
    alone = placement.of_slices(found.position_N3[0], found.position_N3[0], 1, found.orientation, found.size,
                                found.spacing_mm, AS_STORED)  # fmt: skip
    across, *in_plane = np.array(alone.steps_mm)
    lowest = found.position_N3[np.argmin(found.position_N3 @ across)]
    on_slices, evenly = (np.array(study.steps_mm[0]), np.array(study.first_mm)), (across * found.between_mm, lowest)
    coarser = found.between_mm > THICKER * abs(on_slices[0] @ across)  # each frame stands for several slices
    for step, origin in (evenly,) if coarser else (on_slices, evenly):
        stacked = _stack(found, np.array([step, *in_plane]), origin)
        if stacked:
            return stacked
    ends = zip("xyz", found.position_N3.min(0).tolist(), found.position_N3.max(0).tolist(), strict=True)
    raise InputError(
        f"{path}: found {len(found.position_N3)} frames of {found.size[0]} x {found.size[1]} pixels, their first at "
        + ", ".join(f"{axis} {low:.1f} to {high:.1f}" for axis, low, high in ends)
        + " mm, wanted them on the study's slices, or as evenly apart as SpacingBetweenSlices says; the study has "
        + str(study)
    )


def _stack(found: Segments, basis: np.ndarray, origin: np.ndarray) -> tuple[Placement, np.ndarray] | None:
    """The stack of all frames if each is a whole number of steps from an origin; None if they are not.

    Args:
        basis: (3, 3) steps between frames, rows and columns.
    """
    if not np.isfinite(basis).all() or abs(np.linalg.det(basis)) <= np.prod(np.linalg.norm(basis, axis=1)) / 10:
        return None
    off_N3 = (found.position_N3 - origin) @ np.linalg.inv(basis)
    if not np.isfinite(off_N3).all() or np.ptp(off_N3[:, 0]) * found.size[0] * found.size[1] > MAX_VOXELS:
        return None
    place_N = np.rint(off_N3[:, 0])
    apart = max(np.abs(off_N3[:, 0] - place_N).max(), np.ptp(off_N3[:, 1:], axis=0).max())
    if apart > AT_PLACE:
        return None
    first = origin + np.array([place_N.min(), *off_N3[0, 1:]]) @ basis
    shape, steps = (int(np.ptp(place_N)) + 1, *found.size), tuple(tuple(step) for step in basis.tolist())
    return Placement(shape, tuple(first.tolist()), steps), (place_N - place_N.min()).astype(np.int64)


def _check_covers(at: Placement, study: Placement, path: Path) -> None:
    """Rows and columns cover the study; frames need not, as what is not there holds nothing.

    Raises: InputError with both geometries.
    """
    index_N3 = at.index(study.at(study.corners))[:, 1:]
    if index_N3.min() < -EDGE - SAME_GRID or (index_N3.max(0) > np.array(at.shape[1:]) - 1 + EDGE + SAME_GRID).any():
        raise InputError(f"{path}: the mask does not cover the study: it has {at}; the study has {study}; wanted a "
                         "mask that was drawn on this series")  # fmt: skip


def _label(found: Segments, numbers: Sequence[int], at: Placement, place_N: np.ndarray, frames: Iterable[np.ndarray],
           path: Path) -> tuple[np.ndarray, bool]:  # fmt: skip
    """The chosen segments, numbered from 1, in an array (A, H, W); and whether voxels are in several of them.

    Raises: InputError if a frame holds what it should not, or is there twice.
    """
    if len(set(zip(found.segment_N.tolist(), place_N.tolist(), strict=True))) < len(place_N):
        raise InputError(f"{path}: found two frames of one segment at one place, wanted one")
    label_AHW, overlap = np.zeros(at.shape, np.int16), False
    part_of = _parts_of_values(found, numbers)
    for segment, place, stored_HW in zip(found.segment_N.tolist(), place_N.tolist(), frames, strict=True):
        if stored_HW.shape != found.size:
            raise InputError(f"{path}: found a frame of {stored_HW.shape} pixels, wanted {found.size}")
        part_HW = part_of[stored_HW]
        if (part_HW < 0).any():
            value = int(stored_HW[part_HW < 0][0])
            raise InputError(f"{path}: found {value} in a {found.kind} segmentation, wanted {WANTED[found.kind]}")
        if found.kind == "LABELMAP":
            label_AHW[place] = part_HW
        elif segment in numbers:
            overlap |= mask_parts.paint(label_AHW[place], part_HW > 0, numbers.index(segment) + 1)
    return label_AHW, overlap


def _parts_of_values(found: Segments, numbers: Sequence[int]) -> np.ndarray:
    """(65536,) what each pixel value stands for: 0 outside, of a label map the number of a chosen part, -1 nothing."""
    part_of = np.full(1 << 16, -1, np.int16)
    part_of[0 if found.kind != "LABELMAP" else found.background] = 0
    if found.kind != "LABELMAP":
        part_of[found.whole] = 1
    else:
        part_of[list(found.numbers)] = [numbers.index(one) + 1 if one in numbers else 0 for one in found.numbers]
    return part_of


def _has_gaps(found: Segments, numbers: Sequence[int], place_N: np.ndarray) -> bool:
    """Whether frames are on every second slice at most, and nothing tells that they are not of thicker slices."""
    if not np.isnan(found.between_mm):
        return False
    segments = (0,) if found.kind == "LABELMAP" else numbers
    return any(contours.gaps(place_N[found.segment_N == number].tolist()) for number in segments)


def _beyond(label_AHW: np.ndarray, at: Placement, study: Placement) -> bool:
    """Whether the box around what is inside reaches beyond the study."""
    boxes = scipy.ndimage.find_objects((label_AHW > 0).view(np.uint8))
    if not boxes:
        return False
    corners = np.array(list(product(*((side.start, side.stop - 1) for side in boxes[0]))), float)
    index_N3 = study.index(at.at(corners))
    limit = np.array(study.shape) - 1 + EDGE + SAME_GRID
    return bool(index_N3.min() < -EDGE - SAME_GRID or (index_N3.max(0) > limit).any())
