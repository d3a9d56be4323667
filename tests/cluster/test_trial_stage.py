"""The stage trials on this machine: planned, run, looked at, gone on with; folds are trained with what they chose."""

import json

import pytest

from cac_hpc.run import ledger, settings
from cac_hpc.run.paths import RunPaths
from tests.support.runs import job, job_here
from tests.support.tried import FOLDS, tried_run


@pytest.fixture(scope="module")
def tried(tmp_path_factory, scans, bagged):
    """A run with trials that went through all stages on this machine, and what was said of it; read-only."""
    run = tried_run(tmp_path_factory.mktemp("tried"), scans, bagged)
    said = job("launch_cv.py", "--resume", run)
    assert said.returncode == 0, said.stdout + said.stderr
    return run, said.stdout


def test_folds_wait_for_the_trials_and_are_trained_with_what_they_chose(tried):
    run, said = tried
    assert "trials      8 in each of 2 folds" in " ".join(said.split("\n"))
    told = [(event["stage"], event["event"]) for event in ledger.read(RunPaths(run).ledger)]
    last_choice = max(index for index, one in enumerate(told) if one == ("trials", "chosen"))
    assert told.count(("trials", "chosen")) == FOLDS
    assert last_choice < told.index(("folds", "started"))
    for fold in range(FOLDS):
        files = RunPaths(run)
        chosen = json.loads(files.trials(fold).choice.read_text(encoding="utf-8"))
        facts = json.loads(files.fold(fold).metrics.read_text(encoding="utf-8"))
        assert facts["parameters"] == chosen["parameters"] == 145
        assert settings.load_fold(files, fold).model.hidden == (4,)
        assert settings.load(files.config).model.hidden == (8, 4)


def test_status_and_the_table_say_how_far_the_trials_are(tried):
    run, _ = tried
    shown = job_here("status.py", run)
    assert shown.returncode == 0
    assert "fold 0 has chosen trial 1, 0.621 by its validation patients, among 8 trials" in shown.stdout
    states = json.loads(job_here("status.py", run, "--json").stdout)
    assert {state["state"] for state in states if state["stage"] == "trials"} == {"done"}
    of_fold = next(state for state in states if (state["stage"], state["task"]) == ("folds", 1))
    assert of_fold["tried"] == {
        "number": 8, "done": 6, "ended": 2, "running": 0, "trial": 1, "figure": 0.75, "chosen": True
    }  # fmt: skip
    table = job_here("trials.py", run, "--fold", 1).stdout
    assert "1 *" in table
    assert "pruned, 2 of 2 better" in table
    assert max(map(len, table.splitlines())) <= 80
