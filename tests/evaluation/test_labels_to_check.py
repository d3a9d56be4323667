"""Labels that all readers contradict in agreement: found, and in the order in which to look again."""

import numpy as np
import pandas as pd
import pytest

from cac_hpc.evaluation import labels_to_check
from cac_hpc.evaluation.readers import Heard, Said
from cac_hpc.report import aggregation, markdown
from cac_hpc.results.audits import LabelsToCheck, LabelToCheck
from cac_hpc.results.figures import Absent
from cac_hpc.sections import label_parts
from cac_hpc.statistics.pooling import Units
from tests.support.reports import check_report, make_run, typed_report_of

SCORES = (0.0, 8.0, 60.0, 300.0, 800.0, 3000.0)
STUDIES = [f"s_{number:02d}" for number in range(40)]
TRUE = {study: number % 6 for number, study in enumerate(STUDIES)}
PLANTED = {"s_11": 0, "s_09": 5, "s_20": 3}  # truly 5, 3 and 2


def make(root, planted):
    """A cohort whose readers know the truth, but for one whom the rule misreads, and one whom the model does."""
    label = {**TRUE, **planted}
    told = {(study, label[study]): [TRUE[study]] * 2 for study in STUDIES}
    told["s_01", label["s_01"]] = [4, 4]
    counted = {study: SCORES[TRUE[study]] for study in STUDIES} | {"s_02": 2000.0}
    facts = dict.fromkeys(("agatston_score", "agatston_control"), counted)
    facts |= {
        name: {study: f"0 {counted[study]}" for study in STUDIES} for name in ("agatston_slices", "control_slices")
    }
    facts["agatston_empty_slices"] = dict.fromkeys(STUDIES, 0.5)
    reported = {study: SCORES[label[study]] for study in STUDIES}
    run = make_run(root, told, score=reported, facts=facts, report={"draws": 200})
    assert aggregation.aggregate(run.root)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make(tmp_path_factory.mktemp("check"), PLANTED)


def test_planted_wrong_labels_come_first_by_how_far_they_would_move(run):
    found = typed_report_of(run).labels_to_check
    assert (found.readers, found.patients) == (["rule", "control", "model"], 40)
    assert [(one.patient, one.category, one.read) for one in found.labels] == [
        ("s_11", 0, 5), ("s_09", 5, 3), ("s_20", 3, 2),
    ]  # fmt: skip
    first = found.labels[0]
    assert first.probability == pytest.approx(0.98)  # 0.9 to what is predicted, 0.02 to each other
    assert first.expected_change == pytest.approx(0.9 * 5 + 0.02 * (1 + 2 + 3 + 4))
    assert first.score == 0


def test_they_are_on_the_page_and_in_a_table_and_nothing_is_changed(run):
    check_report(run)
    table = pd.read_csv(run.report / "tables" / "labels_to_check.csv")
    assert table["patient"].tolist() == ["s_11", "s_09", "s_20"]
    assert list(table) == ["patient", "score", "category", "read", "probability", "expected_change"]
    page = (run.report / "report.html").read_text(encoding="utf-8")
    assert "In 3 of 40 patients all of Agatston rule, untrained control, network agree" in page
    assert "| s\\_11 | 0 |" in (run.report / "report.md").read_text(encoding="utf-8")
    assert typed_report_of(run).levels["patient"].pooled.n == 40


def test_a_cohort_without_wrong_labels_has_none_to_check(tmp_path, no_pictures):
    report = typed_report_of(make(tmp_path, {}))
    assert report.labels_to_check.labels == []
    assert label_parts.sections(report) == []
    assert label_parts.csv(report) == {}


def heard(label, by_rule, by_model, probability, patient, names):
    label, patient = np.array(label), np.array(patient)

    def said(predicted):
        units = Units(label, np.array(predicted), np.array(probability), patient, np.zeros(len(label), int),
                      np.full(len(label), np.nan), len(names), len(names))  # fmt: skip
        return Said("", {"patient": units})

    return Heard({"rule": said(by_rule), "model": said(by_model)}, [], pd.DataFrame({"patient": names}), 0)


def test_a_patient_is_listed_once_and_only_if_every_test_agrees():
    likely, wrong, right = [0.1, 0.9], [0.2, 0.8], [0.9, 0.1]
    told = heard([0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0], [likely, wrong, likely, right], [0, 0, 1, 1], ["a", "b"])
    found = labels_to_check.find(told)
    assert [(one.patient, one.score) for one in found.labels] == [("a", None)]
    assert found.labels[0].expected_change == pytest.approx(0.85)


def test_one_reader_alone_agrees_with_nobody():
    told = heard([0], [1], [1], [[0.1, 0.9]], [0], ["a"])
    del told.said["rule"]
    assert labels_to_check.find(told) is None
    assert labels_to_check.find(Absent("no heart")) is None


def test_the_page_shows_the_first_and_says_where_the_others_are(run):
    report = typed_report_of(run)
    many = [LabelToCheck(f"p{number:02d}", None, 0, 5, 0.9, 4.0) for number in range(20)]
    object.__setattr__(report, "labels_to_check", LabelsToCheck(["rule", "model"], 40, many))
    text = markdown.text(report)
    assert "p14" in text
    assert "p15" not in text
    assert "The first 15 are shown" in text
    assert len(label_parts.csv(report)["labels_to_check.csv"]) == 20
