"""The trials of small runs, trained by real workers: whatever disturbs them must not show in what they leave behind."""

import json
import os
import random
import shutil
import time

import pytest

from cac_hpc.machine import processes
from cac_hpc.run import ledger, settings
from cac_hpc.train import training
from tests.support.trial_runs import FOLDS, Workers, server, table, trials_run


@pytest.fixture(scope="module")
def ready(tmp_path_factory, scans, bagged):
    """A run whose trials are ready to be trained, to be copied."""
    return trials_run(tmp_path_factory.mktemp("trials"), scans, bagged)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, scans, bagged):
    """The same, when its folds have chosen."""
    run = trials_run(tmp_path_factory.mktemp("chosen"), scans, bagged)
    for fold in range(FOLDS):
        assert server(run, fold).serve(0)
    return run


def test_a_fold_is_trained_as_its_trial_was_and_tested_once(undisturbed):
    files, fold = undisturbed.trials(0), undisturbed.fold(0)
    chosen = json.loads(files.choice.read_text())
    assert settings.load_fold(undisturbed, 0) != settings.load(undisturbed.config)
    assert training.train_fold(undisturbed.root, 0) == 0
    assert fold.history.read_bytes() == files.part(chosen["trial"], 0).history.read_bytes()


def test_kills_at_any_instant_end_in_the_same_table(tmp_path, scans, bagged, undisturbed):
    run = trials_run(tmp_path, scans, bagged)
    disturb(run, [20, 75, 140])
    found, wanted = table(run), table(undisturbed)
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []


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
        run = trials_run(tmp_path / str(number), scans, bagged)
        disturb(run, sorted(instants[4 * number : 4 * number + 4], reverse=True))
        assert table(run) == wanted
