"""Pictures of the heart that are kept of a study, so that people see later which calcium counted and which did not.

Axes: N views, S row and column of a view, Z slices, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cac_hpc.calcium import heart
from cac_hpc.calcium.agatston import Spacing
from cac_hpc.calcium.candidates import NAMES, Candidates
from cac_hpc.calcium.heart import Heart
from cac_hpc.volumes import frame

SIZE = 256  # pixels per side of a view
MOST_SLICES = 12
MARGIN_MM = 25.0  # of the square, around the heart's box
WINDOW_HU = (-200, 600)  # black and white: fat, muscle and calcium differ in it
PROJECTION = -1  # in place of the number of a slice


@dataclass(frozen=True)
class Views:
    """Views of a study, all of the same square around its heart.

    image_NSS: (N, S, S) uint8, 0 to 255 over window_hu. slice_N: (N,) int32, in ascending order: PROJECTION is the
    brightest voxel of all slices, others are numbers of slices. window_hu: HU of 0 and of 255. box: first row, row
    after the last, first column, column after the last of the scanner's slices, which the views show.
    """

    image_NSS: np.ndarray
    slice_N: np.ndarray
    window_hu: tuple[int, int]
    box: tuple[int, int, int, int]


def make(hu_ZHW: np.ndarray, spacing_mm: Spacing, there: Heart, found: Candidates) -> Views:
    """Draw the projection of all slices, and the slices with the most calcium.

    Args:
        hu_ZHW: (Z, H, W) int16 HU, at the scanner's own resolution. spacing_mm: between slices, rows and columns.
        there: where the heart is. found: the candidates of the study.
    """
    box = heart.square_around(there.box, MARGIN_MM, spacing_mm, hu_ZHW.shape)
    top, bottom, left, right = box
    square_ZHW = hu_ZHW[:, top:bottom, left:right]
    slices = chosen_slices(found, there.box)
    shown = [square_ZHW.max(axis=0), *square_ZHW[slices]]
    image_NSS = np.stack([_grey(frame.to_size(hu_HW, SIZE)) for hu_HW in shown])
    return Views(image_NSS, np.array([PROJECTION, *slices], np.int32), WINDOW_HU, box)


def chosen_slices(found: Candidates, box: tuple[int, int, int, int]) -> np.ndarray:
    """The at most MOST_SLICES slices that are shown, in ascending order.

    First those with the highest Agatston score of candidates that reach into the heart's region, then those with the
    highest score of candidates whose middle lies in the heart's box, as few bones do; a slice without either is not
    shown.

    Args:
        box: of the heart, as in Heart.
    """
    if not len(found):
        return np.zeros(0, np.int64)
    middle_C2 = np.add.reduceat(found.voxel_V3[:, 1:].astype(float), found.start_C1[:-1])
    middle_C2 /= np.diff(found.start_C1)[:, None]
    near_C = np.all((middle_C2 >= box[::2]) & (middle_C2 < box[1::2]), axis=1)
    reaches_C = found.feature_CF[:, NAMES.index("region_share")] > 0
    inside_Z, near_Z = (
        np.bincount(found.slice_L, found.agatston_L * shown_C[found.candidate_L]) for shown_C in (reaches_C, near_C)
    )
    order = np.lexsort((-near_Z, -inside_Z))  # of equal ones the first
    return np.sort(order[(inside_Z + near_Z)[order] > 0][:MOST_SLICES])


def _grey(hu_SS: np.ndarray) -> np.ndarray:
    low, high = WINDOW_HU
    return np.asarray((np.clip(hu_SS, low, high).astype(np.int32) - low) * 255 // (high - low), np.uint8)
