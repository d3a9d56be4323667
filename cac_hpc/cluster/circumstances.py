"""What a report's circumstances.json holds: what differs between two computations, as when, with what, how long."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pandas as pd

from cac_hpc.cluster import usage
from cac_hpc.cluster.usage import StageUse
from cac_hpc.results.serialization import Omitted
from cac_hpc.run import disk, provenance
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.config import Config

FILE = "circumstances.json"
MEDIANS = ("train_seconds", "val_seconds", "slices_per_second", "peak_memory_mb", "gpu_utilization_percent")
T = TypeVar("T")
Median = Annotated[float | None, Omitted]


@dataclass(frozen=True)
class FoldSpeed:
    """Epochs of a fold: their number, the medians of their seconds, rate and memory as far as they are known."""

    fold: int
    epochs: int
    train_seconds: Median = None
    val_seconds: Median = None
    slices_per_second: Median = None
    peak_memory_mb: Median = None
    gpu_utilization_percent: Median = None


@dataclass(frozen=True)
class Circumstances:
    """What circumstances.json holds, the only file of a report that has time stamps. What cannot be read is None, and a
    fold whose speeds cannot be read is left out."""

    made: str
    provenance: dict[str, Any] | None
    stages: list[StageUse]
    advice: list[str]
    folds: list[FoldSpeed]


def collect(run: RunPaths, cfg: Config) -> Circumstances:
    uses = usage.read(run, cfg)
    speeds = (_read(run.fold(fold).speed, partial(_speed, fold)) for fold in range(cfg.split.folds))
    return Circumstances(
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        provenance=_read(run.provenance, _provenance),
        stages=uses,
        advice=usage.advice(uses, cfg),
        folds=[speed for speed in speeds if speed],
    )


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
    collected = disk.read_json(path)
    if not isinstance(collected, dict) or not isinstance(collected.get("packages", {}), dict):
        raise ValueError("wanted an object, its packages by name")
    return provenance.shareable(collected) | provenance.shareable_code(RunPaths(path.parent))


def _speed(fold: int, path: Path) -> FoldSpeed:
    table = pd.read_csv(path)
    medians = {name: float(table[name].median()) for name in MEDIANS if name in table and table[name].notna().any()}
    if endless := [name for name, median in medians.items() if not math.isfinite(median)]:
        raise ValueError(f"{endless[0]} is not finite")
    return FoldSpeed(fold, len(table), **medians)
