"""Masks in property lists of contours, as OsiriX exports them and Stanford's COCA collection has them (.xml).

``Images`` is an array of dictionaries with ``ImageIndex``, which counts slices from the lowest, and ``ROIs``: contours
with ``Name``, ``NumberOfPoints``, ``Point_px``, ``Point_mm`` and ``Max``, the highest HU. Positions in mm count; where
they are all 0 the pixels do, on the slice of that index. Both must agree where both are there, and most contours must
hold the highest HU that they say: else they were drawn on another scan. The parts are the names in alphabetical order.

Axes: Z slices, H rows, W columns of the study, in the patient frame; N points of a contour.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

from cac_hpc.masks import contours, mask_parts
from cac_hpc.masks.contours import FARTHEST_MM, NEAR_SLICE, Line, Patch
from cac_hpc.masks.mask_parts import Description
from cac_hpc.masks.masks import Mask, Target
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import images
from cac_hpc.volumes.placement import Placement

MOST_BYTES = 64 << 20
NUMBER = r"\s*([-+]?\d{1,20}(?:\.\d{0,40})?(?:[eE][-+]?\d{1,3})?)\s*"
POINT = {count: re.compile(rf"\({','.join([NUMBER] * count)}\)") for count in (2, 3)}
CORNERS = (0.5, 0.0)  # where a writer counts the middle of the first pixel; OsiriX counts from its corner
AGREE = 0.1  # of a pixel: so far positions in pixels may be from those in mm
AROUND = np.ones((3, 3), bool)
LOWEST, SAME_HU, MOST_HU = -32768, 0.5, 1e6
MOST_SLICES, LONGEST = 100_000, 60
WANTED = "a property list of contours (.xml), as OsiriX writes it"


class Roi(NamedTuple):
    """A contour. image: the slice that its file names. pixels_N2: (column, row). points_mm: (N, 3), None if all are 0.
    max_hu: None if it is not told. what: names file and contour.
    """

    name: str
    image: int
    pixels_N2: np.ndarray
    points_mm: np.ndarray | None
    max_hu: float | None
    what: str


def describe(path: Path) -> Description:
    """What is in a file.

    Raises: InputError if it is no list of contours.
    """
    return _described(_rois(path))


def _described(rois: Sequence[Roi]) -> Description:
    names = tuple(sorted({roi.name for roi in rois}))
    return Description("contours in a property list", tuple(range(1, len(names) + 1)), names)


def read(path: Path, target: Target) -> list[Mask]:
    """Read a mask; see `mask_formats.Reader`."""
    rois, study = _rois(path), mask_parts.placed(target, path)
    described = _described(rois)
    lines = _lines(rois, study, target)
    warnings = _check_maxima(rois, lines, target)
    warnings += ["mask_resampled"] if max(abs(line.off) for line in lines) > NEAR_SLICE else []
    chosen, part_ZHW = mask_parts.select(described, target, path), np.zeros(study.shape, np.int16)
    for part, index in enumerate(chosen, start=1):
        for roi, line in zip(rois, lines, strict=True):
            if roi.name == described.names[index]:
                patch = contours.fill(line.points_N2, study.shape[1:])
                part_HW = part_ZHW[line.slice, patch.rows, patch.columns]
                overlap = mask_parts.paint(part_HW, patch.inside_HW | patch.line_HW, part)
                warnings += ["parts_overlap"] if overlap else []
    names, values = tuple(described.names[index] for index in chosen), tuple(index + 1 for index in chosen)
    return [Mask(part_ZHW, names, values, tuple(dict.fromkeys(warnings)))]


def _rois(path: Path) -> list[Roi]:
    """The contours that have points.

    Raises: InputError if there are none, or the file is no such list.
    """
    content = _property_list(path)
    found, empty = list[Roi](), 0
    for image in _dicts(content, "Images", str(path)):
        index = image.get("ImageIndex")
        if type(index) is not int or not 0 <= index < MOST_SLICES:
            raise InputError(f"{path}: found an image without a number of a slice, wanted ImageIndex from 0")
        where = f"{path}: image {index}"
        items = _dicts(image, "ROIs", where)
        if image.get("NumberOfROIs", len(items)) != len(items):
            raise InputError(f"{where}: found {len(items)} ROIs, wanted as many as NumberOfROIs says")
        rois = [_roi(item, index, f"{where}, ROI {number}") for number, item in enumerate(items, start=1)]
        found += [roi for roi in rois if roi is not None]
        empty += rois.count(None)
    if not found:
        raise InputError(f"{path}: found {empty} ROIs, none of them with points, wanted contours")
    return found


def _property_list(path: Path) -> Any:
    with mask_parts.reading(path, WANTED), images.opened(path) as (file, stamp):
        if stamp[2] > MOST_BYTES:
            raise InputError(f"{path}: found {stamp[2]} bytes, wanted {MOST_BYTES} at most")
        return plistlib.load(images.stream(file), fmt=plistlib.FMT_XML)  # refuses declarations of entities


def _dicts(content: Any, key: str, where: str) -> list[Mapping[str, Any]]:
    """The dictionaries of an array."""
    items = content.get(key) if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(f"{where}: found no array {key} of dictionaries, wanted {WANTED}")
    return items


def _roi(item: Mapping[str, Any], image: int, where: str) -> Roi | None:
    """A contour; None if it has no points."""
    name, count, pixels = item.get("Name"), item.get("NumberOfPoints"), item.get("Point_px", [])
    if type(count) is int and count == 0 and not pixels:
        return None
    if not isinstance(name, str) or not name.strip() or type(count) is not int or not isinstance(pixels, list):
        raise InputError(f"{where}: found no Name, NumberOfPoints or Point_px, wanted all of them")
    what = f"{where} {name.strip()[:LONGEST]!r}"
    positions = item.get("Point_mm") or ["(0, 0, 0)"] * len(pixels)
    if not isinstance(positions, list) or not count == len(pixels) == len(positions):
        raise InputError(f"{what}: found {len(pixels)} points in pixels, wanted {count} as NumberOfPoints says, in "
                         "pixels and in mm")  # fmt: skip
    points_mm, highest = _points(positions, 3, what), item.get("Max")
    if highest is not None and (type(highest) not in (int, float) or not -MOST_HU < highest < MOST_HU):
        raise InputError(f"{what}: found no HU as Max, wanted the highest in it")
    known = bool(points_mm.any())
    return Roi(name.strip(), image, _points(pixels, 2, what), points_mm if known else None, highest, what)


def _points(texts: Sequence[Any], count: int, what: str) -> np.ndarray:
    found = [POINT[count].fullmatch(text) if isinstance(text, str) else None for text in texts]
    points = np.array([match.groups() for match in found if match], float)
    if None in found or np.abs(points).max() > FARTHEST_MM:
        wrong = found.index(None) if None in found else int(np.abs(points).max(1).argmax())
        text = texts[wrong][:LONGEST] if isinstance(texts[wrong], str) else "no text"
        raise InputError(f"{what}: found the point {text!r}, wanted {count} numbers in brackets")
    return points


def _lines(rois: Sequence[Roi], study: Placement, target: Target) -> list[Line]:
    """Where each contour lies in the study.

    Raises: InputError if positions in mm, in pixels and numbers of slices do not agree.
    """
    placed = [None if roi.points_mm is None else contours.on_slice(roi.points_mm, study, roi.what) for roi in rois]
    corner = _corner(rois, placed, target)
    lines = list[Line]()
    for roi, line in zip(rois, placed, strict=True):
        index_N3 = np.column_stack([np.full(len(roi.pixels_N2), roi.image), _in_frame(roi.pixels_N2 - corner, target)])
        if line is None:
            if roi.max_hu is None:
                raise InputError(f"{roi.what}: found neither Point_mm nor Max, wanted one of them: slice and pixels "
                                 "alone do not tell that it was drawn on this scan")  # fmt: skip
            lines.append(contours.on_slice(study.at(index_N3), study, roi.what))
            continue
        apart = np.abs(line.points_N2 - index_N3[:, 1:]).max()
        if line.slice != roi.image or apart > AGREE:
            raise InputError(f"{roi.what}: Point_mm lies on slice {line.slice} of the study, counted from 0 at the "
                             f"lowest, {apart:.1f} pixels from Point_px; wanted both at one place")  # fmt: skip
        lines.append(line)
    return lines


def _corner(rois: Sequence[Roi], placed: Sequence[Line | None], target: Target) -> float:
    """What pixels count for the middle of the first, of `CORNERS`, as the contours tell that have both."""
    for roi, line in zip(rois, placed, strict=True):
        if line is not None:
            return min(CORNERS, key=lambda corner: float(
                np.abs(_in_frame(roi.pixels_N2 - corner, target) - line.points_N2).max()))  # fmt: skip
    return CORNERS[0]


def _in_frame(pixels_N2: np.ndarray, target: Target) -> np.ndarray:
    """(row, column) in the patient frame of (column, row) as stored."""
    turn, size = target.turn, target.hu_ZHW.shape[1:]
    row_N, column_N = (pixels_N2 if turn.transposed else pixels_N2[:, ::-1]).T
    return np.column_stack([size[0] - 1 - row_N if turn.rows_reversed else row_N,
                            size[1] - 1 - column_N if turn.columns_reversed else column_N])  # fmt: skip


def _check_maxima(rois: Sequence[Roi], lines: Sequence[Line], target: Target) -> list[str]:
    """Whether contours hold the highest HU that they say.

    Returns: warnings.
    Raises: InputError if half of them or more do not, and it is not the scan that they were drawn on.
    """
    checked, differing = 0, list[str]()
    for roi, line in zip(rois, lines, strict=True):
        if roi.max_hu is None:
            continue
        checked += 1
        within, around = _hu(target.hu_ZHW[line.slice], contours.fill(line.points_N2, target.hu_ZHW.shape[1:]))
        if roi.max_hu < within.max(initial=LOWEST) - SAME_HU or np.abs(around - roi.max_hu).min() > SAME_HU:
            highest = int(max(within.max(initial=LOWEST), around[around <= roi.max_hu].max(initial=LOWEST)))
            differing.append(f"{roi.what}: found at most {highest} HU in it, wanted {roi.max_hu:g} as Max says")
    if differing and 2 * len(differing) >= checked:
        raise InputError(f"{differing[0]}; {len(differing)} of {checked} contours differ, wanted the scan that they "
                         "were drawn on")  # fmt: skip
    return ["contour_max_differs"] if differing else []


def _hu(hu_HW: np.ndarray, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """HU of the pixels that every program counts as inside of a line, and of those that some may, up to the next."""
    rows, columns = (slice(max(side.start - 1, 0), side.stop + 1) for side in (patch.rows, patch.columns))
    held_HW = np.pad(patch.inside_HW | patch.line_HW | (not (patch.inside_HW | patch.line_HW).any()), 1)
    top, left = rows.start - patch.rows.start + 1, columns.start - patch.columns.start + 1
    box_HW = hu_HW[rows, columns]
    around_HW = scipy.ndimage.binary_dilation(held_HW, AROUND)[top:, left:][: box_HW.shape[0], : box_HW.shape[1]]
    return hu_HW[patch.rows, patch.columns][patch.inside_HW], box_HW[around_HW]
