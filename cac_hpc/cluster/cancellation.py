"""Stop a run where it is, on SLURM or on this machine; what it has saved stays."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cac_hpc.cluster import ownership, slurm_commands, task_status
from cac_hpc.cluster.queue_records import Queued, base_state
from cac_hpc.machine import processes
from cac_hpc.run import ledger, lock, logs, task_states
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import WorkError

WAIT_S = 60.0  # for a launcher whose folds save first
ENDING_S = 30.0  # until the controller has begun to end what was cancelled
POLL_S = 0.2


def cancel(root: Path) -> int:
    """Cancel the run's jobs in the queue and end its launcher on this machine, and say what follows.

    Returns: 0, also if there was nothing to do.
    Raises: WorkError if SLURM or the launcher does not obey.
    """
    run = RunPaths(root)
    jobs, launcher = _cancel_jobs(run), _end_launcher(run)
    ended = [_cancelled(job, tasks) for job, tasks in jobs.items()] + launcher
    if not ended:
        logs.say("nothing of this run is in the queue or runs on this machine")
        return 0
    logs.say("\n".join(ended))
    if launcher or any(base_state(task.state) != "PENDING" for tasks in jobs.values() for task in tasks):
        logs.say("a fold at work saves first, within the time that SLURM gives it (KillWait); what is done stays done")
    logs.say(f"to go on:   python jobs/launch_cv.py --resume {shlex.quote(str(root))}")
    return 0


def jobs_in_queue(run: RunPaths) -> tuple[dict[str, Queued], list[str]]:
    """The run's jobs that are in the queue: those that its launcher submitted, and those that told its ledger.

    Returns: the jobs by their numbers; and those that the ledger names, but SLURM gives a name of no job of this run.
    Raises: WorkError if SLURM does not say.
    """
    since = {state.job: state.since for state in task_states.survey(run) if state.job}
    if not since and slurm_commands.unavailable():
        return {}, []
    owner, listing = ownership.owner_of(run), task_status.queue_of(run)
    if listing is None:
        raise WorkError("SLURM does not answer (squeue), so nothing was cancelled; try again")
    told = {
        job: queued
        for job, queued in listing.jobs.items()
        if job in since and ownership.is_ours(queued, owner.token, since[job])
    }
    ours = {job: queued for job, queued in told.items() if owner.may_act_on(queued)}
    strangers = [f"job {job}, {queued.name!r}" for job, queued in told.items() if job not in ours]
    return {job: queued for job, queued in listing.jobs.items() if owner.submitted(queued)} | ours, strangers


def _cancel_jobs(run: RunPaths) -> dict[str, list[Queued]]:
    """Cancel the jobs; of an array, which is one stage of the run, all tasks at once. Returns the tasks of each."""
    found, strangers = jobs_in_queue(run)
    for job in strangers:
        logs.say(
            f"left alone: {job}: it stands in {run.ledger}, but does not bear its name; if it is yours, use scancel"
        )
    arrays: dict[str, list[Queued]] = {}
    for job, queued in found.items():
        arrays.setdefault(job.split("_")[0], []).append(queued)
    if not arrays:
        return {}
    # the newest first: it may wait for the others, and would start when they end
    newest_first = [job for array in sorted(arrays, key=int, reverse=True) for job in _whole(run, array, found)]
    if refusal := slurm_commands.cancel(newest_first, ownership.owner_of(run)):
        raise WorkError(f"SLURM does not cancel job {', '.join(newest_first)}: {refusal}")
    _note(run, arrays, lock.user_name())  # at once: what ends now can say why
    try:
        _wait_for_end(run, newest_first)
    except WorkError:
        _note(run, arrays, None)
        raise
    for state in task_states.survey(run):
        waits = state.job in found and base_state(found[state.job].state) == "PENDING"
        if waits and state.state not in ("done", "failed", "stopped"):
            cause, facts = (
                Cause("cancelled_waiting", user=lock.user_name()),
                {"resumable": True, "attempt": state.attempt},
            )
            ledger.record(run.ledger, state.stage, state.task, "ended", cause, ok=False, **facts)
    return {job: arrays[job] for job in sorted(arrays, key=int)}


def _whole(run: RunPaths, array: str, found: Mapping[str, Queued]) -> list[str]:
    """An array by its number, where all of it in the queue is the run's; else those of its tasks that are."""
    listing, mine = task_status.queue_of(run), [job for job in found if job.split("_")[0] == array]
    there = [job for job in (listing.jobs if listing else {}) if job.split("_")[0] == array]
    return [array] if set(there) <= set(mine) else mine


def _note(run: RunPaths, arrays: Mapping[str, Sequence[Queued]], by: str | None) -> None:
    """Tell the ledger who has cancelled jobs; None takes it back."""
    for job, tasks in arrays.items():
        ledger.record(run.ledger, ownership.stage_of(tasks[0]), None, "cancelled", job=job, by=by)


def _wait_for_end(run: RunPaths, orders: Sequence[str]) -> None:
    """Look at the queue until the jobs have left it or are ending: scancel may say nothing and do nothing.

    Raises: WorkError naming those that stay as they were.
    """
    deadline = time.monotonic() + ENDING_S
    while True:
        listing = task_status.queue_of(run)
        left = {
            job: queued.state
            for job, queued in (listing.jobs if listing else {}).items()
            if {job, job.split("_")[0]} & {*orders} and base_state(queued.state) != slurm_commands.ENDING
        }
        if listing is not None and not left:
            return
        if time.monotonic() > deadline:
            still = ", ".join(f"{job} ({state.lower()})" for job, state in left.items())
            why = f"still in the queue: job {still}" if left else slurm_commands.SILENT
            raise WorkError(f"scancel did not complain, but nothing shows that the jobs end ({why}); try again")
        time.sleep(POLL_S)


def _cancelled(job: str, jobs: Sequence[Queued]) -> str:
    """That an array was cancelled, and what its tasks were: name and state, each with how many."""
    words = [f"{queued.name}, {base_state(queued.state).lower()}" for queued in jobs]
    kinds = {kind: words.count(kind) for kind in dict.fromkeys(words)}
    count = "; ".join(f"{kind} ({number} tasks)" if number > 1 else kind for kind, number in kinds.items())
    return f"cancelled job {job}: {count}"


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
