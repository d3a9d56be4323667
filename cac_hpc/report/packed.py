"""What pictures show of packed studies, read from their shards by a process of its own, which damaged HDF5 may end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cac_hpc.dataset import integrity, kept_plan
from cac_hpc.machine import workers
from cac_hpc.machine.workers import Lost, Worker
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings.errors import InputError

PATIENCE_S = 600.0  # for one shard
MEMORY = 4 * workers.GIB
K = TypeVar("K")
V = TypeVar("V")


class Task(NamedTuple):
    """A shard, and what is wanted of each of its studies."""

    path: Path
    digest: str
    wanted: dict[str, Any]


def read(
    dataset: DatasetPaths, wanted: Mapping[str, Any], of_shard: Callable[[Task, workers.Say], dict[K, V]]
) -> dict[K, V]:
    """What a function finds in shards; nothing of those that are not there any more, or damaged.

    Args:
        wanted: by study what is wanted of it. of_shard: in the worker, what it finds in one shard.
    """
    sealed = integrity.read_checked(dataset.seal).get("shards", [])
    found: dict[K, V] = {}
    worker = Worker(of_shard, PATIENCE_S, MEMORY, threading.Event())
    try:
        for studies, shard in zip(kept_plan.read_plan(dataset)["shards"], sealed, strict=False):
            if mine := {study: wanted[study] for study in studies if study in wanted}:
                found |= worker.run(Task(dataset.root / shard["file"], shard["digest"], mine), lambda said: None)
    except (Lost, OSError, InputError):
        return found
    finally:
        worker.close()
    return found
