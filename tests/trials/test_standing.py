"""Where trials stand follows from their numbers and figures, never from the order in which these came."""

import random

import pytest

from cac_hpc.run.paths import RunPaths
from cac_hpc.trials import plan
from cac_hpc.trials.plan import Rung
from cac_hpc.trials.standing import FoldTrials
from tests.support.trials import lesions

LISTED = ("--trials.settings", "{train.learning_rate: {log_uniform: [1e-3, 1e-1]}}", "--trials.number", "12")
RANDOM = (*LISTED, "--trials.sampler", "random", "--trials.workers", "3")
PRUNED = (*RANDOM, "--trials.pruning.first_epoch", "1")
TPE = (*LISTED, "--trials.sampler", "tpe", "--trials.workers", "3", "--trials.pruning.first_epoch", "1")


@pytest.fixture
def start(tmp_path):
    """The trials of a new fold."""

    def start(*options):
        cfg = lesions(*options)
        run = RunPaths(tmp_path / str(len(list(tmp_path.iterdir()))))
        run.root.mkdir()
        trials = FoldTrials(run, 0, cfg, plan.make(cfg))
        trials.look()
        return run, trials

    return start


def reach(run, trials, number, part=0, right=None, seconds=1.0, failure=None):
    """Have a part predict ten patients at its next rung, so many of them right."""
    trial = trials.trials[number]
    rung, label = len(trial.rungs), tuple(range(5)) * 2
    right = right_of(trial.settings, rung) if right is None else right
    predicted = tuple(value if at < right else (value + 1) % 5 for at, value in enumerate(label))
    patients = tuple("abcdefghij")
    if failure:
        patients, label, predicted = (), (), ()
    path = run.trials(0).rung(number, part, rung)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = Rung(0, number, part, rung, trial.settings, 1, 1, patients, label, predicted, 9, seconds, failure)
    plan.write_rung(path, found)
    trials.look()


def right_of(settings, rung):
    """As chance has it for these settings, whoever asks."""
    return random.Random(f"{settings} {rung}").randint(0, 10)


def finish(run, trials, seed):
    """Train what can be trained in an order of chance, until all trials are final; returns how they ended."""
    draw = random.Random(seed)
    while not trials.final:
        trial = draw.choice([trial for trial in trials.trials if trial.open])
        reach(run, trials, trial.number, draw.choice(trial.open))
    return [(dict(trial.settings), trial.state, trial.figures) for trial in trials.trials]


@pytest.mark.parametrize("options", [RANDOM, PRUNED, TPE, (*PRUNED, "--trials.seeds", "2")])
def test_trials_end_the_same_in_whatever_order_they_are_trained(start, options):
    first, *others = (finish(*start(*options), seed) for seed in range(4))
    assert others == [first] * 3
    assert len({str(settings) for settings, _, _ in first}) == 12
    assert ("pruned" in {state for _, state, _ in first}) == (options != RANDOM)


def test_what_is_known_is_read_back_by_whoever_comes_later(start):
    run, trials = start(*TPE)
    ended = finish(run, trials, 0)
    for trial in trials.trials[:5]:
        trial.settings = dict(trial.settings)
    cfg = lesions(*TPE)
    later = FoldTrials(run, 0, cfg, plan.make(cfg))
    later.look()
    assert [(trial.settings, trial.state, trial.figures) for trial in later.trials] == ended
    assert later.results == trials.results


def test_a_trial_goes_on_when_all_before_it_have_been_looked_at(start):
    run, trials = start(*PRUNED)
    reach(run, trials, 2, right=10)
    third = trials.trials[2]
    assert (third.state, third.open, trials.goes_on(third, 0)) == ("running", (), None)
    reach(run, trials, 0, right=1)
    reach(run, trials, 1, right=2)
    assert (third.state, third.open, trials.goes_on(third, 0)) == ("running", (0,), True)
    reach(run, trials, 3, right=0)
    assert trials.trials[3].state == "pruned"


def test_a_trial_that_failed_is_final_and_the_worst(start):
    run, trials = start(*PRUNED)
    reach(run, trials, 0, failure="loss is nan")
    first = trials.trials[0]
    assert (first.state, first.figures, first.open, first.failure) == ("failed", [None], (), "loss is nan")
    reach(run, trials, 1, right=0)
    assert trials.goes_on(trials.trials[1], 0)


def test_a_trial_waits_for_all_of_its_parts(start):
    run, trials = start(*PRUNED, "--trials.seeds", "2", "--trials.inner_folds", "2")
    first = trials.trials[0]
    for part in (3, 0, 2):
        reach(run, trials, 0, part)
        assert (first.figures, part in first.open) == ([], False)
    assert first.open == (1,)
    reach(run, trials, 0, 1, right=10)
    assert (len(first.figures), first.open) == (1, (0, 1, 2, 3))


def test_no_trial_begins_beyond_the_budget(start):
    """With three workers trial 3 begins when trial 0 is final, trial 4 when trial 1 is."""
    run, trials = start(*RANDOM, "--trials.gpu_hours", "1")
    assert [trial.number for trial in trials.trials if trial.open] == [0, 1, 2]
    reach(run, trials, 1, seconds=3599)
    reach(run, trials, 2, seconds=3599)
    assert not trials.trials[3].open
    reach(run, trials, 0, seconds=1)
    assert [trial.number for trial in trials.trials if trial.open] == [3, 4]
    assert [trial.state for trial in trials.trials[5:7]] == ["left_out", "waiting"]
    reach(run, trials, 3)
    reach(run, trials, 4)
    assert [trial.state for trial in trials.trials] == ["done"] * 5 + ["left_out"] * 7
    assert len(trials.results) == 5


def test_settings_of_a_trial_follow_from_trials_that_are_final(start):
    run, trials = start(*TPE)
    known = [trial.number for trial in trials.trials if trial.settings]
    assert known == [0, 1, 2]
    reach(run, trials, 0, failure="loss is nan")
    assert trials.trials[3].settings
    assert not trials.trials[4].settings


def test_a_damaged_file_of_a_trial_is_as_good_as_none(start):
    run, trials = start(*RANDOM)
    reach(run, trials, 0)
    path = run.trials(0).rung(0, 0, 0)
    path.write_text(path.read_text()[:50])
    cfg = lesions(*RANDOM)
    later = FoldTrials(run, 0, cfg, plan.make(cfg))
    later.look()
    assert later.trials[0].open == (0,)
