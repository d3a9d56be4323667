"""Cuts of the score in a report: the same numbers on page, in text, tables and figures."""

import dataclasses
import shutil

import pandas as pd
import pytest

from cac_hpc.report import aggregation, markdown
from cac_hpc.results.figures import Absent
from cac_hpc.run import disk, paths
from cac_hpc.sections import cut_parts
from tests.support.reports import check_report, contradictions_of, make_judged_run, typed_report_of


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    run = make_judged_run(tmp_path_factory.mktemp("cuts"))
    assert aggregation.aggregate(run.root)
    return run


def test_a_report_says_at_each_cut_how_good_the_model_is_and_what_it_is_worth(reported):
    check_report(reported)
    report = typed_report_of(reported)
    assert [(at.event, at.n) for at in report.cuts.at] == [("> 0", 60), (">= 100", 60), (">= 400", 60)]
    said = pd.read_csv(reported.dataset(None).studies)["score"]
    assert [at.positives for at in report.cuts.at] == [(said > 0).sum(), (said >= 100).sum(), (said >= 400).sum()]
    assert report.cuts.at[1].exactly == 2
    at = report.cuts.at[1]
    assert [way.key for way in at.decisions.ways] == ["all", "none", "rule", "model"]
    page, text = ((reported.report / name).read_text() for name in ("report.html", "report.md"))
    for shown in (
        f"AUROC {at.figures['auroc'].value:.2f} (",
        "2 have exactly 100.",
        "By 95 % intervals, of each threshold by itself, its net benefit is above that of",
    ):
        assert shown in page, shown
        assert shown in text, shown
    assert 'id="cuts"' in page
    for stem in ("roc", "precision_recall", "calibration_cuts", "decision_curves", "probabilities"):
        assert (reported.report / "figures" / f"{stem}.png").stat().st_size > 3000
        assert f"figures/{stem}.png" in page


def test_tables_hold_every_number(reported):
    report, folder = typed_report_of(reported), reported.report / "tables"
    found = pd.read_csv(folder / "cuts.csv")
    at = report.cuts.at[1]
    model = found[(found["event"] == "'>= 100") | (found["event"] == ">= 100")].set_index(["reader", "figure"])
    for name, figure in at.figures.items():
        assert model.loc[("model", name), "value"] == pytest.approx(figure.value), name
    assert model.loc[("rule", "sensitivity"), "n"] == at.positives
    parts = [
        model.loc[("model", f"brier_{name}"), "value"] for name in ("miscalibration", "discrimination", "uncertainty")
    ]
    assert parts[0] - parts[1] + parts[2] == pytest.approx(model.loc[("model", "brier"), "value"])
    assert found["figure"].tolist()[-3:] == list(report.cuts.ordinal)
    curves = pd.read_csv(folder / "decision_curves.csv")
    assert len(curves) == 3 * 4 * 19
    rule = curves[curves["way"] == "rule"].set_index(["event", "threshold"])
    own = curves[curves["way"] == "model"].set_index(["event", "threshold"])
    assert rule["model_more"].to_numpy() == pytest.approx((own["net_benefit"] - rule["net_benefit"]).to_numpy())
    assert own["model_more"].isna().all()
    assert pd.read_csv(folder / "cut_probabilities.csv").groupby("event")["n"].sum().tolist() == [60] * 3
    curves = [at for at in report.cuts.at if not isinstance(at.calibration, Absent)]
    assert len(pd.read_csv(folder / "cut_calibration.csv")) == 41 * len(curves) > 0
    unfitted = [at for at in report.cuts.at if at not in curves]  # of few errors a calibration has no end
    text = (reported.report / "report.md").read_text()
    assert text.count("Calibration: the probabilities divide the patients") == len(unfitted)
    assert r"score \textgreater{}= 100" in (folder / "cuts.tex").read_text()


def test_how_many_patients_would_settle_it(reported):
    report, folder = typed_report_of(reported), reported.report / "tables"
    widths = pd.read_csv(folder / "interval_widths.csv").set_index(["figure", "event", "times"])["width"]
    at = report.cuts.at[1]
    event = next(event for _, event, _ in widths.index if str(event).endswith(">= 100"))
    area = at.figures["auroc"]
    assert widths["auroc", event, 1] == pytest.approx(area.high - area.low)
    assert widths["auroc", event, 10] < widths["auroc", event, 2] < widths["auroc", event, 1]
    needed = pd.read_csv(folder / "patients_needed.csv")
    assert needed["figure"].tolist() == ["observed_expected", "calibration_slope", "auroc", "net_benefit"] * 3
    prevalence = report.cuts.at[0].positives / 60
    assert needed["patients"][0] == pytest.approx((1 - prevalence) / (prevalence * 0.05093**2), rel=0.01)
    text = (reported.report / "report.md").read_text()
    assert "## How many patients would settle it" in text
    assert "| figure | 60 patients | 120 | 300 | 600 |" in text
    assert 'id="more"' in (reported.report / "report.html").read_text()


def test_a_number_that_was_changed_is_found(reported, tmp_path):
    run = paths.RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    summary = disk.read_json(run.report_json)
    summary["cuts"]["at"][1]["decisions"]["ways"][3]["values"][4] += 0.01
    found = contradictions_of(run, summary)
    assert any(line.startswith("cuts.at[1].decisions.ways[3].values[4]: found") for line in found)


def test_few_patients_are_counted_and_not_judged(tmp_path):
    run = make_judged_run(tmp_path, 15, cuts=[0, 1000])
    assert aggregation.aggregate(run.root)
    check_report(run)
    report = typed_report_of(run)
    assert [at.event for at in report.cuts.at] == ["> 0", ">= 1000"]
    text = (run.report / "report.md").read_text()
    assert "of 15 patients; fewer than 10 patients with the event, or without: counted, not judged." in text
    assert not (run.report / "figures" / "roc.png").exists()


def test_without_cuts_a_report_has_no_section(reported):
    report = dataclasses.replace(typed_report_of(reported), cuts=None)
    assert (cut_parts.sections(report), cut_parts.csv(report), cut_parts.latex(report)) == ([], {}, [])
    assert "At the cuts" not in markdown.text(report)


def test_thresholds_next_to_each_other_are_one_range():
    assert cut_parts.ranges([0.05, 0.1, 0.15, 0.2, 0.25], [0, 1, 2, 4]) == "0.05 to 0.15, 0.25"


def test_what_labels_do_not_tell_is_said(reported):
    report = typed_report_of(reported)
    empty = dataclasses.replace(report.cuts.at[0], n=0, positives=0, negatives=0, note="labels do not tell", points=[])
    cuts = dataclasses.replace(report.cuts, at=[empty, *report.cuts.at[1:]])
    (section,) = cut_parts.sections(dataclasses.replace(report, cuts=cuts))
    assert section.lines[0] == "**Score > 0:** not worked out: labels do not tell."
    assert section.tables[0].columns == ["figure", "score >= 100", "score >= 400"]
