"""What can be calcium in and near the heart, piece by piece: the units that a lesion model counts or leaves out.

A candidate is a 3-D piece of lesions: groups of neighbouring pixels of one slice at the threshold of the Agatston rule
and of its least area (see `agatston`), joined where pixels of neighbouring slices touch, corners included. Recall is
what counts here: the hull is generous, and what is not coronary is left to the model.

Axes: Z slices, H rows, W columns, V voxels, L lesions, C candidates, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from cac_hpc.calcium import agatston
from cac_hpc.calcium.agatston import Spacing
from cac_hpc.calcium.chest import AIR_HU
from cac_hpc.calcium.heart import PURE_FAT_HU, Heart, Surroundings
from cac_hpc.run.commands import RuleConfig

VERSION = 1
RULE = RuleConfig()
NEAR_MM = 10.0  # a box around a candidate in which tissues are counted
NOISE_MM = 4.0  # what is wider than this is no noise
FEATURES = (  # name, unit
    ("region_share", "share of the voxels in the heart's region, weighed by its evidence"),
    ("log_agatston", "natural logarithm of 1 + Agatston score"),
    ("log_volume", "natural logarithm of 1 + mm3"),
    ("max_hu", "HU"),
    ("mean_hu", "HU"),
    ("height_mm", "mm along z"),
    ("width_mm", "mm, the longer side of its box on the slices"),
    ("fill", "share of its box that it fills"),
    ("noise_hu", "standard deviation of HU in the heart's core, of the study"),
    ("left_mm", "mm to the patient's left of the middle of the heart's box"),
    ("back_mm", "mm to the patient's back of it"),
    ("up_mm", "mm above the middle of the heart's core"),
    ("from_core_mm", "mm to the heart's core on its slice, 100 at most"),
    ("fat_depth_mm", "mm to the nearest fat or air on its slice"),
    ("fat_near", "share of fat within 10 mm"),
    ("lung_near", "share of air or lung within 10 mm"),
    ("bone_near", "share of bone within 10 mm"),
    ("dense_near", "share of its slice's neighbourhood above the threshold"),
    ("aorta_share", "share of its voxels in the descending aorta"),
)
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


def find(hu_ZHW: np.ndarray, spacing_mm: Spacing, heart: Heart) -> Candidates:
    """Find and measure the candidates of a study.

    Args:
        hu_ZHW: (Z, H, W) int16 HU, at the scanner's own resolution. spacing_mm: between slices, rows and columns.
        heart: where it is in this volume.
    """
    position_V3 = _bright(hu_ZHW, heart.hull_ZHW)
    lesion_V, position_V3 = _lesions(position_V3, hu_ZHW.shape, spacing_mm)
    candidate_V = _joined(position_V3, hu_ZHW.shape)
    order = np.lexsort((lesion_V, candidate_V))
    lesion_V, candidate_V, position_V3 = lesion_V[order], candidate_V[order], position_V3[order]
    z, y, x = position_V3.T
    hu_V = hu_ZHW[z, y, x].astype(np.int64)
    first_L = np.flatnonzero(np.diff(lesion_V, prepend=-1))
    area_L = np.diff(first_L, append=len(lesion_V)) * spacing_mm[1] * spacing_mm[2]
    highest_L = np.maximum.reduceat(hu_V, first_L) if len(first_L) else hu_V[:0]
    weight_L = 1 + np.digitize(highest_L, agatston.WEIGHT_STEPS_HU)
    score_L = area_L * weight_L * spacing_mm[0] / agatston.REFERENCE_SPACING_MM
    start_C1 = np.concatenate([np.flatnonzero(np.diff(candidate_V, prepend=-1)), [len(candidate_V)]])
    found = Candidates(
        feature_CF=np.zeros((len(start_C1) - 1, len(FEATURES)), np.float32),
        candidate_L=candidate_V[first_L].astype(np.int32),
        slice_L=z[first_L].astype(np.int32),
        agatston_L=score_L.astype(np.float32),
        voxel_V3=position_V3.astype(np.int16),
        start_C1=start_C1.astype(np.int64),
    )
    _measure(found, hu_V, hu_ZHW, spacing_mm, heart)
    return found


def _bright(hu_ZHW: np.ndarray, hull_ZHW: np.ndarray) -> np.ndarray:
    """Voxels of the hull at the threshold, (V, 3) in the order of the volume."""
    flat = np.flatnonzero((hu_ZHW >= RULE.threshold_hu) & hull_ZHW)
    return np.stack(np.unravel_index(flat, hu_ZHW.shape), axis=1)


def _lesions(position_V3: np.ndarray, shape: tuple[int, ...], spacing_mm: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """The lesion of each voxel, from 0, and the voxels of lesions that cover the least area."""
    number_V = _connected(position_V3, shape, [(0, 0, 1), (0, 1, -1), (0, 1, 0), (0, 1, 1)])
    pixels = np.bincount(number_V)
    kept = pixels * spacing_mm[1] * spacing_mm[2] >= RULE.min_area_mm2 - 1e-9
    kept_V = kept[number_V] if len(number_V) else np.zeros(0, bool)
    return (np.cumsum(kept) - 1)[number_V[kept_V]], position_V3[kept_V]


def _joined(position_V3: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The candidate of each voxel, from 0."""
    offsets = [(0, 0, 1), (0, 1, -1), (0, 1, 0), (0, 1, 1)]
    return _connected(position_V3, shape, offsets + [(1, y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])


def _connected(position_V3: np.ndarray, shape: tuple[int, ...], offsets: list[tuple[int, int, int]]) -> np.ndarray:
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
    graph = sparse.coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    return np.asarray(csgraph.connected_components(graph, directed=False)[1])


def _measure(found: Candidates, hu_V: np.ndarray, hu_ZHW: np.ndarray, spacing_mm: Spacing, heart: Heart) -> None:
    """Fill in the features."""
    if not len(found):
        return
    there, (z, y, x), start = heart.chest, found.voxel_V3.T.astype(int), found.start_C1[:-1]
    down, across = there.grid.factors
    grid_V = z, np.minimum(y // down, there.hull.shape[1] - 1), np.minimum(x // across, there.hull.shape[2] - 1)
    count_C = np.diff(found.start_C1)

    def mean(value_V: np.ndarray) -> np.ndarray:
        return np.add.reduceat(value_V.astype(float), start) / count_C

    sides_C3 = np.stack([np.maximum.reduceat(side, start) - np.minimum.reduceat(side, start) + 1 for side in (z, y, x)])
    top, bottom, left, right = heart.box
    slices = np.flatnonzero(there.core.any((1, 2)))
    volume_C = count_C * float(np.prod(spacing_mm))
    near = _near(there)
    columns = {
        "region_share": mean(there.weight[grid_V]),
        "log_agatston": np.log1p(found.agatston_C),
        "log_volume": np.log1p(volume_C),
        "max_hu": np.maximum.reduceat(hu_V, start),
        "mean_hu": mean(hu_V),
        "height_mm": sides_C3[0] * spacing_mm[0],
        "width_mm": np.maximum(sides_C3[1] * spacing_mm[1], sides_C3[2] * spacing_mm[2]),
        "fill": count_C / sides_C3.prod(axis=0),
        "noise_hu": np.full(len(found), noise_hu(hu_ZHW, spacing_mm, there)),
        "left_mm": (mean(x) + 0.5 - (left + right) / 2) * spacing_mm[2],
        "back_mm": (mean(y) + 0.5 - (top + bottom) / 2) * spacing_mm[1],
        "up_mm": (mean(z) - slices[[0, -1]].mean()) * spacing_mm[0],
        "from_core_mm": np.minimum(mean(np.minimum(there.from_core_mm[grid_V], 100)), 100),
        "fat_depth_mm": mean(there.fat_depth_mm[grid_V]),
        **{name: mean(share[grid_V]) for name, share in near.items()},
        "aorta_share": mean(there.aorta[grid_V]),
    }
    for index, name in enumerate(NAMES):
        found.feature_CF[:, index] = columns[name]


def _near(there: Surroundings) -> dict[str, np.ndarray]:
    """Shares of tissues around each pixel of the grid."""
    hu, size = there.grid.hu, max(1, round(2 * NEAR_MM / there.grid.spacing_mm[1]) | 1)
    tissues = {
        "fat_near": (hu > PURE_FAT_HU[0]) & (hu < PURE_FAT_HU[1]),
        "lung_near": hu < AIR_HU,
        "bone_near": there.bone,
        "dense_near": hu >= RULE.threshold_hu,
    }
    return {
        name: ndimage.uniform_filter(tissue.astype(np.float32), (1, size, size), mode="nearest")
        for name, tissue in tissues.items()
    }


def noise_hu(hu_ZHW: np.ndarray, spacing_mm: Spacing, there: Surroundings) -> float:
    """Standard deviation of what is finer than NOISE_MM in the heart's core, on its largest slice; robust.

    Source: the median absolute deviation times 1.4826 is a normal distribution's standard deviation.
    """
    down, across = there.grid.factors
    at = int(there.core.sum((1, 2)).argmax())
    core = there.core[at].repeat(down, axis=0).repeat(across, axis=1)
    hu_HW = hu_ZHW[at, : core.shape[0], : core.shape[1]].astype(np.float32)
    size = [max(3, round(2 * NOISE_MM / mm)) for mm in spacing_mm[1:]]
    rest = (hu_HW - ndimage.uniform_filter(hu_HW, size, mode="nearest"))[core]
    return float(1.4826 * np.median(np.abs(rest - np.median(rest))))
