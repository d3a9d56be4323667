"""Runs whose folds try several settings, of a lesion model on invented candidates; and what their trials end in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cac_hpc.dataset import sealing
from cac_hpc.run.paths import RunPaths
from tests.support import bags
from tests.support.runs import SUPPORT, job_here, prepare

FOLDS = 2
TRIALS: dict[str, object] = {
    "settings": {"model.hidden": [[4], [16, 8]], "train.learning_rate": [0.1, 0.0001], "train.steps": [6, 60]},
    "pruning": {"first_epoch": 1, "factor": 2},
}


def tried_run(
    folder: Path, scans: Path, bagged: Path, trials: dict[str, object] | None = None, **cluster: object
) -> Path:
    """A run that is packed and sealed: its trials are next."""
    sections: dict[str, dict[str, object]] = {
        "train": bags.LEARN, "model": bags.MODEL, "split": {"folds": FOLDS}, "trials": trials or TRIALS,
        "report": {"figure_dpi": 50, "draws": 200},
        "cluster": {"kind": "local", "ranks_per_node": 1, **cluster},
    }  # fmt: skip
    run = prepare(folder, scans, data={"packed_dir": str(bagged)}, **sections)
    sealing.seal(run)
    return run


def paced(run: Path) -> Path:
    """Its trials take as long as CAC_PACE_S says."""
    shutil.copy(SUPPORT / "paced_trials.py", run / "code" / "jobs" / "run_trials.py")
    return run


def table(run: Path) -> dict[str, object]:
    """Every trial of every fold, without what differs from one computation to the next; and the choices."""
    shown = job_here("trials.py", run, "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)["folds"]
    for trial in (trial for fold in found for trial in fold["trials"]):
        del trial["seconds"]
    return {"folds": found, "choices": [RunPaths(run).trials(fold).choice.read_text() for fold in range(len(found))]}
