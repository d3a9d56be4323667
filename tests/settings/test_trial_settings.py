"""Settings of trials: values as they look, and a fold's own settings."""

import dataclasses
import json

import pytest

from cac_hpc.run import fold_settings
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import composition, config, launch_command, stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.trials import TrialsConfig
from tests.support.runs import REPO

LESIONS = ("--config", str(REPO / "configs" / "lesions.yaml"))
TRIED = "{model.hidden: [[16], [32, 16]], train.learning_rate: {log_uniform: [1e-3, 1.0e-2]}, train.schedule: ['1', a]}"


@pytest.fixture
def tried():
    return launch_command.parse_launch(None, [*LESIONS, "--trials.settings", TRIED])[0]


@pytest.fixture
def run(tmp_path, tried):
    found = RunPaths(tmp_path)
    found.config.write_text(config.to_yaml(tried))
    return found


def test_values_to_try_are_numbers_where_they_look_so_without_quotes(tried):
    assert tried.trials.settings == {
        "model.hidden": [[16], [32, 16]],
        "train.learning_rate": {"log_uniform": [0.001, 0.01]},
        "train.schedule": ["1", "a"],
    }


def test_settings_of_trials_read_back_the_same(run, tried):
    assert stored_settings.load(run.config) == tried


def test_a_run_without_trials_says_nothing_of_them():
    cfg, _ = launch_command.parse_launch(None, LESIONS)
    assert not cfg.trials.active
    assert "trials" not in config.plain(cfg)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"number": 0}, "trials.number is 0, but must be 1 or more, or null"),
        ({"inner_folds": 1}, "trials.inner_folds is 1, but must be 2 or more, or null"),
        ({"select_on": "test"}, "trials.contrast_to is not set, but must be the folder of the finished run of trials"),
        ({"contrast_to": "a"}, "trials.contrast_to is 'a', but must be null, as trials.select_on is validation"),
    ],
)
def test_wrong_settings_of_trials_are_named(given, said):
    with pytest.raises(InputError) as refused:
        TrialsConfig(**given)
    assert said in str(refused.value)


@pytest.mark.parametrize("option", ["number 3", "sampler random", "inner_folds 4", "pruning.first_epoch 1"])
def test_settings_of_trials_without_anything_to_try_are_refused(option):
    with pytest.raises(InputError, match=f"trials.{option.split()[0]} is .* as nothing is tried; or set"):
        launch_command.parse_launch(None, [*LESIONS, *f"--trials.{option}".split()])


def test_trials_that_are_no_list_are_refused_in_words():
    with pytest.raises(InputError, match="is a mapping, but must be a list of mappings of names to a value"):
        launch_command.parse_launch(None, [*LESIONS, "--trials.configurations", "{model.hidden: [8]}"])


def test_other_values_of_some_settings_are_checked_like_all(tried):
    found = composition.changed(tried, {"model.hidden": [8], "train.anatomy.scale": 0.05})
    assert (found.model.hidden, found.train.anatomy.scale) == ((8,), 0.05)
    assert dataclasses.replace(found, model=tried.model, train=tried.train) == tried
    for name, value in {"model.hiden": [8], "model.hidden": "x", "train.epochs": 0}.items():
        with pytest.raises(InputError, match=name.rpartition(".")[2]):
            composition.changed(tried, {name: value})


def test_a_fold_has_the_settings_that_it_has_chosen(run, tried):
    with pytest.raises(InputError, match="not there, wanted the choice among the trials of fold 1"):
        fold_settings.load(run, 1)
    choice = run.trials(1).choice
    choice.parent.mkdir(parents=True)
    choice.write_text(json.dumps({"settings": {"model.hidden": [8]}}))
    assert fold_settings.load(run, 1) == composition.changed(tried, {"model.hidden": [8]})
    choice.write_text("[]")
    with pytest.raises(InputError, match="damaged; delete it"):
        fold_settings.load(run, 1)
