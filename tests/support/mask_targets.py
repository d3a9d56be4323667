"""The volumes of studies to which masks are brought in tests. Axes: Z slice, H row, W column."""

from __future__ import annotations

import numpy as np

from cac_hpc.masks.masks import Target
from cac_hpc.volumes import placement
from cac_hpc.volumes.frame import AS_STORED
from cac_hpc.volumes.placement import Placement

SUPINE = (1, 0, 0, 0, 1, 0)


def at(first_mm: tuple[float, float, float] = (-10.0, -20.0, 50.0)) -> Placement:
    last_mm = (*first_mm[:2], first_mm[2] + 9)
    return placement.of_slices(first_mm, last_mm, 4, SUPINE, (6, 8), (0.5, 0.5), AS_STORED)


TARGET = Target(at(), (3.0, 0.5, 0.5), np.zeros((4, 6, 8), np.int16), AS_STORED)

SHAPE, SPACING_MM = (5, 20, 30), (3.0, 0.5, 1.0)
UNPLACED = Target(None, SPACING_MM, np.zeros(SHAPE, np.int16), AS_STORED, "patient")
