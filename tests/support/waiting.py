"""Waiting in tests: on a condition, with a deadline, never on the clock alone; and how long things take."""

from __future__ import annotations

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


def fastest(call: Callable[[], Result]) -> tuple[float, list[Result]]:
    """Call five times; returns the seconds of the fastest, by the clock, and all that was returned."""
    seconds, results = [], []
    for _ in range(5):
        began = time.monotonic()
        results.append(call())
        seconds.append(time.monotonic() - began)
    return min(seconds), results
