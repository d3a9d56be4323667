"""The recipe of docs/extending.md: a new metric is a line of its table, and every page and table has it."""

import csv

import pytest

from cac_hpc.evaluation import published
from cac_hpc.report import aggregation, consistency
from cac_hpc.run import disk, paths
from cac_hpc.settings import stored_settings
from cac_hpc.statistics import agreement, metrics
from cac_hpc.statistics.metrics import Metric
from tests.support.reports import compare, make_run

pytestmark = pytest.mark.usefixtures("no_pictures")


def negatives(matrix):
    """Units of other categories, and those of them that were predicted as others."""
    return agreement.total(matrix)[..., None] - agreement.true(matrix)


def right_negatives(matrix):
    return negatives(matrix) - agreement.predicted(matrix) + agreement.right(matrix)


LINES = (
    Metric("specificity", lambda matrix: agreement.ratio(right_negatives(matrix), negatives(matrix)),
           "there are no other categories", "category", part=right_negatives, whole=negatives),
    Metric("mean_error", lambda matrix: agreement.ratio(
        (matrix * agreement.distance(matrix.shape[-1])).sum(axis=(-2, -1)), agreement.total(matrix)), metrics.NOTHING),
)  # fmt: skip


def reported(folder, shift):
    folder.mkdir()
    predicted = {(f"{number:02d}", number % 6): [(number + shift * (number % 4 == 0)) % 6] * 2 for number in range(24)}
    run = make_run(folder, predicted, report={"draws": 200})
    assert aggregation.aggregate(run.root)
    return run


def test_a_line_of_the_table_is_all_that_a_new_metric_takes(tmp_path, monkeypatch):
    before = reported(tmp_path / "before", 2)
    monkeypatch.setattr(metrics, "METRICS", metrics.METRICS + LINES)
    run = reported(tmp_path / "run", 1)
    summary = disk.read_json(run.report_json)
    assert consistency.contradictions(run, stored_settings.load(run.config), summary) == []
    pooled = summary["levels"]["patient"]["pooled"]
    assert pooled["categories"][1]["specificity"]["value"] == pytest.approx(18 / 20)  # two of category 0 are called 1
    assert pooled["categories"][1]["specificity"]["interval"] == "wilson"
    assert pooled["figures"]["mean_error"]["interval"] == "bootstrap"
    for name in ("report.md", "report.html", "tables/categories_patient.csv", "tables/categories_patient.tex"):
        assert "specificity" in (run.report / name).read_text(encoding="utf-8"), name
    with (run.report / "tables" / "figures.csv").open(encoding="utf-8") as file:
        names = [row["figure"] for row in csv.DictReader(file)]
    assert {"specificity", "mean_error"} <= set(names)
    found = compare(run, reported(tmp_path / "other", 3))["levels"]["patient"]
    assert found["categories"][1]["specificity"]["interval"] == "bootstrap"
    old = compare(before, run)["levels"]["patient"]  # a report from before has fewer figures
    assert "mean_error" not in old["figures"]
    assert "accuracy" in old["figures"]
    monkeypatch.undo()
    both = compare(run, run_of(tmp_path / "other"))["levels"]["patient"]
    assert both["figures"]["mean_error"]["note"] == "this version of cac_hpc does not know the figure"


def run_of(folder):
    return paths.RunPaths(folder / "run")


def test_what_a_paper_claims_of_a_new_metric_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", metrics.METRICS + LINES)
    (tmp_path / "table.csv").write_text("4,1\n2,3\nspecificity,0.6,0.9\n", encoding="utf-8")
    found = published.findings(published.read(tmp_path / "table.csv"))
    assert [(one.claim, one.agrees) for one in found] == [("specificity of 0", True), ("specificity of 1", False)]
