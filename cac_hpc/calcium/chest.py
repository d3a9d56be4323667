"""The chest around a heart, from the volume of a CT: lungs, the cavity that they surround, bone, spine and aorta.

Classical image analysis on a grid of about 2 mm, one step per function. The field of view may be so narrow that lungs,
ribs and spine are cut off. Sizes are those of adults; they leave room beyond what was seen in phantoms.

Axes: Z slices in ascending z, H rows from front to back, W columns from the patient's right to his left. Lowercase
z, h, w are those of the grid; z and Z are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from cac_hpc.calcium import pieces, planes
from cac_hpc.run.rejections import Refused

GRID_MM = 2.0  # pixels of the grid, about
OUTSIDE_HU, AIR_HU, LUNG_HU = -940, -500, (-950, -600)  # outside air is below; air or lung is below; mean inside a lung
FAT_HU, BONE_HU = -20, 150  # above fat; bone: means of a grid pixel
LUNGS_CM3 = 250.0  # in the volume, at least
LUNG_RIM_MM = 4.0  # of partial volume around lungs: gas in bowel is as bright there
BONE_CM3 = 3.0  # no coronary plaque is so large
MARROW_MM2 = 1500.0  # cut through the inside of a bone, at most
VERTEBRA_MM = 7.0  # bone that is farther from its rim is a vertebra's body
AORTA_MM = (8.0, 19.0)  # radius of the descending aorta
AORTA_LEFT_MM, AORTA_AHEAD_MM = (5.0, 50.0), (-35.0, 25.0)  # its middle: left of the spine's, behind the spine's front
WALL_MM = 4.0  # of the aorta, with its blur


@dataclass(frozen=True)
class Grid:
    """The volume in pixels of about 2 mm, about as high as they are wide: mean HU, float64 (z, h, w)."""

    hu: np.ndarray
    spacing_mm: tuple[float, float]  # of slices, of pixels
    factors: tuple[int, int]  # rows and columns of the volume per grid pixel

    @property
    def voxel_cm3(self) -> float:
        return self.spacing_mm[0] * self.spacing_mm[1] ** 2 / 1000


@dataclass(frozen=True)
class Spine:
    """Where the vertebrae are on each slice, (z,): rows of their front, columns of their middle."""

    front: np.ndarray
    middle: np.ndarray


def shrink(hu_ZHW: np.ndarray, spacing_mm: tuple[float, float, float]) -> Grid:
    """Means over blocks that are about square in mm; what is left over on the right and at the bottom is cut off."""
    down, across = _factors(spacing_mm[1:], hu_ZHW.shape[1:])
    height, width = hu_ZHW.shape[1] // down, hu_ZHW.shape[2] // across
    total = np.zeros((len(hu_ZHW), height, width), np.int32)
    for hu_HW, total_hw in zip(hu_ZHW[:, : height * down, : width * across], total, strict=True):
        fits = down * int(hu_HW.min()) >= -32768 and down * int(hu_HW.max()) <= 32767  # int16: a third of the time
        rows = np.zeros((height, width * across), np.int16 if fits else np.int32)
        for step in range(down):
            rows += hu_HW[step::down]
        for step in range(across):
            total_hw += rows[:, step::across]
    return Grid(total / np.float32(down * across), (spacing_mm[0], spacing_mm[2] * across), (down, across))


def _factors(pixel_mm: tuple[float, ...], shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns per grid pixel: the longer side of a pixel says how long a grid pixel is."""
    longer_mm = max(pixel_mm)
    grid_mm = longer_mm * max(1, round(GRID_MM / longer_mm))
    down, across = (max(1, min(round(grid_mm / mm), *shape)) for mm in pixel_mm)
    return down, across


def outside_air(grid: Grid) -> np.ndarray:
    """Air and padding around the body, with the skin's blur."""
    rim = np.ones(grid.hu.shape, bool)
    rim[:, 1:-1, 1:-1] = False
    found = pieces.find(grid.hu < OUTSIDE_HU)
    return planes.dilate(found.mask_of(found.sums(rim) > 0), disc(4.0, grid))


def find_lungs(grid: Grid, outside: np.ndarray) -> np.ndarray:
    """Large dark parts that are no outside air, nor gas, which is darker inside than lung is.

    Raises: Refused if there is too little lung for a chest.
    """
    inner = planes.erode((grid.hu < AIR_HU) & ~outside, disc(LUNG_RIM_MM, grid))
    inner[planes.counts(grid.hu > -200) / grid.hu[0].size < 0.1] = False  # slices with no body
    found = pieces.find(planes.dilate(inner, disc(LUNG_RIM_MM, grid)))
    mean_hu = found.sums(np.where(inner, grid.hu, 0)) / np.maximum(1, found.sums(inner))
    size_cm3 = found.pixels * grid.voxel_cm3
    lung = (size_cm3 > LUNGS_CM3 / 5) & (mean_hu > LUNG_HU[0]) & (mean_hu < LUNG_HU[1])
    if (found_cm3 := size_cm3[lung].sum()) < LUNGS_CM3:
        raise Refused("no_heart", f"{found_cm3:.0f} cm3 of lung, wanted {LUNGS_CM3:.0f}")
    return found.mask_of(lung)


def surrounded(lungs: np.ndarray) -> np.ndarray:
    """The convex hull of the lungs on each slice and all above it.

    The chest widens downwards, and lower down the heart and the liver are where lung is higher up.
    """
    some = lungs.any((1, 2))
    hull = np.zeros(lungs.shape, bool)
    if some.any():
        left, right = _hull_ends(lungs[some])
        column = np.arange(lungs.shape[2], dtype=np.int32)
        hull[some] = (column >= left[..., None]) & (column <= right[..., None])
    for index in range(len(hull) - 2, -1, -1):
        hull[index] |= hull[index + 1]
    return hull


def _hull_ends(lungs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last column of the convex hull in each row of each slice, (z, h); each slice has some lung.

    The hull is what lies behind no tangent, of 32 directions; how far a pixel is along a direction is a float32, and
    grows or falls from column to column. So each direction ends the rows on one side.
    """
    width, row = lungs.shape[2], np.arange(lungs.shape[1])
    ends = lungs.argmax(2), width - 1 - lungs[:, :, ::-1].argmax(2)  # of each row
    some, left, right = lungs.any(2), np.zeros(lungs.shape[:2]), np.full(lungs.shape[:2], width - 1.0)
    for angle in np.arange(0, 2 * np.pi, np.pi / 16):
        across, down = np.cos(angle), np.sin(angle) * row

        def along(column: np.ndarray, across: float = across, down: np.ndarray = down) -> np.ndarray:
            return np.asarray(across * column + down, np.float32)

        farthest = np.where(some, along(ends[0 if across < 0 else 1]), -np.inf).max(1).astype(np.float32)
        limit = farthest[:, None] + np.float32(0.01)
        if abs(across) < 1e-9:  # straight down or up: all columns of a row, or none
            right[~(along(np.zeros(1)) <= limit)] = -1
            continue
        about = np.floor((limit - down) / across)  # rounding of float32 moves this by one column at most
        here, after = (along(about + step) <= limit for step in (0, 1))
        if across > 0:
            np.minimum(right, about - 1 + here + after, out=right)
        else:
            np.maximum(left, about + 2 - here - after, out=left)
    return left.astype(np.int32), right.astype(np.int32)


def find_bone(grid: Grid) -> np.ndarray:
    """Large dense parts, with what they enclose on a slice."""
    dense = pieces.find(grid.hu > BONE_HU)
    bone = dense.mask_of(dense.pixels * grid.voxel_cm3 > BONE_CM3)
    reach = round(5.0 / grid.spacing_mm[1]) + 1
    padded = np.pad(bone, ((0, 0), (reach, reach), (reach, reach)))
    around = disc(5.0, grid)
    bone |= planes.erode(planes.dilate(padded, around), around)[:, reach:-reach, reach:-reach]
    holes = pieces.find(~bone, pieces.FACES_ON_SLICES)
    return np.asarray(bone | holes.mask_of(holes.pixels * grid.spacing_mm[1] ** 2 < MARROW_MM2))


def find_spine(bone: np.ndarray, lungs: np.ndarray, grid: Grid) -> Spine | None:
    """The largest row of thick bones in the back; None if the field of view leaves it out."""
    thick = deep(bone, float(np.nextafter(np.float32(VERTEBRA_MM), np.float32(np.inf))), grid)
    thick[:, : int(middle_row(lungs))] = False
    box = planes.bounds(thick)
    found = pieces.find(thick[box], pieces.CORNERS)
    if not len(found):
        return None
    spine = found.mask_of(np.arange(len(found)) == found.pixels.argmax())
    inside = np.flatnonzero(spine.any((1, 2)))
    slices, row, column = inside + box[0].start, box[1].start, box[2].start
    front = [np.flatnonzero(spine[index].any(1))[0] + row - VERTEBRA_MM / grid.spacing_mm[1] for index in inside]
    middle = [np.median(np.nonzero(spine[index])[1]) + column for index in inside]
    every, window = np.arange(len(bone)), max(1, round(30.0 / grid.spacing_mm[0]))  # vertebra and disc
    steady = scipy.ndimage.minimum_filter1d(np.interp(every, slices, front), window, mode="nearest")
    return Spine(steady, scipy.ndimage.median_filter(np.interp(every, slices, middle), window, mode="nearest"))


def behind(spine: Spine, grid: Grid) -> np.ndarray:
    """The spine's front and what is behind it; further to the sides, 12 mm behind it: hearts reach there."""
    row, column = np.arange(grid.hu.shape[1])[:, None], np.arange(grid.hu.shape[2])
    beside = np.abs(column - spine.middle[:, None]) * grid.spacing_mm[1] > 30
    limit_mm = np.where(beside, 12.0, -2.0)
    return np.asarray((row - spine.front[:, None, None]) * grid.spacing_mm[1] > limit_mm[:, None, :])


def find_aorta(grid: Grid, bone: np.ndarray, spine: Spine) -> np.ndarray:
    """The descending aorta with its wall: discs of tissue, left of the spine's middle and in front of it or beside.

    All False where no disc is seen on most slices at the same place beside the spine.
    """
    pixel_mm = grid.spacing_mm[1]
    z, y, x, depth_P = _discs(grid, bone, spine)
    ahead, left = (y - spine.front[z]) * pixel_mm, (x - spine.middle[z]) * pixel_mm
    fits = (left > AORTA_LEFT_MM[0]) & (left < AORTA_LEFT_MM[1])
    fits &= (ahead > AORTA_AHEAD_MM[0]) & (ahead < AORTA_AHEAD_MM[1])
    z, ahead, left, radius = z[fits], ahead[fits], left[fits], depth_P[fits]
    aorta = np.zeros(bone.shape, bool)
    if not len(z):
        return aorta
    close = np.hypot(ahead - ahead[:, None], left - left[:, None]) < 6
    best = np.array([len(np.unique(z[row])) for row in close]).argmax()
    same = close[best]
    if len(np.unique(z[same])) < 0.5 * len(bone):
        return aorta
    limit_mm = np.median(radius[same]) + WALL_MM
    down = np.arange(bone.shape[1]) - (spine.front + np.median(ahead[same]) / pixel_mm)[:, None]
    across = np.arange(bone.shape[2]) - (spine.middle + np.median(left[same]) / pixel_mm)[:, None]
    rows, columns = (planes.bounds((np.abs(away) * pixel_mm <= limit_mm + 1).any(0))[0] for away in (down, across))
    away = np.hypot(down[:, rows, None], across[:, None, columns])
    aorta[:, rows, columns] = away * pixel_mm <= limit_mm
    return aorta


def _discs(grid: Grid, bone: np.ndarray, spine: Spine) -> tuple[np.ndarray, ...]:
    """Middles of discs of tissue where the aorta can be, and some around: slice, row, column and radius in mm, (P,).

    Depths are right up to the aorta's largest radius: around the place so much is looked at.
    """
    rows, columns = (spine.front.min(), spine.front.max()), (spine.middle.min(), spine.middle.max())
    place = around(rows, AORTA_AHEAD_MM, columns, AORTA_LEFT_MM, AORTA_MM[1], grid)
    window = max(1, round(15.0 / grid.spacing_mm[0]))
    mean = scipy.ndimage.uniform_filter1d(grid.hu[place], window, axis=0, mode="nearest")
    z, y, x, radius = peaks((mean > FAT_HU) & ~bone[place], AORTA_MM, 5, grid)
    return z, y + place[1].start, x + place[2].start, radius


def peaks(mask: np.ndarray, radius_mm: tuple[float, float], side: int, grid: Grid) -> tuple[np.ndarray, ...]:
    """Where the depth of a mask is between two radii, and the largest in a square of so many pixels around it.

    Returns: slice, row, column and depth in mm of each such pixel.
    """
    depth = depth_mm(mask, grid, radius_mm[1])
    pixel_P = np.nonzero((depth >= radius_mm[0]) & (depth <= radius_mm[1]))
    highest = depth[pixel_P] == planes.highest_around(depth, side, pixel_P)
    z, y, x = (side_P[highest] for side_P in pixel_P)
    return z, y, x, depth[z, y, x]


def around(
    rows: tuple[float, float],
    rows_mm: tuple[float, float],
    columns: tuple[float, float],
    columns_mm: tuple[float, float],
    radius_mm: float,
    grid: Grid,
) -> tuple[slice, slice, slice]:
    """The part of all slices that says where the middles of discs are.

    Args:
        rows, columns: first and last of what middles are near to. rows_mm, columns_mm: nearest and farthest from it.
        radius_mm: of the largest disc; its depths, and those of the pixels by its middle, are the same in the part.
    """
    pixel_mm = grid.spacing_mm[1]
    margin, sides = int(radius_mm / pixel_mm) + 10, []
    for (first, last), (low_mm, high_mm), size in zip(
        (rows, columns), (rows_mm, columns_mm), grid.hu.shape[1:], strict=True
    ):
        start, stop = int(first + low_mm / pixel_mm) - margin, int(last + high_mm / pixel_mm) + margin
        sides.append(slice(min(size, max(0, start)), max(0, min(size, stop + 1))))
    return slice(None), sides[0], sides[1]


def disc(radius_mm: float, grid: Grid) -> np.ndarray:
    """A disc on one slice, as a structuring element (1, h, w)."""
    reach = int(radius_mm / grid.spacing_mm[1])
    offset = np.arange(-reach, reach + 1)
    return np.asarray(np.hypot(offset[:, None], offset)[None] * grid.spacing_mm[1] <= radius_mm + 1e-6)


def depth_mm(mask: np.ndarray, grid: Grid, most_mm: float = math.inf) -> np.ndarray:
    """Distance of each pixel of a mask to its rim on the slice; the field of view is no rim.

    Args:
        most_mm: what is deeper may be given as deeper than it is.
    """
    depth = np.zeros(mask.shape, np.float32)
    rimmed = mask.any((1, 2)) & ~mask.all((1, 2))
    depth[rimmed] = np.sqrt(planes.squared_distance(~mask[rimmed], most_mm / grid.spacing_mm[1]), dtype=np.float32)
    return depth * np.float32(grid.spacing_mm[1])


def deep(mask: np.ndarray, limit_mm: float, grid: Grid) -> np.ndarray:
    """Where `depth_mm` is at least a limit, which is above 0."""
    pixel_mm = np.float32(grid.spacing_mm[1])
    nearer = planes.element(
        lambda pixels: pixels.astype(np.float32) * pixel_mm < limit_mm, int(limit_mm / pixel_mm) + 1
    )
    found = np.asarray(mask & ~planes.dilate(~mask, nearer))
    found[mask.all((1, 2))] = False
    return found


def middle_row(mask: np.ndarray) -> float:
    """Median of the rows of a mask's pixels; it holds some."""
    upto = np.cumsum(mask.sum((0, 2)))
    lower, upper = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
    return float(lower + upper) / 2


def row_behind(mask: np.ndarray, share: float) -> int:
    """The row up to which this share of a mask's pixels lies, from the front; it holds some."""
    upto = np.cumsum(mask.sum((0, 2)))
    return int(np.searchsorted(upto, share * upto[-1]))
