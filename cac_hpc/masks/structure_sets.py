"""Masks in DICOM RT Structure Sets: closed contours of each region of interest (ROI), drawn into the study's slices.

Several contours of a region on one slice: one within another is the rim of a hole, whether they are CLOSED_PLANAR or
CLOSEDPLANAR_XOR; CLOSED_PLANAR ones that cross are refused, as nothing says what they hold together. Nothing is filled
in between slices. Source: DICOM PS3.3 C.8.8.5 Structure Set Module, C.8.8.6 ROI Contour Module.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cac_hpc.masks import contours, mask_parts
from cac_hpc.masks.contours import NEAR_SLICE, Line
from cac_hpc.masks.mask_parts import Description, OpenMask
from cac_hpc.masks.masks import Mask, Target
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import dicom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CLOSED, CLOSED_XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"
LONGEST = 60  # of a text of the file in what is said
HOLD_NOTHING = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")


class Roi(NamedTuple):
    """A region of interest. frame: its FrameOfReferenceUID. contours: items of its Contour Sequence, not read yet."""

    number: int
    name: str
    frame: str
    contours: Sequence[Dataset]


class Drawn(NamedTuple):
    """The contours of a region on one slice. xor: whether one of them is of type `CLOSED_XOR`."""

    lines: list[Line]
    xor: bool


def describe(ds: Dataset, path: Path) -> Description:
    """What is in a structure set.

    Args:
        ds: the content of the file.
        path: of the file, for what is raised.
    Raises: InputError.
    """
    rois = _rois(ds, path)
    frames = {roi.frame for roi in rois if roi.frame}
    return Description("RT Structure Set", tuple(roi.number for roi in rois), tuple(roi.name for roi in rois),
                       frozenset(_series(ds)), frozenset(frames))  # fmt: skip


def open_mask(ds: Dataset, path: Path) -> OpenMask:
    """Read which regions there are; their contours are read when they are brought to a study.

    Args:
        ds: the content of the file.
        path: of the file, for what is raised.
    Raises: InputError naming the file, the region and its contour.
    """
    return partial(_place, describe(ds, path), _rois(ds, path), path)


def _place(described: Description, every: Sequence[Roi], path: Path, target: Target) -> Mask:
    study = mask_parts.placed(target, path)
    rois = [every[index] for index in mask_parts.select(described, target, path)]
    warnings = [*mask_parts.check_references({roi.frame for roi in rois}, described.series, target, path)]
    part_ZHW = np.zeros(study.shape, np.int16)
    for part, roi in enumerate(rois, start=1):
        where = f"{path}: region {roi.number} {roi.name[:LONGEST]!r}"
        with mask_parts.reading(path, "contours"):
            lines = list(_lines(roi, where))
        warnings += ["lines_left_out"] if len(lines) < len(roi.contours) else []
        drawn = _by_slice([(kind, contours.on_slice(points, study, what)) for kind, points, what in lines], where)
        for number, on_slice in drawn.items():
            inside_HW = _held(on_slice, part_ZHW.shape[1:], f"{where}, slice {number + 1} of the study")
            warnings += ["parts_overlap"] if mask_parts.paint(part_ZHW[number], inside_HW, part) else []
        offs = [abs(line.off) for on_slice in drawn.values() for line in on_slice.lines]
        warnings += ["mask_resampled"] if max(offs, default=0) > NEAR_SLICE else []
        warnings += ["slices_between_contours"] if contours.gaps(drawn) else []
    names, numbers = tuple(roi.name for roi in rois), tuple(roi.number for roi in rois)
    return Mask(part_ZHW, names, numbers, tuple(dict.fromkeys(warnings)))


def _rois(ds: Dataset, path: Path) -> list[Roi]:
    frames = [str(item.get("FrameOfReferenceUID") or "") for item in ds.get("ReferencedFrameOfReferenceSequence") or []]
    only = frames[0] if len(frames) == 1 else ""
    drawn = dict[int, Sequence["Dataset"]]()
    if not ds.get("ROIContourSequence"):
        raise InputError(f"{path}: found no ROI Contour Sequence, wanted contours of one region or more: is it whole?")
    for item in ds.ROIContourSequence:
        if drawn.setdefault(int(item.ReferencedROINumber), found := item.get("ContourSequence") or []) is not found:
            raise InputError(f"{path}: found the contours of region {item.ReferencedROINumber} twice, wanted them once")
    rois = [Roi(int(item.ROINumber), str(item.get("ROIName") or "").strip() or f"part {item.ROINumber}",
                str(item.get("ReferencedFrameOfReferenceUID") or only), drawn.pop(int(item.ROINumber), []))
            for item in ds.get("StructureSetROISequence") or []]  # fmt: skip
    if not rois or len({roi.number for roi in rois}) < len(rois) or drawn:
        raise InputError(f"{path}: found {len(rois)} regions and contours of {len(drawn)} others, wanted regions with "
                         "numbers of their own, and contours of these")  # fmt: skip
    return rois


def _series(ds: Dataset) -> set[str]:
    """SeriesInstanceUIDs of the images that it was drawn on."""
    return {
        str(series.get("SeriesInstanceUID") or "")
        for frame in ds.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
    }


def _lines(roi: Roi, where: str) -> Iterator[tuple[str, np.ndarray, str]]:
    """Of each closed contour its kind, its points (N, 3) in mm, and what to call it."""
    for number, item in enumerate(roi.contours, start=1):
        kind, what = str(item.get("ContourGeometricType") or "")[:LONGEST], f"{where}, contour {number}"
        if kind in HOLD_NOTHING:
            continue
        values = dicom.numbers(item, "ContourData")
        said = item.get("NumberOfContourPoints")
        if kind not in (CLOSED, CLOSED_XOR) or not len(values) or len(values) % 3:
            raise InputError(f"{what}: found {len(values)} numbers of type {kind!r}, wanted three for each point of a "
                             f"{CLOSED} or {CLOSED_XOR} contour")  # fmt: skip
        if said is not None and int(said) != len(values) // 3:
            raise InputError(f"{what}: found {len(values) // 3} points, wanted {said} as it says")
        yield kind, values.reshape(-1, 3), what


def _by_slice(lines: Sequence[tuple[str, Line]], where: str) -> dict[int, Drawn]:
    """The contours of a region by the slice on which they lie.

    Raises: InputError if they are at two distances from one slice: they were drawn on thinner slices.
    """
    drawn = defaultdict[int, Drawn](lambda: Drawn([], False))
    for kind, line in lines:
        there = drawn[line.slice]
        if there.lines and abs(line.off - there.lines[0].off) > NEAR_SLICE:
            raise InputError(f"{where}: found contours {there.lines[0].off:+.2f} and {line.off:+.2f} slices from "
                             f"slice {line.slice + 1} of the study, wanted contours that were drawn on its "
                             "slices")  # fmt: skip
        drawn[line.slice] = Drawn([*there.lines, line], there.xor or kind == CLOSED_XOR)
    return dict(drawn)


def _held(drawn: Drawn, size: Sequence[int], where: str) -> np.ndarray:
    """(H, W) bool: the pixels that the contours on a slice hold together."""
    lines = [line.points_N2 for line in drawn.lines]
    same = len({line.tobytes() for line in lines}) < len(lines)
    patches = [contours.fill(line, size) for line in lines]
    if not drawn.xor and (same or contours.crossing(patches)):
        raise InputError(f"{where}: found two contours that cross or are the same, wanted them apart or one within the "
                         f"other, as the rim of a hole, or of type {CLOSED_XOR}")  # fmt: skip
    return contours.with_holes(patches, size)
