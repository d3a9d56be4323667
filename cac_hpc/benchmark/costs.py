"""What a program takes: wall clock, processor time and memory, its own and that of all processes it starts."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
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
from typing import Any

from cac_hpc.settings.checks import require

END_S = 10.0  # for a process that was killed
FIRST_LOOK_S, LOOK_S = 0.001, 0.02  # between two looks at the memory: twice as long each time, up to this
PEAK = re.compile(r"VmHWM:\s*(\d+) kB")


@dataclass(frozen=True)
class Cost:
    """What one run of a program took."""

    seconds: float
    cpu_seconds: float  # of it and of all processes that it waited for, user and system
    peak_bytes: int  # the most that each process had in memory, summed over those that ran at the same time
    told: float | None = None  # a number that it has left in its files

    @property
    def peak_mb(self) -> float:
        return self.peak_bytes / 1e6


def run(command: Sequence[str], log: Path, env: Mapping[str, str], timeout_s: float = math.inf) -> Cost:
    """Run a program to its end.

    Args:
        log: what it prints. env: variables to be set for it. timeout_s: after which it is ended.
    Raises: RuntimeError with the end of what it printed if it fails; TimeoutExpired.
    """
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=output, stderr=output, start_new_session=True
        )
        try:
            peak_bytes = _watch(process, timeout_s)
        except BaseException:
            kill(process)
            raise
        seconds = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{log.read_text()[-2000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak_bytes)


def call(code: Path, command: Sequence[str], log: Path, timeout_s: float = math.inf) -> Cost:
    """Run a command of ours to its end, as `run` does.

    Args:
        code: the checkout that it is of.
    """
    return run(command, log, environment(code), timeout_s)


def environment(code: Path) -> dict[str, str]:
    """All variables of a command that is measured: the package of this checkout, and one thread for what computes.

    How many processes there are is what is compared. What Python compiles is kept, as with a user: the warm-up
    compiles, also a checkout that was just made.
    """
    alone = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    return {**os.environ, **alone, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": ""}


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that descend from it, at once, and wait until they are gone."""
    ending = [process.pid, *_descendants(process.pid)]
    for pid in ending:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + END_S
    while any(Path(f"/proc/{pid}/exe").exists() for pid in ending) and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def last_json(log: Path) -> dict[str, Any]:
    """The object that a program has printed last."""
    printed = log.read_text(encoding="utf-8").splitlines()
    found: dict[str, Any] = json.loads(next(line for line in reversed(printed) if line.startswith("{")))
    return found


def _watch(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Wait for the end of a process; returns its peak memory, of which ru_maxrss knows no sum.

    What only one look sees is left out: a process about to start another one shows twice for a moment.
    """
    peak, before, ended, wait_s = 0, 0, os.pidfd_open(process.pid), FIRST_LOOK_S
    deadline = time.monotonic() + timeout_s
    try:
        while not select.select([ended], [], [], wait_s)[0]:
            wait_s = min(LOOK_S, 2 * wait_s)
            now = _memory_bytes(process.pid)
            peak, before = max(peak, min(before, now)), now
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
    finally:
        os.close(ended)
    return peak


def _memory_bytes(pid: int) -> int:
    """Of a process and all that descend from it."""
    total = 0
    for one in (pid, *_descendants(pid)):
        with contextlib.suppress(OSError):  # ended meanwhile
            peak = PEAK.search(Path(f"/proc/{one}/status").read_text())
            total += int(peak[1]) << 10 if peak else 0
    return total


def _descendants(pid: int) -> list[int]:
    """The processes that a process has started, whichever of its threads, and those that they have."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # ended meanwhile
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found


def add_options(parser: argparse.ArgumentParser, asked: type, texts: Mapping[str, str]) -> None:
    """Options of a measurement: those that are numbers, and ``--keep DIR``, see `work_folder`.

    Args:
        asked: its settings, which have the defaults. texts: of each option what it means.
    """
    for name, text in texts.items():
        default = getattr(asked, name)
        help_text = f"{text} (default {default})"
        parser.add_argument(f"--{name}", type=type(default), default=default, metavar="N", help=help_text)
    parser.add_argument("--keep", metavar="DIR", help="work there and leave everything there")


@contextlib.contextmanager
def work_folder(keep: str | None) -> Iterator[Path]:
    """Where a measurement works: a folder that stays if it was named, else one that goes.

    Raises: InputError if the one that was named is there already.
    """
    if keep:
        require(not Path(keep).exists(), "--keep", keep, "a folder that is not there yet")
        Path(keep).mkdir(parents=True)
        yield Path(keep).absolute()
        return
    with tempfile.TemporaryDirectory(prefix="cac_hpc-benchmark-") as folder:
        yield Path(folder)
