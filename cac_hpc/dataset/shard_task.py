"""One shard as the task of a worker. Imports nothing slow: who packs nothing does without all that writes a shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cac_hpc.settings.data import Format
from cac_hpc.settings.pack import PackConfig


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
