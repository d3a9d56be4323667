"""Folds without a result: what they are at, or why they have none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cac_hpc.cluster.outlook import Outlook
from cac_hpc.cluster.records import OPEN
from cac_hpc.run import lock
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import TaskState

DOING = {
    "planned": "waiting for its turn",
    "queued": "waiting in the queue",
    "held": "held in the queue, python jobs/status.py RUN says why",
    "running": "running",
    "suspended": "suspended",
    "unknown": "perhaps at work, which cannot be seen from here",
}


class Look(NamedTuple):
    """What may still come by itself.

    at_work: the folds that may come to a result, and what each is doing. surely: whether one of them is known to be at
    work or to wait for its turn; of the others nobody can tell. aggregates: whether the final report may come.
    """

    at_work: dict[int, str]
    surely: bool
    aggregates: bool


def look(run: RunPaths) -> Look:
    launching = lock.is_held(run.lock)  # a launcher on this machine starts what is planned
    states = [
        state for state in Outlook(run).states() if state.state in OPEN or (state.state == "planned" and launching)
    ]
    folds = {state.task: state for state in states if state.stage == "folds" and state.task is not None}
    return Look(
        at_work={index: _doing(state) for index, state in folds.items()},
        surely=any(state.state != "unknown" for state in folds.values()),
        aggregates=any(state.stage == "aggregate" for state in states),
    )


def cause(states: Iterable[TaskState], fold: int) -> Cause:
    """Why a fold has ended without a result, by what the ledger says of all tasks."""
    found = next((state for state in states if (state.stage, state.task) == ("folds", fold)), None)
    if found is None or found.state in ("planned", "submitted"):
        return (found and found.cause) or Cause("never_started")
    if found.state == "running":
        return Cause("interrupted", place=(found.progress or "its start").partition(",")[0])
    return found.cause or Cause("no_result")


def _doing(state: TaskState) -> str:
    known = state.state == "running" and state.epoch and state.epochs
    return f"{DOING[state.state]}, epoch {state.epoch} of {state.epochs}" if known else DOING[state.state]
