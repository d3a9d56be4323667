"""Processes of this machine: who lives, who started whom, and dying together."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1
SUPERVISOR = "CAC_HPC_SUPERVISOR"  # variable: process number and start time of who watches over this one


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did; None if it has ended. Tells a number used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def children(pid: int) -> list[int]:
    """The processes that a process's main thread has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def die_with(parent: int) -> None:
    """Have the kernel end this process when the thread that started it ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def supervised() -> dict[str, str]:
    """The variable by which whatever this process starts, at whatever remove, knows whom to end with."""
    return {SUPERVISOR: f"{os.getpid()}:{start_time(os.getpid())}"}


def supervisor() -> str | None:
    """The supervisor of this process, as `supervised` names it; None if there is none."""
    return os.environ.get(SUPERVISOR)


def supervisor_is_gone() -> bool:
    """Whether there was a supervisor and it has ended."""
    pid, _, started = os.environ.get(SUPERVISOR, "").partition(":")
    return bool(pid) and str(start_time(int(pid))) != started
