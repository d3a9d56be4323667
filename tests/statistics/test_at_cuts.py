"""Everything at the cuts: decisions by hand and by dcurves, who is not judged, draws, and the order of categories."""

from dataclasses import replace

import numpy as np
import pytest

from cac_hpc.labels import labels
from cac_hpc.results.cuts import Cuts
from cac_hpc.results.figures import Absent
from cac_hpc.results.serialization import from_json, to_json
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import at_cuts, decisions, intervals, ranking
from cac_hpc.statistics.at_cuts import at_cuts as compute
from cac_hpc.statistics.cuts import Cut, Judge
from cac_hpc.statistics.pooling import Units
from cac_hpc.train import ordinal
from tests.support import binary

EDGES = (0, 10, 100, 400, 1000)
CFG = ReportConfig(draws=200)


def judged(reported, probability, predicted=None, patient=None, edges=EDGES, **known):
    reported = np.array(reported, float)
    patient = np.arange(len(reported)) if patient is None else np.array(patient)
    count = 1 + int(patient.max())
    predicted = probability.argmax(axis=1) if predicted is None else np.array(predicted)
    label = labels.categories(reported, edges)
    units = Units(label, predicted, probability, patient, patient * 0, reported, count, count)
    return Judge("model", "the model", units, **known)


def cohort(n=80, seed=0):
    """A model with errors of scores, and the rule, of the same patients."""
    rng = np.random.default_rng(seed)
    score = np.round(np.where(rng.random(n) < 0.35, 0, rng.lognormal(4.5, 1.8, n)))
    read = np.expm1(np.maximum(np.log1p(score) + rng.logistic(0, 0.8, n), 0))
    model = judged(score, ordinal.probabilities(read, 0.8, EDGES, 0.02), labels.categories(read, EDGES), score=read)
    rule = Judge("rule", "the rule", model.units, False, np.round(score * rng.lognormal(0, 0.8, n)))
    return model, rule


def curves(judges, edges):
    """Net benefit at 100, with intervals from draws."""
    found = decisions.decisions(judges[0].units, judges, [Cut(100, False)], edges)
    drawn = intervals.in_draws([(judges[0].units.patient, found.benefit)], CFG.draws, CFG.seed)
    return found.curves("model", drawn)


def two_categories(chance, event):
    """Probabilities of being above 100, of patients who are or are not."""
    score = np.where(event, 500.0, 50.0)
    return judged(score, np.stack([1 - chance, chance], axis=1), edges=(100,))


def test_net_benefit_is_that_of_dcurves_and_of_counts():
    """dcurves 1.1.7, dca() at these thresholds."""
    model = two_categories(binary.CHANCE, binary.EVENT)
    (found,) = curves([model], (100,))
    ways = {way.key: way for way in found.ways}
    at = [found.thresholds.index(one) for one in (0.05, 0.25, 0.5, 0.75)]
    assert [ways["model"].values[one] for one in at] == pytest.approx([0.423684, 0.291667, 0.2, 0.175], abs=1e-6)
    assert [ways["all"].values[one] for one in at] == pytest.approx([0.421053, 0.266667, -0.1, -1.2], abs=1e-6)
    assert set(ways["none"].values) == {0.0}
    assert found.thresholds == pytest.approx(np.arange(0.05, 0.96, 0.05))
    treated = zip(ways["model"].true_positives, ways["model"].false_positives, strict=True)
    for threshold, value, counts in zip(found.thresholds, ways["model"].values, treated, strict=True):
        treats = np.greater_equal(binary.CHANCE, threshold)
        right, wrong = (treats & binary.EVENT).sum(), (treats & ~binary.EVENT).sum()
        assert counts == (right, wrong)
        assert value == pytest.approx((right - wrong * threshold / (1 - threshold)) / 40)


def test_ways_to_decide_are_compared_in_the_same_draws():
    model, rule = cohort()
    (found,) = curves([rule, model], EDGES)
    ways = {way.key: way for way in found.ways}
    assert [(way.key, way.by) for way in found.ways] == [
        ("all", "nothing"), ("none", "nothing"), ("rule", "own_cut"), ("model", "probability")
    ]  # fmt: skip
    event, said = model.units.score >= 100, rule.score >= 100
    cost = np.array(found.thresholds) / (1 - np.array(found.thresholds))
    assert ways["rule"].values == pytest.approx(((event & said).sum() - cost * (~event & said).sum()) / 80)
    assert ways["rule"].more == pytest.approx(np.array(ways["model"].values) - ways["rule"].values)
    assert (ways["none"].more, ways["none"].more_low) == (ways["model"].values, ways["model"].low)
    assert ways["model"].more is None
    assert set(ways["rule"].true_positives) == {(event & said).sum()}
    assert set(ways["all"].false_positives) == {(~event).sum()}
    same = replace(model, key="run", name="the same")
    (again,) = curves([same, model], EDGES)
    twin = next(way for way in again.ways if way.key == "run")
    assert (set(twin.more), set(twin.more_low)) == ({0.0}, {None})  # the same in every draw


def test_sensitivity_is_counted_at_a_readers_own_cut():
    event = np.array([True, True, True, False, False])
    units = two_categories(np.full(5, 0.5), event).units
    found = decisions.figures(event, np.array([True, True, False, True, False]), units)
    assert [found[name].value for name in ("sensitivity", "specificity", "ppv", "npv")] == pytest.approx(
        [2 / 3, 1 / 2, 2 / 3, 1 / 2]
    )
    assert (found["sensitivity"].n, found["npv"].n, found["ppv"].interval) == (3, 2, "wilson")
    nobody = decisions.figures(event, np.zeros(5, bool), units)
    assert (nobody["ppv"].value, nobody["ppv"].note) == (None, decisions.NOBODY)
    assert decisions.figures(event, None, units)["sensitivity"].note == decisions.UNDECIDED


def test_a_score_of_exactly_100_is_an_event_and_decides_as_one():
    model = judged([100.0] * 12 + [99.0] * 12, np.tile([0, 0, 1.0, 0, 0, 0], (24, 1)), score=np.repeat([100.0, 99], 12))
    found = compute(model, [model], EDGES, ReportConfig(draws=200, cuts=(100,)), "patient").at[0]
    assert (found.positives, found.negatives, found.exactly) == (12, 12, 12)
    assert (found.figures["sensitivity"].value, found.figures["specificity"].value) == (1.0, 1.0)
    assert found.figures["auroc"].value == 0.5  # of the probabilities of the categories, which are alike


def test_few_patients_with_the_event_are_counted_and_not_judged():
    model, _ = cohort(60)
    score = np.where(np.argsort(np.argsort(model.units.score)) >= 60 - 9, 5000.0, 50.0)
    few = judged(score, model.units.probability)
    found = compute(few, [few], EDGES, CFG, "patient")
    at_400 = found.at[2]
    assert (at_400.positives, at_400.negatives) == (9, 51)
    assert {figure.value for figure in at_400.figures.values()} == {None}
    assert {figure.note for figure in at_400.figures.values()} == {at_cuts.FEW}
    assert at_400.brier_parts == at_400.calibration == at_400.decisions == Absent(at_cuts.FEW)
    assert (at_400.points, at_400.spreads) == ([], [])
    assert list(at_400.figures) == list(at_cuts.JUDGED)
    again = np.repeat(np.arange(30), 2)  # the same of 18 tests of nine patients
    twice = judged(np.repeat(score[:30], 2), np.repeat(model.units.probability[:30], 2, axis=0), patient=again)
    assert compute(twice, [twice], EDGES, CFG, "patient").at[1].figures["auroc"].value is None


def test_a_cut_that_is_no_edge_has_a_probability_only_by_an_error_model():
    model, rule = cohort()
    cfg = replace(CFG, cuts=(200.0,))
    found = compute(model, [rule, model], EDGES, cfg, "patient").at[0]
    assert found.chance_note == "labels.edges have no 200, and the model has no error model of its scores"
    assert found.figures["brier"].note == found.chance_note
    assert found.figures["auroc"].note == "by the predicted score"
    assert next(way for way in found.decisions.ways if way.key == "model").by == "own_cut"
    known = replace(model, chances={200.0: ordinal.exceeding(model.score, 0.8, EDGES, 200.0, 0.02)})
    by_errors = compute(known, [rule, known], EDGES, cfg, "patient").at[0]
    assert by_errors.chance_note is None
    assert by_errors.figures["brier"].value is not None
    network = replace(model, score=None)  # of categories alone: nothing at all
    nothing = compute(network, [network], EDGES, cfg, "patient").at[0]
    assert {figure.value for figure in nothing.figures.values()} == {None}
    assert nothing.decisions.absent == ["the model: neither probabilities nor a cut of its own here"]


def test_predictions_without_probabilities_have_decisions_and_no_calibration():
    model, _ = cohort()
    bare = replace(model, probabilities=False, score=None)
    found = compute(bare, [bare], EDGES, CFG, "patient")
    assert found.at[1].figures["sensitivity"].value is not None
    assert found.at[1].figures["auroc"].note == at_cuts.NO_PROBABILITIES
    assert found.ordinal["ranked_probability_score"].note == at_cuts.NO_PROBABILITIES
    assert found.ordinal["c_index"].value is not None


def test_every_figure_has_an_interval_around_it_and_all_is_the_same_again():
    model, rule = cohort(160)
    found = compute(model, [rule, model], EDGES, CFG, "patient")
    for at in found.at:
        known = [one for name, one in at.figures.items() if name != "brier_of_prevalence"]
        assert all(one.low <= one.value <= one.high for one in known), at.cut
        assert at.figures["auroc"].low == pytest.approx(at.figures["auroc_delong"].low, abs=0.03)
        parts, brier = at.brier_parts, at.figures["brier"].value
        assert parts.miscalibration - parts.discrimination + parts.uncertainty == pytest.approx(brier, abs=1e-12)
        assert sum(one.n for one in at.spreads) == 160
    assert found == compute(model, [rule, model], EDGES, CFG, "patient")
    assert from_json(to_json(found), Cuts) == found


def test_tests_of_one_patient_are_drawn_together():
    model, _ = cohort(40)
    again = np.tile(np.arange(40), 3)
    units = replace(
        model.units, patient=again, **{name: np.concatenate([getattr(model.units, name)] * 3) for name in
        ("label", "predicted", "probability", "fold", "score")},
    )  # fmt: skip
    thrice = replace(model, units=units, score=None)
    once = compute(replace(model, score=None), [], EDGES, CFG, "patient").at[1].figures
    found = compute(thrice, [], EDGES, CFG, "patient").at[1].figures
    for name in ("auroc", "average_precision", "brier"):
        assert (found[name].value, found[name].low, found[name].high) == pytest.approx(
            (once[name].value, once[name].low, once[name].high), abs=1e-6
        )
    assert found["auroc_delong"].low is None
    assert found["calibration_slope"].low == pytest.approx(once["calibration_slope"].low)


def test_many_units_are_drawn_in_proportion_and_give_the_same_intervals(monkeypatch):
    model, _ = cohort(2000)
    exact = compute(model, [], EDGES, CFG, "patient")
    monkeypatch.setattr(at_cuts, "MANY", 1000)
    found = compute(model, [], EDGES, CFG, "patient")
    for one, other in zip((*exact.at, exact), (*found.at, found), strict=True):
        pairs = (one.figures, other.figures) if hasattr(one, "figures") else (one.ordinal, other.ordinal)
        for name in pairs[0]:
            if pairs[0][name].low is not None:
                assert pairs[1][name].low == pytest.approx(pairs[0][name].low, abs=0.002), name


def test_ranked_probability_score_by_hand():
    probability = np.array([[0.5, 0.3, 0.2], [0, 0, 1]])
    found = at_cuts.ranked_probability(np.array([1, 0]), probability)
    assert found == pytest.approx([(0.5**2 + 0.2**2) / 2, 1.0])


def test_the_c_index_of_the_report_is_that_of_pairs():
    model, _ = cohort(40)
    found = compute(replace(model, score=None), [], EDGES, CFG, "patient").ordinal
    label, value = model.units.label, model.units.expected_category
    pairs = [
        (value[i] < value[j]) + (value[i] == value[j]) / 2 for i in range(40) for j in range(40) if label[i] < label[j]
    ]
    assert found["c_index"].value == pytest.approx(np.mean(pairs))
    assert found["c_index"].value == pytest.approx(
        ranking.concordance(ranking.Ranked(value), label, np.ones((1, 40)))[0]
    )
    frequency = np.bincount(label, minlength=6) / 40
    wanted = np.mean([((np.cumsum(frequency)[:5] - (one <= np.arange(5))) ** 2).mean() for one in label])
    assert found["ranked_probability_score_of_frequencies"].value == pytest.approx(wanted)


def test_nothing_tested_is_nothing_judged():
    empty = judged([1.0], np.eye(6)[:1])
    units = empty.units
    none = {
        name: getattr(units, name)[:0] for name in ("label", "predicted", "probability", "patient", "fold", "score")
    }
    found = compute(replace(empty, units=replace(units, num_patients=0, distinct=0, **none)), [], EDGES, CFG, "patient")
    assert (found.n, found.ordinal, [one.n for one in found.at]) == (0, {}, [0, 0, 0])
