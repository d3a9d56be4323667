"""Stage folds: train, validate and test one cross-validation fold; torchrun runs this once per GPU."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cac_hpc import checkpoint, distributed, ledger, logs, models, paths, predictions, settings, slices, splits, steps
from cac_hpc.config import Config, InputError
from cac_hpc.distributed import World
from cac_hpc.logs import log
from cac_hpc.models import SliceClassifier
from cac_hpc.paths import FoldPaths, RunPaths
from cac_hpc.slices import SliceTable

GENERATIONS = 2  # checkpoints kept besides the one to be tested


@dataclass
class Trainer:
    """What changes while a fold is trained; a checkpoint holds all of it."""

    model: SliceClassifier
    optimizer: torch.optim.Optimizer
    schedule: ReduceLROnPlateau
    scaler: torch.amp.GradScaler
    history: list[dict[str, float]]

    @property
    def best_epoch(self) -> int:
        """The epoch of lowest validation loss, counted from 1; the first of equals."""
        return 1 + min(range(len(self.history)), key=lambda index: self.history[index]["val_loss"])

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.history = state["history"]


@dataclass(frozen=True)
class FoldData:
    """Row numbers of the fold's three parts in the table, and the weight of each category (K,) on the device."""

    table: SliceTable
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    weight_K: Tensor


def train_fold(root: Path, fold: int) -> None:
    """Train fold ``fold`` from its newest whole checkpoint to the end and write its predictions; a no-op when done.

    Raises: InputError if the run has no such fold.
    """
    run = RunPaths(root)
    cfg = settings.load(run.config)
    num_folds = len(splits.read_splits(run.splits))
    if not 0 <= fold < num_folds:
        raise InputError(f"--fold {fold}: the run has {num_folds} folds, wanted 0 to {num_folds - 1}")
    _fix_arithmetic(cfg)
    with distributed.process_group(cfg.train.device) as world:
        logs.setup(f"fold {fold} rank {world.rank}: ")
        with ledger.stage(run.ledger, "folds", fold, speaks=world.is_main):
            if run.fold(fold).predictions.exists():
                log.info("predictions are there already")
                return
            if world.size != cfg.cluster.ranks:
                log.warning(
                    "started with %d ranks, the settings say %d: results differ in the last digits",
                    world.size,
                    cfg.cluster.ranks,
                )
            _run_fold(run, fold, cfg, world)


def _run_fold(run: RunPaths, fold: int, cfg: Config, world: World) -> None:
    started = time.monotonic()
    files = run.fold(fold)
    data = _load(run, fold, cfg, world)
    trainer = _new_trainer(cfg, world)
    state = checkpoint.load_newest(files.checkpoints(), world.device)
    if state:
        trainer.restore(state)
        log.info("resumed after epoch %d", len(trainer.history))
    parallel = distributed.data_parallel(trainer.model, world)
    while len(trainer.history) < cfg.train.epochs:
        epoch = len(trainer.history) + 1
        trainer.history.append(_run_epoch(parallel, trainer, data, fold, epoch, cfg, world))
        if world.is_main:
            _save_epoch(run, fold, trainer)
        distributed.barrier(world)  # a checkpoint is whole before anybody goes on
    tested = trainer.best_epoch if cfg.train.evaluate == "best" else cfg.train.epochs
    trainer.model.load_state_dict(checkpoint.load(files.checkpoint(tested), world.device)["model"])
    probability, _ = _evaluate(trainer.model, data.table, data.test, cfg, world)
    if world.is_main:
        facts = {
            "fold": fold,
            "epochs": cfg.train.epochs,
            "tested_epoch": tested,
            "chosen_by": cfg.train.evaluate,
            "ranks": world.size,
            "threads": torch.get_num_threads(),
            "device": _device_name(world),
            "precision": cfg.train.precision,
            "torch": torch.__version__,
            "seconds": time.monotonic() - started,
            "train_slices": len(data.train),
            "val_slices": len(data.val),
            "test_slices": len(data.test),
        }
        _write_results(files, fold, trainer, data, probability, facts)


def _fix_arithmetic(cfg: Config) -> None:
    """Same settings, same bits: fixed thread count, no algorithm that depends on timing."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(cfg.cluster.cpus_per_rank)
    torch.use_deterministic_algorithms(True, warn_only=cfg.train.device == "cuda")


def _load(run: RunPaths, fold: int, cfg: Config, world: World) -> FoldData:
    parts = splits.read_splits(run.splits)[fold]
    dataset = run.dataset(cfg.data.packed_dir)
    studies = pd.read_csv(dataset.studies, dtype={"study": str}, keep_default_na=False)
    category = dict(zip(studies["study"], studies["category"].astype(int), strict=True))
    table = slices.load(dataset, category, world.device)
    train, val, test = (table.rows(part) for part in (parts.train, parts.val, parts.test))
    num_categories = len(cfg.labels.names)
    weight = np.ones(num_categories)
    if cfg.train.class_weight == "balanced":
        weight = slices.balanced_weights(table.label_N.cpu().numpy()[train], num_categories)
    log.info("%d training, %d validation, %d test slices", len(train), len(val), len(test))
    for category in np.setdiff1d(range(num_categories), table.label_N.cpu().numpy()[train]):
        log.warning("no training slice is of category %s", cfg.labels.names[category])
    return FoldData(table, train, val, test, torch.tensor(weight, dtype=torch.float32, device=world.device))


def _new_trainer(cfg: Config, world: World) -> Trainer:
    torch.manual_seed(cfg.train.seed)  # every fold and rank starts from the same weights
    model = SliceClassifier(cfg.model, cfg.pack.size, len(cfg.labels.names))
    model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.train.learning_rate)
    schedule = ReduceLROnPlateau(
        optimizer,
        factor=cfg.train.plateau_factor,
        patience=cfg.train.plateau_patience - 1,
        threshold=0.0,
        min_lr=cfg.train.min_learning_rate,
    )  # torch waits one epoch longer than its patience says
    scaler = torch.amp.GradScaler(world.device.type, enabled=cfg.train.precision == "fp16")
    return Trainer(model, optimizer, schedule, scaler, [])


def _run_epoch(
    parallel: nn.Module, trainer: Trainer, data: FoldData, fold: int, epoch: int, cfg: Config, world: World
) -> dict[str, float]:
    """One pass over the training slices and one over the validation slices; returns the epoch's row of history.csv."""
    started = time.monotonic()
    learning_rate = trainer.optimizer.param_groups[0]["lr"]
    loss = _train_pass(parallel, trainer, data, fold, epoch, cfg, world)
    trained = time.monotonic() - started
    probability, val_losses = _evaluate(trainer.model, data.table, data.val, cfg, world)
    correct = probability.argmax(axis=1) == data.table.label_N.cpu().numpy()[data.val]
    val_loss = float(val_losses.astype(np.float64).mean())
    if not np.isfinite([loss, val_loss]).all():
        raise FloatingPointError(
            f"fold {fold} epoch {epoch}: training loss {loss}, validation loss {val_loss}; "
            "lower train.learning_rate or set train.precision fp32"
        )
    trainer.schedule.step(val_loss)
    row = {
        "epoch": epoch,
        "train_loss": loss,
        "val_loss": val_loss,
        "val_accuracy": float(correct.mean()),
        "learning_rate": learning_rate,
        "seconds": round(time.monotonic() - started, 3),
        "slices_per_second": round(len(data.train) / trained, 1),
    }
    if world.is_main:
        log.info(
            "epoch %d of %d: train loss %.4f, validation loss %.4f, validation accuracy %.3f",
            epoch,
            cfg.train.epochs,
            loss,
            val_loss,
            row["val_accuracy"],
        )
    return row


def _train_pass(
    parallel: nn.Module, trainer: Trainer, data: FoldData, fold: int, epoch: int, cfg: Config, world: World
) -> float:
    """Take every training slice once; returns the mean loss of the epoch's batches."""
    train = cfg.train
    dice = torch.Generator(world.device)
    parallel.train()
    losses = []
    for step, batch in enumerate(slices.training_batches(data.train, train.batch_size, train.seed, fold, epoch)):
        dice.manual_seed(slices.step_seed(train.seed, fold, epoch, step))
        mine = slice(world.rank, None, world.size)
        share = steps.Share(
            *data.table.take(batch[mine]),
            keep_NF=_dropout(dice, trainer.model, len(batch), cfg.model.dropout, mine),
            weight_sum=data.weight_K[data.table.labels(batch)].sum(),
        )
        losses.append(
            steps.train_step(parallel, trainer.optimizer, trainer.scaler, share, data.weight_K, world.size, train)
        )
    return distributed.total([float(torch.stack(losses).double().mean())], world)[0]


def _dropout(
    dice: torch.Generator, model: SliceClassifier, num_slices: int, dropout: float, mine: slice
) -> Tensor | None:
    """This rank's rows of the global batch's dropout: a slice has the same whichever rank computes it."""
    if dropout == 0:
        return None
    return models.dropout_factors(dice, num_slices, model.num_features, dropout)[mine]


def _evaluate(
    model: nn.Module, table: SliceTable, rows: np.ndarray, cfg: Config, world: World
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate every row once, shared over the ranks; every rank gets all probabilities (N, K) and losses (N,)."""
    model.eval()
    share = table.batches(rows[world.rank :: world.size], cfg.train.batch_size)
    parts = distributed.gather(steps.evaluate(model, share, len(cfg.labels.names), cfg.train), world)
    probability = np.zeros((len(rows), len(cfg.labels.names)), np.float32)
    losses = np.zeros(len(rows), np.float32)
    for rank, (part_probability, part_losses) in enumerate(parts):
        probability[rank :: world.size] = part_probability
        losses[rank :: world.size] = part_losses
    assert sum(len(part) for _, part in parts) == len(rows), "a row was evaluated by no rank or by two"
    return probability, losses


def _save_epoch(run: RunPaths, fold: int, trainer: Trainer) -> None:
    """Write checkpoint and history; keep the newest checkpoints and the best one."""
    files, epoch = run.fold(fold), len(trainer.history)
    checkpoint.save(files.checkpoint(epoch), trainer.state())
    kept = {*range(epoch - GENERATIONS + 1, epoch + 1), trainer.best_epoch}
    for path in files.checkpoints():
        if path not in {files.checkpoint(number) for number in kept}:
            checkpoint.remove(path)
    _write_history(files, trainer)
    row = trainer.history[-1]
    ledger.record(run.ledger, "folds", fold, "progress", **row)


def _write_history(files: FoldPaths, trainer: Trainer) -> None:
    with paths.atomic(files.history) as scratch:
        pd.DataFrame(trainer.history).to_csv(scratch, index=False, lineterminator="\n")


def _write_results(
    files: FoldPaths, fold: int, trainer: Trainer, data: FoldData, probability: np.ndarray, facts: dict[str, Any]
) -> None:
    _write_history(files, trainer)
    paths.write_json(files.metrics, facts)
    table = data.table
    predictions.write_predictions(
        files.predictions,
        table.study[data.test],
        table.slice[data.test],
        fold,
        table.label_N.cpu().numpy()[data.test],
        probability,
    )


def _device_name(world: World) -> str:
    return torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu"
