"""What of a report differs from one computation to the next: when, with what, how long, how much of the cluster."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from cac_hpc.cluster import usage
from cac_hpc.run import paths, provenance, snapshot
from cac_hpc.run.config import Config
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths

T = TypeVar("T")


def collect(run: RunPaths, cfg: Config) -> dict[str, Any]:
    """For report/circumstances.json: the only file of a report that holds time stamps. What cannot be read is None, and
    a fold whose speeds cannot be read is left out."""
    uses = usage.read(run, cfg)
    speeds = [_read(run.fold(fold).speed, _speed) for fold in range(cfg.split.folds)]
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "provenance": _read(run.provenance, _provenance),
        "stages": [dataclasses.asdict(use) for use in uses],
        "advice": usage.advice(uses, cfg),
        "folds": [{"fold": fold, **speed} for fold, speed in enumerate(speeds) if speed],
    }


def _read(path: Path, read: Callable[[Path], T]) -> T | None:
    """What is read of a file; None where it is not there, or is damaged, which is said."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s: cannot be read, the report goes without it (%s)", path, error)
        return None


def _provenance(path: Path) -> dict[str, Any]:
    collected = paths.read_json(path)
    if not isinstance(collected, dict) or not isinstance(collected.get("packages", {}), dict):
        raise ValueError("wanted an object, its packages by name")
    return provenance.shareable(collected) | snapshot.shareable(RunPaths(path.parent))


def _speed(path: Path) -> dict[str, Any]:
    """Epochs of a fold: their number, the median of their seconds, rate and memory."""
    table = pd.read_csv(path)
    names = ("train_seconds", "val_seconds", "slices_per_second", "peak_memory_mb", "gpu_utilization_percent")
    medians = {name: float(table[name].median()) for name in names if name in table and table[name].notna().any()}
    if endless := [name for name, median in medians.items() if not math.isfinite(median)]:
        raise ValueError(f"{endless[0]} is not finite")
    return {"epochs": len(table), **medians}
