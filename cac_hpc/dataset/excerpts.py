"""What is wanted of one shard, as a worker reads it, which starts with little to import. Axes: S row and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cac_hpc.calcium.candidates import Candidates
from cac_hpc.calcium.views import Views
from cac_hpc.dataset import integrity, shards
from cac_hpc.machine.workers import Say


class Task(NamedTuple):
    """A shard, and what is wanted of each of its studies."""

    path: Path
    digest: str
    wanted: dict[str, Any]


def digests(task: tuple[Path, int | None], say: Say) -> Any:
    """The digests of all slices of a shard, or whether a row of it shows nothing."""
    file, row = task
    return shards.read_digests(file) if row is None else shards.is_blank(file, row)


def slices(task: Task, say: Say) -> dict[tuple[str, int], np.ndarray]:
    """HU of slices (S, S) int16, by study and slice."""
    return shards.read_slices(
        task.path, [(study, number) for study, numbers in task.wanted.items() for number in numbers]
    )


def candidates(task: Task, say: Say) -> dict[str, tuple[Views, Candidates]]:
    """Views and candidates of studies, none if the shard is not as it was sealed."""
    found = {} if integrity.fault(task.path, task.digest) else shards.read_candidates(task.path)
    return {study: (shards.read_views(task.path, study), found[study]) for study in task.wanted if study in found}
