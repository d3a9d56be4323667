"""Follow a run: the table once or kept up to date, its end awaited, JSON for scripts, the end of a log."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from cac_hpc.cluster import exclusions, joblogs, overview
from cac_hpc.cluster.outlook import Outlook
from cac_hpc.cluster.states import OPEN
from cac_hpc.run import causes, ledger, lock, logs, snapshot
from cac_hpc.run.config import InputError
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES, TaskState

POLL_S = 3.0
HELD_S = 60.0  # with nothing that goes on before somebody acts
SILENT_S = 3600.0  # with nobody who says what becomes of the rest
WIDE = 200  # characters: where no terminal sets a limit
Step = list[TaskState] | None


def status(root: Path, watch: bool = False, as_json: bool = False, log: str | None = None) -> int:
    """Print where the run stands, or the end of a log.

    Returns: 1 if a task failed or is gone, or there is no log yet, else 0.
    """
    run = RunPaths(root)
    if log is not None:
        return _show_log(run, log)
    outlook = Outlook(run)
    if watch and not as_json:
        follow(run, until_settled(run, outlook), outlook)
    states = outlook.states()
    if as_json:
        print(json.dumps([_as_json(state) for state in states], indent=2))
    elif not watch:
        logs.say(root)  # by itself, as the notes: no line is broken that somebody may copy
        screen = logs.console()
        screen.print(overview.table(states), width=None if screen.is_terminal else WIDE)
        for line in _notes(run, states):
            logs.say(line)
    return 1 if any(state.state in ("failed", "gone") for state in states) else 0


def _as_json(state: TaskState) -> dict[str, Any]:
    """A state for scripts: its fields, and the cause as code with fields and as a sentence."""
    return dataclasses.asdict(state) | {"cause": state.cause and causes.to_json(state.cause), "reason": state.reason}


def read_states(run: RunPaths) -> list[TaskState]:
    """Where every task stands now."""
    return Outlook(run).states()


def follow(run: RunPaths, steps: Generator[Step, None, None], outlook: Outlook | None = None) -> None:
    """Draw the table again at every step; without a terminal, print every change as a line.

    Args:
        steps: yields where the tasks stand, or None to have it looked up.
    """
    look = (outlook or Outlook(run)).states
    if logs.console().is_terminal:
        _redraw(run, steps, look)
        return
    before: dict[tuple[str, int | None], str] = {}
    with closing(steps):  # whatever goes wrong here, what the steps started ends with them
        for seen in steps:
            for state in look() if seen is None else seen:
                key = state.stage, state.task
                before[key], line = overview.change(state, before.get(key))
                if line:
                    logs.say(line)


def until_settled(run: RunPaths, outlook: Outlook | None = None) -> Generator[Step, None, None]:
    """Yield where the tasks stand until nothing more will happen by itself.

    That is: all tasks have ended and a second look agrees; or the rest is held, or waits for what is held, for HELD_S;
    or nobody has said for SILENT_S what becomes of the rest.
    """
    look, before, began_s = (outlook or Outlook(run)).states, None, 0.0
    while True:
        states = look()
        yield states
        patience_s, now_s = _patience_s(states, lock.is_held(run.lock)), time.monotonic()
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


def _redraw(run: RunPaths, steps: Generator[Step, None, None], look: Callable[[], list[TaskState]]) -> None:
    shown = look()

    def drawn() -> Generator[None, None, None]:
        nonlocal shown
        with closing(steps):
            for seen in steps:
                shown = look() if seen is None else seen
                yield
            shown = look()

    logs.redraw(lambda: logs.with_lines(str(run.root), overview.table(shown), _notes(run, shown)), drawn())


def _notes(run: RunPaths, states: Sequence[TaskState]) -> list[str]:
    """What is to be known of the tasks, the nodes that are left out, and the run's code."""
    changed, missing = snapshot.changes(run), snapshot.incomplete(run)
    code = [*([missing] if missing else []), *([f"{run.code}: {snapshot.told(changed)}"] if changed else [])]
    return [*overview.notes(states), *exclusions.notes(run), *code, *_next(run, states)]


def _next(run: RunPaths, states: Sequence[TaskState]) -> list[str]:
    """The next command, where nothing has begun and where everything is done."""
    here, found = shlex.quote(str(run.root)), {state.state for state in states}
    commands = {
        "planned": f"nothing was started yet: python jobs/launch_cv.py --resume {here}",
        "done": f"all done; the report: python jobs/report.py {here}",
    }
    return [commands[found.pop()]] if len(found) == 1 and found <= set(commands) else []


def _show_log(run: RunPaths, name: str) -> int:
    """Print the end of the newest log of a fold, by its number, or of a stage.

    Raises: InputError if the run has no such fold or stage.
    """
    stage, task = ("folds", int(name)) if name.isdecimal() else (name, None)
    events = ledger.read(run.ledger)
    mine = [event for event in events if event["stage"] == stage and task in (None, event["task"])]
    if not mine:
        folds = sorted({event["task"] for event in events if event["stage"] == "folds" and event["task"] is not None})
        known = ", ".join([*map(str, folds), *(known.name for known in STAGES)])
        raise InputError(f"--log {name}: the run has no such fold or stage, wanted one of {known}")
    starts = {(event["task"], event.get("job")) for event in mine}
    path = joblogs.newest(run.slurm, stage, starts)
    if path is None:
        logs.say(f"{run.slurm}: no log of {stage if task is None else f'fold {task}'} yet")
        return 1
    logs.say(f"the end of {path}:\n{joblogs.tail(path)}")
    return 0
