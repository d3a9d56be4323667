"""Stop a run where it is, on SLURM or on this machine; what it has saved stays."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cac_hpc.cluster import outlook, scheduler, verdicts
from cac_hpc.cluster.records import Queued, base_state
from cac_hpc.machine import processes
from cac_hpc.run import ledger, lock, stages
from cac_hpc.run.config import WorkError
from cac_hpc.run.paths import RunPaths

WAIT_S = 60.0  # for a launcher whose folds save first
POLL_S = 0.2


def cancel(root: Path) -> int:
    """Cancel the run's jobs in the queue and end its launcher on this machine, and say what follows.

    Returns: 0, also if there was nothing to do.
    Raises: WorkError if SLURM or the launcher does not obey.
    """
    run = RunPaths(root)
    ended = [*_cancel_jobs(run), *_end_launcher(run)]
    if not ended:
        print("nothing of this run is in the queue or runs on this machine")
        return 0
    print("\n".join(ended))
    print("a fold at work saves first, within the time that SLURM gives it (KillWait); what is done stays done")
    print(f"to go on:   python jobs/launch_cv.py --resume {shlex.quote(str(root))}")
    return 0


def jobs_in_queue(run: RunPaths) -> dict[str, Queued]:
    """The run's jobs that are in the queue: by their numbers, and by the token in their names.

    Raises: WorkError if SLURM does not say.
    """
    states = [state for state in stages.survey(run) if state.job]
    token = outlook.token_of(run)
    if not states and scheduler.unavailable():
        return {}
    listing = outlook.queue_of(run)
    if listing is None:
        raise WorkError("SLURM does not answer (squeue), so nothing was cancelled; try again")
    since = {state.job: state.since for state in states}
    return {
        job: queued
        for job, queued in listing.jobs.items()
        if (token and queued.name.startswith("cac-") and queued.name.endswith(f"-{token}"))
        or (job in since and verdicts.is_ours(queued, token, since[job]))
    }


def _cancel_jobs(run: RunPaths) -> list[str]:
    """Cancel the jobs; of an array, which is one stage of the run, all tasks at once. Returns what was cancelled."""
    found = jobs_in_queue(run)
    arrays: dict[str, list[str]] = {}
    for job, queued in found.items():
        arrays.setdefault(job.split("_")[0], []).append(f"{queued.name}, {base_state(queued.state).lower()}")
    # the newest first: it may wait for the others, and would start when they end
    newest_first = sorted(arrays, key=int, reverse=True)
    if refusal := scheduler.cancel(newest_first):
        raise WorkError(f"SLURM does not cancel job {', '.join(newest_first)}: {refusal}")
    for state in stages.survey(run):
        waits = state.job in found and base_state(found[state.job].state) == "PENDING"
        if waits and state.state not in ("done", "failed", "stopped"):
            why = f"cancelled by {_user()} before it started"
            facts = {"resumable": True, "reason": why, "attempt": state.attempt}
            ledger.record(run.ledger, state.stage, state.task, "ended", ok=False, **facts)
    return [f"cancelled job {job}: {_count(arrays[job])}" for job in sorted(arrays, key=int)]


def _count(jobs: list[str]) -> str:
    """What the tasks of an array were: name and state, each with how many."""
    kinds = {kind: jobs.count(kind) for kind in dict.fromkeys(jobs)}
    return "; ".join(f"{kind} ({number} tasks)" if number > 1 else kind for kind, number in kinds.items())


def _end_launcher(run: RunPaths) -> list[str]:
    """End the launcher that runs the stages on this machine, and wait for it. Returns what was ended.

    Raises: WorkError if it does not end, or cannot be reached.
    """
    if not lock.is_held(run.lock):
        return []
    found = lock.holder(run.lock)
    if not found:
        raise WorkError(f"{run.lock}: somebody works on this run, but does not say who; end it where it was started")
    if found.get("host") != platform.node():
        there = f"kill {found['pid']}"
        raise WorkError(f"the launcher runs on {found.get('host')}, which cannot be reached from here: there, {there}")
    pid = int(found["pid"])
    began = processes.start_time(pid)
    if began is None:
        raise WorkError(f"the launcher (process {pid}) is gone, what it has started ends by itself in a moment")
    _terminate(pid, began, found)
    return [f"ended the launcher (process {pid}) and what it had started"]


def _terminate(pid: int, began: int, found: Mapping[str, Any]) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError:
        raise WorkError(f"the launcher (process {pid}) belongs to {found.get('user')}, who can end it") from None
    deadline = time.monotonic() + WAIT_S
    while processes.start_time(pid) == began:
        if time.monotonic() > deadline:
            raise WorkError(f"the launcher (process {pid}) was asked to end, but has not within {WAIT_S:.0f} s")
        time.sleep(POLL_S)


def _user() -> str:
    with contextlib.suppress(KeyError, OSError):
        return getpass.getuser()
    return str(os.getuid())
