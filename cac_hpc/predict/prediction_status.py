"""Where a prediction stands: its parts from its files first, then its jobs as those of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cac_hpc.cluster import monitor, task_logs
from cac_hpc.cluster.queue_records import OPEN
from cac_hpc.cluster.task_status import RunStates
from cac_hpc.predict import parts
from cac_hpc.predict.prediction_jobs import GATHER, PREDICT, jobs_of
from cac_hpc.run import disk, ledger
from cac_hpc.run.causes import RELEASE, Cause
from cac_hpc.run.logs import amount
from cac_hpc.run.task_states import TaskState

AGAIN = "the same jobs/predict.py command again does what is missing"


def status(out: Path, watch: bool = False, as_json: bool = False, log: str | None = None) -> int:
    """Print where a prediction stands, or the end of a log.

    Returns: 1 if a task failed or is gone, or a study has no prediction, or there is no log yet, else 0.
    """
    if log is not None:
        jobs = jobs_of(out)
        return task_logs.show(jobs, log, PREDICT, (PREDICT, GATHER), logs_at=jobs.root)
    view = PredictionView(out)
    return max(monitor.show(view, watch, as_json), int(view.refused > 0))


class PredictionView:
    """A prediction: a task for each share of its parts, and one that gathers; without jobs one task for all."""

    def __init__(self, out: Path) -> None:
        self.root, self._plan, self._jobs = out, parts.read_plan(out), jobs_of(out)
        self._states = RunStates(self._jobs) if self._jobs.ledger.exists() else None

    @property
    def refused(self) -> int:
        """Studies without a prediction, once all is gathered."""
        return int(self._gathered().get("counts", {}).get("refused", 0))

    def states(self) -> list[TaskState]:
        missing, count = set(parts.missing(self.root, self._plan)), len(self._plan.parts)
        if self._states is None:
            done = not missing and bool(self._gathered())
            return [TaskState(PREDICT, None, "done" if done else "planned")]
        found = {(state.stage, state.task): state for state in self._states.states()}
        shards = _shards(ledger.read(self._jobs.ledger))
        tasks = []
        for task in range(shards):
            mine = range(task, count, shards)
            known = found.get((PREDICT, task), TaskState(PREDICT, task, "planned"))
            tasks.append(_by_parts(known, len(mine), sum(index in missing for index in mine)))
        end = found.get((GATHER, None), TaskState(GATHER, None, "planned"))
        if end.state not in OPEN and not missing and self._gathered():
            end = replace(end, state="done", cause=None)
        return [_with_own_command(state) for state in (*tasks, end)]

    def notes(self, states: Sequence[TaskState]) -> list[str]:
        """Why tasks stand where they stand, how many parts there are, and what to do next."""
        plan, missing = self._plan, len(parts.missing(self.root, self._plan))
        count = len(plan.parts)
        lines = [
            *monitor.notes(states),
            f"{count - missing} of {count} parts are there, of {amount(len(plan.studies), 'study')}",
        ]
        if all(state.state == "done" for state in states):
            lines.append(f"all done; the results: {self.root / 'index.html'}")
            refused = amount(self.refused, "study")
            lines += [f"no prediction of {refused}; predictions.csv says why"] * (self.refused > 0)
        elif not any(state.state in OPEN for state in states):
            lines.append(AGAIN)
        return lines

    def launching(self) -> bool:
        return False

    def _gathered(self) -> Mapping[str, Any]:
        """predict.json; nothing where it is not there, or damaged."""
        return disk.read_object(self.root / "predict.json")


def _shards(events: Sequence[Mapping[str, Any]]) -> int:
    """How many tasks share the parts since the newest submission."""
    counts = [event.get("shards") for event in events if event["stage"] == PREDICT and event["event"] == "submitted"]
    return next((count for count in reversed(counts) if isinstance(count, int) and count > 0), 1)


def _by_parts(state: TaskState, count: int, missing: int) -> TaskState:
    """The task, its results being what counts.

    Args:
        count: its parts. missing: those that are not there.
    """
    if not missing:
        return replace(state, state="done", cause=None, command=None)
    if state.state == "done":  # its results were there and are gone
        return replace(state, state="gone", cause=Cause("no_result", PREDICT, state.task))
    return replace(state, progress=f"{count - missing} of {count} parts")


def _with_own_command(state: TaskState) -> TaskState:
    """The command that helps a run helps no prediction; that of SLURM does."""
    held = state.cause is not None and state.cause.help == RELEASE
    return state if held else replace(state, command=None)
