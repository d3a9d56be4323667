"""Whole epochs of a training: training slices, then validation slices, and a checkpoint where it is time for one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.run import disk
from cac_hpc.run.causes import Cause
from cac_hpc.settings.errors import WorkError
from cac_hpc.train import attempts, passes, setup
from cac_hpc.train.attempts import Attempt

Tell = Callable[[dict[str, Any], dict[str, Any]], None]  # an epoch's rows of history.csv and speed.csv


def train(attempt: Attempt, epochs: int, tell: Tell, keep: bool = True) -> None:
    """Train until so many epochs are over.

    Args:
        tell: called after each epoch. keep: whether a checkpoint is written when the last of them is over.
    Raises: Stopped when it was asked to stop and has saved; WorkError if a loss is not finite.
    """
    while attempt.state.epochs < epochs:
        tell(*_run_epoch(attempt))
        last = keep and attempt.state.epochs == epochs
        wanted = max(attempts.requested(attempt), attempts.SAVE if last else attempts.GO_ON)
        attempts.carry_out(attempt, attempt.agreement.now(wanted))


def _run_epoch(attempt: Attempt) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rest of the epoch at work; its rows of history.csv and speed.csv."""
    state = attempt.state
    started = time.monotonic()
    data_s, num_slices = passes.train_pass(attempt)
    trained = time.monotonic()
    state.share_losses(attempt.world)
    attempts.check_losses(attempt, state.losses, 0)
    row = _validate(attempt)
    speed = {
        "epoch": row["epoch"],
        "train_seconds": round(trained - started, 3),
        "data_seconds": round(data_s, 3),
        "val_seconds": round(time.monotonic() - trained, 3),
        "slices_per_second": round(num_slices / (trained - started), 1),
        "peak_memory_mb": setup.peak_memory_mb(attempt.world),
        "gpu_utilization_percent": setup.utilization_percent(attempt.world),
    }
    state.end_epoch(row, speed)
    return row, speed


def _validate(attempt: Attempt) -> dict[str, Any]:
    """Validate; the epoch's row of history.csv.

    Raises: WorkError if the loss is not finite.
    """
    state, epoch = attempt.state, attempt.state.epochs + 1
    probability, val_losses = passes.evaluate(attempt, attempt.data.val, "validating")
    val_loss = float(val_losses.astype(np.float64).mean())
    if not np.isfinite(val_loss):
        facts = {"task": attempt.fold, "epoch": epoch, "value": str(val_loss), "advice": attempts.remedy(attempt.cfg)}
        raise WorkError(Cause("validation_loss_not_finite", **facts))  # type: ignore[arg-type]
    finite = np.isfinite(state.losses)
    return {
        "epoch": epoch,
        "train_loss": float(np.array(state.losses)[finite].mean()),
        "val_loss": val_loss,
        "val_accuracy": passes.accuracy(attempt.data, attempt.data.val, probability),
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "skipped_steps": int((~finite).sum()),
    }


def write_rows(attempt: Attempt) -> None:
    """history.csv and speed.csv, whole each time."""
    for path, rows in ((attempt.files.history, attempt.state.history), (attempt.files.speed, attempt.state.speed)):
        text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
        disk.write_text(path, text, attempt.fence.check)
