"""Coronary calcium in a volume, inside a given region: Agatston, volume and mass score, and a table of lesions.

Axes: Z slices, H rows, W columns, L lesions.

A lesion is a group of neighbouring pixels of one slice, inside the region, each at the threshold or above, that covers
the least area. Lesions of neighbouring slices are counted apart, also where they are one plaque. A region that people
have drawn cuts lesions. One that image analysis has found chooses them: a lesion counts whole if more than half of its
pixels lie in it, else not at all.

Sources, and where implementations differ (`RuleConfig` has the settings):
    Agatston et al. 1990, J Am Coll Cardiol 15:827-832: electron-beam CT of contiguous 3 mm slices; 130 HU, an area of
    1 mm2 or more, times 1 to 4 for a maximum of 130-199, 200-299, 300-399, 400 HU and more; sum over the slices.
    Threshold: ">= 130" and "> 130" are both in use: threshold_hu 130 or 131. Least area: 1 mm2, or two to four pixels,
    which is another area at every field of view. Neighbours: 8, or 4. Slice spacing: the original rule has no factor,
    for all its slices are 3 mm apart; usual is to scale by spacing / 3 mm, so that thinner slices do not score more.
    Volume: Callister et al. 1998, Radiology 208:807-814, there of an interpolated volume; usual is the number of voxels
    times their size, as here. Mass: McCollough et al. 2007, Radiology 243:527-538: calibration factor times mean HU
    times volume, the factor from a phantom with known hydroxyapatite, for each scanner and tube voltage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cac_hpc.calcium import pieces
from cac_hpc.settings.score_command import RuleConfig

if TYPE_CHECKING:
    import pandas as pd

WEIGHT_STEPS_HU = (200, 300, 400)  # a lesion's maximum at or above each step adds 1 to its weight of 1
REFERENCE_SPACING_MM = 3.0  # the rule was written for contiguous slices of 3 mm

Spacing = tuple[float, float, float]  # mm between the centres of slices, rows and columns
Offsets = Sequence[tuple[int, int, int]]  # in slices, rows and columns
EDGES: Offsets = ((0, 0, 1), (0, 1, 0))  # to the neighbours on the same slice that come later in the volume
EDGES_AND_CORNERS: Offsets = ((0, 0, 1), (0, 1, -1), (0, 1, 0), (0, 1, 1))


@dataclass(frozen=True)
class Score:
    """The calcium of a study.

    agatston, volume_mm3, mass_mg: sums over the lesions; the mass is None without a calibration factor.
    slices: (Z,) Agatston score of each slice. empty_slices: share of the slices that have no voxel at the threshold
    inside the region, however small a lesion may be. column_L: of the table of its lesions.
    """

    agatston: float
    volume_mm3: float
    mass_mg: float | None
    slices: np.ndarray
    empty_slices: float
    column_L: dict[str, np.ndarray]

    @property
    def lesions(self) -> pd.DataFrame:
        """One row per lesion, slice by slice.

        slice from 0; row, column of its brightest pixel, from 0; region: its value in the region, of a whole lesion the
        highest in it; pixels, area_mm2, max_hu, mean_hu, weight 1 to 4; agatston, volume_mm3, mass_mg (NaN without a
        calibration factor).
        """
        import pandas as pd  # takes a third of a second: only where the table is wanted

        return pd.DataFrame(self.column_L)


def score_study(
    hu_ZHW: np.ndarray,
    region_ZHW: np.ndarray,
    spacing_mm: Spacing,
    rule: RuleConfig | None = None,
    within_ZHW: np.ndarray | None = None,
) -> Score:
    """Score the calcium inside a region.

    Args:
        hu_ZHW: (Z, H, W) HU, at the scanner's own resolution: resampled lesions are fainter.
        region_ZHW: (Z, H, W) bool or integers, where calcium is coronary: True, or anything but 0.
        spacing_mm: between slices, rows and columns; not the thickness of the slices.
        rule: of the settings; the defaults if None.
        within_ZHW: (Z, H, W) bool, where lesions are looked for that count whole if more than half of their pixels lie
            in the region, which is a part of it; None cuts them at the region's edge.
    Raises: ValueError if volume and region differ in shape.
    """
    rule = rule or RuleConfig()
    if hu_ZHW.shape != region_ZHW.shape:
        raise ValueError(f"volume is {hu_ZHW.shape}, but region is {region_ZHW.shape}: both must be the same (Z, H, W)")
    number, z, y, x = _labelled(hu_ZHW, region_ZHW if within_ZHW is None else within_ZHW, rule)
    hu, region = (volume_ZHW[z, y, x].astype(np.int64) for volume_ZHW in (hu_ZHW, region_ZHW))
    pixels = {"number": number, "slice": z, "row": y, "column": x, "hu": hu, "region": region}
    lesions = _lesion_columns(pixels, spacing_mm, rule, whole=within_ZHW is not None)
    filled_Z = np.bincount(z, region != 0, minlength=len(hu_ZHW)) > 0
    return Score(
        agatston=float(lesions["agatston"].sum()),
        volume_mm3=float(lesions["volume_mm3"].sum()),
        mass_mg=None if rule.mass_factor is None else float(lesions["mass_mg"].sum()),
        slices=np.bincount(lesions["slice"], lesions["agatston"], minlength=len(hu_ZHW)),
        empty_slices=float(1 - filled_Z.mean()),
        column_L=lesions,
    )


def score_volume(
    hu_ZHW: np.ndarray,
    mask_ZHW: np.ndarray,
    pixel_spacing_mm: float,
    slice_spacing_mm: float,
    *,
    min_area_mm2: float = 1.0,
) -> float:
    """The Agatston score inside a mask, of square pixels; `score_study` tells more."""
    spacing_mm = (slice_spacing_mm, pixel_spacing_mm, pixel_spacing_mm)
    return score_study(hu_ZHW, mask_ZHW, spacing_mm, RuleConfig(min_area_mm2=min_area_mm2)).agatston


def _lesion_columns(
    pixels: dict[str, np.ndarray], spacing_mm: Spacing, rule: RuleConfig, whole: bool
) -> dict[str, np.ndarray]:
    """The columns of the lesions that count.

    Args:
        pixels: of each bright pixel the number of its lesion, slice, row, column, hu, and value in the region.
        whole: whether lesions count whole.
    """
    order = np.lexsort((-pixels["hu"], pixels["number"]))  # by lesion, the brightest first, of equal ones the first
    number, z, y, x, hu, region = (column[order] for column in pixels.values())
    first = np.flatnonzero(np.diff(number, prepend=-1))
    count = np.diff(first, append=len(number))
    lesions = {"slice": z[first], "row": y[first], "column": x[first]}
    lesions["region"] = np.maximum.reduceat(region, first) if whole and len(first) else region[first]
    lesions["pixels"], lesions["area_mm2"] = count, count * spacing_mm[1] * spacing_mm[2]
    lesions["max_hu"], lesions["mean_hu"] = hu[first], np.add.reduceat(hu, first) / count if len(first) else hu[first]
    counted = (lesions["area_mm2"] >= rule.min_area_mm2 - 1e-9) & (lesions["pixels"] >= rule.min_area_pixels)
    if whole and len(first):
        counted &= 2 * np.add.reduceat(region != 0, first, dtype=np.int64) > count
    return _scored({name: column_L[counted] for name, column_L in lesions.items()}, spacing_mm[0], rule)


def _labelled(hu_ZHW: np.ndarray, region_ZHW: np.ndarray, rule: RuleConfig) -> tuple[np.ndarray, ...]:
    """Of every pixel of a lesion, however small: the lesion's number from 0, in order of the slices, and z, y, x."""
    position_V3 = bright(hu_ZHW, region_ZHW, rule.threshold_hu)
    number = connected(position_V3, hu_ZHW.shape, EDGES if rule.neighbours == 4 else EDGES_AND_CORNERS)
    return number.astype(np.int64), *position_V3.T


def bright(hu_ZHW: np.ndarray, region_ZHW: np.ndarray, threshold_hu: int) -> np.ndarray:
    """Slice, row and column of the voxels of a region at the threshold or above, (V, 3) in the order of the volume."""
    flat = [np.flatnonzero(bright_HW) for bright_HW in _bright_slices(hu_ZHW, region_ZHW, threshold_hu)]
    z = np.repeat(np.arange(len(flat)), [len(found) for found in flat])
    return np.stack([z, *np.divmod(np.concatenate([*flat, np.zeros(0, int)]), hu_ZHW.shape[2])], axis=1)


def _bright_slices(hu_ZHW: np.ndarray, region_ZHW: np.ndarray, threshold_hu: int) -> Iterator[np.ndarray]:
    """Of each slice, which of its pixels in the region are at the threshold or above; a slice fits into the cache."""
    for hu_HW, region_HW in zip(hu_ZHW, region_ZHW, strict=True):
        yield (hu_HW >= threshold_hu) & (region_HW if region_HW.dtype == bool else region_HW != 0)


def connected(position_V3: np.ndarray, shape: tuple[int, ...], offsets: Offsets) -> np.ndarray:
    """The piece of each voxel, from 0 in the order of the volume.

    Args:
        position_V3: in the order of the volume. offsets: of neighbours that come later in it.
    """
    count, strides = len(position_V3), np.array([(shape[1] + 2) * (shape[2] + 2), shape[2] + 2, 1])
    flat = (position_V3 + 1) @ strides  # with a rim, so that rows do not touch around the edge
    pairs = []
    for offset in offsets:
        wanted = flat + np.array(offset) @ strides
        at = np.minimum(np.searchsorted(flat, wanted), max(count - 1, 0))
        here = np.flatnonzero(flat[at] == wanted) if count else np.zeros(0, int)
        pairs.append(np.stack([here, at[here]]))
    one, other = np.concatenate(pairs, axis=1)
    return pieces.connected(one, other, count)


def agatston_of(
    area_mm2_L: np.ndarray, max_hu_L: np.ndarray, slice_spacing_mm: float, spacing_factor: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weight, 1 to 4, and Agatston score of each lesion."""
    weight_L = 1 + np.digitize(max_hu_L, WEIGHT_STEPS_HU)
    return weight_L, area_mm2_L * weight_L * (slice_spacing_mm / REFERENCE_SPACING_MM if spacing_factor else 1.0)


def _scored(lesions: dict[str, np.ndarray], slice_spacing_mm: float, rule: RuleConfig) -> dict[str, np.ndarray]:
    """Lesions with what they count."""
    weight_L, agatston_L = agatston_of(lesions["area_mm2"], lesions["max_hu"], slice_spacing_mm, rule.spacing_factor)
    volume_mm3_L = lesions["area_mm2"] * slice_spacing_mm
    mass_factor = np.nan if rule.mass_factor is None else rule.mass_factor
    return {
        **lesions,
        "weight": weight_L,
        "agatston": agatston_L,
        "volume_mm3": volume_mm3_L,
        "mass_mg": mass_factor * lesions["mean_hu"] * volume_mm3_L,
    }
