"""The kill matrix: whatever is killed, and whenever, the fold ends with the same weights, history and predictions."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cac_hpc import sealing
from cac_hpc.paths import RunPaths
from tests.runs import REPO, pack, prepare
from tests.waiting import wait_for

EPOCHS, STEPS = 3, 5  # 48 training slices in batches of 10
POINTS = {"start": 1, "step": 8, "save": 6, "validate": 2, "test": 1, "publish": 1}
DONE = {"start": 0, "step": 7, "save": 6, "validate": 2 * STEPS, "test": EPOCHS * STEPS, "publish": EPOCHS * STEPS}
VICTIMS = ["0 SIGKILL", "1 SIGKILL", "agent SIGKILL", "supervisor SIGKILL", "supervisor SIGTERM", "0 SIGTERM",
           "1 SIGTERM", "file stop"]  # fmt: skip
QUICK = {("step", "1 SIGKILL"), ("save", "0 SIGKILL"), ("validate", "agent SIGKILL"), ("step", "supervisor SIGTERM"),
         ("publish", "supervisor SIGKILL"), ("step", "file stop")}  # fmt: skip
RESULTS = ("model.pt", "history.csv", "predictions.csv")


@pytest.fixture(scope="module")
def packed(tmp_path_factory, scans):
    folder = tmp_path_factory.mktemp("packed")
    pack(prepare(folder, scans, data={"packed_dir": str(folder / "dataset")}))
    return folder / "dataset"


def doomed_run(folder, scans, packed, ranks=2):
    """A run whose fold 0 is ready to be trained by tests/doomed_fold.py, with a checkpoint after every step."""
    train = {"epochs": EPOCHS, "batch_size": 10, "checkpoint_minutes": 0.0}
    run = prepare(
        folder, scans, data={"packed_dir": str(packed)}, train=train, cluster={"kind": "local", "ranks_per_node": ranks}
    )
    sealing.seal(run)
    shutil.copy(REPO / "tests" / "doomed_fold.py", run / "code" / "jobs" / "train_fold.py")
    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, scans, packed):
    run = doomed_run(tmp_path_factory.mktemp("undisturbed"), scans, packed)
    assert attempt(run) == 0
    return results(run)


def attempt(run, doom="", timeout_s=120):
    """Run fold 0 until everybody who took part is gone; returns the supervisor's exit code."""
    env = {**os.environ, "PYTHONPATH": str(REPO)} | ({"CAC_DOOM": doom} if doom else {})
    done = subprocess.run([sys.executable, REPO / "tests" / "supervise.py", run], env=env, timeout=timeout_s,
                          capture_output=True, text=True)  # fmt: skip
    wait_for(lambda: not alive(run), 45, f"the end of {alive(run)}")
    return done.returncode


def alive(run):
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


def results(run):
    return {name: (RunPaths(run).fold(0).root / name).read_bytes() for name in RESULTS}


def log(run):
    return (run / "slurm" / "folds-0.log").read_text(encoding="utf-8")


def reason(run):
    """Why fold 0 ended, as the status view says."""
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    shown = subprocess.run([sys.executable, REPO / "jobs" / "status.py", run, "--json"], env=env, capture_output=True,
                           text=True, timeout=60)  # fmt: skip
    state = next(s for s in json.loads(shown.stdout) if (s["stage"], s["task"]) == ("folds", 0))
    return state["state"], state["reason"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("point", "victim"),
    [
        pytest.param(point, victim, marks=[] if (point, victim) in QUICK else pytest.mark.drill)
        for point in POINTS
        for victim in VICTIMS
    ],
)
def test_a_fold_killed_anywhere_ends_with_the_same_result(tmp_path, scans, packed, undisturbed, point, victim):
    run = doomed_run(tmp_path, scans, packed)
    code = attempt(run, f"{point} {POINTS[point]} {victim}")
    files = RunPaths(run).fold(0)
    finished = files.predictions.exists()  # a request to stop that came too late
    assert (code == 0) == finished
    assert not (finished and "SIGKILL" in victim)
    assert not list(files.root.glob("stop"))
    saved = len(files.checkpoints())
    assert attempt(run) == 0
    assert results(run) == undisturbed
    resumed = re.findall(r"resumed after epoch (\d+), step (\d+)", log(run))
    if saved and not finished:
        epoch, step = map(int, resumed[-1])
        assert epoch * STEPS + step >= DONE[point] - 2  # one was decided on a step later, one is saved by half
    assert not list(files.root.rglob(".*.tmp")) or "SIGKILL" in victim
