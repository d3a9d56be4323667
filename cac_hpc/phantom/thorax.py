"""The chest around the heart: wall, lungs with their vessels, ribs, sternum, spine, liver and stomach.

Sizes are those of an average adult, rounded. Axes: P points along a tube.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from cac_hpc.phantom.canvas import Canvas, Grid, cylinder, ellipse, ellipsoid, shift, smooth_line, tube
from cac_hpc.phantom.habitus import AIR_HU, BLOOD_HU, MUSCLE_HU, Body
from cac_hpc.phantom.objects import Item

SKIN_HU, SKIN_MM, RIB_LAYER_MM = 5.0, 1.6, 11.0
CORTEX_HU, MARROW_HU, DENSE_HU, DISC_HU, CANAL_HU, CARTILAGE_HU = 1150.0, 160.0, 1900.0, 85.0, 22.0, 95.0
CALCIFIED_HU = 130.0  # of a cartilage's rim
RIBS, RIB_PITCH_MM, VERTEBRA_MM = range(-7, 9), 24.0, 25.0
CAVITY_HEIGHT_MM = 205.0  # half
STERNUM_MM = (19, 6.5, 82)  # half axes


def paint_chest(rng: np.random.Generator, grid: Grid, body: Body, items: list[Item]) -> Canvas:
    """Air, lungs and their vessels, wall and bones, abdomen; the middle of the chest is left to others.

    Args:
        items: to which the calcified rib cartilages are added.
    """
    canvas = Canvas(np.empty(grid.shape, np.float32), grid)
    gravity = np.clip((grid.y_mm - body.cavity_mm[1]) * np.float32(0.35), -25, 25)  # lungs are denser at the back
    canvas.hu_ZHW[:] = (body.lung_hu + gravity)[:, None]
    for side in (-1, 1):
        for points_P3, radius_P in _lung_vessels(rng, body, side):
            canvas.paint(tube(grid, points_P3, radius_P, reach_mm=1.5), BLOOD_HU)
    _paint_abdomen(canvas, body)
    _paint_wall(canvas, body)
    _paint_ribs(rng, canvas, body, items)
    _paint_sternum(canvas, body)
    _paint_spine(rng, canvas, body)
    return canvas


def _lung_vessels(rng: np.random.Generator, body: Body, side: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Courses and radii of a tree that starts at the hilum of one lung."""
    hilum = np.array((body.midline_mm + side * 38 + 14, 22, 22.0))
    open_ends = [(hilum + rng.normal(0, 5, 3), _direction(rng, side), rng.uniform(2.8, 5.0)) for _ in range(13)]
    while open_ends:
        start, direction, thick_mm = open_ends.pop()
        num_points, step_mm = int(rng.integers(11, 19)), 0.8 + 0.6 * thick_mm
        turns = rng.normal(0, 0.16, (num_points, 3)).cumsum(0)
        steps = direction + turns
        steps *= step_mm / np.linalg.norm(steps, axis=1, keepdims=True)
        points_P3 = start + steps.cumsum(0)
        yield points_P3, np.linspace(thick_mm, 0.82 * thick_mm, num_points)
        if thick_mm > 0.8:
            for _ in range(2):
                away = steps[-1] / step_mm + rng.normal(0, 0.5, 3)
                open_ends.append((points_P3[-1], away / np.linalg.norm(away), thick_mm * rng.uniform(0.58, 0.82)))


def _direction(rng: np.random.Generator, side: int) -> np.ndarray:
    way = rng.normal(0, 1, 3) * (0.5, 1, 1) + (side * 0.9, 0.1, -0.1)
    return np.asarray(way / np.linalg.norm(way))


def _paint_wall(canvas: Canvas, body: Body) -> None:
    """From the inside out: muscles between the ribs, muscles on them, fat, skin, air."""
    grid = canvas.grid
    height = np.sqrt(1 - np.minimum(0.9, (grid.z_mm - body.cavity_mm[2]) ** 2 / CAVITY_HEIGHT_MM**2))
    x, y = grid.x_mm - body.cavity_mm[0], (grid.y_mm - body.cavity_mm[1])[:, None]
    wide, deep = body.width_mm + RIB_LAYER_MM + body.muscle_mm, body.depth_mm + RIB_LAYER_MM + body.muscle_mm
    trunk = ellipse(x, y - 4, wide + body.skin_fat_mm, deep + 0.7 * body.skin_fat_mm)
    behind = np.clip(y / body.depth_mm, 0, 1) * np.float32(14)  # the muscles beside the spine are thickest
    for hu_HW, tall in zip(canvas.hu_ZHW, height, strict=True):
        cavity = ellipse(x, y, body.width_mm * float(tall), body.depth_mm * float(tall) ** 0.5)
        for inner, hu in (
            (-cavity, MUSCLE_HU - 22),
            (RIB_LAYER_MM - 1 - cavity, body.fat_hu * 0.6),
            (RIB_LAYER_MM + 1 - cavity, MUSCLE_HU + body.tissue_hu),
            (RIB_LAYER_MM + body.muscle_mm + behind - cavity, body.fat_hu),
            (-SKIN_MM - trunk, SKIN_HU),
            (-trunk, AIR_HU),
        ):
            hu_HW += np.clip(0.5 - inner / grid.pixel_mm, 0, 1) * (hu - hu_HW)


def _paint_ribs(rng: np.random.Generator, canvas: Canvas, body: Body, items: list[Item]) -> None:
    """Slanting ribs around the cavity, and the cartilages that join them to the sternum."""
    for rib in RIBS:
        for side in (-1, 1):
            head_z_mm = (rib + body.rib_phase) * RIB_PITCH_MM
            bone_P3, cartilage_P3 = _rib_course(body, side, head_z_mm)
            shape = tube(canvas.grid, bone_P3, 4.2, flat=0.68)
            canvas.paint(shape, CORTEX_HU * body.bone)
            canvas.paint(shape, MARROW_HU * body.bone, inset_mm=1.2)
            shape = tube(canvas.grid, cartilage_P3, 4.4, flat=0.75)
            rim_hu = float(CARTILAGE_HU + 190 * body.cartilage * rng.uniform(0.3, 1))
            canvas.paint(shape, rim_hu)
            if rim_hu >= CALCIFIED_HU:
                x_mm, y_mm, z_mm = cartilage_P3.mean(0).tolist()
                items.append(Item("bone or cartilage", (x_mm, y_mm, z_mm), 4.4, rim_hu))
            canvas.paint(shape, CARTILAGE_HU, inset_mm=1.1)


def _rib_course(body: Body, side: int, head_z_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of a rib and of its cartilage."""
    turn = np.radians(np.linspace(19, 172, 120))
    z_mm = head_z_mm - body.rib_fall_mm * np.minimum(turn / np.radians(140), 1) ** 1.3
    z_mm += 16 * np.clip((turn - np.radians(140)) / np.radians(32), 0, 1)  # cartilages rise
    tall = np.sqrt(1 - np.minimum(0.8, ((z_mm - body.cavity_mm[2]) / CAVITY_HEIGHT_MM) ** 2))
    x_mm = side * (body.width_mm * tall + 5.5) * np.sin(turn)
    y_mm = (body.depth_mm * tall**0.5 + 5.5) * np.cos(turn)
    around = body.cavity_mm * (1, 1, 0) + np.stack([x_mm, y_mm, z_mm], axis=1)
    head = np.array([shift(body.spine_mm, side * 17, 9, head_z_mm), shift(body.spine_mm, side * 30, 20, head_z_mm)])
    front = turn > np.radians(142)
    return smooth_line(np.concatenate([head, around[~front][::6]]), 3.0), smooth_line(around[front][::4], 3.0)


def behind_sternum_mm(body: Body) -> float:
    """y of the sternum's back, where it is thickest."""
    return float(_sternum_mm(body) + STERNUM_MM[1])


def _sternum_mm(body: Body) -> float:
    return float(body.cavity_mm[1] - body.depth_mm - 4)


def _paint_sternum(canvas: Canvas, body: Body) -> None:
    shape = ellipsoid(canvas.grid, np.array((body.midline_mm, _sternum_mm(body), 30.0)), STERNUM_MM)
    canvas.paint(shape, CORTEX_HU * 0.75 * body.bone)
    canvas.paint(shape, MARROW_HU * 0.8 * body.bone, inset_mm=1.3)


def _paint_spine(rng: np.random.Generator, canvas: Canvas, body: Body) -> None:
    """Discs as a column, and in it the vertebrae with arch, canal and processes."""
    grid, spine = canvas.grid, body.spine_mm
    middle_z_mm = float(grid.z_mm.mean())
    column = cylinder(grid, shift(spine, 0, 0, middle_z_mm), (17.5, 14.5), 1e3)
    canvas.paint(column, DISC_HU)
    lowest, highest = ((end - middle_z_mm) / VERTEBRA_MM for end in (grid.z_mm[0], grid.z_mm[-1]))
    for number in range(int(lowest) - 2, int(highest) + 3):
        z_mm = middle_z_mm + (number + body.disc_phase) * VERTEBRA_MM
        _paint_vertebra(canvas, body, shift(spine, 0, 0, z_mm))
    canvas.paint(cylinder(grid, shift(spine, 0, 22, middle_z_mm), (8.5, 7.5), 1e3), CANAL_HU)
    _roughen(rng, canvas, column.box)


def _paint_vertebra(canvas: Canvas, body: Body, at: np.ndarray) -> None:
    grid = canvas.grid
    cortex, marrow = CORTEX_HU * body.bone, MARROW_HU * body.bone
    for side in (-1, 1):
        process = tube(grid, smooth_line([shift(at, side * 12, 15, 5), shift(at, side * 32, 25, 3)], 2.0), 4.6)
        canvas.paint(process, cortex)
        canvas.paint(process, marrow, inset_mm=1.4)
    process = tube(grid, smooth_line([shift(at, 0, 31, 0), shift(at, 0, 52, -14)], 2.0), 3.6, flat=0.5)
    canvas.paint(process, cortex)
    canvas.paint(process, marrow, inset_mm=1.2)
    arch = cylinder(grid, shift(at, 0, 21, 2), (15, 13), 9.0)
    canvas.paint(arch, cortex)
    canvas.paint(arch, marrow * 1.5, inset_mm=2.0)
    whole = cylinder(grid, at, (18.5, 15.0), 10.4)
    canvas.paint(whole, cortex * 0.55)
    canvas.paint(whole, marrow, inset_mm=1.2)
    for side in (-1, 1):  # facet joints are the densest bone of the chest
        canvas.paint(ellipsoid(grid, shift(at, side * 13.5, 24, 9), (3, 2.2, 5)), DENSE_HU * body.bone)


def _roughen(rng: np.random.Generator, canvas: Canvas, box: tuple[slice, slice, slice]) -> None:
    """Spongy bone is no even grey."""
    part = canvas.hu_ZHW[box]
    grain = ndimage.gaussian_filter(rng.standard_normal(part.shape, dtype=np.float32), (0.6, 1.3, 1.3))
    part *= 1 + np.where(part > 110, np.float32(0.9), np.float32(0)) * grain


def _paint_abdomen(canvas: Canvas, body: Body) -> None:
    """The two domes of the diaphragm, filled with fat, and in it liver, spleen and stomach with its bubble of gas."""
    dome_mm, mid = body.diaphragm_mm, body.midline_mm
    domes = (
        ellipsoid(canvas.grid, np.array((mid - 58, 16, dome_mm - 95)), (78, 84, 95)),
        ellipsoid(canvas.grid, np.array((mid + 62, 12, dome_mm - 108)), (76, 82, 96)),
        ellipsoid(canvas.grid, np.array((mid + 18, -16, dome_mm - 106)), (70, 56, 92)),
    )
    for inset_mm, hu in ((0.0, MUSCLE_HU + body.tissue_hu), (2.5, body.fat_hu)):
        for dome in domes:
            canvas.paint(dome, hu, inset_mm=inset_mm)
    for middle, axes, hu in (
        ((mid - 58, 16, dome_mm - 97), (76, 82, 95), 57.0),  # liver
        ((mid + 14, -18, dome_mm - 109), (68, 53, 91), 57.0),  # its left lobe, on which the heart lies
        ((mid + 92, 46, dome_mm - 110), (38, 46, 84), 48.0),  # spleen
        ((mid + 66, -2, dome_mm - 112), (50, 56, 92), 42.0),  # stomach
        ((mid + 66, -24, dome_mm - 96), (24, 20, 48), -980.0),
    ):
        organ = ellipsoid(canvas.grid, np.array(middle, float), axes)
        canvas.paint(organ, hu + body.tissue_hu)
