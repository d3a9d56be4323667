"""Closed lines around parts of a volume, drawn into its voxels.

A pixel is inside if its centre is, or lies on the line: programs that make contours out of masks lead them through the
centres of the outermost pixels. Axes: Z slices, H rows, W columns of the study, in the patient frame; H, W of a `Patch`
are those of its box.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from cac_hpc.settings.errors import InputError
from cac_hpc.volumes.placement import EDGE, Placement

ON_LINE = 1e-3  # of a pixel: so near to a line is on it; positions are often written in 32 bits
FLAT = 0.25  # of a slice: so far the points of one line may be apart across the slices
NEAR_SLICE = 0.1  # of a slice: a line that is farther from it was drawn on other slices
FARTHEST_MM = 1e5  # from the origin of any frame of reference
EDGES_AT_ONCE = 2048


class Line(NamedTuple):
    """A closed line on a slice of the study.

    slice: its number. off: how far above it, in slices, it was drawn. points_N2: (row, column), in pixels.
    """

    slice: int
    off: float
    points_N2: np.ndarray


class Patch(NamedTuple):
    """What a closed line holds, in the box of pixels around it.

    rows, columns: of the box. inside_HW: bool, pixels within the line, by even and odd where it crosses itself; not
    those on the line. line_HW: bool, pixels on the line.
    """

    rows: slice
    columns: slice
    inside_HW: np.ndarray
    line_HW: np.ndarray


def on_slice(points_mm: np.ndarray, study: Placement, what: str) -> Line:
    """Find the slice of the study on which a closed line lies.

    Args:
        points_mm: (N, 3).
        what: names the file and the line in what is raised.
    Raises: InputError if it is not flat, or lies outside of the study.
    """
    if not np.isfinite(points_mm).all() or np.abs(points_mm).max(initial=0) > FARTHEST_MM:
        raise InputError(f"{what}: found points that are nowhere in a patient, wanted positions in mm")
    index_N3 = study.index(points_mm)
    low, high = index_N3.min(0), index_N3.max(0)
    if high[0] - low[0] > FLAT:
        raise InputError(f"{what}: reaches from slice {low[0] + 1:.2f} to {high[0] + 1:.2f} of the study, wanted all "
                         "its points on one slice")  # fmt: skip
    middle = float(low[0] + high[0]) / 2
    number = int(np.floor(middle + EDGE + 1e-6))
    beside = (high[1:] < -EDGE).any() or (low[1:] > np.array(study.shape[1:]) - 1 + EDGE).any()
    if beside or not 0 <= number < study.shape[0]:
        there = ", ".join(f"{axis} {value:.1f}" for axis, value in zip("xyz", points_mm[0].tolist(), strict=True))
        raise InputError(f"{what}: starts at {there} mm, outside of the study, which has {study}; wanted contours that "
                         "were drawn on this series")  # fmt: skip
    return Line(number, middle - number, index_N3[:, 1:])


def fill(points_N2: np.ndarray, size: Sequence[int]) -> Patch:
    """What a closed line holds.

    Args:
        points_N2: (row, column) of its corners, in pixels; a single one, or two, hold what lies on them.
        size: of the image, beyond which nothing is drawn.
    """
    low = np.clip(np.floor(points_N2.min(0)).astype(np.int64), 0, np.array(size))
    high = np.clip(np.ceil(points_N2.max(0)).astype(np.int64) + 1, low, np.array(size))
    shape = tuple((high - low).tolist())
    crossings, line_HW = np.zeros((shape[0], shape[1] + 1), np.int32), np.zeros(shape, bool)
    start_N2 = points_N2 - low
    end_N2 = np.roll(start_N2, -1, axis=0)
    for first in range(0, len(start_N2), EDGES_AT_ONCE):
        some = slice(first, first + EDGES_AT_ONCE)
        _cross(start_N2[some], end_N2[some], crossings)
        _trace(start_N2[some], end_N2[some], line_HW)
        _trace(start_N2[some, ::-1], end_N2[some, ::-1], line_HW.T)
    inside_HW = (crossings.cumsum(1)[:, :-1] & 1).astype(bool)
    rows, columns = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return Patch(rows, columns, inside_HW & ~line_HW, line_HW)


def _cross(start_N2: np.ndarray, end_N2: np.ndarray, crossings: np.ndarray) -> None:
    """Count at the first column behind each place where an edge passes a row; an edge holds its upper end only."""
    row, edge = _whole_numbers(start_N2[:, 0], end_N2[:, 0], crossings.shape[0], 0.0)
    y, x, end_y, end_x = start_N2[edge, 0], start_N2[edge, 1], end_N2[edge, 0], end_N2[edge, 1]
    passes = (y > row) != (end_y > row)
    row, y, x, end_y, end_x = row[passes], y[passes], x[passes], end_y[passes], end_x[passes]
    column = np.ceil(x + (end_x - x) * (row - y) / (end_y - y)).clip(0, crossings.shape[1] - 1)
    np.add.at(crossings, (row, column.astype(np.int64)), 1)


def _trace(start_N2: np.ndarray, end_N2: np.ndarray, line_HW: np.ndarray) -> None:
    """Mark the pixels on those edges that lead along the first axis rather than along the second."""
    steep = np.abs(end_N2 - start_N2) @ (1, -1) >= 0
    start_N2, end_N2 = start_N2[steep], end_N2[steep]
    row, edge = _whole_numbers(start_N2[:, 0], end_N2[:, 0], line_HW.shape[0], ON_LINE)
    length = end_N2[edge, 0] - start_N2[edge, 0]
    share = np.divide(row - start_N2[edge, 0], length, out=np.zeros(len(row)), where=length != 0).clip(0, 1)
    column = start_N2[edge, 1] + (end_N2[edge, 1] - start_N2[edge, 1]) * share
    nearest = np.rint(column)
    on = (np.abs(column - nearest) <= ON_LINE) & (nearest >= 0) & (nearest < line_HW.shape[1])
    line_HW[row[on], nearest[on].astype(np.int64)] = True


def _whole_numbers(start_N: np.ndarray, end_N: np.ndarray, count: int, slack: float) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers from 0 to less than ``count`` between pairs of numbers, and of each the number of its pair."""
    first = np.ceil(np.minimum(start_N, end_N) - slack).clip(0, count).astype(np.int64)
    behind = (np.floor(np.maximum(start_N, end_N) + slack) + 1).clip(first, count).astype(np.int64)
    pair = np.repeat(np.arange(len(first)), behind - first)
    begins = np.cumsum(behind - first) - (behind - first)
    return np.arange(len(pair)) - begins[pair] + first[pair], pair


def with_holes(patches: Sequence[Patch], size: Sequence[int]) -> np.ndarray:
    """(H, W) bool: what lines on one slice hold together, a line within another being the rim of a hole."""
    inside_HW, line_HW = np.zeros(tuple(size), bool), np.zeros(tuple(size), bool)
    for patch in patches:
        inside_HW[patch.rows, patch.columns] ^= patch.inside_HW
        line_HW[patch.rows, patch.columns] |= patch.line_HW
    return np.asarray(inside_HW | line_HW)


def crossing(patches: Sequence[Patch]) -> tuple[int, int] | None:
    """Two lines that are neither apart nor one within the other, by their index; None if there are none."""
    order = sorted(range(len(patches)), key=lambda index: patches[index].rows.start)
    for place, one in enumerate(order):
        for other in order[place + 1 :]:
            if patches[other].rows.start >= patches[one].rows.stop:
                break
            if _cross_each_other(patches[one], patches[other]):
                return min(one, other), max(one, other)
    return None


def _cross_each_other(a: Patch, b: Patch) -> bool:
    rows, columns = _common(a.rows, b.rows), _common(a.columns, b.columns)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return False
    whole_a, whole_b = a.inside_HW | a.line_HW, b.inside_HW | b.line_HW
    shared = np.count_nonzero(_cut(whole_a, a, rows, columns) & _cut(whole_b, b, rows, columns))
    apart = not (_cut(a.inside_HW, a, rows, columns) & _cut(b.inside_HW, b, rows, columns)).any()
    return not apart and shared not in (np.count_nonzero(whole_a), np.count_nonzero(whole_b))


def _common(a: slice, b: slice) -> slice:
    return slice(max(a.start, b.start), min(a.stop, b.stop))


def _cut(values_HW: np.ndarray, patch: Patch, rows: slice, columns: slice) -> np.ndarray:
    """What lies in a box that is in that of the patch."""
    return values_HW[rows.start - patch.rows.start : rows.stop - patch.rows.start,
                     columns.start - patch.columns.start : columns.stop - patch.columns.start]  # fmt: skip


def gaps(slices: Iterable[int]) -> bool:
    """Whether contours are on three slices or more, evenly, with others between: as if those were left to be filled."""
    steps = np.diff(sorted(set(slices)))
    return len(steps) > 1 and steps[0] > 1 and bool((steps == steps[0]).all())
