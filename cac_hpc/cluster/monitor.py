"""Follow a run: its table once or kept up to date, its end awaited, JSON for scripts, the end of a task's log."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shlex
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cac_hpc.cluster import nodes, task_logs, trial_progress
from cac_hpc.cluster.queue_records import OPEN
from cac_hpc.cluster.task_status import RunStates
from cac_hpc.cluster.trial_progress import RunTrials
from cac_hpc.run import causes, lock, logs, provenance
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.task_states import TaskState
from cac_hpc.settings.slurm_notation import ranges

if TYPE_CHECKING:
    from rich.table import Table

POLL_S = 3.0
HELD_S = 60.0  # with nothing that goes on before somebody acts
SILENT_S = 3600.0  # with nobody who says what becomes of the rest
WIDE = 200  # characters: where no terminal sets a limit
Step = list[TaskState] | None
MANY = 12  # tasks of a stage, from which on those that are alike share a line
COLUMNS = ("stage", "task", "state", "job", "node", "try", "epoch", "loss", "slices/s", "ETA", "doing")
ALWAYS = 4  # columns; the others only where they say something


class View(Protocol):
    """What is looked at: a run, or a prediction."""

    @property
    def root(self) -> Path:
        """Its folder."""

    def states(self) -> list[TaskState]:
        """Where every task stands now."""

    def notes(self, states: Sequence[TaskState]) -> list[str]:
        """What else is to be known."""

    def launching(self) -> bool:
        """Whether a launcher works on it, which will start what is planned."""


class RunView:
    """A run."""

    def __init__(self, run: RunPaths) -> None:
        self.root, self._run, self._states = run.root, run, RunStates(run)
        self._trials = RunTrials(run) if run.trials_plan.exists() else None

    def states(self) -> list[TaskState]:
        found = self._states.states()
        if self._trials is None:
            return found
        return [
            dataclasses.replace(state, tried=self._trials.tried(state.task or 0)) if state.stage == "folds" else state
            for state in found
        ]

    def notes(self, states: Sequence[TaskState]) -> list[str]:
        """Of the tasks, the nodes that are left out, and the run's code."""
        run = self._run
        changed, missing = provenance.changes(run), provenance.incomplete(run)
        code = [*([missing] if missing else []), *([f"{run.code}: {provenance.told(changed)}"] if changed else [])]
        tried = {state.task or 0: state.tried for state in states if state.tried}
        return [*notes(states), *trial_progress.lines(tried), *nodes.exclusion_notes(run), *code, *_next(run, states)]

    def launching(self) -> bool:
        return lock.is_held(self._run.lock)


def status(root: Path, watch: bool = False, as_json: bool = False, log: str | None = None) -> int:
    """Print where the run stands, or the end of a log.

    Returns: 1 if a task failed or is gone, or there is no log yet, else 0.
    """
    run = RunPaths(root)
    return task_logs.show(run, log) if log is not None else show(RunView(run), watch, as_json)


def show(view: View, watch: bool, as_json: bool) -> int:
    """Print where it stands, or keep it up to date until it has ended.

    Returns: 1 if a task failed or is gone, else 0.
    """
    if watch and not as_json:
        follow(view, until_settled(view))
    states = view.states()
    if as_json:
        print(json.dumps([_as_json(state) for state in states], indent=2))
    elif not watch:
        logs.say(view.root)  # by itself, as the notes: no line is broken that somebody may copy
        screen = logs.console()
        screen.print(table(states), width=None if screen.is_terminal else WIDE)
        for line in view.notes(states):
            logs.say(line)
    return 1 if any(state.state in ("failed", "gone") for state in states) else 0


def _as_json(state: TaskState) -> dict[str, Any]:
    """A state for scripts: its fields, and the cause as code with fields and as a sentence."""
    return dataclasses.asdict(state) | {"cause": state.cause and causes.to_json(state.cause), "reason": state.reason}


def follow(view: View, steps: Generator[Step, None, None]) -> None:
    """Draw the table again at every step; without a terminal, print every change as a line.

    Args:
        steps: yields where the tasks stand, or None to have it looked up.
    """
    if logs.console().is_terminal:
        _redraw(view, steps)
        return
    before: dict[tuple[str, int | None], str] = {}
    with closing(steps):  # whatever goes wrong here, what the steps started ends with them
        for seen in steps:
            for state in view.states() if seen is None else seen:
                key = state.stage, state.task
                before[key], line = change(state, before.get(key))
                if line:
                    logs.say(line)


def until_settled(view: View) -> Generator[Step, None, None]:
    """Yield where the tasks stand until nothing more will happen by itself.

    That is: all tasks have ended and a second look agrees; or the rest is held, or waits for what is held, for HELD_S;
    or nobody has said for SILENT_S what becomes of the rest.
    """
    before, began_s = None, 0.0
    while True:
        states = view.states()
        yield states
        patience_s, now_s = _patience_s(states, view.launching()), time.monotonic()
        if patience_s != before:
            before, began_s = patience_s, now_s
        if patience_s is not None and now_s - began_s >= patience_s:
            return
        time.sleep(POLL_S)


def _patience_s(states: Sequence[TaskState], launching: bool) -> float | None:
    """How long a run may stay as it is until it counts as settled; None as long as something goes on.

    Args:
        launching: whether a launcher works on it, which will start what is planned.
    """
    rest = [state for state in states if state.state in OPEN]
    if launching and any(state.state != "done" for state in states):
        return None
    if not rest:
        return 0.0 if all(state.state == "done" for state in states) else POLL_S
    waits = [state.state == "queued" and "Dependency" in ((state.cause and state.cause.slurm) or "") for state in rest]
    stuck = [state.state for state, depends in zip(rest, waits, strict=True) if not depends]
    if stuck and set(stuck) == {"held"}:
        return HELD_S
    return SILENT_S if stuck and set(stuck) <= {"held", "unknown"} else None


def _redraw(view: View, steps: Generator[Step, None, None]) -> None:
    shown = view.states()

    def drawn() -> Generator[None, None, None]:
        nonlocal shown
        with closing(steps):
            for seen in steps:
                shown = view.states() if seen is None else seen
                yield
            shown = view.states()

    logs.redraw(lambda: logs.with_lines(str(view.root), table(shown), view.notes(shown)), drawn())


def _next(run: RunPaths, states: Sequence[TaskState]) -> list[str]:
    """The next command, where nothing has begun and where everything is done."""
    here, found = shlex.quote(str(run.root)), {state.state for state in states}
    commands = {
        "planned": f"nothing was started yet: python jobs/launch_cv.py --resume {here}",
        "done": f"all done; the report: python jobs/report.py {here}",
    }
    return [commands[found.pop()]] if len(found) == 1 and found <= set(commands) else []


def table(states: Sequence[TaskState]) -> Table:
    """A line per task; of a stage with many tasks, one for all that are alike. loss: on the validation part."""
    rows = [_row(group) for group in _alike(states)]
    used = [at for at in range(len(COLUMNS)) if at < ALWAYS or any(row[at] is not None for row in rows)]
    return logs.table("", [COLUMNS[at] for at in used], [[row[at] for at in used] for row in rows], tight=True)


def notes(states: Sequence[TaskState]) -> list[str]:
    """Why tasks stand where they stand, and the command that helps; the same once."""
    found: dict[tuple[str, str | None, str | None], list[TaskState]] = {}
    for state in states:
        if state.reason:
            found.setdefault((state.stage, state.reason, state.command), []).append(state)
    lines = []
    for (stage, reason, command), mine in found.items():
        name = f"{stage} {_indices(mine)}" if mine[0].task is not None else stage
        lines += [logs.line(f"{name}: {reason}"), *([logs.line(f"    {command}")] if command else [])]
    return lines


def change(state: TaskState, before: str | None) -> tuple[str, str | None]:
    """A task as a line, if it has changed.

    Args:
        before: what was returned the last time.
    Returns: what to compare the next time; and the line, below it the command that helps, or None.
    """
    epoch = f", epoch {state.epoch} of {state.epochs}" if state.epoch and state.state == "running" else ""
    now = f"{state.state}{epoch} {_kind(state.reason)}".strip()
    if now == (before or "planned"):
        return now, None
    name = state.stage if state.task is None else f"{state.stage} {state.task}"
    loss = f", validation loss {state.val_loss:.3f}" if epoch and state.val_loss is not None else ""
    why = f", {state.reason}" if state.reason else ""
    helps = f"\n    {logs.line(state.command)}" if state.command else ""
    return now, logs.line(f"{name}: {state.state}{epoch}{loss}{why}") + helps


def _row(group: Sequence[TaskState]) -> tuple[object, ...]:
    one, alone = group[0], len(group) == 1
    epoch = f"{one.epoch}/{one.epochs}" if one.epoch and one.epochs else one.epoch
    return (
        one.stage,
        None if one.task is None else _indices(group),
        one.state,
        one.job if alone or not one.job else one.job.split("_")[0],
        one.node if alone else None,
        one.attempt or None if alone else None,
        epoch,
        None if one.val_loss is None else f"{one.val_loss:.3f}",
        None if not one.slices_per_second else f"{one.slices_per_second:.0f}",
        _duration(one.eta_s),
        _doing(one.progress) if one.state == "running" else None,
    )


def _doing(progress: str | None) -> str | None:
    """The phase of a fold, of ``epoch 2 step 7 of 19 (training)``, where it is none that every epoch has."""
    phase = re.sub(r".*\((\w+)\)$", r"\1", progress or "")
    return None if phase in ("", "reading", "training", "validating") else phase


def _alike(states: Sequence[TaskState]) -> Iterator[list[TaskState]]:
    for stage, group in itertools.groupby(states, key=lambda state: state.stage):
        mine = list(group)
        if stage == "folds" or len(mine) <= MANY:
            yield from ([state] for state in mine)
            continue
        kinds: dict[tuple[str, str], list[TaskState]] = {}
        for state in mine:
            kinds.setdefault((state.state, _kind(state.reason)), []).append(state)
        yield from kinds.values()


def _indices(states: Sequence[TaskState]) -> str:
    """The tasks' numbers as 0-3, 7."""
    parts = ranges(state.task or 0 for state in states)
    return ", ".join(parts[:5]) + (f", ... ({len(states)})" if len(parts) > 5 else "")


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _kind(text: str | None) -> str:
    """A reason without its numbers."""
    return re.sub(r"\d+", "#", text or "")
