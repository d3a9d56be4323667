"""When, on what and of which commit something was measured: the machine in words, never by its name."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cac_hpc.benchmark import inputs


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment of a measurement. load: of the machine, the last minute's mean; commits: of each checkout."""

    time: str
    machine: str
    load: float
    commits: dict[str, str]


def now(codes: Mapping[str, Path]) -> Moment:
    return Moment(
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine(),
        load=round(os.getloadavg()[0], 2),
        commits={name: inputs.commit(code) for name, code in codes.items()},
    )


def machine() -> str:
    """The processor's model, the cores that may be used, memory, and Python's version."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    name = found[1] if found else platform.processor() or platform.machine()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory_gb:.0f} GB, Python {platform.python_version()}"
