"""The folds' networks asked together, compared with sums worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit

from cac_hpc.predict import ensemble
from cac_hpc.predict.bundle import FoldSettings
from cac_hpc.statistics.prediction_sets import Calibration
from cac_hpc.train import ordinal
from tests.support import bags, bundles

WINDOW = (-200.0, 800.0)


def test_the_mean_over_the_folds_decides_what_counts():
    """Logits are 8 (share - 0.5) + bias: the folds say 0.5, 0.12 and 0.98 of the first candidate."""
    found = bags.make([40.0, 7.5, 1000.0], share_C=[0.5, 0.9, 0.1], up_C=[0, 0, 0])
    answer = ensemble.answer_lesions(ensemble.of_bundle(bundles.lesions((0.0, -2.0, 4.0))), found)
    by_fold = expit(8 * (np.array([0.5, 0.9, 0.1]) - 0.5) + np.array([[0.0], [-2.0], [4.0]]))
    assert answer.probability_C == pytest.approx(by_fold.mean(axis=0), abs=1e-6)
    assert (answer.probability_C > 0.5).tolist() == [True, True, False]
    assert answer.score == 47.5
    assert answer.category == 2  # 10 to 100
    assert answer.fold_scores == (7.5, 7.5, 1047.5)  # 0.5 is not above 0.5, and 4 - 3.2 is above 0
    assert answer.fold_categories == (1, 1, 5)
    wanted = ordinal.probabilities(np.array([47.5]), 0.3, (0, 10, 100, 400, 1000), 0.01)[0]  # 0.2, 0.3, 0.4
    assert answer.probability == pytest.approx(wanted)
    assert sum(answer.probability) == pytest.approx(1)
    wanted = ordinal.probabilities(np.array([1047.5]), 0.4, (0, 10, 100, 400, 1000), 0.01)
    assert answer.fold_probability_FK[2] == pytest.approx(wanted[0])


def test_a_prediction_set_asks_each_fold_and_always_names_what_all_say_together():
    found = bags.make([40.0, 7.5, 1000.0], share_C=[0.5, 0.9, 0.1], up_C=[0, 0, 0])
    answer = ensemble.answer_lesions(ensemble.of_bundle(bundles.lesions((0.0, -2.0, 4.0))), found)
    assert ensemble.prediction_set(answer, None) is None
    right = Calibration(0.7, ((0.0,) * 8,) * 3)  # patients whose category was predicted: each fold names its own
    assert ensemble.prediction_set(answer, right) == (1, 5)  # 1, 1 and 5, and 2 of all together
    assert ensemble.prediction_set(answer, Calibration(0.5, right.scores)) == (1, 2)  # one fold alone is not enough
    assert ensemble.prediction_set(answer, Calibration(0.99, right.scores)) == (0, 5)  # 24 patients are too few


def test_a_study_without_candidates_scores_nothing():
    answer = ensemble.answer_lesions(ensemble.of_bundle(bundles.lesions()), bags.make([], [], []))
    assert (answer.score, answer.category, answer.fold_scores) == (0.0, 0, (0.0, 0.0))


@pytest.mark.parametrize("rule", ["mean", "majority", "top_k"])
def test_slices_are_averaged_over_the_folds_and_then_pooled_as_the_run_says(rule):
    asked = ensemble.of_bundle(bundles.slices(patient_rule=rule, top_k=3))
    hu_ZSS = np.random.default_rng(0).integers(-300, 1000, (19, 32, 32)).astype(np.int16)
    answer, probability_ZK = ensemble.answer_slices(asked, hu_ZSS)
    x_ZCHW = torch.from_numpy(np.clip((hu_ZSS - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)[:, None]).float()
    with torch.inference_mode():
        by_fold = np.stack([model(x_ZCHW).softmax(dim=1).numpy() for model in asked.models])
    mean_ZK = by_fold.mean(axis=0)
    assert probability_ZK == pytest.approx(mean_ZK, abs=1e-5)
    pooled = {
        "mean": mean_ZK.mean(axis=0),
        "majority": np.bincount(mean_ZK.argmax(axis=1), minlength=6) / 19,
        "top_k": np.sort(mean_ZK, axis=0)[-3:].mean(axis=0),
    }[rule]
    assert answer.probability == pytest.approx(pooled / pooled.sum(), abs=1e-5)
    assert (answer.score, answer.category, answer.fold_scores) == (None, pooled.argmax(), ())
    assert len(answer.fold_categories) == 2
    if rule == "mean":
        assert answer.fold_probability_FK == pytest.approx(by_fold.mean(axis=1), abs=1e-5)


def test_each_network_of_slices_sees_its_own_window():
    same = bundles.slices()
    windows = ((-200.0, 800.0), (0.0, 400.0))
    own = replace(same, own=tuple(FoldSettings(same.model, window_hu) for window_hu in windows))
    hu_ZSS = np.random.default_rng(0).integers(-300, 1000, (3, 32, 32)).astype(np.int16)
    _, found_ZK = ensemble.answer_slices(ensemble.of_bundle(own), hu_ZSS)
    alone = []
    for fold, window_hu in enumerate(windows):
        single = replace(same, window_hu=window_hu, weights=same.weights[fold : fold + 1])
        alone.append(ensemble.answer_slices(ensemble.of_bundle(single), hu_ZSS)[1])
    assert found_ZK == pytest.approx(np.mean(alone, axis=0))
    assert own.widest_hu == (-200.0, 800.0)
