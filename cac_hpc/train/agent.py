"""Start the ranks of a fold on this node, and say which of them a signal has ended: torchrun's exit code hides it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from cac_hpc.machine import processes
from cac_hpc.run import ledger, stages
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES, Task
from cac_hpc.train import distributed, fencing, heartbeat
from cac_hpc.train.distributed import Failure


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
    newest = fencing.newest_number(files.attempts)
    ended_by_us = {event.get("killed") for event in ledger.read(run.ledger)[told:] if event["task"] == fold}
    for rank, why in reasons(run, fold, failures).items():
        if rank not in ended_by_us:  # hanging, by another rank, which has said so
            log.error("%s", why)
            facts = {"lost": True, "final": True, "attempt": newest if newest > before else None}
            name = processes.signal_name(-failures[rank].code)
            ledger.record(run.ledger, "folds", fold, "ended", ok=False, reason=why, signal=name, **facts)
    return 1 if failures else 0


def reasons(run: RunPaths, fold: int, failures: Mapping[int, Failure]) -> dict[int, str]:
    """What is to be said of each rank that a signal has ended: where it was, the signal and what sends it."""
    node = ledger.whereabouts()["node"]
    pulses = {(pulse.rank, pulse.node, pulse.pid): pulse for pulse in heartbeat.read_pulses(run.fold(fold))}
    found = {}
    for rank, (pid, code) in failures.items():
        if code < 0:
            known = pulses.get((rank, node, pid))
            where = known.where if known else f"rank {rank} on {node}"
            found[rank] = f"{where} died in {known.place if known else 'its start'}: {processes.how_it_ended(code)}"
    return found
