"""A training of a trial: stopped, failed, fenced, divided once more; and what it says of patients."""

import dataclasses
import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from cac_hpc.dataset import sealed, sealing, splits, stratification, trial_studies
from cac_hpc.machine.processes import Stopped
from cac_hpc.settings import composition, config, stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.train import TrainConfig
from cac_hpc.statistics import pooling
from cac_hpc.train import attempts, fencing, heartbeat, predictions, setup, steps, training
from cac_hpc.train.fencing import Fenced
from cac_hpc.trials import plan
from cac_hpc.trials.training import Part, session, train
from tests.support.trial_runs import TRAIN, server, table, trials_run

SLICES = {
    "model": {"filters": [4, 8], "dense": 8}, "train": {"epochs": 2, "batch_size": 20, "learning_rate": 0.003,
    "device": "cpu", "precision": "fp32", "checkpoint_minutes": 0.0},
}  # fmt: skip
OTHER = {"configurations": [{"train.learning_rate": 0.001}, {"train.learning_rate": 0.0001, "train.evaluate": "last"}]}


def leaking(run):
    """The run takes test patients for the choice, as the contrast run of another one does."""
    cfg = composition.changed(
        stored_settings.load(run.config), {"trials.select_on": "test", "trials.contrast_to": "other"}
    )
    run.config.write_text(config.to_yaml(cfg))
    run.splits.unlink()
    sealing.seal(run.root)
    return run


def test_a_training_that_was_stopped_at_every_step_ends_the_same(tmp_path, scans, packed, monkeypatch):
    tried = OTHER | {"pruning": {"first_epoch": 1}, "inner_folds": 2}
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole, stopped = (trials_run(tmp_path / name, scans, packed, tried, **SLICES) for name in ("whole", "stopped"))
    server(whole).serve(0)
    starts = 0
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "requested", lambda attempt: attempts.STOP if attempt.state.step else attempts.GO_ON)
        while not stopped.trials(0).choice.exists():
            starts += 1
            try:
                server(stopped).serve(0)
            except Stopped:
                continue
    assert starts > 4
    assert table(stopped) == table(whole)
    assert not list((stopped.root / "trials").rglob("*.pt"))
    assert not list((stopped.root / "trials").rglob("heartbeats"))


@pytest.mark.parametrize("kind", ["slices", "lesions"])
def test_a_contrast_run_says_of_test_patients_what_the_fold_does(tmp_path, scans, packed, bagged, kind):
    """So its figures are those of the report: patients are pooled as there."""
    sections = SLICES if kind == "slices" else {}
    run = leaking(trials_run(tmp_path, scans, packed if kind == "slices" else bagged, OTHER, **sections))
    for fold in (0, 1):
        assert server(run, fold).serve(0)
        assert run.trials(fold).choice.exists() == (fold == 1)  # one for all folds, when the last has been looked at
    assert not server(run, 0).serve(0)
    chosen = [json.loads(run.trials(fold).choice.read_text()) for fold in (0, 1)]
    assert chosen[0] == chosen[1]
    rung = plan.read_rung(run.trials(0).rung(chosen[0]["trial"], 0, 0))
    assert training.train_fold(run.root, 0) == 0
    label, predicted = of_report(run, kind)
    assert sorted(rung.patient) == sorted(splits.read_splits(run.splits)[0].test)
    assert dict(zip(rung.patient, rung.label, strict=True)) == label
    assert dict(zip(rung.patient, rung.predicted, strict=True)) == predicted


def of_report(run, kind):
    """Label and prediction of each patient that fold 0 tested, as the report has them: a study is a patient here."""
    files = run.fold(0)
    if kind == "lesions":
        found = pd.read_csv(files.scores, dtype={"study": str}).set_index("study")
        edges = stored_settings.load(run.config).labels.edges
        category = {study: sum(edge < score for edge in edges) for study, score in found["score"].items()}
        return found["label"].to_dict(), category
    found = predictions.read_predictions(files.predictions, 0, 6)
    studies = pd.DataFrame({"study": found.studies, "patient": found.studies})
    units = pooling.patient_units(pooling.slice_units({0: found}, studies, 6), pooling.pooling_rules(3)["mean"])
    names = np.sort(found.studies)[units.patient].tolist()
    return (dict(zip(names, values.tolist(), strict=True)) for values in (units.label, units.predicted))


def test_a_trial_whose_loss_is_no_number_fails_and_the_others_go_on(tmp_path, scans, bagged):
    tried = {"configurations": [{"train.learning_rate": 1e30}, {}], "seeds": 2}
    run = trials_run(tmp_path, scans, bagged, tried)
    serving = server(run)
    serving.serve(0)
    assert [trial.state for trial in serving._trials.trials] == ["failed", "done"]
    assert "loss" in serving._trials.trials[0].failure
    assert json.loads(run.trials(0).choice.read_text())["trial"] == 1
    first, second = (plan.read_rung(run.trials(0).rung(1, part, 0)) for part in (0, 1))
    assert first.patient == second.patient
    histories = [run.trials(0).part(1, part).history.read_bytes() for part in (0, 1)]
    assert histories[0] != histories[1]  # of two seeds


def test_a_trial_that_does_not_fit_into_the_memory_fails_and_the_others_go_on(tmp_path, scans, bagged):
    run = trials_run(tmp_path, scans, bagged, {"configurations": [{"model.hidden": [30_000_000, 30_000_000]}, {}]})
    serving = server(run)
    serving.serve(0)
    assert [trial.state for trial in serving._trials.trials] == ["failed", "done"]
    assert serving._trials.trials[0].failure == "it does not fit into the memory"


def test_what_was_replaced_publishes_nothing(tmp_path, scans, bagged, monkeypatch):
    monkeypatch.setattr(heartbeat, "PERIOD_S", 1000.0)
    run = trials_run(tmp_path, scans, bagged, {"configurations": [{}]})
    cfg, of_all, files = stored_settings.load(run.config), plan.read(run.trials_plan), run.trials(0).part(0, 0)
    old = fencing.take_after(files, 0, {})
    new = fencing.take_after(files, 1, {})
    with session(run, 0, 0, cfg, of_all) as at:
        with pytest.raises(Fenced):
            train(at, Part(0, 0, {}), 0, old, lambda rung: True)
        assert not list(files.root.glob("rung-*"))
        train(at, Part(0, 0, {}), 0, new, lambda rung: True)
        assert list(files.root.glob("rung-*"))
        train(at, Part(0, 0, {}), 0, old, lambda rung: True)  # it is there: nothing is done


def test_a_rung_that_was_damaged_is_predicted_again_by_the_weights_of_then(tmp_path, scans, bagged, monkeypatch):
    monkeypatch.setattr(heartbeat, "PERIOD_S", 1000.0)
    tried = {"configurations": [{}], "pruning": {"first_epoch": 1, "factor": 2}}
    run = trials_run(tmp_path, scans, bagged, tried)
    cfg, of_all, files = stored_settings.load(run.config), plan.read(run.trials_plan), run.trials(0).part(0, 0)
    paths_of = [run.trials(0).rung(0, 0, number) for number in (0, 1)]
    with session(run, 0, 0, cfg, of_all) as at:
        train(at, Part(0, 0, {}), 0, fencing.take(files, {}), lambda rung: rung < 1)
        first, second = map(plan.read_rung, paths_of)
        assert (first.epochs, second.epochs, len(files.checkpoints())) == (1, 2, 2)
        paths_of[0].write_text("{")
        train(at, Part(0, 0, {}), 0, fencing.take(files, {}), lambda rung: False)
    again = plan.read_rung(paths_of[0])
    assert dataclasses.replace(again, seconds=first.seconds) == first


def test_the_seal_gives_each_fold_the_labels_that_its_trials_may_see(tmp_path, scans, bagged):
    shutil.copytree(bagged, tmp_path / "dataset")
    run = trials_run(tmp_path, scans, tmp_path / "dataset", {"configurations": [{}], "inner_folds": 3})
    cfg, every = stored_settings.load(run.config), sealed.read_table(tmp_path / "dataset" / "studies.csv")
    for index, fold in enumerate(splits.read_splits(run.splits)):
        found = trial_studies.read(run, index, cfg)
        assert sorted(found.studies["study"]) == sorted([*fold.train, *fold.val])
        rows = every[every["study"].isin(found.studies["study"])].reset_index(drop=True)
        for name in ("study", "patient", "score", "category", "slices"):
            assert found.studies[name].equals(rows[name])
        assert Counter(study for one in found.divisions for study in one.val) == Counter([*fold.train, *fold.val])
        for one in found.divisions:
            assert not {*one.train} & {*one.val}
            assert {*one.train} | {*one.val} == {*fold.train, *fold.val}
            assert one.test == ()
    path = run.trials(0).studies
    path.write_text(path.read_text().replace("kfold", "x") + "\n")
    with pytest.raises(
        InputError, match=r"trials/fold-0/studies.csv: not as it was sealed; .*pack.py --run RUN --seal"
    ):
        trial_studies.read(run, 0, cfg)
    path.unlink()
    with pytest.raises(InputError, match=r"trials/fold-0/studies.csv: not there; .*pack.py --run RUN --seal"):
        trial_studies.read(run, 0, cfg)


def test_inner_divisions_keep_patients_apart_and_share_out_the_categories():
    patient = {f"s{number}": f"p{number // 2}" for number in range(60)}
    category = {study: int(owner[1:]) % 3 for study, owner in patient.items()}
    divisions = stratification.inner_divisions(patient, category, 5, 0, 0)
    for train_part, val in divisions:
        owners = [{patient[study] for study in part} for part in (train_part, val)]
        assert not owners[0] & owners[1]
        assert Counter(category[study] for study in val) == {0: 4, 1: 4, 2: 4}
    assert divisions == stratification.inner_divisions(patient, category, 5, 0, 0)
    assert divisions != stratification.inner_divisions(patient, category, 5, 0, 1)
    assert divisions != stratification.inner_divisions(patient, category, 5, 1, 0)
    with pytest.raises(InputError, match=r"trials.inner_folds is 31, but fold 2 has 30 patients"):
        stratification.inner_divisions(patient, category, 31, 0, 2)


def test_another_process_goes_on_in_the_precision_that_a_trial_was_begun_in(tmp_path, scans, bagged, monkeypatch):
    """What is faster on a CPU is measured, and not the same each time."""
    tried = {"configurations": [{}], "pruning": {"first_epoch": 1, "factor": 2}}
    run = trials_run(tmp_path, scans, bagged, tried, train=TRAIN | {"precision": "auto"})
    cfg, of_all, part, used = stored_settings.load(run.config), plan.read(run.trials_plan), Part(0, 0, {}), []
    step = steps.train_step

    def noted(*given):
        used.append(next(one.precision for one in given if isinstance(one, TrainConfig)))
        return step(*given)

    monkeypatch.setattr(steps, "train_step", noted)
    for rung, found in enumerate(["bf16", "fp32"]):
        monkeypatch.setattr(setup, "choose_precision", lambda *_, found=found: found)
        with session(run, 0, 0, cfg, of_all) as at:
            train(at, part, rung, fencing.take(run.trials(0).part(0, 0), {}), lambda _: False)
    assert plan.read_rung(run.trials(0).rung(0, 0, 1), {})
    assert set(used) == {"bf16"}
