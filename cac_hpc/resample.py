"""Bring slices to one size by area averaging. Axes: H row, W column."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def to_size(hu_HW: np.ndarray, size: int) -> np.ndarray:
    """Resample a slice to size x size pixels that cover the same field of view.

    Each new pixel is the area-weighted mean of the old pixels below it, so small bright lesions keep their sum and
    nothing rings or aliases; a larger size repeats pixels.

    Args:
        hu_HW: (H, W) int16, HU.
    Returns: (size, size) int16, HU, rounded to the nearest integer, halves up.
    """
    height, width = hu_HW.shape
    if height == width == size:
        return hu_HW
    if height == width and height % size == 0:
        return _block_means(hu_HW, height // size)
    mean: np.ndarray = _overlap(height, size) @ hu_HW.astype(np.float64) @ _overlap(width, size).T
    return np.asarray(np.floor(mean + 0.5), np.int16)


def _block_means(hu_HW: np.ndarray, side: int) -> np.ndarray:
    """Means of blocks of side x side pixels."""
    rows = hu_HW[::side].astype(np.int32)
    for offset in range(1, side):
        rows += hu_HW[offset::side]
    total = rows[:, ::side].copy()
    for offset in range(1, side):
        total += rows[:, offset::side]
    total += side * side // 2
    return (total // (side * side)).astype(np.int16)


@lru_cache(maxsize=8)
def _overlap(old: int, new: int) -> np.ndarray:
    """(new, old) share that each old pixel has in each new one; rows sum to 1."""
    old_edges = np.arange(old + 1) / old
    new_edges = np.arange(new + 1) / new
    upper = np.minimum(new_edges[1:, None], old_edges[None, 1:])
    lower = np.maximum(new_edges[:-1, None], old_edges[None, :-1])
    return np.asarray(np.clip(upper - lower, 0, None) * new)
