"""Where the heart is, from the volume of a non-contrast chest CT alone: where calcium can be coronary, and a box.

Classical image analysis on a grid of about 2 mm, one step per function: air outside and lungs; the cavity that the
lungs surround; bone, with its marrow; the spine and the aorta in front of it; the heart's core, which is the soft
tissue far from its rim; what is near the core, but no lung, bone or cartilage, and not deep inside, where valves are.
The field of view may be so narrow that lungs, ribs and spine are cut off. Liver below the heart may be in the region:
there is no calcium in it. Sizes are those of adults; they leave room beyond what was seen in phantoms.

Axes: Z slices in ascending z, H rows from front to back, W columns from the patient's right to his left. Lowercase
z, h, w are those of the grid; z and Z are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cac_hpc.run.reasons import Refused

GRID_MM = 2.0  # pixels of the grid, about
OUTSIDE_HU, AIR_HU, LUNG_HU = -940, -500, (-940, -600)  # outside air is below; air or lung is below; mean of a lung
FAT_HU, DENSE_HU, BONE_HU = -20, 100, 150  # above fat; above soft tissue; bone: means of a grid pixel
LUNGS_CM3 = 250.0  # in the volume, at least
BONE_CM3 = 3.0  # no coronary plaque is so large
MARROW_MM2 = 1500.0  # cut through the inside of a bone, at most
BEYOND_MM = 12.0  # the heart goes on so far above and below its core
VERTEBRA_MM = 7.0  # bone that is farther from its rim is a vertebra's body
BONE_RIM_MM = 3.0  # of partial volume around bones
CORE_MM = 20.0  # of soft tissue around the core on its slice; vessels are thinner
CORE_CM3 = 12.0  # of the core between the lungs, at least
LUNG_SHARE = 0.35  # of the largest area of lung on a slice; a heart fills most of a narrow field of view
BESIDE_MM = 45.0  # from the middle between the lungs' outer ends; what is farther is rather liver or spleen
REACH_MM = 9.0  # from soft tissue around the core to its outermost vessels
WALL_REACH_MM = 20.0  # a heart bulges so far out of the lungs' hull, where it touches the chest's wall
FAT_MM = 6.0  # on the heart's muscle, with the vessels
THIN_MM = 5.0  # vessels in the lung are thinner
DEEP_MM = 8.0  # from fat; calcium of coronary arteries is nearer
PURE_FAT_HU, FAT_SHARE = (-140, -40), 0.06  # of the region at least, where a heart has fat
ATRIUM_DEGREES, UPPER_MM = (0, 80), 42.0  # from the patient's right to his back; below the top of the region
AORTA_MM = (8.0, 19.0)  # radius of the descending aorta
WALL_MM = 4.0  # of the aorta, with its blur

IN_PLANE = np.array([np.zeros((3, 3)), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3))], bool)


@dataclass(frozen=True)
class Heart:
    """The heart in a volume.

    region_ZHW: bool, where calcium can be coronary: the fat on the heart, and the muscle near to it. box: first row,
    row after the last, first column, column after the last of the heart in all slices.
    """

    region_ZHW: np.ndarray
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Grid:
    """The volume in pixels of about 2 mm: mean HU, float32 (z, h, w); edges of a voxel in mm; pixels per grid pixel."""

    hu: np.ndarray
    spacing_mm: tuple[float, float]  # of slices, of pixels
    factor: int

    @property
    def voxel_cm3(self) -> float:
        return self.spacing_mm[0] * self.spacing_mm[1] ** 2 / 1000


@dataclass(frozen=True)
class Spine:
    """Where the vertebrae are on each slice, (z,): rows of their front, columns of their middle."""

    front: np.ndarray
    middle: np.ndarray


def find(hu_ZHW: np.ndarray, spacing_mm: tuple[float, float, float]) -> Heart:
    """Find the heart.

    Args:
        hu_ZHW: (Z, H, W) int16 HU. spacing_mm: between slices, rows and columns; rows and columns about the same.
    Raises: Refused "no_heart", with what is not there.
    """
    grid = shrink(hu_ZHW, spacing_mm)
    outside = outside_air(grid)
    lungs = find_lungs(grid, outside)
    cavity = surrounded(lungs, grid) & ~outside
    bone = find_bone(grid)
    spine = find_spine(bone, lungs, grid)
    room = ndimage.binary_dilation(cavity, _disc(WALL_REACH_MM, grid)) & ~outside & (grid.hu >= AIR_HU)
    room &= ~ndimage.binary_dilation(bone, _disc(BONE_RIM_MM, grid))
    if spine is not None:
        room &= ~_behind(spine, grid)
        room &= ~find_aorta(grid, bone, spine)
    core = find_core(grid, room, lungs)
    from_core_mm = _from_core_mm(core, grid)
    muscle = from_core_mm <= CORE_MM
    within = ndimage.binary_dilation(surrounded(lungs | muscle, grid), _disc(FAT_MM, grid))
    whole = ndimage.binary_opening(room & within & _near(from_core_mm, grid), _disc(THIN_MM, grid))
    box = _box(whole, core, lungs, grid, hu_ZHW.shape)
    region = whole.copy()
    if has_fat(grid, from_core_mm <= CORE_MM + FAT_MM):
        region &= ~behind_right_atrium(whole, box, grid)
        region &= ~not_coronary(grid, within, _depth_mm(grid.hu > FAT_HU, grid) > DEEP_MM)
    return Heart(_enlarged(region, grid.factor, hu_ZHW.shape), box)


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


def shrink(hu_ZHW: np.ndarray, spacing_mm: tuple[float, float, float]) -> Grid:
    """Means over square blocks; what is left over on the right and at the bottom is cut off."""
    factor = max(1, min(round(GRID_MM / spacing_mm[2]), *hu_ZHW.shape[1:]))
    height, width = (size // factor for size in hu_ZHW.shape[1:])
    whole = hu_ZHW[:, : height * factor, : width * factor]
    rows = np.zeros((len(hu_ZHW), height, width * factor), np.int32)
    for step in range(factor):
        rows += whole[:, step::factor]
    total = np.zeros((len(hu_ZHW), height, width), np.int32)
    for step in range(factor):
        total += rows[:, :, step::factor]
    return Grid(total / np.float32(factor**2), (spacing_mm[0], spacing_mm[2] * factor), factor)


def outside_air(grid: Grid) -> np.ndarray:
    """Air and padding around the body, with the skin's blur."""
    labels, count = ndimage.label(grid.hu < OUTSIDE_HU)
    at_rim = np.zeros(count + 1, bool)
    for rim in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        at_rim[rim] = True
    at_rim[0] = False
    return np.asarray(ndimage.binary_dilation(at_rim[labels], _disc(4.0, grid)))


def find_lungs(grid: Grid, outside: np.ndarray) -> np.ndarray:
    """Large dark parts that are no outside air.

    Raises: Refused if there is too little lung for a chest.
    """
    dark = ndimage.binary_opening((grid.hu < AIR_HU) & ~outside, _disc(4.0, grid))
    dark[(grid.hu > -200).mean((1, 2)) < 0.1] = False  # slices with no body
    labels, count = ndimage.label(dark)
    index = np.arange(count + 1)
    mean_hu = ndimage.mean(grid.hu, labels, index)
    size_cm3 = np.bincount(labels.ravel(), minlength=count + 1) * grid.voxel_cm3
    lung = (size_cm3 > LUNGS_CM3 / 5) & (mean_hu > LUNG_HU[0]) & (mean_hu < LUNG_HU[1]) & (index > 0)
    if (found_cm3 := size_cm3[lung].sum()) < LUNGS_CM3:
        raise Refused("no_heart", f"{found_cm3:.0f} cm3 of lung, wanted {LUNGS_CM3:.0f}")
    return np.asarray(lung[labels])


def surrounded(lungs: np.ndarray, grid: Grid) -> np.ndarray:
    """The convex hull of the lungs on each slice and all above it.

    The chest widens downwards, and lower down the heart and the liver are where lung is higher up.
    """
    row, column = np.arange(lungs.shape[1])[:, None], np.arange(lungs.shape[2])
    hull = np.ones(lungs.shape, bool)
    for angle in np.arange(0, 2 * np.pi, np.pi / 16):
        along = (np.cos(angle) * column + np.sin(angle) * row).astype(np.float32)
        farthest = np.where(lungs, along, -np.inf).max((1, 2))
        hull &= along <= farthest[:, None, None] + 0.01
    return np.asarray(np.logical_or.accumulate(hull[::-1])[::-1])


def find_bone(grid: Grid) -> np.ndarray:
    """Large dense parts, with what they enclose on a slice."""
    labels, count = ndimage.label(grid.hu > BONE_HU)
    large = np.bincount(labels.ravel(), minlength=count + 1) * grid.voxel_cm3 > BONE_CM3
    large[0] = False
    bone = large[labels]
    reach = round(5.0 / grid.spacing_mm[1]) + 1
    padded = np.pad(bone, ((0, 0), (reach, reach), (reach, reach)))
    bone |= ndimage.binary_closing(padded, _disc(5.0, grid))[:, reach:-reach, reach:-reach]
    holes, count = ndimage.label(~bone, IN_PLANE)
    small = np.bincount(holes.ravel(), minlength=count + 1) * grid.spacing_mm[1] ** 2 < MARROW_MM2
    small[0] = False
    return np.asarray(bone | small[holes])


def find_spine(bone: np.ndarray, lungs: np.ndarray, grid: Grid) -> Spine | None:
    """The largest row of thick bones in the back; None if the field of view leaves it out."""
    thick = _depth_mm(bone, grid) > VERTEBRA_MM
    thick[:, : int(np.median(np.nonzero(lungs)[1]))] = False
    labels, count = ndimage.label(thick, np.ones((3, 3, 3), bool))
    if count == 0:
        return None
    spine = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    slices = np.flatnonzero(spine.any((1, 2)))
    front = [np.flatnonzero(spine[index].any(1))[0] - VERTEBRA_MM / grid.spacing_mm[1] for index in slices]
    middle = [np.median(np.nonzero(spine[index])[1]) for index in slices]
    every, window = np.arange(len(bone)), max(1, round(30.0 / grid.spacing_mm[0]))  # vertebra and disc
    steady = ndimage.minimum_filter1d(np.interp(every, slices, front), window, mode="nearest")
    return Spine(steady, ndimage.median_filter(np.interp(every, slices, middle), window, mode="nearest"))


def _behind(spine: Spine, grid: Grid) -> np.ndarray:
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
    mean = ndimage.uniform_filter1d(grid.hu, max(1, round(15.0 / grid.spacing_mm[0])), axis=0, mode="nearest")
    depth = _depth_mm((mean > FAT_HU) & ~bone, grid)
    peak = (depth == ndimage.maximum_filter(depth, (1, 5, 5))) & (depth >= AORTA_MM[0]) & (depth <= AORTA_MM[1])
    z, y, x = np.nonzero(peak)
    ahead, left = (y - spine.front[z]) * pixel_mm, (x - spine.middle[z]) * pixel_mm
    fits = (left > 5) & (left < 50) & (ahead > -35) & (ahead < 25)
    z, ahead, left, radius = z[fits], ahead[fits], left[fits], depth[z, y, x][fits]
    aorta = np.zeros(bone.shape, bool)
    if not len(z):
        return aorta
    close = np.hypot(ahead - ahead[:, None], left - left[:, None]) < 6
    best = np.array([len(np.unique(z[row])) for row in close]).argmax()
    same = close[best]
    if len(np.unique(z[same])) < 0.5 * len(bone):
        return aorta
    row, column = np.arange(bone.shape[1])[:, None], np.arange(bone.shape[2])
    down = row - (spine.front + np.median(ahead[same]) / pixel_mm)[:, None, None]
    across = column - (spine.middle + np.median(left[same]) / pixel_mm)[:, None, None]
    return np.asarray(np.hypot(down, across) * pixel_mm <= np.median(radius[same]) + WALL_MM)


def find_core(grid: Grid, room: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """The part of the soft tissue that is farther than CORE_MM from its rim on its slice, in its largest piece.

    Raises: Refused if there is none: vessels, and the tissue of a chest without a heart, are thinner.
    """
    soft = ndimage.median_filter((room & (grid.hu > FAT_HU)).view(np.uint8), (1, 3, 3)).astype(bool)
    labels, count = ndimage.label(_depth_mm(soft, grid) >= CORE_MM, np.ones((3, 3, 3), bool))
    columns = np.flatnonzero(lungs.any((0, 1)))
    beside = np.abs(np.arange(lungs.shape[2]) - columns[[0, -1]].mean()) * grid.spacing_mm[1] > BESIDE_MM
    central = labels[_between_lungs(lungs)][:, :, ~beside]
    sizes = np.bincount(central.ravel(), minlength=count + 1)[1:]
    if (core_cm3 := sizes.max(initial=0) * grid.voxel_cm3) < CORE_CM3:
        found = f"{core_cm3:.0f} cm3 of soft tissue between the lungs are {CORE_MM:.0f} mm from its rim"
        raise Refused("no_heart", f"{found}, wanted {CORE_CM3:.0f}")
    return np.asarray(labels == 1 + sizes.argmax())


def _between_lungs(lungs: np.ndarray) -> np.ndarray:
    """(z,) bool: slices with so much lung that what lies between is rather heart than liver."""
    area = lungs.sum((1, 2))
    return np.asarray(area >= LUNG_SHARE * area.max())


def has_fat(grid: Grid, heart: np.ndarray) -> bool:
    """Whether there is fat on the heart, as in patients; in phantoms nothing tells its inside from its surface.

    Args:
        heart: its muscle with what is close to it.
    """
    fat = (grid.hu > PURE_FAT_HU[0]) & (grid.hu < PURE_FAT_HU[1])
    return bool((fat & heart).sum() >= FAT_SHARE * heart.sum())


def behind_right_atrium(whole: np.ndarray, box: tuple[int, int, int, int], grid: Grid) -> np.ndarray:
    """The sector from straight right to nearly straight back, seen from the heart's middle, in its upper part.

    Right atrium, lung veins and left atrium are there, and lymph nodes of the hilum. The right coronary artery runs in
    front of it, and turns back below; the circumflex runs left of it.
    """
    middle = (box[0] + box[1]) / 2 / grid.factor, (box[2] + box[3]) / 2 / grid.factor
    down, right = np.arange(whole.shape[1])[:, None] - middle[0], middle[1] - np.arange(whole.shape[2])
    degrees = np.degrees(np.arctan2(down, right))
    sector = np.zeros(whole.shape, bool)
    top = np.flatnonzero(whole.any((1, 2)))[-1]
    upper = slice(max(0, top - round(UPPER_MM / grid.spacing_mm[0])), top + 1)
    sector[upper] = (degrees > ATRIUM_DEGREES[0]) & (degrees < ATRIUM_DEGREES[1])
    return sector


def not_coronary(grid: Grid, within: np.ndarray, deep: np.ndarray) -> np.ndarray:
    """What is deep inside; dense parts that reach there, as valves; those mostly outside of the chest, as cartilage.

    Args:
        within: the inside of the chest. deep: blood and muscle far from fat; coronary arteries run in fat.
    """
    labels, count = ndimage.label(grid.hu > DENSE_HU, np.ones((3, 3, 3), bool))
    voxels = np.bincount(labels.ravel(), minlength=count + 1)
    inside = np.bincount(labels.ravel(), within.ravel(), minlength=count + 1) / np.maximum(voxels, 1)
    reaches = np.bincount(labels.ravel(), deep.ravel(), minlength=count + 1) > 0
    other = reaches | (inside < 0.5)
    other[0] = False
    return np.asarray(deep | ndimage.binary_dilation(other[labels], _disc(BONE_RIM_MM, grid)))


def _from_core_mm(core: np.ndarray, grid: Grid) -> np.ndarray:
    """Distance to the core on its slices; far away on others."""
    distance = np.full(core.shape, 1000.0, np.float32)
    for index in np.flatnonzero(core.any((1, 2))):
        distance[index] = ndimage.distance_transform_edt(~core[index])
        distance[index] *= grid.spacing_mm[1]
    return distance


def _near(reach_mm: np.ndarray, grid: Grid) -> np.ndarray:
    """What the core's vessels can reach, on its slices and some beyond: the heart's top and tip have no core."""
    near = reach_mm <= CORE_MM + REACH_MM
    steps = 2 * round(BEYOND_MM / grid.spacing_mm[0]) + 1
    return np.asarray(ndimage.maximum_filter1d(near.view(np.uint8), steps, axis=0).astype(bool))


def _box(
    whole: np.ndarray, core: np.ndarray, lungs: np.ndarray, grid: Grid, shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Rows and columns of the whole heart on the slices where its core lies between the lungs."""
    flat = whole[_between_lungs(lungs) & core.any((1, 2))].any(0)
    rows, columns = (np.flatnonzero(np.any(flat, axis=axis)) * grid.factor for axis in (1, 0))
    bottom, right = (
        int(min(ends[-1] + grid.factor, size)) for ends, size in zip((rows, columns), shape[1:], strict=True)
    )
    return int(rows[0]), bottom, int(columns[0]), right


def _enlarged(region: np.ndarray, factor: int, shape: tuple[int, ...]) -> np.ndarray:
    """The region in the volume's own pixels."""
    region_ZHW = np.zeros(shape, bool)
    large = region.repeat(factor, axis=1).repeat(factor, axis=2)
    region_ZHW[:, : large.shape[1], : large.shape[2]] = large
    return region_ZHW


def _disc(radius_mm: float, grid: Grid) -> np.ndarray:
    """A disc on one slice, as a structuring element (1, h, w)."""
    reach = int(radius_mm / grid.spacing_mm[1])
    offset = np.arange(-reach, reach + 1)
    return np.asarray(np.hypot(offset[:, None], offset)[None] * grid.spacing_mm[1] <= radius_mm + 1e-6)


def _depth_mm(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Distance of each pixel of a mask to its rim on the slice; the field of view is no rim."""
    depth = np.zeros(mask.shape, np.float32)
    for index in np.flatnonzero(mask.any((1, 2)) & ~mask.all((1, 2))):
        depth[index] = ndimage.distance_transform_edt(mask[index])
    return depth * np.float32(grid.spacing_mm[1])
