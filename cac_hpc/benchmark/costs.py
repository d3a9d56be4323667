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
PAUSE = 20  # times as long as a look takes: whose pages are shared takes a process of 1 GB about 5 ms to say
FACT = re.compile(r"^(\w+):\s*(\d+) kB", re.M)


@dataclass(frozen=True)
class Cost:
    """What one run of a program took."""

    seconds: float
    cpu_seconds: float  # of it and of all processes that it waited for, user and system
    peak_bytes: int  # the most that all of them had in memory at a time; what forks share counts once
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
    while any(map(_is_alive, ending)) and time.monotonic() < deadline:
        time.sleep(LOOK_S)


def last_json(log: Path) -> dict[str, Any]:
    """The object that a program has printed last."""
    printed = log.read_text(encoding="utf-8").splitlines()
    found: dict[str, Any] = json.loads(next(line for line in reversed(printed) if line.startswith("{")))
    return found


def _watch(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Wait for the end of a process; returns its peak memory, of which ru_maxrss knows no sum."""
    peak, highest, ended, wait_s = 0, {process.pid: 0}, os.pidfd_open(process.pid), FIRST_LOOK_S
    deadline = time.monotonic() + timeout_s
    try:
        while not select.select([ended], [], [], wait_s)[0]:
            known, started = highest.keys(), time.process_time()
            now, highest = _memory_bytes(process.pid, highest)
            peak = max(peak, now)
            wait_s = min(LOOK_S, 2 * wait_s)
            if highest.keys() <= known:  # else the next look is the first at which a new one counts
                wait_s = max(wait_s, PAUSE * (time.process_time() - started))
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
    finally:
        os.close(ended)
    return peak


def _memory_bytes(pid: int, before: Mapping[int, int]) -> tuple[int, dict[int, int]]:
    """Of a process and all that descend from it, and the most that each of them has ever had.

    The kernel keeps the most, so that none is missed between two looks: where it has risen since the last look, it
    counts in place of what there is now. A process that no look has seen before does not count: one that is about to
    start another shows twice for a moment. Libraries that several processes have loaded count in each.

    Args:
        before: the most of each at the last look.
    """
    total, highest, family = 0, {}, [pid, *filter(_is_alive, _descendants(pid))]
    for one in family:
        with contextlib.suppress(OSError):  # ended meanwhile
            found = _facts(one, "status")
            now, highest[one] = found.get("VmRSS", 0), found.get("VmHWM", 0)
            shared = _shared_bytes(one) if len(family) > 1 else 0
            if one in before:
                total += (highest[one] if highest[one] > before[one] else now) - shared
    return total, highest


def _shared_bytes(pid: int) -> int:
    """Memory of a process less its part of what it shares with forks, a half where two have it."""
    found = _facts(pid, "smaps_rollup")
    return found["Anonymous"] - found["Pss_Anon"] if "Pss_Anon" in found else 0  # Linux tells it since 5.4


def _is_alive(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet is still listed, without any memory."""
    return Path(f"/proc/{pid}/exe").exists()


def _facts(pid: int, file: str) -> dict[str, int]:
    """What the kernel says of the memory of a process, in bytes."""
    return {name: int(kb) << 10 for name, kb in FACT.findall(Path(f"/proc/{pid}/{file}").read_text())}


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
