"""The kernel's control groups as SLURM's process tracker needs them, a part of their own for each cluster."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from failures import require

CONTROLLERS = ("freezer", "memory")  # of version 1
MOUNT = Path("/sys/fs/cgroup")
MISSING = "the kernel counts memory neither in control groups of version 1 nor in version 2 alone"


def version(groups: str, controllers: str) -> int | None:
    """Which version of control groups SLURM can use here.

    SLURM refuses version 2 where one of version 1 is mounted beside it, and limits no memory without its controller.

    Args:
        groups: /proc/self/cgroup.
        controllers: cgroup.controllers of the unified hierarchy, empty where there is none.
    Returns: 2, 1, or None where neither counts memory.
    """
    names = [line.split(":")[1] for line in groups.splitlines()]
    if any("memory" in name.split(",") for name in names):
        return 1
    return 2 if names == [""] and "memory" in controllers.split() else None


def here() -> int | None:
    unified = MOUNT / "cgroup.controllers"
    controllers = unified.read_text() if unified.is_file() else ""
    return version(Path("/proc/self/cgroup").read_text(), controllers)


def name_of(folder: Path) -> str:
    """The name of a cluster's control group, by which its processes are known."""
    return f"cac{folder}".replace("/", "+")


def mount(folder: Path) -> None:
    """Give SLURM a cgroup of its own per controller: it names the groups below by node, the same in each cluster."""
    for controller in CONTROLLERS:
        hierarchy = _mounted(folder, controller)
        (hierarchy / name_of(folder)).mkdir()
        (folder / "cgroup" / controller).symlink_to(hierarchy / name_of(folder))


def unmount(folder: Path) -> None:
    """Remove the groups of a cluster, also where their mount ended with the commands that saw it."""
    for controller in CONTROLLERS:
        hierarchy = folder / "hierarchy" / controller
        if hierarchy.is_dir():
            _mounted(folder, controller)
            for group, _, _ in os.walk(hierarchy / name_of(folder), topdown=False):
                Path(group).rmdir()
            subprocess.run(["umount", hierarchy], check=True)
            hierarchy.rmdir()


def _mounted(folder: Path, controller: str) -> Path:
    hierarchy = folder / "hierarchy" / controller
    if not hierarchy.is_mount():
        hierarchy.mkdir(exist_ok=True)
        command = ["mount", "-t", "cgroup", "-o", controller, "cac-dev-slurm", str(hierarchy)]
        done = subprocess.run(command, capture_output=True, text=True)
        require(done.returncode == 0, f"no cgroup v1 here ({done.stderr.strip()}): use --proctrack linuxproc")
    return hierarchy
