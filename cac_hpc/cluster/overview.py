"""Where the tasks of a run stand, as people see it: a table, reasons below it, a line for every change."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cac_hpc.run import logs
from cac_hpc.run.stages import TaskState

if TYPE_CHECKING:
    from rich.table import Table

MANY = 12  # tasks of a stage, from which on those that are alike share a line
COLUMNS = ("stage", "task", "state", "job", "node", "try", "epoch", "loss", "slices/s", "ETA", "doing")
ALWAYS = 4  # columns; the others only where they say something


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
    numbers = [state.task or 0 for state in states]
    runs = [[n for _, n in run] for _, run in itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ", ".join(parts[:5]) + (f", ... ({len(numbers)})" if len(parts) > 5 else "")


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
