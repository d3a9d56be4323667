"""Who is above a cut of the score by the labels, and how likely by the categories."""

import numpy as np
import pytest

from cac_hpc.settings.errors import InputError
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import cuts

EDGES = (0, 10, 100, 400, 1000)


def decide(cut, scores, labels, edges=EDGES):
    return cuts.truth(cut, np.array(labels), np.array(scores, float), edges)


def test_a_score_of_exactly_the_cut_is_above_it_except_of_zero():
    scores, labels = [0, 0.5, 99.9, 100, 100.1, 400, 2000], [0, 1, 2, 2, 3, 3, 5]
    at_100, at_400, at_0 = (decide(cut, scores, labels) for cut in (100, 400, 0))
    assert at_100.event.tolist() == [False, False, False, True, True, True, True]
    assert at_400.event.tolist() == [False, False, False, False, False, True, True]
    assert at_0.event.tolist() == [False, True, True, True, True, True, True]
    assert (at_0.cut.event, at_100.cut.event) == ("> 0", ">= 100")
    assert (at_100.exactly, at_400.exactly, at_0.exactly) == (1, 1, 1)
    assert at_100.note is None


def test_a_label_above_1000_is_above_every_cut_up_to_there_and_says_nothing_of_higher_ones():
    scores, labels = [np.nan, 50, 1000, 3000], [5, 2, 4, 5]
    for cut, wanted in {0: [1, 1, 1, 1], 100: [1, 0, 1, 1], 400: [1, 0, 1, 1], 1000: [1, 0, 1, 1]}.items():
        found = decide(cut, scores, labels)
        assert found.event.tolist() == list(map(bool, wanted)), cut
        assert found.note == "1 units are known by their category alone, which lies on one side of the cut"
    beyond = decide(2000, scores, labels)
    assert beyond.event is None
    assert beyond.note == (
        "1 units are known by their category alone, which 2000 divides: labels do not tell who is >= 2000"
    )


def test_labels_that_are_categories_decide_above_a_cut_that_ends_one():
    unknown, labels = [np.nan] * 4, [0, 2, 3, 5]
    found = decide(100, unknown, labels)
    assert found.cut.event == "> 100"
    assert found.event.tolist() == [False, False, True, True]
    assert found.note == "3 units are known by their category alone, which ends at 100 and with it".replace("3", "1")
    mixed = decide(100, [np.nan, 100], [2, 2])  # who has exactly 100 counts like one of whom that is not known
    assert (mixed.cut.event, mixed.event.tolist()) == ("> 100", [False, False])
    assert decide(0, unknown, labels).event.tolist() == [False, True, True, True]
    assert decide(300, unknown, labels).event is None


def test_the_probability_of_being_above_an_edge_is_that_of_the_categories_behind_it():
    probability = np.array([[0.1, 0.2, 0.3, 0.2, 0.15, 0.05], [0, 0, 0, 0, 0, 1]])
    assert cuts.chance(probability, EDGES, 100).tolist() == [0.4, 1.0]
    assert cuts.chance(probability, EDGES, 0).tolist() == [0.9, 1.0]
    assert cuts.chance(probability, EDGES, 300) is None


@pytest.mark.parametrize("wrong", [(100, 0), (0, 0), (-1,), (0, 20_000)])
def test_cuts_are_rising_scores(wrong):
    with pytest.raises(InputError, match=r"report\.cuts is .*each above the one before"):
        ReportConfig(cuts=wrong)
    assert ReportConfig(cuts=()).cuts == ()
