"""The rows of a dataset as a table, the units made of them, and the order in which ranks take these.

A row is what a model is given: a slice, or a candidate of calcium. A unit is what it makes one prediction of: a slice,
or a study with all its rows. Axes: N row, U unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Unit = Literal["slice", "study"]
Row = Literal["slice", "candidate"]

RUN = 64  # rows that stay neighbours until their window is shuffled, so that they can be read together


@dataclass(frozen=True)
class RowTable:
    """All rows of a dataset in the order of its shards, (N,): study, number in it from 0, and label int64."""

    study: np.ndarray
    number: np.ndarray
    label: np.ndarray

    def rows(self, part: Sequence[str] | Mapping[str, Sequence[int]]) -> np.ndarray:
        """Row numbers of a part, in the order of study and number.

        Args:
            part: studies, of which all slices are wanted, or the slices that are wanted of each study.
        """
        chosen = np.flatnonzero(np.isin(self.study, list(part)))
        if isinstance(part, Mapping):
            wanted = {(study, at) for study, numbers in part.items() for at in numbers}
            found = zip(self.study[chosen].tolist(), self.number[chosen].tolist(), strict=True)
            chosen = chosen[np.fromiter((pair in wanted for pair in found), bool, len(chosen))]
        return chosen[np.lexsort((self.number[chosen], self.study[chosen]))]


@dataclass(frozen=True)
class Units:
    """All units of a dataset; a unit of slices has the number of its row in the table, a study may have no rows."""

    kind: Unit
    study: np.ndarray  # (U,)
    label: np.ndarray  # (U,) int64
    row: np.ndarray  # (N,) row numbers in the table, those of one unit after those of the other
    start: np.ndarray  # (U + 1,) where in ``row`` each unit starts; the last is N

    def counts(self, unit_U: np.ndarray) -> np.ndarray:
        """How many rows these units have, (U,) int64."""
        return np.asarray(self.start[unit_U + 1] - self.start[unit_U])

    def rows(self, unit_U: np.ndarray) -> np.ndarray:
        """Row numbers of these units, one unit after the other."""
        count_U = self.counts(unit_U)
        offset_U = self.start[unit_U] - (np.cumsum(count_U) - count_U)
        return np.take(self.row, np.repeat(offset_U, count_U) + np.arange(count_U.sum()))

    def of_rows(self, row_N: np.ndarray) -> np.ndarray:
        """Units that have these rows, in the order of the rows; those of one unit stand together."""
        unit_N = np.empty(len(self.row), np.int64)
        unit_N[self.row] = np.repeat(np.arange(len(self.label)), np.diff(self.start))
        found_N = unit_N[row_N]
        return np.compress(np.diff(found_N, prepend=-1) != 0, found_N)

    def of_studies(self, part: Sequence[str]) -> np.ndarray:
        """Units of studies, where the units are studies; those without rows, too."""
        return np.flatnonzero(np.isin(self.study, part))


def units(table: RowTable, kind: Unit) -> Units:
    """The units that a model of that kind predicts."""
    if kind == "slice":
        every = np.arange(len(table.study) + 1)
        return Units(kind, table.study, table.label, every[:-1], every)
    study, first, count = np.unique(table.study, return_index=True, return_counts=True)
    start = np.concatenate([[0], np.cumsum(count)])
    return Units(kind, study, table.label[first], np.lexsort((table.number, table.study)), start)


def training_batches(
    rows: np.ndarray, batch_size: int, seed: int, fold: int, epoch: int, window: int | None = None
) -> Iterator[np.ndarray]:
    """The global batches of an epoch; their order follows from seed, fold, epoch and window alone.

    Args:
        window: slices that are shuffled together, a window lying in few places of the shards; None: all of them.
    """
    return split(_shuffled(rows, window, np.random.default_rng([seed, fold, epoch])), batch_size)


def running_batches(
    units: np.ndarray, batch_size: int, seed: int, fold: int, steps: range, window: int | None = None
) -> Iterator[np.ndarray]:
    """The global batches of these steps, which are counted from 0 over all epochs.

    They are cut from shuffled passes over the units, one pass after the other; all are full.

    Args:
        window: as for `training_batches`.
    """
    count, first, last = len(units), steps.start, steps.stop
    passes = range(first * batch_size // count, -(-last * batch_size // count))
    order = [_shuffled(units, window, np.random.default_rng([seed, fold, number])) for number in passes]
    start = first * batch_size - passes.start * count
    return split(np.concatenate(order)[start : start + (last - first) * batch_size], batch_size)


def split(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Rows in their order, so many at a time."""
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _shuffled(rows: np.ndarray, window: int | None, rng: np.random.Generator) -> np.ndarray:
    """Shuffle all rows, or runs of neighbouring rows and then the rows of each window of what results."""
    if window is None:
        return rng.permutation(rows)
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
