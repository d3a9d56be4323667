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


def answer_within(limit_s: float, call: Callable[[], Result], tries: int = 10) -> Result:
    """Return what ``call()`` returned the first time that it took less than ``limit_s``.

    Other tests run on the same cores meanwhile, so it is the fastest of ``tries`` that tells what a call takes.
    """
    seconds = []
    for _ in range(tries):
        began = time.monotonic()
        result = call()
        seconds.append(time.monotonic() - began)
        if seconds[-1] < limit_s:
            return result
    raise AssertionError(f"{min(seconds):.2f} s at best, wanted less than {limit_s} s: {seconds}")
