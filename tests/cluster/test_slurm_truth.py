"""What a real SLURM says of jobs that wait, are held, fail or die, and what the status view makes of it."""

import json

import pytest

from cac_hpc.run import ledger
from tests.support.runs import job
from tests.support.slurm import running_cluster
from tests.support.standins import NAME, bare_run, submitted
from tests.support.waiting import wait_for


def submit(slurm, run, stage, *options, task=None, script="sleep 300", started=False):
    """Submit a job as the launcher would, and tell the ledger."""
    name = NAME.replace("folds", stage)
    found = slurm.sbatch(script, f"--job-name={name}", f"--chdir={run.root}", "--mem=100M", *options)
    submitted(run, task, stage, found, started)
    return found


def states_of(slurm, run):
    shown = job("status.py", run.root, "--json", env=slurm.env)
    return {state["stage"]: state for state in json.loads(shown.stdout)}


def wait_for_state(slurm, run, stage, state):
    wait_for(lambda: states_of(slurm, run)[stage]["state"] == state, 40, f"{stage} {state}")
    return states_of(slurm, run)[stage]


@pytest.mark.timeout(200)
def test_held_suspended_and_never_satisfied_are_told_and_cancel_clears_the_queue(slurm, tmp_path):
    run = bare_run(tmp_path / "run", "seal", "aggregate")
    seal = submit(slurm, run, "seal", "--hold")
    found = states_of(slurm, run)["seal"]
    assert (found["state"], found["command"]) == ("held", f"scontrol release {seal}")
    slurm.run("scontrol", "release", seal)
    wait_for_state(slurm, run, "seal", "running")
    slurm.run("scontrol", "suspend", seal)
    found = wait_for_state(slurm, run, "seal", "suspended")
    assert found["command"] == f"scontrol resume {seal}"
    slurm.run("scontrol", "resume", seal)
    wait_for_state(slurm, run, "seal", "running")
    bad = slurm.sbatch("exit 1", "--mem=100M", f"--chdir={tmp_path}")
    submit(slurm, run, "aggregate", f"--dependency=afterok:{bad}")
    found = wait_for_state(slurm, run, "aggregate", "held")
    assert "never starts: what it waits for did not end well (SLURM: DependencyNeverSatisfied)" in found["reason"]
    assert f"python jobs/cancel.py {run.root}" in found["command"]
    done = job("cancel.py", run.root, env=slurm.env)
    assert done.returncode == 0, done.stderr
    assert f"cancelled job {seal}: cac-seal-0123abcd, running" in done.stdout
    wait_for(lambda: "0123abcd" not in slurm.run("squeue", "--noheader", "--format=%j"), 40, "an empty queue")
    assert states_of(slurm, run)["aggregate"]["state"] == "stopped"
    assert "cancelled" in wait_for_state(slurm, run, "seal", "stopped")["reason"]  # it never said that it had started
    assert "nothing of this run" in job("cancel.py", run.root, env=slurm.env).stdout


@pytest.mark.timeout(200)
def test_a_log_that_cannot_be_opened_a_node_that_lied_and_an_exit_code_are_words(slurm, tmp_path):
    run = bare_run(tmp_path / "run", "seal", "aggregate")
    (tmp_path / "file").touch()  # SLURM makes folders that are missing from 23.02 on, but none in a file
    submit(slurm, run, "seal", f"--output={tmp_path}/file/x.out", script="true")
    failed = wait_for_state(slurm, run, "seal", "failed")
    assert "the folder of its log is missing or cannot be written" in failed["reason"]
    assert f"make {run.root}/slurm writable on the nodes" in failed["command"]
    submit(slurm, run, "aggregate", script="srun false; true", started=True)
    gone = wait_for_state(slurm, run, "aggregate", "gone")
    wait_for(lambda: "COMPLETED" in (states_of(slurm, run)["aggregate"]["reason"]), 20, "accounting")
    gone = states_of(slurm, run)["aggregate"]
    assert "its result is not there (SLURM: COMPLETED 0:0; a step: FAILED 1:0)" in gone["reason"]


@pytest.mark.slurm
@pytest.mark.timeout(200)
def test_without_accounting_a_job_that_ended_is_gone_and_one_with_a_result_is_done(tmp_path_factory, tmp_path):
    with running_cluster(tmp_path_factory.mktemp("no_accounting"), "--accounting", "off") as slurm:
        run = bare_run(tmp_path / "run", "seal", "aggregate")
        submit(slurm, run, "seal", script="exit 3", started=True)
        submit(slurm, run, "aggregate", script="sleep 300")
        gone = wait_for_state(slurm, run, "seal", "gone")
        assert (
            gone["reason"]
            == "left the queue without a result; whether it failed or was cancelled: accounting does not answer"
        )
        wait_for_state(slurm, run, "aggregate", "running")
        (run.report).mkdir()
        (run.report / "report.json").write_text('{"status": "COMPLETE"}', encoding="utf-8")
        ledger.record(run.ledger, "aggregate", None, "ended", ok=True)
        assert states_of(slurm, run)["aggregate"]["state"] == "done"


@pytest.mark.slurm
@pytest.mark.drill
@pytest.mark.timeout(200)
def test_a_step_that_the_kernel_killed_for_memory_says_what_was_asked_and_reached(tmp_path_factory, tmp_path):
    with running_cluster(tmp_path_factory.mktemp("cgroup"), "--proctrack", "cgroup") as slurm:
        run = bare_run(tmp_path / "run", "seal")
        greedy = "srun python3 -c 'x = bytearray(10**9); import time; time.sleep(30)'"
        submit(slurm, run, "seal", script=greedy, started=True)
        wait_for_state(slurm, run, "seal", "failed")
        said = "out of memory: asked for 0.0977 GB"  # once accounting knows more of the job than its end
        wait_for(lambda: said in states_of(slurm, run)["seal"]["reason"], 40, said)
        failed = states_of(slurm, run)["seal"]
        assert failed["command"].endswith("--cluster.aggregate.mem_gb 0.195")
