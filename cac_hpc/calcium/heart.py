"""Where the heart is, from the volume of a non-contrast chest CT alone: where calcium can be coronary, and a box.

On the grid of `chest`, one step per function: the heart's core, which is the soft tissue between the lungs that is far
from its rim; what is near the core, but no lung, bone or cartilage, and not deep inside, where valves are. Sizes are
those of adults; they leave room beyond what was seen in phantoms.

Axes: as in `chest`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from cac_hpc.calcium import chest, planes
from cac_hpc.calcium.chest import AIR_HU, FAT_HU, Grid, depth_mm, disc
from cac_hpc.run.rejections import Refused

DENSE_HU = 100  # above soft tissue: mean of a grid pixel
BELOW_MM, ABOVE_MM = 6.0, 15.0  # the heart goes on so far below and above its core
BONE_RIM_MM = 3.0  # of partial volume around bones
CORE_MM = 20.0  # of soft tissue around the core on its slice; vessels are thinner
CORE_CM3, CORE_HEIGHT_MM = 12.0, 18.0  # of the core between the lungs, at least
LUNG_SHARE = 0.35  # of the largest area of lung on a slice; a heart fills most of a narrow field of view
BODY_SHARE, SIDE_CM2 = 0.1, 3.0  # of lung on the body's area, and on each side: at least, where a heart is
BEHIND_MM = 33.0  # the lungs reach so far behind the core; bowel with gas lies in front or beside, recesses are short
BACK_SHARE = 0.9  # of both: the rest is farther back and does not count
CORE_ENDS_MM = (-55.0, 70.0)  # to the left of the middle between the lungs' outer ends; liver and spleen are farther
BESIDE_MM = 45.0  # from the middle between the lungs' outer ends; what is farther is rather liver or spleen
REACH_MM = 9.0  # from soft tissue around the core to its outermost vessels
HULL_MM = 40.0  # from the core: what may touch the heart
WALL_REACH_MM = 20.0  # a heart bulges so far out of the lungs' hull, where it touches the chest's wall
FAT_MM = 6.0  # on the heart's muscle, with the vessels
THIN_MM = 5.0  # vessels in the lung are thinner
DEEP_MM = 8.0  # from fat; calcium of coronary arteries is nearer
DEEP_SHARE = 0.25  # of a dense part that is so deep, at most, where it is coronary
PURE_FAT_HU, FAT_SHARES = (
    (-140, -40),
    (0.02, 0.06),
)  # of the heart: no evidence up to the first, all of it from the second on
ATRIUM_DEGREES, UPPER_MM = (0, 80), 42.0  # from the patient's right to his back; below the top of the region
BLOOD_MM, BLOOD_SHARE = 6.0, 0.1  # means of blood are taken over; of the core at least that a filled chamber takes
CONTRAST_HU = 90.0  # blood that is brighter holds contrast agent: see blood_in
PLAIN_HU = 45.0  # blood without


@dataclass(frozen=True)
class Surroundings:
    """The chest around the heart on the grid of `chest`, (z, h, w).

    region: bool, where calcium can be coronary: see Heart. hull: bool, where the calcium of the heart, of the great
    vessels and of what touches them can be. from_core_mm: distance to the heart's core. fat_depth_mm: distance to the
    nearest fat or air on the slice, 0 in these. bone, core, whole (the heart with its inside), behind_atrium: bool.
    """

    grid: Grid
    region: np.ndarray
    hull: np.ndarray
    from_core_mm: np.ndarray
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
    cavity = chest.surrounded(lungs, grid) & ~outside
    between = between_lungs(lungs, outside, grid)
    plain = without_contrast(grid, cavity & ~lungs, between)
    bone = chest.find_bone(plain)
    room, hull = find_room(plain, cavity, lungs, outside, bone)
    core = find_core(plain, room, lungs, between)
    from_core_mm = _from_core_mm(core, plain)
    muscle = from_core_mm <= CORE_MM
    within = planes.dilate(chest.surrounded(lungs | muscle, plain), disc(FAT_MM, plain))
    near = _near(from_core_mm, plain, CORE_MM + REACH_MM)
    whole = planes.dilate(planes.erode(room & within & near, disc(THIN_MM, plain)), disc(THIN_MM, plain))
    box = _box(whole[between & core.any((1, 2))], plain, hu_ZHW.shape)
    fat_depth_mm, degrees = depth_mm(plain.hu > FAT_HU, plain), upper_degrees(whole, box, plain)
    evidence = fat_evidence(fat_share(plain, from_core_mm <= CORE_MM + FAT_MM))
    excluded = behind_right_atrium(degrees, evidence) | not_coronary(plain, within, fat_depth_mm, evidence)
    region = whole & ~excluded
    hull &= _near(from_core_mm, plain, CORE_MM + HULL_MM)
    behind_atrium = behind_right_atrium(degrees, 1.0)
    there = Surroundings(plain, region, hull, from_core_mm, fat_depth_mm, bone, core, whole, behind_atrium)
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


def between_lungs(lungs: np.ndarray, outside: np.ndarray, grid: Grid) -> np.ndarray:
    """(z,) bool: slices with so much lung on both sides that what lies between is rather heart than liver."""
    area = lungs.sum((1, 2))
    right = (lungs & (_from_middle_mm(lungs, grid) < 0)).sum((1, 2))
    side_cm2 = np.minimum(right, area - right) * grid.spacing_mm[1] ** 2 / 100
    body = (~outside).sum((1, 2))
    return np.asarray((area >= LUNG_SHARE * area.max()) & (area >= BODY_SHARE * body) & (side_cm2 >= SIDE_CM2))


def _from_middle_mm(lungs: np.ndarray, grid: Grid) -> np.ndarray:
    """(w,) to the left of the middle between the lungs' outer ends."""
    columns = np.flatnonzero(lungs.any((0, 1)))
    return np.asarray((np.arange(lungs.shape[2]) - columns[[0, -1]].mean()) * grid.spacing_mm[1])


def without_contrast(grid: Grid, tissue: np.ndarray, between: np.ndarray) -> Grid:
    """The grid as if there were no contrast agent in the heart, which else would pass for bone.

    Args:
        tissue: the inside of the chest without the lungs. between: slices between lungs.
    """
    deep = np.zeros(tissue.shape, bool)
    deep[between] = chest.deep(tissue[between] & (grid.hu[between] > FAT_HU), CORE_MM, grid)
    if not deep.any() or blood_in(grid, deep) <= CONTRAST_HU:
        return grid
    bright = (_from_core_mm(deep, grid) <= CORE_MM) & tissue & (grid.hu > PLAIN_HU)
    return dataclasses.replace(grid, hu=np.where(bright, np.float32(PLAIN_HU), grid.hu))


def blood_in(grid: Grid, core: np.ndarray) -> float:
    """The HU of the blood in the heart: of its brightest chambers, where only some hold contrast agent.

    A quantile of means over BLOOD_MM in the core, which noise, fat and small calcium do not reach; in phantoms without
    contrast agent it is at most 10 HU above the blood's mean, where muscle or liver are in the core as much as 20.

    Source: without contrast agent blood is about 25 to 55 HU, the more the higher the haematocrit: New, Aronow 1976,
    Radiology 121:635-640; Di Giandomenico et al. 1993, Radiol Med (PMID 8516469). It hardly depends on the tube's
    voltage. CONTRAST_HU leaves room for polycythaemia, noise and a phantom of 73 HU, and for 40 HU that a test bolus
    has left behind.

    Args:
        core: (z, h, w) bool, tissue far from the heart's surface.
    """
    box = planes.bounds(core)
    size = [max(1, round(BLOOD_MM / mm)) for mm in (grid.spacing_mm[0], grid.spacing_mm[1], grid.spacing_mm[1])]
    return float(np.quantile(scipy.ndimage.uniform_filter(grid.hu[box], size)[core[box]], 1 - BLOOD_SHARE))


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


def find_core(grid: Grid, room: np.ndarray, lungs: np.ndarray, between: np.ndarray) -> np.ndarray:
    """The part of the soft tissue that is farther than CORE_MM from its rim on its slice, in its largest piece.

    It ends where the lungs do, and not far from the middle: beyond is liver, where that touches the heart.

    Args:
        between: slices between lungs.
    Raises: Refused if there is none: vessels, and the tissue of a chest without a heart, are thinner. Or if it is too
        low for a heart, or lies as far back as the lungs, as between loops of bowel.
    """
    thick = chest.deep(planes.median(room & (grid.hu > FAT_HU)), CORE_MM, grid)
    box = planes.bounds(thick)
    labels, count = scipy.ndimage.label(thick[box], np.ones((3, 3, 3), bool))
    left_mm = _from_middle_mm(lungs, grid)
    central = labels[between[box[0]]][:, :, np.abs(left_mm[box[2]]) <= BESIDE_MM]
    sizes = np.bincount(central.ravel(), minlength=count + 1)[1:]
    if (core_cm3 := sizes.max(initial=0) * grid.voxel_cm3) < CORE_CM3:
        found = f"{core_cm3:.0f} cm3 of soft tissue between the lungs are {CORE_MM:.0f} mm from its rim"
        raise Refused("no_heart", f"{found}, wanted {CORE_CM3:.0f}")
    core = np.zeros(thick.shape, bool)
    core[box] = labels == 1 + sizes.argmax()
    _check_place(core, lungs, between & core.any((1, 2)), grid)
    core[: np.flatnonzero(between & core.any((1, 2)))[0]] = False
    core[:, :, (left_mm < CORE_ENDS_MM[0]) | (left_mm > CORE_ENDS_MM[1])] = False
    return core


def _check_place(core: np.ndarray, lungs: np.ndarray, slices: np.ndarray, grid: Grid) -> None:
    """Refuse a core whose slices between the lungs are few, or which the lungs do not reach behind."""
    runs, _ = scipy.ndimage.label(slices)
    if (height_mm := np.bincount(runs)[1:].max() * grid.spacing_mm[0]) < CORE_HEIGHT_MM:
        found = f"{height_mm:.0f} mm of soft tissue between the lungs"
        raise Refused("no_heart", f"{found}, wanted {CORE_HEIGHT_MM:.0f}")
    lung, heart = (chest.row_behind(part[slices], BACK_SHARE) * grid.spacing_mm[1] for part in (lungs, core))
    if lung - heart < BEHIND_MM:
        raise Refused("no_heart", f"what may be lung reaches {lung - heart:.0f} mm behind what may be heart, wanted "
                                  f"{BEHIND_MM:.0f}")  # fmt: skip


def fat_share(grid: Grid, heart: np.ndarray) -> float:
    """How much of the heart is fat; real hearts have 0.03 to 0.11.

    Args:
        heart: its muscle with what is close to it.
    """
    fat = (grid.hu > PURE_FAT_HU[0]) & (grid.hu < PURE_FAT_HU[1])
    return float((fat & heart).sum() / heart.sum())


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
    flat, piece, count = planes.pieces(grid.hu > DENSE_HU, np.ones((3, 3, 3), bool))
    voxels, inside, reaches = (
        np.bincount(piece, weights, count) for weights in (None, within.ravel()[flat], deep.ravel()[flat])
    )
    excluded = (reaches / voxels > DEEP_SHARE) | (inside / voxels < 0.5 * evidence)
    other = np.zeros(grid.hu.shape, bool)
    other.ravel()[flat] = excluded[piece]
    return np.asarray(deep | planes.dilate(other, disc(BONE_RIM_MM, grid)))


def _from_core_mm(core: np.ndarray, grid: Grid) -> np.ndarray:
    """Distance to the core on its slices; far away on others."""
    distance, slices = np.full(core.shape, 1000.0, np.float32), core.any((1, 2))
    pixels = np.sqrt(planes.squared_distance(core[slices]), dtype=float).astype(np.float32)
    pixels *= grid.spacing_mm[1]
    distance[slices] = pixels
    return distance


def _near(from_core_mm: np.ndarray, grid: Grid, reach_mm: float) -> np.ndarray:
    """What is near the core, on its slices and some beyond: the heart's top and tip have no core."""
    within = from_core_mm <= reach_mm
    near, (below, above) = within.copy(), (round(mm / grid.spacing_mm[0]) for mm in (BELOW_MM, ABOVE_MM))
    for step in range(1, above + 1):
        near[step:] |= within[:-step]
    for step in range(1, below + 1):
        near[:-step] |= within[step:]
    return near


def _box(whole: np.ndarray, grid: Grid, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Rows and columns of the whole heart on the slices where its core lies between the lungs."""
    ends = []
    for axes, factor, size in zip(((0, 2), (0, 1)), grid.factors, shape[1:], strict=True):
        filled = np.flatnonzero(whole.any(axes))
        ends += [int(filled[0]) * factor, min((int(filled[-1]) + 1) * factor, size)]
    return ends[0], ends[1], ends[2], ends[3]


def _enlarged(region: np.ndarray, factors: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """The region in the volume's own pixels."""
    region_ZHW, wide = np.zeros(shape, bool), region.repeat(factors[1], axis=2)
    for row in range(factors[0]):
        region_ZHW[:, row : region.shape[1] * factors[0] : factors[0], : wide.shape[2]] = wide
    return region_ZHW
