"""Bring slices to one size by area averaging. Axes: Z slice, H row, W column."""

from __future__ import annotations

import numpy as np


def to_size(hu_ZHW: np.ndarray, size: int) -> np.ndarray:
    """Resample every slice to size x size pixels that cover the same field of view.

    Each new pixel is the area-weighted mean of the old pixels below it, so small bright lesions keep their sum and
    nothing rings or aliases; a larger size repeats pixels.

    Args:
        hu_ZHW: (Z, H, W) int16, HU.
    Returns: (Z, size, size) int16, HU, rounded to the nearest integer.
    """
    _, height, width = hu_ZHW.shape
    if height == width == size:
        return hu_ZHW
    rows, columns = _overlap(height, size), _overlap(width, size)
    return np.stack([np.rint(rows @ hu_HW.astype(np.float64) @ columns.T).astype(np.int16) for hu_HW in hu_ZHW])


def _overlap(old: int, new: int) -> np.ndarray:
    """(new, old) share that each old pixel has in each new one; rows sum to 1."""
    old_edges = np.arange(old + 1) / old
    new_edges = np.arange(new + 1) / new
    upper = np.minimum(new_edges[1:, None], old_edges[None, 1:])
    lower = np.maximum(new_edges[:-1, None], old_edges[None, :-1])
    return np.asarray(np.clip(upper - lower, 0, None) * new)
