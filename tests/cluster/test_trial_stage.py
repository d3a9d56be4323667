"""The stage trials on this machine: planned, run, looked at, gone on with; folds are trained with what they chose."""

import json
import shutil

import pytest
import torch

from cac_hpc.predict import bundle_files, ensemble
from cac_hpc.run import fold_settings, ledger
from cac_hpc.run.paths import RunPaths
from cac_hpc.train import checkpoint
from tests.support import bags
from tests.support.runs import job, job_here
from tests.support.trial_runs import FOLDS, trials_run


@pytest.fixture(scope="module")
def tried(tmp_path_factory, scans, bagged):
    """A run with trials that went through all stages on this machine, and what was said of it; read-only."""
    report = {"figure_dpi": 50, "draws": 200}
    split = {"folds": FOLDS, "seed": 2}  # folds that choose otherwise
    run = trials_run(tmp_path_factory.mktemp("tried"), scans, bagged, report=report, split=split)
    said = job("launch_cv.py", "--resume", run.root)
    assert said.returncode == 0, said.stdout + said.stderr
    return run, said.stdout


def choice(run, fold):
    return json.loads(run.trials(fold).choice.read_text(encoding="utf-8"))


def hidden(run):
    """model.hidden as each fold chose it."""
    return [tuple(choice(run, fold)["settings"]["model.hidden"]) for fold in range(FOLDS)]


def test_folds_wait_for_the_trials_and_are_trained_with_what_they_chose(tried):
    run, said = tried
    assert "6 in each of 2 folds" in said
    told = [(event["stage"], event["event"]) for event in ledger.read(run.ledger)]
    assert told.count(("trials", "chosen")) == FOLDS
    last_choice = max(index for index, one in enumerate(told) if one == ("trials", "chosen"))
    assert last_choice < told.index(("folds", "started"))
    assert hidden(run) == [(4,), (8, 4)]  # else the tests below would show less
    for fold in range(FOLDS):
        facts = json.loads(run.fold(fold).metrics.read_text(encoding="utf-8"))
        assert facts["parameters"] == choice(run, fold)["parameters"]
        of_fold = fold_settings.load(run, fold)
        assert of_fold.train.learning_rate == choice(run, fold)["settings"]["train.learning_rate"]
    assert json.loads(run.report_json.read_text(encoding="utf-8"))["status"] == "COMPLETE"


def test_status_and_the_table_say_how_far_the_trials_are(tried):
    run, _ = tried
    shown, first, second = job_here("status.py", run.root), choice(run, 0), choice(run, 1)
    assert shown.returncode == 0
    said = f"fold 0 has chosen trial {first['trial']}, {first['figure']:.3f} by its validation patients, among 6 trials"
    assert said in shown.stdout
    states = json.loads(job_here("status.py", run.root, "--json").stdout)
    assert {state["state"] for state in states if state["stage"] == "trials"} == {"done"}
    of_fold = next(state for state in states if (state["stage"], state["task"]) == ("folds", 1))
    counts = {"number": 6, "done": second["candidates"], "ended": 6 - second["candidates"], "running": 0}
    assert of_fold["tried"] == counts | {"trial": second["trial"], "figure": second["figure"], "chosen": True}
    table = job_here("trials.py", run.root, "--fold", 1).stdout
    assert f"\n {second['trial']} *" in table
    assert "pruned, behind 1 of 1" in " ".join(table.split())
    assert f"hidden={','.join(map(str, second['settings']['model.hidden']))}" in table
    assert max(map(len, table.splitlines())) <= 80
    every = json.loads(job_here("trials.py", run.root, "--json").stdout)["folds"]
    assert [one["trial"] for one in every[0]["trials"]] == list(range(6))
    assert {one["state"] for one in every[0]["trials"]} == {"done", "pruned"}


def test_trials_at_work_are_counted_and_the_best_so_far_is_named(tried, tmp_path):
    run = RunPaths(shutil.copytree(tried[0].root, tmp_path / "run"))
    every = json.loads(job_here("trials.py", run.root, "--fold", 0, "--json").stdout)["folds"][0]["trials"]
    run.trials(0).choice.unlink()
    shutil.rmtree(run.trials(0).part(5, 0).root)
    left = {one["trial"]: one["figure"] for one in every[:5] if one["state"] == "done"}
    best = max(left, key=left.get)
    counts = f"{len(left)} of 6 trials done, {5 - len(left)} ended early, 1 begun"
    wanted = f"fold 0: {counts}; best trial {best}, {left[best]:.3f}"
    assert wanted in job_here("status.py", run.root).stdout


def test_a_bundle_has_the_network_that_each_fold_chose(tried, tmp_path):
    run = tried[0]
    said = job_here("export.py", run.root, "--out", tmp_path / "bundle")
    assert said.returncode == 0, said.stderr
    found = bundle_files.read(tmp_path / "bundle")
    assert [found.of_fold(fold).model.hidden for fold in range(FOLDS)] == hidden(run)
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "Each fold chose the settings of its network among trials" in card
    asked = ensemble.of_bundle(found)
    for fold, network in enumerate(asked.models):
        trained = checkpoint.load(run.fold(fold).model)["weights"]
        assert all(torch.equal(network.state_dict()[name], one) for name, one in trained.items())
    answer = ensemble.answer_lesions(asked, bags.make([150.0, 20.0], [0.9, 0.2], [10.0, 0.0]))
    assert len(answer.fold_scores) == FOLDS


def test_a_run_goes_on_with_the_trials_that_it_has_and_with_no_others(tried, tmp_path):
    run = RunPaths(shutil.copytree(tried[0].root, tmp_path / "run"))
    other = job_here("launch_cv.py", "--resume", run.root, "--trials.number", 5)
    assert other.returncode == 2
    assert "trials.number: 6 / 5" in other.stderr
    run.trials_plan.write_text("{", encoding="utf-8")
    damaged = job_here("launch_cv.py", "--resume", run.root)
    assert damaged.returncode == 2
    assert "plan.json: damaged; delete it" in damaged.stderr
    run.trials_plan.unlink()
    before = run.trials(0).choice.read_bytes()
    run.trials(0).choice.unlink()
    again = job("launch_cv.py", "--resume", run.root)
    assert again.returncode == 0, again.stdout + again.stderr
    assert run.trials(0).choice.read_bytes() == before
    assert run.trials_plan.read_bytes() == tried[0].trials_plan.read_bytes()
