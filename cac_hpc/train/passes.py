"""The passes over a fold's slices, on one rank; between two steps all ranks agree on saving and stopping.

Axes: N slice, H row, W column, K category.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cac_hpc.machine.stopping import Stopped
from cac_hpc.run.causes import Cause
from cac_hpc.run.config import Config, TrainConfig, WorkError
from cac_hpc.run.logs import log
from cac_hpc.run.paths import FoldPaths
from cac_hpc.train import augment, checkpoint, distributed, models, slices, steps, transforms
from cac_hpc.train.distributed import Agreement, World
from cac_hpc.train.fencing import Fence
from cac_hpc.train.heartbeat import Heartbeat
from cac_hpc.train.residency import Loaded
from cac_hpc.train.slices import SliceTable
from cac_hpc.train.trainer import Trainer

GENERATIONS = 2  # checkpoints that are kept
LOOK_STEPS = {"cpu": 1, "cuda": 32}  # between two looks at the losses: a GPU waits for them
NOT_FINITE = 5  # losses in a row that end the fold
GO_ON, SAVE, STOP = range(3)  # what a rank may wish at a step boundary, the stronger the higher


@dataclass(frozen=True)
class FoldData:
    """Slices, the row numbers of the fold's three parts among them, and the weight of each category (K,).

    label_N: of all slices, on the device as weight_K. box_N4: the heart on each of them, all 0 where it was not found.
    """

    loaded: Loaded
    label_N: Tensor
    weight_K: Tensor
    box_N4: np.ndarray
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def table(self) -> SliceTable:
        return self.loaded.table

    def batches(self, cfg: TrainConfig, fold: int, epoch: int) -> list[np.ndarray]:
        """Rows of the global training batches of an epoch."""
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
    trainer: Trainer
    heart: Heartbeat
    agreement: Agreement
    belongs_to: dict[str, Any]
    made_with: dict[str, Any]
    parallel: nn.Module
    saved_s: float


def train_pass(attempt: Attempt) -> float:
    """Take the training slices of the epoch that were not taken yet; returns the seconds waited for them."""
    trainer, cfg, world, data = attempt.trainer, attempt.cfg, attempt.world, attempt.data
    train, epoch, first = cfg.train, trainer.epochs + 1, trainer.step
    batches = data.batches(train, attempt.fold, epoch)
    mine = slice(world.rank, None, world.size)
    dice, waited = torch.Generator(world.device), 0.0
    seed = augment.epoch_seed(train.seed, attempt.fold, epoch)
    attempt.parallel.train()
    before = time.perf_counter()
    order = torch.split(torch.from_numpy(np.concatenate(batches)).to(world.device), [len(batch) for batch in batches])
    images = data.loaded.images.batches([batch[mine] for batch in batches[first:]])
    with contextlib.closing(images):
        for step, hu_NHW in enumerate(images, start=first):
            waited += time.perf_counter() - before
            attempt.heart.moved("training", epoch=epoch, step=step + 1, steps=len(batches))
            rows = order[step]
            dice.manual_seed(slices.step_seed(train.seed, attempt.fold, epoch, step))
            if train.augment.active:
                hu_NHW = augment.augment(hu_NHW, rows[mine], seed, train.augment)
            share = steps.Share(
                hu_NHW,
                data.label_N[rows[mine]],
                keep_NF=_dropout(dice, trainer, len(rows), cfg.model.dropout, mine),
                weight_sum=data.weight_K[data.label_N[rows]].sum(),
            )
            loss = steps.train_step(
                attempt.parallel, trainer.optimizer, trainer.scaler, share, data.weight_K, world.size, train
            )
            trainer.parts.append(loss)
            _look_at_losses(attempt)
            if not train.compile:  # else a step may take as long as compiling
                attempt.heart.measured(time.perf_counter() - before)
            obey(attempt, attempt.agreement.later(wish(attempt)))
            attempt.heart.moved("reading", epoch=epoch, step=step + 2)
            before = time.perf_counter()
    return waited


def _dropout(dice: torch.Generator, trainer: Trainer, num_slices: int, dropout: float, mine: slice) -> Tensor | None:
    """This rank's rows of the global batch's dropout: a slice has the same whichever rank computes it."""
    if dropout == 0:
        return None
    return models.dropout_factors(dice, num_slices, trainer.model.num_features, dropout)[mine]


def _look_at_losses(attempt: Attempt) -> None:
    """Every now and then, look whether this rank's newest losses are finite; a GPU waits for it.

    Raises: WorkError if they are not.
    """
    trainer, look = attempt.trainer, LOOK_STEPS[attempt.world.device.type]
    if trainer.step % look == 0:
        newest = torch.stack(trainer.parts[-(look + NOT_FINITE) :]).tolist()
        check_losses(attempt, newest, trainer.step - len(newest))


def check_losses(attempt: Attempt, losses: Sequence[float], first: int) -> None:
    """Stand no loss that is not finite, and several in a row where fp16 skips such steps.

    Args:
        losses: of steps from the epoch's step ``first`` on, counted from 0.
    Raises: WorkError naming the first of these steps and its studies.
    """
    cfg, data = attempt.cfg, attempt.data
    num_steps = -(-len(data.train) // cfg.train.batch_size)
    limit, row = min(NOT_FINITE, num_steps) if cfg.train.precision == "fp16" else 1, 0
    for step, loss in enumerate(losses, start=first):
        row = 0 if math.isfinite(loss) else row + 1
        if row == limit:
            epoch, step = attempt.trainer.epochs + 1, step - limit + 1
            studies = sorted(set(data.table.study[data.batches(cfg.train, attempt.fold, epoch)[step]]))
            cause = Cause(
                "loss_not_finite", task=attempt.fold, epoch=epoch, step=step + 1, value=str(losses[step - first]),
                words="several in a row" if limit > 1 else None, studies=", ".join(studies), advice=remedy(cfg),
            )  # fmt: skip
            raise WorkError(cause)


def remedy(cfg: Config) -> str:
    return f"lower train.learning_rate from {cfg.train.learning_rate:g}, or set train.precision fp32"


def wish(attempt: Attempt) -> int:
    """What this rank wants at the next step boundary."""
    if attempt.heart.stop_asked_by:
        return STOP
    due = time.monotonic() - attempt.saved_s >= 60 * attempt.cfg.train.checkpoint_minutes
    return SAVE if attempt.world.is_main and due else GO_ON


def obey(attempt: Attempt, decision: int) -> None:
    """Do what all ranks agreed on.

    Raises: Stopped after saving, if that was it.
    """
    if decision == GO_ON:
        return
    trainer, files = attempt.trainer, attempt.files
    trainer.share_losses(attempt.world)
    check_losses(attempt, trainer.losses, 0)
    if attempt.world.is_main:
        attempt.heart.moved("saving")
        _save(attempt)
    distributed.gather(None, attempt.world)  # the checkpoint is whole before anybody goes on
    attempt.saved_s = time.monotonic()
    if decision == STOP and trainer.epochs < attempt.cfg.train.epochs:
        files.stop.unlink(missing_ok=True)
        asked = attempt.heart.stop_asked_by or Cause("stopped")
        cause = replace(asked, epoch=trainer.epochs, step=trainer.step)
        log.info("saved and %s", cause)
        raise Stopped(cause)


def _save(attempt: Attempt) -> None:
    """Write a checkpoint and drop those that are too old."""
    trainer, files = attempt.trainer, attempt.files
    state = trainer.state() | {"belongs_to": attempt.belongs_to, "made_with": attempt.made_with}
    checkpoint.save(files.checkpoint(trainer.epochs, trainer.step), state, attempt.fence.check)
    for path in files.checkpoints()[:-GENERATIONS]:
        checkpoint.remove(path)


def evaluate(attempt: Attempt, rows: np.ndarray, phase: str, seen: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate every row once; every rank gets all probabilities (N, K) and losses (N,).

    The batches are the same whatever the number of ranks that share them, so a slice's numbers are, too.

    Args:
        seen: heart or rim, if the other one is to be blank.
    """
    cfg, world, data = attempt.cfg, attempt.world, attempt.data
    positions = np.split(np.arange(len(rows)), range(cfg.train.batch_size, len(rows), cfg.train.batch_size))
    mine = positions[world.rank :: world.size]

    epoch = attempt.trainer.epochs + (phase == "validating")

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        images = data.loaded.images.batches([rows[batch] for batch in mine])
        for step, (batch, hu_NHW) in enumerate(zip(mine, images, strict=True)):
            attempt.heart.moved(phase, epoch=epoch, step=step, steps=len(mine))
            if seen is not None:
                box_N4 = torch.from_numpy(data.box_N4[rows[batch]]).to(world.device)
                hu_NHW = transforms.blank(hu_NHW, box_N4, seen == "rim", cfg.train.window_hu[0])
            yield hu_NHW, data.label_N[torch.from_numpy(rows[batch]).to(world.device)]

    attempt.trainer.model.eval()
    probability, losses = steps.evaluate(attempt.trainer.model, batches(), len(cfg.labels.names), cfg.train)
    own = np.concatenate([np.zeros(0, np.int64), *mine])
    parts = distributed.gather((own, probability, losses), world)
    where, probability, losses = (np.concatenate(part) for part in zip(*parts, strict=True))
    assert np.array_equal(np.sort(where), np.arange(len(rows))), "a row was evaluated by no rank or by two"
    order = np.argsort(where)
    return probability[order], losses[order]
