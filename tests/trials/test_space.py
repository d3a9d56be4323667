"""What may be tried, by which values, and what is refused before anything starts."""

import dataclasses

import pytest

from cac_hpc.settings import launch_command
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.model import ModelConfig
from cac_hpc.train import models
from cac_hpc.trials import plan, space
from tests.support.runs import REPO
from tests.support.trials import lesions

LESIONS = ("--config", str(REPO / "configs" / "lesions.yaml"))


def tried(text, *options):
    return lesions("--trials.settings", text, *options)


def test_values_have_the_types_of_their_settings():
    hidden, rate, members = space.of(
        tried("{model.hidden: [[8], [16, 8]], train.learning_rate: {log_uniform: [1e-3, 1]}, "
              "model.members: {uniform: [1, 5], step: 2}}")
    )  # fmt: skip
    assert hidden == space.Listed("model.hidden", ([8], [16, 8]))
    assert rate == space.Range("train.learning_rate", 0.001, 1.0, None, log=True, whole=False)
    assert isinstance(rate.high, float)
    assert members == space.Range("model.members", 1, 5, 2, log=False, whole=True)
    assert space.of(tried("{train.steps: {choice: [50, 500]}}")) == (space.Listed("train.steps", (50, 500)),)


def test_written_out_trials_are_typed_and_the_runs_own_settings_are_one():
    found = space.configurations(
        lesions("--trials.configurations", "[{}, {model.hidden: [8], train.learning_rate: 1}]")
    )
    assert found == ({}, {"model.hidden": [8], "train.learning_rate": 1.0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{pack.size: [64, 128]}", "must name settings below model or train"),
        ("{report.patient_rule: [mean]}", "must name settings below model or train"),
        ("{model.hiden: [[8]]}", "did you mean model.hidden"),
        ("{train.augment: [1]}", "is a section, but must be one of its settings, written train.augment.NAME"),
        ("{hidden: [[8]]}", "must name settings below model or train, by dotted name: model.hidden"),
        ("{train.occlusion: [true, false]}", "train.occlusion is not tried"),
        ("{train.seed: [1, 2]}", "train.seed is not tried: use trials.seeds"),
        ("{train.device: [cpu]}", "train.device is not tried"),
        ("{train.residency: [host]}", "train.residency is not tried: it changes no prediction"),
        ("{model.kind: [slices, lesions]}", "model.kind is not tried: each kind has a run of its own"),
        ("{model.hidden: [8, 16]}", "trials.settings.model.hidden is 8, but must be a list of whole numbers"),
        ("{model.hidden: []}", "must be a list of values, or one of {uniform: [low, high]}"),
        ("{model.hidden: [[8], [8]]}", "must be listed once"),
        ("{model.hidden: {uniform: [1, 2]}}", "trials.settings.model.hidden.uniform is 1"),
        ("{train.schedule: {uniform: [1, 2]}}", "trials.settings.train.schedule.uniform is 1, but must be text"),
        ("{train.learning_rate: {log_uniform: [0, 1]}}", "two numbers [low, high] with low < high, above 0"),
        ("{train.learning_rate: {uniform: [2, 1]}}", "two numbers [low, high] with low < high"),
        ("{train.learning_rate: {uniform: [0.1, 1], step: 2}}", "step is 2.0, but must be above 0, within the range"),
        ("{train.learning_rate: {log_uniform: [0.1, 1], step: 0.1}}", "must be left out, with log_uniform"),
        ("{train.learning_rate: {gauss: [0, 1]}}", "must be a list of values, or one of"),
        ("{train.steps: {choice: [50, 500], step: 5}}", "a choice has no step"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_name(text, said):
    with pytest.raises(InputError) as refused:
        space.of(tried(text))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("{train.min_learning_rate: [0, 0.1]}", ("--train.schedule", "plateau"), "learning_rate 0.1: train.min"),
        ("{train.optimizer: [adam, adamm]}", (), "of the trial train.optimizer adamm: train.optimizer is 'adamm'"),
        ("{train.steps: {uniform: [5, 50]}}", ("--trials.sampler", "tpe", "--trials.number", "9"), "train.steps 5"),
    ],
)  # fmt: skip
def test_a_combination_that_is_no_valid_run_is_refused_before_anything_starts(text, options, said):
    with pytest.raises(InputError) as refused:
        plan.make(tried(text, *options))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("{model.dropout: [0, 0.3]}", (), "model.dropout is tried, but changes nothing, as model.kind is lesions"),
        (
            "{train.augment.shift: [0]}",
            (),
            "train.augment.shift is tried, but changes nothing, as model.kind is lesions",
        ),
        ("{model.members: [1, 3]}", ("--config", str(REPO / "configs" / "demo.yaml")), "as model.kind is slices"),
        ("{train.anatomy.scale: [0, 0.1]}", ("--config", str(REPO / "configs" / "demo.yaml")), "model.kind is slices"),
        ("{train.weight_decay: [0, 0.1]}", ("--train.optimizer", "adam"), "as train.optimizer is adam"),
        ("{train.plateau_patience: [2, 3]}", (), "as train.schedule is one_cycle"),
    ],
)
def test_a_setting_that_changes_nothing_is_not_tried(text, options, said):
    cfg = launch_command.parse_launch(None, [*(options if "--config" in options else (*LESIONS, *options)),
                                       "--trials.settings", text])[0]  # fmt: skip
    with pytest.raises(InputError) as refused:
        plan.make(cfg)
    assert said in str(refused.value)


def test_a_setting_of_one_optimizer_is_tried_with_the_choice_of_optimizers():
    both = "{train.optimizer: [adam, adamw], train.weight_decay: [0.01, 0.1]}"
    assert plan.make(tried(both)).number == 4


def test_every_setting_of_a_model_belongs_to_a_kind():
    own = {spec.name for spec in dataclasses.fields(ModelConfig)} - {"kind"}
    assert own == {name for kind in ("slices", "lesions") for name in models.MODELS[kind].settings}


def test_the_same_written_out_twice_is_refused():
    with pytest.raises(InputError, match=r"trials.configurations\[1\] is .* different from those before"):
        space.configurations(lesions("--trials.configurations", "[{model.hidden: [8]}, {model.hidden: [8]}]"))
