"""Calcium and metal that no score may count: in the aorta and the valves, in lung and lymph nodes, a lead's streaks.

They are drawn without regard to the calcium in the coronary arteries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from cac_hpc.phantom.canvas import Grid
from cac_hpc.phantom.chambers import aortic_wall
from cac_hpc.phantom.coronaries import Deposit, added_hu
from cac_hpc.phantom.formation import metal_streaks
from cac_hpc.phantom.habitus import Body

CLEAR_MM = 11.0  # from any coronary artery
STREAK_HU = 160.0
PLACES = {  # where, in an average heart, and how far around
    "aortic valve": ((-7, -5, 12), 8.0),
    "mitral ring": ((14, 26, -8), 12.0),
    "lymph node": ((-20, 30, 48), 14.0),
    "lung": ((-62, 20, 10), 30.0),
}


def add_distractors(
    rng: np.random.Generator,
    hu_ZHW: np.ndarray,
    grid: Grid,
    body: Body,
    courses: Mapping[str, np.ndarray],
    blur_mm: float,
) -> None:
    """Add them to an image, in place; never near a coronary artery."""
    arteries_P3 = np.concatenate(list(courses.values()))
    for deposit in [*_aortic(rng, body), *_elsewhere(rng, body)]:
        points_P3 = deposit.points()
        apart_mm = np.linalg.norm(points_P3[:, None] - arteries_P3, axis=2).min()
        if apart_mm > CLEAR_MM + 2 * deposit.radius_mm:
            box, added_ZHW = added_hu(deposit, grid, blur_mm)
            hu_ZHW[box] += added_ZHW


def add_lead_streaks(rng: np.random.Generator, hu_ZHW: np.ndarray, grid: Grid, course_P3: np.ndarray) -> None:
    """Streaks out of a pacemaker's lead in each slice that it crosses, in place."""
    for hu_HW, z_mm in zip(hu_ZHW, grid.z_mm, strict=True):
        crossing = np.abs(course_P3[:, 2] - z_mm) < grid.thickness_mm
        if crossing.any():
            x_mm, y_mm, _ = course_P3[crossing].mean(0)
            hu_HW += metal_streaks(rng, grid, (float(x_mm), float(y_mm)), STREAK_HU)


def _aortic(rng: np.random.Generator, body: Body) -> Iterator[Deposit]:
    """Plaques in the wall of the aorta: none in half of the patients, many in some."""
    middle_P3, radius_P = aortic_wall(body)
    for _ in range(int(rng.poisson(rng.choice((0, 0, 0, 3, 9))))):
        at = int(rng.integers(len(middle_P3) - 1))
        along = middle_P3[at + 1] - middle_P3[at]
        out = np.cross(along, rng.normal(0, 1, 3))
        outward = out / np.linalg.norm(out) * radius_P[at]
        yield _deposit(rng, middle_P3[at] + outward, along, radius_mm=rng.uniform(0.5, 1.7))


def _elsewhere(rng: np.random.Generator, body: Body) -> Iterator[Deposit]:
    for middle, around_mm in PLACES.values():
        if rng.uniform() < 0.25:
            at = np.asarray(middle, float)
            for _ in range(int(rng.integers(1, 5))):
                where = at + rng.normal(0, 0.45, 3) * around_mm * (1, 1, 0.5)
                yield _deposit(rng, body.in_heart(where), rng.normal(0, 1, 3), radius_mm=rng.uniform(0.6, 2.0))


def _deposit(rng: np.random.Generator, at: np.ndarray, along: np.ndarray, radius_mm: float) -> Deposit:
    way = along / np.linalg.norm(along)
    return Deposit(
        artery="",
        course_P3=np.stack([at - 15 * way, at + 15 * way]),
        along_mm=15.0,
        slender=rng.uniform(0.8, 2.5),
        density_hu=rng.uniform(500, 1500),
        offset_mm=np.zeros(3),
        motion_mm=rng.normal(0, 0.4, 3),
        radius_mm=float(radius_mm),
    )
