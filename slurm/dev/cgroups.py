"""The kernel's control groups as SLURM's process tracker needs them, a part of their own for each cluster."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from failures import require

CONF = {  # cgroup.conf
    1: "CgroupPlugin=cgroup/v1\nCgroupMountpoint={folder}/cgroup\nConstrainRAMSpace=yes\n",
    2: "CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\nConstrainRAMSpace=yes\n",
}

CONTROLLERS = ("freezer", "memory")  # of version 1
MOUNT = Path("/sys/fs/cgroup")
SLICE = MOUNT / "system.slice"  # where SLURM puts a scope for each node, if systemd does not
SCOPE = re.compile(r"^0::/system\.slice/n\d_slurmstepd\.scope/", re.M)
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


def mount(folder: Path, version: int) -> None:
    """Give SLURM control groups: it names those below by node, the same in each cluster.

    Version 1 can be mounted once more for each cluster, version 2 serves one cluster at a time.

    Raises: UserError where another cluster has those of version 2.
    """
    if version == 2:
        require(not _scopes(), f"another cluster of this machine has {SLICE}: stop it first, or use linuxproc")
        SLICE.mkdir(exist_ok=True)
        for group in (MOUNT, SLICE):
            there = set((group / "cgroup.controllers").read_text().split())
            wanted = " ".join(f"+{name}" for name in ("cpuset", "cpu", "memory") if name in there)
            (group / "cgroup.subtree_control").write_text(wanted)
        (folder / "hierarchy" / SLICE.name).symlink_to(SLICE)
        return
    for controller in CONTROLLERS:
        hierarchy = _mounted(folder, controller)
        (hierarchy / name_of(folder)).mkdir(exist_ok=True)
        (folder / "cgroup" / controller).symlink_to(hierarchy / name_of(folder))


def holds(folder: Path, groups: str) -> bool:
    """Whether a process with these groups (its /proc/PID/cgroup) belongs to a cluster."""
    if _has_scopes(folder):
        return SCOPE.search(groups) is not None
    return f":/{name_of(folder)}/" in groups


def unmount(folder: Path) -> None:
    """Remove the groups of a cluster, also where their mount ended with the commands that saw it."""
    if _has_scopes(folder):
        for scope in _scopes():
            _remove(scope)
    for controller in CONTROLLERS:
        hierarchy = folder / "hierarchy" / controller
        if hierarchy.is_dir():
            _remove(_mounted(folder, controller) / name_of(folder))
            subprocess.run(["umount", hierarchy], check=True)
            hierarchy.rmdir()


def _has_scopes(folder: Path) -> bool:
    """Whether the cluster was given control groups of version 2."""
    return (folder / "hierarchy" / SLICE.name).is_symlink()


def _scopes() -> list[Path]:
    return sorted(SLICE.glob("n[0-9]_slurmstepd.scope"))


def _remove(group: Path) -> None:
    for each, _, _ in os.walk(group, topdown=False):
        Path(each).rmdir()


def _mounted(folder: Path, controller: str) -> Path:
    hierarchy = folder / "hierarchy" / controller
    if not hierarchy.is_mount():
        hierarchy.mkdir(exist_ok=True)
        command = ["mount", "-t", "cgroup", "-o", controller, "cac-dev-slurm", str(hierarchy)]
        done = subprocess.run(command, capture_output=True, text=True)
        require(done.returncode == 0, f"no cgroup v1 here ({done.stderr.strip()}): use --proctrack linuxproc")
    return hierarchy
