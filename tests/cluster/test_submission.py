"""What is submitted: once, clean of what surrounds the launcher, and whatever kills the launcher meanwhile."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from cac_hpc.cluster import sbatch_scripts
from cac_hpc.run import stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from tests.support.runs import REPO, prepare
from tests.support.submitted import DEV, LATER, clear, launch, ours, put_on_path
from tests.support.waiting import wait_for

HOSTILE = {
    "SBATCH_PARTITION": "urgent", "SBATCH_TIMELIMIT": "1", "SBATCH_ARRAY_INX": "7-9", "SBATCH_ACCOUNT": "nobody",
    "SBATCH_QOS": "nothing", "SBATCH_CONSTRAINT": "moon", "SBATCH_EXCLUSIVE": "user", "SBATCH_MEM_PER_CPU": "9000G",
    "SBATCH_GPUS": "99", "SBATCH_NO_REQUEUE": "1", "SBATCH_OPEN_MODE": "truncate", "SBATCH_SIGNAL": "KILL@1",
    "SBATCH_JOB_NAME": "other", "SBATCH_WCKEY": "key", "SBATCH_RESERVATION": "night", "SBATCH_HINT": "nomultithread",
    "SLURM_JOB_ID": "99", "SLURM_NNODES": "40", "SLURM_NTASKS_PER_NODE": "64", "SLURM_CPUS_PER_TASK": "64",
    "SLURM_MEM_PER_NODE": "1", "SRUN_DEBUG": "3", "PMI_RANK": "5", "SLURM_ARRAY_TASK_ID": "3",
}  # fmt: skip
SHOWN = ("Partition", "TimeLimit", "Account", "QOS", "Features", "NumNodes", "MinMemoryNode", "CPUs/Task",
         "ArrayTaskId", "Requeue", "Reservation", "TresPerNode", "NtasksPerN:B:S:C", "OverSubscribe",
         "WCKey")  # fmt: skip


def submitted(text):
    return dict(re.findall(r"submitted (\w+) +job (\d+)", text))


def records(slurm, jobs):
    """What the controller has noted of each job."""
    found = {}
    for stage, number in jobs.items():
        line = slurm.run("scontrol", "show", "job", number, "--oneliner").splitlines()[0]
        fields = dict(re.findall(r"(\S+?)=(\S*)", line))
        found[stage] = {key: fields.get(key) for key in SHOWN}
    return found


@pytest.mark.timeout(240)
def test_whatever_surrounds_the_launcher_the_same_is_submitted(slurm, scans, tmp_path):
    run = prepare(tmp_path, scans)
    found = {}
    inside = {**slurm.env, "PYTHONPATH": str(REPO)}
    for place, env in (("clean", slurm.env), ("hostile", slurm.env | HOSTILE), ("inside a job", inside)):
        if place == "inside a job":
            command = [sys.executable, REPO / "jobs" / "launch_cv.py", "--resume", run, "--cluster", DEV, *LATER]
            done = subprocess.run(["srun", "--ntasks=1", "--cpus-per-task=3", "--mem=1G", *map(str, command)], env=env,
                                  capture_output=True, text=True, timeout=100)  # fmt: skip
        else:
            done = launch(run, env)
        assert done.returncode == 0, done.stdout + done.stderr
        jobs = submitted(done.stdout)
        assert list(jobs) == ["pack", "seal", "folds", "aggregate"]
        found[place] = records(slurm, jobs)
        clear(slurm, run)
    assert found["hostile"] == found["clean"]
    assert found["inside a job"] == found["clean"]
    assert found["clean"]["folds"]["Partition"] == "dev"
    assert found["clean"]["folds"]["TimeLimit"] == "00:20:00"


@pytest.mark.timeout(280)
@pytest.mark.parametrize("instants", [2, pytest.param(10, marks=pytest.mark.drill)])
def test_a_launcher_killed_anywhere_and_started_again_submits_everything_once(slurm, scans, tmp_path, instants):
    run = prepare(tmp_path, scans)
    started = time.monotonic()
    whole = launch(run, slurm.env)
    took_s = time.monotonic() - started
    assert took_s < 20, "10 s on a machine that does nothing else"
    stages_of = ours(slurm, run)
    assert len(stages_of) == 4, whole.stdout + whole.stderr
    clear(slurm, run)
    dice = random.Random(0)
    for _ in range(instants):
        command = [sys.executable, REPO / "jobs" / "launch_cv.py", "--resume", run, "--cluster", DEV, *LATER]
        launcher = subprocess.Popen(command, env=slurm.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    start_new_session=True)  # fmt: skip
        time.sleep(dice.uniform(0.3, 1) * took_s)  # where it is killed is left to chance
        os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()
        again = launch(run, slurm.env)
        assert again.returncode == 0, again.stderr
        assert ours(slurm, run) == stages_of, again.stdout
        clear(slurm, run)


@pytest.mark.timeout(120)
def test_a_job_that_was_taken_although_sbatch_failed_is_not_submitted_again(slurm, scans, tmp_path):
    run = prepare(tmp_path, scans)
    real = subprocess.run(["which", "sbatch"], env=slurm.env, capture_output=True, text=True).stdout.strip()
    env = put_on_path(
        tmp_path / "bin", slurm.env, sbatch=f'{real} "$@" > /dev/null; echo "Socket timed out" >&2; exit 1'
    )
    done = launch(run, env)
    assert done.returncode == 0, done.stderr
    assert len(ours(slurm, run)) == 4
    clear(slurm, run)


@pytest.mark.timeout(60)
def test_two_launchers_at_once_the_second_says_who_is_first(slurm, scans, tmp_path):
    run = prepare(tmp_path, scans)
    real = subprocess.run(["which", "sbatch"], env=slurm.env, capture_output=True, text=True).stdout.strip()
    slow = put_on_path(tmp_path / "bin", slurm.env, sbatch=f'touch {tmp_path}/asked; sleep 5; exec {real} "$@"')
    command = [sys.executable, REPO / "jobs" / "launch_cv.py", "--resume", run, "--cluster", DEV]
    first = subprocess.Popen(list(map(str, command)), env=slow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for((tmp_path / "asked").exists, 20, "the first launcher's sbatch")
        second = launch(run, slurm.env)
    finally:
        first.kill()
        first.communicate()
    assert second.returncode == 2
    assert re.search(rf"another launcher \(process {first.pid} of \w+ on \S+\)", second.stderr)
    clear(slurm, run)


def test_shards_share_array_tasks_where_the_array_would_be_too_large(tmp_path, scans, monkeypatch):
    monkeypatch.setattr("cac_hpc.cluster.needs.most_pack_tasks", lambda allowed, cfg: 2)
    run = RunPaths(prepare(tmp_path, scans, pack={"studies_per_shard": 4}))  # five shards
    cfg = stored_settings.load(run.config)
    pack = stages.tasks_of(cfg, run, "pack")
    size = sbatch_scripts.per_task(run, cfg, pack[0].stage)
    assert (len(pack), size) == (5, 3)
    assert [sbatch_scripts.array_index(task, size) for task in pack] == [0, 0, 0, 1, 1]
    for tasks, array in ((pack, "0-1"), (pack[4:], "1")):
        script = sbatch_scripts.write_script(run, cfg, pack[0].stage, tasks)
        assert f"#SBATCH --array={array}%256\n" in script.read_text(encoding="utf-8")
