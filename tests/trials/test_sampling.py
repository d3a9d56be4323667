"""Optuna's samplers and pruner, asked so that the answer follows from numbers and figures alone."""

import dataclasses
import math

import numpy as np
import pytest

from cac_hpc.settings.errors import InputError
from cac_hpc.trials import plan, sampling
from cac_hpc.trials.sampling import Trial
from tests.support.trials import lesions

RATE = "train.learning_rate: {log_uniform: [1e-3, 1.0e-1]}"
SPACE = f"{{model.hidden: [[8], [16, 8]], {RATE}, model.members: {{uniform: [1, 4]}}}}"


def sampler(name, number, *options):
    return lesions("--trials.settings", SPACE, "--trials.sampler", name, "--trials.number", str(number), *options)


def test_a_grid_has_every_combination_once():
    found = plan.make(lesions("--trials.settings", "{model.hidden: [[8], [16, 8]], train.steps: [50, 100, 200]}"))
    wanted = [{"model.hidden": hidden, "train.steps": steps} for hidden in ([8], [16, 8]) for steps in (50, 100, 200)]
    assert sorted(found.settings, key=str) == sorted(wanted, key=str)
    assert found.number == 6


def test_part_of_a_grid_is_drawn_from_all_of_it_by_the_seed():
    text = "{train.steps: [" + ", ".join(str(50 + i) for i in range(60)) + "]}"
    first, again, other = (
        plan.make(lesions("--trials.settings", text, "--trials.number", "9", "--trials.seed", seed)).settings
        for seed in ("1", "1", "2")
    )
    assert first == again != other
    assert len({one["train.steps"] for one in first}) == 9


def test_random_trials_are_known_at_launch_and_none_is_there_twice():
    cfg = sampler("random", 40)
    found = plan.make(cfg)
    assert found == plan.make(cfg)
    assert len({str(one) for one in found.settings}) == found.number == 40
    assert {one["model.members"] for one in found.settings} == {1, 2, 3, 4}
    rates = [one["train.learning_rate"] for one in found.settings]
    assert 0.001 <= min(rates) <= max(rates) <= 0.1
    assert 10 < sum(rate < 0.01 for rate in rates) < 30, "even by the logarithm"


def test_what_is_written_out_comes_first_and_is_not_drawn_again():
    written = "[{}, {train.steps: 50}]"
    found = plan.make(lesions("--trials.settings", "{train.steps: [50, 100]}", "--trials.configurations", written))
    assert found.settings == ({}, {"train.steps": 50}, {"train.steps": 100})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trials.sampler", "grid"), "trials.sampler is 'grid', but must be random or tpe, as train.learning"),
        (("--trials.sampler", "random"), "trials.number is not set, but must be a number, as trials.sampler is random"),
        (("--trials.sampler", "tpe", "--trials.number", "20000"), "trials.number is 20000, but must be 1 to 9,999"),
        (("--trials.settings", "{train.steps: [50, 60]}", "--trials.number", "3"), "must be 1 to 2"),
        (("--trials.settings", f"{{train.steps: {[*range(50, 400)]}, model.members: {[*range(1, 51)]}}}"),
         "trials.number is not set, but must be 1 to 9,999: there are 17,500 combinations"),
        (("--trials.settings", "{}", "--trials.configurations", "[{}]", "--trials.number", "3"),
         "trials.number is 3, but must be null, as trials.settings is empty"),
        (("--trials.settings", f"{{train.steps: {[*range(50, 400)]}, train.batch_size: {[*range(1, 400)]}}}",
          "--trials.number", "5"), "a grid has at most 100,000 combinations"),
        (("--trials.settings", "{train.epochs: {log_uniform: [1, 400]}}", "--trials.sampler", "random",
          "--trials.number", "400"), "draws by chance repeat themselves"),
    ],
)  # fmt: skip
def test_numbers_of_trials_that_cannot_be_drawn_are_refused(options, said):
    with pytest.raises(InputError) as refused:
        plan.make(lesions("--trials.settings", SPACE, *options))
    assert said in str(refused.value)


def drawn_by_tpe(cfg, count, told=lambda number: True, fold=0):
    before = []
    for number in range(count):
        settings = sampling.next_settings(cfg, fold, number, before)
        figure = -abs(math.log10(settings["train.learning_rate"]) + 2)
        done = Trial(number, settings, figure, 0, "complete")
        before.append(done if told(number) else Trial(number, settings))
    return [one.settings for one in before]


def test_tpe_draws_where_figures_are_high():
    rates = [abs(math.log10(one["train.learning_rate"]) + 2) for one in drawn_by_tpe(sampler("tpe", 60), 60)]
    assert np.median(rates[40:]) < 0.6 * np.median(rates[:10])


def test_what_tpe_draws_follows_from_trials_that_many_numbers_before_alone():
    cfg = sampler("tpe", 20, "--trials.workers", "4")
    all_known = drawn_by_tpe(cfg, 20)
    before = [Trial(number, settings, 0.1 * number, 0, "complete") for number, settings in enumerate(all_known[:19])]
    running = [one if one.number <= 15 else Trial(one.number, one.settings) for one in before]
    assert sampling.next_settings(cfg, 0, 19, before) == sampling.next_settings(cfg, 0, 19, running)
    other = [dataclasses.replace(one, figure=-one.figure) for one in before]
    assert sampling.next_settings(cfg, 0, 19, before) != sampling.next_settings(cfg, 0, 19, other)


def test_each_fold_has_its_own_draws_and_no_trial_is_repeated():
    cfg = lesions("--trials.settings", "{model.members: [1, 2, 3, 4], train.steps: [50, 100]}",
                  "--trials.sampler", "tpe", "--trials.number", "8")  # fmt: skip
    found = []
    for fold in (0, 1):
        before = []
        for number in range(8):
            before.append(Trial(number, sampling.next_settings(cfg, fold, number, before), 0.5, 0, "complete"))
        found.append([str(one.settings) for one in before])
    assert len(set(found[0])) == len(set(found[1])) == 8
    assert found[0] != found[1]


def test_pruned_and_undefined_trials_are_told_to_tpe():
    cfg = sampler("tpe", 40)
    before = [
        Trial(number, settings, None if number % 3 == 0 else 0.1, number % 2, "pruned" if number % 2 else "complete")
        for number, settings in enumerate(drawn_by_tpe(sampler("tpe", 20), 20))
    ]
    assert set(sampling.next_settings(cfg, 0, 30, before)) == {"model.hidden", "train.learning_rate", "model.members"}


@pytest.fixture
def halving():
    return lesions("--trials.settings", SPACE, "--trials.sampler", "random", "--trials.number", "9",
                   "--trials.pruning.first_epoch", "1", "--trials.pruning.factor", "3")  # fmt: skip


def going_on(cfg, figures):
    reached = dict(enumerate(figures))
    return [number for number in reached if sampling.goes_on(cfg, number, 0, reached)]


def test_the_best_third_so_far_goes_on(halving):
    assert going_on(halving, [0.5, 0.4, 0.6, 0.55, 0.7, 0.1]) == [0, 2, 4]


def test_of_equal_figures_about_a_third_goes_on_and_chance_says_which(halving):
    for equal in (0.5, None):
        found = going_on(halving, [equal] * 60)
        assert found[0] == 0, "the first is the best so far"
        assert 12 <= len(found) <= 32
        assert max(found) > 30


def test_an_undefined_figure_goes_on_only_if_there_is_no_other(halving):
    assert going_on(halving, [None, 0.2, None, 0.1, None, 0.3, None, None, None, None]) == [0, 1, 5]


def test_whether_a_trial_goes_on_does_not_follow_from_later_ones(halving):
    rng = np.random.default_rng(0)
    figures = rng.random(30).tolist()
    later = dict(enumerate(figures))
    for number in range(30):
        known = {one: figures[one] for one in range(number + 1)}
        assert sampling.goes_on(halving, number, 0, known) == sampling.goes_on(halving, number, 0, later)
    gone_on = going_on(halving, figures)
    assert 5 <= len(gone_on) <= 15, "a third, and what was the best so far when few were known"


def test_importance_is_that_of_the_setting_that_matters():
    cfg = sampler("random", 40)
    trials = [
        Trial(number, one, -abs(math.log10(one["train.learning_rate"]) + 2), 0, "complete")
        for number, one in enumerate(plan.make(cfg).settings)
    ]
    found = sampling.importance(cfg, trials)
    assert sum(found.values()) == pytest.approx(1)
    assert found["train.learning_rate"] > 0.8
    assert found == sampling.importance(cfg, trials)


def test_importance_of_written_out_trials_takes_the_runs_own_settings_where_one_says_nothing():
    written = "[{}, " + ", ".join(f"{{train.steps: {50 * i}}}, {{model.members: {i}}}" for i in range(4, 9)) + "]"
    cfg = lesions("--trials.configurations", written)
    trials = [
        Trial(i, one, one.get("train.steps", 500) / 1e3, 0, "complete") for i, one in enumerate(plan.make(cfg).settings)
    ]
    found = sampling.importance(cfg, trials)
    assert found["train.steps"] > found["model.members"]


def test_importance_says_why_it_cannot_be_told():
    cfg = sampler("random", 12)
    settings = plan.make(cfg).settings
    few = [Trial(number, one, 0.5, 0, "complete") for number, one in enumerate(settings[:5])]
    assert sampling.importance(cfg, few) == "5 trials were trained to their end and have a figure; wanted 10"
    same = [Trial(number, one, 0.5, 0, "complete") for number, one in enumerate(settings)]
    assert sampling.importance(cfg, same) == "all trials have the same figure"
