"""Bright contents of stomach and bowel below the heart: food, tablets, what is left of contrast agent.

Axes: P points along a loop of bowel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cac_hpc.phantom.canvas import Canvas, ellipsoid, shift, smooth_line, tube
from cac_hpc.phantom.habitus import Body
from cac_hpc.phantom.objects import Item

BRIGHT_HU, SIZE_MM = (140.0, 600.0), (1.0, 6.0)
WALL_HU, GAS_HU, STOOL_HU = 38.0, -900.0, 30.0


def paint_contents(rng: np.random.Generator, canvas: Canvas, body: Body) -> list[Item]:
    """Paint a loop of bowel under the left dome, and pieces in it and in the stomach; returns the pieces."""
    items = []
    stomach = np.array((body.midline_mm + 66, 4.0, body.diaphragm_mm - 70))
    for _ in range(int(rng.integers(2, 13))):
        items.append(_piece(rng, canvas, stomach + rng.normal(0, 1, 3) * (16, 18, 18)))
    for loop_P3 in _loops(rng, body):
        radius_mm = float(rng.uniform(8, 15))
        shape = tube(canvas.grid, loop_P3, radius_mm)
        canvas.paint(shape, WALL_HU)
        canvas.paint(shape, GAS_HU if rng.uniform() < 0.5 else STOOL_HU, inset_mm=2.0)
        for _ in range(int(rng.integers(0, 7))):
            at = loop_P3[int(rng.integers(len(loop_P3)))] + rng.normal(0, 0.4, 3) * radius_mm
            items.append(_piece(rng, canvas, at))
    return items


def _loops(rng: np.random.Generator, body: Body) -> Iterator[np.ndarray]:
    """Middle lines of the bend of the colon at the left, and of the part that crosses in front of the stomach."""
    corner = np.array((body.midline_mm + 84, 10.0, body.diaphragm_mm - 54)) + rng.normal(0, 5, 3)
    below = shift(corner, 6, 20, -110)
    front = shift(corner, -22, -46, -22)
    yield smooth_line([below, shift(corner, 4, 8, -40), corner, front], 3.0)
    if rng.uniform() < 0.6:
        yield smooth_line([front, shift(front, -42, -6, -12), shift(front, -90, 2, -20)], 3.0)


def _piece(rng: np.random.Generator, canvas: Canvas, at: np.ndarray) -> Item:
    half_mm, hu = rng.uniform(*SIZE_MM) * rng.uniform(0.6, 1.4, 3), float(rng.uniform(*BRIGHT_HU))
    canvas.paint(ellipsoid(canvas.grid, at, half_mm), hu)
    x_mm, y_mm, z_mm = at.tolist()
    return Item("gastrointestinal contents", (x_mm, y_mm, z_mm), float(half_mm.mean()), hu)
