"""How far a fold is, how fast it goes and when it will be done, from the tables of its epochs."""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.run.paths import FoldPaths

RECENT = 5  # epochs that the pace is taken from


@dataclass(frozen=True)
class Pace:
    """Whole epochs, and what the last of them showed; None where there is none yet. train_s, val_s: of an epoch."""

    epochs: int = 0
    val_loss: float | None = None
    slices_per_second: float | None = None
    train_s: float | None = None
    val_s: float | None = None

    def remaining_s(self, epochs: int, phase: str = "", step: int = 0, steps: int = 0) -> float | None:
        """Until all ``epochs`` are done and the test part is, which takes about as long as validating.

        Args:
            phase, step, steps: what the fold is at in the epoch after the whole ones.
        """
        if self.train_s is None or self.val_s is None:
            return None
        if phase in ("testing", "publishing"):
            return self.val_s if phase == "testing" else 0.0
        done_s = self.train_s * min(1.0, step / steps) if phase == "training" and steps else 0.0
        done_s = self.train_s if phase == "validating" else done_s
        return max(0.0, (epochs - self.epochs) * (self.train_s + self.val_s) - done_s) + self.val_s


def read_pace(files: FoldPaths) -> Pace:
    """The pace of the last epochs, as far as the tables can be read."""
    history, speed = _rows(files.history), _rows(files.speed)[-RECENT:]
    last = history[-1] if history else {}
    return Pace(
        int(_number(last, "epoch") or 0),
        _number(last, "val_loss"),
        _number(speed[-1], "slices_per_second") if speed else None,
        _middle(speed, "train_seconds"),
        _middle(speed, "val_seconds"),
    )


def wanted_epochs(config: Path) -> int | None:
    """train.epochs of a run's config.yaml, without reading the rest of it: the status view has half a second."""
    try:
        text = config.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^train:\n(?:  .*\n)*?  epochs: (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError, csv.Error):
        return []


def _number(row: dict[str, str], name: str) -> float | None:
    try:
        return float(row[name])
    except (KeyError, TypeError, ValueError):
        return None


def _middle(rows: Sequence[dict[str, str]], name: str) -> float | None:
    numbers = [number for row in rows if (number := _number(row, name)) is not None]
    return statistics.median(numbers) if numbers else None
