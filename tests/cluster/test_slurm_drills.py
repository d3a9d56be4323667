"""Whatever a SLURM does to a fold in the night, in the morning its results are the same to the last byte.

A fold of support/folds.py is disturbed on a real SLURM while it trains, one second a step; what it ends in is compared
with a fold that nothing disturbed. Signals are drilled under both process trackers: with linuxproc they reach every
process of a job, with cgroup, as on production clusters, only the first.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from cac_hpc.run.paths import RunPaths
from tests.support import bags, daemons
from tests.support.drills import (
    checkpoints,
    done,
    events,
    log,
    nothing_is_left,
    pace,
    submit,
    wait_for_end,
    wait_for_progress,
)
from tests.support.folds import fold_run
from tests.support.runs import REPO, job
from tests.support.standins import NAME, TOKEN
from tests.support.waiting import wait_for

PREEMPTIONS = 4
LOADED = 3  # how much longer things may take on a machine that runs a suite of tests beside


@pytest.mark.timeout(200)
@pytest.mark.parametrize("tracked", ["cgroup", pytest.param("linuxproc", marks=pytest.mark.drill)], indirect=True)
def test_a_warned_fold_saves_and_goes_on(tracked, run, undisturbed):
    task = submit(tracked, run)
    wait_for_progress(run)
    tracked.run("scancel", "--signal=USR2", task)
    asked = time.monotonic()
    wait_for(lambda: events(run, "requeued"), 40, f"its requeue: {log(run)}")
    saving_s = time.monotonic() - asked
    wait_for(lambda: tracked.run("squeue", "-h", "-j", task, "-o", "%T") == "PENDING", 60, f"{task} waiting")
    wait_for(lambda: tracked.run("squeue", "-h", "-j", task, "-o", "%T") == "RUNNING", 60, f"{task} running again")
    granted = time.monotonic()
    wait_for(lambda: len(events(run, "started")) == 2, 60, f"the second start: {log(run)}")
    assert saving_s + time.monotonic() - granted < LOADED * 10
    done(run, undisturbed, 1)
    assert "Restarts=1" in tracked.run("scontrol", "show", "job", task)


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_a_fold_of_lesions_warned_and_preempted_saves_and_goes_on(slurm, tmp_path, scans, bagged, undisturbed_lesions):
    run = fold_run(tmp_path, scans, bagged, "paced_fold.py", train=bags.LEARN, model=bags.MODEL)
    pace(run, 3)
    task = submit(slurm, run)
    wait_for_progress(run)
    slurm.run("scancel", "--signal=USR2", task)
    wait_for(lambda: len(events(run, "started")) == 2, 90, f"the second start: {log(run)}")
    wait_for_progress(run, checkpoints(run))
    slurm.sbatch("true", "--partition=urgent", "--nodes=4", "--exclusive")  # SLURM sends SIGTERM, and requeues
    wait_for(lambda: len(events(run, "started")) == 3, 90, f"the third start: {log(run)}")
    done(run, undisturbed_lesions, 2)
    nothing_is_left(run)


@pytest.mark.drill
@pytest.mark.timeout(400)
def test_a_fold_that_takes_longer_than_its_time_limit_is_done_in_several_jobs(tracked, run, undisturbed):
    pace(run, 5)
    submit(tracked, run, "--time=1", "--signal=USR2@20")
    done(run, undisturbed, 1, 360)


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_a_fold_preempted_again_and_again_goes_on(tracked, run, undisturbed):
    """SLURM sends SIGTERM, no user signal, and requeues by itself what does not end before."""
    pace(run, 3)
    submit(tracked, run)
    for starts in range(1, PREEMPTIONS + 1):
        wait_for(lambda starts=starts: len(events(run, "started")) == starts, 60, f"start {starts}: {log(run)}")
        wait_for_progress(run, checkpoints(run))
        tracked.sbatch("true", "--partition=urgent", "--nodes=4", "--exclusive")
        wait_for(lambda: not tracked.run("squeue", "-h", "--name=wrap", "-o", "%i"), 60, "the urgent job")
    done(run, undisturbed, PREEMPTIONS)


@pytest.mark.drill
@pytest.mark.timeout(200)
def test_a_cancelled_fold_saves_and_stays_cancelled_until_it_is_launched_again(tracked, run, undisturbed):
    task = submit(tracked, run)
    wait_for_progress(run)
    tracked.run("scancel", task)
    wait_for(lambda: events(run, "ended"), 40, f"its end: {log(run)}")
    wait_for(lambda: not tracked.run("squeue", "-h", "--me", "-o", "%i"), 40, "an empty queue")
    assert events(run, "ended")[-1]["resumable"]
    submit(tracked, run)
    done(run, undisturbed, 1)


@pytest.mark.drill
@pytest.mark.timeout(200)
@pytest.mark.parametrize("how", ["no requeue", "no scontrol"])
def test_where_slurm_does_not_start_it_again_it_is_left_resumable_and_says_how_to_go_on(slurm, run, undisturbed, how):
    if how == "no scontrol":
        hidden = run.parent / "bin"
        hidden.mkdir()
        for tool in ("bash", "env"):
            (hidden / tool).symlink_to(shutil.which(tool))
        pace(run, 1, f"export PATH={hidden} CAC_HPC_PYTHON={sys.executable}")
    task = submit(slurm, run, *(["--no-requeue"] if how == "no requeue" else []))
    wait_for_progress(run)
    slurm.run("scancel", "--signal=USR2", task)
    wait_for(lambda: [event for event in events(run, "ended") if event.get("final")], 40, f"its end: {log(run)}")
    shown = job("status.py", run, "--json", env=slurm.env)
    state = next(state for state in json.loads(shown.stdout) if (state["stage"], state["task"]) == ("folds", 0))
    assert state["state"] == "stopped"
    assert "SLURM did not start it again" in state["reason"]
    assert "python jobs/launch_cv.py --resume" in state["command"]
    pace(run, 0)
    submit(slurm, run)
    done(run, undisturbed, 1)


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_a_node_that_is_thought_dead_writes_nothing_more(slurm, run, undisturbed):
    pace(run, 8)  # the old copy would take longer than SLURM to find out
    submit(slurm, run)
    wait_for_progress(run)
    pace(run, 1)
    node = events(run, "started")[-1]["node"]
    with daemons.killed(slurm, "slurmd", "-N", node):
        wait_for(lambda: len(events(run, "started")) == 2, 120, f"the start on another node: {log(run)}")
        assert events(run, "started")[-1]["node"] != node
        replaced = "start 1 of this fold has been replaced by start 2: nothing more is written"  # srun is gone: no log
        wait_for(lambda: replaced in [str(event["cause"]) for event in events(run, "ended")], 30, "the old copy's end")
        done(run, undisturbed, 1, 200)
        facts = json.loads(RunPaths(run).fold(0).metrics.read_text(encoding="utf-8"))
        assert facts["attempt"] == 2


@pytest.mark.drill
@pytest.mark.timeout(200)
def test_a_suspended_fold_goes_on_when_it_is_resumed(slurm, run, undisturbed):
    task = submit(slurm, run)
    wait_for_progress(run)
    slurm.run("scontrol", "suspend", task)
    wait_for(lambda: "SUSPENDED" in slurm.run("squeue", "-h", "-j", task, "-o", "%T"), 20, "the suspension")
    time.sleep(25)  # longer than a rank may be silent
    slurm.run("scontrol", "resume", task)
    done(run, undisturbed, 0)


@pytest.mark.drill
@pytest.mark.timeout(200)
def test_a_node_that_fails_its_check_is_left_for_another_and_remembered(slurm, run, undisturbed):
    first = run / "first"
    spoil = f"[ -e {first} ] || echo $SLURMD_NODENAME > {first}\n[ $(cat {first}) != $SLURMD_NODENAME ] || "
    pace(run, 0, spoil + "export TMPDIR=/proc/nowhere")
    submit(slurm, run)
    wait_for(lambda: events(run, "requeued"), 40, f"its requeue: {log(run)}")
    node = first.read_text(encoding="utf-8").strip()
    assert str(events(run, "requeued")[-1]["cause"]).startswith(f"node {node} cannot write to /proc/nowhere")
    done(run, undisturbed, 0)
    assert events(run, "started")[-1]["node"] != node
    remembered = (run / "slurm" / "excluded_nodes.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["node"] for line in remembered] == [node]


STARTS = 24
LEAVES = f"""\
import os, sys, time
from pathlib import Path
from cac_hpc.cluster import ownership, slurm_commands
from cac_hpc.machine import processes
from cac_hpc.run import ledger
processes.listen()
owner = ownership.Owner(Path("/run"), {TOKEN!r}, frozenset([os.getuid()]))
at = ledger.whereabouts()
if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
    said = slurm_commands.requeue(at["job"], owner), slurm_commands.exclude(at["job"], [at["node"]], owner)
    open(os.path.join(sys.argv[1], at["job"]), "w").write(repr(said))
    time.sleep(60)  # until SLURM ends it
"""


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_orders_outlive_the_signal_that_a_requeue_sends_to_those_who_gave_it(tracked, tmp_path):
    """SLURM sends SIGTERM to every process of the step that asks for its own requeue."""
    script, said = tmp_path / "leaves.py", tmp_path / "said"
    said.mkdir()
    script.write_text(LEAVES, encoding="utf-8")
    work = f"trap : TERM; srun bash -c 'trap \"\" TERM; PYTHONPATH={REPO} exec {sys.executable} {script} {said}'"
    array = tracked.sbatch(work, f"--array=0-{STARTS - 1}", "--mem=300M", "--requeue", f"--job-name={NAME}")
    try:
        wait_for(lambda: len(list(said.iterdir())) == STARTS, 240, f"{STARTS} starts")
        assert {path.read_text(encoding="utf-8") for path in said.iterdir()} == {"(None, None)"}
    finally:
        tracked.run("scancel", array)


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_a_shard_that_vanished_ends_every_fold_and_blames_no_node(slurm, tmp_path, scans, packed):
    dataset = tmp_path / "dataset"
    shutil.copytree(packed, dataset)
    run = fold_run(tmp_path, scans, dataset, "paced_fold.py")
    pace(run, 0)
    (dataset / "shards" / "shard-00001.h5").unlink()
    task = submit(slurm, run, array="0-2")
    wait_for(lambda: len(events(run, "ended")) == 3, 90, f"the end of all folds: {log(run)}")
    assert set(wait_for_end(slurm, task).values()) == {"FAILED"}
    wanted = f"{dataset}: sealed, but shards/shard-00001.h5 is missing; stage pack makes them again"
    assert all(str(event["cause"]).startswith(wanted) for event in events(run, "ended"))
    assert not events(run, "requeued")
    assert not RunPaths(run).excluded.exists()
    shown = job("status.py", run, env=slurm.env).stdout
    assert wanted in shown
    assert "left out" not in shown


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_a_fold_that_is_warned_while_the_controller_is_down_is_requeued_when_it_is_back(slurm, run, undisturbed):
    asked = time.time()
    submit(slurm, run)
    wait_for_progress(run)
    noted = slurm.folder / "state" / "job_state"
    wait_for(lambda: noted.stat().st_mtime > asked, 30, "what the controller writes down")
    with daemons.killed(slurm, "slurmctld"):
        os.kill(supervisor_of(run), signal.SIGUSR2)
        wait_for(lambda: events(run, "requeued"), 60, f"its request: {log(run)}")
        time.sleep(15)  # longer than scontrol waits for an answer
        assert not [event for event in events(run, "ended") if event.get("final")], log(run)
    done(run, undisturbed, 1, 200)
    assert len(events(run, "started")) == 2


def supervisor_of(run):
    """The process that SLURM started for a run."""
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = cmdline.read_bytes().decode(errors="replace").split("\0")
            if str(run / "code" / "jobs" / "supervise.py") in words:
                return int(cmdline.parent.name)
    raise AssertionError(f"no supervisor of {run}")
