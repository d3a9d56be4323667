"""The core of the heart: the soft tissue between the lungs that is far from its rim; the blood in it, and what is near.

Axes: as in `chest`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy

from cac_hpc.calcium import chest, pieces, planes
from cac_hpc.calcium.chest import FAT_HU, Grid
from cac_hpc.run.rejections import Refused

BELOW_MM, ABOVE_MM = 6.0, 15.0  # the heart goes on so far below and above its core
CORE_MM = 20.0  # of soft tissue around the core on its slice; vessels are thinner
CORE_CM3, CORE_HEIGHT_MM = 12.0, 18.0  # of the core between the lungs, at least
LUNG_SHARE = 0.35  # of the largest area of lung on a slice; a heart fills most of a narrow field of view
BODY_SHARE, SIDE_CM2 = 0.1, 3.0  # of lung on the body's area, and on each side: at least, where a heart is
BEHIND_MM = 33.0  # the lungs reach so far behind the core; bowel with gas lies in front or beside, recesses are short
BACK_SHARE = 0.9  # of both: the rest is farther back and does not count
CORE_ENDS_MM = (-55.0, 70.0)  # to the left of the middle between the lungs' outer ends; liver and spleen are farther
BESIDE_MM = 45.0  # from the middle between the lungs' outer ends; what is farther is rather liver or spleen
BLOOD_MM, BLOOD_SHARE = 6.0, 0.1  # means of blood are taken over; of the core at least that a filled chamber takes
CONTRAST_HU = 90.0  # blood that is brighter holds contrast agent: see blood_in
PLAIN_HU = 45.0  # blood without


def between_lungs(lungs: np.ndarray, outside: np.ndarray, grid: Grid) -> np.ndarray:
    """(z,) bool: slices with so much lung on both sides that what lies between is rather heart than liver."""
    area = planes.counts(lungs)
    right = planes.counts(lungs & (_from_middle_mm(lungs, grid) < 0))
    side_cm2 = np.minimum(right, area - right) * grid.spacing_mm[1] ** 2 / 100
    body = planes.counts(~outside)
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
    bright = around_core(deep, grid, CORE_MM) & tissue & (grid.hu > PLAIN_HU)
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
    found, left_mm = pieces.find(thick[box], pieces.CORNERS), _from_middle_mm(lungs, grid)
    central = between[box[0], None, None] & (np.abs(left_mm[box[2]]) <= BESIDE_MM)
    sizes = found.sums(np.broadcast_to(central, found.shape))
    if (core_cm3 := sizes.max(initial=0) * grid.voxel_cm3) < CORE_CM3:
        why = f"{core_cm3:.0f} cm3 of soft tissue between the lungs are {CORE_MM:.0f} mm from its rim"
        raise Refused("no_heart", f"{why}, wanted {CORE_CM3:.0f}")
    core = np.zeros(thick.shape, bool)
    core[box] = found.mask_of(np.arange(len(found)) == sizes.argmax())
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


def around_core(core: np.ndarray, grid: Grid, reach_mm: float) -> np.ndarray:
    """What is at most so far from the core on its slices."""
    pixel_mm = np.float32(grid.spacing_mm[1])
    return planes.dilate(
        core,
        planes.element(lambda pixels: pixels.astype(np.float32) * pixel_mm <= reach_mm, int(reach_mm / pixel_mm) + 1),
    )


def core_distance_mm(core: np.ndarray, grid: Grid, pixel_P: tuple[np.ndarray, ...]) -> np.ndarray:
    """Distance of some pixels to the core on their slices, float32 (P,); 1000 on slices without.

    Args:
        pixel_P: slice, row and column of each pixel.
    """
    pixels_P = np.sqrt(planes.squared_distance_at(core, pixel_P)).astype(np.float32)
    there_P = np.asarray(core.any((1, 2)))[pixel_P[0]]
    return np.where(there_P, pixels_P * np.float32(grid.spacing_mm[1]), np.float32(1000))


def near_core(core: np.ndarray, grid: Grid, reach_mm: float) -> np.ndarray:
    """What is near the core, on its slices and some beyond: the heart's top and tip have no core."""
    within = around_core(core, grid, reach_mm)
    near, (below, above) = within.copy(), (round(mm / grid.spacing_mm[0]) for mm in (BELOW_MM, ABOVE_MM))
    for step in range(1, above + 1):
        near[step:] |= within[:-step]
    for step in range(1, below + 1):
        near[:-step] |= within[step:]
    return near
