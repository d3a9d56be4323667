"""Groups of noise that reach the threshold of calcium, as a scanner's noise does in soft tissue now and then.

Axes: Z slices, H rows, W columns; h, w those of a small window; P points of the arteries.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from cac_hpc.calcium.agatston import WEIGHT_STEPS_HU
from cac_hpc.phantom.canvas import Grid, ellipse
from cac_hpc.phantom.habitus import Body
from cac_hpc.phantom.objects import Inventory, Item
from cac_hpc.settings.score_command import RuleConfig

MEDIAN, MOST, SPREAD = 8.0, 26, 0.8  # groups in a patient: lognormal
AREA_MM2, PEAK_HU, MOST_MM2 = (1.1, 3.8), (136.0, 178.0), 4.4
SOFT_HU, WINDOW_MM, EVEN_HU = (15.0, 75.0), 5.0, 34.0  # mean and SD around a group
WIDTHS_MM = np.linspace(0.5, 1.6, 23)  # SD of a group, the narrowest that is wide enough is taken
CLEAR_MM = 8.0  # from the middle of a coronary artery: a plaque there would look the same
HEART_MM = 55.0  # from its middle: the places that are tried
ATTEMPTS = 80  # places tried for each group


def add_groups(
    rng: np.random.Generator,
    hu_ZHW: np.ndarray,
    grid: Grid,
    body: Body,
    arteries_P3: np.ndarray,
    inventory: Inventory,
) -> None:
    """Raise noise to the threshold in some places of soft tissue inside the chest, in place.

    Args:
        hu_ZHW: float32 HU as scanned. arteries_P3: points of the coronary arteries, of which they keep clear.
    """
    wanted = min(MOST, int(MEDIAN * np.exp(rng.normal(0, SPREAD))))
    half, made = round(WINDOW_MM / grid.pixel_mm), 0
    places = _places(rng, hu_ZHW, grid, body, arteries_P3, wanted * ATTEMPTS)
    while made < wanted and (place := next(places, None)) is not None:
        z, y, x = place
        box = (slice(z, z + 1), slice(y - half, y + half + 1), slice(x - half, x + half + 1))
        peak_hu, area_mm2 = float(rng.uniform(*PEAK_HU)), float(rng.uniform(*AREA_MM2))
        bump_hw = _bump(hu_ZHW[box][0], grid.pixel_mm, peak_hu, area_mm2)
        if bump_hw is not None:
            hu_ZHW[box] += bump_hw
            at_mm = (float(grid.x_mm[x]), float(grid.y_mm[y]), float(grid.z_mm[z]))
            inventory.add(Item("noise", at_mm, float(np.sqrt(area_mm2 / np.pi)), peak_hu), box, bump_hw[None])
            made += 1


def _places(
    rng: np.random.Generator, hu_ZHW: np.ndarray, grid: Grid, body: Body, arteries_P3: np.ndarray, attempts: int
) -> Iterator[tuple[int, int, int]]:
    """Voxels in even soft tissue between the lungs' outer ends, not on a coronary artery."""
    half = round(WINDOW_MM / grid.pixel_mm)
    depth, height, width = hu_ZHW.shape
    tried = rng.integers((0, half, half), (depth, height - half, width - half), (attempts, 3)).tolist()
    for z, y, x in tried:
        at_mm = np.array((grid.x_mm[x], grid.y_mm[y], grid.z_mm[z]))
        if np.linalg.norm(at_mm) > HEART_MM:
            continue
        off_mm = at_mm - body.cavity_mm
        if float(ellipse(off_mm[:1], off_mm[1:2], body.width_mm, body.depth_mm)[0]) > -6.0:
            continue
        window_hw = hu_ZHW[z, y - half : y + half + 1, x - half : x + half + 1]
        if not SOFT_HU[0] < window_hw.mean() < SOFT_HU[1] or window_hw.std() > EVEN_HU:
            continue
        if np.linalg.norm(arteries_P3 - at_mm, axis=1).min() > CLEAR_MM:
            yield z, y, x


def _bump(window_hw: np.ndarray, pixel_mm: float, peak_hu: float, area_mm2: float) -> np.ndarray | None:
    """HU (h, w) to add, so wide that the group has the area wanted; None if no width gives it."""
    half = window_hw.shape[0] // 2
    away_mm = np.arange(-half, half + 1) * pixel_mm
    square_hw = away_mm**2 + away_mm[:, None] ** 2
    for width_mm in WIDTHS_MM:
        bump_hw = np.exp(-square_hw / (2 * width_mm**2)) * (peak_hu - window_hw[half, half])
        raised_hw = np.rint(window_hw + bump_hw)
        labels_hw, _ = ndimage.label(raised_hw >= RuleConfig.threshold_hu, np.ones((3, 3)))
        found_mm2 = (labels_hw == labels_hw[half, half]).sum() * pixel_mm**2
        if found_mm2 >= area_mm2:
            fits = raised_hw.max() < WEIGHT_STEPS_HU[0] and found_mm2 <= MOST_MM2
            return np.asarray(bump_hw, np.float32) if fits else None
    return None
