"""Waiting in tests: on a condition, with a deadline, never on the clock alone; and how long things take."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def wait_for(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Return as soon as ``condition()`` is true; raise AssertionError naming ``what`` after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.1)


def answer_within(limit_s: float, call: Callable[[], Result]) -> Result:
    """Return what ``call()`` returned, whose processes took less than ``limit_s`` in one of three tries.

    Other tests run on the same cores meanwhile: what counts is processor time.
    By the clock it may take five times as long.
    """
    seconds = []
    for _ in range(3):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        result = call()
        after, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if seconds[-1] < limit_s and wall_s < 5 * limit_s:
            return result
    raise AssertionError(f"{seconds} s of processor time, the last in {wall_s:.2f} s, wanted less than {limit_s} s")
