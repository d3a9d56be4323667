"""What the trials of a run will take, worked out before anything is submitted. Rough by nature."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from cac_hpc.cluster import estimate as estimates
from cac_hpc.cluster.estimate import CPU_FLOPS, GPU_FLOPS, START_MIN, Estimate
from cac_hpc.dataset.splits import Fold
from cac_hpc.run import composition
from cac_hpc.run.config import Config
from cac_hpc.trials.plan import Plan


@dataclass(frozen=True, kw_only=True)
class TrialCosts:
    """Of all folds.

    trials: of each fold. parts: trainings of each trial. hours: of GPUs or cores, every trial trained to its end;
    pruned_hours: where on average as many go on as the settings say, None without pruning. at_once: workers that have
    room at the same time. wall_min: until they have done it. longest_fold_min: of a fold that chooses the trial which
    takes longest; None where not all trials are known before.
    """

    trials: int
    parts: int
    hours: float
    pruned_hours: float | None
    at_once: int
    wall_min: float
    longest_fold_min: float | None


def estimate(cfg: Config, found: Estimate, folds: Sequence[Fold], tried: Plan, kind: str) -> TrialCosts:
    """Work it out, in the way of `cluster.estimate`.

    Args:
        found: of the run without its trials. kind: slurm, or local for this machine.
    """
    per_study = found.slices / max(1, found.studies)
    each = [composition.changed(cfg, values) for values in tried.settings] or [cfg]
    sizes = [_sizes(fold, per_study, cfg.trials.inner_folds) for fold in folds]
    flops = [sum(estimates.fold_flops(one, *size, 0, per_study) for size in sizes) * tried.parts for one in each]
    shares = [_share(one, tried, cfg.trials.pruning.factor) for one in each]
    scale, pruned = tried.number / len(each), len(tried.rungs) > 1  # trials of which tpe draws the settings cost alike
    of_end = sum(flops) * scale
    expected = sum(share * cost for share, cost in zip(shares, flops, strict=True)) * scale
    at_once, rate = _workers(cfg, kind)
    per_hour = 3600 * (GPU_FLOPS if cfg.train.device == "cuda" else CPU_FLOPS)
    largest = max(estimates.fold_flops(one, *sizes[0], 0, per_study) for one in each)
    usual = estimates.fold_flops(cfg, *sizes[0], 0, per_study)
    return TrialCosts(
        trials=tried.number,
        parts=tried.parts,
        hours=of_end / per_hour,
        pruned_hours=expected / per_hour if pruned else None,
        at_once=at_once,
        wall_min=START_MIN + expected / (rate * at_once) / 60,
        longest_fold_min=START_MIN + (found.fold_min - START_MIN) * largest / usual if usual else None,
    )


def rows(cfg: Config, found: TrialCosts) -> list[tuple[str, str]]:
    """What they take, and what limits them."""
    unit = "GPU" if cfg.train.device == "cuda" else "core"
    trainings = "" if found.parts == 1 else f" of {found.parts} trainings"
    pruned = "" if found.pruned_hours is None else f", {found.pruned_hours:.2g} with pruning"
    of_all = f"{found.trials}{trainings} in each of {cfg.split.folds} folds"
    lines = [
        ("trials", f"{of_all}: {found.hours:.2g} {unit} hours{pruned}"),
        ("", f"about {estimates.minutes_text(found.wall_min)} with {found.at_once} workers at a time"),
    ]
    if (most := cfg.trials.gpu_hours) is not None:
        needed = (found.hours if found.pruned_hours is None else found.pruned_hours) / cfg.split.folds
        count = found.trials if needed <= most else max(1, round(found.trials * most / needed))
        lines.append(("budget", f"{most:g} hours in each fold, for about {count} of {found.trials} trials"))
    return lines


def notes(cfg: Config, found: TrialCosts) -> list[str]:
    """What a person should look at before going on."""
    longest, given = found.longest_fold_min, cfg.cluster.fold.time_min
    if longest is None or longest <= given:
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


def _workers(cfg: Config, kind: str) -> tuple[int, float]:
    """Workers that have room at the same time, and the operations per second of each."""
    cluster, threads = cfg.cluster, cfg.cluster.cpus_per_rank
    cores = len(os.sched_getaffinity(0))
    room = cluster.array_parallelism * cluster.folds_per_node if kind == "slurm" else max(1, cores // threads)
    at_once = min(cfg.num_workers, room)
    if cfg.train.device != "cuda":
        return at_once, CPU_FLOPS * (threads if kind == "slurm" else min(threads, cores))
    gpus = min(cfg.gpus_asked, cluster.folds_per_node)
    return at_once, GPU_FLOPS * min(1.0, gpus / cluster.folds_per_node)
