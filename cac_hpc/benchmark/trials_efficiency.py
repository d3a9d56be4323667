"""How busy workers are with trials that differ ten-fold in length: as they are shared out, and in batches that wait.

``python -m cac_hpc.benchmark.trials_efficiency RUN WORKER HOW`` is one worker, ``free`` or ``batches``, of fold 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np

from cac_hpc.benchmark import costs, lesion_speed

SLOTS = 2
SHORTEST, LONGEST = 600, 6000  # steps of a trial
HOW = ("free", "batches")
WAIT_S, POLL_S = 300.0, 0.01


class Efficiency(NamedTuple):
    """busy: seconds of training, of all workers. seconds: from when all were ready to the end of the last."""

    busy: float
    seconds: float

    @property
    def share(self) -> float:
        return self.busy / (SLOTS * self.seconds)


def measure(folder: Path, studies: int, count: int, code: Path) -> dict[str, Efficiency]:
    """Train the same trials both ways.

    Args:
        studies: in the cohort. count: of trials. code: the checkout whose settings are measured.
    """
    steps = np.geomspace(SHORTEST, LONGEST, count).round().astype(int)
    order = np.random.default_rng(0).permutation(steps).tolist()
    tried = ", ".join(f"{{train.steps: {one}}}" for one in order)
    found = {}
    for how in HOW:
        run = lesion_speed.prepared(folder, how, studies, code, more={"trials.configurations": f"[{tried}]"})
        found[how] = _workers(run, how, code)
    return found


def _workers(run: Path, how: str, code: Path) -> Efficiency:
    command = [sys.executable, "-m", "cac_hpc.benchmark.trials_efficiency", str(run)]
    started = [
        subprocess.Popen([*command, str(number), how], env=costs.environment(code), stdout=subprocess.PIPE, text=True)
        for number in range(SLOTS)
    ]
    try:
        said = [json.loads(worker.communicate()[0].splitlines()[-1]) for worker in started]
    finally:
        for worker in started:
            worker.kill()
    seconds = max(one["ended"] for one in said) - min(one["began"] for one in said)
    return Efficiency(said[0]["busy"], seconds)


def one_worker(root: Path, number: int, how: str) -> dict[str, float]:
    """Train what the other leaves of the trials of fold 0; when it began, ended, and the seconds of all trainings."""
    from cac_hpc.run.paths import RunPaths
    from cac_hpc.settings import stored_settings
    from cac_hpc.trials import plan, training, worker
    from cac_hpc.trials.worker import Server

    run = RunPaths(root)
    cfg, of_all = stored_settings.load(run.config), plan.read(run.trials_plan)
    server = Server(run, 0, number, cfg, of_all)
    if how == "batches":
        _in_batches(server)
    with (
        training.session(run, 0, number, cfg, of_all) as server._session,
        mock.patch.object(worker, "_open_folds", return_value=[0]),  # it stays until the fold has chosen
    ):
        _wait_for_all(root, number)
        began = time.monotonic()
        server.serve(0)
        ended = time.monotonic()
    server._trials.look()
    return {"began": began, "ended": ended, "busy": sum(trial.seconds for trial in server._trials.trials)}


def _in_batches(server: object) -> None:
    """Have trials wait until all of the batch before have ended, as many in a batch as there are workers."""
    trials = server._trials  # type: ignore[attr-defined]
    inner = trials.look

    def look() -> None:
        inner()
        at_work = next((one.number // SLOTS for one in trials.trials if not one.final), 0)
        for one in trials.trials:
            if one.number // SLOTS > at_work:
                one.open = ()

    trials.look = look


def _wait_for_all(root: Path, number: int) -> None:
    (root / f"ready-{number}").touch()
    deadline = time.monotonic() + WAIT_S
    while not all((root / f"ready-{one}").exists() for one in range(SLOTS)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{root}: the other worker has not started")
        time.sleep(POLL_S)


if __name__ == "__main__":
    print(json.dumps(one_worker(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
