"""Another model takes an implementation and a line of the table: one of slices, one of whole studies."""

import json
import os
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch

from cac_hpc.dataset import sealing
from cac_hpc.machine.processes import RESUMABLE
from cac_hpc.report import aggregation
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import config, stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.split import SplitConfig
from cac_hpc.settings.train import TrainConfig
from cac_hpc.train import attempts, models, networks, slices, training
from cac_hpc.train.slices import RowTable
from tests.support.models import OTHERS
from tests.support.runs import NUM_SLICES, REPO, SIZE, SUPPORT, prepare, torchrun

BATCHES = {"epochs": 3, "batch_size": 3}  # 8 studies: the last batch has two


@pytest.fixture(autouse=True)
def with_others(monkeypatch):
    for name, spec in OTHERS.items():
        monkeypatch.setitem(models.MODELS, name, spec)


def sealed_run(folder, scans, packed, name, ranks=1, **train):
    run = prepare(
        folder, scans, data={"packed_dir": str(packed)}, model={"kind": name}, train=BATCHES | train,
        cluster={"ranks_per_node": ranks},
    )  # fmt: skip
    sealing.seal(run)
    return RunPaths(run)


def predictions(run, fold=0):
    return pd.read_csv(run.fold(fold).predictions, dtype={"study": str})


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_model_says_it_takes_is_what_it_has(name):
    spec, cfg = OTHERS[name], ModelConfig()
    model = spec.build(cfg, SIZE, 6)
    assert networks.num_parameters(model) == spec.num_parameters(cfg, SIZE, 6)
    layers = networks.layers(model, spec.unit, SIZE, 0.3)
    assert [layer["layer"] for layer in layers][-1] == "Linear"
    assert layers[-1]["output"] == [6]


@pytest.mark.timeout(120)
def test_another_model_of_slices_trains_and_predicts(tmp_path, scans, packed):
    run = sealed_run(tmp_path, scans, packed, "brightness")
    assert training.train_fold(run.root, 0) == 0
    assert len(predictions(run)) == 6 * NUM_SLICES
    facts = json.loads(run.fold(0).metrics.read_text(encoding="utf-8"))
    assert (facts["parameters"], facts["flops_per_slice"]) == (33 * 6, 2 * 32 * 6)


@pytest.mark.timeout(240)
def test_a_model_of_studies_gives_every_slice_its_studys_probabilities_and_a_report(
    tmp_path, scans, packed, no_pictures
):
    run = sealed_run(tmp_path, scans, packed, "study_mean")
    for fold in range(3):
        assert training.train_fold(run.root, fold) == 0
        found = predictions(run, fold)
        assert len(found) == 6 * NUM_SLICES
        assert set(found.groupby("study").size()) == {NUM_SLICES}
        assert (found.filter(regex=r"^p\d").groupby(found["study"]).nunique() == 1).all(axis=None)
        facts = json.loads(run.fold(fold).metrics.read_text(encoding="utf-8"))
        assert [facts[f"{part}_slices"] for part in ("train", "val", "test")] == [8 * 6, 4 * 6, 6 * 6]
    assert aggregation.aggregate(run.root)
    levels = json.loads(run.report_json.read_text(encoding="utf-8"))["levels"]
    of_slices, of_patients = (np.array(levels[level]["pooled"]["confusion_matrix"]) for level in ("slice", "patient"))
    assert of_patients.sum() == 18
    assert (of_slices == NUM_SLICES * of_patients).all()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("residency", ["host", "stream"])
def test_a_model_of_studies_that_was_stopped_ends_in_the_same_bytes(tmp_path, scans, packed, monkeypatch, residency):
    augment = {"rotation_deg": 10.0, "noise_hu": 5.0}
    ends = []
    for stops in (False, True):
        folder = tmp_path / str(stops)
        folder.mkdir()
        run = sealed_run(folder, scans, packed, "study_mean", residency=residency, augment=augment)
        with monkeypatch.context() as patch:
            patch.setattr(
                attempts, "requested", lambda attempt: attempts.STOP if attempt.state.step == 2 else attempts.GO_ON
            )
            assert not stops or training.train_fold(run.root, 0) == RESUMABLE
        assert training.train_fold(run.root, 0) == 0
        ends.append([path.read_bytes() for path in (run.fold(0).model, run.fold(0).predictions, run.fold(0).history)])
    assert ends[0] == ends[1]


@pytest.mark.timeout(240)
def test_two_ranks_take_the_same_steps_with_studies(tmp_path, scans, packed):
    tables = []
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
        run = sealed_run(tmp_path / str(ranks), scans, packed, "study_mean", ranks)
        job = torchrun(ranks, run.root, 0).index(str(REPO / "jobs" / "train_fold.py"))
        command = [*torchrun(ranks, run.root, 0)[:job], SUPPORT / "models.py", "--run", run.root, "--fold", "0"]
        env = os.environ | {"PYTHONPATH": str(REPO)}
        subprocess.run(command, env=env, timeout=100, check=True, capture_output=True)
        tables.append(predictions(run))
    pd.testing.assert_frame_equal(*(table[["study", "slice", "label"]] for table in tables))
    np.testing.assert_allclose(*(table.filter(regex=r"^p\d") for table in tables), atol=1e-4)


def test_a_name_that_is_in_no_table_is_refused_before_anything_is_written(tmp_path, scans):
    for section, key, choices in (
        ("model", "kind", "brightness or lesions or slices or study_mean"),
        ("train", "optimizer", "adam or adamw"),
        ("train", "schedule", "one_cycle or plateau"),
    ):
        with pytest.raises(InputError, match=rf"{section}\.{key} is 'resnet', but must be {choices}$"):
            prepare(tmp_path, scans, **{section: {key: "resnet"}})
        assert not (tmp_path / "run").exists()


def test_slices_of_one_study_are_not_divided_where_studies_are_predicted(tmp_path, scans):
    cfg = stored_settings.load(RunPaths(prepare(tmp_path, scans, model={"kind": "study_mean"})).config)
    split = SplitConfig(unit="slice", contrast_to="elsewhere")
    with pytest.raises(InputError, match=r"split\.unit is .slice., but must be patient, as model\.kind study_mean"):
        models.chosen(config.dataclasses.replace(cfg, split=split))


def test_units_of_a_table_worked_by_hand():
    table = RowTable(np.array(["b", "b", "a", "b", "a"]), np.array([1, 0, 1, 2, 0]), np.array([5, 5, 3, 5, 3]))
    found = slices.units(table, "study")
    assert (found.study.tolist(), found.label.tolist()) == (["a", "b"], [3, 5])
    assert found.rows(np.array([1, 0])).tolist() == [1, 0, 3, 4, 2]
    assert found.counts(np.array([1, 0])).tolist() == [3, 2]
    assert found.rows(np.array([], int)).tolist() == []
    assert found.of_rows(table.rows(["b", "a"])).tolist() == [0, 1]
    each = slices.units(table, "slice")
    assert each.rows(np.array([3, 1])).tolist() == each.of_rows(np.array([3, 1])).tolist() == [3, 1]
    assert torch.equal(networks.one_each("study", 2, torch.device("cpu")), torch.tensor([1, 1]))


def test_settings_that_older_runs_lack_are_written_only_where_they_are_not_the_default():
    assert "kind" not in config.plain(ModelConfig())
    assert config.plain(ModelConfig(kind="study_mean"))["kind"] == "study_mean"
    assert not {"optimizer", "schedule"} & set(config.plain(TrainConfig(epochs=1)))
