"""Packing with studies that break what reads them; in a module of its own because a worker's process imports it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cac_hpc.dataset import packing
from cac_hpc.dataset.packing import ShardTask
from tests.support.risky import HABITS

STUDIES = {"001": "segfault", "003": "hang", "010": "bomb", "012": "raise"}
ONCE = "005"  # breaks its first reader only


def write_shard(task: ShardTask, say: Callable[[Any], None]) -> dict[str, Any]:
    """Like packing.write_shard, but for these studies."""
    seen = task.scratch.with_name("seen")

    def say_and_break(study: str) -> None:
        say(study)
        if study in STUDIES and study not in task.lost:
            HABITS[STUDIES[study]]()
        if study == ONCE and not seen.exists():
            seen.touch()
            HABITS["segfault"]()

    return packing.write_shard(task, say_and_break)
