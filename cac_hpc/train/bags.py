"""The candidates of calcium of a dataset, ready to be trained on: each study is a bag of them, which may be empty.

Only what is needed of them is kept, not their voxels. Axes: N candidate, L lesion, U study, F feature, K category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cac_hpc.calcium import baseline, candidates
from cac_hpc.calcium.candidates import Candidates
from cac_hpc.dataset import integrity, shards
from cac_hpc.labels import labels
from cac_hpc.run import causes, logs
from cac_hpc.run.causes import PACK
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.train import residency
from cac_hpc.train.distributed import World
from cac_hpc.train.residency import Loaded, OnDevice
from cac_hpc.train.slices import RowTable, Units

REGION_SHARE = candidates.NAMES.index("region_share")
SHOWN = 3  # studies that a message names


@dataclass(frozen=True)
class StudyBag:
    """A study's candidates, without their voxels.

    feature_NF: float32. agatston_N: float64. middle_N2: row and column in the scanner's pixels. candidate_L: number of
    the candidate of each lesion; slice_L and agatston_L: on which slice it lies, with which score.
    """

    feature_NF: np.ndarray
    agatston_N: np.ndarray
    first_slice_N: np.ndarray
    last_slice_N: np.ndarray
    middle_N2: np.ndarray
    candidate_L: np.ndarray
    slice_L: np.ndarray
    agatston_L: np.ndarray


@dataclass(frozen=True)
class BagData:
    """The candidates of all studies, one study after the other, and what the labels say of the studies.

    slices: (U,) of each study how many it has. low, high: (U,) float32, between which log(1 + score) is. bag: as of one
    study, its candidate_L counted over all.
    """

    units: Units
    slices: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bag: StudyBag
    edges: tuple[float, ...]

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Agatston scores of the candidates, low and high of the studies, float32 on the device."""
        arrays = (self.bag.agatston_N, self.low, self.high)
        return tuple(torch.from_numpy(array.astype(np.float32)).to(device) for array in arrays)  # type: ignore[return-value]

    def scores(self, counted_N: np.ndarray, unit_U: np.ndarray) -> np.ndarray:
        """Agatston scores of studies, (U,) float64, from the candidates that count.

        Args:
            counted_N: bool, of the candidates of these studies, one study after the other.
        """
        unit_N = np.repeat(np.arange(len(unit_U)), self.units.counts(unit_U))
        score_N = self.bag.agatston_N[self.units.rows(unit_U)]
        return np.round(np.bincount(unit_N, score_N * counted_N, len(unit_U)), baseline.DIGITS)

    def control(self, unit_U: np.ndarray) -> np.ndarray:
        """Agatston scores of studies as the model gives them before it has learned anything: (U,) float64."""
        return self.scores(self.bag.feature_NF[self.units.rows(unit_U), REGION_SHARE] > 0.5, unit_U)

    def category(self, score_U: np.ndarray) -> np.ndarray:
        """Categories of scores, (U,) int64."""
        return labels.categories(score_U.tolist(), self.edges)

    def slice_scores(self, counted_N: np.ndarray, unit_U: np.ndarray) -> list[np.ndarray]:
        """The score of each slice of studies, of each study (Z,) float64; arguments as of `scores`."""
        counts = np.zeros(len(self.bag.agatston_N), bool)
        counts[self.units.rows(unit_U)] = counted_N
        row_L, bag = self.bag.candidate_L, self.bag
        chosen_L = counts[row_L]
        unit_L = np.repeat(np.arange(len(self.slices)), np.diff(self.units.start))[row_L]
        first_U = np.cumsum(self.slices) - self.slices
        place_L = (first_U[unit_L] + bag.slice_L)[chosen_L]
        score_Z = np.bincount(place_L, bag.agatston_L[chosen_L].astype(np.float64), int(self.slices.sum()))
        return [
            np.round(score_Z[first_U[unit] : first_U[unit] + self.slices[unit]], baseline.DIGITS) for unit in unit_U
        ]


def load(dataset: DatasetPaths, studies: pd.DataFrame, cfg: Config, world: World) -> tuple[Loaded, BagData]:
    """Verify a sealed dataset and make the candidates of studies ready, read by the ranks together.

    Args:
        studies: rows of studies.csv; other studies are left out.
    Raises: InputError, the same on every rank, if shard or seal is damaged or a study has no candidates' table.
    """
    sealed = integrity.read_checked(dataset.seal)

    def read(index: int) -> dict[str, StudyBag]:
        return read_bags(residency.verified(dataset, sealed, index))

    found = residency.shared_out(read, len(sealed["shards"]), world, range(world.size))
    data = collect({study: bag for shard in found for study, bag in shard.items()}, studies, cfg.labels.edges, dataset)
    units = data.units
    study_N = np.repeat(units.study, np.diff(units.start))
    number_N = np.arange(len(study_N)) - np.repeat(units.start[:-1], np.diff(units.start))
    table = RowTable(study_N, number_N, np.repeat(units.label, np.diff(units.start)))
    rows = OnDevice(torch.from_numpy(data.bag.feature_NF).to(world.device))
    return Loaded(table, rows, "device" if world.device.type == "cuda" else "host", cfg.train.shuffle_window), data


def read_bags(path: Path) -> dict[str, StudyBag]:
    """The bags of a verified shard, by study."""
    return {study: bag_of(found) for study, found in shards.read_candidates(path).items()}


def bag_of(found: Candidates) -> StudyBag:
    """What is needed of a study's candidates."""
    start, voxel_V3 = found.start_C1[:-1], found.voxel_V3.astype(np.int64)
    count_C = np.diff(found.start_C1)
    sums_C3 = np.add.reduceat(voxel_V3, start) if len(found) else np.zeros((0, 3))
    slice_V = voxel_V3[:, 0]
    return StudyBag(
        feature_NF=found.feature_CF,
        agatston_N=np.bincount(found.candidate_L, found.agatston_L, len(found)),
        first_slice_N=np.minimum.reduceat(slice_V, start) if len(found) else slice_V,
        last_slice_N=np.maximum.reduceat(slice_V, start) if len(found) else slice_V,
        middle_N2=sums_C3[:, 1:] / count_C[:, None],
        candidate_L=found.candidate_L.astype(np.int64),
        slice_L=found.slice_L.astype(np.int64),
        agatston_L=found.agatston_L,
    )


def collect(
    bags: Mapping[str, StudyBag], studies: pd.DataFrame, edges: Sequence[float], dataset: DatasetPaths
) -> BagData:
    """The bags of studies, in the order of the studies' names.

    Raises: InputError naming studies that have none.
    """
    if missing := [study for study in studies["study"] if study not in bags]:
        raise InputError(
            causes.error(
                f"{dataset.root}: {len(missing)} of {len(studies)} studies have no candidates in the shards: "
                f"{logs.first_of(missing, SHOWN)}; model.kind lesions needs those of all: pack into another "
                "data.packed_dir with pack.candidates true", PACK
            )
        )  # fmt: skip
    ordered = studies.sort_values("study", kind="stable")
    names = ordered["study"].to_numpy(str)
    own = [bags[name] for name in names.tolist()]
    start = np.cumsum([0, *(len(bag.agatston_N) for bag in own)])
    units = Units("study", names, ordered["category"].to_numpy(np.int64, copy=True), np.arange(start[-1]), start)
    low_U, high_U = targets(ordered["score"].to_numpy(float), edges)
    joined = StudyBag(*(np.concatenate([getattr(bag, part.name) for bag in own]) for part in fields(StudyBag)))
    first_L = np.repeat(start[:-1], [len(bag.candidate_L) for bag in own])
    joined = replace(joined, candidate_L=joined.candidate_L + first_L)
    return BagData(units, ordered["slices"].to_numpy(np.int64), low_U, high_U, joined, tuple(edges))


def targets(score_U: np.ndarray, edges: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Between what the label says that log(1 + score) is, (U,) float32 each.

    A score that is no number (above the last edge, says the sheet) is open at the top, a score of 0 at the bottom:
    whatever is on the right side of the last or first edge is right.

    Args:
        score_U: Agatston scores, NaN where the sheet says no number.
    """
    low_U = np.where(np.isnan(score_U), np.log1p(edges[-1]), np.log1p(score_U))
    high_U = np.where(np.isnan(score_U), np.inf, low_U)
    zero_U = score_U == 0
    low_U, high_U = np.where(zero_U, -np.inf, low_U), np.where(zero_U, np.log1p(max(edges[0], 0.0)), high_U)
    return low_U.astype(np.float32), high_U.astype(np.float32)
