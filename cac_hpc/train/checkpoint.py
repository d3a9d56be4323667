"""The state of a training and its checkpoints, each with its digest beside it, compared before it is loaded.

A checkpoint holds all that changes while a fold is trained, as plain tensors and numbers. No generator is among it: the
chances of a step follow from the step's number alone (`slices.step_seed`).
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from cac_hpc.run import digests, disk, escaping
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.train import distributed, models, optimizers
from cac_hpc.train.distributed import World

FORMAT_VERSION = 1
PARTS = ("model", "optimizer", "schedule", "scaler")


def save(path: Path, state: Mapping[str, Any], check: Callable[[], None] = disk.no_check) -> None:
    """Write the digest, then the checkpoint: a checkpoint under its final name always has one.

    The same state gives the same bytes.

    Args:
        state: tensors, numbers, texts, and lists and dictionaries of them.
        check: see `disk.atomic`.
    Raises: OSError if the disk is full or cannot be written; older checkpoints stay as they are.
    """
    with disk.atomic(path, check) as scratch:
        with scratch.open("xb") as file:
            write(file, state)
        disk.write_text(_digest_path(path), digests.file_sha256(scratch), check)


def write(file: IO[bytes], state: Mapping[str, Any]) -> None:
    """Write tensors and plain values; the same state gives the same bytes."""
    torch.save({"format_version": FORMAT_VERSION, **state}, file)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint, its tensors to the CPU.

    Raises: ValueError if it is not the file that was saved, or of another format version.
    """
    digest, content = _digest_path(path), path.read_bytes()
    if not digest.is_file() or digest.read_text(encoding="utf-8", errors="replace") != digests.bytes_sha256(content):
        raise ValueError("does not match its sha256, so it is damaged or incomplete")
    return parse(content)


def parse(content: bytes) -> dict[str, Any]:
    """What `write` has written, its tensors on the CPU; no code in it is run.

    Raises: ValueError if it is something else, or of another format version.
    """
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError("holds other things than tensors and plain values, which are not loaded") from error
    if (found := state.pop("format_version", None)) != FORMAT_VERSION:
        raise ValueError(f"found format version {escaping.short(found)}, wanted {FORMAT_VERSION}")
    return state


def of_fold(run: RunPaths, fold: int, cfg: Config) -> dict[str, Any]:
    """What the weights of a fold belong to: its division, and what it chose among its trials."""
    chosen = {"choice": digests.file_sha256(run.trials(fold).choice)} if cfg.trials.active else {}
    return {"fold": fold, "splits": digests.file_sha256(run.splits), **chosen}


def load_newest(candidates: Sequence[Path], belongs_to: Mapping[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole, saying which were passed over; None if there never was one.

    Args:
        candidates: oldest first.
        belongs_to: what must stand in the checkpoint under this name, so that it is not one of another fold.
    Raises: InputError if there are checkpoints, but none of them can be used: nothing starts from zero unasked.
    """
    for path in reversed(candidates):
        try:
            state = load(path)
            if state["belongs_to"] != belongs_to:
                raise ValueError(f"belongs to {state['belongs_to']}, wanted {dict(belongs_to)}")
            return path, state
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            log.warning("checkpoint passed over: %s: %s", path, error)
    if candidates:
        folder = candidates[0].parent
        raise InputError(
            f"{folder}: found {len(candidates)} checkpoints, none of which can be used (the log says why), wanted one; "
            "put back a copy, or delete the folder to train the fold from the beginning"
        )
    return None


def remove(path: Path) -> None:
    """Delete a checkpoint, the file before its digest."""
    path.unlink(missing_ok=True)
    _digest_path(path).unlink(missing_ok=True)


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


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
