"""What the trials of a run will take, worked out before anything is submitted. Rough by nature."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cac_hpc.cluster import estimate as estimates
from cac_hpc.cluster.estimate import CPU_FLOPS, GPU_FLOPS, START_MIN, Estimate
from cac_hpc.dataset.splits import Fold
from cac_hpc.run.logs import amount
from cac_hpc.settings import composition
from cac_hpc.settings.config import Config
from cac_hpc.train import models
from cac_hpc.trials.plan import Plan

STEP_S = 1e-3  # at least, of a step of the smallest model: 200 of them took 0.21 s on one core
FEW_PATIENTS = 30  # who choose between little


@dataclass(frozen=True, kw_only=True)
class TrialCosts:
    """Of all folds.

    trials: of each fold. parts: trainings of each trial. hours: of GPUs or cores, every trial trained to its end;
    pruned_hours: where on average as many go on as the settings say, None without pruning. at_once: workers that have
    room at the same time. wall_min: until they have done it. longest_fold_min: of a fold that chooses the trial which
    takes longest, of those whose settings are known before.
    """

    trials: int
    parts: int
    hours: float
    pruned_hours: float | None
    at_once: int
    wall_min: float
    longest_fold_min: float


def estimate(cfg: Config, found: Estimate, folds: Sequence[Fold], tried: Plan, kind: str) -> TrialCosts:
    """Work it out, in the way of `cluster.estimate`.

    Args:
        found: of the run without its trials. kind: slurm, or local for this machine.
    """
    per_study = found.slices / max(1, found.studies)
    each = [composition.changed(cfg, values) for values in tried.settings] or [cfg]
    sizes = [_sizes(fold, per_study, cfg.trials.inner_folds) for fold in folds]
    worker = _worker(cfg, kind)
    seconds = [tried.parts * sum(_seconds(one, size, per_study, worker.rate) for size in sizes) for one in each]
    shares = [_share(one, tried, cfg.trials.pruning.factor) for one in each]
    scale = tried.number / len(each)  # trials of which tpe draws the settings cost alike
    to_end = sum(seconds) * scale
    expected = sum(share * cost for share, cost in zip(shares, seconds, strict=True)) * scale
    longest, usual = (max(_seconds(one, sizes[0], per_study, worker.rate) for one in some) for some in (each, [cfg]))
    return TrialCosts(
        trials=tried.number,
        parts=tried.parts,
        hours=to_end * worker.devices / 3600,
        pruned_hours=expected * worker.devices / 3600 if len(tried.rungs) > 1 else None,
        at_once=worker.at_once,
        wall_min=START_MIN + expected / worker.at_once / 60,
        longest_fold_min=START_MIN + (found.fold_min - START_MIN) * longest / usual,
    )


def rows(cfg: Config, found: TrialCosts) -> list[tuple[str, str]]:
    """What they take, and what limits them."""
    unit = "GPU" if cfg.train.device == "cuda" else "core"
    trainings = "" if found.parts == 1 else f", each trained {found.parts} times"
    pruned = "" if found.pruned_hours is None else f", {found.pruned_hours:.2g} with pruning"
    of_all = f"{found.trials} in each of {amount(cfg.split.folds, 'fold')}{trainings}"
    lines = [
        ("trials", f"{of_all}: {found.hours:.2g} {unit} hours{pruned}"),
        ("", f"about {estimates.minutes_text(found.wall_min)} with {amount(found.at_once, 'worker')} at a time"),
    ]
    if (most := cfg.trials.gpu_hours) is not None:
        needed = (found.hours if found.pruned_hours is None else found.pruned_hours) / cfg.split.folds
        count = found.trials if needed <= most else max(1, round(found.trials * most / needed))
        lines.append(("budget", f"{most:g} hours in each fold, for about {count} of {found.trials} trials"))
    return lines


def choosing_notes(cfg: Config, found: Estimate) -> list[str]:
    """That few patients choose, and how more of them can."""
    choosing = min(sum(val for _, val, _ in counts) for counts in found.patients)
    if cfg.trials.inner_folds or cfg.trials.select_on == "test" or choosing >= FEW_PATIENTS:
        return []
    known = min(sum(train + val for train, val, _ in counts) for counts in found.patients)
    return [
        f"each fold chooses among its trials by {choosing} validation patients, who tell little; with "
        f"trials.inner_folds: 4 it asks {known}, and takes four times as long"
    ]


def notes(cfg: Config, found: TrialCosts) -> list[str]:
    """What a person should look at before going on."""
    longest, given = found.longest_fold_min, cfg.cluster.fold.time_min
    if longest <= given:
        return []
    needed = estimates.minutes_text(longest)
    return [f"cluster.fold.time_min is {given}; a fold that chooses the trial which takes longest needs about {needed}"]


def _sizes(fold: Fold, per_study: float, inner: int | None) -> tuple[int, int]:
    """Slices that a trial of a fold is trained on, and those that it is validated on."""
    train, val = (estimates.slices_in(part, per_study) for part in (fold.train, fold.val))
    if inner is None:
        return train, val
    return round((train + val) * (inner - 1) / inner), round((train + val) / inner)


def _share(one: Config, tried: Plan, factor: int) -> float:
    """The part of its epochs that a trial is trained for on average, where 1 / factor of the trials pass a rung."""
    epochs = one.train.epochs
    ends = [epochs if rung is None else min(rung, epochs) for rung in tried.rungs]
    steps = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return sum(step / float(factor**rung) for rung, step in enumerate(steps)) / epochs


def _seconds(one: Config, size: tuple[int, int], per_study: float, rate: float) -> float:
    """Of one training to its end.

    Args:
        size: slices to learn from and to validate on. rate: operations per second.
    """
    units = size[0] / per_study if models.chosen(one).unit == "study" else size[0]
    steps = one.train.steps or one.train.epochs * math.ceil(units / one.train.batch_size)
    return max(estimates.fold_flops(one, *size, 0, per_study) / rate, steps * STEP_S)


class Worker(NamedTuple):
    """at_once: workers that have room at the same time. devices: GPUs or cores of each, a part of one where they share.
    rate: operations per second of each."""

    at_once: int
    devices: float
    rate: float


def _worker(cfg: Config, kind: str) -> Worker:
    cluster, cores = cfg.cluster, len(os.sched_getaffinity(0))
    most = cluster.array_parallelism * cluster.folds_per_node
    at_once = min(cfg.num_workers, most if kind == "slurm" else max(1, cores // cluster.cpus_per_rank))
    if cfg.train.device == "cuda":
        share = min(cfg.gpus_asked, cluster.folds_per_node) / cluster.folds_per_node
        return Worker(at_once, share, GPU_FLOPS * share)
    threads = cluster.cpus_per_rank if kind == "slurm" else min(cluster.cpus_per_rank, cores)
    return Worker(at_once, threads, CPU_FLOPS * threads)
