"""The plan of a run's trials, and what their trainings leave behind, as files."""

import dataclasses

import pytest

from cac_hpc.settings import launch_command
from cac_hpc.settings.errors import InputError
from cac_hpc.trials import plan
from cac_hpc.trials.plan import Rung
from tests.support.runs import REPO
from tests.support.trials import lesions

STEPS = ("--trials.settings", "{train.steps: [50, 500]}")
RUNG = Rung(0, 3, 1, 0, {"model.hidden": [8]}, 3, 2, ("a", "b"), (1, 5), (0, 5), 1234, 1.5)


@pytest.mark.parametrize(
    ("epochs", "first", "factor", "rungs"),
    [(10, None, 3, (None,)), (10, 1, 3, (1, 3, None)), (9, 1, 3, (1, 3, None)), (8, 1, 3, (1, None)),
     (15, 5, 3, (5, None)), (15, 4, 2, (4, None)), (16, 4, 2, (4, 8, None)), (15, 14, 2, (14, None))],
)  # fmt: skip
def test_trials_are_looked_at_where_a_factor_of_their_epochs_is_left(epochs, first, factor, rungs):
    pruning = ["--trials.pruning.first_epoch", str(first).lower().replace("none", "null"), "--trials.pruning.factor"]
    assert plan.make(lesions(*STEPS, "--train.epochs", str(epochs), *pruning, str(factor))).rungs == rungs


def test_the_shortest_trial_says_when_trials_are_looked_at():
    tried = ("--trials.settings", "{train.epochs: [4, 20]}", "--trials.pruning.first_epoch")
    assert plan.make(lesions(*tried, "1")).rungs == (1, None)
    with pytest.raises(InputError, match="first_epoch is 4, but must be below 4, the epochs of the shortest trial"):
        plan.make(lesions(*tried, "4"))


def test_trials_that_tpe_draws_have_the_epochs_of_the_run():
    tried = ("--trials.settings", "{model.members: [1, 2]}", "--trials.sampler", "tpe", "--trials.number", "2",
             "--trials.configurations", "[{train.epochs: 50}]", "--trials.pruning.first_epoch")  # fmt: skip
    found = plan.make(lesions(*tried, "5"))
    assert (found.rungs, found.number, found.settings) == ((5, None), 3, ({"train.epochs": 50},))
    with pytest.raises(InputError, match="first_epoch is 10, but must be below 10"):
        plan.make(lesions(*tried, "10"))


def test_trials_are_chosen_by_patients_and_not_by_slices():
    with pytest.raises(InputError, match="must be patient, as trials are chosen by patients"):
        plan.make(lesions(*STEPS, "--split.unit", "slice", "--split.contrast_to", "runs/other"))


def test_a_trial_is_trained_with_every_seed_in_every_inner_division():
    found = plan.make(lesions(*STEPS, "--trials.seeds", "3", "--trials.inner_folds", "4", "--trials.workers", "2"))
    assert (found.seeds, found.divisions, found.parts, found.lag) == (3, 4, 12, 2)


@pytest.mark.parametrize("name", ["majority_accuracy", "two_or_more_off", "over_estimated_share", "recall", "spearman"])
def test_trials_are_chosen_by_a_figure_of_which_more_is_better(name):
    with pytest.raises(
        InputError, match=rf"trials.select_by is '{name}', but must be one of accuracy, .*kappa_quadratic"
    ):
        plan.make(lesions(*STEPS, "--trials.select_by", name))


@pytest.mark.parametrize(
    "options",
    [("--trials.sampler", "tpe", "--trials.number", "2"), ("--trials.inner_folds", "3"), ("--trials.gpu_hours", "3"),
     ("--trials.pruning.first_epoch", "1")],
)  # fmt: skip
def test_a_contrast_run_trains_all_trials_in_all_folds(options):
    leaking = ("--trials.select_on", "test", "--trials.contrast_to", "runs/nested")
    plan.make(lesions(*STEPS, *leaking))
    with pytest.raises(InputError, match=f"{options[0][2:]} is .*, as trials.select_on is test"):
        plan.make(lesions(*STEPS, *leaking, *options))


WHOLE = '{"format": 1, "settings": [{}], "number": 2, "lag": 1, "rungs": [null], "seeds": 1, "divisions": 1}'


def test_a_plan_reads_back_the_same(tmp_path):
    made = plan.make(lesions(*STEPS, "--trials.pruning.first_epoch", "1"))
    plan.write(tmp_path / "plan.json", made)
    assert plan.read(tmp_path / "plan.json") == made


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "not there, wanted the plan"), ("{", "damaged"), ("[]", "format None"), ('{"format": 7}', "format 7, but"),
     ('{"format": 1}', "damaged"), (WHOLE.replace("2", '"2"'), "damaged"), (WHOLE.replace("null", "0"), "damaged"),
     ('{"format": 1, "settings": [], "rungs": [], "more": 1}', "damaged")],
)  # fmt: skip
def test_a_plan_that_cannot_be_used_is_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=said) as refused:
        plan.read(path)
    assert "\n" not in str(refused.value)


def test_a_rung_reads_back_the_same_and_one_that_is_not_whole_is_none(tmp_path):
    path = tmp_path / "rung-0.json"
    assert plan.read_rung(path) is None
    plan.write_rung(path, RUNG)
    assert plan.read_rung(path) == plan.read_rung(path, {"model.hidden": [8]}) == RUNG
    assert plan.read_rung(path, {"model.hidden": [9]}) is None
    path.write_text(path.read_text()[:-20])
    assert plan.read_rung(path) is None
    plan.write_rung(path, dataclasses.replace(RUNG, label=(1,)))
    assert plan.read_rung(path) is None
    plan.write_rung(path, dataclasses.replace(RUNG, predicted=(17,) * len(RUNG.predicted)))
    assert plan.read_rung(path, num_categories=18)
    assert plan.read_rung(path, num_categories=17) is None


def test_a_rung_that_may_not_be_published_is_not(tmp_path):
    def fenced():
        raise RuntimeError("another has it")

    with pytest.raises(RuntimeError, match="another has it"):
        plan.write_rung(tmp_path / "rung-0.json", RUNG, fenced)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "number"), [("paper", 48), ("lesions", 24)])
def test_the_trials_that_come_with_the_product_fit_the_small_slices_of_a_synthetic_cohort(name, number, monkeypatch):
    monkeypatch.setenv("CAC_DICOM_ROOT", "scans")
    monkeypatch.setenv("CAC_LABELS", "labels.csv")
    files = [str(REPO / "configs" / f"{name}.yaml"), "--trials", str(REPO / "configs" / "trials" / f"{name}.yaml")]
    found = plan.make(launch_command.parse_launch(None, ["--config", *files, "--pack.size", "64"])[0])
    assert (found.number, len(found.settings)) == (number, number)
