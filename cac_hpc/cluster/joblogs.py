"""The logs of a run's tasks, wherever they were written, and their last lines."""

from __future__ import annotations

import glob
from collections.abc import Collection
from pathlib import Path

from cac_hpc.run import logs

TAIL_BYTES = 1 << 16


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
