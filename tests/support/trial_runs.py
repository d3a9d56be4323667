"""Runs with trials that take seconds, processes that train them, and what is the same however they were disturbed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cac_hpc.dataset import sealing
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.trials import plan
from cac_hpc.trials.worker import Server
from tests.support import bags
from tests.support.runs import REPO, SUPPORT, prepare

FOLDS = 2
TRIALS: dict[str, Any] = {
    "settings": {"train.learning_rate": [1e-6, 0.01, 0.1, 0.3], "model.hidden": [[8, 4], [4]]},
    "sampler": "random",
    "number": 6,
    "pruning": {"first_epoch": 1, "factor": 2},
}
TRAIN = bags.LEARN | {"epochs": 4, "steps": 80, "checkpoint_minutes": 10.0}


def trials_run(folder: Path, scans: Path, packed: Path, trials: dict[str, Any] = TRIALS, **sections: Any) -> RunPaths:
    """A run whose trials are ready to be trained, of lesions if nothing else is said."""
    given = {"model": bags.MODEL, "train": TRAIN, "cluster": {"ranks_per_node": 1}, "split": {"folds": FOLDS}}
    run = RunPaths(prepare(folder, scans, data={"packed_dir": str(packed)}, trials=trials, **given | sections))
    if not run.trials_plan.exists():
        plan.write(run.trials_plan, plan.make(stored_settings.load(run.config)))
    sealing.seal(run.root)
    return run


def server(run: RunPaths, fold: int = 0, worker: int = 0) -> Server:
    """What a worker is while it serves a fold."""
    return Server(run, fold, worker, stored_settings.load(run.config), plan.read(run.trials_plan))


def table(run: RunPaths) -> dict[str, Any]:
    """All that trials leave behind by name, but for the seconds that they took and who trained them."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in (run.root / "trials").rglob("*") if path.is_file()):
        if path.parent.name != "attempts":
            content = path.read_bytes()
            plain = json.loads(content) if path.suffix == ".json" else content
            if isinstance(plain, dict):
                plain.pop("seconds", None)
            found[str(path.relative_to(run.root))] = plain
    return found


class Workers:
    """Processes that are started in no time, for they come from one that has imported what they need."""

    def __init__(self, run: RunPaths) -> None:
        command = [sys.executable, str(SUPPORT / "forked_workers.py"), "--run", str(run.root)]
        self._parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO)

    def start(self, worker: int, kill_at: int = 0) -> int:
        """Start a worker, which kills itself before its N-th use of a file of the run; returns its process number."""
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write(f"{worker} {kill_at}\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate(timeout=60)  # closes its input, at which it ends
