"""One start of a fold on one rank: what it works on, and what is done between two steps, where all ranks agree.

Axes: N slice, U unit (see `slices`), K category.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cac_hpc.machine.processes import Stopped
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import log
from cac_hpc.run.paths import FoldPaths
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import WorkError
from cac_hpc.settings.train import TrainConfig
from cac_hpc.train import checkpoint, distributed, slices
from cac_hpc.train.bags import BagData
from cac_hpc.train.checkpoint import TrainingState
from cac_hpc.train.distributed import Agreement, World
from cac_hpc.train.fencing import Fence
from cac_hpc.train.heartbeat import Heartbeat
from cac_hpc.train.residency import Loaded
from cac_hpc.train.slices import Units

GENERATIONS = 2  # checkpoints that are kept
LOOK_STEPS = {"cpu": 1, "cuda": 32}  # between two looks at the losses: a GPU waits for them
NOT_FINITE = 5  # losses in a row that end the fold
GO_ON, SAVE, STOP = range(3)  # what a rank may request at a step boundary; the highest of all ranks is done


@dataclass(frozen=True)
class FoldData:
    """Rows, the units made of them, and which units are the fold's three parts."""

    loaded: Loaded
    units: Units
    label_U: Tensor  # of all units, on the device
    weight_K: Tensor  # of each category, on the device
    box_N4: np.ndarray  # the heart on each slice, all 0 where it was not found
    train: np.ndarray  # numbers of units, as the two below
    val: np.ndarray
    test: np.ndarray
    bags: BagData | None = None  # where the rows are candidates
    seal: str = ""  # digest of the dataset's seal

    def num_slices(self, unit_U: np.ndarray) -> int:
        """Slices of these units, whatever of them the model is given."""
        return int((self.bags.slices[unit_U] if self.bags else self.units.counts(unit_U)).sum())

    def steps(self, cfg: TrainConfig, epochs: int) -> int:
        """Steps that so many whole epochs take."""
        each = -(-len(self.train) // cfg.batch_size)
        return epochs * each if cfg.steps is None else round(cfg.steps * epochs / cfg.epochs)

    def batches(self, cfg: TrainConfig, fold: int, epoch: int) -> list[np.ndarray]:
        """Units of the global training batches of an epoch."""
        if cfg.steps is not None:
            chosen = range(self.steps(cfg, epoch - 1), self.steps(cfg, epoch))
            return list(slices.running_batches(self.train, cfg.batch_size, cfg.seed, fold, chosen, cfg.shuffle_window))
        return list(slices.training_batches(self.train, cfg.batch_size, cfg.seed, fold, epoch, cfg.shuffle_window))


@dataclass
class Attempt:
    """One start of a fold, on one rank: what stays the same until the process ends, and when it saved last."""

    files: FoldPaths
    fence: Fence
    fold: int
    cfg: Config
    world: World
    data: FoldData
    state: TrainingState
    heart: Heartbeat
    agreement: Agreement
    belongs_to: dict[str, Any]
    made_with: dict[str, Any]
    parallel: nn.Module
    saved_s: float


def look_at_losses(attempt: Attempt) -> None:
    """Every now and then, look whether this rank's newest losses are finite; a GPU waits for it.

    Raises: WorkError if they are not.
    """
    state, look = attempt.state, LOOK_STEPS[attempt.world.device.type]
    if state.step % look == 0:
        newest = torch.stack(state.parts[-(look + NOT_FINITE) :]).tolist()
        check_losses(attempt, newest, state.step - len(newest))


def check_losses(attempt: Attempt, losses: Sequence[float], first: int) -> None:
    """Refuse a loss that is not finite, or several in a row where fp16 skips such steps.

    Args:
        losses: of steps from the epoch's step ``first`` on, counted from 0.
    Raises: WorkError naming the first of these steps and its studies.
    """
    cfg, data = attempt.cfg, attempt.data
    limit = 1
    if cfg.train.precision == "fp16":
        limit = min(NOT_FINITE, len(data.batches(cfg.train, attempt.fold, attempt.state.epochs + 1)))
    row = 0
    for step, loss in enumerate(losses, start=first):
        row = 0 if math.isfinite(loss) else row + 1
        if row == limit:
            epoch, step = attempt.state.epochs + 1, step - limit + 1
            studies = sorted(set(data.units.study[data.batches(cfg.train, attempt.fold, epoch)[step]]))
            cause = Cause(
                "loss_not_finite", task=attempt.fold, epoch=epoch, step=step + 1, value=str(losses[step - first]),
                words="several in a row" if limit > 1 else None, studies=", ".join(studies), advice=remedy(cfg),
            )  # fmt: skip
            raise WorkError(cause)


def remedy(cfg: Config) -> str:
    return f"lower train.learning_rate from {cfg.train.learning_rate:g}, or set train.precision fp32"


def requested(attempt: Attempt) -> int:
    """What this rank requests at the next step boundary."""
    if attempt.heart.stop_asked_by:
        return STOP
    due = time.monotonic() - attempt.saved_s >= 60 * attempt.cfg.train.checkpoint_minutes
    return SAVE if attempt.world.is_main and due else GO_ON


def carry_out(attempt: Attempt, decision: int) -> None:
    """Do what all ranks agreed on.

    Raises: Stopped after saving, if that was it.
    """
    if decision == GO_ON:
        return
    state, files = attempt.state, attempt.files
    state.share_losses(attempt.world)
    check_losses(attempt, state.losses, 0)
    if attempt.world.is_main:
        attempt.heart.moved("saving")
        _save(attempt)
    distributed.gather(None, attempt.world)  # the checkpoint is whole before anybody goes on
    attempt.saved_s = time.monotonic()
    if decision == STOP and state.epochs < attempt.cfg.train.epochs:
        files.stop.unlink(missing_ok=True)
        asked = attempt.heart.stop_asked_by or Cause("stopped")
        cause = replace(asked, epoch=state.epochs, step=state.step)
        log.info("saved and %s", cause)
        raise Stopped(cause)


def _save(attempt: Attempt) -> None:
    """Write a checkpoint and drop those that are too old."""
    state, files = attempt.state, attempt.files
    saved = state.to_plain() | {"belongs_to": attempt.belongs_to, "made_with": attempt.made_with}
    checkpoint.save(files.checkpoint(state.epochs, state.step), saved, attempt.fence.check)
    for path in files.checkpoints()[:-GENERATIONS]:
        checkpoint.remove(path)
