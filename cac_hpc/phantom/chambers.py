"""The heart with its chambers in its fat, the great vessels, windpipe and gullet.

Positions are x, y, z in mm in an average heart, from its middle (``habitus.Body.in_heart`` takes them to a patient's);
what lies along the spine is placed by the spine. Axes: P points, K knots of a course.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cac_hpc.phantom.canvas import Canvas, Grid, Shape, ellipsoid, ellipsoid_at, shift, smooth_line, tube
from cac_hpc.phantom.habitus import BLOOD_HU, HEART_MUSCLE_HU, Body

# middle, half axes, direction of the longest
CHAMBERS: dict[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = {
    "left ventricle": ((22, 2, -12), (53, 31, 33), (0.72, -0.56, -0.42)),
    "right ventricle": ((0, -27, -14), (47, 23, 33), (0.80, -0.36, -0.48)),
    "septum of the ventricles": ((14, -12, -20), (42, 15, 28), (0.76, -0.46, -0.45)),
    "right atrium": ((-39, -4, -6), (34, 24, 27), (0.1, 0.0, 1.0)),
    "left atrium": ((-3, 25, 13), (34, 21, 24), (1.0, 0.1, 0.1)),
}
ROUND_MM = 5.0  # by which the fat rounds off the notches between the chambers
SAC_MM, OUTSIDE_FAT_MM = 1.5, 3.0  # the pericardium, and the fat outside of it
# its radius is a patient's
AORTA = ((-6, -4, 10), (-9, -8, 24), (-17, -10, 42), (-21, -8, 62), (-14, 4, 80), (-2, 24, 87))
PULMONARY = ((6, -36, 4), (8, -33, 18), (12, -20, 34), (8, -4, 45))
VESSELS: tuple[tuple[tuple[tuple[float, ...], ...], float], ...] = (
    (PULMONARY, 13.0),
    (((8, -4, 45), (-10, 8, 43), (-34, 14, 38), (-58, 20, 32)), 10.0),  # right pulmonary artery
    (((8, -4, 45), (22, 12, 49), (40, 30, 46), (58, 34, 40)), 9.5),  # left
    (((-44, -4, 130), (-44, -4, 60), (-43, -4, 18)), 9.5),  # upper vena cava
    (((-36, 8, -22), (-37, 12, -45), (-38, 18, -130)), 11.5),  # lower
    (((-24, 26, 18), (-46, 30, 22), (-64, 32, 26)), 6.5),  # pulmonary veins
    (((-24, 32, 6), (-44, 40, 0), (-60, 48, -8)), 6.5),
    (((24, 28, 18), (40, 34, 22), (58, 36, 26)), 6.0),
    (((24, 32, 6), (40, 42, 0), (56, 52, -8)), 6.0),
)
LEAD = ((-44, -4, 130), (-44, -4, 40), (-38, -6, 4), (-20, -22, -14), (14, -34, -26), (30, -38, -32))
LEAD_HU = 9000.0
FAT = (  # in the middle of the chest, around the vessels; below the heart
    ((-14, 4, 66), (36, 36, 50)),
    ((-12, 46, 10), (26, 30, 130)),
    ((-13, -36, 30), (23, 24, 90)),
    ((-12, -46, 8), (30, 14, 56)),
    ((12, -18, -50), (56, 44, 22)),
)


@dataclass(frozen=True)
class Heart:
    """Middle, half axes and axes (columns of a rotation) of each chamber of a patient."""

    chambers: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]

    def distance_at(self, points_P3: np.ndarray) -> np.ndarray:
        """Signed distance of the heart's surface, (P,), negative inside."""
        return np.asarray(np.min([ellipsoid_at(points_P3, *parts) for parts in self.chambers.values()], axis=0))

    def onto_surface(self, points_P3: np.ndarray, above_mm: float) -> np.ndarray:
        """The points moved to some height above the surface, along the steepest way."""
        steps = 0.25 * np.eye(3)
        for _ in range(6):
            slope = np.stack(
                [(self.distance_at(points_P3 + step) - self.distance_at(points_P3 - step)) / 0.5 for step in steps], 1
            )
            missing = above_mm - self.distance_at(points_P3)
            points_P3 = points_P3 + missing[:, None] * slope / np.maximum(0.2, (slope**2).sum(1, keepdims=True))
        return points_P3


def place_heart(body: Body) -> Heart:
    """The chambers of a patient."""
    return Heart(
        {
            name: (body.in_heart(middle + moved), body.heart * (axes * stretch), body.heart_turn() @ _axes(longest))
            for (name, (middle, axes, longest)), moved, stretch in zip(
                CHAMBERS.items(), body.anatomy.chamber_shift_mm, body.anatomy.stretch, strict=True
            )
        }
    )


def paint_heart(canvas: Canvas, body: Body, heart: Heart) -> None:
    """Fat and vessels first, then the chambers in their sac."""
    grid = canvas.grid
    for middle, axes in FAT:
        canvas.paint(ellipsoid(grid, body.in_heart(middle), body.heart * body.fat**0.5 * np.array(axes)), body.fat_hu)
    _paint_along_spine(canvas, body)
    sac = _sac(grid, heart, body)
    for inset_mm, hu in ((-OUTSIDE_FAT_MM * body.fat - SAC_MM, body.fat_hu), (-SAC_MM, 20.0), (0.0, body.fat_hu)):
        canvas.paint(sac, hu, inset_mm=inset_mm, soft_mm=body.motion_mm)
    for knots, radius_mm in (*VESSELS, (AORTA, body.aorta_mm / body.heart)):
        course_K3 = aorta(body) if knots is AORTA else body.in_heart(knots)
        _paint_vessel(canvas, body, course_K3, radius_mm * body.heart, 2.0 * body.fat if knots[-1][2] > -100 else 0.0)
    for name, parts in heart.chambers.items():
        shape = ellipsoid(grid, *parts)
        hu = HEART_MUSCLE_HU if "ventricle" in name else BLOOD_HU
        canvas.paint(shape, hu + body.tissue_hu, soft_mm=body.motion_mm)
        canvas.paint(shape, BLOOD_HU + body.tissue_hu, inset_mm=10.0)
    _paint_vessel(canvas, body, aorta(body), body.aorta_mm, 0.0)
    _paint_airways(canvas, body)


def paint_lead(canvas: Canvas, body: Body) -> np.ndarray:
    """A pacemaker's lead to the tip of the right ventricle; returns its course, (P, 3)."""
    course_P3 = smooth_line(body.in_heart(LEAD), 1.0)
    canvas.paint(tube(canvas.grid, course_P3, 1.0), LEAD_HU)
    return course_P3


def aorta(body: Body) -> np.ndarray:
    """Knots of the ascending aorta and the arch, (K, 3): the root is where this heart has its coronary tree."""
    knots = np.asarray(AORTA, float)
    share = np.array((1.0, 1.0, 0.7, 0.35, 0.0, 0.0))[:, None]
    return body.in_heart(knots + share * (body.anatomy.moved(knots) - knots))


def aortic_wall(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Points in the middle of the ascending aorta, the arch and the descending aorta, and the radius at each."""
    ascending, descending = smooth_line(aorta(body), 3.0), _descending(body)[1:]
    radius = np.concatenate([np.full(len(ascending), body.aorta_mm), np.full(len(descending), 0.78 * body.aorta_mm)])
    return np.concatenate([ascending, descending]), radius


def _axes(longest: tuple[float, ...]) -> np.ndarray:
    """A rotation whose first column has a given direction, the last points upwards as far as that allows."""
    first = np.array(longest) / np.linalg.norm(longest)
    upright = np.array((0.0, 0.0, 1.0)) if abs(first[2]) < 0.95 else np.array((1.0, 0.0, 0.0))
    last = upright - first * (first @ upright)
    last /= np.linalg.norm(last)
    return np.stack([first, np.cross(last, first), last], axis=1)


def _sac(grid: Grid, heart: Heart, body: Body) -> Shape:
    """The smooth hull of the chambers and the fat on them: a minimum of their distances that rounds the notches."""
    middles = np.stack([middle for middle, _, _ in heart.chambers.values()])
    reach = np.array((62, 56, 58)) * body.heart + body.rim_mm
    box = grid.box(middles.min(0) - reach, middles.max(0) + reach)
    inner = grid.crop(box)
    total = np.zeros(inner.shape, np.float32)
    facing = np.zeros(inner.shape, np.float32)
    for parts in heart.chambers.values():
        shape = ellipsoid(inner, *parts, reach_mm=40.0)
        near = np.exp(-np.clip(shape.distance_mm, -40, 40) / ROUND_MM)
        total[shape.box] += near
        facing[shape.box] += near * shape.facing
    total += np.float32(1e-9)
    return Shape(box, -ROUND_MM * np.log(total) - np.float32(body.rim_mm), np.clip(facing / total, 0, 1))


def _descending(body: Body) -> np.ndarray:
    """The descending aorta, beside the spine."""
    arch = body.in_heart(AORTA[-1])
    beside = body.spine_mm + np.array((25.0, -17.0, 0.0))
    turns = [(-1, -4, 74), (0, 0, 50), (0, 0, -40), (-6, 0, -130)]
    return smooth_line([arch, *(shift(beside, *turn) for turn in turns)], 4.0)


def _paint_vessel(canvas: Canvas, body: Body, knots_K3: np.ndarray, radius_mm: float, fat_mm: float) -> None:
    """A vessel full of blood, in a layer of fat."""
    course = tube(canvas.grid, smooth_line(knots_K3, max(1.5, radius_mm / 4)), radius_mm)
    if fat_mm:
        canvas.paint(course, body.fat_hu, inset_mm=-fat_mm)
    canvas.paint(course, BLOOD_HU + body.tissue_hu)


def _paint_along_spine(canvas: Canvas, body: Body) -> None:
    """Descending aorta and gullet, in fat."""
    spine = body.spine_mm
    descending = tube(canvas.grid, _descending(body), 0.78 * body.aorta_mm)
    canvas.paint(descending, body.fat_hu, inset_mm=-2.5)
    canvas.paint(descending, BLOOD_HU + body.tissue_hu)
    gullet = tube(
        canvas.grid,
        smooth_line([shift(spine, 8, -22, -130), shift(spine, 5, -21, 0), shift(spine, 4, -24, 130)], 4.0),
        6.5,
    )
    canvas.paint(gullet, body.fat_hu, inset_mm=-2.0)
    canvas.paint(gullet, 36.0 + body.tissue_hu)


def _paint_airways(canvas: Canvas, body: Body) -> None:
    """Windpipe and the two main bronchi: air in a thin wall."""
    fork = body.in_heart((-12, 26, 62))
    above = shift(fork, 0, -6, 80)
    right, left = body.in_heart((-50, 34, 34)), body.in_heart((36, 42, 36))
    shapes = [
        tube(canvas.grid, smooth_line(np.stack(knots), 2.0), radius_mm)
        for knots, radius_mm in (((above, fork), 8.5), ((fork, right), 6.5), ((fork, left), 5.5))
    ]
    for hu, inset_mm in ((30.0, -1.8), (-1000.0, 0.0)):
        for shape in shapes:
            canvas.paint(shape, hu, inset_mm=inset_mm)
