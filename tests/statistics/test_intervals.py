"""Intervals against published numbers, and how often they cover the truth."""

import numpy as np
import pytest
import scipy

from cac_hpc.statistics import intervals, metrics


def test_wilson_gives_the_published_interval():
    # Newcombe 1998, Stat Med 17:857, table I, method 3
    assert intervals.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert intervals.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert intervals.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_one_unit_per_patient_is_plain_wilson_and_equal_units_of_a_patient_add_nothing():
    single = intervals.proportion(np.array([1, 1, 0, 1]), np.ones(4))
    assert (single.low, single.high) == intervals.wilson(3, 4)
    assert single.method == "wilson"
    repeated = intervals.proportion(np.array([9, 9, 9, 9]), np.full(4, 9))
    assert (repeated.low, repeated.high, repeated.method) == (*intervals.wilson(4, 4), "wilson_cluster")


def test_patients_without_a_unit_do_not_count():
    with_empty = intervals.proportion(np.array([1, 0, 0, 2, 0]), np.array([2, 0, 2, 2, 0]))
    assert with_empty == intervals.proportion(np.array([1, 0, 2]), np.array([2, 2, 2]))


def test_there_is_no_interval_from_one_patient_nor_from_nothing():
    assert intervals.proportion(np.array([3]), np.array([4])) == intervals.none("units of one patient only")
    assert intervals.proportion(np.array([0, 0]), np.array([0, 0])) == intervals.none("nothing to count")


def test_there_is_no_drawn_interval_from_few_patients_nor_from_what_is_often_undefined_nor_from_what_never_varies():
    assert "fewer than 10 patients" in (intervals.bootstrap(np.linspace(0, 1, 100), 9).note or "")
    value = np.where(np.arange(200) < 30, np.nan, 0.5)
    assert intervals.bootstrap(value, 20).note == "undefined in 30 of 200 draws"
    assert intervals.bootstrap(np.full(200, 1.0), 20).note == "the same in every draw, so resampling cannot tell"
    some = intervals.bootstrap(np.where(np.arange(200) < 5, np.nan, np.linspace(0, 1, 200)), 20)
    assert some.low is not None
    assert some.note == "undefined in 5 of 200 draws"


def test_a_figure_is_never_outside_its_interval():
    drawn = intervals.bootstrap(np.linspace(0, 1, 100), 20)
    assert intervals.around(0.5, drawn) == intervals.around(drawn.low, drawn) == drawn
    for value in (drawn.low - 1e-4, drawn.high + 1e-4):
        without = intervals.around(value, drawn)
        assert (without.low, without.high, without.method) == (None, None, None)
        assert "no interval" in without.note
    assert intervals.around(7.0, intervals.none("why")).note == "why"


def draws(num_patients, num_draws, seed):
    return np.concatenate([intervals.draw(num_patients, block, seed) for block in intervals.blocks(num_draws)])


def test_draws_take_as_many_patients_as_there_are_and_do_not_depend_on_the_block(monkeypatch):
    whole = draws(37, 100, seed=4)
    assert whole.shape == (100, 37)
    assert (whole.sum(axis=1) == 37).all()
    assert abs(whole.mean(axis=0) - 1).max() < 0.4
    assert len(np.unique(whole, axis=0)) == 100
    monkeypatch.setattr(intervals, "DRAWS_AT_ONCE", 7)
    assert (draws(37, 100, seed=4) == whole).all()
    assert not (draws(37, 100, seed=5) == whole).all()


@pytest.mark.parametrize(("share", "count"), [(0.5, 20), (0.9, 30), (0.97, 68), (0.1, 200)])
def test_wilson_covers_a_proportion_in_95_of_100_studies(share, count):
    found = np.random.default_rng(1).binomial(count, share, 4000)
    bounds = {int(successes): intervals.wilson(successes, count) for successes in np.unique(found)}
    covered = np.mean([bounds[one][0] <= share <= bounds[one][1] for one in found.tolist()])
    assert 0.925 <= covered <= 0.985  # Wilson's own steps at these sizes, and 0.003 of chance


@pytest.mark.parametrize(("share", "spread", "patients"), [(0.9, 2.0, 30), (0.7, 5.0, 60), (0.5, 1.0, 20)])
def test_slices_of_patients_cover_their_share_in_95_of_100_studies(share, spread, patients):
    rng, covered, naive = np.random.default_rng(2), [], []
    for _ in range(1500):
        count = rng.integers(20, 61, patients)
        successes = rng.binomial(count, rng.beta(share * spread, (1 - share) * spread, patients))
        found = intervals.proportion(successes, count)
        covered.append(found.low <= share <= found.high)
        low, high = intervals.wilson(successes.sum(), count.sum())
        naive.append(low <= share <= high)
    assert 0.91 <= np.mean(covered) <= 0.98  # the first, where most patients are all right or all wrong, has 0.917
    assert np.mean(naive) < 0.75  # what counting slices as independent would claim


def test_drawn_intervals_cover_kappa_in_95_of_100_studies():
    """Patients of four slices whose errors go together; the truth is the kappa of very many."""
    rng = np.random.default_rng(3)

    def study(num_patients):
        label = rng.integers(0, 4, num_patients)
        skill = rng.beta(4, 2, num_patients)
        right = rng.random((4, num_patients)) < skill
        wrong = np.clip(label + rng.choice([-2, -1, 1, 2], (4, num_patients)), 0, 3)
        predicted = np.where(right, label, wrong)
        cell = (np.arange(num_patients) * 4 + label) * 4 + predicted
        return np.bincount(cell.ravel(), minlength=num_patients * 16).reshape(num_patients, 4, 4)

    truth = metrics.forms(study(400_000).sum(axis=0)[None])
    names, covered = ("kappa_plain", "kappa_quadratic", "f1_macro", "icc"), []
    for seed in range(400):
        found = study(60)
        drawn = draws(60, 400, seed) @ found.reshape(60, 16)
        values = metrics.drawn(drawn.reshape(-1, 4, 4), found.sum(axis=0))
        bounds = [intervals.bootstrap(values[name][:, 0], 60) for name in names]
        covered.append([one.low <= truth[name][0, 0] <= one.high for one, name in zip(bounds, names, strict=True)])
    # 400 studies leave a standard error of 0.011
    assert ((np.mean(covered, axis=0) >= 0.915) & (np.mean(covered, axis=0) <= 0.98)).all(), np.mean(covered, axis=0)


def test_a_quantile_is_worked_out_once(monkeypatch):
    asked, of = [], scipy.stats.t.ppf
    monkeypatch.setattr(scipy.stats.t, "ppf", lambda *given: asked.append(given) or of(*given))
    intervals.student.cache_clear()
    first, second = (intervals.bootstrap(np.arange(100.0), 51) for _ in range(2))
    assert first == second
    assert len(asked) == 1


def test_parts_of_other_units_are_made_of_the_same_draws_of_patients():
    patient, again = np.arange(12), np.repeat(np.arange(12), 2)
    parts = [(patient, lambda weight: [weight]), (again, lambda weight: [weight, weight.sum(axis=1)])]
    one, two, total = intervals.in_draws(parts, 70, seed=3)
    assert np.array_equal(one[:, again], two)
    assert (total == 24).all()
    together = list(intervals.in_draws([parts[0], (patient, lambda weight: [2 * weight])], 70, seed=3))
    assert np.array_equal(together[0], one)
    assert np.array_equal(together[1], 2 * one)
