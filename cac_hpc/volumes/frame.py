"""The patient frame: rows from front to back, columns from the patient's right to his left, slices from the feet up.

A scanner stores rows and columns as the patient lies, or as somebody chose to look; ImageOrientationPatient says how.
Whatever is scored, packed, drawn or counted is in the patient frame. Axes: H row, W column, as stored or in the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

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
