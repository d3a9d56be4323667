"""A prediction as a SLURM array and a job that gathers: the same bytes as on this machine, and resumed."""

import dataclasses
import json
import os
import shutil

import pytest

from cac_hpc.cluster import ownership, schedulers, site_limits, slurm_commands
from cac_hpc.predict import bundle_files, parts, prediction, prediction_jobs, prediction_status
from cac_hpc.run import ledger
from cac_hpc.settings import predict_command
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.predict_command import PredictConfig
from tests.support import bundles
from tests.support.drills import DEV
from tests.support.runs import REPO, job_here
from tests.support.waiting import wait_for


def content(out):
    found = (path for path in sorted(out.rglob("*")) if path.is_file() and "slurm" not in path.parts)
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def asked(folder, name, **changes):
    of_all = {"bundle": folder / "model", "folder": folder / "studies", "out": folder / name}
    given = {key: str(value) for key, value in of_all.items()}
    return PredictConfig(**given, pictures=False, workers=1 if "cluster" not in changes else None, **changes)


def test_an_array_ends_with_the_same_bytes_as_this_machine_and_resumes(slurm, tmp_path, monkeypatch, capsys):
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm.env[name])
    studies = bundles.write_chests(tmp_path / "studies", "b")
    for name in map(str, range(parts.PER_PART)):  # one more than a part has
        shutil.copytree(studies / "b", studies / name, copy_function=os.link)
    (studies / "empty").mkdir()
    bundle_files.write(bundles.lesions(), tmp_path / "model")
    assert prediction.predict(asked(tmp_path, "here"), REPO) == 1
    out = tmp_path / "there"
    (out / "parts").mkdir(parents=True)
    for name in ("plan.json", "part-00000.json"):  # as if it had been stopped after the first part
        shutil.copy(tmp_path / "here" / "parts" / name, out / "parts")
    for name in parts.read_plan(tmp_path / "here").parts[0]:
        shutil.copytree(parts.study_folder(tmp_path / "here", name), parts.study_folder(out, name))
    cfg = asked(tmp_path, "there", cluster=str(DEV), shards=2)
    assert prediction.predict(cfg, REPO) == 0
    assert "1 task for 1 part," in capsys.readouterr().out
    view = prediction_status.PredictionView(out)
    assert {state.stage for state in view.states() if state.state in ("queued", "running")} >= {"gather"}
    assert prediction.predict(cfg, REPO) == 0
    assert "in the queue already" in capsys.readouterr().out
    wait_for(lambda: (out / "predict.json").exists(), 200, "the gathered results")
    assert content(out) == content(tmp_path / "here")
    last, name = view.states()[-1].job, ownership.job_name(prediction_jobs.jobs_of(out), "gather")
    wait_for(lambda: not slurm_commands.jobs_called(name)[last], 60, "the end of the last job")
    assert [(state.stage, state.task, state.state) for state in view.states()] == [
        ("predict", 0, "done"), ("predict", 1, "done"), ("gather", None, "done"),
    ]  # fmt: skip
    ended = job_here("status.py", out)
    assert (ended.returncode, "no prediction of 1 study; predictions.csv says why" in ended.stdout) == (1, True)
    asked_for = ["sacct", "--noheader", "-X", "--parsable2", f"--jobs={last}", "-oExitCode"]
    wait_for(lambda: slurm_commands.ask(asked_for).split() == ["1:0"], 60, "the exit code in the accounting, 1:0")


def begun(tmp_path, submitted=True):
    """A prediction of 20 studies in three parts, of which two tasks have done the first two."""
    out = tmp_path / "out"
    plan = parts.Plan("b", {}, {f"{number:02d}": "x" for number in range(20)})
    parts.settle(out, plan)
    jobs = prediction_jobs.jobs_of(out)
    if submitted:
        jobs.root.mkdir()
        for task in (0, 1):
            ledger.record(jobs.ledger, "predict", task, "submitted", shards=2)
        ledger.record(jobs.ledger, "gather", None, "submitted")
    for index in (0, 1):
        parts.write(out, index, plan, [])
        for study in plan.parts[index]:
            parts.page_path(out, study).parent.mkdir(parents=True)
            parts.page_path(out, study).touch()
    return out


def test_status_says_why_a_task_failed_and_what_is_missing(tmp_path):
    out = begun(tmp_path)
    cfg = PredictConfig(bundle="gone.zip", folder="in", out=str(out), shards=2, shard=0)
    with pytest.raises(InputError, match=r"gone.zip: not there"):
        prediction.predict(cfg, REPO)
    shown = job_here("status.py", out)
    assert shown.returncode == 1
    assert "predict 0: gone.zip: not there, wanted a bundle" in shown.stdout
    assert "2 of 3 parts are there, of 20 studies" in shown.stdout
    states = {(one["stage"], one["task"]): one for one in json.loads(job_here("status.py", out, "--json").stdout)}
    assert states["predict", 0]["state"] == "failed"
    assert states["predict", 1]["state"] == "done"
    jobs = prediction_jobs.jobs_of(out)
    ledger.record(jobs.ledger, "predict", 0, "submitted", job="7_0", shards=2)
    (jobs.root / "7_0_0_log.out").write_text("what it said\n", encoding="utf-8")
    assert job_here("status.py", out, "--log", "0").stdout.endswith("7_0_0_log.out:\nwhat it said\n")
    assert "--log 9: the run has no such predict or stage, wanted one of 0, 1, predict, gather" in (
        job_here("status.py", out, "--log", "9").stderr
    )


def test_without_jobs_status_counts_the_parts(tmp_path):
    shown = job_here("status.py", begun(tmp_path, submitted=False))
    assert shown.returncode == 0
    assert "2 of 3 parts are there, of 20 studies\nthe same jobs/predict.py command again does" in shown.stdout


def test_what_the_cluster_does_not_take_is_refused_before_anything_is_submitted(tmp_path, monkeypatch):
    monkeypatch.setattr(schedulers, "available_kind", lambda cluster: ("slurm", "as set"))
    limits = site_limits.Limits(partitions=("dev",), partition="dev", state="up", time_min=60, cpus=4, gpus=0)
    monkeypatch.setattr(site_limits, "read_once", lambda partition: limits)
    cfg, plan = asked(tmp_path, "out", cluster=str(DEV)), parts.Plan("b", {"device": "cuda"}, {"1": "x"})
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as refused:
        prediction_jobs.submitted(cfg, REPO, plan, [0])
    assert str(refused.value) == "--device cuda asks 1 GPUs of a node, wanted at most 0: partition dev has no more"
    tight = dataclasses.replace(limits, time_min=1, gpus=1)
    monkeypatch.setattr(site_limits, "read_once", lambda partition: tight)
    with pytest.raises(InputError) as refused:
        prediction_jobs.submitted(cfg, REPO, plan, [0])
    lines = str(refused.value).splitlines()
    assert [line.split(" is ")[0] for line in lines] == ["cluster.pack.time_min", "cluster.aggregate.time_min"]
    assert not list((tmp_path / "out").iterdir())


def test_a_job_is_given_the_same_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["b.zip", "in", "--out", "out", "--gate", "refuse", "--no_pictures", "--single", "--device", "cpu",
             "--format", "nifti"]  # fmt: skip
    cfg = predict_command.parse_predict(None, given)
    again = predict_command.parse_predict(None, predict_command.arguments(cfg))
    paths = {name: str(tmp_path / name) for name in ("b.zip", "in", "out")}
    assert (again.bundle, again.folder, again.out) == tuple(paths.values())
    for name in ("gate", "pictures", "single", "device", "format"):
        assert getattr(again, name) == getattr(cfg, name) != getattr(predict_command.PredictConfig, name, "auto")
