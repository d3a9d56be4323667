"""The patient frame: rows from front to back, columns from the patient's right to his left, slices from the feet up.

A scanner stores rows and columns as the patient lies, or as somebody chose to look; ImageOrientationPatient says how.
Whatever is scored, packed, drawn or counted is in the patient frame. Axes: H row, W column, as stored or in the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import scipy

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Turn:
    """How stored slices come into the patient frame: exactly, without resampling.

    transposed: rows and columns change places, first of all. rows_reversed, columns_reversed: what is then turned over.
    """

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    @property
    def is_none(self) -> bool:
        """Whether slices are stored in the patient frame already, as of a patient who lies on his back."""
        return not (self.transposed or self.rows_reversed or self.columns_reversed)

    def of(self, stored: np.ndarray) -> np.ndarray:
        """Slices (..., H, W) in the patient frame, contiguous."""
        if self.is_none:
            return stored
        turned = stored.swapaxes(-2, -1) if self.transposed else stored
        rows, columns = (slice(None, None, -1 if back else 1) for back in (self.rows_reversed, self.columns_reversed))
        return np.ascontiguousarray(turned[..., rows, columns])

    def back(self, turned: np.ndarray) -> np.ndarray:
        """Slices (..., H, W) of the patient frame as they are stored; the inverse of `of`."""
        rows, columns = (slice(None, None, -1 if back else 1) for back in (self.rows_reversed, self.columns_reversed))
        stored = turned[..., rows, columns]
        return np.ascontiguousarray(stored.swapaxes(-2, -1) if self.transposed else stored)

    def pair(self, stored: Sequence[T]) -> tuple[T, T]:
        """What belongs to rows and to columns, such as size or spacing, in the patient frame; or back, as well."""
        rows, columns = stored
        return (columns, rows) if self.transposed else (rows, columns)


AS_STORED = Turn()


def turn(orientation: Sequence[float]) -> Turn:
    """What brings slices of that ImageOrientationPatient into the patient frame.

    Args:
        orientation: direction cosines of a row, then of a column, to the patient's left, to his back and to his head.
    Source: DICOM PS3.3 C.7.6.2.1.1: the first three lead along a row, through its columns.
    """
    row, column = orientation[:2], orientation[3:5]
    transposed = abs(row[1]) > abs(row[0])
    to_back, to_left = (row[1], column[0]) if transposed else (column[1], row[0])
    return Turn(transposed, rows_reversed=to_back < 0, columns_reversed=to_left < 0)


def degrees_off_axis(orientation: Sequence[float]) -> float:
    """Angle in the axial plane between the rows, or the columns, and the patient's axis next to them: 0 to 45."""
    return max(_degrees_off_axis(*orientation[:2]), _degrees_off_axis(*orientation[3:5]))


def _degrees_off_axis(x: float, y: float) -> float:
    return math.degrees(math.atan2(*sorted((abs(x), abs(y)))))


def to_size(hu_HW: np.ndarray, size: int) -> np.ndarray:
    """Resample a slice to size x size pixels that cover the same field of view.

    Each new pixel is the area-weighted mean of the old pixels below it, so small bright lesions keep their sum and
    nothing rings or aliases; a larger size repeats pixels.

    Args:
        hu_HW: (H, W) int16, HU.
    Returns: (size, size) int16, HU, rounded to the nearest integer, halves up.
    """
    height, width = hu_HW.shape
    if height == width == size:
        return hu_HW
    if height == width and height % size == 0:
        return _block_means(hu_HW, height // size)
    rows = _overlap(height, size) @ hu_HW.astype(np.float64)
    mean = (_overlap(width, size) @ rows.T).T
    return np.ascontiguousarray(np.floor(mean + 0.5), np.int16)


def _block_means(hu_HW: np.ndarray, side: int) -> np.ndarray:
    """Means of blocks of side x side pixels, in 16 bits where their sums fit: twice as fast as in 32."""
    count = side * side
    low, high = count * int(hu_HW.min()), count * int(hu_HW.max()) + count // 2
    total = hu_HW if low >= -32768 and high <= 32767 else hu_HW.astype(np.int32)
    total = _pooled(_pooled(total, side).T, side).T  # rows first: they are added at once, columns in steps
    total += count // 2
    total //= count
    return np.ascontiguousarray(total, np.int16)


def _pooled(values_HW: np.ndarray, side: int) -> np.ndarray:
    """Sums of every ``side`` rows."""
    total: np.ndarray = values_HW[::side] + values_HW[1::side]
    for offset in range(2, side):
        total += values_HW[offset::side]
    return total


@lru_cache(maxsize=8)
def _overlap(old: int, new: int) -> scipy.sparse.csr_array:
    """(new, old) share that each old pixel has in each new one; rows sum to 1. Few overlap: ten times as fast."""
    old_edges = np.arange(old + 1) / old
    new_edges = np.arange(new + 1) / new
    upper = np.minimum(new_edges[1:, None], old_edges[None, 1:])
    lower = np.maximum(new_edges[:-1, None], old_edges[None, :-1])
    return scipy.sparse.csr_array(np.clip(upper - lower, 0, None) * new)
