"""Stage folds: train, validate and test one cross-validation fold; torchrun runs this once per GPU.

A fold's result follows from data, settings and seed, however often it was stopped: every step's order and chances come
from its number, and whatever changes is in the checkpoint.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cac_hpc.dataset import splits
from cac_hpc.machine import processes
from cac_hpc.machine.stopping import RESUMABLE, Stopped
from cac_hpc.run import causes, ledger, logs, settings, stages
from cac_hpc.run.causes import Cause
from cac_hpc.run.config import Config, InputError, WorkError
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.train import distributed, fencing, hardware, outcome, passes, starting, steps
from cac_hpc.train.distributed import World
from cac_hpc.train.fencing import Fence
from cac_hpc.train.heartbeat import Heartbeat, LostRank
from cac_hpc.train.passes import Attempt


def train_fold(root: Path, fold: int) -> int:
    """Train fold ``fold`` from its newest whole checkpoint to the end and write its predictions; a no-op when done.

    Returns: the exit code, 0 or RESUMABLE when it was asked to stop and has saved.
    Raises: InputError if the run has no such fold or a checkpoint was made under other circumstances; WorkError if a
    rank or the device is lost, or the loss is not finite.
    """
    run = RunPaths(root)
    cfg = settings.load(run.config)
    num_folds = len(splits.read_splits(run.splits))
    if not 0 <= fold < num_folds:
        raise InputError(f"--fold {fold}: the run has {num_folds} folds, wanted 0 to {num_folds - 1}")
    if distributed.under_torchrun():
        processes.die_with(os.getppid())  # killed, it would leave its ranks behind
    steps.fix_arithmetic(cfg)
    try:
        with distributed.process_group(cfg.train.device) as world:
            return _as_rank(run, fold, cfg, world)
    except distributed.NoDevice as error:
        raise WorkError(str(error)) from None


def _as_rank(run: RunPaths, fold: int, cfg: Config, world: World) -> int:
    """Do a rank's part of the fold, and tell the ledger; returns the exit code."""
    logs.setup(f"fold {fold} rank {world.rank}: ")
    files = run.fold(fold)
    if distributed.gather(world.is_main and stages.fold_is_done(files, read=True), world)[0]:
        log.info("predictions are there already, and as they were written")
        return 0
    rank = world.rank if world.size > 1 else None
    number = 0
    if world.is_main:
        with ledger.stage(run.ledger, "folds", fold, rank, speaks=False):
            number = fencing.take(files, ledger.whereabouts()).number
    fence = Fence(files.attempts, distributed.gather(number, world)[0])
    with ledger.stage(run.ledger, "folds", fold, rank, speaks=world.is_main, attempt=fence.number) as end:
        try:
            _run_fold(run, fold, cfg, world, fence)
        except Stopped as stop:
            end |= {"ok": False, "resumable": True, "cause": causes.of(stop)}
            return RESUMABLE
    return 0


def _run_fold(run: RunPaths, fold: int, cfg: Config, world: World, fence: Fence) -> None:
    def lost(cause: Cause, killed: int | None) -> None:
        log.error("%s", cause)
        facts = {"lost": True, "attempt": fence.number} | ({} if killed is None else {"killed": killed})
        ledger.record(run.ledger, "folds", fold, "ended", cause, ok=False, **facts)

    started = time.monotonic()
    with Heartbeat(run.fold(fold), fence, world.rank, world.size, lost) as heart:
        try:
            attempt = starting.start(run, fold, cfg, world, heart, fence)
            while attempt.state.epochs < cfg.train.epochs:
                _run_epoch(run, attempt)
            outcome.test_and_publish(attempt, time.monotonic() - started)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise WorkError(_out_of_memory(cfg, world)) from error
        except RuntimeError as error:
            if isinstance(error, WorkError) or (cause := heart.explain()) is None:
                raise
            raise LostRank(cause) from error


def _run_epoch(run: RunPaths, attempt: Attempt) -> None:
    """The rest of the epoch at work: training slices, then validation slices; then save, if it is time."""
    state, cfg = attempt.state, attempt.cfg
    started = time.monotonic()
    data_s, num_slices = passes.train_pass(attempt)
    trained = time.monotonic()
    state.share_losses(attempt.world)
    passes.check_losses(attempt, state.losses, 0)
    row = _validate(attempt)
    speed = {
        "epoch": row["epoch"],
        "train_seconds": round(trained - started, 3),
        "data_seconds": round(data_s, 3),
        "val_seconds": round(time.monotonic() - trained, 3),
        "slices_per_second": round(num_slices / (trained - started), 1),
        "peak_memory_mb": hardware.peak_memory_mb(attempt.world),
        "gpu_utilization_percent": hardware.utilization_percent(attempt.world),
    }
    state.end_epoch(row, speed)
    _tell(run, attempt, row, speed)
    last = state.epochs == cfg.train.epochs
    passes.carry_out(
        attempt, attempt.agreement.now(max(passes.requested(attempt), passes.SAVE if last else passes.GO_ON))
    )


def _validate(attempt: Attempt) -> dict[str, Any]:
    """Validate; the epoch's row of history.csv.

    Raises: WorkError if the loss is not finite.
    """
    state, epoch = attempt.state, attempt.state.epochs + 1
    probability, val_losses = passes.evaluate(attempt, attempt.data.val, "validating")
    val_loss = float(val_losses.astype(np.float64).mean())
    if not np.isfinite(val_loss):
        facts = {"task": attempt.fold, "epoch": epoch, "value": str(val_loss), "advice": passes.remedy(attempt.cfg)}
        raise WorkError(Cause("validation_loss_not_finite", **facts))  # type: ignore[arg-type]
    finite = np.isfinite(state.losses)
    return {
        "epoch": epoch,
        "train_loss": float(np.array(state.losses)[finite].mean()),
        "val_loss": val_loss,
        "val_accuracy": float((probability.argmax(axis=1) == attempt.data.units.label[attempt.data.val]).mean()),
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "skipped_steps": int((~finite).sum()),
    }


def _tell(run: RunPaths, attempt: Attempt, row: dict[str, Any], speed: dict[str, Any]) -> None:
    """An epoch is over: for the log, history.csv and speed.csv, the ledger, and whoever looks at the fold."""
    epochs, rate = attempt.cfg.train.epochs, speed["slices_per_second"]
    if attempt.world.is_main:
        log.info(
            "epoch %d of %d: train loss %.4f, validation loss %.4f, validation accuracy %.3f, %.0f slices/s",
            row["epoch"], epochs, row["train_loss"], row["val_loss"], row["val_accuracy"], rate,
        )  # fmt: skip
        outcome.write_rows(attempt)
        ledger.record(run.ledger, "folds", attempt.fold, "progress", **(row | speed))
    coming = min(row["epoch"] + 1, epochs)
    attempt.heart.moved("reading", epoch=coming, step=1, val_loss=row["val_loss"], slices_per_second=rate)


def _out_of_memory(cfg: Config, world: World) -> Cause:
    advice = (
        f"lower train.batch_size from {cfg.train.batch_size}, share it among more ranks than {world.size} "
        "(cluster.ranks_per_node), or set another train.residency"
    )
    peak_bytes = hardware.peak_memory_mb(world) * 1e6
    return Cause("device_out_of_memory", device=hardware.name(world), peak_bytes=peak_bytes, advice=advice)
