"""A fold made ready: its data, its newest checkpoint, device and precision, a first step on nothing."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch

from cac_hpc.dataset import integrity, sealed, splits
from cac_hpc.dataset.splits import Fold
from cac_hpc.run import causes, digests
from cac_hpc.run.causes import PACK
from cac_hpc.run.logs import log
from cac_hpc.run.paths import DatasetPaths, FoldPaths, RunPaths
from cac_hpc.settings import config
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.settings.train import Precision, TrainConfig
from cac_hpc.train import (
    bags,
    checkpoint,
    distributed,
    lesion_model,
    models,
    networks,
    predictions,
    residency,
    slices,
    steps,
)
from cac_hpc.train.attempts import Attempt, FoldData
from cac_hpc.train.checkpoint import TrainingState, new_state
from cac_hpc.train.distributed import Agreement, World
from cac_hpc.train.fencing import Fence
from cac_hpc.train.heartbeat import Heartbeat

PROBE_SLICES, PROBE_STEPS = 8, 3
WORTH = 1.2  # times as fast as fp32 must bf16 be on a CPU: less is noise


def start(
    files: FoldPaths,
    fence: Fence,
    data: FoldData,
    belongs_to: Mapping[str, Any],
    cfg: Config,
    world: World,
    heart: Heartbeat,
    settled: Mapping[str, Any] = MappingProxyType({}),
) -> Attempt:
    """Take up the newest checkpoint, and take the step that settles what the first step settles.

    Args:
        belongs_to: what the training is: of which fold of which folds. settled: what this process has found before for
            settings that are left open; what stands in the checkpoint comes first.
    """
    found = _newest(files, belongs_to, world)
    before = found[1]["made_with"]["train"] if found else settled
    cfg = dataclasses.replace(cfg, train=settle(cfg, data.loaded.window, before, world))
    state, made_with = new_state(cfg, world), _circumstances(data.seal, cfg, world)
    if data.bags:
        lesion_model.standardise(state.model, data.bags.bag.feature_NF[data.units.rows(data.train)])
    if found:
        _go_on(state, *found, made_with, cfg)
    parallel = distributed.data_parallel(torch.compile(state.model) if cfg.train.compile else state.model, world)  # type: ignore[arg-type]
    attempt = Attempt(
        files, fence, belongs_to["fold"], cfg, world, data, state, heart, Agreement(world), dict(belongs_to), made_with,
        parallel, time.monotonic(),
    )  # fmt: skip
    heart.moved("starting")
    _warm_up(attempt)
    return attempt


def settle(cfg: Config, window: int | None, before: Mapping[str, Any], world: World) -> TrainConfig:
    """What the settings leave open: as it was before, else as this machine has it; the same on every rank.

    Args:
        window: that comes with where the slices are kept. before: settings that a checkpoint was made with.
    """
    train = cfg.train
    if train.shuffle_window is None:
        train = dataclasses.replace(train, shuffle_window=before.get("shuffle_window", window))
    if train.precision == "auto":
        own = before.get("precision") or choose_precision(cfg, world.device)
        train = dataclasses.replace(train, precision=distributed.gather(own, world)[0])
    return train


def load_fold(run: RunPaths, fold: int, cfg: Config, world: World) -> FoldData:
    """The data of a fold of a run.

    Raises: InputError if they are damaged.
    """
    parts = splits.read_splits(run.splits)[fold]
    dataset = run.dataset(cfg.data.packed_dir)
    if digests.file_sha256(dataset.studies) != integrity.read_checked(dataset.seal)["studies_sha256"]:
        raise InputError(causes.error(f"{dataset.studies}: not as it was sealed", f"{PACK} --seal"))
    studies = sealed.usable(sealed.read_studies(dataset), cfg.model)
    return divide(load(dataset, studies, cfg, world), parts, cfg, world)


def load(dataset: DatasetPaths, studies: pd.DataFrame, cfg: Config, world: World) -> FoldData:
    """Verify a sealed dataset and make it ready; none of its units is in a part yet.

    Args:
        studies: rows of studies.csv; no others can be trained or tested with.
    """
    spec, of_candidates = models.chosen(cfg), None
    if spec.row == "candidate":
        loaded, of_candidates = bags.load(dataset, studies, cfg, world)
        units = of_candidates.units
    else:
        category = dict(zip(studies["study"], studies["category"].astype(int), strict=True))
        loaded = residency.load(dataset, category, cfg, world)
        units = slices.units(loaded.table, spec.unit)
    box = predictions.heart_boxes(studies, cfg.pack.size) if cfg.train.occlusion and spec.row == "slice" else {}
    names, number_N = np.unique(loaded.table.study, return_inverse=True)
    box_N4 = np.array([box.get(study, predictions.NOWHERE) for study in names.tolist()], np.int16).reshape(-1, 4)
    on_device, nobody = torch.from_numpy(units.label).to(world.device), np.zeros(0, np.int64)
    return FoldData(
        loaded, units, on_device, torch.ones(len(cfg.labels.names), device=world.device), box_N4[number_N], nobody,
        nobody, nobody, of_candidates, digests.file_sha256(dataset.seal),
    )  # fmt: skip


def divide(data: FoldData, parts: Fold, cfg: Config, world: World) -> FoldData:
    """The same data in the three parts of a fold, with the weights of the categories in its training part."""
    units, num_categories = data.units, len(cfg.labels.names)
    if data.bags:
        train, val, test = (units.of_studies(list(part)) for part in parts.parts.values())
    else:
        train, val, test = (units.of_rows(data.loaded.table.rows(part)) for part in parts.parts.values())
    assert units.label[np.concatenate([train, val, test])].min(initial=0) >= 0, "a study has no label"
    weight = np.ones(num_categories)
    if cfg.train.class_weight == "balanced":
        weight = slices.balanced_weights(units.label[train], num_categories)
    weight_K = torch.tensor(weight, dtype=torch.float32, device=world.device)
    return dataclasses.replace(data, weight_K=weight_K, train=train, val=val, test=test)


def tell(data: FoldData, cfg: Config) -> None:
    """Log how large the parts of a fold are, and which categories cannot be learned from it."""
    spec = models.chosen(cfg)
    counts = [data.units.counts(part).sum() for part in (data.train, data.val, data.test)]
    log.info("%d training, %d validation, %d test %s", *counts, f"{spec.row}s")
    for absent in np.setdiff1d(range(len(cfg.labels.names)), data.units.label[data.train]):
        log.warning("no training %s is of category %s", spec.unit, cfg.labels.names[absent])


def _newest(files: FoldPaths, belongs_to: Mapping[str, Any], world: World) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be used, the same on every rank: the main one chooses."""
    found = checkpoint.load_newest(files.checkpoints(), belongs_to) if world.is_main else None
    path: Path | None = distributed.gather(found and found[0], world)[0]
    if path is None or found:
        return found
    return path, checkpoint.load(path)


def _circumstances(seal: str, cfg: Config, world: World) -> dict[str, Any]:
    """All that a result depends on to the last bit, besides the device itself; ``seal`` is the dataset's digest."""
    train = {
        name: value for name, value in config.plain(cfg.train).items() if f"train.{name}" not in config.WITHOUT_EFFECT
    }
    return {
        "ranks": world.size,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "dataset": seal,
        "device": device_name(world),
        "model": config.plain(cfg.model),
        "train": train,
    }


def _go_on(state: TrainingState, path: Path, saved: dict[str, Any], made_with: Mapping[str, Any], cfg: Config) -> None:
    """Take up the state of a checkpoint.

    Raises: InputError naming the differences if the end would not be the same to the last bit, unless that is allowed.
    """
    changed = config.differences(saved["made_with"], made_with)
    elsewhere = [line for line in changed if line.startswith("device:")]  # the scheduler's choice, not the user's
    differences = [line for line in changed if line not in elsewhere]
    if differences and not cfg.train.allow_inexact_resume:
        raise InputError(
            f"{path}: was made with another (found / wanted) {'; '.join(differences)}; results would differ in the "
            "last digits: give it what it had, or go on with --train.allow_inexact_resume true"
        )
    state.restore(saved)
    for line in changed:
        log.warning("the result may differ in the last digits: %s", line)
        state.inexact.append(f"epoch {state.epochs + 1} step {state.step + 1}: {line}")
    log.info("resumed after epoch %d, step %d of the next", state.epochs, state.step)


def _warm_up(attempt: Attempt) -> None:
    """Compute on nothing, to see that it can be done and in which precision.

    Raises: WorkError if it was not the one that was asked for.
    """
    cfg, count = attempt.cfg, -(-attempt.cfg.train.batch_size // attempt.world.size)
    share = steps.blank_share(models.chosen(cfg), count, cfg.pack.size, attempt.world.device)
    found = steps.warm_up(attempt.parallel, share, attempt.data.weight_K, cfg.train)
    if found != networks.DTYPES[cfg.train.precision]:
        raise WorkError(
            f"train.precision is {cfg.train.precision}, but the network was computed in {found} on "
            f"{attempt.made_with['device']}; set what this device has, or train.precision auto"
        )


def device_name(world: World) -> str:
    """As its maker calls it; of a CPU what it computes with, on which the last digits depend."""
    if world.device.type == "cuda":
        return torch.cuda.get_device_name(world.device)
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def peak_memory_mb(world: World) -> float:
    """The most that was in use at once, of the GPU's memory or of this process's."""
    if world.device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(world.device) / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def utilization_percent(world: World) -> float | None:
    """What NVIDIA's library says of the GPU's last second; None where it cannot be asked."""
    if world.device.type != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(world.device))
    except (ModuleNotFoundError, RuntimeError):
        return None


def choose_precision(cfg: Config, device: torch.device) -> Precision:
    """The precision as set; for ``auto`` what the GPU has units for, or what a short probe finds faster on this CPU."""
    if cfg.train.precision != "auto":
        return cfg.train.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if _step_seconds(cfg, "fp32") > WORTH * _step_seconds(cfg, "bf16") else "fp32"


def _step_seconds(cfg: Config, name: Precision) -> float:
    """The fastest of a few steps of a new network on nothing; the caller's random numbers stay as they are."""
    train, spec = dataclasses.replace(cfg.train, precision=name), models.chosen(cfg)
    with torch.random.fork_rng(devices=[]):
        model = spec.build(cfg.model, cfg.pack.size, len(cfg.labels.names))
    share = steps.blank_share(spec, PROBE_SLICES, cfg.pack.size, torch.device("cpu"))
    weight_K, seconds = torch.ones(len(cfg.labels.names)), []
    for _ in range(PROBE_STEPS):
        started = time.perf_counter()
        steps.warm_up(model, share, weight_K, train)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
