"""What a program takes: wall clock, processor time and memory, its own and that of all processes it starts."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 0.02  # between two looks at the memory
PEAK = re.compile(r"VmHWM:\s*(\d+) kB")


@dataclass(frozen=True)
class Cost:
    """peak_bytes: the most that each process had in memory, summed over those that ran at the same time."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Cost:
    """Run a program to its end.

    Args:
        log: what it prints. env: variables to be set for it.
    Raises: RuntimeError with the end of what it printed if it fails.
    """
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=output, stderr=output, start_new_session=True
        )
        try:
            peak_bytes = _watch(process.pid)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        seconds = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{log.read_text()[-2000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak_bytes)


def _watch(pid: int) -> int:
    """Wait for the end of a session's first process; returns its peak memory, of which ru_maxrss knows no sum.

    What only one look sees is left out: a process about to start another one shows twice for a moment.
    """
    peak, before, ended = 0, 0, os.pidfd_open(pid)
    try:
        while not select.select([ended], [], [], LOOK_S)[0]:
            now = _memory_bytes(pid)
            peak, before = max(peak, min(before, now)), now
    finally:
        os.close(ended)
    return peak


def _memory_bytes(session: int) -> int:
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if os.getsid(int(process.name)) == session and (peak := PEAK.search((process / "status").read_text())):
                total += int(peak[1]) << 10
    return total


@contextlib.contextmanager
def work_folder(keep: str | None) -> Iterator[Path]:
    """Where a measurement works: a folder that stays if it was named, else one that goes."""
    if keep:
        Path(keep).mkdir(parents=True)
        yield Path(keep).absolute()
        return
    with tempfile.TemporaryDirectory(prefix="cac_hpc-benchmark-") as folder:
        yield Path(folder)
