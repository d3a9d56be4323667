"""How noisy a volume is, and how large its patient: two numbers by which studies form groups.

On the grid of `chest`, where the heart was found. Axes: as in `chest`; T tile.
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from cac_hpc.calcium import chest, planes
from cac_hpc.calcium.chest import AIR_HU, LUNG_HU, Grid
from cac_hpc.calcium.heart import Heart

TILE = 3  # grid pixels per side, about 6 mm
FEWEST_TILES = 50  # else the noise is not told
ARM_MM = 12.0  # tables, leads and folds of cloth are thinner
RIM_MM = 6.0  # so far from the edge of the field of view the chest ends, at least
LUNG_SHARE = 0.8  # of what is as dark as lung, inside of the chest, at least
WHOLE_SHARE = 0.5  # of the slices through the heart's core on which the whole chest is seen, at least


def noise_hu(hu_ZHW: np.ndarray, found: Heart) -> float:
    """Image noise: median of the SD of HU in squares of about 6 mm, all of them far inside of the heart; NaN of few.

    Blood and muscle differ by some HU only without contrast agent, and the median leaves out squares with fat or
    calcium in them.

    Source: Christianson et al. 2015, AJR 205:W93-W99 (global noise: the usual SD of small regions of soft tissue).
    """
    (down, across), (z, y, x) = found.chest.grid.factors, planes.bounds(found.chest.core)
    core = found.chest.core[z, y, x]
    height, width = (size // TILE * TILE for size in core.shape[1:])
    whole_T = _tiles(core[:, :height, :width]).all(axis=(2, 4))
    if whole_T.sum() < FEWEST_TILES:
        return math.nan
    rows = slice(y.start * down, (y.start + height) * down)
    columns = slice(x.start * across, (x.start + width) * across)
    hu = hu_ZHW[z, rows, columns].reshape(len(core), height // TILE, TILE * down, width // TILE, TILE * across)
    return float(np.median(hu.astype(np.float32).std(axis=(2, 4), ddof=1)[whole_T]))


def _tiles(part: np.ndarray) -> np.ndarray:
    """(z, rows of tiles, TILE, columns of tiles, TILE)."""
    return part.reshape(len(part), part.shape[1] // TILE, TILE, part.shape[2] // TILE, TILE)


def effective_diameter_mm(found: Heart) -> float:
    """Diameter of the circle that has the area of the chest, median of the slices through the heart's core.

    NaN where the field of view, taken as the circle in the image, does not hold the whole chest, as is usual of cardiac
    exams.

    Source: AAPM Report 204 (2011), effective diameter; its measurement from the area: AAPM Report 220 (2014).
    """
    grid = found.chest.grid
    slices = np.flatnonzero(found.chest.core.any((1, 2)))
    areas = [_area_mm2(grid.hu[index], grid) for index in slices]
    known = [area for area in areas if not math.isnan(area)]
    if len(known) < WHOLE_SHARE * len(areas):
        return math.nan
    return float(2 * math.sqrt(np.median(known) / math.pi))


def _area_mm2(hu: np.ndarray, grid: Grid) -> float:
    """Area of the chest on a slice, what it encloses included; NaN where it reaches the edge of the field of view."""
    element = chest.disc(ARM_MM / 2, grid)[0]
    opened = scipy.ndimage.binary_opening(scipy.ndimage.binary_fill_holes(hu > AIR_HU), element)
    labels, count = scipy.ndimage.label(opened)
    if not count:
        return math.nan
    body = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    row, column = np.nonzero(body)
    pixel_mm = grid.spacing_mm[1]
    middle = [(size - 1) / 2 for size in hu.shape]
    farthest_mm = np.hypot(row - middle[0], column - middle[1]).max() * pixel_mm
    inside = farthest_mm <= min(hu.shape) / 2 * pixel_mm - RIM_MM
    lung = (hu > LUNG_HU[0]) & (hu < LUNG_HU[1])
    whole = np.count_nonzero(lung & body) >= LUNG_SHARE * np.count_nonzero(lung)  # else its wall is open somewhere
    return float(body.sum() * pixel_mm**2) if inside and whole else math.nan
