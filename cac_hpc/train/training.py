"""Stage folds: train, validate, test and publish one cross-validation fold; torchrun runs this once per GPU.

A fold's result follows from data, settings and seed, however often it was stopped: every step's order and chances come
from its number, and whatever changes is in the checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cac_hpc.calcium import candidates
from cac_hpc.dataset import splits
from cac_hpc.machine import processes
from cac_hpc.machine.processes import RESUMABLE, Stopped
from cac_hpc.run import causes, digests, disk, fold_settings, ledger, logs, result_files
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import amount, log
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import config
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.train import (
    checkpoint,
    distributed,
    epochs,
    fencing,
    lesion_results,
    models,
    networks,
    ordinal,
    passes,
    predictions,
    setup,
    steps,
)
from cac_hpc.train.attempts import Attempt
from cac_hpc.train.distributed import World
from cac_hpc.train.fencing import Fence
from cac_hpc.train.heartbeat import Heartbeat, LostRank
from cac_hpc.train.ordinal import Errors


def train_fold(root: Path, fold: int) -> int:
    """Train fold ``fold`` from its newest whole checkpoint to the end and write its predictions; a no-op when done.

    Returns: the exit code, 0 or RESUMABLE when it was asked to stop and has saved.
    Raises: InputError if the run has no such fold or a checkpoint was made under other circumstances; WorkError if a
    rank or the device is lost, or the loss is not finite.
    """
    run = RunPaths(root)
    with causes.in_run(root):
        num_folds = len(splits.read_splits(run.splits))
    if not 0 <= fold < num_folds:
        raise InputError(f"--fold {fold}: the run has {amount(num_folds, 'fold')}, wanted 0 to {num_folds - 1}")
    cfg = fold_settings.load(run, fold)
    steps.fix_arithmetic(cfg)
    if not processes.may_begin():
        return RESUMABLE
    try:
        with distributed.process_group(cfg.train.device) as world:
            return _as_rank(run, fold, cfg, world)
    except distributed.NoDevice as error:
        raise WorkError(str(error)) from None


def _as_rank(run: RunPaths, fold: int, cfg: Config, world: World) -> int:
    """Do a rank's part of the fold, and tell the ledger; returns the exit code."""
    logs.setup(f"fold {fold} rank {world.rank}: ")
    files = run.fold(fold)
    if distributed.gather(world.is_main and result_files.fold_is_done(files, read=True), world)[0]:
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
            heart.moved("loading")
            data = setup.load_fold(run, fold, cfg, world)
            if world.is_main:
                setup.tell(data, cfg)
            belongs_to = checkpoint.of_fold(run, fold, cfg)
            attempt = setup.start(run.fold(fold), fence, data, belongs_to, cfg, world, heart)
            epochs.train(attempt, cfg.train.epochs, partial(_tell, run, attempt))
            test_and_publish(attempt, time.monotonic() - started)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise WorkError(_out_of_memory(cfg, world)) from error
        except RuntimeError as error:
            if isinstance(error, WorkError) or (cause := heart.explain()) is None:
                raise
            raise LostRank(cause) from error


def _tell(run: RunPaths, attempt: Attempt, row: dict[str, Any], speed: dict[str, Any]) -> None:
    """An epoch is over: for the log, history.csv and speed.csv, the ledger, and whoever looks at the fold."""
    num_epochs, rate = attempt.cfg.train.epochs, speed["slices_per_second"]
    if attempt.world.is_main:
        log.info(
            "epoch %d of %d: train loss %.4f, validation loss %.4f, validation accuracy %.3f, %s%.0f slices/s",
            row["epoch"], num_epochs, row["train_loss"], row["val_loss"], row["val_accuracy"],
            "studies of " if attempt.data.bags else "", rate,
        )  # fmt: skip
        epochs.write_rows(attempt)
        ledger.record(run.ledger, "folds", attempt.fold, "progress", **(row | speed))
    coming = min(row["epoch"] + 1, num_epochs)
    attempt.heart.moved("reading", epoch=coming, step=1, val_loss=row["val_loss"], slices_per_second=rate)


def _out_of_memory(cfg: Config, world: World) -> Cause:
    advice = (
        f"lower train.batch_size from {cfg.train.batch_size}, share it among more ranks than {world.size} "
        "(cluster.ranks_per_node), or set another train.residency"
    )
    peak_bytes = setup.peak_memory_mb(world) * 1e6
    return Cause("gpu_out_of_memory", device=setup.device_name(world), peak_bytes=peak_bytes, advice=advice)


def test_and_publish(attempt: Attempt, seconds: float) -> None:
    """Test the weights that the validation chose, and publish: predictions.csv is the last file."""
    state, cfg, files = attempt.state, attempt.cfg, attempt.files
    tested = state.best_epoch if cfg.train.evaluate == "best" else cfg.train.epochs
    if cfg.train.evaluate == "best":
        state.model.load_state_dict(state.best)
    probability, _ = passes.evaluate(attempt, attempt.data.test, "testing")
    errors = _errors(attempt) if attempt.data.bags else None
    views = _views(attempt)
    if not attempt.world.is_main:
        return
    attempt.heart.moved("publishing")
    weights = {name: tensor.cpu() for name, tensor in state.model.state_dict().items()}
    check = attempt.fence.check
    about = {"belongs_to": attempt.belongs_to, "weights": weights, "epoch": tested}
    if errors:
        about |= {"features": list(candidates.NAMES), "candidates": candidates.VERSION}
        about |= {"calibration_scale": errors.scale, "calibration_gross": errors.gross}
        about |= {"spacing_factor": cfg.pack.spacing_factor}
        about |= {"edges": list(cfg.labels.edges), "names": list(cfg.labels.names)}
    checkpoint.save(files.model, about, check)
    epochs.write_rows(attempt)
    tables = _tables(attempt, probability, errors)
    content = tables.pop("predictions.csv")
    for path, table in {files.root / name: table for name, table in tables.items()}.items():
        disk.write_bytes(path, table, check)
    for name, view in views.items():
        disk.write_bytes(files.view(name), view, check)
    facts = _facts(attempt, tested, seconds, content, views)
    if errors:
        facts["tables_sha256"] = {name: digests.bytes_sha256(table) for name, table in tables.items()}
        facts["calibration"] = {"method": ordinal.METHOD, **asdict(errors)}
    disk.write_json(files.metrics, facts, check)
    disk.write_bytes(files.predictions, content, check)
    files.stop.unlink(missing_ok=True)  # too late: there is nothing left to stop


def _errors(attempt: Attempt) -> Errors:
    """The errors of the weights at work, from the validation studies."""
    data = attempt.data
    assert data.bags is not None
    probability, _ = passes.evaluate(attempt, data.val, "testing")
    score_U = data.bags.scores(lesion_results.counted(probability), data.val)
    return ordinal.fit(score_U, data.units.label[data.val], data.bags.edges)


def _tables(attempt: Attempt, probability: np.ndarray, errors: Errors | None) -> dict[str, bytes]:
    """The files of what is predicted of the test units, by name."""
    data = attempt.data
    if data.bags and errors:
        return lesion_results.tables(data.bags, data.test, attempt.fold, probability, errors)
    return {"predictions.csv": _table(attempt, data.test, probability)}


def _facts(attempt: Attempt, tested: int, seconds: float, content: bytes, views: Mapping[str, bytes]) -> dict[str, Any]:
    """metrics.json: whose the predictions are, what they were made with, and what tells that they are unchanged."""
    state, cfg, data = attempt.state, attempt.cfg, attempt.data
    spec = models.chosen(cfg)
    return {
        "fold": attempt.fold,
        "attempt": attempt.fence.number,
        "splits_sha256": attempt.belongs_to["splits"],
        **({"choice_sha256": attempt.belongs_to["choice"]} if "choice" in attempt.belongs_to else {}),
        "predictions_bytes": len(content),
        "predictions_sha256": digests.bytes_sha256(content),
        "views_sha256": {name: digests.bytes_sha256(view) for name, view in views.items()},
        "epochs": cfg.train.epochs,
        "tested_epoch": tested,
        "chosen_by": cfg.train.evaluate,
        "ranks": attempt.world.size,
        "threads": torch.get_num_threads(),
        "device": setup.device_name(attempt.world),
        "precision": cfg.train.precision,
        "torch": str(torch.__version__),
        "residency": data.loaded.kind,
        "shuffle_window": cfg.train.shuffle_window,
        "seconds": seconds,
        "parameters": networks.num_parameters(state.model),
        "layers": networks.layers(state.model, spec.unit, cfg.pack.size, cfg.model.dropout, spec.row),
        f"flops_per_{spec.row}": spec.flops(cfg.model, cfg.pack.size, len(cfg.labels.names)),
        "train_slices": data.num_slices(data.train),
        "val_slices": data.num_slices(data.val),
        "test_slices": data.num_slices(data.test),
        "inexact": state.inexact,
        **(
            {"settings": {"model": config.plain(cfg.model), "train": config.plain(cfg.train)}}
            if cfg.trials.active
            else {}
        ),
    }


def _views(attempt: Attempt) -> dict[str, bytes]:
    """What is predicted where a part of each slice is blank, of the test slices of studies whose heart was found."""
    data = attempt.data
    if data.bags:
        return {}
    rows = data.units.rows(data.test)
    seen = data.units.of_rows(rows[data.box_N4[rows].any(axis=1)])
    return {
        name: _table(attempt, seen, passes.evaluate(attempt, seen, "testing", seen=name)[0])
        for name in (predictions.VIEWS if len(seen) else ())
    }


def _table(attempt: Attempt, unit_U: np.ndarray, probability_UK: np.ndarray) -> bytes:
    """predictions.csv of these units, a row per slice.

    A study that is predicted as a whole stands there once for each of its slices, with the same probabilities: the
    report's figures of slices are then those of studies, each counted as often as it has slices.
    """
    table, rows = attempt.data.loaded.table, attempt.data.units.rows(unit_U)
    probability = np.repeat(probability_UK, attempt.data.units.counts(unit_U), axis=0)
    return predictions.to_csv(table.study[rows], table.number[rows], attempt.fold, table.label[rows], probability)
