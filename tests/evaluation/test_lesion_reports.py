"""Reports of a lesion model: patients by their scores, readers side by side, and what is shown of whom."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from cac_hpc.dataset import excerpts, sealed, splits
from cac_hpc.dataset.excerpts import Task
from cac_hpc.evaluation import audit, cut_figures, inputs
from cac_hpc.plots.panels import COUNTED, REJECTED
from cac_hpc.report import aggregation, lesion_pictures, markdown, terminal
from cac_hpc.run import digests, disk, result_files
from cac_hpc.run.paths import RunPaths
from cac_hpc.sections import lesion_parts, level_parts
from cac_hpc.statistics.pooling import scored_patients
from cac_hpc.train import lesion_results, ordinal
from cac_hpc.train.lesion_results import Scores
from cac_hpc.transfer import selection
from tests.support.lesions import make_lesion_run, read_json, vouch_tables
from tests.support.reports import check_report, make_run, typed_report_of

SCORES = (0.0, 8.0, 60.0, 300.0, 800.0, 3000.0)
STUDIES = [f"s{number:02d}" for number in range(24)]  # category: number % 6
MISSED, FALSE, TWIN = "s04", "s06", "s23"  # true calcium rejected; other calcium counted; a second study of s22


def candidates_of(study):
    """True calcium that counts, other that does not: the control counts a part of that."""
    score = SCORES[int(study[1:]) % 6]
    true = [(score, 0.9, 0.97)] if score else []
    other = [(150.0, 0.7, 0.04), (20.0, 0.0, 0.01)]
    if study == MISSED:
        return [(score, 0.9, 0.3), *other]
    if study == FALSE:
        return [(150.0, 0.7, 0.8), other[1]]
    return true + other


def make(folder, **sections):
    studies = {study: (int(study[1:]) % 6, SCORES[int(study[1:]) % 6], candidates_of(study)) for study in STUDIES}
    patient = {study: "s22" if study == TWIN else study for study in STUDIES}
    facts = {
        "agatston_score": {study: SCORES[int(study[1:]) % 6] + 150 for study in STUDIES},
        "agatston_slices": dict.fromkeys(STUDIES, "150 0 0 0"),
        "agatston_empty_slices": dict.fromkeys(STUDIES, 0.5),
    }
    return make_lesion_run(folder, studies, patient, facts, **sections)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    run = make(tmp_path_factory.mktemp("lesions"))
    assert aggregation.aggregate(run.root)
    return run


def test_a_patient_has_the_category_of_the_predicted_score(reported):
    report = read_json(reported)
    matrix = report["levels"]["patient"]["pooled"]["confusion_matrix"]
    assert matrix[0] == [3, 0, 0, 1, 0, 0]
    assert matrix[4] == [1, 0, 0, 0, 2, 0]
    assert matrix[5] == [0, 0, 0, 0, 0, 4]  # s22 and s23 are one patient, of category 5 by s23
    assert report["levels"]["patient"]["pooled"]["n"] == 23
    assert report["levels"]["patient"]["unit"] == "patient, category of the predicted score"
    assert report["levels"]["slice"]["pooled"]["n"] == 96
    check_report(reported)


def test_readers_stand_side_by_side_and_the_better_one_is_named(reported):
    found = read_json(reported)["readers"]
    right = {one["key"]: one["levels"]["patient"]["n"] - one["levels"]["patient"]["errors"] for one in found["readers"]}
    assert list(right) == ["largest", "rule", "control", "model"]
    assert right["model"] == 21
    assert right["control"] == 7  # 150 more does not matter above 400: s04, s10, s16, and the patients of category 5
    assert found["trust"] == {"reader": "model", "reason": "better", "rivals": []}
    model = found["readers"][-1]
    assert model["scores"]["n"] == 23
    assert model["scores"]["log_icc"]["value"] > found["readers"][1]["scores"]["log_icc"]["value"]
    control = found["readers"][2]["compared"]
    accuracy = control["levels"]["patient"]["figures"]["accuracy"]
    assert accuracy["difference"] == pytest.approx((right["model"] - right["control"]) / 23)
    assert accuracy["low"] > 0
    assert control["sign_test"]["test"] == "exact McNemar test"
    text = markdown.text(typed_report_of(reported))
    assert "**Trust the trained lesion model: it is right in 21 of 23 patients, more than each of the others" in text


def test_patients_that_are_wrong_and_one_of_each_category_are_shown(reported):
    found = read_json(reported)["lesions"]
    shown = {one["study"]: one for one in found["patients"]}
    assert {study for study, one in shown.items() if one["why"] == "misclassified"} == {MISSED, FALSE}
    assert sorted(one["true"] for one in found["patients"] if one["why"] == "sample") == [0, 1, 2, 3, 4, 5]
    missed = shown[MISSED]
    assert (missed["score"], missed["reported"], missed["control"]) == (0, 800, 950)
    assert [(one["candidate"], one["counted"]) for one in missed["lesions"]] == [(1, False), (2, False), (3, False)]
    assert (missed["rejected"], missed["rejected_agatston"]) == (3, 970)
    table = pd.read_csv(reported.report / "tables" / "lesions.csv")
    assert len(table) == found["candidates"] == sum(len(candidates_of(study)) for study in STUDIES)
    assert table["counted"].sum() == found["counted"]
    assert set(table.loc[table["study"] == TWIN, "patient"]) == {"s22"}


def test_outlines_of_what_counted_and_of_what_did_not_are_on_the_page(reported):
    report, number = (
        typed_report_of(reported),
        1 + [one["study"] for one in read_json(reported)["lesions"]["patients"]].index(FALSE),
    )
    files = lesion_pictures.files(reported.report / "figures", number)
    names = [path.name.split("-", 2)[2] for path in files]
    assert names == ["0-projection.svg", "1-slice-000.svg", "2-slice-001.svg"]  # most counted, then most was rejected
    projection = files[0].read_text()
    assert projection.count(f'stroke="{COUNTED}" stroke-width="1"/>') == 1
    assert projection.count(f'stroke="{REJECTED}" stroke-width="1" stroke-dasharray') == 1
    assert "projection of all slices: counted 150" in projection
    assert ">1: 150, p 0.80</text>" in files[1].read_text()
    assert (reported.report / "figures" / f"lesions-{number:02d}.png").is_file()
    page = (reported.report / "report.html").read_text()
    assert page.count('<article class="patient" id="patient-') == 8
    assert "Predicted Moderate: 1 candidate counted, score 150 (probability of the category" in page
    bare = (reported.report / "report_without_images.html").read_text()
    assert "image/svg+xml" in bare  # figures of numbers
    assert "The pictures were left out of this copy of the report." in bare
    assert "of patient" not in bare.split('id="lesions"')[1].split("</section>")[0]
    assert level_parts.OWN_PART in level_parts.verdict(report)
    own_part, text = level_parts.OWN_PART.partition("'")[0], (reported.report / "report.md").read_text()
    assert page.count(own_part) == text.count(own_part) == 1


def test_views_of_hearts_stay_where_images_are_not_to_go_out(reported):
    of_hearts = {f"report/figures/{path.name}" for path in (reported.report / "figures").glob("lesions-*")}
    taken = {name: {item.name for item in selection.survey(reported.root, selection.Selection(images=name)).items}
             for name in (True, False)}  # fmt: skip
    assert len(of_hearts) > 8
    assert of_hearts <= taken[True]
    assert not of_hearts & taken[False]
    assert {f"folds/fold-0/{name}.csv" for name in ("scores", "lesions", "predictions")} <= taken[False]


def test_the_page_says_where_another_category_is_more_probable(reported):
    report = typed_report_of(reported)
    facts = [one | {"calibration": {"method": ordinal.METHOD, "scale": 0.5, "gross": 0.1}} for one in report.training]
    text = " ".join(lesion_parts.lines(dataclasses.replace(report, training=facts)))
    assert "where the score is 10, 101 to 105, 401 to 452, 824 to 1000 another category is more probable" in text


def test_a_terminal_shows_it_too(reported, capsys):
    assert terminal.show(reported.root) == 0
    assert "Trust the trained lesion model" in " ".join(capsys.readouterr().out.split())


def test_nothing_is_shown_of_a_shard_that_is_not_as_it_was_sealed(reported):
    shard, wanted = reported.dataset(None).shard(0), {"s00": None}
    found = excerpts.candidates(Task(shard, digests.of_file(shard), wanted), lambda said: None)
    assert found.keys() == {"s00"}
    assert excerpts.candidates(Task(shard, "0" * 32, wanted), lambda said: None) == {}


def test_without_its_shards_a_report_says_that_the_views_are_gone(reported, tmp_path):
    run = RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    run.dataset(None).shard(0).unlink()
    assert aggregation.aggregate(run.root)
    assert not list((run.report / "figures").glob("lesions-*"))
    assert "The views of this study are not in the dataset any more" in (run.report / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("lesions.csv", lambda text: text + "\n", "not as it was written"),
        ("scores.csv", lambda text: text.replace(",8.0,", ",9.0,"), "not as it was written"),
    ],
)
def test_a_fold_whose_tables_changed_is_missing(reported, tmp_path, no_pictures, name, change, why):
    run = RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    path = run.fold(1).root / name
    path.write_text(change(path.read_text()))
    assert not aggregation.aggregate(run.root)
    assert why in read_json(run)["missing_folds"][0]["reason"]
    assert not result_files.fold_is_done(run.fold(1))  # --resume trains it to its end again
    assert result_files.fold_is_done(run.fold(0))


@pytest.mark.parametrize("digests_of", [None, [], "none"])
def test_damaged_digests_of_tables_end_in_a_missing_fold(reported, tmp_path, no_pictures, digests_of):
    run = RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    facts = disk.read_json(run.fold(1).metrics)
    disk.write_json(run.fold(1).metrics, facts | {"tables_sha256": digests_of})
    assert not aggregation.aggregate(run.root)
    assert "tables_sha256" in read_json(run)["missing_folds"][0]["reason"]
    assert not result_files.fold_is_done(run.fold(1))


@pytest.mark.parametrize(
    ("column", "said"), [("score", "what counted in lesions.csv adds up to"), ("control", "studies.csv has")]
)
def test_a_score_that_is_not_what_other_files_say_is_no_result(reported, tmp_path, column, said):
    run = RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    table = pd.read_csv(run.fold(1).scores, dtype={"study": str})
    table[column] += 1
    table.to_csv(run.fold(1).scores, index=False)
    vouch_tables(run, 1)
    with pytest.raises(ValueError, match=rf"study 's\d\d': {column} .* in scores\.csv, {said}"):
        audit.check_scores(
            lesion_results.read_scores(run.fold(1).scores, 1, 6),
            lesion_results.read_lesions(run.fold(1).lesions, 1),
            splits.read_splits(run.splits)[1],
            sealed.read_studies(run.dataset(None)).set_index("study"),
        )
    assert said in str(inputs.load(run, alone=True).faults[1])


def test_another_run_of_the_same_folds_is_a_reader(reported, tmp_path, no_pictures):
    slices = {(study, int(study[1:]) % 6): [0] * 4 for study in STUDIES}
    patient = {study: "s22" if study == TWIN else study for study in STUDIES}
    score = {study: SCORES[int(study[1:]) % 6] for study in STUDIES}
    (tmp_path / "other").mkdir()
    counts = {"draws": 200, "figure_dpi": 50}
    other = make_run(tmp_path / "other", slices, patient, score=score, report=counts | {"patient_rule": "majority"})
    assert aggregation.aggregate(other.root)
    (tmp_path / "own").mkdir()
    run = make(tmp_path / "own", report=counts | {"compare": str(other.root)})
    assert aggregation.aggregate(run.root)
    found = read_json(run)["readers"]
    assert [one["key"] for one in found["readers"]] == ["largest", "rule", "control", "model", "run"]
    assert found["readers"][-1]["name"] == "slice network of run run"
    assert found["readers"][-1]["levels"]["patient"]["errors"] == 19
    assert found["readers"][-1]["compared"]["levels"]["patient"]["figures"]["accuracy"]["low"] > 0
    check_report(run)
    pooled, own = found["readers"][-1]["levels"], read_json(other)["levels"]
    assert pooled["patient"]["figures"]["accuracy"] == own["patient"]["pooled"]["figures"]["accuracy"]
    content = disk.read_json(other.report_json) | {"format_version": 5}
    disk.write_json(other.report_json, content)
    assert aggregation.aggregate(run.root)
    assert "of another version of cac_hpc" in read_json(run)["readers"]["absent"][0]


def test_a_damaged_plan_leaves_out_the_outlines_alone(reported, tmp_path):
    run = RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    run.dataset(None).plan.write_text("{")
    assert aggregation.aggregate(run.root)
    assert lesion_pictures.files(reported.report / "figures", 1)
    assert not lesion_pictures.files(run.report / "figures", 1)


def test_a_patient_has_the_highest_label_and_scores_of_the_studies_tested():
    studies = pd.DataFrame({"study": ["a", "b", "c"], "patient": ["x", "x", "y"], "score": ["5", "", "70"]})
    chance = np.eye(6)[[1, 5, 2]]
    found = {0: Scores(np.array(["a", "b"]), np.array([1, 5]), np.array([5.0, 2000.0]), np.zeros(2), chance[:2]),
             2: Scores(np.array(["c"]), np.array([2]), np.array([9.0]), np.zeros(1), chance[2:])}  # fmt: skip
    units, score = scored_patients(found, studies, (0, 10, 100, 400, 1000))
    assert (units.patient.tolist(), units.fold.tolist()) == ([0, 1], [0, 2])
    assert (units.label.tolist(), units.predicted.tolist()) == ([5, 2], [5, 1])
    assert score.tolist() == [2000, 9]
    assert np.isnan(units.score[0])
    assert units.score[1] == 70
    assert units.probability.tolist() == chance[[1, 2]].tolist()
    nothing, none = scored_patients({}, studies, (0, 10))
    assert len(nothing.label) == len(none) == nothing.num_patients == 0


def test_a_cut_between_the_edges_goes_by_the_errors_of_each_folds_scores(tmp_path):
    run = make(tmp_path, report={"figure_dpi": 50, "draws": 200, "cuts": [200]})
    found = inputs.load(run, alone=True)
    (tested,) = [
        one for one in found.outcome.tested(found.studies, found.labels.edges, found.report) if one.name == "patient"
    ]
    score = found.outcome.patient_scores(found.studies, found.labels.edges)
    cuts = cut_figures.of_run(found, [tested], {})
    assert cuts.at[0].chance_note == "labels.edges have no 200, and the model has no error model of its scores"
    told = {
        fold: dataclasses.replace(one, facts={**one.facts, "calibration": {"scale": 0.5 + fold / 10, "gross": 0.1}})
        for fold, one in found.results.items()
    }
    known = cut_figures.of_run(dataclasses.replace(found, results=told), [tested], {})
    assert known.at[0].chance_note is None
    scale = 0.5 + tested.units.fold / 10
    chance = 0.9 / (1 + ((201 / (1 + score)) ** (1 / scale))) + 0.1 * 2.5 / 6  # two categories are above, one is halved
    event = tested.units.score >= 200
    assert known.at[0].figures["brier"].value == pytest.approx(((chance - event) ** 2).mean())
