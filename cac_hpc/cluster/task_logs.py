"""The logs of tasks: where they lie, the newest of a task, and the end of it."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from pathlib import Path

from cac_hpc.run import ledger, logs
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES
from cac_hpc.settings.errors import InputError

TAIL_BYTES = 1 << 16


def show(run: RunPaths, name: str, array: str = "folds", known: Sequence[str] = (), logs_at: Path | None = None) -> int:
    """Print the end of the newest log of a fold, by its number, or of a stage.

    Args:
        array: the stage whose tasks have numbers. known: all stages, for the message, if not those of a run. logs_at:
            where the logs are, if not where those of a run are.
    Raises: InputError if the run has no such fold or stage.
    """
    stage, task = (array, int(name)) if name.isdecimal() else (name, None)
    one = array.removesuffix("s")
    events = ledger.read(run.ledger)
    mine = [event for event in events if event["stage"] == stage and task in (None, event["task"])]
    if not mine:
        tasks = sorted({event["task"] for event in events if event["stage"] == array and event["task"] is not None})
        told = {event["stage"] for event in events}
        wanted = ", ".join(
            [*map(str, tasks), *(known or (stage.name for stage in STAGES if stage.name in told or not stage.shared))]
        )
        raise InputError(f"--log {name}: the run has no such {one} or stage, wanted one of {wanted}")
    starts = {(event["task"], event.get("job")) for event in mine}
    folder = logs_at or run.slurm
    path = newest(folder, stage, starts)
    if path is None:
        logs.say(f"{folder}: no log of {stage if task is None else f'{one} {task}'} yet")
        return 1
    logs.say(f"the end of {path}:\n{tail(path)}")
    return 0


def newest(folder: Path, stage: str, starts: Collection[tuple[int | None, str | None]]) -> Path | None:
    """The newest log of some tasks of a stage; None if there is none.

    Args:
        starts: task and job, as ``123`` or ``123_4``, of every start; the job is None of one without SLURM.
    """
    patterns = {f"{stage}.log" if task is None else f"{stage}-{task}.log" for task, _ in starts}
    for job in {job for _, job in starts if job}:
        patterns |= {f"{glob.escape(job)}_*_log.*", f"cac-*-{glob.escape(job)}.log"}
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return max(found, key=lambda path: (path.stat().st_size > 0, path.stat().st_mtime), default=None)


def tail(path: Path, lines: int = 40) -> str:
    """The last lines of a log, however long it is; what programs wrote into it commands no terminal."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    return logs.harmless("\n".join(text.splitlines()[-lines:]))
