"""A prediction as a SLURM array and a job that gathers: the same bytes as on this machine, and resumed."""

import os
import shutil

from cac_hpc.predict import bundle, parts, prediction
from cac_hpc.run import predict_commands
from cac_hpc.run.predict_commands import PredictConfig
from tests.support import bundles
from tests.support.drills import DEV
from tests.support.runs import REPO
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
    bundle.write(bundles.lesions(), tmp_path / "model")
    assert prediction.predict(asked(tmp_path, "here"), REPO) == 0
    out = tmp_path / "there"
    (out / "parts").mkdir(parents=True)
    for name in ("plan.json", "part-00000.json"):  # as if it had been stopped after the first part
        shutil.copy(tmp_path / "here" / "parts" / name, out / "parts")
    for name in parts.read_plan(tmp_path / "here").parts[0]:
        shutil.copytree(parts.study_folder(tmp_path / "here", name), parts.study_folder(out, name))
    cfg = asked(tmp_path, "there", cluster=str(DEV), shards=2)
    assert prediction.predict(cfg, REPO) == 0
    assert "1 task for 1 part," in capsys.readouterr().out
    assert prediction.predict(cfg, REPO) == 0
    assert "in the queue already" in capsys.readouterr().out
    wait_for(lambda: (out / "predict.json").exists(), 200, "the gathered results")
    assert content(out) == content(tmp_path / "here")


def test_a_job_is_given_the_same_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["b.zip", "in", "--out", "out", "--gate", "refuse", "--no_pictures", "--single", "--device", "cpu",
             "--format", "nifti"]  # fmt: skip
    cfg = predict_commands.parse_predict(None, given)
    again = predict_commands.parse_predict(None, predict_commands.arguments(cfg))
    paths = {name: str(tmp_path / name) for name in ("b.zip", "in", "out")}
    assert (again.bundle, again.folder, again.out) == tuple(paths.values())
    for name in ("gate", "pictures", "single", "device", "format"):
        assert getattr(again, name) == getattr(cfg, name) != getattr(predict_commands.PredictConfig, name, "auto")
