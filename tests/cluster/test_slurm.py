"""The whole path on a real SLURM: submitted by the launcher, by hand, over two nodes; refused, failed, requeued."""

import json
import re
import time

import pytest

from cac_hpc.run.paths import RunPaths
from tests.support.runs import REPO, job, prepare, write_config
from tests.support.waiting import wait_for

DEV = REPO / "configs" / "cluster" / "dev.yaml"


def config_for_slurm(folder, scans, **sections):
    """The settings of ``finished_run``, for the development cluster."""
    cluster = {"kind": "slurm"} | sections.pop("cluster", {})
    return write_config(folder / "settings.yaml", scans, folder / "run", cluster=cluster, **sections)


def report_of(run):
    return json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))


def finished(slurm, jobs):
    """Whether SLURM's accounting has an end for all of these jobs."""
    lines = slurm.run("sacct", "-X", "-n", "-P", "-o", "jobid,state", "-j", ",".join(jobs)).splitlines()
    known = {line.split("|")[0].split("_")[0] for line in lines}
    return known == set(jobs) and not re.search("PENDING|RUNNING|COMPLETING|REQUEUED", "\n".join(lines))


def same_predictions(run, other, folds=3):
    for index in range(folds):
        mine, theirs = (RunPaths(root).fold(index).predictions.read_bytes() for root in (run, other))
        assert mine == theirs, f"fold {index}"


@pytest.mark.timeout(300)
def test_one_command_submits_the_graph_and_returns_and_the_report_equals_the_local_one(
    slurm, scans, finished_run, tmp_path
):
    started = time.monotonic()
    launched = job("launch_cv.py", "--config", config_for_slurm(tmp_path, scans), "--cluster", DEV, env=slurm.env)
    assert launched.returncode == 0, launched.stdout + launched.stderr
    assert time.monotonic() - started < 10
    jobs = dict(re.findall(r"submitted (\w+) +job (\d+)", launched.stdout))
    assert list(jobs) == ["pack", "seal", "folds", "aggregate"]
    again = job("launch_cv.py", "--resume", tmp_path / "run", env=slurm.env)
    assert "this run is in the queue already" in again.stdout
    wait_for(lambda: finished(slurm, list(jobs.values())), 200, "the end of all jobs")
    records = slurm.run(
        "sacct", "-X", "-n", "-P", "-o", "jobid,state,exitcode,start,end", "-j", ",".join(jobs.values())
    )
    found = {line.split("|")[0]: line.split("|")[1:] for line in records.splitlines()}
    tasks = {name: [key for key in found if key.split("_")[0] == number] for name, number in jobs.items()}
    assert {name: len(keys) for name, keys in tasks.items()} == {"pack": 2, "seal": 1, "folds": 3, "aggregate": 1}
    assert {(state, code) for state, code, *_ in found.values()} == {("COMPLETED", "0:0")}
    assert max(found[key][3] for key in tasks["folds"]) <= found[tasks["aggregate"][0]][2]
    same_predictions(tmp_path / "run", finished_run)
    found_report, wanted = report_of(tmp_path / "run"), report_of(finished_run)
    assert found_report["levels"] == wanted["levels"]
    assert {fold["ranks"] for fold in found_report["training"]} == {2}
    shown = job("status.py", tmp_path / "run", "--json", env=slurm.env)
    states = json.loads(shown.stdout)
    assert {state["state"] for state in states} == {"done"}
    assert {state["job"] for state in states if state["stage"] == "folds"} == set(tasks["folds"])


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_a_fold_over_two_nodes_gives_the_same_predictions(slurm, scans, finished_run, tmp_path):
    two_nodes = {"nodes_per_fold": 2, "ranks_per_node": 1, "partition": "dev", "array_parallelism": 1}
    config = config_for_slurm(tmp_path, scans, cluster=two_nodes | {"fold": {"time_min": 20, "mem_gb": 2}})
    launched = job("launch_cv.py", "--config", config, "--cluster.pack.mem_gb", 1, "--cluster.aggregate.mem_gb", 1,
                   "--wait", env=slurm.env)  # fmt: skip
    assert launched.returncode == 0, launched.stdout + launched.stderr
    folds = re.search(r"submitted folds +job (\d+)", launched.stdout)[1]
    wait_for(lambda: finished(slurm, [folds]), 30, "the accounting of the folds")
    nodes = slurm.run("sacct", "-X", "-n", "-P", "-o", "nnodes", "-j", folds).split()
    assert nodes == ["2", "2", "2"]
    same_predictions(tmp_path / "run", finished_run)


@pytest.mark.timeout(300)
def test_the_same_stages_submitted_by_hand_give_the_same_report(slurm, scans, finished_run, tmp_path):
    run = prepare(tmp_path, scans)

    def submit(script, *options):
        return slurm.run("sbatch", "--parsable", "--mem=1500M", f"--chdir={tmp_path}", *options,
                         f"{REPO}/slurm/{script}.sbatch", f"{run}")  # fmt: skip

    pack = submit("pack", "--array=0-1")
    seal = submit("pack", f"--dependency=afterok:{pack}")
    folds = submit("train_folds", "--array=0-2%1", f"--dependency=afterok:{seal}")
    report = submit("aggregate", f"--dependency=afterany:{folds}")
    wait_for(lambda: finished(slurm, [pack, seal, folds, report]), 240, "the end of all jobs")
    logs = "\n".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("cac-*.log"))
    assert (run / "report" / "report.json").exists(), logs
    same_predictions(run, finished_run)
    assert report_of(run)["levels"] == report_of(finished_run)["levels"]
    states = json.loads(job("status.py", run, "--json", env=slurm.env).stdout)
    assert {state["job"] for state in states if state["stage"] == "folds"} == {f"{folds}_{index}" for index in range(3)}


@pytest.mark.timeout(120)
def test_what_slurm_refuses_is_told_in_its_words_and_nothing_stays_in_the_queue(slurm, scans, tmp_path):
    config = config_for_slurm(tmp_path, scans)
    before = slurm.run("squeue", "--noheader", "--states=PENDING")
    unknown = ("--cluster.sbatch", '{"licenses": "moon:1"}')  # seen by SLURM alone
    refused = job("launch_cv.py", "--config", config, "--cluster", DEV, *unknown, env=slurm.env)
    assert refused.returncode == 2, refused.stdout
    assert "SLURM refused stage pack" in refused.stderr
    assert "Invalid license specification" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert slurm.run("squeue", "--noheader", "--states=PENDING") == before


@pytest.mark.timeout(60)
def test_what_cannot_work_on_this_cluster_is_refused_before_anything_is_written(slurm, scans, tmp_path):
    config = config_for_slurm(tmp_path, scans)
    asked = ("--cluster.fold.mem_gb", 9000, "--cluster.partition", "moon")
    refused = job("launch_cv.py", "--config", config, "--cluster", DEV, *asked, env=slurm.env)
    assert refused.returncode == 2
    assert re.search(r"cluster\.partition.*moon", refused.stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.drill
@pytest.mark.timeout(200)
def test_a_stage_that_fails_gives_slurm_its_exit_code_and_the_run_a_partial_report(slurm, scans, tmp_path):
    run = prepare(tmp_path, scans)
    (run / "folds").mkdir()
    (run / "folds" / "fold-1").write_text("in the way of the fold's folder", encoding="utf-8")
    launched = job(
        "launch_cv.py", "--resume", run, "--cluster", DEV, "--cluster.kind", "slurm", "--wait", env=slurm.env
    )
    assert launched.returncode == 1, launched.stdout + launched.stderr
    jobs = dict(re.findall(r"submitted (\w+) +job (\d+)", launched.stdout))
    wait_for(lambda: finished(slurm, list(jobs.values())), 30, "the accounting of all jobs")
    states = slurm.run("sacct", "-X", "-n", "-P", "-o", "state,exitcode", "-j", jobs["folds"]).splitlines()
    assert states == ["COMPLETED|0:0", "FAILED|1:0", "COMPLETED|0:0"]
    assert slurm.run("sacct", "-X", "-n", "-P", "-o", "state,exitcode", "-j", jobs["aggregate"]) == "FAILED|1:0"
    found = report_of(run)
    assert (found["status"], [fold["fold"] for fold in found["missing_folds"]]) == ("PARTIAL", [1])


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_a_fold_that_slurm_warns_is_requeued_and_ends_with_the_same_predictions(slurm, scans, tmp_path):
    def launched(name, epochs):
        folder = tmp_path / name
        folder.mkdir()
        config = config_for_slurm(folder, scans, train={"epochs": epochs})
        said = job("launch_cv.py", "--config", config, "--cluster", DEV, "--cluster.fold.time_min", 15, env=slurm.env)
        return folder / "run", re.search(r"submitted folds +job (\d+)", said.stdout)[1]

    warned, folds = launched("warned", 60)
    wait_for(RunPaths(warned).fold(0).history.exists, 90, "the first epoch")
    slurm.run("scancel", "--signal=USR2", f"{folds}_0")
    alone, _ = launched("alone", 60)
    for run in (warned, alone):
        wait_for((run / "report" / "report.json").exists, 200, f"the report of {run}")
    states = json.loads(job("status.py", warned, "--json", env=slurm.env).stdout)
    assert next(state["attempt"] for state in states if (state["stage"], state["task"]) == ("folds", 0)) >= 1
    same_predictions(warned, alone)
