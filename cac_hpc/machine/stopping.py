"""Requests to stop. A signal only sets a flag: the work looks at it where it can save. Imports nothing slow."""

from __future__ import annotations

import signal
from types import FrameType

RESUMABLE = (
    75  # exit code of work that saved where it was and goes on when it is started again; sysexits.h: EX_TEMPFAIL
)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_heard: list[str] = []


class Stopped(Exception):
    """The work has saved where it is, as it was asked to, and ends; the text says who asked and how far it is."""


def listen() -> None:
    """Take every usual request to stop as one; called before anything slow is imported."""
    for signum in SIGNALS:
        signal.signal(signum, _hear)


def heard() -> str | None:
    """The signal that asked this process to stop; None if there was none."""
    return _heard[0] if _heard else None


def _hear(signum: int, _: FrameType | None) -> None:
    _heard.append(signal.Signals(signum).name)
