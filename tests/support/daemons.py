"""SLURM's own daemons, killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.conftest import Slurm


@contextlib.contextmanager
def killed(slurm: Slurm, *command: str) -> Iterator[None]:
    """Without one of the cluster's daemons while it lasts, as ``slurmctld`` or ``slurmd -N n1``; up again after it."""
    pid = _find(slurm, *command)
    env = dict(line.split("=", 1) for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in line)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not _is_alive(pid), 10, f"the end of {command[0]}")
    try:
        yield
    finally:
        subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=30)
        wait_for(lambda: _answers(slurm, command), 60, f"{' '.join(command)} up again")


def _find(slurm: Slurm, name: str, *words: str) -> int:
    """The daemon with these words in its command, of this cluster."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            found = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            variables = (entry / "environ").read_bytes().split(b"\0")
            ours = f"SLURM_CONF={slurm.env['SLURM_CONF']}".encode() in variables
            if ours and found[0].rpartition("/")[2] == name and set(words) <= set(found):
                return int(entry.name)
    raise AssertionError(f"{name} does not run in {slurm.folder}")


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _answers(slurm: Slurm, command: tuple[str, ...]) -> bool:
    if command[0] == "slurmd":
        node = command[-1]
        _ask(slurm, "scontrol", "update", f"NodeName={node}", "State=RESUME")
        return _ask(slurm, "sinfo", "-h", "-n", node, "-o", "%T") in ("idle", "mixed", "allocated")
    asked = {"slurmctld": ("scontrol", "ping"), "slurmdbd": ("sacctmgr", "--noheader", "show", "cluster")}
    answer = _ask(slurm, *asked[command[0]])
    return bool(answer) and "DOWN" not in answer


def _ask(slurm: Slurm, *command: str) -> str:
    done = subprocess.run(command, env=slurm.env, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else ""
