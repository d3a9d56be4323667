"""One shard as the task of a worker. Imports nothing slow: callers do without all that writes a shard."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cac_hpc.dataset.sealed import MEASURED
from cac_hpc.machine.workers import Say
from cac_hpc.settings.data import Format
from cac_hpc.settings.pack import PackConfig

WRITING = ("cac_hpc.dataset.shard_writing",)  # what a worker imports before its first task
# and where whole volumes are looked at: what only plans or waits needs none of them
OF_VOLUMES = ("scipy.ndimage", "scipy.sparse.csgraph", "scipy.spatial")


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to write one shard.

    studies: key, folder and digest of the files it was planned with. lost: reason and detail of the studies on which
    a worker was lost before.
    """

    scratch: Path
    studies: list[tuple[str, Path, str]]
    pack: PackConfig
    lost: dict[str, tuple[str, str]] = field(default_factory=dict)
    format: Format = "auto"
    subgroups: tuple[str, ...] = ()


def needs_volume(cfg: PackConfig, subgroups: Collection[str]) -> bool:
    """Whether the settings ask for something that is seen in a whole volume alone: then `OF_VOLUMES` are needed."""
    return cfg.crop != "none" or cfg.baseline or cfg.candidates or bool({*MEASURED} & {*subgroups})


def write_shard(task: ShardTask, say: Say) -> dict[str, Any]:
    """What a worker does, see `shard_writing.write_shard`."""
    from cac_hpc.dataset import shard_writing

    return shard_writing.write_shard(task, say)
