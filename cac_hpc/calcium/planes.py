"""Shapes on the slices of a volume: masks made wider and narrower by discs, and distances on the slices.

The same values, bit for bit, as the functions of scipy.ndimage for one slice after the other, in a fraction of the
time: all slices are worked on at once, a row or a column at a time. Axes: z slices, h rows, w columns, P pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SLICES_AT_ONCE = 16  # in `squared_distance`, so that they fit into the processor's cache
SHORT, LONG = np.dtype(np.uint16), np.dtype(np.uint32)  # of squared distances in pixels


def element(within: Callable[[np.ndarray], np.ndarray], most: int) -> np.ndarray:
    """The pixels around a pixel whose distance to it passes a test, (1, h, w) bool, with that pixel in the middle.

    Args:
        within: whether distances in pixels, float64, pass; if one does, all shorter ones do. most: pixels in a
        direction that are looked at.
    """
    offset = np.arange(-most, most + 1)
    found = within(np.sqrt((offset**2 + offset[:, None] ** 2).astype(float)))
    spare = most - int(np.flatnonzero(found.any(0))[-1] - most) if found.any() else most
    return np.asarray(found[None, spare : 2 * most + 1 - spare, spare : 2 * most + 1 - spare])


def dilate(mask: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Binary dilation on each slice; nothing comes in from outside of the field of view.

    Args:
        mask: (z, h, w) bool. around: structuring element (1, h, w) of odd sides, each row one run around its middle.
    """
    count, height, width = mask.shape
    half_widths = [(int(row.sum()) - 1) // 2 for row in around[0]]
    reach, widest = len(half_widths) // 2, max(half_widths)
    wide = np.zeros((count, height, width + widest), bool)  # what runs over the end of a row ends in the spare columns
    wide[:, :, :width] = mask
    out = np.zeros_like(wide)
    for half_width in range(widest + 1):
        if half_width:
            flat = wide.reshape(-1)
            before = flat.copy()
            flat[1:] |= before[:-1]
            flat[:-1] |= before[1:]
        for down in (at - reach for at, found in enumerate(half_widths) if found == half_width and at - reach < height):
            if down >= 0:
                out[:, : height - down] |= wide[:, down:]
            elif -down < height:
                out[:, -down:] |= wide[:, :down]
    return np.ascontiguousarray(out[:, :, :width])


def erode(mask: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Binary erosion on each slice; what lies outside of the field of view is not in the mask. Arguments: `dilate`."""
    down, across = (side // 2 for side in around.shape[1:])
    outside = np.pad(~mask, ((0, 0), (down, down), (across, across)), constant_values=True)
    return ~dilate(outside, around)[:, down : down + mask.shape[1], across : across + mask.shape[2]]


def median(mask: np.ndarray) -> np.ndarray:
    """Whether most of the 3 x 3 pixels around each one are in the mask; at the rim of the slice pixels count twice."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)), mode="symmetric").view(np.uint8)
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return np.asarray(rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] >= 5)


def squared_distance(target: np.ndarray) -> np.ndarray:
    """Squared distance in pixels of each pixel to the nearest one of a mask on its slice, integers (z, h, w).

    Args:
        target: (z, h, w) bool; each slice has a pixel in it.
    """
    _, height, width = target.shape
    farthest = (height - 1) ** 2 + (width - 1) ** 2
    dtype = SHORT if farthest + (width - 1) ** 2 <= np.iinfo(SHORT).max else LONG
    chunks = range(0, len(target), SLICES_AT_ONCE)
    found = [_along_rows(_along_columns(target[at : at + SLICES_AT_ONCE], farthest, dtype)) for at in chunks]
    return np.concatenate(found) if found else np.zeros(target.shape, dtype)


def _along_columns(target: np.ndarray, farthest: int, dtype: np.dtype) -> np.ndarray:
    """Squared distance to the nearest pixel of the same column, at most ``farthest``; columns first: (z, w, h)."""
    steps = np.full(target.shape, sum(target.shape[1:]), dtype)  # farther than any pixel is
    steps[target] = 0
    for row in range(1, target.shape[1]):
        np.minimum(steps[:, row], steps[:, row - 1] + dtype.type(1), out=steps[:, row])
    for row in range(target.shape[1] - 2, -1, -1):
        np.minimum(steps[:, row], steps[:, row + 1] + dtype.type(1), out=steps[:, row])
    squared = np.minimum(steps.astype(LONG) ** 2, farthest).astype(dtype)
    return np.ascontiguousarray(squared.swapaxes(1, 2))


def _along_rows(column_zwh: np.ndarray) -> np.ndarray:
    """The nearest of all columns, (z, h, w): farther ones are looked at as long as they can be nearer."""
    nearest = column_zwh.copy()
    for step in range(1, column_zwh.shape[1]):
        if step**2 >= nearest.max():
            break
        beside = column_zwh + column_zwh.dtype.type(step**2)
        np.minimum(nearest[:, step:], beside[:, :-step], out=nearest[:, step:])
        np.minimum(nearest[:, :-step], beside[:, step:], out=nearest[:, :-step])
    return np.ascontiguousarray(nearest.swapaxes(1, 2))


def share_around(mask: np.ndarray, side: int, pixel_P: tuple[np.ndarray, ...]) -> np.ndarray:
    """Share of a mask in the square around some pixels, float32 (P,); the rim of the slice is repeated.

    Down the columns shares are rounded to float32 as uniform_filter does; all other sums are exact in float64.

    Args:
        mask: (z, h, w) bool. side: of the square, odd. pixel_P: slice, row and column of each pixel.
    """
    down, columns_PS = _square(mask, side, pixel_P)
    count = np.zeros(mask.shape, np.uint16)
    for step in range(side):
        count += down[:, step : step + mask.shape[1]]
    share = (np.arange(side + 1) / side).astype(np.float32).astype(float)
    column_PS = share[count[pixel_P[0][:, None], pixel_P[1][:, None], columns_PS]]
    return np.asarray(column_PS.sum(1) / side, np.float32)


def highest_around(values: np.ndarray, side: int, pixel_P: tuple[np.ndarray, ...]) -> np.ndarray:
    """The highest value in the square around some pixels, (P,). Arguments: `share_around`."""
    down, columns_PS = _square(values, side, pixel_P)
    length = 1
    while length < side:  # the highest of so many rows
        step = min(length, side - length)
        down, length = np.maximum(down[:, :-step], down[:, step:]), length + step
    return np.asarray(down[pixel_P[0][:, None], pixel_P[1][:, None], columns_PS].max(1))


def _square(values: np.ndarray, side: int, pixel_P: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The values with half a side of repeated rows above and below; the columns of the squares, (P, side)."""
    reach = side // 2
    columns_PS = np.clip(pixel_P[2][:, None] + np.arange(-reach, reach + 1), 0, values.shape[2] - 1)
    return np.pad(values, ((0, 0), (reach, reach), (0, 0)), mode="edge"), columns_PS


def bounds(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a mask; empty where the mask is."""
    axes = range(mask.ndim)
    ends = (
        [np.flatnonzero(mask.any(tuple(other for other in axes if other != axis)))[[0, -1]] for axis in axes]
        if (mask.any())
        else [(0, -1)] * mask.ndim
    )
    return tuple(slice(int(first), int(last) + 1) for first, last in ends)
