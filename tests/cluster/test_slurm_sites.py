"""What sites differ in and what befalls them: preemption that warns, daemons that die, memory, time, a drill for users.

As in tests/cluster/test_slurm_drills.py, a fold that was disturbed ends with the bytes of one that was not.
"""

import json
import re
import time

import pytest

from tests.support import daemons
from tests.support.drills import (
    DEV,
    checkpoints,
    done,
    events,
    log,
    pace,
    submit,
    wait_for_end,
    wait_for_progress,
)
from tests.support.folds import fold_run, results
from tests.support.runs import job
from tests.support.slurm import running_cluster
from tests.support.waiting import wait_for

PREEMPTIONS = 2
LATER = ("--cluster.sbatch", '{"begin": "now+1hour"}')  # jobs that stay in the queue
LAUNCH_S, BETWEEN_S = 10, 30  # until the launcher is back; between the stages, all together


@pytest.fixture(scope="module", params=["linuxproc", "cgroup"])
def warning_slurm(request, tmp_path_factory):
    """A SLURM that sends a job's warning when it is preempted, too, with either process tracker."""
    folder = tmp_path_factory.mktemp(f"warning-{request.param}")
    warning = ("--set", "SlurmctldParameters=preempt_send_user_signal")
    with running_cluster(folder, "--proctrack", request.param, *warning) as running:
        yield running


def jobs_of(launched):
    assert launched.returncode == 0, launched.stdout + launched.stderr
    return dict(re.findall(r"submitted (\w+) +job (\d+)", launched.stdout))


def state_of(slurm, run, stage, task):
    shown = job("status.py", run, "--json", env=slurm.env)
    return next(state for state in json.loads(shown.stdout) if (state["stage"], state["task"]) == (stage, task))


def task_record(slurm, task):
    return slurm.run("scontrol", "show", "job", task, "--oneliner")


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_a_fold_that_is_warned_of_its_preemption_goes_on(warning_slurm, run, undisturbed):
    submit(warning_slurm, run)
    for starts in range(1, PREEMPTIONS + 1):
        wait_for(lambda starts=starts: len(events(run, "started")) == starts, 60, f"start {starts}: {log(run)}")
        wait_for_progress(run, checkpoints(run))
        warning_slurm.sbatch("true", "--partition=urgent", "--nodes=4", "--exclusive")
        wait_for(lambda: not warning_slurm.run("squeue", "-h", "--name=wrap", "-o", "%i"), 60, "the urgent job")
    pace(run, 0)
    done(run, undisturbed, PREEMPTIONS)
    assert {str(event["cause"]) for event in events(run, "requeued")} == {"ended by SIGUSR2"}


@pytest.mark.drill
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fold_is", ["at work", "waiting"])
def test_a_controller_that_dies_and_comes_back_is_not_noticed_by_a_fold(slurm, run, undisturbed, fold_is):
    task = submit(slurm, run)
    before = wait_for_progress(run)
    if fold_is == "waiting":
        asked = time.time()
        slurm.run("scancel", "--signal=USR2", task)
        wait_for(lambda: "JobState=PENDING" in task_record(slurm, task), 60, f"{task} waiting")
        noted = slurm.folder / "state" / "job_state"
        wait_for(lambda: noted.stat().st_mtime > asked, 30, "what the controller writes down")
    with daemons.killed(slurm, "slurmctld"):
        if fold_is == "at work":
            wait_for_progress(run, before + 1)
        state = state_of(slurm, run, "folds", 0)
        assert state["state"] in ("running", "unknown") if fold_is == "at work" else state["state"] == "unknown"
        launched = job("launch_cv.py", "--resume", run, "--cluster", DEV, env=slurm.env)
        assert launched.returncode == 2
        assert "no SLURM controller answers" in launched.stderr
    done(run, undisturbed, 1 if fold_is == "waiting" else 0)
    assert wait_for_end(slurm, task) == {task: "COMPLETED"}
    assert len(events(run, "started")) == (2 if fold_is == "waiting" else 1)


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_without_the_accounting_daemon_folds_status_and_launcher_work(slurm, scans, packed, tmp_path, run, undisturbed):
    folder = tmp_path / "other"
    folder.mkdir()
    other = fold_run(folder, scans, packed, "paced_fold.py")
    task = submit(slurm, run)
    before = wait_for_progress(run)
    with daemons.killed(slurm, "slurmdbd"):
        asked = time.monotonic()
        state = state_of(slurm, run, "folds", 0)
        assert (state["state"], state["job"]) == ("running", task)
        assert time.monotonic() - asked < 30
        jobs = jobs_of(job("launch_cv.py", "--resume", other, "--cluster", DEV, *LATER, env=slurm.env))
        assert list(jobs) == ["folds", "aggregate"]
        assert state_of(slurm, other, "folds", 0)["state"] == "queued"
        cancelled = job("cancel.py", other, env=slurm.env)
        assert cancelled.returncode == 0, cancelled.stderr
        wait_for_progress(run, before)
        pace(run, 0)
        done(run, undisturbed, 0)
        assert state_of(slurm, run, "folds", 0)["state"] == "done"
    assert wait_for_end(slurm, task) == {task: "COMPLETED"}


@pytest.mark.drill
@pytest.mark.timeout(500)
@pytest.mark.parametrize("mem_gb", [0.25, 0.5])  # too little for torchrun; for a rank
def test_a_fold_out_of_memory_says_so_and_what_to_ask_and_is_not_started_again(cgroup_slurm, run, undisturbed, mem_gb):
    slurm = cgroup_slurm
    pace(run, 0)
    launched = job(
        "launch_cv.py", "--resume", run, "--cluster", DEV, "--cluster.fold.mem_gb", mem_gb, "--wait", env=slurm.env
    )
    assert launched.returncode == 1, launched.stdout + launched.stderr
    folds = re.search(r"submitted folds +job (\d+)", launched.stdout)[1]
    ends = wait_for_end(slurm, folds)
    assert set(ends.values()) <= {"OUT_OF_MEMORY", "FAILED"}, ends
    assert "Restarts=0" in task_record(slurm, f"{folds}_0")
    assert not events(run, "requeued")
    state = state_of(slurm, run, "folds", 0)
    assert state["state"] == "failed"
    assert re.match(rf"out of memory: {mem_gb} GB were asked for, and the kernel ended \d+ of", state["reason"]), state
    assert "python jobs/launch_cv.py --resume" in state["command"]
    assert f"--cluster.fold.mem_gb {2 * mem_gb:g}" in state["command"]
    again = job("launch_cv.py", "--resume", run, "--cluster.fold.mem_gb", 2, "--wait", env=slurm.env)
    assert again.returncode == 0, again.stdout + again.stderr
    assert results(run) == undisturbed


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_launching_takes_seconds_and_between_the_stages_little_is_lost(slurm, run, undisturbed):
    """On a machine that does nothing else."""
    pace(run, 0)
    began = time.monotonic()
    jobs = jobs_of(job("launch_cv.py", "--resume", run, "--cluster", DEV, env=slurm.env))
    launch_s = time.monotonic() - began
    wait_for((run / "report" / "report.json").exists, 200, "the report")
    whole_s = time.monotonic() - began
    wait_for(lambda: events(run, "used", stage="aggregate"), 30, "what the report took")
    wait_for_end(slurm, ",".join(jobs.values()))
    work_s = sum(event["seconds"] for stage in jobs for event in events(run, "used", stage=stage))
    listed = slurm.run("sacct", "-X", "-n", "-P", "-o", "elapsedraw", "-j", ",".join(jobs.values()))
    jobs_s = sum(map(int, listed.split()))
    found = (
        f"launching took {launch_s:.1f} s, launch to report {whole_s:.1f} s, of which the stages' own work "
        f"{work_s:.1f} s and their jobs {jobs_s} s"
    )
    print(f"\n{found}")
    assert launch_s < LAUNCH_S, found
    assert whole_s - work_s <= BETWEEN_S, found
    assert results(run) == undisturbed


@pytest.mark.drill
@pytest.mark.timeout(400)
def test_a_user_can_drill_the_own_site(tracked, run):
    planned = job("launch_cv.py", "--resume", run, "--cluster", DEV, "--dry_run", env=tracked.env)
    assert planned.returncode == 0, planned.stderr
    before = set(run.iterdir())
    drilled = job("drill.py", run, env=tracked.env, timeout_s=300)
    assert drilled.returncode == 0, drilled.stdout + drilled.stderr
    for line in ("it saved", "it started again", "equals that of the fold left alone"):
        assert line in drilled.stdout, drilled.stdout
    print(drilled.stdout)
    assert "this site works as the settings assume" in drilled.stdout
    assert {path.name for path in set(run.iterdir()) - before} == {"drill"}
