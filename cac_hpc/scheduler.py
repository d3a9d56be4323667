"""What SLURM says: is it there, where is a node, in which state is a job. Asked through its own commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

TIMEOUT_S = 20


@dataclass(frozen=True)
class JobState:
    """SLURM's state of a job that is not finished, and its reason for waiting."""

    state: str
    reason: str


def unavailable() -> str | None:
    """Why there is no SLURM here; None if there is one that answers."""
    if shutil.which("sbatch") is None:
        return "there is no sbatch on this machine"
    answer = _ask(["scontrol", "ping"])
    if answer is None or "UP" not in answer:
        return "sbatch is here, but no SLURM controller answers"
    return None


def queued(job_ids: Sequence[str]) -> dict[str, JobState] | None:
    """The jobs of these ids that are still in the queue, in one call; None if SLURM does not say.

    Args:
        job_ids: job or array task ids, as ``123`` or ``123_4``.
    """
    parents = sorted({job.split("_")[0] for job in job_ids})
    if not parents:
        return {}
    # all of the user's jobs: asked for ids that it has forgotten, squeue answers with an error only
    answer = _ask(["squeue", "--noheader", "--array", "--me", "--format=%i|%T|%r"])
    if answer is None:
        return None
    found = {}
    for line in answer.splitlines():
        job, _, rest = line.strip().partition("|")
        state, _, reason = rest.partition("|")
        if job.split("_")[0] in parents:
            found[job] = JobState(state, reason)
    return found


def node_address(node: str) -> str:
    """The address under which SLURM reaches a node; its name where SLURM does not say."""
    found = re.search(r"NodeAddr=(\S+)", _ask(["scontrol", "show", "node", node]) or "")
    return found[1] if found else node


def cancel(job_ids: Sequence[str]) -> None:
    """Take jobs out of the queue, as best effort."""
    if job_ids:
        _ask(["scancel", *job_ids])


@contextmanager
def clean_environment() -> Iterator[None]:
    """Hide the variables of an enclosing job or shell that would change what is submitted; SLURM_CONF stays."""
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(("SLURM", "SBATCH_", "SRUN_", "PMI", "SUBMITIT_")) and name != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _ask(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
