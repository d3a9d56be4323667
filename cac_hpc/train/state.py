"""The state of a training: all that changes while a fold is trained. A checkpoint holds no more and no less.

No generator is among it. The chances of a step follow from the step's number alone (`slices.step_seed`), so there is
nothing to be restored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from cac_hpc.run.config import Config
from cac_hpc.train import distributed, models, optimizers
from cac_hpc.train.distributed import World

PARTS = ("model", "optimizer", "schedule", "scaler")


@dataclass
class TrainingState:
    """The parts that learn, and how far they are."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler
    history: list[dict[str, float]] = field(default_factory=list)  # a row per whole epoch
    speed: list[dict[str, float | None]] = field(default_factory=list)  # a row per whole epoch
    losses: list[float] = field(default_factory=list)  # of the global batches of the epoch at work
    parts: list[Tensor] = field(default_factory=list)  # of the newest losses, as this rank has them
    best: dict[str, Tensor] = field(default_factory=dict)  # weights of the epoch of lowest validation loss
    by_step: bool = False  # whether the schedule goes by steps
    inexact: list[str] = field(default_factory=list)  # what differed when training was resumed under other conditions

    @property
    def epochs(self) -> int:
        """Whole epochs behind us."""
        return len(self.history)

    @property
    def step(self) -> int:
        """Steps behind us in the epoch at work."""
        return len(self.losses) + len(self.parts)

    @property
    def best_epoch(self) -> int:
        """The epoch of lowest validation loss, counted from 1; the first of equals."""
        return 1 + min(range(len(self.history)), key=lambda index: self.history[index]["val_loss"])

    def share_losses(self, world: World) -> None:
        """Add up the ranks' parts of the newest losses, in the order of the ranks: on every rank the same sums."""
        own = torch.stack(self.parts).double().tolist() if self.parts else []
        self.losses += [math.fsum(parts) for parts in zip(*distributed.gather(own, world), strict=True)]
        self.parts.clear()

    def end_step(self) -> None:
        """Step a schedule that goes by steps."""
        if self.by_step:
            self.schedule.step()

    def end_epoch(self, row: dict[str, float], speed: dict[str, float | None]) -> None:
        """Step the schedule, keep the weights if they are the best so far, and be at the start of the next epoch."""
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(row["val_loss"])
        elif not self.by_step:
            self.schedule.step()
        self.history.append(row)
        self.speed.append(speed)
        self.losses.clear()
        if self.best_epoch == self.epochs:
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def to_plain(self) -> dict[str, Any]:
        """Plain values; losses must have been shared."""
        assert not self.parts, "a checkpoint without the losses of some steps"
        plain = {name: getattr(self, name) for name in ("history", "speed", "losses", "best", "inexact")}
        return plain | {name: getattr(self, name).state_dict() for name in PARTS}

    def restore(self, state: dict[str, Any]) -> None:
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.history, self.speed, self.losses = state["history"], state["speed"], state["losses"]
        self.best, self.inexact = state["best"], state["inexact"]


def new_state(cfg: Config, world: World) -> TrainingState:
    """A network that has learned nothing; the same for every fold and rank."""
    torch.manual_seed(cfg.train.seed)
    model = models.chosen(cfg).build(cfg.model, cfg.pack.size, len(cfg.labels.names))
    model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optimizers.OPTIMIZERS[cfg.train.optimizer].build(model.parameters(), cfg.train)
    schedule = optimizers.SCHEDULES[cfg.train.schedule](optimizer, cfg.train)
    scaler = torch.amp.GradScaler(world.device.type, enabled=cfg.train.precision == "fp16")
    by_step = cfg.train.schedule in optimizers.EVERY_STEP
    return TrainingState(model, optimizer, schedule, scaler, by_step=by_step)
