"""Who is at work on a part of a trial: its newest start, as long as that lives and has not said that it has ended."""

from __future__ import annotations

import os
import time
from typing import Any

from cac_hpc.machine import processes
from cac_hpc.run import disk, ledger
from cac_hpc.run.paths import FoldPaths
from cac_hpc.train import fencing, heartbeat
from cac_hpc.train.fencing import Fence

SILENT_S = 60.0  # without a pulse on another node, by this process's own clock; a shared disk may show it late


class Holders:
    """What this process knows of the others, from the files of the parts that they hold."""

    def __init__(self, worker: int) -> None:
        started, numbering = processes.start_time(os.getpid()), processes.numbering()
        self._own = ledger.whereabouts() | {"started": started, "numbering": numbering, "worker": worker}
        self._heard: dict[FoldPaths, tuple[Any, float]] = {}  # the newest pulse of each part, and since when it is so

    def claim(self, files: FoldPaths) -> Fence | None:
        """Be the one that works on a part from now on; None if another process is."""
        newest = fencing.newest_number(files.attempts)
        if newest and self._holds(files, newest):
            return None
        return fencing.take_after(files, newest, self._own)

    def _holds(self, files: FoldPaths, newest: int) -> bool:
        """Whether the newest start of a part is still at work."""
        start = disk.read_object(files.attempt(newest))
        pulse = heartbeat.read(files.heartbeat(0))
        if pulse is None or pulse.group != str(newest):
            pulse = None  # not its own: it has not said anything yet
        elif pulse.end:
            return False
        if all(start.get(name) == self._own[name] for name in ("node", "numbering")):
            return bool(processes.start_time(start["pid"]) == start["started"])
        said, now_s = (newest, pulse), time.monotonic()
        before, since_s = self._heard.get(files, (None, now_s))
        if said != before:
            since_s = now_s
        self._heard[files] = said, since_s
        return now_s - since_s <= SILENT_S
