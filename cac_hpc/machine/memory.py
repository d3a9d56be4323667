"""Host memory: how much of it this job may use, how much it uses, what the kernel has ended for want of it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.machine import processes

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
GIB = 1 << 30
RESIDENT = re.compile(r"^Rss(\w+):\s*(\d+) kB", re.M)


@dataclass(frozen=True, order=True)
class Limit:
    """So many bytes, and who says so."""

    bytes: int
    says: str


@contextlib.contextmanager
def many_objects() -> Iterator[None]:
    """Make very many objects that stay: what looks for circles of references would go over all of them again and again.

    It waits until this ends, and does not look at them later; what nobody refers to goes as ever.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def give_back() -> None:
    """Give what is free back to the system: the C library keeps pieces of it, above all where several threads read.

    Other C libraries than that of GNU are left to what they do.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def limits(proc: Path = PROC, cgroup: Path = CGROUP) -> list[Limit]:
    """What the operating system allows the processes of this job on this node."""
    found = [Limit(_available(proc), "MemAvailable")]
    for unified, path in _groups(proc):
        mount, name = (cgroup, "memory.max") if unified else (cgroup / "memory", "memory.limit_in_bytes")
        found += _of_groups(mount, path, name)
    return found


def _groups(proc: Path) -> Iterator[tuple[bool, str]]:
    """This process's control groups that count memory: whether of the unified hierarchy (version 2), and the path."""
    for line in (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            yield controllers == "", path


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


def tree_bytes(pid: int) -> int:
    """Memory of a process and all that it has started; what they share counts once."""
    own, shared, waiting = 0, 0, [pid]
    while waiting:
        process = waiting.pop()
        with contextlib.suppress(OSError):  # ended meanwhile
            parts = dict(
                RESIDENT.findall(Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace"))
            )
            own += int(parts.get("Anon", 0)) << 10
            shared = max(shared, int(parts.get("Shmem", 0)) << 10)
        waiting += processes.children(process)
    return own + shared


def oom_kills(proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """How many processes of this job the kernel has ended because its memory was used up; 0 where nobody counts."""
    for unified, path in _groups(proc):
        file = "memory.events" if unified else "memory.oom_control"
        for group in _of_job(cgroup / path.lstrip("/")) if unified else _mounts(proc, path):
            with contextlib.suppress(OSError):
                if found := re.search(r"^oom_kill (\d+)", (group / file).read_text(encoding="ascii"), re.M):
                    return int(found[1])
    return 0


def _of_job(group: Path) -> Iterator[Path]:
    """A group of the unified hierarchy, then those above it that hold nothing but this job.

    Not every group has a memory controller. Scopes, slices and services (of systemd's naming) may hold other jobs, too.
    """
    yield group
    for above in group.parents:
        if above.suffix in (".scope", ".slice", ".service"):
            return
        yield above


def _mounts(proc: Path, path: str) -> list[Path]:
    """Where the memory controller's group of that path may be seen."""
    mounts = (proc / "self" / "mountinfo").read_text(encoding="utf-8").splitlines()
    return [
        Path(line.split()[4]) / os.path.relpath(path, line.split()[3])
        for line in mounts
        if " - cgroup " in line and re.search(r"\bmemory\b", line.rsplit(" - ", 1)[1])
    ]
