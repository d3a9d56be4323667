"""Where the heart is, from the volume of a non-contrast chest CT alone: where calcium can be coronary, and a box.

On the grid of `chest`, one step per function: the core of the heart (see `heart_core`); what is near the core, but no
lung, bone or cartilage, and not deep inside, where valves are. Sizes are those of adults; they leave room beyond what
was seen in phantoms.

Axes: as in `chest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cac_hpc.calcium import chest, pieces, planes
from cac_hpc.calcium.chest import AIR_HU, FAT_HU, Grid, depth_mm, disc
from cac_hpc.calcium.heart_core import (
    CONTRAST_HU,
    CORE_MM,
    around_core,
    between_lungs,
    blood_in,
    find_core,
    near_core,
    without_contrast,
)

DENSE_HU = 100  # above soft tissue: mean of a grid pixel
BONE_RIM_MM = 3.0  # of partial volume around bones
REACH_MM = 9.0  # from soft tissue around the core to its outermost vessels
HULL_MM = 40.0  # from the core: what may touch the heart
WALL_REACH_MM = 20.0  # a heart bulges so far out of the lungs' hull, where it touches the chest's wall
FAT_MM = 6.0  # on the heart's muscle, with the vessels
THIN_MM = 5.0  # vessels in the lung are thinner
DEEP_MM = 8.0  # from fat; calcium of coronary arteries is nearer
DEEP_SHARE = 0.25  # of a dense part that is so deep, at most, where it is coronary
PURE_FAT_HU = (-140, -40)
FAT_SHARES = (0.02, 0.06)  # of the heart: no evidence up to the first, all of it from the second on
ATRIUM_DEGREES, UPPER_MM = (0, 80), 42.0  # from the patient's right to his back; below the top of the region


@dataclass(frozen=True)
class Surroundings:
    """The chest around the heart on the grid of `chest`, (z, h, w).

    region: bool, where calcium can be coronary: see Heart. hull: bool, where the calcium of the heart, of the great
    vessels and of what touches them can be. fat_depth_mm: distance to the nearest fat or air on the slice, 0 in these.
    bone, core, whole (the heart with its inside), behind_atrium: bool.
    """

    grid: Grid
    region: np.ndarray
    hull: np.ndarray
    fat_depth_mm: np.ndarray
    bone: np.ndarray
    core: np.ndarray
    whole: np.ndarray
    behind_atrium: np.ndarray


@dataclass(frozen=True)
class Heart:
    """The heart in a volume.

    region_ZHW: bool, where calcium can be coronary: the fat on the heart, and the muscle near to it. box: first row,
    row after the last, first column, column after the last of the heart in all slices. blood_hu: see `blood_in`.
    chest: what else is known of each pixel of the grid.
    """

    region_ZHW: np.ndarray
    box: tuple[int, int, int, int]
    blood_hu: float
    chest: Surroundings

    @cached_property
    def hull_ZHW(self) -> np.ndarray:
        """(Z, H, W) bool, where the calcium of the heart, of the great vessels and of what touches them can be."""
        return _enlarged(self.chest.hull, self.chest.grid.factors, self.region_ZHW.shape)

    @property
    def has_contrast(self) -> bool:
        """Whether there is contrast agent in the blood; the rule would count it as calcium."""
        return self.blood_hu > CONTRAST_HU


def find(hu_ZHW: np.ndarray, spacing_mm: tuple[float, float, float]) -> Heart:
    """Find the heart.

    Args:
        hu_ZHW: (Z, H, W) int16 HU. spacing_mm: between slices, rows and columns.
    Raises: Refused "no_heart", with what is not there.
    """
    grid = chest.shrink(hu_ZHW, spacing_mm)
    outside = chest.outside_air(grid)
    lungs = chest.find_lungs(grid, outside)
    cavity = chest.surrounded(lungs) & ~outside
    between = between_lungs(lungs, outside, grid)
    plain = without_contrast(grid, cavity & ~lungs, between)
    bone = chest.find_bone(plain)
    room, hull = find_room(plain, cavity, lungs, outside, bone)
    core = find_core(plain, room, lungs, between)
    muscle = around_core(core, plain, CORE_MM)
    within = planes.dilate(chest.surrounded(lungs | muscle), disc(FAT_MM, plain))
    near = near_core(core, plain, CORE_MM + REACH_MM)
    whole = planes.dilate(planes.erode(room & within & near, disc(THIN_MM, plain)), disc(THIN_MM, plain))
    box = _box(whole[between & core.any((1, 2))], plain, hu_ZHW.shape)
    fat_depth_mm, degrees = depth_mm(plain.hu > FAT_HU, plain), upper_degrees(whole, box, plain)
    evidence = fat_evidence(fat_share(plain, around_core(core, plain, CORE_MM + FAT_MM)))
    excluded = behind_right_atrium(degrees, evidence) | not_coronary(plain, within, fat_depth_mm, evidence)
    region = whole & ~excluded
    hull &= near_core(core, plain, CORE_MM + HULL_MM)
    behind_atrium = behind_right_atrium(degrees, 1.0)
    there = Surroundings(plain, region, hull, fat_depth_mm, bone, core, whole, behind_atrium)
    return Heart(_enlarged(region, plain.factors, hu_ZHW.shape), box, blood_in(grid, core), there)


def square_around(
    box: tuple[int, int, int, int], margin_mm: float, spacing_mm: tuple[float, float, float], shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """A square with the box in its middle, or as near to that as the field of view allows.

    Args:
        box: as in Heart. margin_mm: between the longer side of the box and the square. spacing_mm: of the volume.
        shape: (Z, H, W) of the volume.
    Returns: as box; its sides are equal in mm, up to a pixel, and not longer than the field of view's shorter side.
    """
    sides_mm = [(last - first) * mm for first, last, mm in zip(box[::2], box[1::2], spacing_mm[1:], strict=True)]
    view_mm = [size * mm for size, mm in zip(shape[1:], spacing_mm[1:], strict=True)]
    side_mm = min(max(sides_mm) + 2 * margin_mm, *view_mm)
    ends: list[int] = []
    for first, last, mm, size in zip(box[::2], box[1::2], spacing_mm[1:], shape[1:], strict=True):
        side = min(size, round(side_mm / mm))
        start = min(max(0, (first + last - side) // 2), size - side)
        ends += [start, start + side]
    return ends[0], ends[1], ends[2], ends[3]


def find_room(
    grid: Grid, cavity: np.ndarray, lungs: np.ndarray, outside: np.ndarray, bone: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where a heart can be: near the inside of the chest, but no lung, bone, aorta, nor beside or behind the spine.

    Returns: that; the same with lung and aorta.
    """
    spine = chest.find_spine(bone, lungs, grid)
    hull = planes.dilate(cavity, disc(WALL_REACH_MM, grid)) & ~outside
    hull &= ~planes.dilate(bone, disc(BONE_RIM_MM, grid))
    room = hull & (grid.hu >= AIR_HU)
    if spine is not None:
        hull &= ~chest.behind(spine, grid)
        room &= hull & ~chest.find_aorta(grid, bone, spine)
    return np.asarray(room), np.asarray(hull)


def fat_share(grid: Grid, heart: np.ndarray) -> float:
    """How much of the heart is fat; real hearts have 0.03 to 0.11.

    Args:
        heart: its muscle with what is close to it.
    """
    fat = (grid.hu > PURE_FAT_HU[0]) & (grid.hu < PURE_FAT_HU[1])
    return float(np.count_nonzero(fat & heart) / np.count_nonzero(heart))


def fat_evidence(share: float) -> float:
    """0 to 1, how far the heart's fat tells its inside from its surface; in plastic phantoms nothing does.

    It rises smoothly, and the limits of what is left out with it: a step would give two patients who hardly differ
    scores that do.
    """
    rise = min(max((share - FAT_SHARES[0]) / (FAT_SHARES[1] - FAT_SHARES[0]), 0.0), 1.0)
    return rise**2 * (3 - 2 * rise)


def upper_degrees(whole: np.ndarray, box: tuple[int, int, int, int], grid: Grid) -> np.ndarray:
    """Degrees from straight right towards the back, seen from the heart's middle; NaN below the heart's upper part."""
    middle = [(box[at] + box[at + 1]) / 2 / factor for at, factor in zip((0, 2), grid.factors, strict=True)]
    down, right = np.arange(whole.shape[1])[:, None] - middle[0], middle[1] - np.arange(whole.shape[2])
    degrees = np.full(whole.shape, np.nan, np.float32)
    top = np.flatnonzero(whole.any((1, 2)))[-1]
    degrees[max(0, top - round(UPPER_MM / grid.spacing_mm[0])) : top + 1] = np.degrees(np.arctan2(down, right))
    return degrees


def behind_right_atrium(degrees: np.ndarray, evidence: float) -> np.ndarray:
    """The sector from straight right to nearly straight back, narrower around its middle the less the evidence.

    Right atrium, lung veins and left atrium are there, and lymph nodes of the hilum. The right coronary artery runs in
    front of it, and turns back below; the circumflex runs left of it.

    Args:
        degrees: see `upper_degrees`. evidence: see `fat_evidence`.
    """
    half = (ATRIUM_DEGREES[1] - ATRIUM_DEGREES[0]) / 2
    return np.asarray(np.abs(degrees - ATRIUM_DEGREES[0] - half) < half * evidence)


def not_coronary(grid: Grid, within: np.ndarray, fat_depth_mm: np.ndarray, evidence: float) -> np.ndarray:
    """What is deep inside; dense parts that reach there, as valves; those mostly outside of the chest, as cartilage.

    Blood and muscle far from fat are deep, for coronary arteries run in fat. Where little fat is seen it must be
    farther: the limits change with the evidence without a step, so the calcium of a lean heart is not left out or let
    in all at once.

    Args:
        within: the inside of the chest. fat_depth_mm: distance to fat or air. evidence: see `fat_evidence`.
    """
    deep = evidence * fat_depth_mm > DEEP_MM
    dense = pieces.find(grid.hu > DENSE_HU, pieces.CORNERS)
    inside, reaches = dense.sums(within) / dense.pixels, dense.sums(deep) / dense.pixels
    other = dense.mask_of((reaches > DEEP_SHARE) | (inside < 0.5 * evidence))
    return np.asarray(deep | planes.dilate(other, disc(BONE_RIM_MM, grid)))


def _box(whole: np.ndarray, grid: Grid, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Rows and columns of the whole heart on the slices where its core lies between the lungs."""
    ends = []
    for axes, factor, size in zip(((0, 2), (0, 1)), grid.factors, shape[1:], strict=True):
        filled = np.flatnonzero(whole.any(axes))
        ends += [int(filled[0]) * factor, min((int(filled[-1]) + 1) * factor, size)]
    return ends[0], ends[1], ends[2], ends[3]


def _enlarged(region: np.ndarray, factors: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """The region in the volume's own pixels."""
    region_ZHW, (z, h, w), (down, across) = np.zeros(shape, bool), planes.bounds(region), factors
    wide = region[z, h, w].repeat(across, axis=2)
    for row in range(down):
        region_ZHW[z, h.start * down + row : h.stop * down : down, w.start * across : w.stop * across] = wide
    return region_ZHW
