"""Trials on a real SLURM: whatever is killed, stopped or lost, the table of trials and the choices are the same."""

import contextlib
import os
import random
import re
import signal
from pathlib import Path

import pytest

from tests.support import daemons
from tests.support.drills import DEV, events, nothing_is_left, pace, submit, wait_for_end
from tests.support.runs import job
from tests.support.tried import FOLDS, TRIALS, paced, table, tried_run
from tests.support.waiting import wait_for

PACE_S = 0.05  # of a step: the trials of a fold take half a minute


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, scans, bagged):
    """What the trials end in when nothing disturbs them, on this machine."""
    run = tried_run(tmp_path_factory.mktemp("undisturbed"), scans, bagged, trials=TRIALS | {"workers": 3})
    work(run)
    return table(run)


def work(run):
    """One worker, to the end, without SLURM."""
    said = job("run_trials.py", "--run", run, "--worker", 0)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.fixture
def slow_run(tmp_path, scans, bagged):
    run = paced(tried_run(tmp_path, scans, bagged, trials=TRIALS | {"workers": 3}))
    pace(run, PACE_S)
    yield run
    nothing_is_left(run)


def launch(slurm, run, *options):
    """Submit what is left; returns the jobs of the stages."""
    said = job("launch_cv.py", "--resume", run, "--cluster", DEV, "--cluster.array_parallelism", 3,
               "--cluster.fold.mem_gb", 1, *options, env=slurm.env)  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    return dict(re.findall(r"submitted (\w+) +job (\d+)", said.stdout))


def workers(run, script="run_trials.py"):
    """Processes of the run's workers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if str(run) in words and any(word.endswith(script) for word in words):
                found.append(int(entry.name))
    return found


def rungs(run):
    return len(list((run / "trials").glob("fold-*/trial-*/part-*/rung-*.json")))


def chosen(run):
    return len(list((run / "trials").glob("fold-*/choice.json"))) == FOLDS


def log(run):
    return "\n".join(path.read_text(encoding="utf-8") for path in run.parent.glob("cac-trials*.log"))


@pytest.mark.timeout(240)
def test_a_killed_and_a_preempted_worker_start_again_and_the_trials_end_the_same(slurm, slow_run, undisturbed):
    run = slow_run
    array = submit(slurm, run, "--cpus-per-task=1", script="trials", array="0-1")
    wait_for(lambda: rungs(run) >= 1, 90, f"the first rung: {log(run)}")
    killed = workers(run)[0]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: events(run, "requeued", stage="trials"), 60, f"the requeue of the killed worker: {log(run)}")
    beyond = rungs(run)
    wait_for(lambda: rungs(run) > beyond + 2 or chosen(run), 90, f"further rungs: {log(run)}")
    slurm.run("scontrol", "requeue", f"{array}_1")
    pace(run, 0)
    wait_for(lambda: chosen(run), 120, f"the choices: {log(run)}")
    assert set(wait_for_end(slurm, array).values()) == {"COMPLETED"}
    assert table(run) == undisturbed
