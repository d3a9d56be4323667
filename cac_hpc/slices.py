"""From sealed shards to batches: the slices of a run on the device, and the order in which ranks take them.

Axes: N slice, H row, W column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cac_hpc import digests, shards
from cac_hpc.config import InputError
from cac_hpc.paths import DatasetPaths


@dataclass(frozen=True)
class SliceTable:
    """All slices of a dataset.

    images_NHW: int16, HU, on the device. label_N: int64, on the device. study: (N,) text and slice: (N,) int, on the
    host.
    """

    images_NHW: Tensor
    label_N: Tensor
    study: np.ndarray
    slice: np.ndarray

    def rows(self, studies: Sequence[str]) -> np.ndarray:
        """Row numbers of the studies' slices, in the order of study and slice."""
        chosen = np.flatnonzero(np.isin(self.study, list(studies)))
        return chosen[np.lexsort((self.slice[chosen], self.study[chosen]))]

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Slices and labels of these rows."""
        return self.images_NHW[torch.from_numpy(rows).to(self.images_NHW.device)], self.labels(rows)

    def labels(self, rows: np.ndarray) -> Tensor:
        """Labels of these rows alone."""
        return self.label_N[torch.from_numpy(rows).to(self.label_N.device)]

    def batches(self, batches: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """Slices of these rows, batch by batch, in their order."""
        for rows in batches:
            yield self.take(rows)[0]


def load(dataset: DatasetPaths, category: Mapping[str, int], device: torch.device) -> SliceTable:
    """Read all shards of a sealed dataset, each checked against its digest.

    Args:
        category: of each study, by study number, as studies.csv says.
    Raises: InputError naming the shard or table that is damaged, and what mends it.
    """
    sealed = shards.read_checked(dataset.seal)
    if digests.file_sha256(dataset.studies) != sealed["studies_sha256"]:
        raise InputError(f"{dataset.studies}: not as it was sealed; python jobs/pack.py --run RUN --seal mends it")
    size, total = sealed["settings"]["pack"]["size"], sealed["slices"]
    images = np.empty((total, size, size), np.int16)  # filled shard by shard: one copy in memory
    columns: list[shards.ShardColumns] = []
    first = 0
    for facts in sealed["shards"]:
        path = dataset.root / facts["file"]
        if fault := shards.fault(path, facts["digest"]):
            raise InputError(f"{path}: {fault}; python jobs/pack.py --run RUN --shard {int(path.stem[-5:])} mends it")
        columns.append(shards.read_shard(path, images[first : first + facts["rows"]]))
        first += facts["rows"]
    study = np.concatenate([shard.study for shard in columns])
    label = np.array([category[name] for name in study], dtype=np.int64)
    return SliceTable(
        images_NHW=torch.from_numpy(images).to(device),
        label_N=torch.from_numpy(label).to(device),
        study=study,
        slice=np.concatenate([shard.slice for shard in columns]),
    )


def training_batches(rows: np.ndarray, batch_size: int, seed: int, fold: int, epoch: int) -> Iterator[np.ndarray]:
    """The global batches of an epoch; their order follows from seed, fold and epoch alone."""
    order = np.random.default_rng([seed, fold, epoch]).permutation(rows)
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]


def step_seed(seed: int, fold: int, epoch: int, step: int) -> int:
    """What the chances of one training step follow from, whichever rank takes it and after whatever restarts."""
    return int(np.random.default_rng([seed, fold, epoch, step]).integers(2**63))


def balanced_weights(label: np.ndarray, num_categories: int) -> np.ndarray:
    """Weight of each category: slices over (categories that occur x slices of the category); 0 where none occurs.

    Source: scikit-learn, class_weight="balanced".
    """
    count = np.bincount(label, minlength=num_categories)
    weight = len(label) / (np.count_nonzero(count) * np.maximum(count, 1))
    return np.where(count > 0, weight, 0.0)
