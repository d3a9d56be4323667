"""The trials of small runs, trained by real workers: whatever disturbs them must not show in what they leave behind."""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cac_hpc.machine import processes
from cac_hpc.machine.processes import RESUMABLE
from cac_hpc.run import fold_settings, ledger
from cac_hpc.settings import stored_settings
from cac_hpc.train import steps, training
from cac_hpc.trials import worker
from tests.support import bags
from tests.support.runs import SUPPORT, pack, prepare, write_scans
from tests.support.trial_runs import FOLDS, TRAIN, Workers, server, table, trials_run

OFTEN = {"checkpoint_minutes": 0.001}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, scans, bagged):
    """The same, when its folds have chosen."""
    run = trials_run(tmp_path_factory.mktemp("chosen"), scans, bagged)
    for fold in range(FOLDS):
        assert server(run, fold).serve(0)
    return run


def test_few_files_are_left_of_a_trial(undisturbed):
    for fold in range(FOLDS):
        for trial in undisturbed.trials(fold).root.glob("trial-*"):
            names = {path.name for path in trial.rglob("*") if path.is_file()}
            assert names <= {"history.csv", "0001.json", "rung-0.json", "rung-1.json", "rung-2.json"}


def test_how_far_a_fold_is_is_told_now_and_then(tmp_path, scans, bagged, monkeypatch):
    monkeypatch.setattr(worker, "TELL_S", 0.0)
    run = trials_run(tmp_path, scans, bagged, {"configurations": [{}, {"model.hidden": [2]}]})
    server(run).serve(0)
    told = [event for event in ledger.read(run.ledger) if event["stage"] == "trials" and event["event"] == "progress"]
    assert [(event["task"], event["fold"], event["done"], event["trials"]) for event in told[::len(told) - 1]] == [
        (0, 0, 0, 2), (0, 0, 2, 2)
    ]  # fmt: skip


def test_a_fold_is_trained_as_its_trial_was_and_tested_once(undisturbed):
    files, fold = undisturbed.trials(0), undisturbed.fold(0)
    chosen = json.loads(files.choice.read_text())
    assert fold_settings.load(undisturbed, 0) != stored_settings.load(undisturbed.config)
    assert training.train_fold(undisturbed.root, 0) == 0
    assert fold.history.read_bytes() == files.part(chosen["trial"], 0).history.read_bytes()


def test_kills_at_any_instant_end_in_the_same_table(tmp_path, scans, bagged, undisturbed):
    run = trials_run(tmp_path, scans, bagged, train=TRAIN | OFTEN)
    disturb(run, [20, 75, 140])
    found, wanted = table(run), table(undisturbed)
    assert sorted(found) == sorted(wanted)
    assert not list((run.root / "trials").rglob(".*.tmp"))
    assert [name for name in wanted if found[name] != wanted[name]] == []


def test_a_worker_opens_nothing_that_tells_labels_of_test_patients(tmp_path, scans, bagged, undisturbed):
    """Each of its starts reads what the trials of one fold may see; files with other labels need not even be there."""
    shutil.copytree(bagged, tmp_path / "dataset")
    run = trials_run(tmp_path, scans, tmp_path / "dataset")
    dataset = run.dataset(str(tmp_path / "dataset"))
    away = [path for path in (dataset.studies, dataset.plan, dataset.intake) if path.exists()]
    for path in away:
        path.rename(path.with_suffix(".away"))
    done, starts = watched(run, tmp_path / "opened")
    assert done.returncode == 0, done.stderr
    assert [strange(start, run, dataset) for start in starts] == [[]] * FOLDS
    assert {fold for start in starts for fold in folds_of(start, run)} == set(range(FOLDS))
    assert table(run) == table(undisturbed)
    leak = dataset.studies.with_suffix(".away").rename(dataset.studies)
    _, starts = watched(run, tmp_path / "leaking", CAC_LEAK=str(leak))
    assert [strange(start, run, dataset) for start in starts] == [[str(leak)]]


def asked_in_step(number, inner):
    """A training step; in that one SLURM asks the process to stop."""
    count = itertools.count(1)

    def step(*given):
        if next(count) == number:
            processes._heard.append("SIGTERM")
        return inner(*given)

    return step


def watched(run, opened, **environ):
    """A worker that trains all trials, and the files that each of its starts has opened."""
    shutil.copy(SUPPORT / "watched_worker.py", run.code / "jobs" / "run_trials.py")
    command = [sys.executable, run.code / "jobs" / "run_trials.py", "--run", run.root, "--worker", "0"]
    env = {**os.environ, "CAC_OPENED": str(opened), "PYTHONPATH": str(run.code), **environ}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    return done, [start.splitlines() for start in opened.read_text().split("START\n")[1:]]


def strange(start, run, dataset):
    """What a start has opened of run and dataset beside plans, settings, shards and the trials of one fold."""
    known = [run.config, run.ledger, run.splits, run.trials_plan, dataset.seal, *dataset.root.glob("shards/*.h5")]
    folders = [run.code, *(run.trials(fold).root for fold in folds_of(start, run)[:1])]
    own = [Path(path) for path in start if path.startswith((str(run.root), str(dataset.root)))]
    return [str(path) for path in own if path not in known and not any(map(path.is_relative_to, folders))]


def folds_of(start, run):
    """The folds whose labels a start has opened."""
    return [fold for fold in range(FOLDS) if str(run.trials(fold).studies) in start]


def disturb(run, instants):
    """Have two workers train it all, while one after the other is killed at these uses of a file."""
    deadline, instants = time.monotonic() + 120, list(instants)
    with Workers(run) as workers:
        alive = {}
        while not all(run.trials(fold).choice.exists() for fold in range(FOLDS)):
            assert time.monotonic() < deadline, "the trials do not end"
            for worker in range(2):
                if not processes.start_time(alive.get(worker, 0)):
                    alive[worker] = workers.start(worker, instants.pop(0) if instants else 0)
            time.sleep(0.02)
    assert not instants


@pytest.mark.drill
def test_twenty_kills_end_in_the_same_table(tmp_path, scans, bagged, undisturbed):
    instants, wanted = random.Random(4).choices(range(1, 400), k=20), table(undisturbed)
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        run = trials_run(tmp_path / str(number), scans, bagged, train=TRAIN | OFTEN)
        disturb(run, sorted(instants[4 * number : 4 * number + 4], reverse=True))
        assert table(run) == wanted


@pytest.mark.drill
def test_the_setting_that_matters_is_chosen_in_four_of_five_folds(tmp_path):
    """Sixty studies, whose calcium is told by where it lies; a learning rate of 1e-6 learns that not in time."""
    scans = write_scans(tmp_path / "scans", 60)
    (tmp_path / "packed").mkdir()
    pack(prepare(tmp_path / "packed", scans, data={"packed_dir": str(tmp_path / "dataset")}))
    found = bags.write_dataset(tmp_path / "dataset", tmp_path / "bagged")
    settings = {"train.learning_rate": [1e-6, 0.02], "train.weight_decay": [0.001, 0.01, 0.1]}
    tried = {"settings": settings, "inner_folds": 3, "pruning": {"first_epoch": 1}}
    train = TRAIN | {"steps": 200, "batch_size": 16}
    run = trials_run(tmp_path, scans, found, tried, split={"folds": 5}, train=train)
    for fold in range(5):
        assert server(run, fold).serve(0)
    choices = [json.loads(run.trials(fold).choice.read_text()) for fold in range(5)]
    assert sum(one["settings"]["train.learning_rate"] == 0.02 for one in choices) >= 4


def test_a_worker_that_is_asked_to_stop_says_so_and_goes_on_later(tmp_path, scans, bagged, monkeypatch, undisturbed):
    run = trials_run(tmp_path, scans, bagged)
    with monkeypatch.context() as patch:
        patch.setattr(processes, "_heard", [])
        patch.setattr(steps, "train_step", asked_in_step(30, steps.train_step))
        assert worker.work(run.root, 0) == RESUMABLE
    end = ledger.read(run.ledger)[-1]
    assert (end["stage"], end["event"], end["ok"], end["resumable"]) == ("trials", "ended", False, True)
    assert list((run.root / "trials").rglob("*.pt"))
    for fold in range(FOLDS):
        assert server(run, fold).serve(0)
    assert table(run) == table(undisturbed)
