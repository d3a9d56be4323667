"""A prediction as a SLURM array and a job that gathers: the same bytes as on this machine, and resumed."""

import os
import shutil

from cac_hpc.predict import bundle, parts
from cac_hpc.run import predict_commands
from tests.support import bundles
from tests.support.drills import DEV
from tests.support.runs import job
from tests.support.waiting import wait_for


def content(out):
    found = (path for path in sorted(out.rglob("*")) if path.is_file() and "slurm" not in path.parts)
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def test_an_array_ends_with_the_same_bytes_as_this_machine(slurm, tmp_path):
    studies = bundles.write_chests(tmp_path / "studies", "b")
    for name in map(str, range(parts.PER_PART)):  # one more than a part has
        shutil.copytree(studies / "b", studies / name, copy_function=os.link)
    bundle.write(bundles.lesions(), tmp_path / "model")
    given = (tmp_path / "model", studies, "--no_pictures")
    said = job("predict.py", *given, "--out", tmp_path / "here", "--workers", 2)
    assert said.returncode == 0, said.stderr
    asked = ("predict.py", *given, "--out", tmp_path / "there", "--cluster", DEV, "--shards", 2)
    said = job(*asked, env=slurm.env)
    assert said.returncode == 0, said.stderr
    assert "2 tasks for 2 parts" in said.stdout
    assert "in the queue already" in job(*asked, env=slurm.env).stdout
    wait_for(lambda: (tmp_path / "there" / "predict.json").exists(), 120, "the gathered results")
    assert content(tmp_path / "there") == content(tmp_path / "here")
    parts.part_path(tmp_path / "there", 1).unlink()
    (tmp_path / "there" / "predict.json").unlink()
    wait_for(lambda: not slurm.run("squeue", "--noheader"), 60, "an empty queue")
    assert "1 task for 1 part," in job(*asked, env=slurm.env).stdout
    wait_for(lambda: (tmp_path / "there" / "predict.json").exists(), 120, "the gathered results")
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_a_job_is_given_the_same_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["b.zip", "in", "--out", "out", "--gate", "refuse", "--no_pictures", "--single", "--device", "cpu"]
    cfg = predict_commands.parse_predict(None, given)
    again = predict_commands.parse_predict(None, predict_commands.arguments(cfg))
    paths = {name: str(tmp_path / name) for name in ("b.zip", "in", "out")}
    assert (again.bundle, again.folder, again.out) == tuple(paths.values())
    for name in ("gate", "pictures", "single", "device"):
        assert getattr(again, name) == getattr(cfg, name) != getattr(predict_commands.PredictConfig, name, "auto")
