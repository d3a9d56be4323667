"""What of a report differs from one computation to the next: when, with what, how long, how much of the cluster."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from typing import Any

import pandas as pd

from cac_hpc import paths, provenance, usage
from cac_hpc.config import Config
from cac_hpc.paths import RunPaths


def collect(run: RunPaths, cfg: Config) -> dict[str, Any]:
    """For report/circumstances.json: the only file of a report that holds time stamps."""
    uses = usage.read(run, cfg)
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "provenance": provenance.shareable(paths.read_json(run.provenance)) if run.provenance.is_file() else None,
        "stages": [dataclasses.asdict(use) for use in uses],
        "advice": usage.advice(uses, cfg),
        "folds": [_speed(run, fold) for fold in range(cfg.split.folds) if run.fold(fold).speed.is_file()],
    }


def _speed(run: RunPaths, fold: int) -> dict[str, Any]:
    """Epochs of a fold: their number, the median of their seconds, rate and memory."""
    table = pd.read_csv(run.fold(fold).speed)
    names = ("train_seconds", "val_seconds", "slices_per_second", "peak_memory_mb", "gpu_utilization_percent")
    medians = {name: float(table[name].median()) for name in names if name in table and table[name].notna().any()}
    return {"fold": fold, "epochs": len(table), **medians}
