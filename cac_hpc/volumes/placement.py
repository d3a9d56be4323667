"""Where the voxels of an array are in the patient, and the values of one array at the voxels of another.

Positions are in mm to the patient's left, to his back and to his head (DICOM PS3.3 C.7.6.2.1.1). Axes: those of the
array, whatever their order: A, B, C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from cac_hpc.volumes.frame import Turn

SAME_GRID = 0.01  # of a voxel: centres that are nearer to each other are the same, as printed and rounded numbers are
EDGE = 0.5  # of a voxel beyond its centre: so far it reaches
ROUNDED = 0.5 + 1e-6  # added before rounding down; a little more than half, lest what is printed decides
PARALLEL = 1e-3  # of a voxel: so far axes may lead aside and count as parallel


@dataclass(frozen=True)
class Placement:
    """Where the voxels of an array (A, B, C) are in the patient.

    shape: of the array. first_mm: (3,) the centre of voxel 0, 0, 0. steps_mm: (3, 3), for each axis of the array the
    way from a voxel to the next.
    """

    shape: tuple[int, int, int]
    first_mm: tuple[float, float, float]
    steps_mm: tuple[tuple[float, float, float], ...]

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Between voxels along each axis."""
        return tuple(math.hypot(*step) for step in self.steps_mm)

    @property
    def corners(self) -> np.ndarray:
        """The first and the last voxel along each axis, (8, 3)."""
        return np.array(list(product(*((0, size - 1) for size in self.shape))), float)

    @property
    def is_regular(self) -> bool:
        """Whether shape, position and steps are those of a volume: finite, and steps not in one plane."""
        steps, lengths = np.array(self.steps_mm), np.array(self.spacing_mm)
        finite = np.isfinite(steps).all() and np.isfinite(self.first_mm).all()
        return bool(finite and min(self.shape) > 0 and lengths.min() > 0
                    and abs(np.linalg.det(steps / lengths[:, None])) > 0.1)  # fmt: skip

    def __str__(self) -> str:
        """The numbers that a person compares: how many voxels, how far apart, from where to where."""
        size = " x ".join(map(str, self.shape))
        spacing = " x ".join(f"{value:.4g}" for value in self.spacing_mm)
        corners = self.at(self.corners)
        ends = zip(corners.min(0).tolist(), corners.max(0).tolist(), strict=True)
        return f"{size} voxels of {spacing} mm, " + ", ".join(
            f"{name} {low:.1f} to {high:.1f}" for name, (low, high) in zip(("x", "y", "z"), ends, strict=True)
        )

    def at(self, index_N3: np.ndarray) -> np.ndarray:
        """Positions (N, 3) in mm of voxels, which may lie between those of the array."""
        return np.asarray(index_N3 @ np.array(self.steps_mm) + np.array(self.first_mm))

    def index(self, position_N3: np.ndarray) -> np.ndarray:
        """The inverse of `at`: (N, 3), in voxels."""
        return np.asarray((position_N3 - np.array(self.first_mm)) @ np.linalg.inv(np.array(self.steps_mm)))

    def covers(self, other: Placement) -> bool:
        """Whether every voxel centre of another array is in a voxel of this one."""
        inside = self.index(other.at(other.corners))
        return bool(
            (inside >= -EDGE - SAME_GRID).all() and (inside <= np.array(self.shape) - 1 + EDGE + SAME_GRID).all()
        )

    def has_grid_of(self, other: Placement) -> bool:
        """Whether every voxel of another array is a voxel of this one, its axes turned or exchanged at most."""
        corners = np.array([(0, 0, 0), *(np.eye(3) * (np.array(other.shape) - 1))])
        steps = np.array(other.steps_mm) @ np.linalg.inv(np.array(self.steps_mm))
        off = self.index(other.at(corners))
        whole = np.abs(off - np.rint(off)).max() <= SAME_GRID
        return bool(whole and np.abs(np.abs(steps).max(1) - 1).max() <= SAME_GRID)


def of_slices(first_mm: Sequence[float], last_mm: Sequence[float], num_slices: int, orientation: Sequence[float],
              size: tuple[int, int], spacing_mm: Sequence[float], turn: Turn) -> Placement:  # fmt: skip
    """Where the voxels (Z, H, W) of stacked slices are, in the patient frame.

    Args:
        first_mm: ImagePositionPatient of the first slice.
        last_mm: of the last; a single slice has no way to the next, and is taken to be 1 mm from it.
        num_slices: how many.
        orientation: ImageOrientationPatient.
        size: Rows and Columns, as stored.
        spacing_mm: PixelSpacing, as stored.
        turn: what brings the stored slices into the patient frame.
    """
    along_row, along_column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    row_step, column_step = along_column * spacing_mm[0], along_row * spacing_mm[1]  # to the next row, and column
    first, slice_step = np.array(first_mm, float), _normal(along_row, along_column)
    if num_slices > 1:
        slice_step = (np.array(last_mm, float) - first) / (num_slices - 1)
    rows, columns = size
    if turn.transposed:
        row_step, column_step, rows, columns = column_step, row_step, columns, rows
    if turn.rows_reversed:
        first, row_step = first + row_step * (rows - 1), -row_step
    if turn.columns_reversed:
        first, column_step = first + column_step * (columns - 1), -column_step
    steps = tuple(tuple(step.tolist()) for step in (slice_step, row_step, column_step))
    return Placement((num_slices, rows, columns), tuple(first.tolist()), steps)


def _normal(along_row: np.ndarray, along_column: np.ndarray) -> np.ndarray:
    across = np.cross(along_row, along_column)
    return across if across[2] >= 0 else -across


def resample(values: np.ndarray, source: Placement, target: Placement, outside: int = 0) -> np.ndarray:
    """The nearest value of one array at every voxel of another; the same values where both have the same grid.

    Args:
        values: (A, B, C), of ``source``. outside: what is taken beyond it.
    Returns: array of the target's shape, of the values' type.
    """
    found = np.full(target.shape, outside, values.dtype)
    steps = np.array(target.steps_mm) @ np.linalg.inv(np.array(source.steps_mm))  # [of target, of source]: in voxels
    first, leading = source.index(np.array([target.first_mm]))[0], np.abs(steps).argmax(0)
    aside = np.abs(steps) * (np.array(target.shape)[:, None] - 1)
    aside[leading, range(3)] = 0
    if len({*leading.tolist()}) == 3 and aside.max() < PARALLEL:  # the axes of both are parallel: one at a time
        along = [_nearest(first[axis] + steps[lead, axis] * np.arange(target.shape[lead]), source.shape[axis])
                 for axis, lead in enumerate(leading)]  # fmt: skip
        taken = values[np.ix_(*(index for index, _ in along))]
        order = np.argsort(leading)
        found[np.ix_(*(along[axis][1] for axis in order))] = taken.transpose(order)
        return found
    rows, columns = np.indices(target.shape[1:]).reshape(2, -1)
    for number in range(target.shape[0]):  # a slice at a time: three numbers a voxel are more memory than the volume
        position = target.at(np.stack([np.full(rows.shape, number), rows, columns], axis=1))
        nearest = np.floor(source.index(position) + ROUNDED).astype(np.int64)
        inside = ((nearest >= 0) & (nearest < np.array(source.shape))).all(1)
        found[number].reshape(-1)[inside] = values[tuple(nearest[inside].T)]
    return found


def _nearest(index: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest voxels of an axis, and to which of the numbers there is one."""
    nearest = np.floor(index + ROUNDED).astype(np.int64)
    inside = (nearest >= 0) & (nearest < size)
    return nearest[inside], inside
