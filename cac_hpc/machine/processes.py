"""Processes of this machine: who lives, who started whom, dying together, requests to stop. Imports nothing slow."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
KERNEL = "sent by the kernel when"
SENDERS = {  # of what ends a process: who sends it, and why
    "SIGKILL": f"{KERNEL} the memory is used up, or by SLURM, a person or a script of the site",
    "SIGTERM": "sent by SLURM, or by a person or a script of the site",
    "SIGINT": "sent by Ctrl-C, or by SLURM",
    "SIGHUP": "sent when the terminal was closed",
    "SIGQUIT": "sent by a person at the terminal, or by SLURM",
    "SIGXCPU": f"{KERNEL} a process has used the CPU time that it may (ulimit -t)",
    "SIGXFSZ": f"{KERNEL} a file gets larger than it may (ulimit -f)",
    "SIGSEGV": f"{KERNEL} compiled code uses memory that it does not have: a library or driver that does not fit",
    "SIGBUS": f"{KERNEL} memory cannot be reached: shared memory (/dev/shm) or a disk is full, a file was cut short",
    "SIGABRT": "sent by a library to its own process after an error, which the log shows",
    "SIGFPE": f"{KERNEL} compiled code divides by zero: a library that does not fit",
    "SIGILL": f"{KERNEL} compiled code is for another processor than this one",
    "SIGSYS": f"{KERNEL} the site forbids a system call",
    "SIGPIPE": f"{KERNEL} the reader of the output is gone",
    "SIGUSR1": "sent by SLURM before the time limit, and not listened to yet",
    "SIGUSR2": "sent by SLURM before the time limit, and not listened to yet",
}
SUPERVISOR = "CAC_HPC_SUPERVISOR"  # variable: process number and start time of who watches over this one
WAITS = "CAC_HPC_WAITS"  # variable: whoever works may not begin before it finds a byte of its own on standard input
LOOK_S = 1.0  # how often who waits looks whether it was asked to stop
RESUMABLE = 75  # exit code of work that saved and goes on when started again; sysexits.h: EX_TEMPFAIL
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_heard: list[str] = []


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did; None if it has ended. Tells a number used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def numbering() -> str | None:
    """Which process numbers this process sees: in a container they may be its own. None where that cannot be told."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


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


def die_with_torchrun() -> None:
    """Have a rank end with the torchrun that has started it, which would leave it behind when it is killed."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with(os.getppid())


@contextmanager
def no_interrupt() -> Iterator[None]:
    """Start processes for which Ctrl-C is not: it is for us, who end them."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def how_it_ended(code: int) -> str:
    """What a process's exit code says: of a signal its name and what sends it.

    Args:
        code: as Python has it, for a signal its negative number.
    """
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal_name(-code)
    sender = SENDERS.get(name)
    return f"ended by {name}, {sender}" if sender else f"ended by {name}"


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


def may_begin() -> bool:
    """Wait until this process may do its work, if it was started ahead of time; what it loads is loaded by then.

    Returns: whether it may; no if it was asked to stop, or who should have let it begin has ended.
    """
    while WAITS in os.environ and not heard():
        if select.select([sys.stdin], [], [], LOOK_S)[0]:
            return os.read(sys.stdin.fileno(), 1) != b""
    return WAITS not in os.environ


class Stopped(Exception):
    """The work has saved where it is, as it was asked to, and ends; the text says who asked and how far it is."""


def listen() -> None:
    """Take every usual request to stop as one; called before anything slow is imported."""
    for signum in SIGNALS:
        signal.signal(signum, _hear)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # see `become`


def become(command: Sequence[str]) -> None:
    """Have another program take this process's place, unless it was asked to stop; what asks from now on, asks that.

    Returns: only if it was asked to stop.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    if heard():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], list(command))


def heard() -> str | None:
    """The signal that asked this process to stop; None if there was none."""
    return _heard[0] if _heard else None


def _hear(signum: int, _: FrameType | None) -> None:
    _heard.append(signal.Signals(signum).name)
