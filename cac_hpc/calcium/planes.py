"""Shapes on the slices of a volume: masks made wider and narrower by discs, and distances on the slices.

The same values, bit for bit, as the functions of scipy.ndimage for one slice after the other, in a fraction of the
time: all slices are worked on at once, a row or a column at a time. Axes: z slices, h rows, w columns, P pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

SLICES_AT_ONCE = 16  # in `squared_distance`, so that they fit into the processor's cache
SHORT, LONG = np.dtype(np.uint16), np.dtype(np.uint32)  # of squared distances in pixels


def element(within: Callable[[np.ndarray], np.ndarray], most: int) -> np.ndarray:
    """The pixels around a pixel whose distance to it passes a test, (1, h, w) bool, with that pixel in the middle.

    Args:
        within: whether distances in pixels, float64, pass; if one does, all shorter ones do, and 0 does. most: pixels
        in a direction that are looked at.
    """
    offset = np.arange(-most, most + 1)
    found = within(np.sqrt((offset**2 + offset[:, None] ** 2).astype(float)))
    inside = bounds(found)
    return np.asarray(found[None, inside[0], inside[1]])


def dilate(mask: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Binary dilation on each slice; nothing comes in from outside of the field of view.

    Args:
        mask: (z, h, w) bool. around: structuring element (1, h, w) of odd sides, each row one run around its middle.
    """
    out, (down, across) = np.zeros(mask.shape, bool), (side // 2 for side in around.shape[1:])
    z, h, w = bounds(mask)
    part = z, slice(max(0, h.start - down), h.stop + down), slice(max(0, w.start - across), w.stop + across)
    out[part] = _dilated(mask[part], around)
    return out


def _dilated(mask: np.ndarray, around: np.ndarray) -> np.ndarray:
    """The same, where the mask fills its slices."""
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
    return out[:, :, :width]


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


def squared_distance(target: np.ndarray, most: float = math.inf) -> np.ndarray:
    """Squared distance in pixels of each pixel to the nearest one of a mask on its slice, integers (z, h, w).

    Args:
        target: (z, h, w) bool; each slice has a pixel in it. most: pixels; distances above it may be given too long.
    """
    column_hzw = _along_columns(target)
    found = np.empty(target.shape, column_hzw.dtype)
    for first in range(0, len(target), SLICES_AT_ONCE):
        chunk = slice(first, first + SLICES_AT_ONCE)
        found[chunk] = _along_rows(np.ascontiguousarray(column_hzw[:, chunk].transpose(1, 2, 0)), most).swapaxes(1, 2)
    return found


def squared_distance_at(target: np.ndarray, pixel_P: tuple[np.ndarray, ...]) -> np.ndarray:
    """The same of some pixels, (P,); on a slice without a pixel of the mask it means nothing.

    Args:
        pixel_P: slice, row and column of each pixel.
    """
    z_P, h_P, w_P = pixel_P
    away_PW = np.arange(target.shape[2], dtype=np.int32) - w_P[:, None].astype(np.int32)
    return np.asarray((_along_columns(target)[h_P, z_P] + away_PW**2).min(1))


def _along_columns(target: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest pixel of the same column, rows first: (h, z, w).

    Where there is none it is more than to any pixel of the slice. The integers are so long that columns as far apart as
    the slice is wide can be added.
    """
    count, height, width = target.shape
    none = math.isqrt((height - 1) ** 2 + (width - 1) ** 2) + 1
    dtype = SHORT if none**2 + (width - 1) ** 2 <= np.iinfo(SHORT).max else LONG
    steps = np.full((height, count, width), none, dtype)
    steps[target.swapaxes(0, 1)] = 0
    for order in (range(height), range(height - 1, -1, -1)):
        for row, following in itertools.pairwise(order):
            np.minimum(steps[following], steps[row] + dtype.type(1), out=steps[following])
    steps *= steps
    return steps


def _along_rows(column_zwh: np.ndarray, most: float) -> np.ndarray:
    """The nearest of all columns, (z, w, h): farther ones are looked at as long as they can be nearer."""
    nearest, farther = column_zwh.copy(), np.empty_like(column_zwh)
    for step in range(1, column_zwh.shape[1]):
        if step > most or step**2 >= nearest.max():
            break
        np.add(column_zwh, column_zwh.dtype.type(step**2), out=farther)
        np.minimum(nearest[:, step:], farther[:, :-step], out=nearest[:, step:])
        np.minimum(nearest[:, :-step], farther[:, step:], out=nearest[:, :-step])
    return nearest


def share_around(mask: np.ndarray, side: int, pixel_P: tuple[np.ndarray, ...]) -> np.ndarray:
    """Share of a mask in the square around some pixels, float32 (P,); the rim of the slice is repeated.

    Down the columns shares are rounded to float32 as uniform_filter does; all other sums are exact in float64.

    Args:
        mask: (z, h, w) bool. side: of the square, odd. pixel_P: slice, row and column of each pixel.
    """
    down, columns_PS = _square(mask.view(np.uint8), side, pixel_P)
    count = _sum_of_rows(down if side < 256 else down.astype(np.uint16), side)
    share = (np.arange(side + 1) / side).astype(np.float32).astype(float)
    column_PS = share[count[pixel_P[0][:, None], pixel_P[1][:, None], columns_PS]]
    return np.asarray(column_PS.sum(1) / side, np.float32)


def _sum_of_rows(values: np.ndarray, side: int) -> np.ndarray:
    """Of so many rows, the first of which is the row itself: twice that of half as many, and one more of odd sides."""
    if side == 1:
        return values
    half = _sum_of_rows(values, side // 2)
    both = half[:, : half.shape[1] - side // 2] + half[:, side // 2 :]
    return np.asarray(both[:, : values.shape[1] - side + 1] + values[:, side - 1 :]) if side % 2 else both


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


def counts(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask on each slice, (z,)."""
    return np.array([np.count_nonzero(mask_hw) for mask_hw in mask])


def bounds(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around a mask; nothing of each side where the mask is empty."""
    filled = np.flatnonzero(mask.any(tuple(range(1, mask.ndim))))
    side = slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 0)
    return (side, *bounds(np.asarray(mask.any(0)))) if mask.ndim > 1 else (side,)
