"""Labels that the scans contradict: found, listed wherever people look, and otherwise as they were."""

import json

import numpy as np
import pandas as pd
import pytest

from cac_hpc.evaluation import evaluate
from cac_hpc.evaluation.outcome import Outcome
from cac_hpc.labels import second_look
from cac_hpc.report import aggregation
from cac_hpc.train.lesion_results import Scores
from cac_hpc.train.predictions import Predictions
from tests.support.reports import check_report, make_run, report_of

SCORES = (0.0, 8.0, 60.0, 300.0, 800.0, 3000.0)
STUDIES = [f"s_{number:02d}" for number in range(18)]  # category: number % 6
WRONG = {"s_00": (812.4, 640.0), "s_06": (812.4, 40.0), "s_05": (0.0, 0.0), "s_03": (0.0, 0.0)}


@pytest.mark.parametrize(
    ("reported", "counted", "found"),
    [
        (0.0, [101, 250], True),
        (0.0, [100, 250], False),
        (0.0, [0, 2000], False),
        (1.0, [2000, 2000], False),
        (401.0, [0, 0], True),
        (None, [0.0], True),  # above the last edge
        (400.0, [0, 0], False),
        (3000.0, [0, 1], False),
        (0.0, [], False),
        (3000.0, [], False),
    ],
)
def test_only_what_every_reader_contradicts_grossly_is_found(reported, counted, found):
    assert second_look.is_contradicted(reported, counted) == found


def test_a_study_that_nobody_could_count_in_has_no_counts():
    facts = {"agatston_score": None, "agatston_control": float("nan")}
    assert second_look.counted_of(facts) == second_look.counted_of({}) == {}
    assert second_look.counted_of({"agatston_score": 0, "agatston_control": 3.5}) == {"rule": 0, "control": 3.5}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    scores = {study: SCORES[number % 6] for number, study in enumerate(STUDIES)}
    counted = {study: WRONG.get(study, (scores[study], scores[study])) for study in STUDIES}
    facts = {
        "agatston_score": {study: rule for study, (rule, _) in counted.items()},
        "agatston_slices": {study: f"0 {rule}" for study, (rule, _) in counted.items()},
        "agatston_control": {study: control for study, (_, control) in counted.items()},
        "control_slices": {study: f"0 {control}" for study, (_, control) in counted.items()},
        "agatston_empty_slices": dict.fromkeys(STUDIES, 0.5),
    }
    told = {(study, number % 6): [number % 6] * 2 for number, study in enumerate(STUDIES)}
    made = make_run(tmp_path_factory.mktemp("look"), told, score=scores, facts=facts, report={"draws": 200})
    assert aggregation.aggregate(made.root)
    return made


def test_the_report_lists_them_by_key_and_changes_nothing(run):
    report = report_of(run)
    assert report["second_look"] == [
        {"study": "s_00", "reported": 0.0, "counted": {"rule": 812.4, "control": 640.0}},
        {"study": "s_05", "reported": 3000.0, "counted": {"rule": 0.0, "control": 0.0}},
    ]
    assert report["cohort"]["studies"] == report["levels"]["patient"]["pooled"]["n"] == 18
    check_report(run)
    text = (run.report / "report.md").read_text(encoding="utf-8")
    assert "## Labels for a second look" in text
    assert "| s\\_00 | 0 | 812 | 640 |" in text
    page = (run.report / "report.html").read_text(encoding="utf-8")
    assert '<a href="#labels">Labels for a second look</a>' in page
    assert "2 labels are contradicted by the scan" in page
    table = pd.read_csv(run.report / "tables" / "second_look.csv")
    assert table.to_dict("records")[1] == {"study": "s_05", "reported": 3000, "rule": 0, "control": 0}


def test_without_any_nothing_is_said_of_it(run, tmp_path, no_pictures):
    told = {(study, number % 6): [number % 6] * 2 for number, study in enumerate(STUDIES)}
    plain = make_run(tmp_path, told, report={"draws": 200})
    assert aggregation.aggregate(plain.root)
    assert "second_look" not in report_of(plain)
    assert "second look" not in (plain.report / "report.md").read_text(encoding="utf-8")
    assert json.loads((run.report / "report.json").read_text())["second_look"]


def test_a_lesion_model_is_asked_of_the_studies_that_it_tested():
    study = np.array(["a", "b"])
    zeros = np.zeros(2)
    fold = {
        0: Scores(study, zeros, np.array([300.0, 40.0]), zeros, np.zeros((2, 6))),
        1: Scores(study[:1], zeros[:1], np.array([100.0]), zeros[:1], np.zeros((1, 6))),
    }
    outcome = Outcome(dict[int, Predictions](), fold)
    assert outcome.study_scores() == {"a": 200, "b": 40}
    studies = pd.DataFrame(
        {"study": ["a", "b", "c"], "score": ["0", "0", "0"], "agatston_score": ["500", "500", "500"]}
    )
    found = evaluate._second_look(outcome, studies)
    assert [(one.study, one.counted) for one in found] == [("a", {"rule": 500, "model": 200}), ("c", {"rule": 500})]
