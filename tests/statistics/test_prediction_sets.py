"""Prediction sets: neighbouring categories, found by hand, by every other way that can be, and in simulated cohorts."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cac_hpc.results.figures import Absent
from cac_hpc.statistics import prediction_sets, set_figures
from cac_hpc.statistics.pooling import Units
from cac_hpc.statistics.prediction_sets import Calibration

K = 6


def units_of(label, probability, fold=None, patient=None):
    label, probability = np.array(label), np.array(probability, float)
    patient = np.arange(len(label)) if patient is None else np.array(patient)
    fold = np.zeros(len(label), int) if fold is None else np.array(fold)
    number = int(patient.max(initial=-1)) + 1
    return Units(
        label, probability.argmax(axis=1), probability, patient, fold, np.full(len(label), np.nan), number, number
    )


def test_a_set_grows_to_the_likelier_neighbour_and_a_score_is_what_was_named_before():
    chance = [[0.1, 0.4, 0.2, 0.25, 0.05]]
    found = prediction_sets.named_before(np.array(chance), np.array([1]))
    assert found[0].tolist() == pytest.approx([0.85, 0.0, 0.4, 0.6, 0.95])  # 1, then 2 (0.2), 3, 0, 4
    tied = prediction_sets.named_before(np.array([[0.25, 0.5, 0.25]]), np.array([1]))
    assert tied[0].tolist() == [0.5, 0, 0.75]  # the lower one first
    from_other = prediction_sets.named_before(np.array(chance), np.array([3]))  # a lesion model predicts by its score
    assert from_other[0].tolist() == pytest.approx([0.85, 0.45, 0.25, 0.0, 0.95])


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_sets_are_contiguous_hold_the_predicted_category_and_grow(seed, limit):
    rng = np.random.default_rng(seed)
    chance = rng.dirichlet(np.full(K, 0.3), 5).round(2)
    predicted = rng.integers(0, K, 5)
    before = prediction_sets.named_before(chance, predicted)
    for one, start in zip(before <= limit, predicted, strict=True):
        named = np.flatnonzero(one)
        assert start in named
        assert np.all(np.diff(named) == 1)


def by_hand(units, coverage):
    """Every set once more, patient by patient."""

    def scores(row):
        low = high = int(units.predicted[row])
        chance, found = units.probability[row], {low: 0.0}
        while high - low + 1 < units.num_categories:
            below = chance[low - 1] if low > 0 else -1
            above = chance[high + 1] if high + 1 < units.num_categories else -1
            mass = sum(chance[low : high + 1])
            if below >= above:
                low -= 1
                found[low] = round(mass, 6)
            else:
                high += 1
                found[high] = round(mass, 6)
        return found

    sets = []
    for row in range(len(units.label)):
        beside = {units.patient[one] for one in range(len(units.label)) if units.fold[one] == units.fold[row]}
        others, seen = [], set()
        for one in range(len(units.label)):
            if units.patient[one] not in beside | seen:
                seen.add(units.patient[one])
                others.append(scores(one)[int(units.label[one])])
        place = int(np.ceil(round(coverage * (len(others) + 1), 9)))
        limit = sorted(others)[place - 1] if place <= len(others) else np.inf
        named = [category for category, score in scores(row).items() if score <= limit]
        sets.append((min(named), max(named), len(others)))
    return sets


@pytest.mark.parametrize("repeated", [False, True])
def test_the_sets_of_folds_are_those_of_the_definition(repeated):
    rng = np.random.default_rng(1)
    chance = rng.dirichlet(np.full(K, 0.5), 60)
    patient = rng.permutation(np.repeat(np.arange(30), 2)) if repeated else None
    units = units_of(rng.integers(0, K, 60), chance, np.arange(60) % 5, patient)
    found = prediction_sets.of_folds(units, 0.8)
    assert list(zip(found.low, found.high, found.calibrated_by, strict=True)) == by_hand(units, 0.8)


def test_too_few_patients_of_other_folds_give_full_sets_and_one_fold_none():
    rng = np.random.default_rng(2)
    units = units_of(rng.integers(0, K, 16), rng.dirichlet(np.ones(K), 16), np.arange(16) % 2)
    names = np.array([f"p{number:02d}" for number in range(16)])
    found = set_figures.of_run(units, names, 0.9)  # 8 patients calibrate, 9 would be enough
    assert (found.full, found.sizes, found.promised.calibrated_by) == (16, [0, 0, 0, 0, 0, 16], 16)
    assert prediction_sets.rank(9, 0.9) == 9
    assert set_figures.of_run(units, names, 0.8).full == 0
    assert isinstance(set_figures.of_run(units_of(units.label, units.probability), names, 0.9), Absent)
    shared = units_of(units.label, units.probability, np.arange(16) // 8, np.arange(16) % 8)  # each in both folds
    assert set_figures.of_run(shared, names, 0.9) == Absent(set_figures.ALONE)
    assert set_figures.of_run(units_of([], np.zeros((0, K))), names, 0.9) is None


def test_what_so_many_patients_promise_follows_the_beta_law():
    found = prediction_sets.promised(68, 0.9)
    assert (found.calibrated_by, found.mean) == (68, pytest.approx(63 / 69))
    assert (found.low, found.high) == pytest.approx((0.836688, 0.966928), abs=1e-6)
    rng = np.random.default_rng(3)  # the share that lies below the 63rd of 68 uniform numbers is that number
    drawn = np.sort(rng.random((20_000, 68)), axis=1)[:, 62]
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([found.low, found.high], abs=0.005)
    assert prediction_sets.promised(8, 0.9) is None


def test_a_new_patient_is_asked_of_every_fold():
    scores = ((0.0, 0.0, 0.6), (0.0, 0.7))
    chance = np.array([[0.5, 0.4, 0.1], [0.3, 0.6, 0.1]])
    # before: fold 0 from category 0: [0, 0.5, 0.9], fold 1 from 1: [0.6, 0, 0.9]; patients below: [1, 2, 5]

    def ask(wanted, together=0):
        return prediction_sets.of_new(chance, np.array([0, 1]), together, Calibration(wanted, scores))

    assert ask(0.5) == (0, 1)  # below 3 of 5
    assert ask(0.2) == (0, 0)  # below 2
    assert ask(0.9) == (0, 2)  # six are more than there are
    assert ask(0.2, together=2) == (0, 2)  # with what all say together


def test_of_one_fold_a_new_patient_has_the_set_of_its_limit():
    rng = np.random.default_rng(4)
    units = units_of(rng.integers(0, K, 40), rng.dirichlet(np.full(K, 0.5), 40))
    calibration = prediction_sets.calibrate(units, 0.8, 1)
    limit = prediction_sets.limit(np.array(calibration.scores[0]), 0.8)
    for chance in rng.dirichlet(np.full(K, 0.5), 20):
        start = int(chance.argmax())
        named = np.flatnonzero(prediction_sets.named_before(chance[None], np.array([start]))[0] <= limit)
        low, high = prediction_sets.of_new(chance[None], np.array([start]), start, calibration)
        assert (low, high) == (named.min(), named.max())


def test_each_patient_calibrates_once_and_scores_say_nothing_of_the_order():
    rng = np.random.default_rng(5)
    units = units_of(rng.integers(0, K, 30), rng.dirichlet(np.ones(K), 30), np.arange(30) % 3, np.arange(30) % 20)
    found = prediction_sets.calibrate(units, 0.9, 4)
    assert found.patients == 20
    assert found.scores[3] == ()
    assert all(np.all(np.diff(one) >= 0) for one in found.scores)
    own = prediction_sets.own_scores(units)
    assert sorted(np.concatenate(found.scores)) == sorted(own[:20])


def cohort(rng, number):
    """Patients whose category shows in two numbers, and the numbers themselves."""
    label = rng.choice(K, number, p=[0.18, 0.1, 0.15, 0.17, 0.17, 0.23])
    return label, np.stack([label + rng.normal(0, 0.7, number), 0.3 * label + rng.normal(0, 1, number)], axis=1)


def fitted(label, x):
    """Probabilities by a normal distribution for each category, with means of its own: what it learned on these."""
    mean = np.stack([x[label == one].mean(axis=0) if (label == one).any() else x.mean(axis=0) for one in range(K)])
    inverse = np.linalg.inv(np.cov((x - mean[label]).T) + 0.05 * np.eye(2))
    share = np.log((np.bincount(label, minlength=K) + 0.5) / (len(label) + 3))

    def of(new):
        off = new[:, None] - mean
        weight = np.exp(-0.5 * np.einsum("nkd,de,nke->nk", off, inverse, off) + share)
        return weight / weight.sum(axis=1, keepdims=True)

    return of


def test_coverage_in_simulated_cohorts_is_what_is_wanted():
    """60 cohorts of 68 patients here; docs/report.md has the numbers of 1,000."""
    of_own, of_new, sizes = [], [], []
    for seed in range(60):
        rng = np.random.default_rng([seed, 22])
        label, x = cohort(rng, 68)
        fold = rng.permutation(np.arange(68) % 5)
        models = [fitted(label[fold != one], x[fold != one]) for one in range(5)]
        chance = np.zeros((68, K))
        for one, model in enumerate(models):
            chance[fold == one] = model(x[fold == one])
        units = units_of(label, chance, fold)
        sets = prediction_sets.of_folds(units, 0.9)
        of_own.append(np.mean((sets.low <= label) & (label <= sets.high)))
        sizes.append(sets.size.mean())
        calibration, (true, new) = prediction_sets.calibrate(units, 0.9, 5), cohort(rng, 20)
        chance_F = np.stack([model(new) for model in models], axis=1)
        for truth, one in zip(true, chance_F, strict=True):
            low, high = prediction_sets.of_new(one, one.argmax(1), int(one.mean(0).argmax()), calibration)
            of_new.append(low <= truth <= high)
    assert np.mean(of_own) == pytest.approx(0.91, abs=0.02)
    assert np.std(of_own) < 0.5 * np.sqrt(0.9 * 0.1 / 68)  # they calibrate each other
    assert 0.9 <= np.mean(of_new) <= 0.98
    assert 1.2 < np.mean(sizes) < 3  # else the test would pass by naming everything


def test_figures_are_counts_of_sets_and_few_patients_are_not_judged():
    label = [0] * 12 + [1] * 4 + [2] * 14
    units = units_of(label, np.eye(3)[label], np.arange(30) % 2)
    low = np.array(label) - (np.arange(30) % 3 == 0)
    sets = prediction_sets.Sets(np.maximum(low, 0), np.array(label), np.full(30, 15))
    found = set_figures.of_sets(units, sets, np.arange(30).astype(str), 0.9, None)
    size = sets.high - sets.low + 1
    assert found.figures["mean_size"].value == pytest.approx(size.mean())
    assert found.sizes == [(size == one).sum() for one in (1, 2, 3)]
    assert found.figures["one_category"].value == pytest.approx((size == 1).mean())
    assert found.figures["coverage"].value == 1
    assert [one.n for one in found.categories] == [12, 4, 14]
    assert found.categories[1].figures["coverage"].value is None
    assert "counted" in found.categories[1].figures["coverage"].note
    assert found.categories[2].figures["coverage"].low == pytest.approx(14 / (14 + stats.norm.ppf(0.975) ** 2))
    none = found.figures["mean_size"]  # six sets differ: too few to say how means vary
    assert (none.low, none.note) == (None, set_figures.ALIKE)
    step = np.arange(30) % 2
    ends = np.maximum(np.array(label) - step, 0), np.minimum(np.array(label) + step, 2)
    wider = prediction_sets.Sets(*ends, np.full(30, 15))
    size = wider.high - wider.low + 1
    figure = set_figures.of_sets(units, wider, np.arange(30).astype(str), 0.9, None).figures["mean_size"]
    assert (figure.low, figure.high) == pytest.approx(
        stats.t.interval(0.95, 29, size.mean(), stats.sem(size)), abs=1e-12
    )


def test_sets_do_not_depend_on_the_order_of_tests():
    rng = np.random.default_rng(6)
    units = units_of(rng.integers(0, K, 40), rng.dirichlet(np.ones(K), 40), np.arange(40) % 4)
    order = rng.permutation(40)
    other = units_of(units.label[order], units.probability[order], units.fold[order])
    found, again = prediction_sets.of_folds(units, 0.8), prediction_sets.of_folds(other, 0.8)
    assert list(itertools.chain(found.low[order], found.high[order])) == [*again.low, *again.high]


SHOWN = [0.05, 0.92, 0.31, 0.77, 0.48, 0.66, 0.12, 0.58, 0.41, 0.85, 0.23, 0.52, 0.36, 0.71, 0.09, 0.95, 0.61, 0.44]
SHOWN += [0.27, 0.80]
TRUE = [0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 1]
NEW = [0.02, 0.15, 0.30, 0.38, 0.45, 0.62, 0.70, 0.97]


def two_categories(x, label):
    """Probabilities of two categories: logistic around the middle between the means of both."""
    x, label = np.array(x), np.array(label)
    middle = (x[label == 0].mean() + x[label == 1].mean()) / 2

    def of(new):
        above = 1 / (1 + np.exp(-8 * (np.array(new) - middle)))
        return np.stack([1 - above, above], axis=1)

    return of


@pytest.mark.parametrize(
    ("wanted", "split", "cross"),
    [(0.8, "00000111", "00000111"), (0.9, "0000b111", "0000b111"), (0.94, None, "000bbb11")],
)
def test_of_two_categories_the_sets_are_those_of_mapie(wanted, split, cross):
    """MAPIE 1.6.0, conformity_score lac: SplitConformalClassifier, prefit on the first eight, and
    CrossConformalClassifier with cv KFold(5) and agg_scores crossval; b: both categories. At 0.94 it has 0000b111: it
    asks for a (n - 1) patients that score as much, 2 here, where the source asks for more than a (n + 1) - 1, 1 here.
    """
    x, label, fold = np.array(SHOWN), np.array(TRUE), np.repeat(np.arange(5), 4)

    def named(models, calibration):
        chance = np.stack([model(NEW) for model in models], axis=1)
        ends = [prediction_sets.of_new(one, one.argmax(1), int(one.mean(0).argmax()), calibration) for one in chance]
        return "".join("b" if low < high else str(low) for low, high in ends)

    model = two_categories(x[:8], label[:8])
    alone = units_of(label[8:], model(x[8:]))
    if split is not None:
        assert named([model], prediction_sets.calibrate(alone, wanted, 1)) == split
        quantile = {0.8: 0.5670929, 0.9: 0.59145898}[wanted]  # MAPIE's
        assert prediction_sets.limit(prediction_sets.own_scores(alone), wanted) == pytest.approx(quantile, abs=1e-6)
    models = [two_categories(x[fold != one], label[fold != one]) for one in range(5)]
    chance = np.concatenate([model(x[fold == one]) for one, model in enumerate(models)])
    assert named(models, prediction_sets.calibrate(units_of(label, chance, fold), wanted, 5)) == cross
