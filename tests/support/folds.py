"""Runs of which one fold is trained again and again: what disturbs it must not show in its results."""

from __future__ import annotations

import shutil
from pathlib import Path

from cac_hpc.dataset import sealing
from cac_hpc.run.paths import RunPaths
from tests.support.runs import SUPPORT, prepare

EPOCHS, STEPS = 3, 5  # 48 training slices in batches of 10
TRAIN: dict[str, object] = {"epochs": EPOCHS, "batch_size": 10, "checkpoint_minutes": 0.0}
RESULTS = ("model.pt", "history.csv", "predictions.csv", "scores.csv", "lesions.csv")


def fold_run(
    folder: Path,
    scans: Path,
    packed: Path,
    script: str,
    ranks: int = 2,
    train: dict[str, object] = TRAIN,
    folds: int = 3,
    model: dict[str, object] | None = None,
    **cluster: object,
) -> Path:
    """A run whose folds are ready to be trained, with a checkpoint after every step.

    Args:
        packed: its dataset. script: of this folder, takes the place of jobs/train_fold.py in the run's copy of the
            code. cluster: further settings of this section.
    """
    settings = {"kind": "local", "ranks_per_node": ranks} | cluster
    sections: dict[str, dict[str, object]] = {"train": train, "split": {"folds": folds}, "cluster": settings}
    if model:
        sections["model"] = model
    run = prepare(folder, scans, data={"packed_dir": str(packed)}, **sections)
    sealing.seal(run)
    shutil.copy(SUPPORT / script, run / "code" / "jobs" / "train_fold.py")
    return run


def results(run: Path, fold: int = 0) -> dict[str, bytes]:
    files = [RunPaths(run).fold(fold).root / name for name in RESULTS]
    return {path.name: path.read_bytes() for path in files if path.exists()}


def alive(run: Path) -> list[str]:
    """Command lines of the processes that work on a run."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = cmdline.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(run) in words and not any("pytest" in word for word in words):
            found.append(" ".join(words))
    return found
