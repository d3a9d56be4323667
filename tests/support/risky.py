"""Work that goes wrong; in a module of its own because a worker's process imports it."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


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
    "need": lambda: sys.modules["colorsys"],
}


def work(habit: str, say: Callable[[Any], None]) -> int:
    """Tell the process and do as asked; returns the process."""
    say(os.getpid())
    HABITS[habit]()
    return os.getpid()
