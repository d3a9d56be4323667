"""Trials on a real SLURM: whatever is killed, stopped or lost, the table of trials and the choices are the same."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from cac_hpc.run.paths import RunPaths
from tests.support import daemons
from tests.support.drills import DEV, events, nothing_is_left, pace, submit, wait_for_end
from tests.support.runs import SUPPORT, job
from tests.support.trial_runs import FOLDS, TRIALS, table, trials_run
from tests.support.waiting import wait_for

PACE_S = 0.2  # of a step, of workers that nothing disturbed yet: the trials of a fold take a minute


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, scans, bagged):
    """What the trials end in when nothing disturbs them, on this machine."""
    run = three_workers(tmp_path_factory.mktemp("undisturbed"), scans, bagged)
    said = job("run_trials.py", "--run", run, "--worker", 0)
    assert said.returncode == 0, said.stdout + said.stderr
    return table(RunPaths(run))


def three_workers(folder, scans, bagged):
    return trials_run(folder, scans, bagged, TRIALS | {"workers": 3}, report={"figure_dpi": 50, "draws": 200}).root


@pytest.fixture
def slow_run(tmp_path, scans, bagged):
    run = three_workers(tmp_path, scans, bagged)
    shutil.copy(SUPPORT / "paced_trials.py", run / "code" / "jobs" / "run_trials.py")
    pace(run, PACE_S)
    yield run
    nothing_is_left(run)


def launch(slurm, run, *options, codes=(0,)):
    """Submit what is left; returns the jobs of the stages."""
    said = job("launch_cv.py", "--resume", run, "--cluster", DEV, "--cluster.array_parallelism", 3,
               "--cluster.fold.mem_gb", 1, *options, env=slurm.env)  # fmt: skip
    assert said.returncode in codes, said.stdout + said.stderr
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
    wait_for(lambda: rungs(run) >= 1 and len(workers(run)) == 2, 90, f"the first rung: {log(run)}")
    os.kill(workers(run)[0], signal.SIGKILL)
    wait_for(lambda: events(run, "requeued", stage="trials"), 60, f"the requeue of the killed worker: {log(run)}")
    other = 1 - events(run, "requeued", stage="trials")[0]["task"]
    pace(run, 0)  # of those that start from now on
    beyond = rungs(run)
    wait_for(lambda: rungs(run) > beyond, 90, f"a further rung: {log(run)}")
    slurm.run("scontrol", "requeue", f"{array}_{other}")
    wait_for(lambda: chosen(run), 120, f"the choices: {log(run)}")
    assert set(wait_for_end(slurm, array).values()) == {"COMPLETED"}
    assert table(RunPaths(run)) == undisturbed


def kill_a_worker(slurm, run, rng, jobs):
    for pid in rng.sample(found := workers(run), min(1, len(found))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_a_supervisor(slurm, run, rng, jobs):
    for pid in rng.sample(found := workers(run, "supervise.py"), min(1, len(found))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def cancel_a_worker(slurm, run, rng, jobs):
    subprocess.run(["scancel", f"{jobs['trials']}_{rng.randrange(3)}"], env=slurm.env, check=False, timeout=30)


def preempt_a_worker(slurm, run, rng, jobs):
    order = ["scontrol", "requeue", f"{jobs['trials']}_{rng.randrange(3)}"]
    subprocess.run(order, env=slurm.env, check=False, timeout=30, capture_output=True)


def lose_a_node(slurm, run, rng, jobs):
    """Its daemon and all that runs of the work there; SLURM notices, and starts it elsewhere."""
    nodes = sorted({event["node"] for event in events(run, "started", stage="trials")})
    if not nodes:
        return
    with daemons.killed(slurm, "slurmd", "-N", rng.choice(nodes)):
        kill_a_supervisor(slurm, run, rng, jobs)
        kill_a_worker(slurm, run, rng, jobs)


DISTURB = (kill_a_worker, kill_a_supervisor, cancel_a_worker, preempt_a_worker, lose_a_node)


@pytest.mark.drill
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("disturb", DISTURB, ids=lambda one: one.__name__)
def test_trials_that_are_disturbed_at_any_instant_end_the_same(slurm, slow_run, undisturbed, disturb):
    """Four instants each: until the choices are there, whatever does not start again by itself is launched again."""
    run, rng = slow_run, random.Random(disturb.__name__)
    pace(run, 0.05)
    jobs = launch(slurm, run)
    for _ in range(4):
        wait_for(partial(ahead_of, slurm, run, rungs(run) + rng.randrange(3)), 200, f"rungs: {log(run)}")
        time.sleep(rng.uniform(0, 1))
        disturb(slurm, run, rng, jobs)
        jobs |= launch(slurm, run)
    pace(run, 0)
    wait_for(lambda: chosen(run) or not in_queue(slurm, run), 300, f"the choices: {log(run)}")
    launch(slurm, run, "--wait", codes=(0, 1))  # a report that is at work may have seen no folds yet
    launch(slurm, run, "--wait")
    assert table(RunPaths(run)) == undisturbed
    assert json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))["status"] == "COMPLETE"


def ahead_of(slurm, run, count):
    return rungs(run) > count or chosen(run) or not in_queue(slurm, run)


def in_queue(slurm, run):
    states = json.loads(job("status.py", run, "--json", env=slurm.env).stdout)
    return any(one["state"] in ("queued", "running") for one in states if one["stage"] == "trials")
