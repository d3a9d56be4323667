"""The optimizers and learning-rate schedules (warm-up, decay) that a run can train with, by name; imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cac_hpc.run.config import TrainConfig, require

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """One kind of optimizer."""

    build: Callable[[Iterable[nn.Parameter], TrainConfig], Optimizer]
    numbers_per_weight: int  # that it keeps from step to step, and a checkpoint with it


def _adam(weights: Iterable[nn.Parameter], cfg: TrainConfig) -> Optimizer:
    from torch.optim import Adam

    return Adam(weights, lr=cfg.learning_rate, fused=True)


def _plateau(optimizer: Optimizer, cfg: TrainConfig) -> LRScheduler:
    """Torch waits one epoch longer than its patience says."""
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    return ReduceLROnPlateau(
        optimizer,
        factor=cfg.plateau_factor,
        patience=cfg.plateau_patience - 1,
        threshold=0.0,
        min_lr=cfg.min_learning_rate,
    )


OPTIMIZERS = {
    "adam": OptimizerSpec(build=_adam, numbers_per_weight=2),
}
SCHEDULES: dict[str, Callable[[Optimizer, TrainConfig], LRScheduler]] = {"plateau": _plateau}  # stepped once an epoch


def check(cfg: TrainConfig) -> None:
    """Refuse names that are in no table.

    Raises: InputError naming the choices.
    """
    require(cfg.optimizer in OPTIMIZERS, "train.optimizer", cfg.optimizer, " or ".join(sorted(OPTIMIZERS)))
    require(cfg.schedule in SCHEDULES, "train.schedule", cfg.schedule, " or ".join(sorted(SCHEDULES)))
