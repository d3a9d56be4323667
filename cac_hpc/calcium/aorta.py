"""The ascending aorta as a landmark: the coronary arteries leave it, and its wall and valve calcify beside them.

On the grid of `chest`. It is found above the middle of the heart, where fat, lung and other vessels show its outline,
and continued downwards as a straight tube. Axes: D discs of tissue, P points; otherwise as in `chest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy

from cac_hpc.calcium import chest
from cac_hpc.calcium.heart import Surroundings

MEAN_MM, SOFT_HU = 9.0, 0.0  # means are taken over so much along z; above fat
RADIUS_MM = (10.0, 22.0)
USUAL_MM, USUAL_RADIUS_MM = (-14.0, -12.0), 15.0  # to the left and back of the middle of the heart's box
LEFT_MM, BACK_MM = (-45.0, 12.0), (-40.0, 25.0)  # of it: where its middle can be
LEFT_TILTS, BACK_TILTS = np.arange(-3, 4) * 0.2, np.arange(-3, 1) * 0.2  # mm per mm upwards; leaning back is the
# pulmonary trunk, which lies in front
HIGHER_MM, WEIGHTS = 30.0, (0.3, 2.0)  # a disc counts so much the more above the core's top, the less below it:
# lower down atria bulge like vessels, higher up the pulmonary trunk has ended
SAME_MM = 5.0  # from the axis: discs of one vessel
HEIGHT_MM = 12.0  # on which it is seen, at least
BEYOND_MM = 15.0  # its ends: so far the axis is continued
STIFF = 20.0  # how strongly the axis is held upright: as so many discs 1 mm farther from their mean height


@dataclass(frozen=True)
class AscendingAorta:
    """A straight tube. Places are mm to the left and back of the middle of the heart's box, heights mm above slice 0.

    middle_mm: left, back of its axis at height_mm; tilt: what is added to them per mm upwards. ends_mm: heights between
    which it was seen. found: whether it was seen at all; else it stands where it usually does.
    """

    middle_mm: tuple[float, float]
    height_mm: float
    tilt: tuple[float, float]
    ends_mm: tuple[float, float]
    radius_mm: float
    found: bool

    def from_axis(self, left_P: np.ndarray, back_P: np.ndarray, height_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far to the left and back of the axis points are, in mm, (P,) each."""
        up_P = np.clip(height_P, self.ends_mm[0] - BEYOND_MM, self.ends_mm[1] + BEYOND_MM) - self.height_mm
        left_P, back_P = (
            place_P - middle - tilt * up_P
            for place_P, middle, tilt in zip((left_P, back_P), self.middle_mm, self.tilt, strict=True)
        )
        return left_P, back_P


def find(there: Surroundings, box: tuple[int, int, int, int]) -> AscendingAorta:
    """Find the ascending aorta.

    Args:
        there: the chest around the heart. box: of the heart, as in Heart.
    """
    disc_D4 = _discs(there, box)
    top_mm = float(np.flatnonzero(there.core.any((1, 2)))[-1] * there.grid.spacing_mm[0])
    if len(disc_D4):
        disc_D4 = disc_D4[_same(disc_D4, there.grid.spacing_mm[0], top_mm)]
    height_D = disc_D4[:, 0]
    if len(np.unique(height_D)) * there.grid.spacing_mm[0] < HEIGHT_MM:
        return AscendingAorta(USUAL_MM, top_mm, (0.0, 0.0), (top_mm, top_mm), USUAL_RADIUS_MM, found=False)
    middle_mm = height_D.mean()
    up_D2 = np.stack([np.ones(len(height_D)), height_D - middle_mm], axis=1)
    (left, back), (left_tilt, back_tilt) = np.linalg.solve(
        up_D2.T @ up_D2 + np.diag([0, STIFF]), up_D2.T @ disc_D4[:, 1:3]
    )
    ends_mm = float(height_D.min()), float(height_D.max())
    radius_mm = float(np.median(disc_D4[:, 3]))
    return AscendingAorta(
        (float(left), float(back)), float(middle_mm), (float(left_tilt), float(back_tilt)), ends_mm, radius_mm, True
    )


def _discs(there: Surroundings, box: tuple[int, int, int, int]) -> np.ndarray:
    """Discs of tissue as wide as an aorta, where it can be: height, left, back, radius in mm, (D, 4)."""
    grid, core = there.grid, np.flatnonzero(there.core.any((1, 2)))
    slice_mm, pixel_mm = grid.spacing_mm
    first = int(core[0] + core[-1]) // 2
    row, column = ((box[at] + box[at + 1]) / 2 / factor for at, factor in zip((0, 2), grid.factors, strict=True))
    place = chest.around((row, row), BACK_MM, (column, column), LEFT_MM, RADIUS_MM[1], grid)
    mean = scipy.ndimage.uniform_filter1d(grid.hu[place], max(1, round(MEAN_MM / slice_mm)), axis=0, mode="nearest")
    z, y, x, radius_D = chest.peaks(((mean > SOFT_HU) & ~there.bone[place])[first:], RADIUS_MM, 7, grid)
    y_D, x_D = y + place[1].start, x + place[2].start
    left_D, back_D = (x_D + 0.5 - column) * pixel_mm, (y_D + 0.5 - row) * pixel_mm
    fits = (left_D > LEFT_MM[0]) & (left_D < LEFT_MM[1]) & (back_D > BACK_MM[0]) & (back_D < BACK_MM[1])
    return np.asarray(np.stack([(z + first) * slice_mm, left_D, back_D, radius_D], axis=1)[fits], float)


def _same(disc_D4: np.ndarray, slice_mm: float, top_mm: float) -> np.ndarray:
    """Which discs are one vessel, (D,) bool: the longest that is upright, high and near the usual place.

    Args:
        top_mm: height of the highest slice of the heart's core.
    """
    height_D, place_D2 = disc_D4[:, 0], disc_D4[:, 1:3]
    weight_D = np.clip(1 + (height_D - top_mm) / HIGHER_MM, *WEIGHTS)
    best, chosen_D = -np.inf, np.zeros(len(disc_D4), bool)
    unusual_D = 0.02 * ((place_D2 - USUAL_MM) ** 2).sum(axis=1)
    for tilt in product(LEFT_TILTS, BACK_TILTS):
        upright_D2 = place_D2 - height_D[:, None] * tilt
        pair_P2 = scipy.spatial.cKDTree(upright_D2).query_pairs(SAME_MM, output_type="ndarray")
        one_P, other_P = np.concatenate([pair_P2, pair_P2[:, ::-1]]).T
        height_mm_D = slice_mm * (weight_D + np.bincount(one_P, weight_D[other_P], len(disc_D4)))
        length_D = height_mm_D - 9 * (abs(tilt[0]) + abs(tilt[1])) - unusual_D
        if length_D.max() > best:
            best, middle_2 = float(length_D.max()), upright_D2[int(length_D.argmax())]
            chosen_D = ((upright_D2 - middle_2) ** 2).sum(axis=1) <= SAME_MM**2
    return chosen_D
