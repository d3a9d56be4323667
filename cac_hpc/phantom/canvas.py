"""Voxels, and how shapes are painted into them with partial volume.

Positions are x, y, z in mm: x to the patient's left, y to the back, z to the head. A shape is a signed distance in mm,
negative inside. Axes: Z slices, H rows (y), W columns (x), P points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REACH_MM = 3.0  # beyond a shape's surface where its distance is known

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """Middles of the voxels along each axis, float32, and the voxels' size."""

    z_mm: np.ndarray
    y_mm: np.ndarray
    x_mm: np.ndarray
    pixel_mm: float
    thickness_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.z_mm), len(self.y_mm), len(self.x_mm)

    def box(self, low_mm: np.ndarray, high_mm: np.ndarray) -> Box:
        """The voxels between two corners (x, y, z), and half a slice more; empty if they lie outside."""
        return self.boxes(low_mm[None], high_mm[None])[0]

    def boxes(self, low_P3: np.ndarray, high_P3: np.ndarray) -> list[Box]:
        """The same for many pairs of corners."""
        extra_mm = np.array((0, 0, self.thickness_mm / 2))
        ends = (low_P3 - extra_mm, high_P3 + extra_mm)
        x, y, z = (
            map(slice, *(axis.searchsorted(end_P3[:, at]).tolist() for end_P3 in ends))
            for at, axis in enumerate((self.x_mm, self.y_mm, self.z_mm))
        )
        return list(zip(z, y, x, strict=True))

    def crop(self, box: Box) -> Grid:
        return Grid(self.z_mm[box[0]], self.y_mm[box[1]], self.x_mm[box[2]], self.pixel_mm, self.thickness_mm)

    def offsets(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and z less those of a point, ready to be broadcast to (Z, H, W)."""
        x, y, z = at.tolist()
        return self.x_mm - x, (self.y_mm - y)[:, None], (self.z_mm - z)[:, None, None]


@dataclass(frozen=True)
class Shape:
    """Signed distance (Z, H, W) in a box of voxels, and how much its surface faces head or feet: square, 0 to 1."""

    box: Box
    distance_mm: np.ndarray
    facing: np.ndarray | float


@dataclass(frozen=True)
class Canvas:
    """HU of a chest, float32 (Z, H, W), painted from the outside in."""

    hu_ZHW: np.ndarray
    grid: Grid

    def paint(self, shape: Shape, hu: float, *, inset_mm: float = 0.0, soft_mm: float = 0.0) -> None:
        """Fill a shape, or what is left of it ``inset_mm`` below its surface.

        A voxel is filled by its share in the shape: to first order, from the distance of its middle and its extent
        across the surface. ``soft_mm`` widens the edge, as motion does.
        """
        if 0 in shape.distance_mm.shape:
            return
        across_mm = np.sqrt(self.grid.pixel_mm**2 + soft_mm**2 + self.grid.thickness_mm**2 * shape.facing)
        filled = (-inset_mm - shape.distance_mm) / across_mm
        filled += 0.5
        np.clip(filled, 0, 1, out=filled)
        part = self.hu_ZHW[shape.box]
        filled *= hu - part
        part += filled


def ellipsoid(
    grid: Grid,
    middle_mm: np.ndarray,
    axes_mm: Sequence[float] | np.ndarray,
    turn: np.ndarray | None = None,
    reach_mm: float = 3.0,
) -> Shape:
    """An ellipsoid with these half axes, turned by a rotation matrix whose columns are its axes.

    The distance is right to first order near the surface.
    """
    turn = np.eye(3) if turn is None else turn
    half = np.asarray(axes_mm, float)
    corner = np.sqrt(((turn * half) ** 2).sum(1)) + reach_mm
    box = grid.box(middle_mm - corner, middle_mm + corner)
    offsets = grid.crop(box).offsets(middle_mm)
    return Shape(box, *_ellipsoid_distance(offsets, half, turn))


def ellipsoid_at(
    points_P3: np.ndarray, middle_mm: np.ndarray, axes_mm: Sequence[float] | np.ndarray, turn: np.ndarray
) -> np.ndarray:
    """The distance of an ellipsoid at some points, (P,)."""
    x, y, z = (points_P3 - middle_mm).T
    return _ellipsoid_distance((x, y, z), np.asarray(axes_mm, float), turn)[0]


def _ellipsoid_distance(
    offsets: tuple[np.ndarray, np.ndarray, np.ndarray], half_mm: np.ndarray, turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """With u the position in units of the half axes, |u| (|u| - 1) / |u / half axis|, and the square of its
    slope in z.
    """
    near: np.ndarray | float = 0.0
    steep: np.ndarray | float = 0.0
    slope: np.ndarray | float = 0.0
    for axis, half in zip(turn.T, half_mm, strict=True):
        across, along, up = (float(part / half) for part in axis)
        unit = offsets[0] * across + offsets[1] * along + offsets[2] * up
        near = near + unit * unit
        unit *= np.float32(1 / half)
        steep = steep + unit * unit
        slope = slope + unit * float(axis[2])
    near, steep = np.sqrt(near), np.sqrt(steep) + np.float32(1e-6)
    return np.asarray(near * (near - 1) / steep), np.asarray((slope / steep) ** 2)


def tube(
    grid: Grid, points_P3: np.ndarray, radius_mm: np.ndarray | float, *, reach_mm: float = REACH_MM, flat: float = 1.0
) -> Shape:
    """Spheres in a row, which overlap to a tube. ``flat`` below 1 makes it taller in z than wide, as ribs are."""
    radius_P = np.broadcast_to(np.asarray(radius_mm, float), len(points_P3))
    around_P3 = (radius_P + reach_mm)[:, None] * (1, 1, 1 / flat)
    low_P3, high_P3 = points_P3 - around_P3, points_P3 + around_P3
    box = grid.box(low_P3.min(0), high_P3.max(0))
    inside = grid.crop(box)
    distance = np.full(inside.shape, reach_mm, np.float32)
    upward, away = np.zeros(inside.shape, np.float32), np.ones(inside.shape, np.float32)
    if distance.size == 0:
        return Shape(box, distance, upward)
    for point, radius, part in zip(points_P3, radius_P.tolist(), inside.boxes(low_P3, high_P3), strict=True):
        x, y, z = inside.crop(part).offsets(point)
        z = z * flat
        from_middle = np.sqrt(x * x + y * y + z * z)
        from_middle += np.float32(1e-6)
        from_surface = from_middle - radius
        nearer = from_surface < distance[part]
        np.copyto(distance[part], from_surface, where=nearer)
        np.copyto(upward[part], z, where=nearer)
        np.copyto(away[part], from_middle, where=nearer)
    return Shape(box, distance, (upward / away) ** 2)


def cylinder(grid: Grid, middle_mm: np.ndarray, half_axes_mm: tuple[float, float], half_height_mm: float) -> Shape:
    """An upright elliptic cylinder."""
    wide, deep = half_axes_mm
    corner = np.array((wide + REACH_MM, deep + REACH_MM, half_height_mm + REACH_MM))
    box = grid.box(middle_mm - corner, middle_mm + corner)
    x, y, z = grid.crop(box).offsets(middle_mm)
    side_mm, end_mm = ellipse(x, y, wide, deep), np.abs(z) - half_height_mm
    return Shape(box, np.maximum(side_mm, end_mm), np.where(end_mm > side_mm, np.float32(1), np.float32(0)))


def ellipse(x_mm: np.ndarray, y_mm: np.ndarray, wide_mm: float, deep_mm: float) -> np.ndarray:
    """Signed distance to an ellipse with these half axes, right to first order near its edge."""
    near = np.sqrt((x_mm / wide_mm) ** 2 + (y_mm / deep_mm) ** 2)
    steep = np.sqrt((x_mm / wide_mm**2) ** 2 + (y_mm / deep_mm**2) ** 2) + np.float32(1e-6)
    return np.asarray(near * (near - 1) / steep)


def shift(at_mm: np.ndarray, x_mm: float, y_mm: float, z_mm: float) -> np.ndarray:
    """A position some way from another."""
    return np.asarray(at_mm + np.array((x_mm, y_mm, z_mm)))


def smooth_line(knots_K3: Sequence[Sequence[float]] | Sequence[np.ndarray] | np.ndarray, step_mm: float) -> np.ndarray:
    """A curve through some points without corners (Catmull-Rom), with points about ``step_mm`` apart, (P, 3)."""
    knots = np.asarray(knots_K3, float)
    knots = np.concatenate([[2 * knots[0] - knots[1]], knots, [2 * knots[-1] - knots[-2]]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = [
        b + t * (c - a) / 2 + t**2 * (a - 2.5 * b + 2 * c - d / 2) + t**3 * ((d - a) / 2 + 1.5 * (b - c))
        for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False)
    ]
    return resample(np.concatenate([*pieces, knots[-2:-1]]), step_mm)


def resample(points_P3: np.ndarray, step_mm: float) -> np.ndarray:
    """The same course with points about ``step_mm`` apart."""
    along_mm = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points_P3, axis=0), axis=1))])
    at_mm = np.linspace(0, along_mm[-1], max(2, round(along_mm[-1] / step_mm) + 1))
    return np.stack([np.interp(at_mm, along_mm, axis) for axis in points_P3.T], axis=1)
