"""Whose fault it is: a node's, which is left out for a while, or everybody's, which ends the job and blames no node."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from cac_hpc.cluster import nodes, preflight, restarts
from cac_hpc.cluster.restarts import Place
from cac_hpc.dataset import sealed, sealing
from cac_hpc.run import causes, ledger, stages, task_states
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES
from cac_hpc.settings import stored_settings
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.errors import InputError
from tests.support.drills import DEV
from tests.support.runs import job, job_here, prepare
from tests.support.standins import bare_run

FOLDS = next(stage for stage in STAGES if stage.name == "folds")


@pytest.fixture
def run(tmp_path, scans, packed):
    """A run with its folds ahead, and a dataset of its own outside of its folder."""
    shutil.copytree(packed, tmp_path / "dataset")
    made = RunPaths(prepare(tmp_path, scans, data={"packed_dir": str(tmp_path / "dataset")}))
    sealing.seal(made.root)
    return made


def look(run):
    return preflight.fault(run, stored_settings.load(run.config), FOLDS)


def spoil(path, how):
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[:-1])
    elif how == "folder":
        path.mkdir()
    elif how == "dangling":
        path.symlink_to("nowhere")
    elif how == "input/output error":
        path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    ("how", "said"),
    [("gone", "is missing"), ("cut", r"has \d+ bytes of \d+"), ("folder", "is a folder"), ("dangling", "is missing")],
)
def test_a_shard_that_is_wrong_for_everybody_is_no_fault_of_the_node(run, tmp_path, how, said):
    spoil(tmp_path / "dataset" / "shards" / "shard-00001.h5", how)
    again = "stage pack .*: python jobs/launch_cv.py --resume (RUN|/)"
    wanted = rf"/dataset: sealed, but shards/shard-00001\.h5 {said}; {again}"
    with pytest.raises(InputError, match=wanted):
        look(run)
    with pytest.raises(InputError, match=wanted):
        sealing.seal(run.root)


@pytest.mark.parametrize("gone", ["dataset.json", "dataset.json damaged"])
def test_a_seal_that_is_wrong_is_no_fault_of_the_node(run, tmp_path, gone):
    seal = tmp_path / "dataset" / "dataset.json"
    seal.write_text("[]", encoding="utf-8") if "damaged" in gone else seal.unlink()
    with pytest.raises(InputError, match=r"dataset\.json: (not there, wanted a sealed dataset|damaged)"):
        look(run)


def test_what_only_this_node_may_meet_is_its_fault(run, tmp_path):
    assert look(run) is None
    spoil(tmp_path / "dataset" / "shards" / "shard-00000.h5", "input/output error")
    assert "Input/output error" in look(run)
    (tmp_path / "dataset").rename(tmp_path / "not mounted")
    assert "cannot see" in look(run)
    assert "plan.json: No such file" in look(run)


def test_resume_packs_what_was_purged_as_it_was_sealed(run, tmp_path):
    shard = tmp_path / "dataset" / "shards" / "shard-00001.h5"
    was = shard.read_bytes()
    shard.unlink()
    states = {(state.stage, state.task): state.state for state in task_states.survey(run)}
    assert (states["pack", 0], states["pack", 1]) == ("done", "planned")
    told = job("launch_cv.py", "--resume", run.root, "--dry_run")
    assert "shards/shard-00001.h5 is missing (1 in all); packed again, as it was sealed" in told.stdout
    assert "pack: 1 task," in told.stdout
    cfg = stored_settings.load(run.config)
    waiting = stages.waiting(stages.plan_tasks(cfg, run, 2))
    assert [str(task) for task in waiting][:2] == ["pack 1", "seal"]
    assert job("pack.py", "--run", run.root).returncode == 0
    assert shard.read_bytes() == was
    sealed.check(run.dataset(cfg.data.packed_dir))


def say_nodes(slurm_words, count, partition="dev*"):
    slurm_words.says("sinfo", "".join(f"{partition}|n{number}|idle\n" for number in range(1, count + 1)))


def add(run, node, partition=None, **settings_of):
    return nodes.exclude(run, ClusterConfig(partition=partition, **settings_of), node, "has no GPU", "7")


@pytest.mark.parametrize(("count", "most"), [(1, 0), (2, 1), (4, 1), (8, 2), (40, 10)])
def test_at_most_a_quarter_of_the_nodes_is_left_out_and_never_all(slurm_words, tmp_path, count, most):
    run = bare_run(tmp_path / "run")
    say_nodes(slurm_words, count)
    for number in [*range(1, most + 1)] * 2:  # twice: known already
        assert add(run, f"n{number}") is None
    said = add(run, f"n{most + 1}")
    assert f"of {count} nodes that the job can use in partition default at most {most} may be" in said
    assert len(nodes.read_excluded(run)) == most


def test_jobs_that_find_bad_nodes_at_the_same_time_leave_out_no_more(slurm_words, tmp_path):
    run = bare_run(tmp_path / "run")
    say_nodes(slurm_words, 12)
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda number: add(run, f"n{number}"), range(1, 9)))
    assert said.count(None) == len(nodes.read_excluded(run)) == 3


@pytest.mark.parametrize("settings_of", [{"exclude": "n[2-4]"}, {"sbatch": {"nodelist": "n1"}}])
def test_the_one_node_that_the_settings_leave_is_never_left_out(slurm_words, tmp_path, settings_of):
    run = bare_run(tmp_path / "run")
    say_nodes(slurm_words, 4)
    slurm_words.says("scontrol", "n1\n" if "sbatch" in settings_of else "n2\nn3\nn4\n")
    assert "of 1 nodes that the job can use" in add(run, "n1", **settings_of)
    assert nodes.read_excluded(run) == []


def test_where_slurm_does_not_say_how_many_there_are_one_is_left_out(slurm_words, tmp_path):
    run = bare_run(tmp_path / "run")
    slurm_words.fails("sinfo")
    assert add(run, "n1", "dev") is None
    assert "of an unknown number of nodes" in add(run, "n2", "dev")


def test_at_the_limit_the_job_ends_with_the_cause_and_is_not_requeued(slurm_words, tmp_path, monkeypatch, scans):
    run = RunPaths(prepare(tmp_path, scans))
    say_nodes(slurm_words, 4)
    slurm_words.says("scontrol", "")
    ledger.append(run.excluded, node="n1", why="cannot see /scratch/x: No such file or directory", job="7_0")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    cfg = stored_settings.load(run.config)
    task = stages.tasks_of(cfg, run, "folds")[1]
    assert restarts.leave_node(run, cfg, [task], Place("7_1", 0, 1, "k"), "cannot see /scratch/x: gone") == 1
    last = ledger.read(run.ledger)[-1]
    assert last["event"] == "ended"
    assert str(last["cause"]).startswith("node n2 cannot see /scratch/x: gone; not left out for another: of 4 nodes")
    assert causes.command(last["cause"], run.root).startswith(f"rm {run.excluded}, then python jobs/launch_cv.py")
    assert [bad.node for bad in nodes.read_excluded(run)] == ["n1"]
    assert not slurm_words.calls("scontrol")


def test_what_was_left_out_long_ago_is_used_again_and_still_known(tmp_path):
    run = bare_run(tmp_path / "run")
    old = datetime.now(timezone.utc) - timedelta(hours=nodes.LAPSE_H, minutes=1)
    lines = [{"time": old.isoformat(), "node": "n1", "why": "x"}, {"node": "n2", "why": "of an old version"}]
    run.excluded.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    ledger.append(run.excluded, node="n3", why="has no GPU", job="7")
    assert [bad.node for bad in nodes.read_excluded(run)] == ["n2", "n3"]
    assert [bad["node"] for bad in task_states.bad_nodes(run)] == ["n1", "n2", "n3"]  # never in a report


@pytest.mark.timeout(180)
def test_status_and_resume_say_what_is_left_out_and_resume_refuses_where_nothing_is_left(slurm, scans, tmp_path):
    run = RunPaths(prepare(tmp_path, scans))
    asked = ("--cluster", DEV, "--cluster.kind", "slurm", "--dry_run")
    for number in range(1, 4):
        ledger.append(run.excluded, node=f"n{number}", why="cannot see /scratch/x: gone", job="7")
    for told in (
        job_here("status.py", run.root),
        job("launch_cv.py", "--resume", run.root, *asked, env=slurm.env),
    ):
        assert told.returncode == 0, told.stderr
        assert "node n3 is left out since 20" in told.stdout
        assert "for 24 h: it cannot see /scratch/x: gone" in told.stdout
        assert f"to use them again: rm {run.excluded}" in told.stdout
    ledger.append(run.excluded, node="n4", why="has no GPU", job="7")
    refused = job("launch_cv.py", "--resume", run.root, *asked, env=slurm.env)
    assert refused.returncode == 2
    assert "every node in service of partition dev is left out" in refused.stderr
    assert f"to use them again: rm {run.excluded}" in refused.stderr
    subprocess.run(["rm", run.excluded], check=True)
    assert job("launch_cv.py", "--resume", run.root, *asked, env=slurm.env).returncode == 0
