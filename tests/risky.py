"""Work that goes wrong; in a module of its own because a worker's process imports it."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cac_hpc.packing import ShardTask


def fault_of_memory() -> None:
    ctypes.string_at(0)


def eat_memory() -> None:
    eaten = []
    while True:
        eaten.append(bytes(1 << 24))


def raise_a_name() -> None:
    raise KeyError("DOE^JANE")


def fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


HABITS: dict[str, Callable[[], object]] = {
    "segfault": fault_of_memory,
    "hang": signal.pause,
    "bomb": eat_memory,
    "raise": raise_a_name,
    "leave": lambda: os._exit(3),
    "disk": fill_the_disk,
    "work": lambda: None,
}
STUDIES = {"001": "segfault", "003": "hang", "010": "bomb", "012": "raise"}


def work(habit: str, say: Callable[[Any], None]) -> int:
    """Tell the process and do as asked; returns the process."""
    say(os.getpid())
    HABITS[habit]()
    return os.getpid()


def write_shard(task: ShardTask, say: Callable[[Any], None]) -> dict[str, Any]:
    """Like packing.write_shard, but some studies break what reads them, and study 005 does so once."""
    from cac_hpc import packing  # takes a second, which most tests do without

    def say_and_break(study: str) -> None:
        say(study)
        if study in STUDIES and study not in task.lost:
            HABITS[STUDIES[study]]()
        once = task.scratch.with_name("once")
        if study == "005" and not once.exists():
            once.touch()
            fault_of_memory()

    return packing.write_shard(task, say_and_break)
