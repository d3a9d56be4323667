"""What follows when a job could not finish: it starts again, on another node if this one is bad, or is given up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cac_hpc.cluster import exclusions, ownership, scheduler
from cac_hpc.machine import stopping
from cac_hpc.machine.stopping import RESUMABLE
from cac_hpc.run import ledger, stages
from cac_hpc.run.config import Config
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Task
from cac_hpc.train import fencing

PATIENCE_S, POLL_S = 600.0, 5.0  # with a controller that is being restarted
AGAIN = "to go on: python jobs/launch_cv.py --resume RUN"


@dataclass(frozen=True)
class Place:
    """The part of a job that this process is. job: as scontrol takes it; None outside SLURM. node: counted from 0."""

    job: str | None
    node: int
    num_nodes: int
    key: str

    @property
    def is_first(self) -> bool:
        return self.node == 0


def place() -> Place:
    """Where we are, by SLURM's variables; a plain ``python`` run is a job of one node."""
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    return Place(
        job=ledger.whereabouts()["job"],
        node=int(os.environ.get("SLURM_NODEID", "0")),
        num_nodes=int(os.environ.get("SLURM_NNODES", "1")),
        key=f"{os.environ.get('SLURM_JOB_ID', os.getpid())}-{restarts}-{os.environ.get('SLURM_STEP_ID', '0')}",
    )


def take_name(run: RunPaths, stage: str, here: Place) -> None:
    """Have a job that was submitted by hand bear the run's name, by which the run may cancel it and start it again."""
    name = ownership.job_name(run, stage)
    if here.job is None or not here.is_first or os.environ.get("SLURM_JOB_NAME") == name:
        return
    if refusal := scheduler.rename(here.job, f"cac-{stage}", name):
        log.warning("this job keeps its name, so the run neither cancels it nor starts it again: %s", refusal)


def go_on(run: RunPaths, tasks: Sequence[Task], here: Place) -> int:
    """Have SLURM start the array task again, as best effort, unless it was SLURM that ended it."""
    heard = stopping.heard()
    if here.job is None or _was_ended(here.job):
        why = f"stopped by {heard}" if here.job is None and heard else _ended_by(run, tasks[0], here.job)
        return end(run, tasks, f"{why}; {AGAIN}", RESUMABLE, resumable=True)
    why = f"ended by {heard}" if heard else _lost(run, tasks[0])
    for task in tasks:
        ledger.record(run.ledger, task.stage.name, task.index, "requeued", job=here.job, reason=why)
    if refusal := _requeue(run, here.job):
        why = f"{'saved' if heard else why}, but SLURM did not start it again ({refusal}); {AGAIN}"
        return end(run, tasks, why, RESUMABLE, resumable=True)
    log.info("job %s was requeued", here.job)
    return RESUMABLE


def _requeue(run: RunPaths, job: str) -> str | None:
    """Returns why SLURM refuses; None if the job will start again."""
    requeue = partial(scheduler.requeue, job, ownership.owner_of(run))
    refusal = _insist(requeue, lambda: stopping.heard() == "SIGTERM")
    if refusal and scheduler.state(job) == "PENDING":
        return None  # only the answer was lost
    return refusal


def _insist(order: Callable[[], str | None], is_hurried: Callable[[], bool] = lambda: False) -> str | None:
    """Give an order again as long as no controller answers; returns why SLURM refuses.

    A controller that is down, comes back or hands over has many words for it, which differ from version to version. So
    a refusal is believed when it comes twice and a controller answers a ping.

    Args:
        is_hurried: whether SLURM will not let us live as long as that takes.
    """
    deadline, before = time.monotonic() + PATIENCE_S, None
    while refusal := order():
        known = refusal == before and not scheduler.is_silent()
        if known or is_hurried() or time.monotonic() > deadline:
            break
        before = refusal
        time.sleep(POLL_S)
    return refusal


def _was_ended(job: str) -> bool:
    """Whether SLURM has ended the job, not only asked it to stop: to start it again would undo somebody's scancel.

    Before its time limit and in a preemption a job goes on RUNNING until it has had its time to save.
    """
    return scheduler.state(job) not in ("RUNNING", None)


def _ended_by(run: RunPaths, task: Task, job: str | None) -> str:
    """Who has ended a job, as far as the run knows; without a job, what has ended the task."""
    if job is None:
        return _lost(run, task)
    cancelled = [event for event in ledger.read(run.ledger) if event["event"] == "cancelled"]
    by = next((event.get("by") for event in reversed(cancelled) if event.get("job") == job.split("_")[0]), None)
    return f"cancelled by {by}" if by else "cancelled, or over its time limit without a warning"


def _lost(run: RunPaths, task: Task) -> str:
    """What is known of a rank or node that was lost."""
    told = [str(end["reason"]) for end in stages.last_ends(run, task) if end.get("reason")]
    return told[0] if told else "a rank was lost"


def leave_node(run: RunPaths, cfg: Config, tasks: Sequence[Task], here: Place, wrong: str) -> int:
    """Have the job started again on another node, and no job of the run on this one."""
    node = ledger.whereabouts()["node"]
    why = f"node {node} {wrong}"
    log.error("%s", why)
    others = {bad["node"] for bad in stages.bad_nodes(run) if bad.get("job") == here.job} - {node}
    if here.job is None or len(others) >= cfg.cluster.attempts:
        return end(run, tasks, f"{why}; after {len(others)} other nodes this is given up", code=1)
    if limit := exclusions.add(run, cfg.cluster, node, wrong, here.job):
        mend = f"fix the cause, then {exclusions.lift(run)}; {AGAIN}"
        return end(run, tasks, f"{why}; {limit}: {mend}", code=1)
    for task in tasks:
        ledger.record(run.ledger, task.stage.name, task.index, "requeued", job=here.job, node=node, reason=why)
    if refusal := _requeue(run, here.job):
        return end(run, tasks, f"{why}; SLURM did not start it elsewhere ({refusal}); {AGAIN}", code=1)
    if refusal := _insist(partial(scheduler.exclude, here.job, exclusions.names(run, cfg), ownership.owner_of(run))):
        log.warning("SLURM may take this node again: %s", refusal)  # then it is left again
    return RESUMABLE


def give_up_fruitless(run: RunPaths, cfg: Config, tasks: Sequence[Task], here: Place) -> list[Task]:
    """End the tasks that are not worth another start of this job; returns the others."""
    worthy = []
    for task in tasks:
        starts = _num_fruitless(run, task, here.job)
        if starts < cfg.cluster.attempts:
            worthy.append(task)
            continue
        last = [end["reason"] for end in stages.last_ends(run, task) if end.get("reason")]
        last += [event["reason"] for event in reversed(ledger.read(run.ledger)) if _is_requeue(event, task)]
        why = (
            f"{starts} starts in a row brought nothing new (cluster.attempts), the last ended so: "
            f"{last[0] if last else 'without a word'}; {AGAIN}"
        )
        end(run, [task], why, code=1)
    return worthy


def progress(run: RunPaths, task: Task) -> str | None:
    """What a later start of the task begins with: the newest checkpoint of a fold."""
    saved = run.fold(task.index or 0).checkpoints() if task.stage.ranks else []
    return saved[-1].name if saved else None


def _num_fruitless(run: RunPaths, task: Task, job: str | None) -> int:
    """How many of a task's newest starts by this job have not got any further: by what supervisors have told, and, of
    those that were killed before they could, by the numbers that the starts of a fold have taken."""
    here, count = progress(run, task), 0
    for event in reversed(ledger.read(run.ledger)):
        if (event["event"], event["stage"], event["task"]) == ("used", task.stage.name, task.index):
            if (event.get("job"), event.get("at")) != (job, here):
                break
            count += 1
    return max(count, fencing.num_fruitless(run.fold(task.index or 0), job)) if task.stage.ranks else count


def _is_requeue(event: dict[str, Any], task: Task) -> bool:
    return (event["event"], event["stage"], event["task"]) == ("requeued", task.stage.name, task.index)


def end(run: RunPaths, tasks: Sequence[Task], why: str, code: int, **facts: Any) -> int:
    """Tell how the tasks ended; returns the exit code."""
    log.error("%s", why)
    for task in tasks:
        attempt = fencing.newest_number(run.fold(task.index or 0).attempts) if task.stage.ranks else None
        told = {"ok": False, "reason": why, "final": True, "attempt": attempt, **facts}
        ledger.record(run.ledger, task.stage.name, task.index, "ended", **told)
    return code
