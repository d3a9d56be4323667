"""What can be calcium in and near the heart, piece by piece: the units that a lesion model counts or leaves out.

A candidate is a 3-D piece of lesions: groups of neighbouring pixels of one slice at the threshold of the Agatston rule
and of its least area (see `agatston`), joined where pixels of neighbouring slices touch, corners included. Recall is
what counts here: the hull is generous, and what is not coronary is left to the model.

Axes: Z slices, H rows, W columns, V voxels, L lesions, C candidates, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from cac_hpc.calcium import agatston, aorta, planes
from cac_hpc.calcium.agatston import Spacing
from cac_hpc.calcium.aorta import AscendingAorta
from cac_hpc.calcium.chest import AIR_HU
from cac_hpc.calcium.heart import DENSE_HU, PURE_FAT_HU, Heart, Surroundings
from cac_hpc.calcium.heart_core import core_distance_mm
from cac_hpc.settings.score_command import RuleConfig

VERSION = 4  # 4: ring_open; 3: the ascending aorta is not taken for the pulmonary trunk; 2: places by it,
# others_agatston
RULE = RuleConfig()
NEAR_MM, CLOSE_MM, CHAMBER_MM = 10.0, 4.0, 12.0  # half the sides of boxes in which tissues are measured
APART_MM = 8.0  # along z, between a candidate and where fat above and below it is measured
NOISE_MM = 4.0  # what is wider than this is no noise
RING_MM, DIRECTIONS = (2.0, 3.5, 5.0), 16  # from a candidate's rim, where its surroundings are measured
RING_HU = (-150.0, 60.0)  # what is darker or brighter counts as these
RING_FAT_HU = (-160.0, -30.0)
OPEN_HU = -25.0  # a direction in which nothing is as dark as this has no fat
OTHERS_MM = 12.0  # between the middles of candidates that are near each other
AVERAGE_MM = 60.0  # radius of a heart; positions are scaled to it
FEATURES = (  # name, unit
    ("region_share", "share of the voxels in the heart's region"),
    ("log_agatston", "natural logarithm of 1 + Agatston score"),
    ("log_volume", "natural logarithm of 1 + mm3"),
    ("max_hu", "HU"),
    ("mean_hu", "HU"),
    ("height_mm", "mm along z"),
    ("width_mm", "mm, the longer side of its box on the slices"),
    ("noise_hu", "standard deviation of HU in the heart's core, of the study"),
    ("left_mm", "mm to the patient's left of the middle of the heart's box, in a heart of average size"),
    ("back_mm", "mm to the patient's back of it, in a heart of average size"),
    ("up_mm", "mm above the middle of the heart's core, in a heart of average size"),
    ("above_bottom_mm", "mm above the core's lowest slice"),
    ("below_top_mm", "mm below the highest slice of the heart's region"),
    ("from_core_mm", "mm to the heart's core on its slice, 100 at most"),
    ("fat_depth_mm", "mm to the nearest fat or air on its slice"),
    ("chamber_mm", "mm, the largest such depth within 12 mm on its slice"),
    ("whole_share", "share of its voxels in the heart, its inside included"),
    ("atrium_share", "share of its voxels behind the right atrium"),
    ("region_near", "share of the heart's region within 10 mm on its slice"),
    ("fat_near", "share of fat within 10 mm on its slice"),
    ("fat_close", "share of fat within 4 mm on its slice"),
    ("fat_above", "the same 8 mm above it"),
    ("fat_below", "the same 8 mm below it"),
    ("muscle_near", "share of muscle and blood within 10 mm on its slice"),
    ("lung_near", "share of air or lung within 10 mm on its slice"),
    ("bone_near", "share of bone within 10 mm on its slice"),
    ("dense_near", "share at the threshold within 10 mm on its slice"),
    ("ring_fat", "share of 16 directions in which fat is the darkest within 2 to 5 mm of its rim"),
    ("ring_hu", "HU, the mean of the darkest in these directions"),
    ("ring_open", "share of these directions in the longest run of neighbours without fat"),
    ("aorta_gap_mm", "mm to the wall of the ascending aorta on its slice, negative inside, -20 to 40"),
    ("aorta_left_mm", "mm to the patient's left of its axis, -60 to 60"),
    ("aorta_back_mm", "mm to the patient's back of it, -60 to 60"),
    ("aorta_up_mm", "mm above the lowest slice on which it stands out, -50 to 40"),
    ("others_agatston", "natural logarithm of 1 + Agatston score of the other candidates within 12 mm"),
)
LOGARITHMIC = {  # features of which a model takes log(1 + feature - this)
    "max_hu": RULE.threshold_hu, "mean_hu": RULE.threshold_hu, "height_mm": 0, "width_mm": 0, "chamber_mm": 0,
    "from_core_mm": 0,
}  # fmt: skip
ROOTS = ("fat_near", "fat_close", "lung_near", "bone_near", "dense_near")  # of which a model takes the square root
NAMES = tuple(name for name, _ in FEATURES)


@dataclass(frozen=True)
class Candidates:
    """The candidates of a study.

    feature_CF: float32, see FEATURES. agatston_C: float32. lesions of which candidate and slice with what score:
    candidate_L, slice_L int32, agatston_L float32. voxel_V3: int16 slice, row and column, those of one candidate after
    those of the other; start_C1: (C + 1) int64, where in them each candidate starts. noise_hu: of the study.
    """

    feature_CF: np.ndarray
    candidate_L: np.ndarray
    slice_L: np.ndarray
    agatston_L: np.ndarray
    voxel_V3: np.ndarray
    start_C1: np.ndarray

    def __len__(self) -> int:
        return len(self.feature_CF)

    @property
    def agatston_C(self) -> np.ndarray:
        """Agatston score of each candidate, (C,)."""
        return np.bincount(self.candidate_L, self.agatston_L, len(self)).astype(np.float32)


def find(
    hu_ZHW: np.ndarray,
    spacing_mm: Spacing,
    heart: Heart,
    ascending: AscendingAorta | None = None,
    spacing_factor: bool = True,
) -> Candidates:
    """Find and measure the candidates of a study.

    Args:
        hu_ZHW: (Z, H, W) int16 HU, at the scanner's own resolution. spacing_mm: between slices, rows and columns.
        heart: where it is in this volume. ascending: the aorta; None if it is to be found here.
        spacing_factor: whether scores are multiplied by the spacing of the slices / 3 mm.
    """
    position_V3 = agatston.bright(hu_ZHW, heart.hull_ZHW, RULE.threshold_hu)
    lesion_V, position_V3 = _lesions(position_V3, hu_ZHW.shape, spacing_mm)
    candidate_V = _joined(position_V3, hu_ZHW.shape)
    order = np.lexsort((lesion_V, candidate_V))
    lesion_V, candidate_V, position_V3 = lesion_V[order], candidate_V[order], position_V3[order]
    z, y, x = position_V3.T
    hu_V = hu_ZHW[z, y, x].astype(np.int64)
    first_L = np.flatnonzero(np.diff(lesion_V, prepend=-1))
    area_L = np.diff(first_L, append=len(lesion_V)) * spacing_mm[1] * spacing_mm[2]
    highest_L = np.maximum.reduceat(hu_V, first_L) if len(first_L) else hu_V[:0]
    _, score_L = agatston.agatston_of(area_L, highest_L, spacing_mm[0], spacing_factor)
    start_C1 = np.concatenate([np.flatnonzero(np.diff(candidate_V, prepend=-1)), [len(candidate_V)]])
    found = Candidates(
        feature_CF=np.zeros((len(start_C1) - 1, len(FEATURES)), np.float32),
        candidate_L=candidate_V[first_L].astype(np.int32),
        slice_L=z[first_L].astype(np.int32),
        agatston_L=score_L.astype(np.float32),
        voxel_V3=position_V3.astype(np.int16),
        start_C1=start_C1.astype(np.int64),
    )
    _measure(found, hu_V, hu_ZHW, spacing_mm, heart, ascending or aorta.find(heart.chest, heart.box))
    return found


def _lesions(position_V3: np.ndarray, shape: tuple[int, ...], spacing_mm: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """The lesion of each voxel, from 0, and the voxels of lesions that cover the least area."""
    number_V = agatston.connected(position_V3, shape, agatston.EDGES_AND_CORNERS)
    pixels = np.bincount(number_V)
    kept = pixels * spacing_mm[1] * spacing_mm[2] >= RULE.min_area_mm2 - 1e-9
    kept_V = kept[number_V] if len(number_V) else np.zeros(0, bool)
    return (np.cumsum(kept) - 1)[number_V[kept_V]], position_V3[kept_V]


def _joined(position_V3: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The candidate of each voxel, from 0."""
    below = [(1, y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return agatston.connected(position_V3, shape, [*agatston.EDGES_AND_CORNERS, *below])


def _measure(
    found: Candidates,
    hu_V: np.ndarray,
    hu_ZHW: np.ndarray,
    spacing_mm: Spacing,
    heart: Heart,
    ascending: AscendingAorta,
) -> None:
    """Fill in the features."""
    if not len(found):
        return
    there, (z, y, x), start = heart.chest, found.voxel_V3.T.astype(int), found.start_C1[:-1]
    down, across = there.grid.factors
    grid_V = z, np.minimum(y // down, there.hull.shape[1] - 1), np.minimum(x // across, there.hull.shape[2] - 1)
    count_C = np.diff(found.start_C1)

    def mean(value_V: np.ndarray) -> np.ndarray:
        return np.asarray(np.add.reduceat(value_V.astype(float), start) / count_C)

    sides_3C = np.stack([np.maximum.reduceat(side, start) - np.minimum.reduceat(side, start) + 1 for side in (z, y, x)])
    middle_C3 = np.stack([mean(side) for side in (z, y, x)], axis=1)
    area_C = count_C * spacing_mm[1] * spacing_mm[2] / sides_3C[0]
    columns = {
        "log_agatston": np.log1p(found.agatston_C),
        "log_volume": np.log1p(count_C * float(np.prod(spacing_mm))),
        "max_hu": np.maximum.reduceat(hu_V, start),
        "mean_hu": mean(hu_V),
        "height_mm": sides_3C[0] * spacing_mm[0],
        "width_mm": np.maximum(sides_3C[1] * spacing_mm[1], sides_3C[2] * spacing_mm[2]),
        "noise_hu": np.full(len(found), noise_hu(hu_ZHW, spacing_mm, there)),
        **_place(middle_C3, spacing_mm, heart),
        **{name: mean(values) for name, values in _of_grid(there, grid_V).items()},
        **_ring(hu_ZHW, middle_C3, np.sqrt(area_C / np.pi), spacing_mm),
        **_by_aorta(middle_C3, spacing_mm, heart, ascending),
        "others_agatston": np.log1p(_others(middle_C3 * spacing_mm, found.agatston_C)),
    }
    for index, name in enumerate(NAMES):
        found.feature_CF[:, index] = columns[name]


def _place(middle_C3: np.ndarray, spacing_mm: Spacing, heart: Heart) -> dict[str, np.ndarray]:
    """Where candidates are in the heart; their middles are given as slice, row and column."""
    z, y, x = middle_C3.T
    top, bottom, left, right = heart.box
    slices = np.flatnonzero(heart.chest.core.any((1, 2)))
    highest = np.flatnonzero(heart.chest.region.any((1, 2)))[-1:]
    radius_mm = np.sqrt((bottom - top) * spacing_mm[1] * (right - left) * spacing_mm[2]) / 2
    return {
        "left_mm": (x + 0.5 - (left + right) / 2) * spacing_mm[2] * AVERAGE_MM / radius_mm,
        "back_mm": (y + 0.5 - (top + bottom) / 2) * spacing_mm[1] * AVERAGE_MM / radius_mm,
        "up_mm": (z - slices[[0, -1]].mean()) * spacing_mm[0] * AVERAGE_MM / radius_mm,
        "above_bottom_mm": (z - slices[0]) * spacing_mm[0],
        "below_top_mm": ((highest if len(highest) else slices[-1:]) - z) * spacing_mm[0],
    }


def _by_aorta(middle_C3: np.ndarray, spacing_mm: Spacing, heart: Heart, found: AscendingAorta) -> dict[str, np.ndarray]:
    """Where candidates are by the ascending aorta."""
    top, bottom, left, right = heart.box
    z, y, x = middle_C3.T
    columns_mm, rows_mm = (x + 0.5 - (left + right) / 2) * spacing_mm[2], (y + 0.5 - (top + bottom) / 2) * spacing_mm[1]
    left_mm, back_mm = found.from_axis(columns_mm, rows_mm, z * spacing_mm[0])
    return {
        "aorta_gap_mm": np.clip(np.hypot(left_mm, back_mm) - found.radius_mm, -20, 40),
        "aorta_left_mm": np.clip(left_mm, -60, 60),
        "aorta_back_mm": np.clip(back_mm, -60, 60),
        "aorta_up_mm": np.clip(z * spacing_mm[0] - found.ends_mm[0], -50, 40),
    }


def _others(place_mm_C3: np.ndarray, agatston_C: np.ndarray) -> np.ndarray:
    """Agatston score of what else is near, (C,): valves, the contents of bowel and bone come in many pieces."""
    pair_P2 = scipy.spatial.cKDTree(place_mm_C3).query_pairs(OTHERS_MM, output_type="ndarray")
    one_P, other_P = np.concatenate([pair_P2, pair_P2[:, ::-1]]).T
    return np.bincount(one_P, agatston_C[other_P], len(place_mm_C3))


def _of_grid(there: Surroundings, grid_V: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """What the grid says at each voxel, (V,)."""
    hu, (slice_mm, pixel_mm) = there.grid.hu, there.grid.spacing_mm
    flat_P, of_V = np.unique(np.ravel_multi_index(grid_V, hu.shape), return_inverse=True)
    z, y, x = at_P = np.unravel_index(flat_P, hu.shape)

    def side(half_mm: float) -> int:
        return max(1, round(2 * half_mm / pixel_mm) | 1)

    def share(tissue: np.ndarray, half_mm: float, pixel_P: tuple[np.ndarray, ...] = at_P) -> np.ndarray:
        return planes.share_around(tissue, side(half_mm), pixel_P)

    fat, steps = (hu > PURE_FAT_HU[0]) & (hu < PURE_FAT_HU[1]), round(APART_MM / slice_mm)
    found = {
        "region_share": there.region[at_P],
        "whole_share": there.whole[at_P],
        "atrium_share": there.behind_atrium[at_P],
        "from_core_mm": np.minimum(core_distance_mm(there.core, there.grid, at_P), 100),
        "fat_depth_mm": there.fat_depth_mm[at_P],
        "chamber_mm": planes.highest_around(there.fat_depth_mm, side(CHAMBER_MM), at_P),
        "region_near": share(there.region, NEAR_MM),
        "fat_near": share(fat, NEAR_MM),
        "fat_close": share(fat, CLOSE_MM),
        "fat_above": share(fat, CLOSE_MM, (np.minimum(z + steps, len(hu) - 1), y, x)),
        "fat_below": share(fat, CLOSE_MM, (np.maximum(z - steps, 0), y, x)),
        "muscle_near": share((hu > 0) & (hu < DENSE_HU), NEAR_MM),
        "lung_near": share(hu < AIR_HU, NEAR_MM),
        "bone_near": share(there.bone, NEAR_MM),
        "dense_near": share(hu >= RULE.threshold_hu, NEAR_MM),
    }
    return {name: value_P[of_V] for name, value_P in found.items()}


def _ring(
    hu_ZHW: np.ndarray, middle_C3: np.ndarray, radius_mm_C: np.ndarray, spacing_mm: Spacing
) -> dict[str, np.ndarray]:
    """What is around candidates on their middle slices: a vessel runs in fat, a valve in blood."""
    z = np.rint(middle_C3[:, 0]).astype(int)
    darkest = []
    for angle in np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS):
        seen = []
        for away_mm in RING_MM:
            y = np.rint(middle_C3[:, 1] + np.sin(angle) * (radius_mm_C + away_mm) / spacing_mm[1]).astype(int)
            x = np.rint(middle_C3[:, 2] + np.cos(angle) * (radius_mm_C + away_mm) / spacing_mm[2]).astype(int)
            seen.append(hu_ZHW[z, y.clip(0, hu_ZHW.shape[1] - 1), x.clip(0, hu_ZHW.shape[2] - 1)])
        darkest.append(np.min(seen, axis=0))
    darkest_DC = np.array(darkest, float)
    fat_DC = (darkest_DC > RING_FAT_HU[0]) & (darkest_DC < RING_FAT_HU[1])
    return {
        "ring_fat": fat_DC.mean(axis=0),
        "ring_hu": darkest_DC.clip(*RING_HU).mean(axis=0),
        "ring_open": _longest_run(darkest_DC > OPEN_HU) / DIRECTIONS,
    }


def _longest_run(open_DC: np.ndarray) -> np.ndarray:
    """Of directions around each candidate, the most that are open one after the other, across the first too: (C,)."""
    run_C = longest_C = np.zeros(open_DC.shape[1], np.int64)
    for open_C in (*open_DC, *open_DC):
        run_C = (run_C + 1) * open_C
        longest_C = np.maximum(longest_C, run_C)
    return longest_C.clip(max=len(open_DC))


def noise_hu(hu_ZHW: np.ndarray, spacing_mm: Spacing, there: Surroundings) -> float:
    """Standard deviation of what is finer than NOISE_MM in the heart's core, on its largest slice; robust.

    Source: the median absolute deviation times 1.4826 is a normal distribution's standard deviation.
    """
    down, across = there.grid.factors
    at = int(there.core.sum((1, 2)).argmax())
    core = there.core[at].repeat(down, axis=0).repeat(across, axis=1)
    size = [max(3, round(2 * NOISE_MM / mm)) for mm in spacing_mm[1:]]
    around = tuple(slice(max(0, side.start - num), side.stop + num)
                   for side, num in zip(planes.bounds(core), size, strict=True))  # fmt: skip
    hu_HW = hu_ZHW[at, : core.shape[0], : core.shape[1]][around].astype(np.float32)
    rest = (hu_HW - scipy.ndimage.uniform_filter(hu_HW, size, mode="nearest"))[core[around]]
    return float(1.4826 * np.median(np.abs(rest - np.median(rest))))
