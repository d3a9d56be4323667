"""Host memory: how much of it this process may use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
GIB = 1 << 30


@dataclass(frozen=True, order=True)
class Limit:
    """So many bytes, and who says so."""

    bytes: int
    says: str


def limits(proc: Path = PROC, cgroup: Path = CGROUP) -> list[Limit]:
    """What the operating system allows the processes of this job on this node."""
    found = [Limit(_available(proc), "MemAvailable")]
    for line in (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found += _of_groups(cgroup, path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _of_groups(cgroup / "memory", path, "memory.limit_in_bytes")
    return found


def _available(proc: Path) -> int:
    found = re.search(r"MemAvailable:\s*(\d+) kB", (proc / "meminfo").read_text(encoding="utf-8"))
    assert found, "Linux tells MemAvailable since 3.14"
    return int(found[1]) << 10


def _of_groups(mount: Path, path: str, name: str) -> Iterator[Limit]:
    """The limits of a control group and all above it; those that a container hides are not there."""
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        file = folder / name
        if file.is_file() and (text := file.read_text(encoding="ascii").strip()) != "max":
            yield Limit(int(text), "the control group of this job")
        if folder == mount:
            return
