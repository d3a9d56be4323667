"""Start the ranks of a fold on this node, and say which of them a signal has ended: torchrun's exit code hides it."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from pathlib import Path
from signal import SIGTERM

from cac_hpc.run import ledger, stages
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES, Task
from cac_hpc.train import distributed, fencing, heartbeat
from cac_hpc.train.distributed import Failure

CLOSING_S = 25  # torchrun gives the others 30 s before it kills them


def start_ranks(root: Path, fold: int, options: str) -> int:
    """Train a fold by the ranks of this node; returns the exit code, 1 if a rank has failed.

    Args:
        options: of torchrun, quoted as for a shell.
    """
    run = RunPaths(root)
    files = run.fold(fold)
    task = Task(next(stage for stage in STAGES if stage.ranks), fold, files.predictions)
    told, before = len(ledger.read(run.ledger)), fencing.newest_number(files.attempts)
    failures = distributed.torchrun([*shlex.split(options), "--", *stages.script_command(task, run)])
    victim = killed(failures)
    since = [event for event in ledger.read(run.ledger)[told:] if event["task"] == fold]
    told_already = any(event.get("killed") == getattr(victim, "rank", None) for event in since)  # by another rank
    has_saved = any(event["event"] == "ended" and (event.get("ok") or event.get("resumable")) for event in since)
    if victim and not told_already and not has_saved:  # asked to stop again while it leaves, it ends at once
        cause, newest = cause_of(run, fold, victim), fencing.newest_number(files.attempts)
        log.error("%s", cause)
        facts = {"lost": True, "final": True, "attempt": newest if newest > before else None}
        ledger.record(run.ledger, "folds", fold, "ended", cause, ok=False, **facts)
    return 1 if failures else 0


def killed(failures: Sequence[Failure]) -> Failure | None:
    """The first rank that a signal has ended and not torchrun, which ends the others once one has failed."""
    for place, failure in enumerate(failures):
        by_torchrun = -failure.code == SIGTERM or failure.seen_s - failures[0].seen_s >= CLOSING_S
        if failure.code < 0 and (place == 0 or not by_torchrun):
            return failure
    return None


def cause_of(run: RunPaths, fold: int, victim: Failure) -> Cause:
    """Where a rank was when a signal ended it, and which signal."""
    pulses = [pulse for pulse in heartbeat.read_pulses(run.fold(fold)) if pulse.node == platform.node()]
    known = next((pulse for pulse in pulses if (pulse.rank, pulse.pid) == (victim.rank, victim.pid)), None)
    node, place = (known.node, known.place) if known else (ledger.whereabouts()["node"], None)
    return Cause("rank_killed", node=node, rank=victim.rank, place=place, exit_code=victim.code)
