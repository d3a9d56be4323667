"""Numbered starts of a fold: of two that run at the same time only the newer one may write.

A node that SLURM takes for dead may live on. Its fold is started again elsewhere, and the old copy goes on: it is told
by the number of the newer one, and ends without writing anything more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cac_hpc.machine import processes
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import FoldPaths
from cac_hpc.settings.errors import WorkError


class Fenced(WorkError):
    """A newer start of the same fold has taken over."""


@dataclass(frozen=True)
class Fence:
    """This start among all of its fold."""

    folder: Path
    number: int

    def check(self) -> None:
        """Called right before anything gets its final name.

        Raises: Fenced if a newer start has taken over.
        """
        newest = newest_number(self.folder)
        if newest > self.number:
            raise Fenced(Cause("replaced", start=self.number, count=newest))


def take(files: FoldPaths, facts: Mapping[str, Any]) -> Fence:
    """Be the newest start from now on.

    Args:
        facts: what is kept about it, plain values.
    """
    while True:
        if fence := take_after(files, newest_number(files.attempts), facts):
            return fence


def take_after(files: FoldPaths, newest: int, facts: Mapping[str, Any]) -> Fence | None:
    """Be the newest start from now on, if there was none since the one that was the newest; None if there was.

    Of all that try it at the same time one succeeds.
    """
    files.attempts.mkdir(parents=True, exist_ok=True)
    saved = files.checkpoints()
    own = {"supervisor": processes.supervisor(), "checkpoint": saved[-1].name if saved else None}
    content = json.dumps({**facts, **own})
    scratch = files.attempts / f".{os.getpid()}-{os.urandom(4).hex()}.tmp"
    with scratch.open("x", encoding="utf-8") as file:
        file.write(content)
    try:
        os.link(scratch, files.attempt(newest + 1))
        return Fence(files.attempts, newest + 1)
    except FileExistsError:
        return None
    finally:
        scratch.unlink()


def newest_number(folder: Path) -> int:
    """Of the starts there were; 0 before the first."""
    return max((int(path.stem) for path in folder.glob("[0-9]*.json")), default=0)


def is_replaced(files: FoldPaths, before: int, at: Mapping[str, Any]) -> bool:
    """Asked by a supervisor: whether somebody else has started the fold since.

    Args:
        before: number of the newest start when the supervisor started its own. at: the supervisor's whereabouts. The
            supervisors of a job's other nodes are no strangers: a job that was started again is told by its restarts.
    """
    newest = newest_number(files.attempts)
    if newest <= before:
        return False
    start = json.loads(files.attempt(newest).read_text(encoding="utf-8"))
    if at["job"] is not None:
        return (start["job"], start["attempt"]) != (at["job"], at["attempt"])
    return (start["node"], start["supervisor"]) != (at["node"], processes.supervised()[processes.SUPERVISOR])


def num_fruitless(files: FoldPaths, job: str | None) -> int:
    """How many of the newest starts, all of one job, have not got any further than where the fold is now."""
    saved = files.checkpoints()
    here, count = saved[-1].name if saved else None, 0
    for path in sorted(files.attempts.glob("[0-9]*.json"), key=lambda path: int(path.stem), reverse=True):
        start = json.loads(path.read_text(encoding="utf-8"))
        if (start.get("job"), start["checkpoint"]) != (job, here):
            break
        count += 1
    return count
