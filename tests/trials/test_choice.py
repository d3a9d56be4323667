"""Which trial is chosen, and how sure the choice is."""

import dataclasses

import numpy as np
import pytest

from cac_hpc.settings.errors import WorkError
from cac_hpc.trials import choice, plan
from cac_hpc.trials.choice import TrialResult
from cac_hpc.trials.plan import Rung
from tests.support.trials import lesions

LABEL = (0, 1, 2, 3, 4, 5) * 4


def cfg(*options):
    return lesions("--trials.configurations", "[{}]", "--report.draws", "400", *options)


def rung(trial, part, predicted, label=LABEL, names="p", parameters=100, fold=0):
    patients = tuple(f"{names}{number:02d}" for number in range(len(label)))
    return Rung(fold, trial, part, 0, {}, 1, 1, patients, tuple(label), tuple(predicted), parameters, 1.0)


def trial(number, *predicted, parameters=100, pruned=False):
    parts = tuple(rung(number, part, one, parameters=parameters) for part, one in enumerate(predicted))
    return TrialResult(number, {"model.hidden": [number + 1]}, pruned, parts)


def wrong(*patients):
    """All right but these, which are one category off."""
    return tuple(abs(label - 1) if number in patients else label for number, label in enumerate(LABEL))


def test_a_figure_is_of_all_patients_of_a_seed_and_the_mean_over_seeds():
    whole, half = [0, 1, 0, 1], [0, 1, 1, 0]
    parts = [rung(0, 0, whole[:2], [0, 1], "a"), rung(0, 1, half[:2], [0, 1], "a"),
             rung(0, 2, whole[2:], [0, 1], "b"), rung(0, 3, half[2:], [0, 1], "b")]  # fmt: skip
    assert choice.figure(parts, "accuracy", 2, 2) == pytest.approx((1 + 0.5) / 2)
    assert choice.figure(parts, "kappa_plain", 2, 2) == pytest.approx((1 + 0) / 2)
    assert choice.figure(parts[:1], "kappa_plain", 2, 1) == 1


def test_a_figure_that_is_undefined_for_a_seed_is_none():
    one_category = rung(0, 0, [1, 1], [1, 1])
    assert choice.figure([one_category], "kappa_quadratic", 6, 1) is None
    assert choice.figure([one_category, rung(0, 1, [0, 1], [0, 1])], "kappa_quadratic", 6, 2) is None


def test_the_highest_figure_is_chosen_and_pruned_trials_are_not():
    found = choice.choose(cfg(), 6, [trial(0, wrong(1)), trial(1, wrong(), pruned=True), trial(2, wrong(1, 2))])
    assert (found.trial, found.runner_up, found.candidates, found.ties) == (0, 2, 2, 0)
    assert found.settings == {"model.hidden": [1]}
    assert found.figure > found.runner_up_figure
    assert found.patients == len(LABEL)


def test_a_trial_that_could_not_be_trained_is_not_chosen():
    part = dataclasses.replace(rung(0, 1, (), ()), failure="loss is nan")
    failed = TrialResult(0, {}, False, (*trial(0, wrong()).parts, part))
    assert choice.choose(cfg(), 6, [failed, trial(1, wrong(1))]).trial == 1
    assert choice.figure(failed.parts, "accuracy", 6, 1) is None
    with pytest.raises(WorkError, match="none of 1 trials could be trained to its end: loss is nan; start a new run"):
        choice.choose(cfg(), 6, [failed])


def test_of_equal_trials_the_smallest_is_chosen_then_the_first():
    trials = [trial(0, wrong(1), parameters=200), trial(1, wrong(7)), trial(2, wrong(13)), trial(3, wrong(1, 2))]
    found = choice.choose(cfg("--trials.select_by", "accuracy"), 6, trials)
    assert (found.trial, found.runner_up, found.ties, found.difference.value) == (1, 2, 2, 0)


def test_an_undefined_figure_is_never_chosen_unless_there_is_no_other():
    label = (1,) * 12
    undefined = TrialResult(0, {}, False, (rung(0, 0, label, label, parameters=1),))
    some = TrialResult(1, {}, False, (rung(1, 0, (*label[:-1], 2), label, parameters=9),))
    assert choice.choose(cfg(), 6, [undefined, some]).trial == 1
    alone = choice.choose(cfg(), 6, [undefined])
    assert (alone.trial, alone.figure, alone.runner_up, alone.difference.note) == (0, None, None, choice.ALONE)


def test_a_clear_choice_is_made_again_in_the_draws_and_a_coin_toss_in_half_of_them():
    clear = choice.choose(cfg(), 6, [trial(0, wrong()), trial(1, wrong(*range(0, 24, 2)))])
    assert clear.chosen_again == 1
    assert clear.difference.low > 0
    toss = choice.choose(cfg("--trials.select_by", "accuracy"), 6, [trial(0, wrong(1, 2, 3)), trial(1, wrong(7, 8, 9))])
    assert 0.4 < toss.chosen_again < 0.75  # ties of draws are for the first
    assert toss.difference.low < 0 < toss.difference.high
    assert sum(toss.chosen_in_draws.values()) == pytest.approx(1)
    assert set(toss.chosen_in_draws) == {0, 1}


def test_trials_are_compared_on_the_same_draws_of_patients():
    """The interval of a difference is narrower than that of either: a patient whom both have wrong changes neither."""
    both = tuple(range(0, 24, 3))
    found = choice.choose(cfg("--trials.select_by", "accuracy"), 6, [trial(0, wrong(*both)), trial(1, wrong(*both, 1))])
    assert found.difference.value == pytest.approx(1 / 24)
    assert found.difference.high - found.difference.low < 0.2
    assert found.difference.low >= 0


def test_few_patients_have_no_interval_and_the_choice_says_so():
    label = LABEL[:6]
    two = [TrialResult(n, {}, False, (rung(n, 0, label if n else (0,) * 6, label),)) for n in range(2)]
    assert "fewer than 10 patients" in choice.choose(cfg(), 6, two).difference.note


def test_seed_noise_is_the_spread_of_the_same_settings():
    seeds = cfg("--trials.seeds", "2", "--trials.select_by", "accuracy")
    found = choice.choose(seeds, 6, [trial(0, wrong(), wrong(1, 2)), trial(1, wrong(1), wrong(2))])
    assert found.by_seed == (1, pytest.approx(22 / 24))
    assert found.seed_sd == pytest.approx(np.sqrt((2 / 24) ** 2 / 2 / 2))
    assert choice.choose(cfg(), 6, [trial(0, wrong(1))]).seed_sd is None


def test_the_choice_does_not_follow_from_the_order_of_the_trials():
    rng = np.random.default_rng(0)
    trials = [trial(n, wrong(*rng.integers(24, size=6)), parameters=int(rng.integers(3))) for n in range(20)]
    assert choice.choose(cfg(), 6, trials) == choice.choose(cfg(), 6, trials[::-1])


def test_draws_use_every_select_by_there_is():
    for name in [one.name for one in plan.METRICS if one.per == "matrix" and one.name not in plan.NOT_BEST_HIGHEST]:
        found = choice.choose(cfg("--trials.select_by", name), 6, [trial(0, wrong(1, 8)), trial(1, wrong(1, 2, 3, 14))])
        assert found.trial == 0, name
        assert found.figure == choice.figure(trial(0, wrong(1, 8)).parts, name, 6, 1)
