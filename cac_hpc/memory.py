"""Host memory: how much of it this process may use, and arrays that all ranks of a node share."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cac_hpc import distributed
from cac_hpc.distributed import World

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


@contextmanager
def shared(num_bytes: int, world: World) -> Iterator[SharedBytes]:
    """Memory that all ranks of a node write and read; arrays mapped inside the block stay when it ends.

    It has no name in any file system and takes no room in /dev/shm: it is gone with the last process that maps it. A
    rank may leave the block only when every rank of its node has mapped.
    """
    made = -1
    if world.local_rank == 0:
        made = os.memfd_create("cac_hpc slices")
        os.truncate(made, num_bytes)
    pid, first_fd = distributed.gather((os.getpid(), made), world)[world.first_on_node]
    opened = os.open(f"/proc/{pid}/fd/{first_fd}", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield SharedBytes(opened, num_bytes)
    finally:
        os.close(opened)
        if made >= 0:
            os.close(made)


@dataclass(frozen=True)
class SharedBytes:
    fd: int
    bytes: int

    def int16(self, shape: tuple[int, ...], touch: bool = False) -> np.ndarray:
        """The memory as an int16 array; ``touch`` maps all of it now, not page by page when it is used."""
        flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if touch else 0)
        return np.frombuffer(mmap.mmap(self.fd, self.bytes, flags=flags), np.int16).reshape(shape)
