"""Stage folds: train, validate and test one cross-validation fold; torchrun runs this once per GPU.

A fold's result follows from data, settings and seed, however often it was stopped: every step's order and chances come
from its number, and whatever changes is in the checkpoint.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cac_hpc.data import splits
from cac_hpc.machine import processes
from cac_hpc.machine.stopping import RESUMABLE, Stopped
from cac_hpc.run import config, digests, ledger, logs, paths, settings, stages
from cac_hpc.run.config import Config, InputError, TrainConfig, WorkError
from cac_hpc.run.logs import log
from cac_hpc.run.paths import FoldPaths, RunPaths
from cac_hpc.train import (
    checkpoint,
    distributed,
    fencing,
    models,
    occlusion,
    passes,
    precision,
    predictions,
    residency,
    slices,
    steps,
    workload,
)
from cac_hpc.train.distributed import Agreement, World
from cac_hpc.train.fencing import Fence
from cac_hpc.train.heartbeat import Heartbeat, LostRank
from cac_hpc.train.passes import Attempt, FoldData
from cac_hpc.train.trainer import Trainer, new_trainer

FREE = ("allow_inexact_resume", "checkpoint_minutes", "occlusion", "residency")  # settings that change no result


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
    who = f"rank {world.rank} on {ledger.whereabouts()['node']}: " if world.size > 1 else ""
    number = 0
    if world.is_main:
        with ledger.stage(run.ledger, "folds", fold, who, speaks=False):
            number = fencing.take(files, ledger.whereabouts()).number
    fence = Fence(files.attempts, distributed.gather(number, world)[0])
    with ledger.stage(run.ledger, "folds", fold, who, speaks=world.is_main, attempt=fence.number) as end:
        try:
            _run_fold(run, fold, cfg, world, fence)
        except Stopped as stop:
            end |= {"ok": False, "resumable": True, "reason": str(stop)}
            return RESUMABLE
    return 0


def _run_fold(run: RunPaths, fold: int, cfg: Config, world: World, fence: Fence) -> None:
    def lost(why: str) -> None:
        log.error("%s", why)
        ledger.record(run.ledger, "folds", fold, "ended", ok=False, reason=why, lost=True, attempt=fence.number)

    started = time.monotonic()
    with Heartbeat(run.fold(fold), fence, world.rank, world.size, lost) as heart:
        try:
            attempt = _start(run, fold, cfg, world, heart, fence)
            while attempt.trainer.epochs < cfg.train.epochs:
                _run_epoch(run, attempt)
            _test(attempt, time.monotonic() - started)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise WorkError(_out_of_memory(cfg, world)) from error
        except RuntimeError as error:
            if isinstance(error, WorkError) or (why := heart.explain()) is None:
                raise
            raise LostRank(why) from error


def _start(run: RunPaths, fold: int, cfg: Config, world: World, heart: Heartbeat, fence: Fence) -> Attempt:
    """Load data and newest checkpoint, and take the step that settles what the first step settles."""
    heart.moved("loading")
    files, data = run.fold(fold), _load(run, fold, cfg, world)
    belongs_to = {"fold": fold, "splits": digests.file_sha256(run.splits)}
    found = _newest(files, belongs_to, world)
    before = found[1]["made_with"]["train"] if found else {}
    cfg = dataclasses.replace(cfg, train=_settle(cfg, data.loaded.window, before, world))
    trainer, made_with = new_trainer(cfg, world), _circumstances(run, cfg, world)
    if found:
        _go_on(trainer, *found, made_with, cfg)
    parallel = distributed.data_parallel(torch.compile(trainer.model) if cfg.train.compile else trainer.model, world)  # type: ignore[arg-type]
    attempt = Attempt(
        files, fence, fold, cfg, world, data, trainer, heart, Agreement(world), belongs_to, made_with, parallel,
        time.monotonic(),
    )  # fmt: skip
    heart.moved("starting")
    _warm_up(attempt)
    return attempt


def _settle(cfg: Config, window: int | None, before: Mapping[str, Any], world: World) -> TrainConfig:
    """What the settings leave open: as it was before, else as this machine has it; the same on every rank.

    Args:
        window: that comes with where the slices are kept. before: settings that a checkpoint was made with.
    """
    train = cfg.train
    if train.shuffle_window is None:
        train = dataclasses.replace(train, shuffle_window=before.get("shuffle_window", window))
    if train.precision == "auto":
        own = before.get("precision") or precision.choose(cfg, world.device)
        train = dataclasses.replace(train, precision=distributed.gather(own, world)[0])
    return train


def _load(run: RunPaths, fold: int, cfg: Config, world: World) -> FoldData:
    parts = splits.read_splits(run.splits)[fold]
    dataset = run.dataset(cfg.data.packed_dir)
    studies = pd.read_csv(dataset.studies, dtype={"study": str}, keep_default_na=False)
    category = dict(zip(studies["study"], studies["category"].astype(int), strict=True))
    loaded = residency.load(dataset, category, cfg, world)
    label, num_categories = loaded.table.label, len(cfg.labels.names)
    train, val, test = (loaded.table.rows(part) for part in (parts.train, parts.val, parts.test))
    weight = np.ones(num_categories)
    if cfg.train.class_weight == "balanced":
        weight = slices.balanced_weights(label[train], num_categories)
    if world.is_main:
        log.info("%d training, %d validation, %d test slices", len(train), len(val), len(test))
        for absent in np.setdiff1d(range(num_categories), label[train]):
            log.warning("no training slice is of category %s", cfg.labels.names[absent])
    weight_K = torch.tensor(weight, dtype=torch.float32, device=world.device)
    box = occlusion.boxes(studies, cfg.pack.size) if cfg.train.occlusion else {}
    names, number_N = np.unique(loaded.table.study, return_inverse=True)
    box_N4 = np.array([box.get(study, occlusion.NOWHERE) for study in names.tolist()], np.int16)[number_N]
    return FoldData(loaded, torch.from_numpy(label).to(world.device), weight_K, box_N4, train, val, test)


def _newest(files: FoldPaths, belongs_to: Mapping[str, Any], world: World) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be used, the same on every rank: the main one chooses."""
    found = checkpoint.load_newest(files.checkpoints(), belongs_to) if world.is_main else None
    path: Path | None = distributed.gather(found and found[0], world)[0]
    if path is None or found:
        return found
    return path, checkpoint.load(path)


def _circumstances(run: RunPaths, cfg: Config, world: World) -> dict[str, Any]:
    """All that a result depends on to the last bit, besides the device itself."""
    train = {name: value for name, value in config.plain(cfg.train).items() if name not in FREE}
    return {
        "ranks": world.size,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "dataset": digests.file_sha256(run.dataset(cfg.data.packed_dir).seal),
        "device": _device_name(world),
        "model": config.plain(cfg.model),
        "train": train,
    }


def _go_on(trainer: Trainer, path: Path, state: dict[str, Any], made_with: Mapping[str, Any], cfg: Config) -> None:
    """Take up the state of a checkpoint.

    Raises: InputError naming the differences if the end would not be the same to the last bit, unless that is allowed.
    """
    changed = config.differences(state["made_with"], made_with)
    elsewhere = [line for line in changed if line.startswith("device:")]  # the scheduler's choice, nobody's wish
    differences = [line for line in changed if line not in elsewhere]
    if differences and not cfg.train.allow_inexact_resume:
        raise InputError(
            f"{path}: was made with another (found / wanted) {'; '.join(differences)}; results would differ in the "
            "last digits: give it what it had, or go on with --train.allow_inexact_resume true"
        )
    trainer.restore(state)
    for line in changed:
        log.warning("the result may differ in the last digits: %s", line)
        trainer.inexact.append(f"epoch {trainer.epochs + 1} step {trainer.step + 1}: {line}")
    log.info("resumed after epoch %d, step %d of the next", trainer.epochs, trainer.step)


def _warm_up(attempt: Attempt) -> None:
    """Compute on nothing, to see that it can be done and in which precision.

    Raises: WorkError if it was not the one that was asked for.
    """
    cfg, device = attempt.cfg, attempt.world.device
    count, size = -(-cfg.train.batch_size // attempt.world.size), cfg.pack.size
    empty = torch.zeros(count, size, size, dtype=torch.int16, device=device)
    label_N = torch.zeros(count, dtype=torch.int64, device=device)
    share = steps.Share(empty, label_N, None, torch.ones((), device=device))
    found = steps.warm_up(attempt.parallel, share, attempt.data.weight_K, cfg.train)
    if found != steps.DTYPES[cfg.train.precision]:
        raise WorkError(
            f"train.precision is {cfg.train.precision}, but the network was computed in {found} on "
            f"{attempt.made_with['device']}; set what this device has, or train.precision auto"
        )


def _run_epoch(run: RunPaths, attempt: Attempt) -> None:
    """The rest of the epoch at work: training slices, then validation slices; then save, if it is time."""
    trainer, cfg = attempt.trainer, attempt.cfg
    epoch, learning_rate = trainer.epochs + 1, trainer.optimizer.param_groups[0]["lr"]
    started, first = time.monotonic(), trainer.step
    data_s = passes.train_pass(attempt)
    trained = time.monotonic()
    trainer.share_losses(attempt.world)
    passes.check_losses(attempt, trainer.losses, 0)
    finite = np.isfinite(trainer.losses)
    probability, val_losses = passes.evaluate(attempt, attempt.data.val, "validating")
    val_loss = float(val_losses.astype(np.float64).mean())
    if not np.isfinite(val_loss):
        raise WorkError(f"fold {attempt.fold} epoch {epoch}: the validation loss is {val_loss}; {passes.remedy(cfg)}")
    label = attempt.data.table.label[attempt.data.val]
    row = {
        "epoch": epoch,
        "train_loss": float(np.array(trainer.losses)[finite].mean()),
        "val_loss": val_loss,
        "val_accuracy": float((probability.argmax(axis=1) == label).mean()),
        "learning_rate": learning_rate,
        "skipped_steps": int((~finite).sum()),
    }
    num_slices = max(0, len(attempt.data.train) - first * cfg.train.batch_size)  # of this attempt
    speed = {
        "epoch": epoch,
        "train_seconds": round(trained - started, 3),
        "data_seconds": round(data_s, 3),
        "val_seconds": round(time.monotonic() - trained, 3),
        "slices_per_second": round(num_slices / (trained - started), 1),
        "peak_memory_mb": _peak_memory_mb(attempt.world),
        "gpu_utilization_percent": _utilization(attempt.world),
    }
    trainer.end_epoch(row, speed)
    if attempt.world.is_main:
        log.info(
            "epoch %d of %d: train loss %.4f, validation loss %.4f, validation accuracy %.3f, %.0f slices/s",
            epoch, cfg.train.epochs, row["train_loss"], val_loss, row["val_accuracy"], speed["slices_per_second"],
        )  # fmt: skip
        _write_rows(attempt)
        ledger.record(run.ledger, "folds", attempt.fold, "progress", **(row | speed))
    rate = speed["slices_per_second"]
    attempt.heart.moved(
        "reading", epoch=min(epoch + 1, cfg.train.epochs), step=1, val_loss=val_loss, slices_per_second=rate
    )
    last = trainer.epochs == cfg.train.epochs
    passes.obey(attempt, attempt.agreement.now(max(passes.wish(attempt), passes.SAVE if last else passes.GO_ON)))


def _test(attempt: Attempt, seconds: float) -> None:
    """Test the weights that the validation chose, and publish: predictions.csv is the last file."""
    trainer, cfg, world, data, files = attempt.trainer, attempt.cfg, attempt.world, attempt.data, attempt.files
    tested = trainer.best_epoch if cfg.train.evaluate == "best" else cfg.train.epochs
    if cfg.train.evaluate == "best":
        trainer.model.load_state_dict(trainer.best)
    probability, _ = passes.evaluate(attempt, data.test, "testing")
    views = _views(attempt)
    if not world.is_main:
        return
    attempt.heart.moved("publishing")
    weights = {name: tensor.cpu() for name, tensor in trainer.model.state_dict().items()}
    check = attempt.fence.check
    checkpoint.save(files.model, {"belongs_to": attempt.belongs_to, "weights": weights, "epoch": tested}, check)
    _write_rows(attempt)
    content = _table(attempt, data.test, probability)
    facts = {
        "fold": attempt.fold,
        "attempt": attempt.fence.number,
        "splits_sha256": attempt.belongs_to["splits"],
        "predictions_bytes": len(content),
        "predictions_sha256": digests.bytes_sha256(content),
        "views_sha256": {name: digests.bytes_sha256(view) for name, view in views.items()},
        "epochs": cfg.train.epochs,
        "tested_epoch": tested,
        "chosen_by": cfg.train.evaluate,
        "ranks": world.size,
        "threads": torch.get_num_threads(),
        "device": _device_name(world),
        "precision": cfg.train.precision,
        "torch": str(torch.__version__),
        "residency": data.loaded.kind,
        "shuffle_window": cfg.train.shuffle_window,
        "seconds": seconds,
        "parameters": models.num_parameters(trainer.model),
        "layers": models.layers(trainer.model, cfg.pack.size, cfg.model.dropout),
        "flops_per_slice": workload.flops(cfg.model, cfg.pack.size, len(cfg.labels.names)),
        "train_slices": len(data.train),
        "val_slices": len(data.val),
        "test_slices": len(data.test),
        "inexact": trainer.inexact,
    }
    for name, view in views.items():
        paths.write_bytes(files.view(name), view, check)
    paths.write_json(files.metrics, facts, check)
    paths.write_bytes(files.predictions, content, check)
    files.stop.unlink(missing_ok=True)  # too late: there is nothing left to stop


def _views(attempt: Attempt) -> dict[str, bytes]:
    """What is predicted where a part of each slice is blank, of the test slices of studies whose heart was found."""
    data = attempt.data
    seen = data.test[data.box_N4[data.test].any(axis=1)]
    return {
        name: _table(attempt, seen, passes.evaluate(attempt, seen, "testing", seen=name)[0])
        for name in (occlusion.VIEWS if len(seen) else ())
    }


def _table(attempt: Attempt, rows: np.ndarray, probability: np.ndarray) -> bytes:
    """predictions.csv of these rows."""
    table = attempt.data.table
    return predictions.to_csv(table.study[rows], table.slice[rows], attempt.fold, table.label[rows], probability)


def _write_rows(attempt: Attempt) -> None:
    """history.csv and speed.csv, whole each time."""
    for path, rows in ((attempt.files.history, attempt.trainer.history), (attempt.files.speed, attempt.trainer.speed)):
        text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
        paths.write_text(path, text, attempt.fence.check)


def _device_name(world: World) -> str:
    if world.device.type == "cuda":
        return torch.cuda.get_device_name(world.device)
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def _peak_memory_mb(world: World) -> float:
    """The most that was in use at once, of the GPU's memory or of this process's."""
    if world.device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(world.device) / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def _utilization(world: World) -> float | None:
    """What NVIDIA's library says of the GPU's last second; None where it cannot be asked."""
    if world.device.type != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(world.device))
    except (ModuleNotFoundError, RuntimeError):
        return None


def _out_of_memory(cfg: Config, world: World) -> str:
    peak = f"{_peak_memory_mb(world):.0f} MB were in use"
    return (
        f"out of memory on {_device_name(world)} ({peak}): lower train.batch_size from {cfg.train.batch_size}, share "
        f"it among more ranks than {world.size} (cluster.ranks_per_node), or set another train.residency"
    )
