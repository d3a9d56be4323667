"""What a real SLURM refuses, holds and gives, beside what is said of it before anything is submitted."""

import math
import os
import pwd
import re
import subprocess

import pytest

from cac_hpc.cluster import feasibility, needs, pending, site_limits, slurm_commands
from cac_hpc.cluster.task_status import RunStates
from tests.support.runs import job, write_config
from tests.support.settings import changed
from tests.support.site_answers import resources
from tests.support.slurm import running_cluster
from tests.support.standins import NAME, bare_run, submitted
from tests.support.waiting import wait_for

REAL = {  # QOS of a real cluster, each with a limit that one job of two cores, GPUs or nodes is over
    "of_job": "MaxTRESPerJob=mem=1000M",
    "of_node": "MaxTRESPerNode=cpu=1",
    "of_user": "MaxTRESPerUser=gres/gpu=1",
    "of_group": "GrpTRES=cpu=1",
    "of_nodes": "MaxTRESPerUser=node=1",
}


@pytest.fixture(scope="module")
def enforcing(tmp_path_factory):
    """A real cluster that holds its users to accounts and QOS; the user has accounts heart and lung.

    Partition closed is for account lung alone, and gives 1000 MB per CPU. QOS tiny allows one core per job.
    """
    folder = tmp_path_factory.mktemp("enforcing")
    user = pwd.getpwuid(os.getuid()).pw_name
    with running_cluster(folder, "--set", "AccountingStorageEnforce=associations,limits,qos") as found:
        for words in (
            "add account heart lung",
            "add qos tiny MaxTRESPerJob=cpu=1",
            "add qos strict MaxTRESPerJob=cpu=1,mem=1000M,gres/gpu=1 MaxWall=5 MaxSubmitJobs=4 flags=DenyOnLimit",
            *(f"add qos {name} {limit}" for name, limit in REAL.items()),
            f"add user {user} account=heart,lung",
            f"modify user {user} set qos=normal,tiny,strict,{','.join(REAL)} defaultqos=normal",
        ):
            found.run("sacctmgr", "-i", *words.split())
        found.run("scontrol", "create", "partition=closed", "Nodes=n[1-4]", "AllowAccounts=lung", "MaxMemPerCPU=1000")
        yield found


@pytest.fixture
def closed(enforcing, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", enforcing.env["SLURM_CONF"])
    yield enforcing
    enforcing.run("scancel", "--partition=closed,dev")


@pytest.mark.timeout(200)
def test_a_real_partition_for_others_is_refused_before_and_held_after_submitting(closed, tmp_path, cfg):
    found = site_limits.read("closed")
    asked = changed(cfg, partition="closed", account="heart", fold=resources(mem_gb=1), pack=resources(mem_gb=0.5),
                    aggregate=resources(mem_gb=0.5))  # fmt: skip
    refused = (
        "which partition closed does not take (AllowAccounts=lung); wanted lung, or another cluster.partition "
        "(dev, urgent take it)"
    )
    assert feasibility.faults(found, asked) == [f"cluster.account is 'heart', {refused}"]
    assert feasibility.faults(found, changed(asked, account="lung")) == []
    assert feasibility.faults(found, changed(asked, account=None))[0].startswith("cluster.account is not set, so '")
    run = bare_run(tmp_path / "run")
    names = ("--partition=closed", "--mem=100M", f"--job-name={NAME}", f"--chdir={tmp_path}")
    submitted(run, job=closed.sbatch("true", "--account=heart", *names), started=False)
    more = (f"--job-name={NAME}", f"--chdir={tmp_path}", "--account=heart", "--qos=tiny", "--cpus-per-task=2")
    submitted(run, 1, job=closed.sbatch("true", *more), started=False)
    wait_for(lambda: {state.state for state in RunStates(run).states()} == {"held"}, 30, "two verdicts")
    account, cores = RunStates(run).states()
    helps = f"python jobs/cancel.py {run.root} && python jobs/launch_cv.py --resume {run.root}"
    assert re.match(r"never starts: its (account may not use|partition does not take its account)", account.reason)
    assert account.command == f"{helps} --cluster.account OTHER"
    assert cores.reason == "never starts: it asks for more cores than its QOS allows (SLURM: QOSMaxCpuPerJobLimit)"
    assert cores.command == f"{helps} --cluster.cpus_per_rank LESS"
    ran = closed.sbatch("true", "--account=lung", *names)
    wait_for(lambda: slurm_commands.state(ran) == "COMPLETED", 60, "the end of a job of the other account")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("per_cpu", [False, True])
@pytest.mark.parametrize(("cpus", "mem_gb"), [(1, 0.5), (1, 2.5), (2, 3.5), (3, 3.5)])
def test_a_real_slurm_gives_as_many_cores_as_are_told(closed, cfg, cpus, mem_gb, per_cpu):
    asked = changed(
        cfg, partition="closed", account="lung", mem_per_cpu=per_cpu, pack=resources(mem_gb=mem_gb, cpus=cpus)
    )
    wanted = needs.cpus_for_memory(site_limits.read("closed"), asked, "pack")
    mem_mb = round(mem_gb * 1024)
    memory = f"--mem-per-cpu={math.ceil(mem_mb / cpus)}M" if per_cpu else f"--mem={mem_mb}M"
    options = ("--partition=closed", "--account=lung", f"--cpus-per-task={cpus}", memory, "--output=/dev/null")
    done = subprocess.run(["sbatch", "--parsable", *options, "--wrap=true"], env=closed.env, cwd=closed.folder,
                          capture_output=True, text=True)  # fmt: skip
    if wanted > 4:  # more than a node has
        assert done.returncode != 0
        assert any(f"asks {wanted} CPUs" in fault for fault in feasibility.faults(site_limits.read("closed"), asked))
        return
    granted = slurm_commands.granted(done.stdout.strip())
    assert int(granted["MinCPUsNode"]) == wanted
    told = needs.cpu_difference(granted, asked, "pack")
    assert (told is None) == (wanted == cpus)
    assert told is None or told.startswith(f"{wanted} CPUs of a node, {cpus} were asked for")


@pytest.mark.timeout(200)
def test_a_dry_run_refuses_the_account_in_one_line_and_tells_what_memory_costs(closed, scans, tmp_path):
    run = tmp_path / "run"
    config = write_config(tmp_path / "settings.yaml", scans, run, cluster={"kind": "slurm", "partition": "closed"})
    small = ("--cluster.fold.mem_gb", 1.9, "--cluster.aggregate.mem_gb", 0.9, "--cluster.pack.mem_gb", 2.5)
    asked = ("--config", config, "--dry_run", *small)
    refused = job("launch_cv.py", *asked, "--cluster.account", "heart", env=closed.env)
    assert (refused.returncode, run.exists()) == (2, False)
    assert refused.stderr.strip().endswith("wanted lung, or another cluster.partition (dev, urgent take it)")
    assert len(refused.stderr.splitlines()) == 1
    told = job("launch_cv.py", *asked, "--cluster.account", "lung", env=closed.env)
    assert told.returncode == 0, told.stderr
    assert "note: cluster.pack.mem_gb is 2.5, more than goes with 1 CPUs (MaxMemPerCPU): SLURM gives" in told.stdout
    assert "use them with cluster.pack.cpus 3" in told.stdout


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("qos", "values", "options", "limit", "cure"),
    [
        ("of_job", {}, ("--mem=1536M",), "mem_gb is 1.5, wanted at most 0.9 for a job: MaxTRESPerJob mem=1000M",
         "--cluster.fold.mem_gb 0.9"),
        ("of_node", {}, ("-c2",), "ranks_per_node x cpus_per_rank asks 2 CPUs of a node, wanted at most 1: MaxTRESPerN",
         "--cluster.ranks_per_node 1"),
        ("of_node", {"ranks_per_node": 1, "cpus_per_rank": 2}, ("-c2",), "asks 2 CPUs of a node, wanted at most 1",
         "--cluster.cpus_per_rank 1"),
        ("of_group", {"ranks_per_node": 1, "nodes_per_fold": 2}, ("-N2",), "asks 2 CPUs of a job, wanted at most 1: Gr",
         "--cluster.qos normal"),
        ("of_user", {}, ("--gres=gpu:2",), "ranks_per_node asks 2 GPUs of a job, wanted at most 1: MaxTRESPerUser gres",
         "--cluster.ranks_per_node 1"),
        ("of_nodes", {"nodes_per_fold": 2}, ("-N2",), "nodes_per_fold asks 2 nodes of a job, wanted at most 1: MaxTRES",
         "--cluster.nodes_per_fold 1"),
    ],
)  # fmt: skip
def test_a_real_job_alone_over_a_limit_is_refused_before_and_held_after(
    closed, scans, tmp_path, qos, values, options, limit, cure
):
    run = bare_run(tmp_path / "run")
    small = {"time_min": 10, "mem_gb": 0.5}
    cluster = {"kind": "slurm", "partition": "dev", "qos": qos, "account": "heart", "pack": small, "aggregate": small,
               "fold": {"time_min": 10, "mem_gb": 1.5 if qos == "of_job" else 0.5}, **values}  # fmt: skip
    device = {"device": "cuda"} if qos == "of_user" else {}
    config = write_config(run.config, scans, tmp_path / "new", cluster=cluster, train=device)
    refused = job("launch_cv.py", "--config", config, "--dry_run", env=closed.env)
    assert (refused.returncode, (tmp_path / "new").exists()) == (2, False), refused.stdout
    assert f"{limit}" in refused.stderr
    assert f"of QOS {qos}; or cluster.qos normal or " in refused.stderr
    names = ("--partition=dev", "--account=heart", f"--qos={qos}", f"--job-name={NAME}", f"--chdir={tmp_path}")
    submitted(run, job=closed.sbatch("true", *names, "--mem=100M", *options), started=False)
    wait_for(lambda: RunStates(run).states()[0].state == "held", 30, "a verdict")
    found = RunStates(run).states()[0]
    assert found.reason.startswith("never starts: cluster.")
    assert limit in found.reason
    assert found.command.endswith(f"launch_cv.py --resume {run.root} {cure}")


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("options", "settings"),
    [(("-c2",), "cluster.ranks_per_node, cpus_per_rank and cpus of the stage"),
     (("--mem=1100M",), "mem_gb of the stage"),
     (("--gres=gpu:2",), "cluster.ranks_per_node, gpus_per_node and gres"), (("--time=9",), "time_min of the stage"),
     (("--array=0-5",), "cluster.folds_per_node, with which there are fewer tasks,")],
)  # fmt: skip
def test_what_a_real_slurm_refuses_for_a_qos_names_the_qos_and_the_setting(closed, tmp_path, options, settings):
    command = ["sbatch", "--account=heart", "--qos=strict", "--mem=100M", "--time=1", *options, "--wrap=true"]
    said = subprocess.run(command, env=closed.env, cwd=tmp_path, capture_output=True, text=True).stderr
    assert pending.settings_of(said) == f": look at {settings} and cluster.qos", said


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("off", "on", "note"),
    [
        ("partition=urgent state=down", "partition=urgent state=up", "partition urgent is down: jobs are taken"),
        ("node=n[1-4] state=drain reason=disk", "node=n[1-4] state=resume",
         "no node of partition urgent is in service (4 drained): jobs are taken, and wait; sinfo -R says why"),
    ],
)  # fmt: skip
def test_a_real_partition_out_of_service_is_a_note_of_the_dry_run(closed, scans, tmp_path, off, on, note):
    small = {stage: {"time_min": 10, "mem_gb": 0.5} for stage in ("pack", "fold", "aggregate")}
    cluster = {"kind": "slurm", "partition": "urgent", "account": "heart", **small}
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", cluster=cluster)
    closed.run("scontrol", "update", *off.split())
    try:
        done = job("launch_cv.py", "--config", config, "--dry_run", env=closed.env)
    finally:
        closed.run("scontrol", "update", *on.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"note: {note}" in done.stdout
    assert "look at" not in done.stdout
