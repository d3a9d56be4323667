"""The coronary arteries: their courses on the heart's surface, their painting, and where calcium is coronary.

Axes: P points along a course.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cac_hpc.phantom.canvas import Canvas, Grid, resample, smooth_line, tube
from cac_hpc.phantom.chambers import Heart
from cac_hpc.phantom.habitus import BLOOD_HU, Body

GROOVE_MM, MASK_MM = 4.5, 5.0  # fat around a vessel; how far from its middle calcium is its own
ABOVE_MM = 2.2  # the middle of a vessel above the heart's muscle
STEP_MM = 1.0  # between the points of a course
# radius at both ends, whether it lies on the heart's surface, and its course in an average heart
Course = tuple[tuple[float, float], bool, tuple[tuple[float, float, float], ...]]
ARTERIES: dict[str, Course] = {
    "LM": ((2.3, 2.2), False, ((9, -6, 22), (16, -6, 22), (23, -8, 21))),
    "LAD": ((1.9, 1.0), True, ((24, -9, 21), (34, -21, 12), (43, -33, -4), (51, -40, -20), (58, -38, -36))),
    "D1": ((1.2, 0.8), True, ((34, -21, 12), (48, -19, 4), (60, -14, -10), (66, -8, -22))),
    "LCx": ((1.8, 1.0), True, ((24, -8, 21), (36, 8, 17), (43, 22, 6), (38, 36, -8), (26, 44, -20))),
    "OM": ((1.2, 0.8), True, ((42, 20, 8), (54, 22, -6), (56, 20, -22))),
    "RCA": (
        (2.0, 1.3),
        True,
        ((-16, -20, 19), (-29, -34, 10), (-36, -38, -6), (-36, -34, -22), (-26, -20, -38), (-8, 6, -44), (8, 22, -42)),
    ),
    "PDA": ((1.2, 0.8), True, ((-6, 8, -44), (10, 4, -47), (26, -2, -50), (40, -8, -48))),
}


def draw_courses(rng: np.random.Generator, body: Body, heart: Heart, variety: float) -> dict[str, np.ndarray]:
    """The middle line (P, 3) of each artery, points about 1 mm apart."""
    courses = {}
    for name, (_, on_surface, knots) in ARTERIES.items():
        moved = np.array(knots, float) + variety * rng.normal(0, 1.6, (len(knots), 3))
        points_P3 = smooth_line(body.in_heart(moved), STEP_MM)
        if on_surface:
            points_P3 = heart.onto_surface(points_P3, ABOVE_MM)
            points_P3 = ndimage.gaussian_filter1d(points_P3, 3, axis=0, mode="nearest")
        courses[name] = resample(points_P3, STEP_MM)
    return courses


def paint_arteries(canvas: Canvas, body: Body, courses: dict[str, np.ndarray]) -> None:
    """Fat in the groove first, then the vessels, without calcium."""
    tubes = {name: tube(canvas.grid, course_P3, radius_mm(name, len(course_P3))) for name, course_P3 in courses.items()}
    for shape in tubes.values():
        canvas.paint(shape, body.fat_hu, inset_mm=-(GROOVE_MM - 2))
    for shape in tubes.values():
        canvas.paint(shape, BLOOD_HU + body.tissue_hu, soft_mm=body.motion_mm)


def radius_mm(name: str, num_points: int) -> np.ndarray:
    """Radius of an artery at each point of its course, (P,)."""
    return np.linspace(*ARTERIES[name][0], num_points)


def masks(grid: Grid, courses: dict[str, np.ndarray]) -> np.ndarray:
    """The artery that calcium in a voxel belongs to, uint8 (Z, H, W): 0 none, then as in ``ARTERIES``, the nearest."""
    artery_ZHW = np.zeros(grid.shape, np.uint8)
    nearest_ZHW = np.full(grid.shape, MASK_MM, np.float16)
    for number, name in enumerate(ARTERIES, start=1):
        shape = tube(grid, courses[name], 0.0, reach_mm=MASK_MM)
        nearer = shape.distance_mm < nearest_ZHW[shape.box]
        np.copyto(artery_ZHW[shape.box], np.uint8(number), where=nearer)
        np.copyto(nearest_ZHW[shape.box], shape.distance_mm, where=nearer, casting="same_kind")
    return artery_ZHW
