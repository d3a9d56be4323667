"""Packed runs of the slice network that are ready to be trained, and folds of them trained as the product does."""

from __future__ import annotations

import csv
import os
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

from cac_hpc.benchmark import costs, inputs, scans
from cac_hpc.run import logs


def prepared(
    folder: Path, name: str, device: str, shape: tuple[int, int, int], code: Path, more: Mapping[str, object]
) -> Path:
    """A run that is ready to be trained; the first in a folder packs, the others take what it packed.

    Args:
        shape: studies, slices of each, pixels per side. more: settings beside these.
    """
    studies, slices, size = shape
    source, run = folder / "scans", folder / f"run-{name}"
    if not source.exists():
        logs.log.info("writing %d studies of %d slices to %s", studies, slices, folder)
        scans.write_studies(source, studies, slices, size)
        inputs.write_sheet(source)
    precision = "bf16" if device == "cuda" else "fp32"
    settings: dict[str, object] = {
        "data.packed_dir": folder / "packed", "pack.size": size, "split.val_fraction": 0.1,
        "pack.studies_per_shard": 10, "cluster.pack.cpus": len(os.sched_getaffinity(0)), "pack.baseline": "false",
        "pack.candidates": "false", **more,
    }  # fmt: skip
    costs.call(code, inputs.plan(code, run, source, settings), folder / "log")
    costs.call(code, inputs.job(code, "pack.py", "--run", run), folder / "log")
    config = run / "config.yaml"  # set now: packing machines need no GPU
    text = config.read_text(encoding="utf-8").replace("device: cpu", f"device: {device}")
    config.write_text(text.replace("precision: fp32", f"precision: {precision}"), encoding="utf-8")
    return run


def command(run: Path, fold: int, ranks: int, code: Path) -> list[str]:
    """What trains a fold with so many ranks."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    job = [str(code / "jobs" / "train_fold.py"), "--run", str(run), "--fold", str(fold)]
    return [*torchrun, f"--log-dir={run}/slurm", "--", *job]


def speed(run: Path, fold: int = 0) -> list[dict[str, float]]:
    """The rows of a trained fold's speed.csv, an epoch each; what a CPU cannot say is left out."""
    with (run / "folds" / f"fold-{fold}" / "speed.csv").open(encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def best_rate(run: Path) -> float:
    """Slices per second of the fastest epoch of fold 0."""
    return max(row["slices_per_second"] for row in speed(run))


def waiting(run: Path) -> float:
    """Share of the training of fold 0 that waited for slices, the median of its epochs."""
    return statistics.median(row["data_seconds"] / row["train_seconds"] for row in speed(run))
