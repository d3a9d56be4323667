"""A chest of simple solids, in which everything's place is known: for tests of what finds the heart.

Axes: Z slices from the feet up, H rows to the back, W columns to the patient's left; mm from the middle of the heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from cac_hpc.volumes import dicom
from tests.support.poison import EXAM

SPACING_MM = (3.0, 0.8, 0.8)
AORTA_MM, SPINE_MM = (62.0, 8.0), (76.0, -20.0)  # y, x


@dataclass(frozen=True)
class Solids:
    """A chest in HU and where things are in it, (Z, H, W) bool."""

    hu_ZHW: np.ndarray
    heart: np.ndarray  # with its fat
    fat: np.ndarray  # on it
    spine: np.ndarray
    ribs: np.ndarray  # and sternum
    aorta: np.ndarray


def chest(view_mm: float = 360.0, num_slices: int = 44, noise_hu: float = 15.0, heart: bool = True) -> Solids:
    """Draw a chest and cut a square field of view around the heart out of it; lesions are the test's.

    heart: whether there are heart and liver.
    """
    half = np.arange(-view_mm / 2, view_mm / 2, SPACING_MM[1])
    z = ((np.arange(num_slices) - num_slices / 2) * SPACING_MM[0])[:, None, None]
    y, x = half[:, None], half
    spread = np.ones((num_slices, 1, 1), bool)

    def ellipse(middle: tuple[float, float], depth: float, width: float) -> np.ndarray:
        return np.hypot((y - middle[0]) / depth, (x - middle[1]) / width) <= 1

    hu = np.full((num_slices, len(half), len(half)), -1000.0)
    hu[:, ellipse((10, -10), 118, 160)] = -95  # fat under the skin
    wall = ellipse((10, -10), 100, 142)
    hu[:, wall] = 50
    cavity = ellipse((10, -10), 88, 125)
    hu[:, cavity] = -840
    hu[:, (np.abs(x + 12) < 26) & cavity] = -90  # fat between the lungs
    liver = (np.hypot(z + 75, np.hypot(y - 5, x + 60)) < 62) & cavity
    ball = np.hypot(z / 56, np.hypot(y + 12, x - 4) / 54) <= 1
    muscle = np.hypot(z / 50, np.hypot(y + 12, x - 4) / 47) <= 1
    if heart:
        hu[liver], hu[ball & cavity], hu[muscle] = 55, -90, 42
    aorta = ellipse(AORTA_MM, 13, 13) & spread
    hu[aorta] = 42
    ribs = (np.abs(ellipse((10, -10), 96, 137) ^ ellipse((10, -10), 89, 127)) & (np.abs(x + 10) > 30)) & (z % 24 < 12)
    ribs = ribs | (ellipse((-84, -12), 6, 16) & spread)
    spine = (ellipse(SPINE_MM, 15, 19) & spread) | (ellipse((106, -20), 12, 10) & spread)
    hu[ribs], hu[spine] = 420, 160
    hu[spine & ~ndimage.binary_erosion(spine, np.ones((1, 5, 5)))] = 420
    noise = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(hu.shape), (0, 0.7, 0.7))
    hu += noise * noise_hu / noise.std()
    there = ball & cavity & heart
    stored = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return Solids(stored, there, there & ~muscle, spine, ribs, aorta)


def with_lesion(hu_ZHW: np.ndarray, y_mm: float, x_mm: float, slices: slice, hu: int = 500) -> np.ndarray:
    """The same volume with a lesion of 4 mm there."""
    changed = hu_ZHW.copy()
    row, column = (round(mm / SPACING_MM[1] + hu_ZHW.shape[1] / 2) for mm in (y_mm, x_mm))
    changed[slices, row - 2 : row + 3, column - 2 : column + 3] = hu
    return changed


def write_study(folder: Path, hu_ZHW: np.ndarray, **attributes: object) -> None:
    """Write such a volume as the files of a study."""
    dicom.write_series(
        folder,
        hu_ZHW,
        pixel_spacing_mm=SPACING_MM[1],
        slice_spacing_mm=SPACING_MM[0],
        first_z_mm=-60.0,
        uid_entropy=["chest", folder.name],
        attributes={**EXAM, **attributes},
    )
