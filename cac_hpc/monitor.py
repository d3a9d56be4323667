"""Where a run stands: from its folder first, from the scheduler second. Shown as a table, followed, or as JSON."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc import heartbeat, logs, scheduler, stages
from cac_hpc.paths import RunPaths
from cac_hpc.stages import TaskState

if TYPE_CHECKING:
    from rich.table import Table

POLL_S = 2.0
COLUMNS = ("stage", "task", "state", "job", "node", "attempt", "what")


def status(root: Path, watch: bool = False, as_json: bool = False) -> int:
    """Print where the run stands.

    Returns: 1 if a task failed or is gone, else 0.
    """
    run = RunPaths(root)
    states = read_states(run)
    if as_json:
        print(json.dumps([dataclasses.asdict(state) for state in states], indent=2))
    elif watch:
        follow(run, until_settled(run))
    else:
        logs.console().print(table(run, states))
    return 1 if any(state.state in ("failed", "gone") for state in states) else 0


def read_states(run: RunPaths) -> list[TaskState]:
    """Where every task stands; of those the files leave open, what SLURM says, in one call."""
    states = stages.survey(run)
    open_jobs = [state.job for state in states if state.job and state.state in ("submitted", "running")]
    queue = scheduler.queued(open_jobs) if open_jobs else {}
    seen = [_with_queue(state, queue) if state.job in open_jobs else _with_process(state) for state in states]
    return [_with_pulse(run, state) if state.stage == "folds" and state.state == "running" else state for state in seen]


def follow(run: RunPaths, steps: Generator[object, None, None]) -> None:
    """Draw the table again at every step; without a terminal, print every change as a line."""
    if logs.console().is_terminal:
        logs.redraw(lambda: table(run, read_states(run)), steps)
        return
    before: dict[tuple[str, int | None], tuple[str, str | None]] = {}
    with closing(steps):  # whatever goes wrong here, what the steps started ends with them
        for _ in steps:
            for state in read_states(run):
                key, now = (state.stage, state.task), (state.state, state.reason or state.progress)
                if before.get(key, ("planned", None)) != now:
                    name = state.stage if state.task is None else f"{state.stage} {state.task}"
                    print(f"{name}: {now[0]}" + (f", {now[1]}" if now[1] else ""), flush=True)
                before[key] = now


def until_settled(run: RunPaths) -> Generator[None, None, None]:
    """Yield until every task is done, stopped or failed, or nothing of the run is in the queue any more."""
    while any(state.state in ("submitted", "running", "queued") for state in read_states(run)):
        yield
        time.sleep(POLL_S)
    yield


def table(run: RunPaths, states: list[TaskState]) -> Table:
    rows = [
        (
            state.stage,
            state.task,
            state.state,
            state.job,
            state.node,
            state.attempt or None,
            state.reason or state.progress,
        )
        for state in states
    ]
    return logs.table(str(run.root), COLUMNS, rows)


def _with_pulse(run: RunPaths, state: TaskState) -> TaskState:
    """A fold that runs, with what its main rank last said of itself."""
    pulses = heartbeat.read_pulses(run.fold(state.task or 0))
    if not pulses or pulses[0].end or not pulses[0].epoch:
        return state
    pulse = pulses[0]
    known = [pulse.place]
    known += [f"validation loss {pulse.val_loss:.3f}"] if pulse.val_loss is not None else []
    known += [f"{pulse.slices_per_second:.0f} slices/s"] if pulse.slices_per_second else []
    return dataclasses.replace(state, progress=", ".join(known))


def _with_process(state: TaskState) -> TaskState:
    """A task that runs here without SLURM lives as long as its process."""
    if state.state != "running" or state.node != platform.node() or Path(f"/proc/{state.pid}").exists():
        return state
    return dataclasses.replace(state, state="gone", reason="its process ended without a result")


def _with_queue(state: TaskState, queue: dict[str, scheduler.JobState] | None) -> TaskState:
    if queue is None:
        return dataclasses.replace(state, reason="SLURM does not answer")
    found = queue.get(state.job or "")
    if found is None:
        return dataclasses.replace(state, state="gone", reason="left the queue without a result")
    if found.state == "PENDING":
        return dataclasses.replace(state, state="queued", reason=found.reason)
    return dataclasses.replace(state, state="running") if state.state == "submitted" else state
