"""The Agatston calcium score of a volume inside a given mask. Axes: Z slices, H rows, W columns."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

THRESHOLD_HU = 130
WEIGHT_STEPS_HU = (200, 300, 400)  # a lesion's maximum at or above each step adds 1 to its weight of 1
REFERENCE_SPACING_MM = 3.0  # the rule was written for contiguous slices of 3 mm
_IN_PLANE = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], dtype=bool)  # 8 neighbours, none across z


def score_volume(
    hu_ZHW: np.ndarray,
    mask_ZHW: np.ndarray,
    pixel_spacing_mm: float,
    slice_spacing_mm: float,
    *,
    min_area_mm2: float = 1.0,
) -> float:
    """Add up the Agatston scores of all lesions inside a mask.

    A lesion is a group of 8-connected pixels of one slice, inside the mask, each at 130 HU or more, with an area of at
    least ``min_area_mm2``. It counts its area in mm2 times 1, 2, 3 or 4 for a maximum of 130-199, 200-299, 300-399, or
    400 HU and more. The sum is scaled from the spacing of the slices to the 3 mm of the original rule.

    Args:
        hu_ZHW: (Z, H, W) HU.
        mask_ZHW: (Z, H, W) bool, where calcium is coronary; bone outside the mask does not count.
        pixel_spacing_mm: edge of a square pixel.
        slice_spacing_mm: distance between slice centres.
    Returns: the score, 0.0 when there is no lesion.
    Raises: ValueError if volume and mask differ in shape.
    Source: Agatston et al. 1990, J Am Coll Cardiol 15:827-832. The factor spacing / 3 mm is the usual adjustment for
        other slice spacings; the original has none, because all its slices were 3 mm apart.
    """
    if hu_ZHW.shape != mask_ZHW.shape:
        raise ValueError(f"volume is {hu_ZHW.shape}, but mask is {mask_ZHW.shape}: both must be the same (Z, H, W)")
    candidate_ZHW = (hu_ZHW >= THRESHOLD_HU) & mask_ZHW.astype(bool, copy=False)
    boxes = ndimage.find_objects(candidate_ZHW.view(np.uint8))
    if not boxes:
        return 0.0
    lesions, num_lesions = ndimage.label(candidate_ZHW[boxes[0]], structure=_IN_PLANE)
    index = np.arange(1, num_lesions + 1)
    maximum_hu = ndimage.maximum(hu_ZHW[boxes[0]], lesions, index)
    area_mm2 = np.bincount(lesions.ravel(), minlength=num_lesions + 1)[1:] * pixel_spacing_mm**2
    weight = 1 + np.digitize(maximum_hu, WEIGHT_STEPS_HU)
    counted = area_mm2 >= min_area_mm2
    return float(np.sum((area_mm2 * weight)[counted]) * slice_spacing_mm / REFERENCE_SPACING_MM)
