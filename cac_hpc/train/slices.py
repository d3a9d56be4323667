"""The slices of a dataset as a table, and the order in which ranks take them. Axes: N slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RUN = 64  # rows that stay neighbours until their window is shuffled, so that they can be read together


@dataclass(frozen=True)
class SliceTable:
    """All slices of a dataset in the order of its shards, (N,): study, slice counted from 0, and label int64."""

    study: np.ndarray
    slice: np.ndarray
    label: np.ndarray

    def rows(self, part: Sequence[str] | Mapping[str, Sequence[int]]) -> np.ndarray:
        """Row numbers of a part's slices, in the order of study and slice.

        Args:
            part: studies, of which all slices are wanted, or the slices that are wanted of each study.
        """
        chosen = np.flatnonzero(np.isin(self.study, list(part)))
        if isinstance(part, Mapping):
            wanted = {(study, at) for study, numbers in part.items() for at in numbers}
            found = zip(self.study[chosen].tolist(), self.slice[chosen].tolist(), strict=True)
            chosen = chosen[np.fromiter((pair in wanted for pair in found), bool, len(chosen))]
        return chosen[np.lexsort((self.slice[chosen], self.study[chosen]))]


def training_batches(
    rows: np.ndarray, batch_size: int, seed: int, fold: int, epoch: int, window: int | None = None
) -> Iterator[np.ndarray]:
    """The global batches of an epoch; their order follows from seed, fold, epoch and window alone.

    Args:
        window: slices that are shuffled together, a window lying in few places of the shards; None: all of them.
    """
    rng = np.random.default_rng([seed, fold, epoch])
    order = rng.permutation(rows) if window is None else _shuffle_in_windows(rows, window, rng)
    return split(order, batch_size)


def split(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Rows in their order, so many at a time."""
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _shuffle_in_windows(rows: np.ndarray, window: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle runs of neighbouring rows, then the rows of each window of what results."""
    runs = list(split(np.sort(rows), RUN))
    mixed = np.concatenate([rows[:0], *(runs[index] for index in rng.permutation(len(runs)))])
    return np.concatenate([rows[:0], *(rng.permutation(part) for part in split(mixed, window))])


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
