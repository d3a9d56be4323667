"""What is dense in a chest and not coronary calcium: a list by kind, and the voxels of each kind.

Axes: Z slices, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cac_hpc.phantom.canvas import Box
from cac_hpc.phantom.formation import MARGIN, Raster

KINDS = (
    "bone or cartilage", "gastrointestinal contents", "lead", "aortic wall", "aortic root", "aortic valve",
    "mitral ring", "lymph node", "lung", "noise",
)  # fmt: skip
DENSE_HU = 110.0  # of a drawn voxel, at least
ADDED_HU = 25.0  # to a voxel by a calcification, at least


@dataclass(frozen=True)
class Item:
    """Something dense that is not coronary calcium: its kind, the middle in mm, half its width, HU when it is full."""

    kind: str
    at_mm: tuple[float, float, float]
    radius_mm: float
    hu: float


@dataclass(frozen=True)
class Inventory:
    """What was put into a patient: items, and in each voxel the number of its kind from 1, uint8 (Z, H, W), else 0."""

    items: list[Item]
    kind_ZHW: np.ndarray

    def add(self, item: Item, box: Box, added_ZHW: np.ndarray) -> None:
        """List an item and mark its voxels; ``added_ZHW`` is the HU that it adds to a box."""
        self.items.append(item)
        self.mark(item.kind, box, added_ZHW >= ADDED_HU)

    def mark(self, kind: str, box: Box, inside_ZHW: np.ndarray) -> None:
        """Mark some voxels of a box."""
        self.kind_ZHW[box][inside_ZHW] = 1 + KINDS.index(kind)

    def mark_drawn(self, kind: str, raster: Raster, inside_zhw: np.ndarray) -> None:
        """Mark voxels that are given on the grid that was drawn on."""
        inner = slice(MARGIN, raster.size - MARGIN)
        for index in np.flatnonzero(inside_zhw.any((1, 2))).tolist():
            fine_HW = inside_zhw[index].repeat(raster.factor, 0).repeat(raster.factor, 1)[inner, inner]
            self.kind_ZHW[index][fine_HW] = 1 + KINDS.index(kind)
