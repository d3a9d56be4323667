"""The optimizers and learning-rate schedules (warm-up, decay) that a run can train with, by name; imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cac_hpc.settings.checks import require
from cac_hpc.settings.train import TrainConfig

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


def _adamw(weights: Iterable[nn.Parameter], cfg: TrainConfig) -> Optimizer:
    from torch.optim import AdamW

    return AdamW(weights, lr=cfg.learning_rate, weight_decay=cfg.weight_decay, fused=True)


def _one_cycle(optimizer: Optimizer, cfg: TrainConfig) -> LRScheduler:
    """Up to train.learning_rate in the first part of the steps, then down to almost nothing.

    Source: Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates.
    """
    from torch.optim.lr_scheduler import OneCycleLR

    assert cfg.steps is not None, "`check` wants it"
    return OneCycleLR(optimizer, cfg.learning_rate, total_steps=cfg.steps, pct_start=RISE)


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
    "adamw": OptimizerSpec(build=_adamw, numbers_per_weight=2),
}
SCHEDULES: dict[str, Callable[[Optimizer, TrainConfig], LRScheduler]] = {  # stepped once an epoch ...
    "one_cycle": _one_cycle,
    "plateau": _plateau,
}
EVERY_STEP = ("one_cycle",)  # ... but these once a step
IGNORED = {  # settings that some optimizers and schedules do not look at: by which setting, and by which of its values
    "train.weight_decay": ("train.optimizer", "adam"),
    "train.plateau_factor": ("train.schedule", "one_cycle"),
    "train.plateau_patience": ("train.schedule", "one_cycle"),
    "train.min_learning_rate": ("train.schedule", "one_cycle"),
}
RISE = 0.15  # of the steps


def check(cfg: TrainConfig) -> None:
    """Refuse names that are in no table.

    Raises: InputError naming the choices.
    """
    require(cfg.optimizer in OPTIMIZERS, "train.optimizer", cfg.optimizer, " or ".join(sorted(OPTIMIZERS)))
    require(cfg.schedule in SCHEDULES, "train.schedule", cfg.schedule, " or ".join(sorted(SCHEDULES)))
    needs, wanted = cfg.schedule in EVERY_STEP, f"a number of steps, as train.schedule is {cfg.schedule}"
    require(cfg.steps is not None or not needs, "train.steps", cfg.steps, wanted)
