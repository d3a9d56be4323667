"""What follows when a job could not finish: it starts again, on another node if this one is bad, or is given up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cac_hpc.cluster import nodes, ownership, slurm_commands
from cac_hpc.machine import processes
from cac_hpc.machine.processes import RESUMABLE
from cac_hpc.run import causes, digests, ledger, task_states
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Task
from cac_hpc.settings.config import Config
from cac_hpc.train import fencing

PATIENCE_S, POLL_S = 600.0, 5.0  # with a controller that is being restarted


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
    if refusal := slurm_commands.rename(here.job, f"cac-{stage}", name):
        log.warning("this job keeps its name, so the run neither cancels it nor starts it again: %s", refusal)


def requeue_tasks(run: RunPaths, tasks: Sequence[Task], here: Place) -> int:
    """Have SLURM start the array task again, as best effort, unless it was SLURM that ended it."""
    heard = processes.heard()
    if here.job is None or _was_ended(here.job):
        stopped = Cause("stopped", signal=heard) if here.job is None and heard else _ended_by(run, tasks[0], here.job)
        return end(run, tasks, stopped, RESUMABLE, resumable=True)
    cause = Cause("ended_by_signal", signal=heard) if heard else _lost(run, tasks[0])
    for task in tasks:
        ledger.record(run.ledger, task.stage.name, task.index, "requeued", cause, job=here.job)
    if refusal := _requeue(run, here.job):
        left = Cause("not_started_again", detail=refusal, after=None if heard else cause)
        return end(run, tasks, left, RESUMABLE, resumable=True)
    log.info("job %s was requeued", here.job)
    return RESUMABLE


def _requeue(run: RunPaths, job: str) -> str | None:
    """Returns why SLURM refuses; None if the job will start again."""
    requeue = partial(slurm_commands.requeue, job, ownership.owner_of(run))
    refusal = _insist(requeue, lambda: processes.heard() == "SIGTERM")
    if refusal and slurm_commands.state(job) == "PENDING":
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
        known = refusal == before and not slurm_commands.is_silent()
        if known or is_hurried() or time.monotonic() > deadline:
            break
        before = refusal
        time.sleep(POLL_S)
    return refusal


def _was_ended(job: str) -> bool:
    """Whether SLURM has ended the job, not only asked it to stop: to start it again would undo somebody's scancel.

    Before its time limit and in a preemption a job goes on RUNNING until it has had its time to save.
    """
    return slurm_commands.state(job) not in ("RUNNING", None)


def _ended_by(run: RunPaths, task: Task, job: str | None) -> Cause:
    """Who has ended a job, as far as the run knows; without a job, what has ended the task."""
    if job is None:
        return _lost(run, task)
    cancelled = [event for event in ledger.read(run.ledger) if event["event"] == "cancelled"]
    by = next((event.get("by") for event in reversed(cancelled) if event.get("job") == job.split("_")[0]), None)
    saved = next((end["cause"] for end in task_states.last_ends(run, task) if end.get("resumable")), None)
    return Cause("cancelled", user=by, after=saved) if by else Cause("ended_by_scheduler", after=saved)


def _lost(run: RunPaths, task: Task) -> Cause:
    """What is known of a rank or node that was lost."""
    return next((end["cause"] for end in task_states.last_ends(run, task) if end["cause"]), Cause("rank_lost"))


def leave_node(run: RunPaths, cfg: Config, tasks: Sequence[Task], here: Place, wrong: str) -> int:
    """Have the job started again on another node, and no job of the run on this one."""
    node = ledger.whereabouts()["node"]
    cause = Cause("node_unfit", node=node, detail=wrong)
    log.error("%s", cause)
    others = {bad["node"] for bad in task_states.bad_nodes(run) if bad.get("job") == here.job} - {node}
    if here.job is None or len(others) >= cfg.cluster.attempts:
        return end(run, tasks, Cause("nodes_given_up", count=len(others), after=cause), code=1)
    if limit := nodes.exclude(run, cfg.cluster, node, wrong, here.job):
        return end(run, tasks, Cause("node_kept", detail=limit, after=cause), code=1)
    for task in tasks:
        ledger.record(run.ledger, task.stage.name, task.index, "requeued", cause, job=here.job, node=node)
    if refusal := _requeue(run, here.job):
        return end(run, tasks, Cause("not_started_elsewhere", detail=refusal, after=cause), code=1)
    if refusal := _insist(
        partial(slurm_commands.exclude, here.job, nodes.excluded_names(run, cfg), ownership.owner_of(run))
    ):
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
        told = [
            *task_states.last_ends(run, task),
            *filter(partial(_is_requeue, task), reversed(ledger.read(run.ledger))),
        ]
        last = next((event["cause"] for event in told if event["cause"]), None)
        end(run, [task], Cause("fruitless", count=starts, after=last), code=1)
    return worthy


def progress(run: RunPaths, task: Task) -> str | None:
    """What a later start of the task begins with: the newest checkpoint of a fold; of trials all that there is."""
    if task.stage.shared:
        return _progress_of_trials(run)
    saved = run.fold(task.index or 0).checkpoints() if task.stage.ranks else []
    return saved[-1].name if saved else None


def _progress_of_trials(run: RunPaths) -> str:
    """What differs when any trial has got further: how many rungs are reached, and which checkpoints there are."""
    parts = "trials/fold-*/trial-*/part-*"
    rungs = sum(1 for _ in run.root.glob(f"{parts}/rung-*.json"))
    saved = sorted(str(path.relative_to(run.root)) for path in run.root.glob(f"{parts}/checkpoints/epoch-*.pt"))
    return f"{rungs} rungs, checkpoints {digests.content_sha256(saved)[:8]}"


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


def _is_requeue(task: Task, event: dict[str, Any]) -> bool:
    return (event["event"], event["stage"], event["task"]) == ("requeued", task.stage.name, task.index)


def end(run: RunPaths, tasks: Sequence[Task], cause: Cause, code: int, **facts: Any) -> int:
    """Tell how the tasks ended, and what helps; returns the exit code."""
    of_stage = replace(cause, stage=tasks[0].stage.name)
    log.error("%s; to go on: %s", causes.sentence(of_stage), causes.command(of_stage, run.root))
    for task in tasks:
        attempt = fencing.newest_number(run.fold(task.index or 0).attempts) if task.stage.ranks else None
        told = {"ok": False, "final": True, "attempt": attempt, **facts}
        ledger.record(run.ledger, task.stage.name, task.index, "ended", cause, **told)
    return code
