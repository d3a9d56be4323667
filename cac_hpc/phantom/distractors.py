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
from cac_hpc.phantom.objects import ADDED_HU, Inventory, Item

CLEAR_MM, NEAR_MM = 11.0, 8.0  # from any coronary artery: usually, and where calcium near to them is wanted
STREAK_HU = 160.0
PLACES = {  # where, in an average heart, and how far around
    "aortic valve": ((-7, -5, 12), 8.0),
    "mitral ring": ((14, 26, -8), 12.0),
    "lymph node": ((-20, 30, 48), 14.0),
    "lung": ((-62, 20, 10), 30.0),
}
NODES = ((-20, 30, 48), (8, 30, 40), (-34, 12, 44), (20, -14, 46), (-48, 16, 8))  # places of lymph nodes
Kind = tuple[str, Deposit]


def add_distractors(
    rng: np.random.Generator,
    hu_ZHW: np.ndarray,
    grid: Grid,
    body: Body,
    courses: Mapping[str, np.ndarray],
    blur_mm: float,
    inventory: Inventory,
    near: np.random.Generator | None = None,
) -> None:
    """Add them to an image, in place; never near a coronary artery, or not quite so near if ``near`` draws more."""
    drawn = [(CLEAR_MM, *found) for found in (*_aortic(rng, body), *_elsewhere(rng, body))]
    if near is not None:
        more = (*_root(near, body), *_valve(near, body), *_ring(near, body), *_nodes(near, body))
        drawn += [(NEAR_MM, *found) for found in more]
    arteries_P3 = np.concatenate(list(courses.values()))
    for clear_mm, kind, deposit in drawn:
        points_P3 = deposit.points()
        apart_mm = np.linalg.norm(points_P3[:, None] - arteries_P3, axis=2).min()
        if apart_mm > clear_mm + 2 * deposit.radius_mm:
            box, added_ZHW = added_hu(deposit, grid, blur_mm)
            hu_ZHW[box] += added_ZHW
            x_mm, y_mm, z_mm = points_P3.mean(0).tolist()
            inventory.add(Item(kind, (x_mm, y_mm, z_mm), deposit.radius_mm, deposit.density_hu), box, added_ZHW)


def add_lead_streaks(
    rng: np.random.Generator, hu_ZHW: np.ndarray, grid: Grid, course_P3: np.ndarray, inventory: Inventory
) -> None:
    """Streaks out of a pacemaker's lead in each slice that it crosses, in place."""
    for index, z_mm in enumerate(grid.z_mm):
        crossing = np.abs(course_P3[:, 2] - z_mm) < grid.thickness_mm
        if crossing.any():
            x_mm, y_mm, _ = course_P3[crossing].mean(0)
            streaks_HW = metal_streaks(rng, grid, (float(x_mm), float(y_mm)), STREAK_HU)
            hu_ZHW[index] += streaks_HW
            inventory.mark("lead", (slice(index, index + 1), slice(None), slice(None)), streaks_HW[None] >= ADDED_HU)


def _aortic(rng: np.random.Generator, body: Body) -> Iterator[Kind]:
    """Plaques in the wall of the aorta: none in half of the patients, many in some."""
    middle_P3, radius_P = aortic_wall(body)
    for _ in range(int(rng.poisson(rng.choice((0, 0, 0, 3, 9))))):
        at = int(rng.integers(len(middle_P3) - 1))
        along, outward = _on_wall(rng, middle_P3, radius_P, at)
        yield "aortic wall", _deposit(rng, middle_P3[at] + outward, along, radius_mm=rng.uniform(0.5, 1.7))


def _on_wall(
    rng: np.random.Generator, middle_P3: np.ndarray, radius_P: np.ndarray, at: int
) -> tuple[np.ndarray, np.ndarray]:
    """The way along the aorta from one of its middles, and from that to some place of the wall."""
    along = middle_P3[at + 1] - middle_P3[at]
    out = np.cross(along, rng.normal(0, 1, 3))
    return along, out / np.linalg.norm(out) * radius_P[at]


def _elsewhere(rng: np.random.Generator, body: Body) -> Iterator[Kind]:
    for kind, (middle, around_mm) in PLACES.items():
        if rng.uniform() < 0.25:
            at = np.asarray(middle, float)
            for _ in range(int(rng.integers(1, 5))):
                where = at + rng.normal(0, 0.45, 3) * around_mm * (1, 1, 0.5)
                yield kind, _deposit(rng, body.in_heart(where), rng.normal(0, 1, 3), radius_mm=rng.uniform(0.6, 2.0))


def _root(rng: np.random.Generator, body: Body) -> Iterator[Kind]:
    """Plaques in the wall of the aortic root and the ascending aorta, also near the origins of the arteries."""
    middle_P3, radius_P = aortic_wall(body)
    if rng.uniform() > 0.2:
        return
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(2, 14))
        along, outward = _on_wall(rng, middle_P3, radius_P, at)
        around = np.cross(along, outward)
        yield "aortic root", _deposit(rng, middle_P3[at] + outward, around, radius_mm=rng.uniform(0.7, 1.8))


def _valve(rng: np.random.Generator, body: Body) -> Iterator[Kind]:
    """Cusps of the aortic valve: none in most, heavily calcified in some."""
    num_pieces, most_mm = ((0, 0.0), (0, 0.0), (0, 0.0), (3, 1.5), (7, 2.8))[int(rng.integers(5))]
    for _ in range(num_pieces):
        turn, away_mm = rng.uniform(0, 2 * np.pi), rng.uniform(1, 8)
        at = body.anatomy.moved((-7 + away_mm * np.cos(turn), -5 + away_mm * np.sin(turn), 12 + rng.normal(0, 1.5)))
        cusp = np.array((np.cos(turn), np.sin(turn), rng.normal(0, 0.3)))
        yield "aortic valve", _deposit(rng, body.in_heart(at), cusp, radius_mm=rng.uniform(0.5, 1) * most_mm)


def _ring(rng: np.random.Generator, body: Body) -> Iterator[Kind]:
    """The back of the mitral ring, an arc of 40 mm, in one patient of seven."""
    if rng.uniform() > 0.15:
        return
    first = rng.uniform(-0.9, 0.4)
    for turn in first + np.arange(int(rng.integers(2, 8))) * 0.22:
        at = np.array((16 + 9 * np.cos(turn), 14 + 15 * np.cos(turn), -2 + 19 * np.sin(turn)))
        along = rng.normal((-0.4, -0.6, 1), 0.3)
        yield "mitral ring", _deposit(rng, body.in_heart(at), along, radius_mm=rng.uniform(0.8, 2.2))


def _nodes(rng: np.random.Generator, body: Body) -> Iterator[Kind]:
    """Calcified lymph nodes at the roots of the lungs and on the pericardium, in four of ten patients."""
    if rng.uniform() > 0.4:
        return
    for _ in range(int(rng.integers(1, 4))):
        at = np.asarray(NODES[int(rng.integers(len(NODES)))], float) + rng.normal(0, 4, 3)
        yield "lymph node", _deposit(rng, body.in_heart(at), rng.normal(0, 1, 3), radius_mm=rng.uniform(1.0, 2.6))


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
