"""Prediction sets in a report: the same numbers on page, in text, tables and figure."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from cac_hpc.report import aggregation, markdown
from cac_hpc.results.figures import Absent
from cac_hpc.run import disk
from cac_hpc.sections import set_parts
from tests.support.reports import check_report, contradictions_of, make_run, typed_report_of


def make(folder, n=60, split=None, **report):
    """Patients whose four slices are predicted a category off now and then."""
    rng = np.random.default_rng(3)
    told = {}
    for number in range(n):
        category = number * 7 % 6
        off = rng.random() < 0.3
        told[f"s{number:02d}", category] = np.clip(category + off * rng.integers(-1, 2, 4), 0, 5).tolist()
    return make_run(
        folder, told, report={"draws": 200, "figure_dpi": 50, **report}, **({"split": split} if split else {})
    )


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    run = make(tmp_path_factory.mktemp("sets"))
    assert aggregation.aggregate(run.root)
    return run


def test_a_report_says_how_few_categories_are_named_and_what_so_many_patients_promise(reported):
    check_report(reported)
    found = typed_report_of(reported).prediction_sets
    assert (found.wanted, found.n, found.full, found.promised.calibrated_by) == (0.9, 60, 0, 60)
    assert found.promised.low < 0.9 < found.promised.high
    assert [one.calibrated_by for one in found.folds] == [48] * 5
    assert sum(found.sizes) == 60
    named = sum(one.named for one in found.folds)
    assert found.figures["coverage"].value == named / 60
    page, text = ((reported.report / name).read_text() for name in ("report.html", "report.md"))
    first = f"in {named} of 60 patients the true category is in the set (90% wanted); a set names "
    first += f"{found.figures['mean_size'].value:.1f} of 6 categories on average."
    for shown in (
        first,
        "the true category is in the set (90% wanted).",
        "Sets calibrated on 60 patients",
        set_parts.SEEN,
        "(cross-conformal)",
    ):
        assert shown in page, shown
        assert shown in text, shown
    assert 'id="sets"' in page
    assert (reported.report / "figures" / "prediction_sets.png").stat().st_size > 3000


def test_the_table_has_a_row_for_each_patient(reported):
    folder, found = reported.report / "tables", typed_report_of(reported).prediction_sets
    table = pd.read_csv(folder / "prediction_sets.csv")
    assert list(table) == ["patient", "fold", "category", "predicted", "set_low", "set_high", "holds_true"]
    assert len(table) == table["patient"].nunique() == 60
    names = [one.name for one in typed_report_of(reported).categories]
    place = table[["set_low", "category", "predicted", "set_high"]].map(names.index)
    assert (place["set_low"] <= place["predicted"]).all()
    assert (place["predicted"] <= place["set_high"]).all()
    inside = (place["set_low"] <= place["category"]) & (place["category"] <= place["set_high"])
    assert inside.astype(int).tolist() == table["holds_true"].tolist()
    assert (place["set_high"] - place["set_low"] + 1).mean() == pytest.approx(found.figures["mean_size"].value)
    figures = pd.read_csv(folder / "prediction_set_figures.csv")
    assert figures["of"].unique().tolist() == ["all", *names]


def test_shares_are_never_rounded_to_all_and_what_was_wanted_has_its_digits(reported):
    report = typed_report_of(reported)
    found = report.prediction_sets
    nearly = dataclasses.replace(found.figures["coverage"], value=399 / 400, low=0.982, high=0.9996)
    few = dataclasses.replace(found.figures["one_category"], value=0.0, low=0.0, high=0.003)
    figures = {**found.figures, "coverage": nearly, "one_category": few}
    changed = dataclasses.replace(found, n=400, wanted=0.975, figures=figures)
    text = " ".join(set_parts.sections(dataclasses.replace(report, prediction_sets=changed))[0].lines)
    assert "In 399 of 400 patients, 99.8% (98% to 99.96%), the true category is in the set (97.5% wanted)" in text
    assert "one alone in 0% (0% to 0.3%) of them" in text


def test_groups_that_were_never_seen_promise_nothing(reported):
    report = typed_report_of(reported)
    unseen = dataclasses.replace(report, split=dataclasses.replace(report.split, scheme="leave_one_out", group="site"))
    before, after = (" ".join(set_parts.sections(one)[0].lines) for one in (report, unseen))
    for promise in (set_parts.SEEN, "at least 1 - 2a"):
        assert promise in before
        assert promise not in after
    assert "Nothing is promised of new patients" in after


def test_a_set_that_was_changed_by_hand_is_found(reported):
    summary = disk.read_json(reported.report / "report.json")
    summary["prediction_sets"]["tests"]["high"][3] += 1
    found = contradictions_of(reported, summary)
    assert any(line.startswith("prediction_sets.tests.high[3]: found") for line in found)


def test_one_fold_and_few_patients_are_said(tmp_path, no_pictures, reported):
    few = make(tmp_path, 10)
    assert aggregation.aggregate(few.root)
    report = typed_report_of(few)
    assert report.prediction_sets.full == 10
    assert "10 of 10 sets name every category" in markdown.text(report)
    alone = dataclasses.replace(report, prediction_sets=Absent("reasons"))
    assert "There are none: reasons." in markdown.text(alone)
    assert set_parts.csv(alone) == {}
    assert set_parts.verdict(alone) == set_parts.sections(dataclasses.replace(alone, prediction_sets=None)) == []
